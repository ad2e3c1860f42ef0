"""From a canonical problem to where the solver ends and one status a row, whichever method the problem needs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic import ConicSolution, needs_cone_solver, solve_conic
from backtest.solver.curve_models import start_from_model
from backtest.solver.optimise import optimise
from backtest.solver.optimum import Optimum
from backtest.solver.solution import Status, status_of

__all__ = ["solve_problem"]

_UNFINISHED = torch.tensor([int(Status.INACCURATE), int(Status.FAILED)], dtype=torch.int8)


def solve_problem(
    problem: CanonicalProblem, bad_input: Tensor, start: Tensor | None = None
) -> tuple[Optimum | ConicSolution, Tensor, Tensor]:
    """Solve a batch.

    Args:
        problem: B rows, without gradients.
        bad_input: (B,) bool, rows whose input is unusable; what stands in `problem` for them is finite.
        start: (B, R) multipliers to start from; None starts cold. A problem for the cone solver takes none.

    Returns:
        Where the solver ended; the `Status` of each row (B,); and the relative error it was judged by (B,).
    """
    if needs_cone_solver(problem):
        found = solve_conic(problem)
        found = replace(found, solution_map=found.solution_map.silenced(bad_input))
        return found, torch.where(bad_input, int(Status.BAD_INPUT), found.statuses), found.residual
    own = start_from_model(problem) if start is None else None
    optimum = optimise(problem, start if own is None else own)
    statuses, errors = status_of(problem, optimum, bad_input)
    unfinished = torch.isin(statuses.cpu(), _UNFINISHED)
    if not bool(unfinished.any()) or (start is None and own is None):
        return optimum, statuses, errors
    # A start far from the solution can leave a row where digits are lost. All begin anew; from a start of the solver's
    # own only those, as the others must not depend on them.
    optimum = optimise(problem, None if own is None else torch.where(unfinished.to(own.device)[:, None], 0.0, own))
    return optimum, *status_of(problem, optimum, bad_input)
