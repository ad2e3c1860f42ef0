"""What a solve returns: positions, one status a row, and how optimal they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.derivative import SolutionMap
from backtest.solver.feasibility import endless_direction, is_feasible
from backtest.solver.inner import outer_multipliers
from backtest.solver.optimum import Optimum
from backtest.solver.residuals import Multipliers, optimality_residual

__all__ = ["Solution", "Status", "status_of"]

_MOST_SHOWN = 10  # rows in a notebook

SOLVED = 1e-9
INACCURATE = 1e-6


class DerivativeMap(Protocol):
    """A derivative of positions in the forecast, a map of (B, N) to (B, N)."""

    def __call__(self, r: Tensor) -> Tensor:
        """Return `J r`."""

    def dense(self) -> Tensor:
        """Return `J` as a matrix (B, N, N)."""


class ConeOptimum(Protocol):
    """Where a cone solver ended; see `backtest.solver.conic.ConicSolution`."""

    @property
    def x(self) -> Tensor:
        """Weights (B, N)."""

    @property
    def residual(self) -> Tensor:
        """Relative distance from optimality (B,)."""

    @property
    def multipliers(self) -> Multipliers:
        """The multipliers of the constraints."""

    @property
    def solution_map(self) -> DerivativeMap:
        """The derivative of the weights in the forecast."""


class Status(IntEnum):
    """How the solve of one row ended. Up to `INACCURATE` there are positions; beyond, there are none.

    Attributes:
        SOLVED: optimal to a relative residual of 1e-9.
        INACCURATE: optimal to one between 1e-9 and 1e-6.
        INFEASIBLE: the constraints contradict each other.
        UNBOUNDED: no cost or limit bounds the positions.
        FAILED: the method did not converge.
        BAD_INPUT: the forecast or what is held is not finite in an asset that can be traded.
    """

    SOLVED = 0
    INACCURATE = 1
    INFEASIBLE = 2
    UNBOUNDED = 3
    FAILED = 4
    BAD_INPUT = 5

    @property
    def text(self) -> str:
        """The cause, and the cure."""
        return _TEXT[self]


_TEXT = {
    Status.SOLVED: "solved",
    Status.INACCURATE: f"solved, but only to a relative error between {SOLVED:g} and {INACCURATE:g}: check the scales",
    Status.INFEASIBLE: "the constraints contradict each other: loosen or drop one",
    Status.UNBOUNDED: "no cost or limit bounds the positions: add risk, Ridge, or a LeverageLimit",
    Status.FAILED: "the method did not converge: solve this row with reference_solve and report it",
    Status.BAD_INPUT: "p or held is not finite in an asset that can be traded: mask it with tradable=, or mend it",
}


@dataclass(frozen=True)
class Solution:
    """Positions of a batch of B problems in N assets.

    Attributes:
        q: weights after trading, in the container and shape that `p` came in: NumPy, torch, Series or DataFrame. A
            row that was not solved holds what `on_failure` asked for.
        statuses: (B,) int8 tensor of `Status`.
        iterations: (B,) Newton steps, or steps of the interior-point method.
        problem: the canonical problem that was solved.
        optimum: where the solver ended: an `Optimum`, or a `ConicSolution` where a cost is a CVXPY expression.
    """

    q: Any
    statuses: Tensor
    iterations: Tensor
    problem: CanonicalProblem
    optimum: Optimum | ConeOptimum

    def _repr_html_(self) -> str:
        q = self.q.detach().cpu() if isinstance(self.q, Tensor) else torch.as_tensor(np.array(self.q))
        x = q.reshape(len(self.statuses), -1)
        rows = pd.DataFrame(
            {
                "status": self.status,
                "residual": [f"{value:.1e}" for value in self.residual.tolist()],
                "iterations": self.iterations.tolist(),
                "leverage": [f"{value:.3f}" for value in x.abs().sum(dim=1).tolist()],
                "positions": (x != 0).sum(dim=1).tolist(),
            }
        )
        more = f"<p>... and {len(rows) - _MOST_SHOWN} more</p>" if len(rows) > _MOST_SHOWN else ""
        return f"<p>Solution: {len(rows)} rows, {x.shape[1]} assets</p>{rows.head(_MOST_SHOWN).to_html()}{more}"

    @cached_property
    def status(self) -> np.ndarray:
        """(B,) text: "solved", "inaccurate", "infeasible", "unbounded", "failed" or "bad_input"."""
        return np.array([Status(code).name.lower() for code in self.statuses.tolist()])

    @cached_property
    def residual(self) -> np.ndarray:
        """(B,) relative distance from optimality, computed from the problem alone (see `optimality_residual`)."""
        if not isinstance(self.optimum, Optimum):
            return self.optimum.residual.cpu().numpy()
        residual = optimality_residual(self.problem, self.optimum.point.x, self.multipliers)
        return residual.cpu().numpy()

    @property
    def multipliers(self) -> Multipliers:
        """The multipliers of constraints and norm limits."""
        if not isinstance(self.optimum, Optimum):
            return self.optimum.multipliers
        return _multipliers(self.problem, self.optimum)

    @property
    def start(self) -> Tensor | None:
        """Multipliers (B, R) from which to start a like problem; None where the solver takes no start."""
        return self.optimum.point.z if isinstance(self.optimum, Optimum) else None

    @property
    def free(self) -> Tensor:
        """Assets (B, N) bool whose weight moves with its own forecast: neither at a kink nor at a limit."""
        if isinstance(self.optimum, Optimum):
            return self.optimum.point.flexibility > 0
        return torch.diagonal(self.solution_map.dense(), dim1=-2, dim2=-1) > 0

    @cached_property
    def solution_map(self) -> DerivativeMap:
        """The derivative of the positions in the forecast: a map of (B, N) to (B, N). A failed row's is 0."""
        if not isinstance(self.optimum, Optimum):
            return self.optimum.solution_map
        failed = self.statuses > Status.INACCURATE
        return SolutionMap.of(self.optimum, silent=failed if bool(failed.any()) else None)


def _multipliers(problem: CanonicalProblem, optimum: Optimum) -> Multipliers:
    z = outer_multipliers(problem, optimum.point.z, optimum.dual.n_factors)
    return Multipliers.of(problem, z, optimum.limit_multipliers)


def status_of(problem: CanonicalProblem, optimum: Optimum, bad_input: Tensor) -> tuple[Tensor, Tensor]:
    """Return the `Status` of each row (B,) from where the solver ended, and the relative error it was judged by (B,).

    That the method did not converge is only a sign that constraints contradict each other, or that nothing bounds the
    positions; whether it is so is asked of linear programs.
    """
    point = optimum.point
    error = torch.maximum(point.error, optimum.moving)
    error = torch.where(torch.isfinite(point.x).all(-1), error, torch.inf)
    status = torch.full_like(bad_input, int(Status.FAILED), dtype=torch.int8)
    outer = bool(problem.smooth or problem.quadratic or optimum.proximal is not None)
    if outer or bool((error > SOLVED).any()):
        # Outer steps measure how far they move, not how good the end is; and a step can be large where all is 0.
        residual = optimality_residual(problem, point.x, _multipliers(problem, optimum))
        error = torch.where(torch.isfinite(error), residual, error) if outer else torch.minimum(error, residual)
    status[error <= INACCURATE] = int(Status.INACCURATE)
    status[error <= SOLVED] = int(Status.SOLVED)
    doubtful = (status != Status.SOLVED) | (problem.lower > problem.upper).any(-1)
    for row in torch.nonzero(doubtful & ~bad_input).flatten().tolist():
        one = problem.rows(torch.tensor([row], device=status.device))
        if not is_feasible(one):
            status[row] = int(Status.INFEASIBLE)
        elif len(endless_direction(one)):
            status[row] = int(Status.UNBOUNDED)
    status[bad_input] = int(Status.BAD_INPUT)
    return status, error
