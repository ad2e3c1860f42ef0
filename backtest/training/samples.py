"""What a model is trained on: features, targets, and which of them may be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.errors import DataError
from backtest.market import MarketPanel

__all__ = ["Samples"]


@dataclass(frozen=True, eq=False)
class Samples:
    """A panel's features and targets as tensors; row t is the forecast made at the close of t.

    Attributes:
        panel: where they come from.
        lag: periods from the forecast to the fill.
        features: (T, N, K) float32; 0 where not available.
        target: (T, N) float64, total return of the first period after the fill; 0 where unknown.
        usable: (T, N) bool: all features are available, and the asset can be traded at the fill.
        scored: (T, N) bool: usable, and the target is known.
    """

    panel: MarketPanel
    lag: int
    features: Tensor
    target: Tensor
    usable: Tensor
    scored: Tensor

    @staticmethod
    def of(panel: MarketPanel, *, lag: int = 1) -> Samples:
        """Take the samples of a panel that has features.

        Raises:
            DataError: the panel has no features.
        """
        if panel.features is None:
            raise DataError(f"{panel.name}: a model needs features: call price_features(panel) or panel.with_features")
        available = np.isfinite(panel.features).all(axis=-1)
        tradable_at_fill = np.zeros_like(panel.tradable)
        tradable_at_fill[: panel.n_periods - lag] = panel.tradable[lag:]
        usable = available & tradable_at_fill
        target = panel.targets(lag)
        known = np.isfinite(target)
        return Samples(
            panel=panel,
            lag=lag,
            features=torch.as_tensor(np.where(available[..., None], panel.features, 0.0), dtype=torch.float32),
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
    def first_row(self) -> int:
        """First row at which half of the assets that could be filled have their features."""
        usable = self.usable.numpy()
        fillable = np.zeros_like(usable)
        fillable[: len(usable) - self.lag] = self.panel.tradable[self.lag :]
        enough = usable.any(axis=1) & (2 * usable.sum(axis=1) >= fillable.sum(axis=1))
        if not enough.any():
            raise DataError(f"{self.panel.name}: at no date do half of the assets have all of their features")
        return int(np.argmax(enough))

    def target_scale(self, rows: np.ndarray) -> float:
        """Return the root mean square of the scored targets in `rows`: the unit a model's output is scaled to."""
        scored = self.scored[rows]
        if not bool(scored.any()):
            first, last = self.panel.dates[rows[0]], self.panel.dates[rows[-1]]
            raise DataError(
                f"{self.panel.name}: no asset has features and a target between {first:%Y-%m-%d} and {last:%Y-%m-%d}"
            )
        return float(self.target[rows][scored].square().mean().sqrt())
