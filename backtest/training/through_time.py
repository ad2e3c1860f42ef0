"""Positions from one row to the next, and the gradient of a chunk's total loss back through them.

With `q_t = q(p_t, held_t)` and `held_{t+1} = drift(q_t)`, a forecast moves its own row's loss and, through what is
held, all later ones. The way back carries `a_t`, the derivative of the losses after row t in `held_{t+1}`:

    g_t = weight_t dloss_t/dq_t + drift'(q_t)' a_t
    dL/dp_t = weight_t dloss_t/dp_t + (dq/dp)' g_t,    a_{t-1} = weight_t dloss_t/dheld_t + (dq/dheld)' g_t

Both derivatives of `q` come from the solver's graph at the solution that the walk found: nothing is solved again. What
was held at a chunk's start is given, so this is truncated back-propagation through time (Werbos 1990; for trading,
Moody & Saffell 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.errors import SolverError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver, Solution, Status
from backtest.solver.derivative import SolutionMap, attach
from backtest.solver.optimum import Optimum
from backtest.training.row_losses import RowLosses

__all__ = ["LOWEST_GROWTH", "Step", "drifted", "gradients_through_time"]

LOWEST_GROWTH = 0.1
"""Weights drift with wealth; below this growth in one period the account is as good as ruined, and drift is capped."""


def drifted(q: Tensor, y: Tensor) -> Tensor:
    """Return weights (B, N) a period after they were `q` (B, N), given returns `y` (B, N)."""
    growth = (1 + (y * q).sum(-1)).clamp(min=LOWEST_GROWTH)
    return q * (1 + y) / growth.unsqueeze(-1)


@dataclass(frozen=True, eq=False)
class Step:
    """What a walk met at one row of each of B chunks, kept for the way back.

    Attributes:
        solution: of the stack of problems (see `RowLosses`), S of them.
        forecast, label: (B, N), and what the losses take for the realized return.
        held: (B, N) weights before the trade.
        target: (B, N) realized returns, by which weights drift.
        market: the market at the S problems.
        usable: (B, N) bool, what could be traded.
        lost: (B,) bool, rows without all of their solutions.
    """

    solution: Solution
    forecast: Tensor
    label: Tensor
    held: Tensor
    target: Tensor
    market: MarketSnapshot
    usable: Tensor
    lost: Tensor


def gradients_through_time(
    steps: Sequence[Step], solver: PositionSolver, of_rows: RowLosses, weights: Tensor
) -> list[Tensor]:
    """Return, for each step, the derivative (B, N) in its forecasts of the weighted sum of losses of each chunk.

    A row that was not solved has no loss here, and what comes back through it is what it held; where only a label was
    not solved, nothing does.

    Args:
        steps: in time order.
        solver: that solved them.
        of_rows: the losses.
        weights: (B, L) of each row's loss.

    Raises:
        SolverError: a cost is a CVXPY expression.
    """
    carried = torch.zeros_like(steps[-1].held)
    gradients = []
    for number in reversed(range(len(steps))):
        gradient, carried = _step_back(steps[number], solver, of_rows, weights[:, number], carried)
        gradients.append(gradient)
    return gradients[::-1]


def _step_back(
    step: Step, solver: PositionSolver, of_rows: RowLosses, weight: Tensor, carried: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the derivative in the forecast and in what was held (B, N), given that in what is held after (B, N)."""
    solution, n_rows = step.solution, len(step.forecast)
    if not isinstance(solution.optimum, Optimum):
        raise SolverError(
            "training through time needs the derivative of positions in what was held, and a cost given as a CVXPY "
            "expression has none: leave through_time=False, or write the cost in torch (SeparableCost, SmoothCost)"
        )
    assert isinstance(solution.solution_map, SolutionMap)
    with torch.enable_grad():
        own = solution.q[:n_rows].clone().requires_grad_()
        (pulled,) = torch.autograd.grad(drifted(own, step.target), own, carried)
        p, held = step.forecast.clone().requires_grad_(), step.held.clone().requires_grad_()
        # What cannot be traded needs no forecast.
        forecast = torch.where(step.usable, p, 0.0)
        stack = of_rows.rows
        problem = solver.problem(
            of_rows.forecasts(forecast, step.label), held[stack], market=step.market, tradable=step.usable[stack]
        )
        q = attach(problem, solution.optimum, solution.solution_map, steps=1)
        losses = of_rows.losses(q, problem.cost(q), forecast, step.label)
        total = (weight * losses).sum() + (pulled * q[:n_rows]).sum()
        gradient, back = torch.autograd.grad(total, (p, held))
    lost = step.lost.unsqueeze(-1)
    stayed = (solution.statuses[:n_rows] > Status.INACCURATE).unsqueeze(-1)
    return torch.where(lost, 0.0, gradient), torch.where(stayed, pulled, torch.where(lost, 0.0, back))
