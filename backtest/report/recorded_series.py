"""The paths of a comparison in one small file, from which `backtest report` draws the wealth of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.report.drawing import with_start
from backtest.whole_files import whole_file

if TYPE_CHECKING:
    from backtest.analysis.comparison import Comparison

__all__ = ["SERIES", "read_series", "series_of", "write_series"]

SERIES = "series.parquet"
"""Name of the file beside comparison.json."""
_COLUMNS = ("date", "objective", "wealth", "lowest", "highest", "net")


def series_of(comparison: Comparison) -> pd.DataFrame:
    """Return the paths of each objective, a row an objective and date, beginning with the wealth before the first.

    Columns: date; objective; wealth, mean over seeds, lowest and highest, multiples of the starting wealth; net, mean
    over seeds of the period's net return, NaN in the first row.
    """
    dates = with_start(comparison.dates)
    parts = []
    for name, series in comparison.series.items():
        paths = series.wealth / series.wealth[:, :1]
        values = {"wealth": paths.mean(axis=0), "lowest": paths.min(axis=0), "highest": paths.max(axis=0)}
        net = np.concatenate([[np.nan], series.net.mean(axis=0)])
        parts.append(pd.DataFrame({"date": dates, "objective": name, **values, "net": net}))
    return pd.concat(parts, ignore_index=True)


def write_series(comparison: Comparison, path: Path) -> None:
    """Write `series_of` as Parquet, whole or not at all."""
    frame = series_of(comparison)
    with whole_file(path) as file:
        frame.astype({"objective": "category"}).to_parquet(file, index=False)


def read_series(path: Path) -> pd.DataFrame | None:
    """Return what `write_series` wrote; None where there is no such file, as in a run of an earlier version.

    Raises:
        DataError: the file cannot be read, or has other columns.
    """
    if not path.exists():
        return None
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file ({error}): delete it, or run it again") from error
    missing = [column for column in _COLUMNS if column not in frame]
    if missing:
        raise DataError(f"{path}: has no column {', '.join(missing)}: delete it, or run it again")
    return frame.astype({"objective": str})
