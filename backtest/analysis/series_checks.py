"""What a series of returns must be before a statistic is taken of it, and the words for why one cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backtest.errors import DataError

__all__ = ["LEAST_PERIODS", "one_series", "two_series", "variants_of", "why_unusable"]

LEAST_PERIODS = 20
_CONSTANT = 1e-14  # the rounding error of a constant series of returns


def one_series(x: np.ndarray, name: str) -> np.ndarray:
    """`x` as numbers (S,); anything but one series is a `DataError`."""
    series = np.asarray(x, dtype=float)
    if series.ndim != 1:
        raise DataError(f"{name} must be one series (S,), not of shape {series.shape}")
    return series


def two_series(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`a` and `b` as numbers (S,) over the same dates; unequal lengths are a `DataError`."""
    a, b = one_series(a, "a"), one_series(b, "b")
    if len(a) != len(b):
        raise DataError(f"a has {len(a)} periods and b {len(b)}: give the same dates to both")
    return a, b


def variants_of(x: np.ndarray | pd.DataFrame, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Returns of variants as numbers (S, V) with V names: those given, a frame's columns, or "variant 0" on."""
    values = np.asarray(x, dtype=float)
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"variants must be a table (S, V) of periods by variants, not of shape {values.shape}")
    if names is None:
        names = list(x.columns) if isinstance(x, pd.DataFrame) else [f"variant {i}" for i in range(values.shape[1])]
    labels = [str(name) for name in names]
    if len(labels) != values.shape[1]:
        raise DataError(f"names has {len(labels)} names for {values.shape[1]} variants: give one to each")
    return values, labels


def why_unusable(series: np.ndarray) -> str | None:
    """Why nothing can be said of `series` (S,): values that are not finite, too few, constant; None when it can."""
    unknown = int((~np.isfinite(series)).sum())
    if unknown:
        first = int(np.argmin(np.isfinite(series)))
        return f"{unknown} of {len(series)} values are not finite, the first in period {first} (counted from 0)"
    if len(series) < LEAST_PERIODS:
        return f"{len(series)} periods are too few to tell luck from skill: at least {LEAST_PERIODS} are needed"
    if series.std() <= _CONSTANT * max(1.0, float(np.abs(series).max())):
        return "the series is constant: it has no variation to measure"
    return None
