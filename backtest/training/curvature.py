"""Gradients of the aligned loss with the diagonal of its curvature, for learners that take Newton steps.

The aligned loss has the gradient `J (p - y)` in the forecast and, while the set of names at kinks stays, the Hessian
`J`. Boosted trees need the diagonal of it. In a metric, `M (p - y)` and `M` take their places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver, Solution, Status
from backtest.solver.derivative import SolutionMap
from backtest.training.objectives import Metric
from backtest.training.samples import Samples
from backtest.training.through_time import drifted

__all__ = ["CurvedPath", "map_diagonal", "metric_diagonal", "walk_with_curvature"]


def metric_diagonal(metric: Metric, rows: np.ndarray) -> Tensor:
    """Return the diagonal (len(rows), N) of the metric `H^-1` of each row."""
    parts = []
    for part in torch.as_tensor(rows).split(64):
        inverse = metric.inverse_diagonal[part]
        loadings = metric.loadings[metric.model_of[part]]
        if loadings.shape[-1]:
            solved = torch.cholesky_solve(loadings.mT, metric.factor[part]).mT
            inverse = inverse - inverse.square() * (loadings * solved).sum(-1)
        parts.append(inverse)
    return torch.cat(parts)


def map_diagonal(solution: Solution) -> Tensor:
    """Return the diagonal (B, N) of the derivative `J` of positions in forecasts; 0 in a row that failed.

    Where some asset has no cost that curves, that of one proximal step, which is smaller.
    """
    solution_map = solution.solution_map
    if not isinstance(solution_map, SolutionMap):
        return torch.diagonal(solution_map.dense(), dim1=-2, dim2=-1)
    flexibility = solution_map.flexibility
    columns = solution_map.dual.columns.expand(len(flexibility), -1, -1)
    columns = torch.cat([columns, solution_map.dual.norm_signs(solution_map.x)], dim=-1)
    weighted = flexibility.unsqueeze(-1) * columns * solution_map.binding.unsqueeze(-2)
    moved = torch.cholesky_solve(weighted.mT, solution_map.factor)
    diagonal = flexibility - (weighted.mT * moved).sum(-2)
    if solution_map.bent is not None:
        directions, inverse = solution_map.bent
        diagonal = diagonal - (directions @ inverse * directions).sum(-1)
    return diagonal.clamp(min=0)


@dataclass(frozen=True, eq=False)
class CurvedPath:
    """What a walk met: R replicas, C chunks, L rows in a chunk.

    Attributes:
        gradient: (R, C, L, N) derivative `J (p - y)` of each row's aligned loss, given what was held.
        curvature: (R, C, L, N) diagonal of `J`.
        held: (R, C, L, N) weights held before trading in the row after each.
        moved: (R,) share of usable assets whose position answers to their forecast.
        failed: (R,) rows that could not be solved, which kept what they held and teach nothing.
    """

    gradient: Tensor
    curvature: Tensor
    held: Tensor
    moved: Tensor
    failed: Tensor


def walk_with_curvature(
    samples: Samples, solver: PositionSolver, *, p: Tensor, rows: Tensor, held: Tensor, holding_periods: Tensor
) -> CurvedPath:
    """Walk all chunks in time order on the aligned loss; as `backtest.training.path.walk`, with curvature.

    Args:
        samples: targets, and where they may be used.
        solver: estimated on the samples' panel.
        p: (R, C, L, N) forecasts.
        rows: (R, C, L) row numbers, consecutive along L.
        held: (R, C, N) weights before the first trade.
        holding_periods: (R,) of each replica.
    """
    n_replicas, n_chunks, length, n_assets = p.shape
    flat = n_replicas * n_chunks
    walking = replace(solver, holding_periods=holding_periods.repeat_interleave(n_chunks))
    before, start = held.reshape(flat, n_assets), None
    gradients, curvatures, helds = [], [], []
    moved, usable_count, failed = p.new_zeros(flat), p.new_zeros(flat), torch.zeros(flat, dtype=torch.long)
    for step in range(length):
        at = rows[:, :, step].reshape(flat)
        forecast, target, usable = p[:, :, step].reshape(flat, n_assets), samples.target[at], samples.usable[at]
        solution = walking.solve(
            forecast,
            before,
            market=samples.panel.at((at + samples.lag).numpy()),
            tradable=usable,
            start=start,
            on_failure="hold",
        )
        lost = (solution.statuses > Status.INACCURATE).unsqueeze(-1)
        start = None if solution.start is None else torch.where(lost, 0.0, solution.start)
        error = torch.where(samples.scored[at], forecast - target, 0.0)
        gradients.append(torch.where(lost, 0.0, solution.solution_map(error)))
        curvatures.append(torch.where(lost, 0.0, map_diagonal(solution)))
        moved, usable_count, failed = moved + solution.free.sum(-1), usable_count + usable.sum(-1), failed + lost[:, 0]
        before = drifted(solution.q, target)
        helds.append(before)

    def stacked(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, dim=1).reshape(p.shape)

    by_replica = (n_replicas, n_chunks)
    return CurvedPath(
        gradient=stacked(gradients),
        curvature=stacked(curvatures),
        held=stacked(helds),
        moved=moved.reshape(by_replica).sum(-1) / usable_count.reshape(by_replica).sum(-1).clamp(min=1),
        failed=failed.reshape(by_replica).sum(-1),
    )
