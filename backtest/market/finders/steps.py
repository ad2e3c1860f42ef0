"""Changes from row to row: what finders compare, once for all securities.

With close C, adjusted close A, split s and dividend D of a row, and the row before marked ', in logarithms:
r = log(C / C') is the price's own return, a = log(A / A') the total return that the file claims, g = a - r the step of
the adjustment. Where splits and dividends are applied as recorded, g is the step e that they say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market.bars import Bars

__all__ = ["Steps", "local_deviation", "steps_of"]

_WINDOW = 20
"""Rows on each side from which the usual size of a return is read."""
_LOWEST, _HIGHEST = 1e-9, 1e12
"""Prices, dividends and splits outside are no numbers of a market, and are compared with nothing."""
_LEAST = 0.003
"""A usual return is never taken to be smaller than this (fraction a row)."""


@dataclass(frozen=True, eq=False)
class Steps:
    """Rows with a positive price (K,), in order, and how they differ from the one before of the same security.

    Attributes:
        row: position in the bars.
        start: first position in these arrays of the same security.
        stop: one past the last.
        price_step: r, NaN in the first row of a security.
        total_step: a; r where there is no adjusted close.
        adjustment_step: g.
        split: shares after for each before, 1 = none.
        dividend: currency a share, 0 = none.
        close: C.
        adjusted: A; C where there is no adjusted close.
    """

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    price_step: np.ndarray
    total_step: np.ndarray
    adjustment_step: np.ndarray
    split: np.ndarray
    dividend: np.ndarray
    close: np.ndarray
    adjusted: np.ndarray

    def before(self, values: np.ndarray) -> np.ndarray:
        """Values (K,) of the row before of the same security, NaN in its first."""
        shifted = np.roll(values.astype(np.float64), 1)
        shifted[self.start == np.arange(len(self.row))] = np.nan
        return shifted

    def rows_before(self, bars: Bars, k: int) -> np.ndarray:
        """Positions of all rows of the security before row k, those without a price too."""
        first = int(self.row[self.start[k]])
        codes = bars.codes
        while first > 0 and codes[first - 1] == codes[self.row[k]]:
            first -= 1
        return np.arange(first, self.row[k])


def steps_of(bars: Bars) -> Steps:
    """Steps between rows with a price; impossible ones (infinite, negative, 1e300) count as missing."""
    close = bars.values(bars.price)
    adjusted = bars.values("adjusted_close") if "adjusted_close" in bars.table else close
    with np.errstate(invalid="ignore"):
        known = (close > _LOWEST) & (close < _HIGHEST) & (adjusted > _LOWEST) & (adjusted < _HIGHEST)
    row = np.flatnonzero(known)
    codes = bars.codes[row]
    first = np.ones(len(row), dtype=bool)
    first[1:] = codes[1:] != codes[:-1]
    starts = np.flatnonzero(first)
    block = np.cumsum(first) - 1
    stops = np.r_[starts[1:], len(row)]
    price_step, total_step = np.full(len(row), np.nan), np.full(len(row), np.nan)
    for step, values in ((price_step, close[row]), (total_step, adjusted[row])):
        step[1:] = np.diff(np.log(values))
        step[first] = np.nan
    split = _events(bars, "split", row, none=1.0)
    return Steps(
        row=row,
        start=starts[block] if len(row) else row,
        stop=stops[block] if len(row) else row,
        price_step=price_step,
        total_step=total_step,
        adjustment_step=total_step - price_step,
        split=split,
        dividend=_events(bars, "dividend", row, none=0.0),
        close=close[row],
        adjusted=adjusted[row],
    )


def _events(bars: Bars, field: str, row: np.ndarray, *, none: float) -> np.ndarray:
    if field not in bars.table:
        return np.full(len(row), none)
    values = bars.values(field)[row]
    return np.where((values > _LOWEST) & (values < _HIGHEST), values, none)


def local_deviation(steps: np.ndarray, k: int, start: int, stop: int) -> float:
    """The usual size of a return near row k: 1.48 times the median of |steps| within 20 rows, without row k itself."""
    near = np.r_[steps[max(start + 1, k - _WINDOW) : k], steps[k + 1 : min(stop, k + _WINDOW + 1)]]
    near = np.abs(near[np.isfinite(near)])
    return max(_LEAST, 1.4826 * float(np.median(near))) if len(near) else 0.05
