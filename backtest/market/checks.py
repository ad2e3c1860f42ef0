"""Cell by cell: refuse a table with an impossible value, naming the first cell and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.errors import DataError

__all__ = ["checked_array", "checked_flags", "refuse_cells"]

_UNKNOWN = "write NaN for what is unknown"
_PRICE = "is not a positive price: write NaN where there is no price"

# field -> (test of impossible values, what is said about them)
_RULES: dict[str, tuple[Any, str]] = {
    "returns": (lambda a: a < -1, "is a return below -1: returns are fractions per period"),
    "prices": (lambda a: a <= 0, _PRICE),
    "open_prices": (lambda a: a <= 0, _PRICE),
    "vwap": (lambda a: a <= 0, _PRICE),
    "dividends": (lambda a: np.isnan(a) | (a < 0), "is no dividend: write currency a share, 0 where there is none"),
    "splits": (
        lambda a: np.isnan(a) | (a <= 0),
        "is no split: write the shares after it for each share before, 1 where there is none",
    ),
    "dollar_volume": (lambda a: a < 0, f"is a negative volume: {_UNKNOWN}"),
    "volatility": (lambda a: a < 0, f"is a negative volatility: {_UNKNOWN}"),
    "cash_rate": (lambda a: np.isnan(a) | (a <= -1), "is not a rate: every date needs one, above -1"),
}


def refuse_cells(wrong: np.ndarray, values: np.ndarray, reason: str, *, where: str, labels: Sequence[Any]) -> None:
    """Raise on the first True of `wrong`, with its place by labels, its value, the reason and the count.

    Args:
        wrong: bool, the shape of `values`.
        values: (T,), (T, N) or (T, N, K).
        reason: what is wrong, and the cure.
        where: what is being read.
        labels: the labels of each axis: dates, assets, feature names.

    Raises:
        DataError: any cell of `wrong` is True.
    """
    if not wrong.any():
        return
    cell = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    place = f"row {cell[0]} ({labels[0][cell[0]]:%Y-%m-%d})"
    for kind, axis in (("column", 1), ("feature", 2)):
        if len(cell) > axis:
            place += f", {kind} {labels[axis][cell[axis]]!r}"
    count = int(wrong.sum())
    more = f" ({count} such cells)" if count > 1 else ""
    raise DataError(f"{where}: {place}: {values[cell]:g} {reason}{more}")


def checked_array(field: str, values: Any, shape: tuple[int, ...], *, where: str, labels: Sequence[Any]) -> np.ndarray:
    """Copy `values` into a read-only float64 array, finite or NaN, that obeys its field's rule.

    Raises:
        DataError: not numbers, another shape, an infinite or an impossible value.
    """
    try:
        array = np.array(values, dtype=np.float64)  # a copy: the caller's array stays the caller's
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {field} is not an array of numbers: {error}") from error
    if array.shape != shape:
        raise DataError(f"{where}: {field} has shape {array.shape}, expected {shape} by dates and assets")
    place = f"{where}: {field}"
    refuse_cells(np.isinf(array), array, f"is infinite: {_UNKNOWN}", where=place, labels=labels)
    if field in _RULES:
        test, reason = _RULES[field]
        refuse_cells(test(array), array, reason, where=place, labels=labels)
    array.setflags(write=False)
    return array


def checked_flags(field: str, values: Any, shape: tuple[int, ...], *, where: str) -> np.ndarray:
    """Copy `values` into a read-only array of True and False.

    Raises:
        DataError: another kind of values, or another shape.
    """
    flags = np.array(values)
    if flags.dtype != bool or flags.shape != shape:
        raise DataError(f"{where}: {field} is {flags.dtype} of shape {flags.shape}, expected bool of shape {shape}")
    flags.setflags(write=False)
    return flags
