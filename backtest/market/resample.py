"""Daily panels to weekly or monthly ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["to_frequency"]

_PER_YEAR = {"D": 252.0, "W": 52.0, "M": 12.0}
_CALENDAR = {"W": "W-SUN", "M": "M"}


def to_frequency(panel: MarketPanel, frequency: str) -> MarketPanel:
    """Convert a panel to business days ("D"), calendar weeks ending on Sunday ("W") or calendar months ("M").

    The last row of each week or month becomes its row, under its own date. An incomplete last (or first)
    period is kept: it compounds the days that there are.

    - Returns are compounded since the last period end with a known price. A price missing inside the period
      changes nothing; a name without a known price at the period's end has no return there, and the next
      known one spans both. The move of the last days before a delisting inside a period is therefore lost.
      The first return of a name needs a price at an earlier period end; a panel that starts with returns in
      row 0 counts the close before row 0 as one.
    - Prices, features and `tradable` are those of the row. Dollar volume is summed over what is known.
    - The cash rate at a period's end is the rate known then, compounded over the next period's length; rates
      set later are not known yet.

    A panel that already has the frequency is returned as it is.

    Raises:
        SettingsError: unknown frequency, or one finer than the panel's.
    """
    if frequency not in _PER_YEAR:
        raise SettingsError(f"frequency {frequency!r} is unknown: choose D, W or M")
    per_year = _PER_YEAR[frequency]
    if frequency == "D" and panel.periods_per_year >= per_year:
        return panel
    if per_year > panel.periods_per_year:
        raise SettingsError(
            f"{panel.name}: {panel.periods_per_year:g} periods a year cannot become {per_year:g}: "
            "choose a coarser frequency or read finer data"
        )
    if per_year == panel.periods_per_year:
        return panel
    period = panel.dates.to_period(_CALENDAR[frequency])
    ends = np.flatnonzero(np.append(period[1:] != period[:-1], True))
    starts = np.concatenate(([0], ends[:-1] + 1))
    return replace(
        panel,
        dates=panel.dates[ends],
        returns=_compounded(panel, ends),
        prices=None if panel.prices is None else panel.prices[ends],
        dollar_volume=None if panel.dollar_volume is None else _summed(panel.dollar_volume, starts),
        cash_rate=None
        if panel.cash_rate is None
        else (1 + panel.cash_rate[ends]) ** (panel.periods_per_year / per_year) - 1,
        features=None if panel.features is None else panel.features[ends],
        tradable=panel.tradable[ends],
        periods_per_year=per_year,
    )


def _compounded(panel: MarketPanel, ends: np.ndarray) -> np.ndarray:
    """Returns (P, N) between the period ends at which a name's price is known."""
    steps = _steps(panel)
    worth = np.cumprod(1 + np.where(np.isnan(steps), 0.0, steps), axis=0)
    known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
    stated = known[ends]
    if panel.prices is None:
        # the first return of a name says that it had a price at the close before
        first = known.argmax(axis=0)
        late = np.flatnonzero(first > 0)
        known[first[late] - 1, late] = True
    base = np.ones((1, panel.n_assets))
    base_known = np.isfinite(panel.returns[:1])
    marks = np.concatenate([np.where(base_known, base, np.nan), np.where(known[ends], worth[ends], np.nan)])
    last = pd.DataFrame(marks).ffill().to_numpy()[:-1].copy()
    last[last == 0] = np.nan  # after a total loss there is nothing to earn a return on
    returns = marks[1:] / last - 1
    return np.where(stated, returns, np.nan)


def _steps(panel: MarketPanel) -> np.ndarray:
    """Returns (T, N), with those that are unknown between two known prices taken from the prices."""
    if panel.prices is None:
        return panel.returns
    marked = pd.DataFrame(panel.prices).ffill().to_numpy()
    between = np.full(panel.returns.shape, np.nan)
    between[1:] = panel.prices[1:] / marked[:-1] - 1
    return np.where(np.isnan(panel.returns), between, panel.returns)


def _summed(volume: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.add.reduceat(np.where(np.isnan(volume), 0.0, volume), starts, axis=0)
    known = np.add.reduceat(np.isfinite(volume).astype(int), starts, axis=0)
    return np.where(known > 0, total, np.nan)
