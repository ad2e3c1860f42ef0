"""Momentum: what won over the last year, the last month left out, goes on winning.

Source: Jegadeesh & Titman (1993), "Returns to Buying Winners and Selling Losers"; 12-1 months as in Carhart
    (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market import MarketPanel
from backtest.strategy import Strategy, grinold_forecast, trailing_volatility

__all__ = ["Momentum"]


@dataclass
class Momentum(Strategy):
    """Twelve-minus-one-month momentum, scaled to returns by Grinold's rule.

    Attributes:
        lookback_months: start of the window, months back.
        skip_months: end of the window, months back; the last month tends to reverse.
        monthly_ic: correlation to expect between score and next month's return; an opinion, not fitted.
        min_share: least share of the window's returns that must be known for a view.
    """

    lookback_months: float = 12.0
    skip_months: float = 1.0
    monthly_ic: float = 0.03
    min_share: float = 0.8

    def fit(self, history: MarketPanel) -> None:
        """Nothing to learn."""

    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected return per period; no view without a whole window or a price."""
        month = history.periods_per_year / 12
        rows, skip = round(self.lookback_months * month), round(self.skip_months * month)
        window = history.returns[-rows:]
        if len(window) < rows:
            return np.full(history.n_assets, np.nan)
        known = np.isfinite(window)
        growth = np.where(known, 1 + window, 1.0)[: rows - skip].prod(axis=0) - 1
        in_view = (known.mean(axis=0) >= self.min_share) & history.tradable[-1]
        return grinold_forecast(
            np.where(in_view, growth, np.nan),
            trailing_volatility(window, min_share=self.min_share),
            ic=self.monthly_ic,
            horizon=max(1, round(month)),
        )
