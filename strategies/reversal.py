"""Short-term reversal: what fell most over the last week recovers over the next.

Source: Lehmann (1990), "Fads, Martingales, and Market Efficiency"; Jegadeesh (1990) for a month.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market import MarketPanel
from backtest.strategy import Strategy, grinold_forecast, trailing_volatility

__all__ = ["Reversal"]


@dataclass
class Reversal(Strategy):
    """Minus the return of the last weeks, scaled to returns by Grinold's rule over as many weeks.

    Attributes:
        weeks: length of the window, and of the time over which it is expected to reverse; at least one
            period.
        ic: correlation to expect between score and return over that time; an opinion, not fitted.
        volatility_months: window of the volatility that turns scores into returns.
    """

    weeks: float = 1.0
    ic: float = 0.02
    volatility_months: float = 6.0

    def fit(self, history: MarketPanel) -> None:
        """Nothing to learn."""

    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected return per period; no view where a return of the window is missing."""
        rows = max(1, round(self.weeks * history.periods_per_year / 52))
        volatility_rows = max(6, round(self.volatility_months * history.periods_per_year / 12))
        if history.n_periods < volatility_rows:
            return np.full(history.n_assets, np.nan)
        last = history.returns[-rows:]  # a missing return makes the product, and so the view, NaN
        growth = (1 + last).prod(axis=0) - 1
        return grinold_forecast(
            np.where(history.tradable[-1], -growth, np.nan),
            trailing_volatility(history.returns[-volatility_rows:]),
            ic=self.ic,
            horizon=rows,
        )
