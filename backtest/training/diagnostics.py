"""Where each objective puts its weight: which names, and which directions, a forecast error there would teach.

Near a forecast every objective here is a squared error in a metric `M`: its gradient is `M (p - y)`. `M` is the
identity for squared, `H^-1` for whitened and `J`, the derivative of the positions, for aligned; all on the scored names
of a row. The weight of a name is its diagonal element, and that of a direction `v` is `v'Mv / v'v`. A name that stays
at a kink or a limit has no weight under aligned, and neither has a direction that the limits do not let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.solver import PositionSolver, Solution
from backtest.solver.derivative import SolutionMap
from backtest.training.objectives import risk_metric
from backtest.training.samples import Samples
from backtest.training.through_time import drifted

__all__ = ["gradient_weights"]

NEGLIGIBLE = 1e-9
"""Share of an objective's largest weight below which a weight is rounding."""


def gradient_weights(
    samples: Samples,
    solver: PositionSolver,
    p: np.ndarray,
    rows: np.ndarray,
    *,
    holding_periods: float = 1.0,
    directions: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return the weight that squared, whitened and aligned give each name and direction, averaged over rows.

    Positions are carried along `rows` from nothing held, as they are in training. The factors are the columns of `G` in
    the canonical problem: those of the risk model, and exposures that are penalised.

    Args:
        samples: which names are scored.
        solver: estimated on the samples' panel; with the smoothing that is asked about.
        p: (B, N) or (S, B, N) forecasts at `rows`, as of `FittedObjective.forecast`; NaN where an asset has none.
        rows: (B,) consecutive row numbers.
        holding_periods: that trading costs are divided by in decisions.
        directions: more of them, by name, each (N,).

    Returns:
        One row an objective and item, with the columns

            - `objective`: "squared", "whitened" or "aligned";
            - `kind`: "name", "factor", "direction" (those given), "rest" (at right angles to all factors), "all";
            - `item`: the asset's label, "factor 1", ..., the direction's name, "rest" or "all names";
            - `weight`: the mean over rows, and over the S forecasts, in units of the metric (a weight per return for
              whitened and aligned);
            - `relative`: in units of the mean weight of a name under that objective; 0 where none has any;
            - `active`: share of rows in which the weight is not 0. For "all": share of scored names with a gradient;
            - `rows`: rows averaged over, those in which the name is scored.

    Raises:
        SettingsError: shapes do not fit.
        CostError: whitened has no metric, as in `risk_metric`.

    Source: murkyautomata (2023), Numerai forum: the aligned gradient is `J (p - y)`, the squared one reweighted.
    """
    forecast = torch.as_tensor(np.asarray(p), dtype=torch.float64)
    forecast = forecast.unsqueeze(0) if forecast.ndim == 2 else forecast
    n_assets = samples.n_assets
    if forecast.shape[1:] != (len(rows), n_assets):
        raise SettingsError(
            f"gradient weights: p has shape {tuple(forecast.shape)}, expected (S, {len(rows)}, {n_assets}) for "
            f"{len(rows)} rows"
        )
    given = {name: torch.as_tensor(np.asarray(v), dtype=torch.float64) for name, v in (directions or {}).items()}
    for name, v in given.items():
        if v.shape != (n_assets,):
            raise SettingsError(f"gradient weights: direction {name!r} has shape {tuple(v.shape)}, not ({n_assets},)")
    metric = risk_metric(samples, solver, rows)
    walking = replace(solver, holding_periods=holding_periods)
    sums = {name: _Sums(samples.panel.assets) for name in ("squared", "whitened", "aligned")}
    held = torch.zeros(len(forecast), n_assets, dtype=torch.float64)
    for place, row in enumerate(rows.tolist()):
        scored, usable = samples.scored[row], samples.usable[row].expand(held.shape)
        solution = walking.solve(
            torch.where(usable, forecast[:, place], 0.0),
            held,
            market=samples.panel.at(np.full(len(held), row + samples.lag)),
            tradable=usable,
            on_failure="hold",
        )
        at = torch.full((1,), row)
        identity = torch.eye(n_assets, dtype=torch.float64)
        seen = _Directions.of(solution.problem.loadings[0], scored, given)
        sums["squared"].add(torch.diag(scored.double()).unsqueeze(0), scored, seen)
        sums["whitened"].add(metric.apply(identity.unsqueeze(1), at)[:, 0].unsqueeze(0), scored, seen)
        sums["aligned"].add(_jacobian(solution) * (scored & scored.unsqueeze(-1)), scored, seen)
        held = drifted(solution.q, samples.target[row])
    return pd.concat([total.table(name) for name, total in sums.items()], ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Directions:
    """Directions of one row, on its scored names.

    Attributes:
        named: kind and item of each, with its vector (N,).
        span: (N, r) orthonormal, of the factors alone.
        n_rest: dimensions at right angles to the factors.
    """

    named: dict[tuple[str, str], Tensor]
    span: Tensor
    n_rest: int

    @staticmethod
    def of(loadings: Tensor, scored: Tensor, given: Mapping[str, Tensor]) -> _Directions:
        factors = loadings * scored.unsqueeze(-1)
        left, size, _ = torch.linalg.svd(factors, full_matrices=False)
        span = left[:, size > 1e-12 * size.max()] if len(size) else factors
        named = {("factor", f"factor {number + 1}"): factors[:, number] for number in range(factors.shape[1])}
        named |= {("direction", name): vector * scored for name, vector in given.items()}
        return _Directions(named, span, int(scored.sum()) - span.shape[1])


@dataclass(eq=False)
class _Sums:
    """Weights of one objective, added up over rows and forecasts."""

    assets: pd.Index
    values: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (S, N) weights and (N,) scored, one a row
    along: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)  # (S,) one a row

    def add(self, matrix: Tensor, scored: Tensor, directions: _Directions) -> None:
        """Add one row's metric (S, N, N)."""
        diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
        self.values.append((diagonal, scored))
        for key, vector in directions.named.items():
            square = vector.square().sum()
            if square > 0:
                self.along.setdefault(key, []).append(vector @ (matrix @ vector).mT / square)
        if directions.n_rest > 0:
            within = torch.einsum("nr,snm,mr->s", directions.span, matrix, directions.span)
            self.along.setdefault(("rest", "rest"), []).append((diagonal.sum(-1) - within) / directions.n_rest)

    def table(self, objective: str) -> pd.DataFrame:
        """Return the rows of one objective."""
        weights = torch.stack([weight for weight, _ in self.values], dim=1)  # (S, B, N)
        scored = torch.stack([mask for _, mask in self.values])
        floor = NEGLIGIBLE * float(weights.max())
        counts = scored.sum(0).double()
        on = scored.expand(weights.shape)
        by_name = torch.where(on, weights, 0.0).sum((0, 1)) / (len(weights) * counts)
        active = (on & (weights > floor)).sum((0, 1)) / (len(weights) * counts)
        mean = float(weights[on].mean())
        records: list[dict[str, Any]] = [
            {"kind": "name", "item": item, "weight": weight, "active": share, "rows": count}
            for item, weight, share, count in zip(
                self.assets, by_name.tolist(), active.tolist(), counts.long().tolist(), strict=True
            )
        ]
        for (kind, item), parts in self.along.items():
            values = torch.stack(parts)
            share = float((values > floor).double().mean())
            records.append(
                {"kind": kind, "item": item, "weight": float(values.mean()), "active": share, "rows": len(parts)}
            )
        share = float((weights[on] > floor).double().mean())
        records.append({"kind": "all", "item": "all names", "weight": mean, "active": share, "rows": len(self.values)})
        table = pd.DataFrame(records)
        table.insert(0, "objective", objective)
        table.insert(4, "relative", table["weight"] / mean if mean > 0 else 0.0)
        return table


def _jacobian(solution: Solution) -> Tensor:
    """Return `J` (S, N, N)."""
    found = solution.solution_map
    if not isinstance(found, SolutionMap) or (found.proximal is None and found.bent is None):
        return found.dense()
    n_rows, n_assets = solution.q.shape
    unit = torch.eye(n_assets, dtype=torch.float64)
    return torch.stack([found(row.expand(n_rows, n_assets)) for row in unit], dim=-1)
