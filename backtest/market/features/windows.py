"""Sums, deviations, slopes and highs over the last rows, by two arithmetics.

`WINDOWED`, the one to use: a value is a function of the rows of its window and of nothing else, to the last bit. The
aggregate of a window is put together from aggregates of 1, 2, 4, ... rows, which is fixed by the window alone:

    s_1[t] = x[t],   s_2k[t] = s_k[t-k] + s_k[t],   e.g. the last 5 rows = s_1[t-4] + s_4[t]

so it takes log2(window) passes, errs less than a running sum, and does not care where a panel or a chunk starts. Means
and squares are merged as by T. Chan, G. Golub and R. LeVeque (The American Statistician 37, 1983), without
cancellation: the deviation of equal numbers is 0.

`RUNNING` adds the newest row and subtracts the oldest, as pandas does: the last bits of a value remember all rows
before. `price_features` has always been computed so, and equal ranks are told apart by last bits; it stays that way so
that recorded studies repeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.errors import SettingsError

__all__ = ["RUNNING", "WINDOWED", "Arithmetic", "highest", "lagged", "ratio", "require_rows"]

_KNOWN_SHARE = 0.8  # a window counts when this share of its values is known

Parts = tuple[np.ndarray, ...]


class Arithmetic(ABC):
    """How values over a window are computed. Arrays are (R, N); a window of row t is its `window` last rows.

    Every result is NaN where under 80% of the window's values are known; rows before the first are unknown.
    """

    @abstractmethod
    def lookback(self, rows: int) -> int | None:
        """Rows that a value with windows of `rows` rows in all depends on; None: all before."""

    @abstractmethod
    def total(self, values: np.ndarray, window: int) -> np.ndarray:
        """Sum of the known values."""

    @abstractmethod
    def deviation(self, values: np.ndarray, window: int) -> np.ndarray:
        """Standard deviation of the known values, with n - 1; NaN for one value."""

    @abstractmethod
    def fall(self, steps: np.ndarray, window: int) -> np.ndarray:
        """The path that goes up by `steps`, less its highest point in the window; 0 at the high, NaN where unknown."""

    @abstractmethod
    def slope(self, y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
        """Slope of y on x over the rows where both are known; NaN where x does not move."""

    def mean(self, values: np.ndarray, window: int) -> np.ndarray:
        """Mean of the known values."""
        count = self.total(np.isfinite(values).astype(np.float64), window)
        return ratio(self.total(values, window), count)


@dataclass(frozen=True)
class _Windowed(Arithmetic):
    def lookback(self, rows: int) -> int | None:
        return rows

    def total(self, values: np.ndarray, window: int) -> np.ndarray:
        known = np.isfinite(values)
        count, total = _doubled((known.astype(np.float64), np.where(known, values, 0.0)), window, _added, (0.0, 0.0))
        return np.where(count >= _least(window), total, np.nan)

    def deviation(self, values: np.ndarray, window: int) -> np.ndarray:
        known = np.isfinite(values)
        zero = np.zeros(values.shape)
        start = (known.astype(np.float64), np.where(known, values, 0.0), zero)
        count, _, squares = _doubled(start, window, _merged, (0.0,) * 3)
        return np.sqrt(ratio(np.where(count >= _least(window), squares, np.nan), count - 1))

    def fall(self, steps: np.ndarray, window: int) -> np.ndarray:
        known = np.isfinite(steps)
        start = (known.astype(np.float64), np.where(known, steps, 0.0), np.where(known, 0.0, -np.inf))
        # height: of the highest known point above the end
        count, _, height = _doubled(start, window, _climbed, (0.0, 0.0, -np.inf))
        return np.where(known & (count >= _least(window)), -height, np.nan)

    def slope(self, y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
        known = np.isfinite(y) & np.isfinite(x)
        zero = np.zeros(y.shape)
        start = (known.astype(np.float64), np.where(known, x, 0.0), np.where(known, y, 0.0), zero, zero)
        count, _, _, squares, products = _doubled(start, window, _co_merged, (0.0,) * 5)
        return ratio(np.where(count >= _least(window), products, np.nan), squares)


@dataclass(frozen=True)
class _Running(Arithmetic):
    def lookback(self, rows: int) -> int | None:
        return None

    def total(self, values: np.ndarray, window: int) -> np.ndarray:
        return _rolling(values, window).sum().to_numpy()

    def deviation(self, values: np.ndarray, window: int) -> np.ndarray:
        return _rolling(values, window).std().to_numpy()

    def fall(self, steps: np.ndarray, window: int) -> np.ndarray:
        level = np.where(np.isnan(steps), np.nan, np.cumsum(np.where(np.isnan(steps), 0.0, steps), axis=0))
        return level - _rolling(level, window).max().to_numpy()

    def slope(self, y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
        known = np.isfinite(y) & np.isfinite(x)
        y, x = np.where(known, y, np.nan), np.where(known, x, np.nan)
        count = self.total(known.astype(np.float64), window)
        sum_y, sum_x = self.total(y, window), self.total(x, window)
        covariance = self.total(y * x, window) - sum_y * sum_x / count
        variance = self.total(x**2, window) - sum_x**2 / count
        return ratio(covariance, variance)


WINDOWED: Arithmetic = _Windowed()
"""A value is a function of its window's rows alone, to the last bit."""

RUNNING: Arithmetic = _Running()
"""Running sums, whose last bits remember all rows before."""


def highest(values: np.ndarray, window: int) -> np.ndarray:
    """The largest known value of each row's window; NaN where under 80% of it is known."""
    known = np.isfinite(values)
    start = (known.astype(np.float64), np.where(known, values, -np.inf))
    count, found = _doubled(start, window, _higher, (0.0, -np.inf))
    return np.where(count >= _least(window), found, np.nan)


def lagged(values: np.ndarray, rows: int, fill: float = np.nan) -> np.ndarray:
    """(R, N): row t holds row t - rows, the first rows `fill`."""
    if rows == 0:
        return values
    late = np.full(values.shape, fill)
    late[rows:] = values[:-rows]
    return late


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below` where `below` is positive, NaN elsewhere."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def require_rows(name: str, *, least: int = 1, **settings: int) -> None:
    """Refuse a number of rows that is none.

    Raises:
        SettingsError: not a whole number of `least` or more.
    """
    for setting, rows in settings.items():
        if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < least:
            raise SettingsError(f"{name}: {setting} is {rows!r}: give a whole number of rows, {least} or more")


def _least(window: int) -> int:
    return max(int(np.ceil(_KNOWN_SHARE * window)), 1)


def _rolling(values: np.ndarray, window: int) -> pd.api.typing.Rolling:
    return pd.DataFrame(values).rolling(window, min_periods=_least(window))


def _doubled(start: Parts, window: int, merge: Callable[[Parts, Parts], Parts], nothing: tuple[float, ...]) -> Parts:
    """The aggregate over each row's window, from that of single rows.

    Args:
        start: aggregates of one row, (R, N) each.
        window: rows.
        merge: of an earlier stretch and the one that follows it.
        nothing: the aggregate of no row.
    """

    def late(parts: Parts, rows: int) -> Parts:
        return tuple(lagged(part, rows, fill) for part, fill in zip(parts, nothing, strict=True))

    level, size, whole, done, left = start, 1, None, 0, window
    while True:
        if left & 1:
            stretch = late(level, done)
            whole = stretch if whole is None else merge(stretch, whole)
            done += size
        left >>= 1
        if not left:
            return whole  # type: ignore[return-value]  # a window has a row
        level = merge(late(level, size), level)
        size *= 2


def _added(first: Parts, second: Parts) -> Parts:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _higher(first: Parts, second: Parts) -> Parts:
    return first[0] + second[0], np.maximum(first[1], second[1])


def _merged(first: Parts, second: Parts) -> Parts:
    """Counts, means, sums of squares about the mean."""
    count = first[0] + second[0]
    share = np.divide(second[0], count, out=np.zeros(count.shape), where=count > 0)
    step = second[1] - first[1]
    return count, first[1] + step * share, first[2] + second[2] + step * step * (first[0] * share)


def _co_merged(first: Parts, second: Parts) -> Parts:
    """Counts, means of x and of y, sums of squares of x and of products about the means."""
    count, mean_x, squares = _merged((first[0], first[1], first[3]), (second[0], second[1], second[3]))
    share = np.divide(second[0], count, out=np.zeros(count.shape), where=count > 0)
    step_x, step_y = second[1] - first[1], second[2] - first[2]
    products = first[4] + second[4] + step_x * step_y * (first[0] * share)
    return count, mean_x, first[2] + step_y * share, squares, products


def _climbed(first: Parts, second: Parts) -> Parts:
    """Counts, climbs from start to end, heights of the highest known point above the end."""
    return first[0] + second[0], first[1] + second[1], np.maximum(second[2], first[2] - second[1])
