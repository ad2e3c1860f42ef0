"""What a model is trained on: features, targets, and which of them may be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from backtest.errors import DataError
from backtest.market import MarketPanel

__all__ = ["Inputs", "RecentInputs", "Samples", "windows"]


class Inputs(Protocol):
    """What a model forecasts from: row t holds what is known at the close of t, and nothing later."""

    @property
    def features(self) -> Tensor:
        """(T, N, K) float32; 0 where not available."""

    @property
    def available(self) -> Tensor:
        """(T, N) bool: all features of the asset are there."""

    @property
    def n_features(self) -> int:
        """K."""

    @property
    def n_assets(self) -> int:
        """N."""

    @property
    def returns(self) -> np.ndarray:
        """(T, N) return of each row over the row before; NaN where unknown."""

    @property
    def dollar_volume(self) -> np.ndarray | None:
        """(T, N) traded in each row, in currency; None where the panel has none."""


def windows(inputs: Inputs, rows: Tensor, history: int) -> Tensor:
    """Return the features of `history` rows up to each of `rows`, oldest first, and a mark of which are there.

    Only the rows asked for are copied. What is not available, and what is before row 0, counts as 0 with mark 0.

    Args:
        inputs: features of T rows.
        rows: (...) row numbers.
        history: L, rows in a window, the last being the row itself.

    Returns:
        (..., N, L, K + 1) float32; the last feature is the mark, 1 or 0.
    """
    at = rows.unsqueeze(-1) + torch.arange(1 - history, 1)
    inside = (at >= 0).unsqueeze(-1)
    at = at.clamp(min=0)
    mark = (inputs.available[at] & inside).unsqueeze(-1)
    joined = torch.cat([inputs.features[at] * inside.unsqueeze(-1), mark.float()], dim=-1)
    return joined.transpose(-2, -3)


def _available(features: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return features (T, N, K) with 0 for assets that lack any, and which (T, N) have all."""
    available = np.isfinite(features).all(axis=-1)
    kept = np.where(available[..., None], features, 0.0)
    return torch.as_tensor(kept, dtype=torch.float32), torch.as_tensor(available)


@dataclass(frozen=True, eq=False)
class RecentInputs:
    """The last rows of a panel, for a forecast made today; attributes as in `Inputs`."""

    features: Tensor
    available: Tensor
    returns: np.ndarray
    dollar_volume: np.ndarray | None

    @staticmethod
    def of(panel: MarketPanel, n_rows: int) -> RecentInputs:
        """Take the last `n_rows` rows of a panel that has features, or as many as it has.

        Raises:
            DataError: the panel has no features.
        """
        if panel.features is None:
            raise DataError(f"{panel.name}: a model needs features: call price_features(panel) or panel.with_features")
        first = max(0, panel.n_periods - n_rows)
        features, available = _available(panel.features[first:])
        volume = None if panel.dollar_volume is None else panel.dollar_volume[first:]
        return RecentInputs(features, available, panel.returns[first:], volume)

    @property
    def n_features(self) -> int:
        """K."""
        return self.features.shape[-1]

    @property
    def n_assets(self) -> int:
        """N."""
        return self.features.shape[1]


@dataclass(frozen=True, eq=False)
class Samples:
    """A panel's features and targets as tensors; row t is the forecast made at the close of t.

    Attributes:
        panel: where they come from.
        lag: periods from the forecast to the fill.
        features: (T, N, K) float32; 0 where not available.
        available: (T, N) bool: all features of the asset are there.
        target: (T, N) float64, total return of the first period after the fill; 0 where unknown.
        usable: (T, N) bool: all features are available, and the asset can be traded at the fill.
        scored: (T, N) bool: usable, and the target is known.
    """

    panel: MarketPanel
    lag: int
    features: Tensor
    available: Tensor
    target: Tensor
    usable: Tensor
    scored: Tensor

    @staticmethod
    def of(panel: MarketPanel, *, lag: int = 1) -> Samples:
        """Take the samples of a `panel` that has features, with `lag` periods from a forecast to its fill.

        Raises:
            DataError: the panel has no features.
        """
        if panel.features is None:
            raise DataError(f"{panel.name}: a model needs features: call price_features(panel) or panel.with_features")
        features, available = _available(panel.features)
        tradable_at_fill = np.zeros_like(panel.tradable)
        tradable_at_fill[: panel.n_periods - lag] = panel.tradable[lag:]
        usable = available.numpy() & tradable_at_fill
        target = panel.targets(lag)
        known = np.isfinite(target)
        return Samples(
            panel=panel,
            lag=lag,
            features=features,
            available=available,
            target=torch.as_tensor(np.where(known, target, 0.0)),
            usable=torch.as_tensor(usable),
            scored=torch.as_tensor(usable & known),
        )

    @property
    def n_features(self) -> int:
        """K."""
        return self.features.shape[-1]

    @property
    def n_assets(self) -> int:
        """N."""
        return self.features.shape[1]

    @property
    def returns(self) -> np.ndarray:
        """(T, N) the panel's returns."""
        return self.panel.returns

    @property
    def dollar_volume(self) -> np.ndarray | None:
        """(T, N) the panel's; None where it has none."""
        return self.panel.dollar_volume

    @property
    def first_row(self) -> int:
        """First row at which half of the assets that could be filled have their features.

        Raises:
            DataError: there is none.
        """
        usable = self.usable.numpy()
        fillable = np.zeros_like(usable)
        fillable[: len(usable) - self.lag] = self.panel.tradable[self.lag :]
        enough = usable.any(axis=1) & (2 * usable.sum(axis=1) >= fillable.sum(axis=1))
        if not enough.any():
            raise DataError(f"{self.panel.name}: at no date do half of the assets have all of their features")
        return int(np.argmax(enough))

    def target_scale(self, rows: np.ndarray) -> float:
        """Return the root mean square of the scored targets in `rows` (n,): the unit a model's output is scaled to.

        A return per period.

        Raises:
            DataError: nothing is scored in these rows.
        """
        scored = self.scored[rows]
        if not bool(scored.any()):
            first, last = self.panel.dates[rows[0]], self.panel.dates[rows[-1]]
            raise DataError(
                f"{self.panel.name}: no asset has features and a target between {first:%Y-%m-%d} and {last:%Y-%m-%d}"
            )
        return float(self.target[rows][scored].square().mean().sqrt())
