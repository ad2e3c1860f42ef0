"""The slow reference: the canonical problem in CVXPY, solved by Clarabel at tight tolerances, a row at a time.

Nothing here is shared with the Newton method but the statement of the problem, so that one can be judged by the other.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Ramp
from backtest.solver.canonical import CanonicalProblem
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
    """

    q: Tensor
    statuses: Tensor
    multipliers: Multipliers
    problem: CanonicalProblem

    @property
    def status(self) -> np.ndarray:
        """(B,) text, as in `Solution.status`."""
        return np.array([Status(code).name.lower() for code in self.statuses.tolist()])

    @cached_property
    def residual(self) -> np.ndarray:
        """(B,) relative distance from optimality."""
        return optimality_residual(self.problem, self.q, self.multipliers).cpu().numpy()


ATTEMPTS = ((1e-13, 1e-12), (1e-11, 1e-12), (1e-11, 1e-8), (1e-9, 1e-8))
"""(tolerance, static regularisation) in the order they are tried, until Clarabel calls its solution optimal. Its
default regularisation, 1e-8, keeps it from the tightest tolerance."""


def reference_solve(problem: CanonicalProblem) -> ReferenceSolution:
    """Solve every row of a canonical problem with CVXPY and Clarabel, one row at a time: slow, and trusted.

    Args:
        problem: B problems; as of `solver.problem(p, held)`, or `solution.problem`.

    Source: Goulart & Chen (2024), "Clarabel: an interior-point solver for conic programs".
    """
    rows = [_solve_row(problem.rows(torch.tensor([row]))) for row in range(len(problem.c))]
    like = problem.c

    def stacked(name: str) -> Tensor:
        return torch.as_tensor(np.stack([row[name] for row in rows]), dtype=like.dtype, device=like.device)

    statuses = torch.tensor([int(row["status"]) for row in rows], dtype=torch.int8, device=like.device)
    multipliers = Multipliers(*(stacked(name) for name in ("equality", "inequality", "leverage", "turnover")))
    solution = ReferenceSolution(stacked("x"), statuses, multipliers, problem)
    residual = torch.as_tensor(solution.residual, device=like.device)
    found = statuses == Status.SOLVED
    statuses[found & (residual > SOLVED)] = int(Status.INACCURATE)
    statuses[found & ~(residual <= INACCURATE)] = int(Status.FAILED)
    return solution


def _solve_row(problem: CanonicalProblem) -> dict[str, Any]:
    """Solve one row in scaled units: weights `x = size u`, objective in units of `price size`."""
    import cvxpy as cp

    row = _Row(problem)
    size, price = row.size(), row.price()
    u = cp.Variable(row.n_assets)
    objective = -(row.c / price) @ u
    curvature = size / price
    if row.loadings.size:
        objective += cp.sum_squares((np.sqrt(curvature) * row.loadings).T @ u) / 2
    if row.diagonal.any():
        objective += cp.sum_squares(cp.multiply(np.sqrt(curvature * row.diagonal), u)) / 2
    limits: dict[str, Any] = {}
    sides: list[Any] = []
    for ramp in row.ramps:
        piece, extra = _piece(cp, ramp, u, size=size, price=price)
        objective += piece
        sides += extra
    for sign, bound in ((1.0, row.upper), (-1.0, row.lower)):
        known = np.isfinite(bound)
        if known.any():
            sides.append(sign * u[known] <= sign * bound[known] / size)
    (a, b), (e_matrix, e) = row.equality, row.inequality
    if len(b):
        limits["equality"] = a @ u == b / size
    if len(e):
        limits["inequality"] = e_matrix @ u <= e / size
    if row.leverage is not None:
        limits["leverage"] = cp.norm1(u) <= row.leverage / size
    if row.turnover is not None:
        limits["turnover"] = cp.norm1(u - row.held / size) <= row.turnover / size

    program = cp.Problem(cp.Minimize(objective), [*limits.values(), *sides])
    for tolerance, regularisation in ATTEMPTS:
        _run(cp, program, tolerance, regularisation)
        if program.status in ("optimal", "infeasible", "unbounded"):
            break
    return _read(program, u, limits, row, size=size, price=price)


def _run(cp: Any, program: Any, tolerance: float, regularisation: float) -> None:
    with warnings.catch_warnings():
        # CVXPY warns of an inaccurate solution; here that is a status.
        warnings.simplefilter("ignore", UserWarning)
        try:
            program.solve(
                solver=cp.CLARABEL,
                tol_gap_abs=tolerance,
                tol_gap_rel=tolerance,
                tol_feas=tolerance,
                tol_ktratio=tolerance,
                tol_infeas_abs=1e-10,
                tol_infeas_rel=1e-10,
                static_regularization_constant=regularisation,
                max_iter=200,
            )
        except cp.SolverError:
            # Clarabel gave up without a solution; the next attempt is looser, and the last one's status is reported.
            return


def _piece(cp: Any, ramp: _Slopes, u: Any, *, size: float, price: float) -> tuple[Any, list[Any]]:
    """Return a ramp as a CVXPY expression in scaled units, and the constraints that it needs."""
    left, climb = ramp.left / price, (ramp.right - ramp.left) / price
    start = ramp.start / size
    if ramp.end is None:
        return left @ (u - start) + climb @ cp.pos(u - start), []
    width = ramp.end / size - start
    # With t = x - start the climb is min s^2 / 2 width + r over s, r >= 0, s + r >= t.
    bent, beyond = cp.Variable(len(start), nonneg=True), cp.Variable(len(start), nonneg=True)
    climbing = cp.sum_squares(cp.multiply(np.sqrt(climb / (2 * width)), bent)) + climb @ beyond
    # A ramp is 0 at its middle, where the climb is width / 8 and the left side width / 2.
    zero = left @ (width / 2) + climb @ (width / 8)
    return left @ (u - start) + climbing - zero, [bent + beyond >= u - start]


def _read(program: Any, u: Any, limits: dict[str, Any], row: _Row, *, size: float, price: float) -> dict[str, Any]:
    counts = {"equality": len(row.equality[1]), "inequality": len(row.inequality[1]), "leverage": 1, "turnover": 1}
    found = program.status in ("optimal", "optimal_inaccurate")
    result: dict[str, Any] = {"x": np.full(row.n_assets, np.nan) if u.value is None or not found else u.value * size}
    for name, count in counts.items():
        value = np.zeros(count)
        if name in limits:
            dual = limits[name].dual_value if found else None
            value = np.full(count, np.nan) if dual is None else np.reshape(np.asarray(dual, dtype=float) * price, count)
        result[name] = value
    result["status"] = {
        "infeasible": Status.INFEASIBLE,
        "infeasible_inaccurate": Status.INFEASIBLE,
        "unbounded": Status.UNBOUNDED,
        "unbounded_inaccurate": Status.UNBOUNDED,
        "optimal": Status.SOLVED,
        "optimal_inaccurate": Status.SOLVED,
    }.get(program.status, Status.FAILED)
    return result


@dataclass(frozen=True)
class _Slopes:
    start: np.ndarray
    left: np.ndarray
    right: np.ndarray
    end: np.ndarray | None


class _Row:
    """One canonical problem in NumPy."""

    def __init__(self, problem: CanonicalProblem) -> None:
        def array(tensor: Tensor) -> np.ndarray:
            return tensor[0].detach().cpu().numpy().astype(float)

        self.c, self.held, self.loadings = array(problem.c), array(problem.held), array(problem.loadings)
        self.n_assets = len(self.c)
        self.diagonal, self.lower, self.upper = (
            array(part.expand(1, -1)) for part in (problem.diagonal, problem.lower, problem.upper)
        )
        self.equality = (array(problem.equality[0]), array(problem.equality[1]))
        self.inequality = (array(problem.inequality[0]), array(problem.inequality[1]))
        self.leverage = None if problem.leverage is None else float(problem.leverage[0])
        self.turnover = None if problem.turnover is None else float(problem.turnover[0])
        self.ramps = [_numpy_ramp(ramp, self.n_assets) for ramp in problem.ramps]

    def price(self) -> float:
        """Return the size of what a unit of weight earns or costs."""
        slopes = [np.abs(side).max() for ramp in self.ramps for side in (ramp.left, ramp.right)]
        price = max([np.abs(self.c).max(), *slopes])
        return float(price) if price > 0 else 1.0

    def size(self) -> float:
        """Return the size of a weight: that of the unconstrained optimum, or less where a limit says so."""
        variance = self.diagonal + (self.loadings**2).sum(axis=1)
        typical = self.price() / np.median(variance) if np.median(variance) > 0 else np.inf
        bounds = [np.abs(side[np.isfinite(side)]).max(initial=0.0) for side in (self.lower, self.upper)]
        bounds += [np.abs(side).max(initial=0.0) for side in (self.equality[1], self.inequality[1])]
        bounds += [limit for limit in (self.leverage, self.turnover) if limit]
        known = [bound for bound in bounds if bound > 0]
        reach = max(max(known, default=np.inf), np.abs(self.held).max())
        size = min(typical, reach)
        return float(size) if 0 < size < np.inf else 1.0


def _numpy_ramp(ramp: Ramp, n_assets: int) -> _Slopes:
    def array(tensor: Tensor) -> np.ndarray:
        return tensor.expand(1, n_assets)[0].detach().cpu().numpy().astype(float)

    return _Slopes(
        array(ramp.start), array(ramp.left), array(ramp.right), None if ramp.end is None else array(ramp.end)
    )
