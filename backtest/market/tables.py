"""Labelled tables to plain float64 arrays: the same numbers, or an error that names the cell."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.market.checks import refuse_cells
from backtest.market.labels import parse_assets, parse_dates, require_same_labels

__all__ = ["aligned_fields", "aligned_flags", "aligned_series", "aligned_table", "numeric_column", "numeric_table"]

# what an empty cell of a table of events means
_NO_EVENT = {"dividends": 0.0, "splits": 1.0}


def numeric_column(column: pd.Series, where: str) -> np.ndarray:
    """Convert one column to float64 with NaN for what is missing.

    Columns of dtype object are accepted when every cell is a number or missing; text, booleans and complex
    numbers are refused, even when they look like numbers.

    Args:
        column: (T,) of any dtype.
        where: file and column, for the message.

    Returns:
        (T,) float64, a new array.

    Raises:
        DataError: a cell is not a number; names its row, value and the cure.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"{where}: holds True and False, not numbers: convert or remove the column")
    if pd.api.types.is_complex_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise DataError(f"{where}: holds {column.dtype} values, not numbers: convert or remove the column")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    values = np.empty(len(column))
    for row, cell in enumerate(column.tolist()):
        if cell is None or cell is pd.NA or cell is pd.NaT:
            values[row] = np.nan
        elif isinstance(cell, (numbers.Real, Decimal)) and not isinstance(cell, bool):
            values[row] = float(cell)
        else:
            raise DataError(
                f"{where}: row {row} ({column.index[row]}): {cell!r} ({type(cell).__name__}) is no number: "
                "convert the column with pandas.to_numeric and check what it changed"
            )
    return values


def numeric_table(frame: pd.DataFrame, where: str) -> tuple[pd.DatetimeIndex, pd.Index, np.ndarray]:
    """Split a table with dates as rows and assets as columns into its labels and numbers.

    Returns:
        dates (T,), assets (N,) and values (T, N) float64; the order of rows and columns is kept.

    Raises:
        LabelError: a date or asset label is not usable.
        DataError: a cell is not a number, or the table is no DataFrame.
    """
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"{where}: expected a DataFrame, dates as rows and assets as columns, got {type(frame).__name__}"
        )
    dates = parse_dates(frame.index, f"{where}: row labels")
    assets = parse_assets(frame.columns, where)
    values = np.empty(frame.shape)
    for column, asset in enumerate(assets):
        values[:, column] = numeric_column(frame.iloc[:, column], f"{where}: column {asset!r}")
    return dates, assets, values


def aligned_table(frame: pd.DataFrame, dates: pd.DatetimeIndex, assets: pd.Index, where: str) -> np.ndarray:
    """Bring a labelled table into the order of `dates` and `assets`.

    Returns:
        (T, N) float64.

    Raises:
        LabelError: a label is missing or extra.
    """
    rows, columns, values = numeric_table(frame, where)
    require_same_labels(columns, assets, where=where, kind="asset")
    require_same_labels(rows, dates, where=where, kind="date")
    return values[np.ix_(rows.get_indexer(dates), columns.get_indexer(assets))]


def aligned_flags(frame: pd.DataFrame, dates: pd.DatetimeIndex, assets: pd.Index, where: str) -> np.ndarray:
    """Bring a labelled table of True and False (or 1 and 0) into the order of `dates` and `assets`.

    Returns:
        (T, N) bool.

    Raises:
        LabelError: a label is missing or extra.
        DataError: a cell is neither; an empty one neither.
    """
    if isinstance(frame, pd.DataFrame):
        columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
        plain = [
            column.to_numpy(dtype=np.float64, na_value=np.nan)
            if pd.api.types.is_bool_dtype(column.dtype)
            else column.map(lambda cell: float(cell) if isinstance(cell, (bool, np.bool_)) else cell)
            for column in columns
        ]
        frame = pd.DataFrame(dict(enumerate(plain)), index=frame.index).set_axis(frame.columns, axis=1)
    values = aligned_table(frame, dates, assets, where)
    refuse_cells(
        (values != 0) & (values != 1),
        values,
        "is neither True nor False: write True where a name belongs, False where it does not",
        where=where,
        labels=(dates, assets),
    )
    return values == 1


def aligned_fields(
    dates: pd.DatetimeIndex, assets: pd.Index, where: str, tables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Bring the tables that are given into the order of `dates` and `assets`, by the name of their field.

    An empty cell of `dividends` or `splits` is no event.

    Returns:
        (T, N) float64, but bool for `members` and (T,) for `cash_rate`.

    Raises:
        LabelError: a label is missing or extra.
        DataError: a cell is not a number, or not True or False.
    """
    arrays = {}
    for field, table in tables.items():
        if table is None:
            continue
        place = f"{where}: {field}"
        if field == "cash_rate":
            arrays[field] = aligned_series(table, dates, place)
        elif field == "members":
            arrays[field] = aligned_flags(table, dates, assets, place)
        else:
            values = aligned_table(table, dates, assets, place)
            if field in _NO_EVENT:
                values[np.isnan(values)] = _NO_EVENT[field]
            arrays[field] = values
    return arrays


def aligned_series(series: Any, dates: pd.DatetimeIndex, where: str) -> np.ndarray:
    """Bring a value a date into the order of `dates`: a labelled Series, a (T,) array, or one number for all.

    Returns:
        (T,) float64.

    Raises:
        LabelError: a date is missing or extra.
        DataError: the shape is not (T,).
    """
    if isinstance(series, pd.Series):
        rows = parse_dates(series.index, f"{where}: row labels")
        require_same_labels(rows, dates, where=where, kind="date")
        return numeric_column(series, where)[rows.get_indexer(dates)]
    values = np.asarray(series, dtype=np.float64)
    if values.ndim == 0:
        return np.full(len(dates), float(values))
    if values.shape != (len(dates),):
        raise DataError(f"{where}: expected one value a date, shape ({len(dates)},), got {values.shape}")
    return values.copy()
