"""Rows that should not be there: repeated ones, and those of another frequency."""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.findings import Drop, Edit, Finding, finding

__all__ = ["find_duplicate_rows", "find_frequency_faults"]

_LEAST_RUN = 3
"""As many long gaps one after the other make a stretch of another frequency: no closure of a market does."""


def find_duplicate_rows(bars: Bars) -> list[Finding]:
    """Find rows of one symbol and date that repeat: equal ones can go, different ones a person must choose from."""
    stamps, codes = bars.dates.asi8, bars.codes
    again = np.flatnonzero((np.diff(stamps) == 0) & (np.diff(codes) == 0)) + 1
    if not len(again):
        return []
    same = np.ones(len(again), dtype=bool)
    for field in bars.fields:
        first, second = bars.values(field)[again - 1], bars.values(field)[again]
        same &= (first == second) | (np.isnan(first) & np.isnan(second))
    found = []
    for code in np.unique(codes[again]).tolist():
        mine = codes[again] == code
        equal, other = again[mine & same], again[mine & ~same]
        if len(equal):
            edits: tuple[Edit, ...] = (Drop(equal),)
            message = f"{len(equal)} rows repeat the one before"
            found.append(finding(bars, "duplicates", equal, message=message, cure="drop them", safe=True, edits=edits))
        if len(other):
            k = int(other[0])
            message = (
                f"{len(other)} dates are there twice with different values, the first at {bars.place(k - 1)} with "
                f"{bars.price} {bars.values(bars.price)[k - 1]:g} and at {bars.place(k)} with "
                f"{bars.values(bars.price)[k]:g}"
            )
            found.append(finding(bars, "duplicates", other, message=message, cure="keep the right one"))
    return found


def find_frequency_faults(bars: Bars) -> list[Finding]:
    """Find rows of another frequency than the security's other rows.

    Weekend rows of a market that is closed on weekends; rows between those of weeks or months (a live row that a source
    appends); and stretches of weekly or monthly rows in a daily file.
    """
    days = bars.dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    starts = bars.starts()
    found = []
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        gaps = np.diff(days[start:stop])
        if len(gaps) < 5:
            continue
        usual = float(np.median(gaps))
        if usual <= 1.5:
            found += _in_daily(bars, days, start, stop, gaps)
        elif 6 <= usual <= 8 or 26 <= usual <= 36:
            found += _between(bars, days, start, gaps, usual)
    return found


def _in_daily(bars: Bars, days: np.ndarray, start: int, stop: int, gaps: np.ndarray) -> list[Finding]:
    found = []
    # day 0 of datetime64 is a Thursday
    weekend = (days[start:stop] + 3) % 7 >= 5
    if 0 < weekend.mean() < 0.05:
        rows = start + np.flatnonzero(weekend)
        message = f"{len(rows)} of {stop - start} rows are dated on a weekend"
        found.append(_fault(bars, rows, message))
    long = gaps >= 6
    if long.any():
        edges = np.flatnonzero(np.diff(np.r_[False, long, False].astype(int)))
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            run = gaps[first:end]
            regular = np.median(np.abs(run - np.median(run))) <= 0.2 * np.median(run)
            if end - first >= _LEAST_RUN and regular:
                # the row before a run belongs to it where the run begins the history
                rows = np.arange(start + first + (first > 0), start + end + 1)
                rows = rows[:-1] if start + end + 1 < stop else rows
                message = f"{len(rows)} rows are about {np.median(run):g} days apart in a daily file"
                found.append(_fault(bars, rows, message))
    return found


def _between(bars: Bars, days: np.ndarray, start: int, gaps: np.ndarray, usual: float) -> list[Finding]:
    """Rows too soon after the one before; the one on the usual day of the week stays."""
    soon = np.flatnonzero(gaps < 0.6 * usual)
    if not 0 < len(soon) < 0.2 * len(gaps):
        return []
    weekday = (days + 3) % 7
    modal = np.bincount(weekday[start : start + len(gaps) + 1]).argmax()
    rows = []
    for gap in soon.tolist():
        before, after = start + gap, start + gap + 1
        extra = before if usual < 10 and weekday[before] != modal == weekday[after] else after
        if extra not in rows:
            rows.append(extra)
    name = "weekly" if usual < 10 else "monthly"
    message = f"{len(rows)} rows stand between those of a {name} file"
    return [_fault(bars, np.array(rows), message)]


def _fault(bars: Bars, rows: np.ndarray, message: str) -> Finding:
    edits: tuple[Edit, ...] = (Drop(rows),)
    return finding(bars, "frequency", rows, message=message, cure="drop them", edits=edits)
