"""Splits, dividends, fills and corporate actions of fine rows, counted for the coarse rows that they fall in.

All is restated for shares as counted at the end of the coarse period: `after[u]` is the number of shares there for
one share after the splits of row u.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.market.corporate_actions import SpinOff

if TYPE_CHECKING:
    from backtest.market.panel import MarketPanel

__all__ = ["coarse_events"]


def coarse_events(panel: MarketPanel, ends: np.ndarray) -> dict[str, Any]:
    """The fields that splits and corporate actions touch, prices included, for periods that end at rows `ends`.

    Args:
        panel: T rows.
        ends: (P,) last row of each period.

    Returns:
        by field name: (P, N) arrays, and delistings and spin-offs dated on the last rows. A name that is delisted, or
        first spun off, inside a period has at its end the last known price, which is what its holder is paid on.
    """
    after = None if panel.splits is None else _after(panel.splits, ends)
    coarse: dict[str, Any] = {"delistings": []}
    coarse["splits"] = None if panel.splits is None else np.multiply.reduceat(panel.splits, _starts(ends), axis=0)
    coarse["dividends"] = None if panel.dividends is None else _summed(_restated(panel.dividends, after), ends)
    coarse["open_prices"] = None
    if panel.open_prices is not None:
        coarse["open_prices"] = _restated(panel.open_prices, after)[_starts(ends)]
    coarse["vwap"] = None
    if panel.vwap is not None and panel.dollar_volume is not None:
        coarse["vwap"] = _vwap(_restated(panel.vwap, after), panel.dollar_volume, ends)
    prices = None if panel.prices is None else panel.prices[ends].copy()

    def period_of(date: Any) -> tuple[int, int]:
        row = panel.row(date)
        return row, int(np.searchsorted(ends, row))

    def state(period: int, asset: str) -> None:
        if prices is not None:
            column = _column(panel, asset)
            prices[period, column] = _last_price(panel, int(ends[period]), column)

    for delisting in panel.delistings:
        _, period = period_of(delisting.date)
        state(period, delisting.asset)
        coarse["delistings"].append(replace(delisting, date=panel.dates[ends[period]]))
    ratios: dict[tuple[str, str, pd.Timestamp], float] = {}  # one spin-off a period, however many fell in it
    for spin_off in panel.spin_offs:
        row, period = period_of(spin_off.date)
        parent, child = (_column(panel, name) for name in (spin_off.parent, spin_off.child))
        if prices is not None and not np.isfinite(prices[: period + 1, child]).any():
            state(period, spin_off.child)
        ratio = spin_off.ratio if after is None else spin_off.ratio * after[row, child] / after[row, parent]
        key = (spin_off.parent, spin_off.child, panel.dates[ends[period]])
        ratios[key] = ratios.get(key, 0.0) + float(ratio)
    coarse["spin_offs"] = [SpinOff(parent, child, ratio, date) for (parent, child, date), ratio in ratios.items()]
    return {**coarse, "prices": prices}


def _after(splits: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Shares (T, N) at the end of the period for one share after the splits of each row."""
    after = np.ones(splits.shape)
    for start, end in pairwise([-1, *ends.tolist()]):
        for row in range(end - 1, start, -1):
            after[row] = after[row + 1] * splits[row + 1]
    return after


def _summed(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, _starts(ends), axis=0)


def _starts(ends: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], ends[:-1] + 1))


def _restated(values: np.ndarray, after: np.ndarray | None) -> np.ndarray:
    """Currency a share of each row, for a share at the end of the period."""
    return values if after is None else values / after


def _vwap(vwap: np.ndarray, dollar_volume: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Money over shares, over the rows where both are known."""
    shares = dollar_volume / vwap
    known = np.isfinite(shares)
    money = _summed(np.where(known, dollar_volume, 0.0), ends)
    total = _summed(np.where(known, shares, 0.0), ends)
    return np.divide(money, total, out=np.full(total.shape, np.nan), where=total > 0)


def _column(panel: MarketPanel, asset: str) -> int:
    return int(panel.assets.get_indexer(pd.Index([asset]))[0])


def _last_price(panel: MarketPanel, row: int, column: int) -> float:
    """The last known price at or before a row, for a share as counted there; NaN where there is none."""
    assert panel.prices is not None
    known = np.flatnonzero(np.isfinite(panel.prices[: row + 1, column]))
    if not len(known):
        return np.nan
    last = known[-1]
    since = 1.0 if panel.splits is None else float(np.prod(panel.splits[last + 1 : row + 1, column]))
    return float(panel.prices[last, column] / since)
