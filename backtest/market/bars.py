"""Bars: everything that files say about prices as one long table, each row with the line that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.market.headers import PRICE_FIELDS
from backtest.whole_files import whole_file

__all__ = ["Bars", "Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the rows of bars stood when they were read; repairs leave it as it is.

    Attributes:
        files: names of files (F,), for messages.
        file: (R,) number of the file of each row.
        line: (R,) its line in a text file, or its row number in a file of columns.
        by_line: (F,) whether a file has lines.
    """

    files: tuple[str, ...]
    file: np.ndarray
    line: np.ndarray
    by_line: tuple[bool, ...]

    def place(self, row: int) -> str:
        """Say "line 12" for a row of a text file, "row 10" for one of a Parquet file or frame."""
        return f"{'line' if self.by_line[self.file[row]] else 'row'} {self.line[row]}"


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """A long table of prices before it becomes a panel.

    Rows are sorted by symbol, then date; rows of one symbol and date may repeat, in the order of the file. Nothing is
    repaired: values are those of the file, missing ones NaN.

    Attributes:
        table: (R,) rows with `date` (datetime64), `symbol` (categorical) and those of open, high, low, close,
            adjusted_close (currency a share), volume (shares), dividend (currency a share), split (shares after for
            each before), dollar_volume (currency) and `return` (fraction) that the files have; float64.
        rows: (R,) number of each row as it was read, increasing; says where it stands through `origin`.
        origin: where rows stood.
        name: of the whole, for messages.
    """

    table: pd.DataFrame
    rows: np.ndarray
    origin: Origin
    name: str

    def __repr__(self) -> str:
        dates = self.table["date"]
        return (
            f"Bars({self.name!r}, {len(self.table)} rows, {len(self.symbols)} symbols, {dates.min():%Y-%m-%d} to "
            f"{dates.max():%Y-%m-%d}, with {', '.join(self.fields)})"
        )

    @property
    def symbols(self) -> pd.Index:
        """Labels of the securities (N,), in the order in which a panel has them."""
        return self.table["symbol"].cat.categories

    @property
    def codes(self) -> np.ndarray:
        """Number (R,) of each row's security."""
        return self.table["symbol"].cat.codes.to_numpy()

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Date (R,) of each row."""
        return pd.DatetimeIndex(self.table["date"])

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns besides date and symbol."""
        return tuple(self.table.columns[2:])

    @property
    def price_fields(self) -> tuple[str, ...]:
        """The columns that hold prices."""
        return tuple(field for field in PRICE_FIELDS if field in self.table)

    def values(self, field: str) -> np.ndarray:
        """Return the column `field` (R,), float64, not to be written to."""
        return self.table[field].to_numpy()

    def write(self, path: str | Path) -> None:
        """Write one long Parquet file to `path`, whole or not at all; `read_bars` and `read_prices` read it back."""
        with whole_file(Path(path)) as file:
            self.table.to_parquet(file, index=False)

    @property
    def price(self) -> str:
        """The column that finders look at first: the close, or the adjusted one where it is alone."""
        return "close" if "close" in self.table else "adjusted_close"

    def place(self, row: int) -> str:
        """Return where row number `row` of the table stands: its line, and its file where there are several."""
        number = int(self.rows[row])
        place = self.origin.place(number)
        return place if len(self.origin.files) == 1 else f"{self.origin.files[self.origin.file[number]]}: {place}"

    def starts(self) -> np.ndarray:
        """Return the rows (n + 1,) at which the block of each of n securities with rows begins, and the end."""
        codes = self.codes
        return np.r_[0, np.flatnonzero(np.diff(codes)) + 1, len(codes)] if len(codes) else np.zeros(1, dtype=int)

    def with_values(self, columns: Mapping[str, np.ndarray]) -> Bars:
        """Return the same rows with some `columns`, each (R,), replaced."""
        return Bars(self.table.assign(**columns), self.rows, self.origin, self.name)

    def take(self, keep: np.ndarray) -> Bars:
        """Return only the rows that `keep` (R,), bool, names; a security without rows stays known."""
        return Bars(self.table[keep].reset_index(drop=True), self.rows[keep], self.origin, self.name)
