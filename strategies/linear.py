"""Linear: a ridge regression of returns on the panel's features, one model for all names.

Source: Hoerl & Kennard (1970), "Ridge Regression: Biased Estimation for Nonorthogonal Problems".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from backtest.errors import StrategyError
from backtest.market import MarketPanel
from backtest.strategy import Strategy

__all__ = ["Linear"]


@dataclass
class Linear(Strategy):
    """Pooled ridge regression in closed form. Features are standardised; a missing one counts as its mean.

    Attributes:
        penalty: ridge penalty, in units of a standardised feature's variance: 0.1 shrinks a lone coefficient
            by 1/11.
        lag: rows from a forecast to its fill; must be the simulator's own.
    """

    penalty: float = 0.1
    lag: int = 1
    _mean: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _scale: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _slope: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _intercept: float = field(default=0.0, init=False, repr=False)

    def fit(self, history: MarketPanel) -> None:
        """Regress the returns that are known by today on the features `lag` + 1 rows before them."""
        features, target = self._features(history), history.targets(self.lag)
        used = np.isfinite(target) & np.isfinite(features).any(axis=-1)
        x, y = features[used], target[used]
        if len(y) <= history.n_features:
            raise StrategyError(
                f"Linear: {len(y)} examples for {history.n_features} features by "
                f"{history.dates[-1]:%Y-%m-%d}: start with a later first_row"
            )
        known = np.isfinite(x)
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, x, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, x - self._mean, 0.0) ** 2).sum(axis=0) / count)
        self._scale = np.where(spread > 0, spread, 1.0)
        z = np.nan_to_num((x - self._mean) / self._scale)
        self._intercept = float(y.mean())
        gram = z.T @ z / len(y) + self.penalty * np.eye(history.n_features)
        self._slope = np.linalg.solve(gram, z.T @ (y - self._intercept) / len(y))

    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected return per period; no view on a name without any feature today."""
        today = self._features(history)[-1]
        z = np.nan_to_num((today - self._mean) / self._scale)
        return np.where(np.isfinite(today).any(axis=-1), self._intercept + z @ self._slope, np.nan)

    def _features(self, history: MarketPanel) -> np.ndarray:
        if history.features is None:
            raise StrategyError(f"Linear needs features, and {history.name} has none: use panel.with_features(...)")
        return history.features
