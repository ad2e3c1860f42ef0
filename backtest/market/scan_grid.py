"""Rows that arrive in any order, into tables of dates by symbols that grow as they must."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.market.scan_files import ScannedRows

__all__ = ["ScanGrid"]

_log = logging.getLogger("backtest.market")


class ScanGrid:
    """One table (T, N) a field, filled row by row; rows and columns in order of arrival until `tables` sorts them.

    Args:
        fields: names of the tables.
        size: symbols expected; more are welcome.
    """

    def __init__(self, fields: Sequence[str], size: int = 16) -> None:
        # dates that came so far, sorted, in nanoseconds, and the row of each
        self._days, self._row_of = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.intp)
        self._columns: dict[str, int] = {}
        self._tables = {field: np.full((256, max(size, 1)), np.nan) for field in fields}
        self._seen = np.zeros((256, max(size, 1)), dtype=bool)
        self._repeated = 0

    def add(self, rows: ScannedRows) -> None:
        """Place the values of some rows; `rows.values` are by field.

        Raises:
            DataError: a date of a symbol was there before with another value.
        """
        days, day_of = np.unique(rows.dates.astype("datetime64[ns]").view(np.int64), return_inverse=True)
        row_of_day = self._placed(days)
        used = np.unique(rows.codes)
        column_of = np.zeros(len(rows.symbols), dtype=np.intp)
        for code in used.tolist():
            column_of[code] = self._columns.setdefault(rows.symbols[code], len(self._columns))
        self._grow()
        row, column = row_of_day[day_of], column_of[rows.codes]
        keep = self._first_of_each(rows, row, column)
        row, column = row[keep], column[keep]
        again = self._seen[row, column]
        for field, table in self._tables.items():
            given = rows.values[field][keep]
            before = table[row, column]
            differs = again & ~((before == given) | (np.isnan(before) & np.isnan(given)))
            if differs.any():
                self._refuse(rows, keep, field, int(np.argmax(differs)), before, given)
            table[row, column] = given
        self._seen[row, column] = True
        self._repeated += int(again.sum())

    def tables(self, where: str) -> tuple[pd.DatetimeIndex, pd.Index, dict[str, np.ndarray]]:
        """Dates (T,), symbols (N,) and tables (T, N) by field, sorted; the grid is empty afterwards.

        Raises:
            DataError: nothing was added.
        """
        if not len(self._days):
            raise DataError(f"{where}: no row within the dates and symbols asked for: check start, end and symbols")
        if self._repeated:
            _log.warning("%s: %d repeated rows equal to earlier ones were dropped", where, self._repeated)
        names = np.array(list(self._columns), dtype=object)
        columns = np.argsort(names)
        sorted_tables = {}
        for field in list(self._tables):
            # one at a time, so that only one table is there twice
            sorted_tables[field] = self._tables.pop(field)[np.ix_(self._row_of, columns)]
        return pd.DatetimeIndex(self._days.view("datetime64[ns]")), pd.Index(names[columns]), sorted_tables

    def _placed(self, days: np.ndarray) -> np.ndarray:
        """Rows of sorted days; new ones get the next."""
        new = np.setdiff1d(days, self._days, assume_unique=True)
        if len(new):
            merged = np.concatenate([self._days, new])
            order = np.argsort(merged, kind="stable")
            rows = np.concatenate([self._row_of, np.arange(len(self._days), len(merged))])
            self._days, self._row_of = merged[order], rows[order]
        return self._row_of[np.searchsorted(self._days, days)]

    def _first_of_each(self, rows: ScannedRows, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Positions (P,) of the first row of each cell among these rows; equal ones that follow are dropped."""
        place = row * len(self._columns) + column
        order = np.argsort(place, kind="stable")
        same = place[order][1:] == place[order][:-1]
        if not same.any():
            return np.arange(len(place))
        for field in self._tables:
            values = rows.values[field][order]
            before, given = values[:-1], values[1:]
            differs = same & ~((before == given) | (np.isnan(before) & np.isnan(given)))
            if differs.any():
                self._refuse(rows, order[1:], field, int(np.argmax(differs)), before, given)
        self._repeated += int(same.sum())
        return np.sort(order[np.concatenate(([True], ~same))])

    @staticmethod
    def _refuse(
        rows: ScannedRows, positions: np.ndarray, field: str, number: int, before: np.ndarray, given: np.ndarray
    ) -> None:
        position = positions[number]
        raise DataError(
            f"{rows.file.name}: {rows.symbols[rows.codes[position]]} on {pd.Timestamp(rows.dates[position]):%Y-%m-%d} "
            f"is there twice with different {field}: {before[number]:g} and {given[number]:g}: keep the right one"
        )

    def _grow(self) -> None:
        rows, columns = self._seen.shape
        if len(self._days) <= rows and len(self._columns) <= columns:
            return
        # by half, so that what is never used stays below a half
        wanted = (
            rows if len(self._days) <= rows else max(len(self._days), rows + rows // 2),
            columns if len(self._columns) <= columns else max(len(self._columns), columns + columns // 2),
        )
        for field, table in list(self._tables.items()):
            grown = np.full(wanted, np.nan)
            grown[:rows, :columns] = table
            self._tables[field] = grown
        seen = np.zeros(wanted, dtype=bool)
        seen[:rows, :columns] = self._seen
        self._seen = seen
