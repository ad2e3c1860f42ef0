"""What market impact needs to know of each asset: expected causally, row `t` from rows up to `t`; or as it came out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.errors import CostError
from backtest.market import MarketPanel

__all__ = ["LiquidityHistory", "estimate_liquidity", "realized_liquidity"]


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
    """Return the trailing volatility of returns and the trailing mean of dollar volume.

    Volatility is the root mean square of the panel's own where it has one, else the standard deviation of returns.

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
        if panel.volatility is None:
            sigma = pd.DataFrame(panel.returns).rolling(lookback, min_periods=least).std().to_numpy()
        else:
            variance = pd.DataFrame(panel.volatility**2).rolling(lookback, min_periods=least).mean()
            sigma = np.sqrt(variance.to_numpy())
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


def realized_liquidity(panel: MarketPanel, expected: LiquidityHistory) -> LiquidityHistory:
    """Return volume and volatility as they came out in each row; what is unknown or nil as it was expected there."""
    volatility, volume = expected.volatility, expected.dollar_volume
    if volatility is not None and panel.volatility is not None:
        volatility = np.where(panel.volatility > 0, panel.volatility, volatility)
    if volume is not None and panel.dollar_volume is not None:
        volume = np.where(panel.dollar_volume > 0, panel.dollar_volume, volume)
    return replace(expected, volatility=volatility, dollar_volume=volume)


def _filled(table: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Return the table with its unknown cells at the extreme of their row; a row without any as the one before."""
    worst = pd.Series(extreme.reduce(table, axis=1)).ffill().to_numpy()
    return np.where(np.isnan(table), worst[:, None], table)
