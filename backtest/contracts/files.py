"""Checks of all strategies, costs, constraints, policies and features of a Python file, each by what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from backtest.contracts.constraints import check_constraint
from backtest.contracts.costs import check_cost
from backtest.contracts.policies import check_policy
from backtest.contracts.strategies import check_strategy
from backtest.costs import Constraint, Cost
from backtest.errors import BacktestError
from backtest.market import Feature, MarketPanel
from backtest.market.features.checking import check_feature
from backtest.python_files import classes_of, load_python_file, needed_arguments
from backtest.simulation import Policy
from backtest.strategy import Strategy

__all__ = ["Checked", "check_file"]

KINDS: tuple[tuple[str, type], ...] = (
    ("strategy", Strategy),
    ("cost", Cost),
    ("constraint", Constraint),
    ("policy", Policy),
    ("feature", Feature),
)
ROWS = 3
"""Rows of the market that a cost is checked on."""


@dataclass(frozen=True)
class Checked:
    """What became of one object of a file.

    Attributes:
        name: of the class, or of the module's variable.
        kind: "strategy", "cost", "constraint", "policy" or "feature".
        passed: None where it could not be checked.
        told: what was found, in words.
    """

    name: str
    kind: str
    passed: bool | None
    told: str


def check_file(path: str | Path, panel: MarketPanel) -> tuple[Checked, ...]:
    """Check every class that a file defines, and every object of such classes that it makes.

    A class that needs arguments is checked by the objects that the file makes of it at its top level; if there are
    none, that is said. Nothing that the file imports is checked; a file with nothing of its own gives nothing.

    Args:
        path: a Python file; it is run.
        panel: the market to check on.

    Returns:
        What became of each, strategies first, then costs, constraints, policies and features.

    Raises:
        SettingsError: there is no such file, or it cannot be run.
    """
    return tuple(_checks(load_python_file(path), panel))


def _checks(module: ModuleType, panel: MarketPanel) -> Iterator[Checked]:
    for kind, base in KINDS:
        for cls in classes_of(module, base):
            made = {name: value for name, value in vars(module).items() if type(value) is cls}
            needed = needed_arguments(cls)
            if not needed:
                yield _checked(cls.__name__, kind, cls, panel)
            elif not made:
                told = f"needs {', '.join(needed)}: make one at the top of the file, as example = {cls.__name__}(...)"
                yield Checked(cls.__name__, kind, None, told)
            for name, value in made.items():
                yield _checked(name, kind, lambda value=value: value, panel)  # type: ignore[misc]


def _checked(name: str, kind: str, make: Callable[[], Any], panel: MarketPanel) -> Checked:
    try:
        if kind == "strategy":
            check_strategy(make, panel)
            told = "keeps its contract: no look-ahead, the same bits twice, history left alone"
        elif kind == "policy":
            check_policy(lambda _: make(), panel)
            told = "keeps its contract: no look-ahead, the same bits twice, books do not depend on each other"
        elif kind == "feature":
            check_feature(make(), panel)
            told = "keeps its contract: no look-ahead, its look-back is enough, assets may come in any order"
        elif kind == "constraint":
            told = str(check_constraint(make(), panel=panel))
        else:
            cost = make().estimate(panel)
            last = panel.n_periods - 1
            rows = list(range(max(last - ROWS, min(cost.first_row, last)), last))
            told = str(check_cost(cost, market=panel.at(rows, wealth=1e6)))
    except BacktestError as error:
        return Checked(name, kind, False, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Checked(name, kind, False, f"raised {type(error).__name__}: {error}")
    return Checked(name, kind, True, told)
