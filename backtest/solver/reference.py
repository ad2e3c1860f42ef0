"""The slow reference: the canonical problem in CVXPY, solved by Clarabel at tight tolerances, a row at a time.

Nothing here is shared with the Newton method but the statement of the problem, so that one can be judged by the other.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic import needs_cone_solver, solve_conic
from backtest.solver.conic_program import ATTEMPTS, FAR, SHARP, ConicProgram, clarabel_options, conic_program
from backtest.solver.polish import polished
from backtest.solver.residuals import Multipliers, optimality_residual
from backtest.solver.solution import INACCURATE, SOLVED, Status

__all__ = ["ReferenceSolution", "reference_solve"]


@dataclass(frozen=True)
class ReferenceSolution:
    """Positions of a batch of B problems in N assets, found by an interior-point method.

    Attributes:
        q: (B, N) weights after trading; NaN in a row without a solution.
        statuses: (B,) int8 tensor of `Status`.
        multipliers: of the constraints; NaN in a row without a solution.
        problem: what was solved.
        residual: (B,) relative distance from optimality: `optimality_residual`, or that of the cone program where a
            cost is a CVXPY expression, whose gradient nothing else knows.
    """

    q: Tensor
    statuses: Tensor
    multipliers: Multipliers
    problem: CanonicalProblem
    residual: np.ndarray

    @property
    def status(self) -> np.ndarray:
        """(B,) text, as in `Solution.status`."""
        return np.array([Status(code).name.lower() for code in self.statuses.tolist()])


STATUSES = {
    "infeasible": Status.INFEASIBLE,
    "infeasible_inaccurate": Status.INFEASIBLE,
    "unbounded": Status.UNBOUNDED,
    "unbounded_inaccurate": Status.UNBOUNDED,
    "optimal": Status.SOLVED,
    "optimal_inaccurate": Status.SOLVED,
}


def reference_solve(problem: CanonicalProblem) -> ReferenceSolution:
    """Solve every row of a canonical problem with CVXPY and Clarabel, one row at a time: slow, and trusted.

    A row whose optimum lies more than 1e12 times wealth away counts as unbounded.

    Args:
        problem: B problems; as of `solver.problem(p, held)`, or `solution.problem`.

    Raises:
        SolverError: a curve or a smooth function of the user's has no CVXPY form (a method `expression(x)`).

    Source: Goulart & Chen (2024), "Clarabel: an interior-point solver for conic programs".
    """
    if needs_cone_solver(problem):
        found = solve_conic(problem)
        return ReferenceSolution(found.x, found.statuses, found.multipliers, problem, found.residual.cpu().numpy())
    rows = [_solve_row(problem.rows(torch.tensor([row]))) for row in range(len(problem.c))]
    like = problem.c
    q = torch.as_tensor(np.stack([x for x, _, _ in rows]), dtype=like.dtype, device=like.device)
    statuses = torch.tensor([int(status) for _, status, _ in rows], dtype=torch.int8, device=like.device)
    multipliers = Multipliers(
        *(torch.cat([getattr(of_row, part.name) for _, _, of_row in rows]) for part in fields(Multipliers))
    )
    residual = optimality_residual(problem, q, multipliers)
    solved = statuses == Status.SOLVED
    statuses[solved & (residual > SOLVED)] = int(Status.INACCURATE)
    statuses[solved & ~(residual <= INACCURATE)] = int(Status.FAILED)
    # Loadings that differ by rounding alone curve the cost a little: the optimum exists, and nobody can hold it.
    statuses[solved & (q.abs().amax(-1) > FAR)] = int(Status.UNBOUNDED)
    return ReferenceSolution(q, statuses, multipliers, problem, residual.cpu().numpy())


def _solve_row(problem: CanonicalProblem) -> tuple[np.ndarray, Status, Multipliers]:
    conic = conic_program(problem)
    nothing, unknown = np.full(problem.c.shape[-1], np.nan), conic.multipliers(problem.c)
    best, least = (nothing, Status.FAILED, unknown), np.inf
    for tolerance, regularisation in ATTEMPTS:
        end = run_clarabel(conic, tolerance, regularisation)
        status = STATUSES.get(end, Status.FAILED)
        if status is not Status.SOLVED:
            if least > INACCURATE and status is not Status.FAILED:
                best = (nothing, status, unknown)
            if end in ("infeasible", "unbounded"):
                break
            continue
        x = torch.as_tensor(conic.weights(), dtype=problem.c.dtype, device=problem.c.device)[None]
        multipliers = conic.multipliers(problem.c)
        residual = float(optimality_residual(problem, x, multipliers))
        if residual > SHARP:
            x, multipliers = polished(problem, x, multipliers)
            residual = float(optimality_residual(problem, x, multipliers))
        if residual < least:
            best, least = (x[0].cpu().numpy(), status, multipliers), residual
        if least <= SHARP:
            break
    return best


def run_clarabel(conic: ConicProgram, tolerance: float, regularisation: float) -> str:
    """Solve a program, and return CVXPY's word for how it ended; "failed" when Clarabel gave up."""
    import cvxpy as cp

    with warnings.catch_warnings():
        # CVXPY warns of an inaccurate solution; here that is a status.
        warnings.simplefilter("ignore", UserWarning)
        try:
            conic.program.solve(solver=cp.CLARABEL, **clarabel_options(tolerance, regularisation))
        except cp.SolverError:
            return "failed"
    return str(conic.program.status)
