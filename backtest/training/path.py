"""Walk a path of positions: at each row the solver trades from what the same model held before.

With trading costs, what a forecast is worth depends on what is held. Chunks of consecutive rows, for all replicas, are
walked side by side: R replicas, C chunks, L rows in a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.solver import PositionSolver, Status
from backtest.training.samples import Samples

__all__ = ["Path", "walk"]

LOWEST_GROWTH = 0.1
"""Weights drift with wealth; below this growth in one period the account is as good as ruined, and drift is capped."""


@dataclass(frozen=True, eq=False)
class Path:
    """What a walk met.

    Attributes:
        loss: (R, C, L) objective of each row, a return per period.
        gradient: (R, C, L, N) derivative of the loss of each row in its forecast, given what was held; None unless
            asked for.
        utility: (R, C, L) realized `y'q - C(q)`, trading costs whole and kinks sharp, whatever the decisions were
            made with; None unless asked for.
        held: (R, C, L, N) weights held before trading in the row after each.
        moved: (R,) share of usable assets whose position answers to their forecast.
        failed: (R,) rows that could not be solved, which kept what they held.
    """

    loss: Tensor
    gradient: Tensor | None
    utility: Tensor | None
    held: Tensor
    moved: Tensor
    failed: Tensor


def walk(
    samples: Samples,
    solver: PositionSolver,
    *,
    p: Tensor,
    rows: Tensor,
    held: Tensor,
    holding_periods: Tensor,
    charged: Tensor,
    with_gradient: bool = False,
    with_utility: bool = False,
) -> Path:
    """Walk all chunks in time order.

    The gradient treats what was held as given: of the aligned loss `-y'q + C(q)` it is `J (p - y)`, of the misaligned
    `-y'q` it is `-J y`, with `J` the derivative of the solution map. A name whose target is not known teaches nothing:
    its error counts as 0.

    Args:
        samples: targets, and where they may be used.
        solver: estimated on the samples' panel.
        p: (R, C, L, N) forecasts, without gradient.
        rows: (R, C, L) row numbers, consecutive along L.
        held: (R, C, N) weights before the first trade.
        holding_periods: (R,) of each replica.
        charged: (R,) bool, whether the replica's loss contains `C`: False is the misaligned objective.
        with_gradient: fill `gradient`.
        with_utility: fill `utility`.
    """
    n_replicas, n_chunks, length, n_assets = p.shape
    flat = n_replicas * n_chunks
    pays = charged.repeat_interleave(n_chunks)
    walking = replace(solver, holding_periods=holding_periods.repeat_interleave(n_chunks))
    before = held.reshape(flat, n_assets)
    losses, gradients, utilities, helds = [], [], [], []
    moved = p.new_zeros(flat)
    usable_count = p.new_zeros(flat)
    failed = torch.zeros(flat, dtype=torch.long)
    start: Tensor | None = None
    for step in range(length):
        at = rows[:, :, step].reshape(flat)
        forecast = p[:, :, step].reshape(flat, n_assets)
        target, usable, scored = samples.target[at], samples.usable[at], samples.scored[at]
        market = samples.panel.at((at + samples.lag).numpy())
        solution = walking.solve(forecast, before, market=market, tradable=usable, start=start, on_failure="hold")
        q = solution.q
        lost = solution.statuses > Status.INACCURATE
        failed += lost
        start = torch.where(lost.unsqueeze(-1), 0.0, solution.optimum.point.z)
        earned = (target * q).sum(-1)
        losses.append(torch.where(pays, solution.problem.cost(q), 0.0) - earned)
        if with_gradient:
            error = torch.where(pays.unsqueeze(-1), forecast, 0.0) - target
            gradients.append(solution.solution_map(torch.where(scored, error, 0.0)))
            moved += (solution.solution_map.flexibility > 0).sum(-1)
            usable_count += usable.sum(-1)
        if with_utility:
            utilities.append(earned - solver.costs.value(q, before, market).sum(-1))
        before = q * (1 + target) / (1 + earned).clamp(min=LOWEST_GROWTH).unsqueeze(-1)
        helds.append(before)

    def stacked(parts: list[Tensor]) -> Tensor:
        joined = torch.stack(parts, dim=1)
        return joined.reshape(n_replicas, n_chunks, *joined.shape[1:])

    by_replica = (n_replicas, n_chunks)
    return Path(
        loss=stacked(losses),
        gradient=stacked(gradients) if with_gradient else None,
        utility=stacked(utilities) if with_utility else None,
        held=stacked(helds),
        moved=moved.reshape(by_replica).sum(-1) / usable_count.reshape(by_replica).sum(-1).clamp(min=1),
        failed=failed.reshape(by_replica).sum(-1),
    )
