"""A file of prices as a raw table, or a refusal that says what the file is instead.

CSV cells stay text: nothing guesses that a ticker named NA is missing or that TRUE is a boolean.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.number_text import parse_numbers
from backtest.market.tables import numeric_column
from backtest.market.text_files import TEXT_ENDINGS, read_text

__all__ = ["ENDINGS", "RawTable", "frame_table", "read_tables", "stem_of"]

_PARQUET = (".parquet", ".pq")
_FEATHER = (".feather", ".arrow")
ENDINGS = (*TEXT_ENDINGS, *_PARQUET, *_FEATHER, ".zip")
"""Endings of the kinds of files that are read."""


@dataclass(frozen=True, eq=False, repr=False)
class RawTable:
    """Columns as they stand in a file.

    Attributes:
        file: name of the file, for messages.
        columns: by label, in file order; rows numbered from 0. Text in a CSV, own types elsewhere.
        lines: (R,) line of each row in a CSV, whose cells are text; None elsewhere.
        layout: "lean" for a file without header in the layout of Lean's daily files, else "".
    """

    file: str
    columns: pd.DataFrame
    lines: np.ndarray | None = None
    layout: str = ""

    def place(self, row: int) -> str:
        """Where the reader of the file finds a row: its line in a CSV, its number in a Parquet file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def numbers(
        self, label: str, *, decimal: str | None = None, units: bool = False, percent: bool = False
    ) -> np.ndarray:
        """One column as (R,) float64; empty cells and the usual words for "missing" are NaN.

        Args:
            label: of the column.
            decimal: "." or ",", None where the cells leave no doubt; as in `parse_numbers`.
            units: "13.88M" is a number.
            percent: "-1.09%" is a number.

        Raises:
            DataError: a cell is text that is no plain number; names its line, column and value.
        """
        column = self.columns[label]
        if self.lines is None and not _is_text(column):
            return numeric_column(column, f"{self.file}: column {label!r}")
        # cells of a CSV are never missing; in Parquet, missing text counts as empty
        cells = column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)
        values, unread = parse_numbers(cells, decimal=decimal, units=units, percent=percent)
        if self.lines is None:
            unread = unread | np.isfinite(values)  # a file of columns knows numbers; as text they are a mistake
        if unread.any():
            row = int(np.argmax(unread))
            raise DataError(
                f"{self.file}: {self.place(row)}, column {label!r}: {str(column.iloc[row])[:60]!r} is text, not a "
                f"plain number ({int(unread.sum())} such cells): {_cure(str(column.iloc[row]))}"
            )
        return values


def _cure(cell: str) -> str:
    if cell.strip().endswith("%"):
        return "write 1234.5; a table of changes is read with kind='returns'"
    if re.fullmatch(r"\s*[+-]?[\d.]*,[\d.]+\s*", cell):
        return "write 1234.5, or pass decimal='.' if commas stand between thousands, decimal=',' if before decimals"
    return "write 1234.5, without units or separators"


def _is_text(column: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype)


def stem_of(name: str) -> str:
    """A file's name without its ending: the symbol of a file that names none."""
    return re.sub(r"(\.csv|\.tsv|\.txt)?(\.gz)?$|\.[^.]+$", "", name)


def read_tables(path: Path, columns: list[str] | None = None) -> Iterator[tuple[str, RawTable]]:
    """Read a file, each member of a zip, or each file of a folder, in the order of their names.

    Args:
        path: a file of one of the known kinds, or a folder of them.
        columns: the labels of text files without a header, None where they have one.

    Yields:
        The name that a single security in it has, and the table.

    Raises:
        DataError: no such file, unknown kind, empty, header only, damaged, or an error message.
        LabelError: a column label is there twice.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(ENDINGS))
        if not files:
            raise DataError(f"{path.name}: no files of prices in the folder: it should hold {', '.join(ENDINGS)} files")
        for file in files:
            yield from read_tables(file, columns)
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file: check the path")
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        raise DataError(f"{path.name}: not a known kind of file: pass one of {', '.join(ENDINGS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: the file is empty: download or write it again")
    if name.endswith(".zip"):
        yield from _zipped(path, columns)
    elif name.endswith(_PARQUET + _FEATHER):
        yield stem_of(path.name), _read_columns(path)
    else:
        yield stem_of(path.name), _text_table(path.name, path.read_bytes(), columns)


def _zipped(path: Path, columns: list[str] | None) -> Iterator[tuple[str, RawTable]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(m for m in archive.namelist() if m.lower().endswith(TEXT_ENDINGS))
            contents = [(member, archive.read(member)) for member in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"{path.name}: not a whole zip file ({error}): download or write it again") from error
    if not contents:
        raise DataError(f"{path.name}: no file of prices in it: it should hold {', '.join(TEXT_ENDINGS)} files")
    for member, raw in contents:
        yield stem_of(Path(member).name), _text_table(f"{path.name}: {member}", raw, columns)


def _text_table(name: str, raw: bytes, columns: list[str] | None) -> RawTable:
    header, cells, lines, layout = read_text(name, raw, columns)
    _refuse_repeated(header, name)
    return RawTable(name, pd.DataFrame(dict(zip(header, cells, strict=True)), dtype=object), lines, layout)


def _read_columns(path: Path) -> RawTable:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    kind = "Parquet" if path.name.lower().endswith(_PARQUET) else "Feather"
    read: Any = pyarrow.parquet.read_table if kind == "Parquet" else pyarrow.feather.read_table
    try:
        frame = read(path).to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path.name}: not a whole {kind} file ({first}): it is damaged or cut short; download or write it again"
        ) from error
    return _frame(frame, path.name, "file")


def frame_table(frame: Any, name: str) -> RawTable:
    """A frame of pandas, or of any library that narwhals knows (polars, pyarrow, ...), as a raw table.

    Raises:
        DataError: it is no frame, or has no rows.
        LabelError: a column label is no text, or there twice.
    """
    if not isinstance(frame, pd.DataFrame):
        import narwhals

        try:
            frame = narwhals.from_native(frame, eager_only=True).to_pandas()
        except TypeError as error:
            raise DataError(
                f"{name}: {type(frame).__name__} is no table: pass a path, or a frame of pandas, polars or pyarrow; "
                "collect a lazy one first"
            ) from error
    return _frame(frame, name, "frame")


def _frame(frame: pd.DataFrame, name: str, what: str) -> RawTable:
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_axis(
            frame.index.set_names([n if n is not None else "index" for n in frame.index.names]), axis=0
        )
        taken = [n for n in frame.index.names if n in frame.columns]
        if taken:
            raise LabelError(f"{name}: {taken[0]!r} is the label of a column and of the index: rename one")
        frame = frame.reset_index()
    odd = [label for label in frame.columns if not isinstance(label, str)]
    if odd:
        raise LabelError(f"{name}: the column label {odd[0]!r} is not text: name every column")
    if frame.empty:
        raise DataError(f"{name}: the {what} has no rows: download or write it again")
    _refuse_repeated(list(frame.columns), name)
    return RawTable(name, frame)


def _refuse_repeated(labels: list[str], file: str) -> None:
    repeated = pd.Index(labels)[pd.Index(labels).duplicated()]
    if len(repeated):
        label = repeated[0]
        places = [column + 1 for column, other in enumerate(labels) if other == label]
        raise LabelError(f"{file}: columns {places} are all labelled {label!r}: keep one or rename the others")
