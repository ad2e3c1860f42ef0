"""The scale of forecasts, learned on validation: one factor, or one for each group of assets alike.

A forecast decides leverage by its scale, and a model's scale is what its training says least about: weak signals are
overfitted, and costs and limits make a small error of scale cheap in one place and dear in another. So the scale is
chosen by what it earns: net utility on validation, a closed search, the same for every model and objective.

Groups are thirds (or other shares) of the assets of each date, ranked by trailing volatility or traded value; they use
nothing later than the date.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from backtest.errors import DataError
from backtest.training.models import ForecastModel
from backtest.training.samples import Inputs

__all__ = ["SizedModel", "groups_of", "search_factor", "search_group_factors"]

LOOKBACK = 63
"""Rows over which volatility and traded value are measured."""

FEWEST = 10
"""Known values below which an asset is not measured, and counts as being in the middle."""

ROUNDS, POINTS = 3, 5
"""A search looks at `POINTS` factors inside a bracket, then between the neighbours of the best, `ROUNDS` times."""

STEPS = (1.0, 0.1, 0.3, 0.6, 1.6, 3.0)
"""What a group's factor is multiplied by in turn; the first keeps it, so a tie does too."""

SWEEPS = 2


def search_factor(
    utility: Callable[[np.ndarray], np.ndarray], start: float, *, choices: Sequence[float]
) -> tuple[float, float]:
    """Return the factor with the best mean utility about `start`, and that utility.

    The bracket reaches to the neighbours of `start` among `choices`, or as far again on a side that has none (a factor
    of 3 where `start` is alone). A factor is taken only if it is better than `start`.

    Args:
        utility: maps factors (C,) to utilities (C, S).
        start: the best of `choices`.
        choices: factors tried before.
    """
    ordered = sorted(choices)
    place = ordered.index(start)
    ratio = [right / left for left, right in pairwise(ordered)]
    below = ratio[place - 1] if place else (ratio[0] if ratio else 3.0)
    above = ratio[place] if place < len(ratio) else (ratio[-1] if ratio else 3.0)
    points = np.geomspace(start / below, start * above, POINTS + 2)
    best, best_value = start, float(utility(np.array([start])).mean())
    for _ in range(ROUNDS):
        values = utility(points[1:-1]).mean(axis=1)
        inside = 1 + int(values.argmax())
        if values.max() > best_value:
            best, best_value = float(points[inside]), float(values.max())
        points = np.geomspace(points[inside - 1], points[inside + 1], POINTS + 2)
    return best, best_value


def search_group_factors(utility: Callable[[np.ndarray], np.ndarray], n_groups: int) -> np.ndarray:
    """Return factors (n_groups,), found group by group, in `SWEEPS` sweeps over the groups.

    Args:
        utility: maps factors (C, n_groups) to utilities (C, S).
        n_groups: how many groups.
    """
    factors = np.ones(n_groups)
    for _ in range(SWEEPS):
        for group in range(n_groups):
            tried = np.repeat(factors[None], len(STEPS), axis=0)
            tried[:, group] *= STEPS
            factors = tried[int(utility(tried).mean(axis=1).argmax())]
    return factors


def groups_of(inputs: Inputs, rows: Tensor, *, kind: str, n_groups: int) -> Tensor:
    """Return the group (..., N) of each asset at `rows` (...): 0 for the least volatile, or the least traded.

    Args:
        inputs: returns and traded value up to each row.
        rows: row numbers.
        kind: "volatility" or "liquidity".
        n_groups: groups of equal numbers of assets; what cannot be measured is in the middle one.

    Raises:
        DataError: "liquidity" without traded values.
    """
    data = inputs.returns if kind == "volatility" else inputs.dollar_volume
    if data is None:
        raise DataError(
            'sizing "liquidity" needs what is traded: give the panel dollar_volume, or size by "volatility"'
        )
    distinct, place = np.unique(rows.numpy(), return_inverse=True)
    groups = np.full((len(distinct), inputs.n_assets), n_groups // 2)
    for number, row in enumerate(distinct):
        recent = data[max(0, row + 1 - LOOKBACK) : row + 1]
        known = np.isfinite(recent)
        count = known.sum(axis=0)
        measured = np.flatnonzero(count >= FEWEST)
        if not len(measured):
            continue
        kept = np.where(known, recent, 0.0)[:, measured]
        size = kept.sum(axis=0) / count[measured]
        if kind == "volatility":
            size = (np.where(known[:, measured], kept - size, 0.0) ** 2).sum(axis=0) / count[measured]
        ranks = np.empty(len(measured), dtype=int)
        ranks[np.argsort(size, kind="stable")] = np.arange(len(measured))
        groups[number, measured] = ranks * n_groups // len(measured)
    return torch.as_tensor(groups[place.reshape(rows.shape)])


@dataclass(frozen=True, eq=False)
class SizedModel:
    """A model whose forecasts are multiplied by a factor for each group of assets.

    Attributes:
        model: R replicas.
        kind: "volatility" or "liquidity".
        factors: (R, n_groups) float64.
    """

    model: ForecastModel
    kind: str
    factors: Tensor

    @property
    def n_replicas(self) -> int:
        """R."""
        return self.model.n_replicas

    @property
    def history(self) -> int:
        """Rows that a forecast looks at."""
        return max(self.model.history, LOOKBACK)

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) for `rows` (B,), shared by all replicas, or (R, ...)."""
        groups = groups_of(inputs, rows, kind=self.kind, n_groups=self.factors.shape[1])
        if rows.ndim == 1:
            groups = groups.expand(self.n_replicas, *groups.shape)
        factors = self.factors.gather(1, groups.flatten(1)).reshape(groups.shape)
        return factors * self.model.forecast(inputs, rows)

    def replicas(self, index: Tensor) -> SizedModel:
        """Return the replicas `index`, which may repeat."""
        return replace(self, model=self.model.replicas(index), factors=self.factors[index])

    def scaled(self, factors: Tensor) -> SizedModel:
        """Return the model whose replicas' forecasts are multiplied by `factors` (R,)."""
        return replace(self, model=self.model.scaled(factors))

    def stacked(self, others: Sequence[SizedModel]) -> SizedModel:
        """Return one model with the replicas of this one and of all others, in order."""
        return replace(
            self,
            model=self.model.stacked([other.model for other in others]),
            factors=torch.cat([self.factors, *(other.factors for other in others)]),
        )
