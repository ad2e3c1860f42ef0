"""Walk a path of positions: at each row the solver trades from what the same model held before.

With trading costs, what a forecast is worth depends on what is held. Chunks of consecutive rows, for all replicas, are
walked side by side: R replicas, C chunks, L rows in a chunk. Each row's loss can treat what was held as given; or the
loss of a whole chunk is followed back through what was held (`backtest.training.through_time`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.solver import PositionSolver, Status
from backtest.training.row_losses import RowLosses
from backtest.training.samples import Samples
from backtest.training.through_time import Step, drifted, gradients_through_time

__all__ = ["Path", "walk"]


@dataclass(frozen=True, eq=False)
class Path:
    """What a walk met.

    Attributes:
        earned: (R, C, L) realized `y'q`, a return per period, before costs.
        utility: (R, C, L) realized `y'q - C(q)`, trading costs whole and kinks sharp, whatever the decisions were
            made with; None unless asked for.
        loss: (R, C, L) objective of each row, a return per period; None without objectives.
        gradient: (R, C, L, N) derivative in each forecast of its row's loss given what was held, or of its chunk's
            total loss; None without objectives.
        held: (R, C, L, N) weights held before trading in the row after each.
        moved: (R,) share of usable assets whose position answers to their forecast; NaN without objectives.
        failed: (R,) rows that could not be solved, which kept what they held.
    """

    earned: Tensor
    utility: Tensor | None
    loss: Tensor | None
    gradient: Tensor | None
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
    objectives: Sequence[str] | None = None,
    with_utility: bool = False,
    weigh: Callable[[Tensor], Tensor] | None = None,
    through_time: bool = False,
) -> Path:
    """Walk all chunks in time order, each carrying the positions of its own forecasts, whatever its objective.

    Losses and gradients are those of `backtest.training.losses`, with the solver's smoothing and holding periods. What
    was held is taken as given, unless gradients go through time: then, what was held before a chunk's first row. A name
    that is not scored teaches nothing: its error counts as 0, with `y = p` there in the label's problem and in that of
    `2p - y`. It gets a gradient only from the errors of names it is traded against. A row without all of its solutions
    has no gradient.

    Args:
        samples: targets, and where they may be used.
        solver: estimated on the samples' panel.
        p: (R, C, L, N) forecasts, without gradient.
        rows: (R, C, L) row numbers, consecutive along L.
        held: (R, C, N) weights before the first trade.
        holding_periods: (R,) of each replica.
        objectives: (R,) names from `ROW_OBJECTIVES`, to fill `loss` and `gradient`; None for neither.
        with_utility: fill `utility`.
        weigh: takes `loss` to the weight (R, C, L) of each row's in the gradient; None weighs all 1.
        through_time: whether a forecast answers for the later losses of its chunk too.

    Raises:
        SolverError: gradients go through time, and a cost is a CVXPY expression, which has no derivative in `held`.
    """
    n_replicas, n_chunks, length, n_assets = p.shape
    flat = n_replicas * n_chunks
    of_rows = None if objectives is None else RowLosses.of([name for name in objectives for _ in range(n_chunks)])
    stack = torch.arange(flat) if of_rows is None else of_rows.rows
    walking = replace(solver, holding_periods=holding_periods.repeat_interleave(n_chunks)[stack])
    before = held.reshape(flat, n_assets)
    earnings, utilities, losses, gradients, helds = [], [], [], [], []
    moved, usable_count = p.new_zeros(flat), p.new_zeros(flat)
    failed = torch.zeros(flat, dtype=torch.long)
    start: Tensor | None = None
    steps: list[Step] = []
    for step in range(length):
        at = rows[:, :, step].reshape(flat)
        forecast = p[:, :, step].reshape(flat, n_assets)
        target, usable = samples.target[at], samples.usable[at]
        fill = (at + samples.lag).numpy()
        market = samples.panel.at(fill[stack.numpy()])
        label = forecast if of_rows is None else of_rows.target(forecast, target, samples.scored[at])
        solution = walking.solve(
            forecast if of_rows is None else of_rows.forecasts(forecast, label),
            before[stack],
            market=market,
            tradable=usable[stack],
            start=start,
            on_failure="hold",
        )
        q = solution.q[:flat]
        lost = solution.statuses > Status.INACCURATE
        start = None if solution.start is None else torch.where(lost.unsqueeze(-1), 0.0, solution.start)
        earned = (target * q).sum(-1)
        earnings.append(earned)
        if of_rows is not None:
            lost = of_rows.any_of(lost)
            loss, gradient = of_rows.judge(solution, forecast, label)
            losses.append(loss)
            gradients.append(torch.where(lost.unsqueeze(-1), 0.0, gradient))
            if through_time:
                steps.append(Step(solution, forecast, label, before, target, market, usable, lost))
            moved += solution.free[:flat].sum(-1)
            usable_count += usable.sum(-1)
        failed += lost
        if with_utility:
            realized = market if of_rows is None else samples.panel.at(fill)
            utilities.append(earned - solver.costs.value(q, before, realized).sum(-1))
        before = drifted(q, target)
        helds.append(before)

    def stacked(parts: list[Tensor]) -> Tensor:
        joined = torch.stack(parts, dim=1)
        return joined.reshape(n_replicas, n_chunks, *joined.shape[1:])

    every_loss = None if of_rows is None else stacked(losses)
    if every_loss is not None:
        weights = torch.ones_like(every_loss) if weigh is None else weigh(every_loss)
        if through_time:
            assert of_rows is not None
            flat_weights = weights.reshape(flat, length)
            gradients = gradients_through_time(steps, walking, of_rows, flat_weights)
        elif weigh is not None:
            gradients = [part * weights[:, :, step].reshape(flat, 1) for step, part in enumerate(gradients)]
    by_replica = (n_replicas, n_chunks)
    moved = moved.reshape(by_replica).sum(-1) / usable_count.reshape(by_replica).sum(-1).clamp(min=1)
    return Path(
        earned=stacked(earnings),
        utility=stacked(utilities) if with_utility else None,
        loss=every_loss,
        gradient=None if of_rows is None else stacked(gradients),
        held=stacked(helds),
        moved=torch.full_like(moved, torch.nan) if of_rows is None else moved,
        failed=failed.reshape(by_replica).sum(-1),
    )
