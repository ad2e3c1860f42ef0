"""Losses of forecasts against returns that need no solver: error in a metric, and rank correlation.

The loss of each row has one number; forecasts are (..., B, N) at rows (B,) that all replicas share, or (R, B, N) at
rows (R, B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training.objectives import ERROR_OBJECTIVES, euclidean_metric, risk_metric
from backtest.training.samples import Samples

__all__ = ["ErrorLoss", "RankCorrelation", "error_loss", "return_scale"]

SMALLEST_DISPERSION = 0.01
"""Dispersion of forecasts, in units of that of returns, below which covariance takes the place of correlation. One step
of Adam on a linear model, which starts at 0, goes about that far."""


class ErrorLoss(Protocol):
    """A loss of each row, given forecasts and returns."""

    @property
    def scale_free(self) -> bool:
        """Whether the loss is the same for any multiple of the forecasts."""

    def losses(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of each row (..., B) for forecasts `p` and returns `y` (..., B, N)."""

    def gradient(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return the derivative of each row's loss in its forecast, like `p`."""


def error_loss(name: str, samples: Samples, solver: PositionSolver, rows: np.ndarray) -> ErrorLoss:
    """Return the loss of an objective from `ERROR_OBJECTIVES`, valid at `rows`.

    Args:
        name: of the objective.
        samples: targets, and which of them are scored.
        solver: estimated on the samples' panel; whitened takes its metric from it.
        rows: rows the loss will be asked for.
    """
    if name == "squared":
        return euclidean_metric(samples)
    if name == "whitened":
        return risk_metric(samples, solver, rows)
    if name == "rank_correlation":
        return RankCorrelation.of(samples, rows)
    raise SettingsError(f"{name!r} is not an objective of forecast error: choose from {', '.join(ERROR_OBJECTIVES)}")


@dataclass(frozen=True, eq=False)
class RankCorrelation:
    """Minus the correlation, across the scored assets of each row, of forecasts with the ranks of returns.

    With `u` the forecasts less their mean, and `r` the ranks less theirs, of length 1, the loss is `-r'u / |u|` and its
    gradient `-(r - u (r'u) / |u|^2) / |u|`. It does not change when forecasts are multiplied or shifted; so the
    gradient is at right angles to both. Where `|u|` is below `floor` that takes its place: `-r'u / floor`.

    Equal returns share their mean rank. A row with no two different returns has the loss 0.

    Attributes:
        ranks: (T, N), `r`; 0 where an asset is not scored.
        scored: (T, N) bool.
        floor: (T,), return.
    """

    ranks: Tensor
    scored: Tensor
    floor: Tensor
    scale_free = True

    @staticmethod
    def of(samples: Samples, rows: np.ndarray) -> RankCorrelation:
        """Rank the scored targets of `rows`; other rows have the loss 0."""
        scored = samples.scored.clone()
        outside = np.setdiff1d(np.arange(len(scored)), rows)
        scored[torch.as_tensor(outside)] = False
        known = np.where(scored.numpy(), samples.target.numpy(), np.nan)
        ranks = torch.as_tensor(pd.DataFrame(known).rank(axis=1).fillna(0.0).to_numpy(copy=True))
        centred = _centred(ranks, scored)
        length = centred.norm(dim=-1, keepdim=True)
        dispersion = _centred(samples.target, scored).norm(dim=-1)
        return RankCorrelation(
            ranks=centred / torch.where(length > 0, length, 1.0),
            scored=scored,
            floor=torch.where(dispersion > 0, SMALLEST_DISPERSION * dispersion, 1.0),
        )

    def losses(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return minus the correlation (..., B) of forecasts `p` (..., B, N); `y` is in the ranks already."""
        centred = _centred(p, self.scored[rows])
        length = centred.norm(dim=-1).maximum(self.floor[rows])
        return -(centred * self.ranks[rows]).sum(-1) / length

    def gradient(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return the derivative of `losses`, like `p`."""
        centred, ranks, floor = _centred(p, self.scored[rows]), self.ranks[rows], self.floor[rows].unsqueeze(-1)
        length = centred.norm(dim=-1, keepdim=True)
        direction = centred / length.maximum(floor)
        along = (direction * ranks).sum(-1, keepdim=True)
        return -(ranks - torch.where(length > floor, along * direction, 0.0)) / length.maximum(floor)


def return_scale(p: Tensor, y: Tensor, scored: Tensor) -> Tensor:
    """Return the multiple (R,) of each replica's forecasts that is nearest to returns across assets; at least 0.

    It is the slope of `y` on `p`, both less their means over the scored assets of each row, in least squares: 0 for
    forecasts that explain nothing, or that are the same for all assets but for rounding.

    Args:
        p: (R, B, N) forecasts.
        y: (B, N) returns.
        scored: (B, N) bool.
    """
    u, v = _centred(p, scored), _centred(y, scored)
    square = u.square().sum((-1, -2))
    spread = square > 1e-24 * p.square().sum((-1, -2))
    slope = (u * v).sum((-1, -2)) / torch.where(spread, square, 1.0)
    return torch.where(spread, slope.clamp(min=0), 0.0)


def _centred(values: Tensor, scored: Tensor) -> Tensor:
    """Return values less their mean over the scored assets, 0 elsewhere."""
    kept = torch.where(scored, values, 0.0)
    mean = kept.sum(-1, keepdim=True) / scored.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(scored, kept - mean, 0.0)
