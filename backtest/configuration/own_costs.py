"""Costs and constraints of a user's own, from a Python file."""

from __future__ import annotations

from pathlib import Path

from backtest.costs import Constraint, Cost
from backtest.errors import CostError
from backtest.python_files import classes_of, load_python_file, needed_arguments

__all__ = ["costs_of_file"]


def costs_of_file(path: str | Path) -> tuple[list[Cost], list[Constraint]]:
    """Return what a Python file adds to the costs and the constraints of a run.

    That is every cost and constraint that the file holds at its top level under a name without a leading underscore,
    and one of each of its own classes that needs no arguments and of which it holds none. What it imports is not
    taken, unless it is a finished object.

    Args:
        path: a Python file; it is run.

    Raises:
        SettingsError: there is no such file, or it cannot be run.
        CostError: it holds nothing of the kind, or a class that needs arguments and of which nothing is made.
    """
    module = load_python_file(path)
    made = [
        value
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, Cost | Constraint)
    ]
    for cls in (*classes_of(module, Cost), *classes_of(module, Constraint)):
        if any(type(value) is cls for value in made):
            continue
        needed = needed_arguments(cls)
        if needed:
            raise CostError(
                f"{path}: {cls.__name__} needs {', '.join(needed)}: make one at the top of the file, as "
                f"{cls.__name__.lower()} = {cls.__name__}(...)"
            )
        made.append(cls())
    if not made:
        raise CostError(
            f"{path}: no cost and no constraint: define a class that extends SeparableCost, SmoothCost or "
            "Constraint, or make one of those of backtest.costs at the top of the file"
        )
    return [one for one in made if isinstance(one, Cost)], [one for one in made if isinstance(one, Constraint)]
