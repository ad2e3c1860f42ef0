"""Prices that stand still: filled in before the first trade, without volume, or for a long time."""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.findings import Edit, Finding, Put, finding

__all__ = ["find_backfilled_history", "find_stale_runs", "find_zero_volume"]

_LEAST_BACKFILL = 20
_LEAST_STALE = 10


def find_backfilled_history(bars: Bars) -> list[Finding]:
    """Find histories that begin with 20 equal closes or more on which nothing traded: filled in backwards."""
    return [
        _missing(
            bars,
            "backfill",
            np.arange(first, last),
            message=f"the first {last - first} closes are all {bars.values(bars.price)[first]:g} and nothing traded",
            cure="make prices missing until the first trade",
        )
        for first, last, leads in _runs(bars, _LEAST_BACKFILL)
        if leads
    ]


def find_stale_runs(bars: Bars) -> list[Finding]:
    """Find runs of 10 equal closes or more after the first price, on which nothing is known to have traded."""
    return [
        _missing(
            bars,
            "stale",
            np.arange(first + 1, last),
            message=f"the close stays at {bars.values(bars.price)[first]:g} for {last - first} rows",
            cure="make prices missing after the first of them",
        )
        for first, last, leads in _runs(bars, _LEAST_STALE)
        if not (leads and last - first >= _LEAST_BACKFILL)
    ]


def find_zero_volume(bars: Bars) -> list[Finding]:
    """Find rows with a volume of zero and the close of the row before: nobody traded at that price."""
    if "volume" not in bars.table:
        return []
    price, codes = bars.values(bars.price), bars.codes
    constant = np.zeros(len(price), dtype=bool)
    constant[1:] = (price[1:] == price[:-1]) & (codes[1:] == codes[:-1])
    empty = np.flatnonzero(constant & (bars.values("volume") == 0))
    return [
        _missing(
            bars,
            "zero_volume",
            rows,
            message=f"{len(rows)} rows repeat the last close and no share was traded",
            cure="make their prices missing",
        )
        for rows in (empty[codes[empty] == code] for code in np.unique(codes[empty]))
    ]


def _runs(bars: Bars, least: int) -> list[tuple[int, int, bool]]:
    """Runs of equal closes with bars that stand still: first row, one past the last, and whether history begins so."""
    price, codes = bars.values(bars.price), bars.codes
    if len(price) < least:
        return []
    still = np.zeros(len(price), dtype=bool)
    still[1:] = (price[1:] == price[:-1]) & (codes[1:] == codes[:-1])
    quiet = np.ones(len(price), dtype=bool)
    for field in ("high", "low"):
        if field in bars.table:
            quiet &= bars.values(field) == price
    if "volume" in bars.table:
        quiet &= np.nan_to_num(bars.values("volume")) == 0
    still[1:] &= quiet[1:]
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    first, last = edges[::2] - 1, edges[1::2]
    long = last - first >= least
    known = np.isfinite(price)
    before = np.cumsum(known) - known
    starts = bars.starts()
    begin = starts[np.searchsorted(starts, first[long], side="right") - 1]
    leads = before[first[long]] == before[begin]
    return list(zip(first[long].tolist(), last[long].tolist(), leads.tolist(), strict=True))


def _missing(bars: Bars, kind: str, rows: np.ndarray, *, message: str, cure: str) -> Finding:
    edits: tuple[Edit, ...] = tuple(Put(field, rows, np.nan) for field in bars.price_fields)
    return finding(bars, kind, rows, message=message, cure=cure, edits=edits)
