"""What market impact needs to know of each asset, estimated causally: row `t` uses rows up to `t` alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.errors import CostError
from backtest.market import MarketPanel

__all__ = ["LiquidityHistory", "estimate_liquidity"]


@dataclass(frozen=True, eq=False)
class LiquidityHistory:
    """Volatility and dollar volume over time. Rows before `first_row` are NaN.

    Attributes:
        volatility: (T, N), return per period; None where it was given.
        dollar_volume: (T, N), currency per period; None where it was given.
        first_row: first panel row at which both are known.
    """

    volatility: np.ndarray | None
    dollar_volume: np.ndarray | None
    first_row: int

    def at(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the rows (B,) of one of its tables, or raise `CostError` before the first."""
        if (rows < self.first_row).any():
            raise CostError(
                f"TradingCost has no estimate at row {int(rows.min())}: its first is at row {self.first_row}. "
                "Start later, or shorten its lookback"
            )
        return values[rows]


def estimate_liquidity(panel: MarketPanel, *, lookback: int, volatility: bool, volume: bool) -> LiquidityHistory:
    """Return the trailing standard deviation of returns and the trailing mean of dollar volume.

    Each is over the `lookback` rows that end at row `t`, of which half must be known. A name with fewer, or without
    a trade or a move, counts as the most volatile, or the least traded, of the names that are known at that row.

    Args:
        panel: the market; needs `dollar_volume` where `volume` is asked for.
        lookback: rows in a window, at least 4.
        volatility, volume: which to estimate.
    """
    least = lookback // 2
    sigma = dollars = None
    if volatility:
        sigma = pd.DataFrame(panel.returns).rolling(lookback, min_periods=least).std().to_numpy()
        sigma = _filled(np.where(sigma > 0, sigma, np.nan), np.fmax)
    if volume:
        if panel.dollar_volume is None:
            raise CostError(f"TradingCost: impact needs dollar_volume=, and {panel.name} has none")
        dollars = pd.DataFrame(panel.dollar_volume).rolling(lookback, min_periods=least).mean().to_numpy()
        dollars = _filled(np.where(dollars > 0, dollars, np.nan), np.fmin)
    known = np.ones(panel.n_periods, dtype=bool)
    for table in (sigma, dollars):
        known &= True if table is None else np.isfinite(table).all(axis=1)
    if not known.any():
        raise CostError(
            f"TradingCost: {panel.name} has too little history for its impact: {least} returns and volumes "
            f"within {lookback} rows, the panel has {panel.n_periods}"
        )
    return LiquidityHistory(sigma, dollars, int(np.argmax(known)))


def _filled(table: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Return the table with its unknown cells at the extreme of their row; a row without any as the one before."""
    worst = pd.Series(extreme.reduce(table, axis=1)).ffill().to_numpy()
    return np.where(np.isnan(table), worst[:, None], table)
