"""Problems of price tables: refused with file, row, column, value and cure; nothing is repaired here."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from backtest.errors import DataError

__all__ = [
    "refuse_identical_columns",
    "refuse_impossible_prices",
    "refuse_returns",
    "unique_rows",
    "warn_of_gaps",
]

_log = logging.getLogger("backtest.market")
_RETURNS_CURE = "pass returns with kind='returns' or to MarketPanel.from_returns, or write prices"


def refuse_returns(prices: np.ndarray, *, file: str, assets: pd.Index, place: Callable[[int, int], str]) -> None:
    """Refuse a table of returns that was passed as prices.

    Two signs give returns away. More than 5% of the values are zero or negative, with both signs in most
    columns. Or the values, of whatever level, do not persist: the von Neumann ratio (mean squared step over
    variance; J. von Neumann, Annals of Mathematical Statistics 12, 1941) is near 2 for independent values and
    near 0 for prices; its median over columns with 30 values or more is above 1.5. Fewer rows
    show only the first sign.

    Args:
        prices: (T, N), in time order.
        file: for messages.
        assets: (N,) labels.
        place: says where the cell (row, column) stands in the file.

    Raises:
        DataError: the table holds returns.
    """
    known = np.isfinite(prices)
    count = int(known.sum())
    if not count:
        return
    negative = known & (prices <= 0)
    if negative.sum() > 0.05 * count and negative.any(axis=0).mean() > 0.5:
        row, column = np.argwhere(negative)[0].tolist()
        raise DataError(
            f"{file}: {place(row, column)}, column {assets[column]!r}: {prices[row, column]:g}: "
            f"{negative.sum() / count:.0%} of all values are zero or negative: these are returns or "
            f"changes, not prices: {_RETURNS_CURE}"
        )
    ratios = [_von_neumann(column[~np.isnan(column)]) for column in prices.T]
    known_ratios = [r for r in ratios if np.isfinite(r)]
    if known_ratios and np.median(known_ratios) > 1.5:
        column = int(np.nanargmax(ratios))
        raise DataError(
            f"{file}: column {assets[column]!r}: values jump around {np.nanmean(prices[:, column]):.4g} "
            f"without memory, as returns do and prices do not: {_RETURNS_CURE}"
        )


def _von_neumann(values: np.ndarray) -> float:
    if len(values) < 30 or np.ptp(values) == 0:
        return np.nan
    return float(np.mean(np.diff(values) ** 2) / np.var(values))


def refuse_impossible_prices(
    prices: np.ndarray, *, file: str, assets: pd.Index, place: Callable[[int, int], str]
) -> None:
    """Refuse prices that are zero, negative or infinite, naming the first and how many there are.

    Raises:
        DataError: such a price.
    """
    wrong = np.isinf(prices) | (prices <= 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise DataError(
            f"{file}: {place(row, column)}, column {assets[column]!r}: {prices[row, column]:g} is not a "
            f"positive price ({int(wrong.sum())} such cells): leave the cell empty where there is no price"
        )


def refuse_identical_columns(prices: np.ndarray, *, file: str, dates: pd.DatetimeIndex, assets: pd.Index) -> None:
    """Refuse two names with the same prices at all dates (and two known prices at least).

    Raises:
        DataError: two columns are equal; names both.
    """
    seen: dict[bytes, int] = {}
    for column in range(prices.shape[1]):
        values = prices[:, column]
        if np.isfinite(values).sum() < 2:
            continue
        key = values.tobytes()
        if key in seen:
            row = int(np.argmax(np.isfinite(values)))
            raise DataError(
                f"{file}: columns {assets[seen[key]]!r} and {assets[column]!r} are identical, from "
                f"{dates[row]:%Y-%m-%d} ({values[row]:g}) on: one is a copy; remove it or correct the file"
            )
        seen[key] = column


def unique_rows(
    keys: list[np.ndarray],
    values: list[np.ndarray],
    *,
    file: str,
    labels: list[str],
    describe: Callable[[int], str],
    place: Callable[[int], str],
) -> np.ndarray:
    """Find which rows to keep when keys repeat: the first of rows that are equal; different ones are refused.

    Args:
        keys: arrays (R,) of integers that identify a row together.
        values: arrays (R,) of numbers that equal rows share; NaN equals NaN.
        file: for messages.
        labels: names of `values`.
        describe: names the keys of a row for messages.
        place: says where a row stands in the file.

    Returns:
        (R,) bool, True for rows to keep. Dropped rows are logged.

    Raises:
        DataError: two rows have the same keys and different values.
    """
    rows = len(keys[0])
    order = np.lexsort((np.arange(rows), *keys))
    again = np.ones(rows - 1, dtype=bool)
    for key in keys:
        again &= key[order][1:] == key[order][:-1]
    for label, column in zip(labels, values, strict=True):
        before, after = column[order][:-1], column[order][1:]
        differs = again & ~((before == after) | (np.isnan(before) & np.isnan(after)))
        if differs.any():
            pair = int(np.argmax(differs))
            first, second = order[pair], order[pair + 1]
            raise DataError(
                f"{file}: {describe(first)} is there twice with different {label}: {column[first]:g} at "
                f"{place(first)} and {column[second]:g} at {place(second)} "
                f"({int(differs.sum())} such pairs): keep the right one"
            )
    keep = np.ones(rows, dtype=bool)
    keep[order[1:][again]] = False
    if again.any():
        first = int(np.flatnonzero(~keep)[0])
        _log.warning(
            "%s: dropped %d repeated rows equal to an earlier one, first %s at %s",
            file,
            int(again.sum()),
            describe(first),
            place(first),
        )
    return keep


def warn_of_gaps(prices: np.ndarray, *, file: str, dates: pd.DatetimeIndex, assets: pd.Index, days: int = 60) -> None:
    """Log each gap of more than `days` calendar days between two known prices of a name.

    The return over the gap is kept; the name may have become another company.
    """
    for column in np.flatnonzero(np.isnan(prices).any(axis=0)).tolist():
        rows = np.flatnonzero(np.isfinite(prices[:, column]))
        if len(rows) < 2:
            continue
        for before, after in itertools.pairwise(rows.tolist()):
            if after - before > 1 and (dates[after] - dates[before]).days > days:
                _log.warning(
                    "%s: %s: no price from %s (%g) to %s (%g): is it the same company?",
                    file,
                    assets[column],
                    f"{dates[before]:%Y-%m-%d}",
                    prices[before, column],
                    f"{dates[after]:%Y-%m-%d}",
                    prices[after, column],
                )
