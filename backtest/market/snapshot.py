"""What a cost sees of the market: B rows of a panel at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["MarketSnapshot"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MarketSnapshot:
    """Market data at the close of B rows; everything in row b is known at the close of `dates[b]`.

    Arrays are the snapshot's own, or read-only. All fields are optional, for problems without a market.

    Attributes:
        assets: (N,) labels.
        rows: (B,) row numbers in the panel.
        calendar: (T,) dates of all rows of the panel.
        dollar_volume: (B, N) currency per period; NaN = unknown.
        volatility: (B, N) realized volatility of the period that ends at the row, return per period; NaN = unknown.
        days: (B,) calendar days from the row's date to the next row's; the usual gap at a panel's last row.
        features: (B, N, K); NaN = not available.
        feature_names: K names.
        periods_per_year: 252, 52 or 12.
        wealth: (B,) currency, what each row has to invest just before it trades.
    """

    assets: pd.Index | None = None
    rows: np.ndarray | None = None
    calendar: pd.DatetimeIndex | None = None
    dollar_volume: np.ndarray | None = None
    volatility: np.ndarray | None = None
    days: np.ndarray | None = None
    features: np.ndarray | None = None
    feature_names: tuple[str, ...] = ()
    periods_per_year: float | None = None
    wealth: np.ndarray | None = None

    @property
    def dates(self) -> pd.DatetimeIndex | None:
        """(B,) dates of the rows; None without rows or calendar."""
        # Looked up when asked for: pandas takes longer over it than a simulation over all else of a snapshot.
        return None if self.calendar is None or self.rows is None else self.calendar[self.rows]
