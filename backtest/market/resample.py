"""Daily panels to weekly or monthly ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market.corporate_actions import placed_actions
from backtest.market.panel import MarketPanel
from backtest.market.resample_events import coarse_events
from backtest.market.total_returns import total_returns

__all__ = ["to_frequency"]

_PER_YEAR = {"D": 252.0, "W": 52.0, "M": 12.0}
_CALENDAR = {"W": "W-SUN", "M": "M"}


def to_frequency(panel: MarketPanel, frequency: str) -> MarketPanel:
    """Convert a panel to business days ("D"), calendar weeks ending on Sunday ("W") or calendar months ("M").

    The last row of each week or month becomes its row, under its own date. An incomplete last (or first) period is
    kept: it compounds the days that there are.

    - Returns are compounded since the last period end with a known price. A price missing inside the period
      changes nothing; a name without a known price at the period's end has no return there, and the next
      known one spans both. The move of the last days before a name vanishes inside a period is therefore lost,
      unless it has a `Delisting`: then its last price stands at the period's end, where its shares become cash.
      The first return of a name needs a price at an earlier period end; a panel that starts with returns in
      row 0 counts the close before row 0 as one.
    - Of a panel with dividends, splits or corporate actions, returns are total returns between the prices at the
      period ends, dividends not reinvested inside a period. Events move to the end of their period and are restated
      for shares as counted there.
    - Prices, features, members and `tradable` are those of the row, the open is that of the period's first row.
      Dollar volume is summed over what is known, VWAP weighted by it (left out without it), volatility the
      root of the sum of squares, scaled up where some are unknown.
    - The cash rate at a period's end is the rate known then, compounded over the next period's length; rates
      set later are not known yet.

    A panel that already has the frequency is returned as it is.

    Args:
        panel: as fine as the frequency, or finer.
        frequency: "D", "W" or "M".

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
        **_prices_and_returns(panel, ends),
        dollar_volume=None if panel.dollar_volume is None else _summed(panel.dollar_volume, starts),
        volatility=None if panel.volatility is None else _volatility(panel.volatility, starts),
        members=None if panel.members is None else panel.members[ends],
        cash_rate=None
        if panel.cash_rate is None
        else (1 + panel.cash_rate[ends]) ** (panel.periods_per_year / per_year) - 1,
        features=None if panel.features is None else panel.features[ends],
        tradable=panel.tradable[ends],
        periods_per_year=per_year,
    )


def _prices_and_returns(panel: MarketPanel, ends: np.ndarray) -> dict[str, Any]:
    coarse = coarse_events(panel, ends)
    returns = _compounded(panel, ends)
    actions = placed_actions(
        tuple(coarse["delistings"]),
        tuple(coarse["spin_offs"]),
        dates=panel.dates[ends],
        assets=panel.assets,
        where=panel.name,
    )
    if panel.prices is None:
        for row, (columns, delisting_returns) in actions.delistings.items():
            # unknown where the name was never held at an earlier period end
            unknown = np.isnan(returns[row, columns])
            returns[row, columns] = np.where(unknown, delisting_returns, returns[row, columns])
    elif actions or panel.dividends is not None or panel.splits is not None:
        total = total_returns(coarse["prices"], dividends=coarse["dividends"], splits=coarse["splits"], actions=actions)
        # the return of a first price is only known from earlier returns
        returns = np.where(np.isnan(total), returns, total)
    return {**coarse, "returns": returns}


def _compounded(panel: MarketPanel, ends: np.ndarray) -> np.ndarray:
    """Returns (P, N) between the period ends at which a name's price is known."""
    steps = _steps(panel)
    worth = np.cumprod(1 + np.where(np.isnan(steps), 0.0, steps), axis=0)
    known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
    first = known.argmax(axis=0)
    if panel.prices is None:
        for delisting in panel.delistings:  # nothing is known after it, so its return is that of the whole period
            end = ends[np.searchsorted(ends, panel.row(delisting.date))]
            known[end, panel.assets.get_loc(delisting.asset)] = True
    stated = known[ends]
    if panel.prices is None:
        # the first return of a name says that it had a price at the close before
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
    """Returns (T, N) between known prices, and those that are known without them."""
    if panel.prices is None:
        return panel.returns
    between = total_returns(panel.prices)
    return np.where(np.isnan(between), panel.returns, between)


def _summed(volume: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.add.reduceat(np.where(np.isnan(volume), 0.0, volume), starts, axis=0)
    known = np.add.reduceat(np.isfinite(volume).astype(int), starts, axis=0)
    return np.where(known > 0, total, np.nan)


def _volatility(volatility: np.ndarray, starts: np.ndarray) -> np.ndarray:
    known = np.isfinite(volatility)
    squares = np.add.reduceat(np.where(known, volatility, 0.0) ** 2, starts, axis=0)
    count = np.add.reduceat(known.astype(int), starts, axis=0)
    rows = np.diff(np.append(starts, len(volatility)))[:, None]
    return np.sqrt(np.divide(squares * rows, count, out=np.full(squares.shape, np.nan), where=count > 0))
