"""A file of prices as a raw table, or a refusal that says what the file is instead.

CSV cells stay text: nothing guesses that a ticker named NA is missing or that TRUE is a boolean.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.tables import numeric_column

__all__ = ["RawTable", "read_raw"]

_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
_PARQUET = (".parquet", ".pq")
# text that means "no number here", in any case
_MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "."}


@dataclass(frozen=True, eq=False, repr=False)
class RawTable:
    """Columns as they stand in a file.

    Attributes:
        file: name of the file, for messages.
        columns: by label, in file order; rows numbered from 0. Text in a CSV, own types in Parquet.
        lines: (R,) line of each row in a CSV, whose cells are text; None for Parquet.
    """

    file: str
    columns: pd.DataFrame
    lines: np.ndarray | None = None

    def place(self, row: int) -> str:
        """Where the reader of the file finds a row: its line in a CSV, its number in a Parquet file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def numbers(self, label: str) -> np.ndarray:
        """One column as (R,) float64; empty cells and the usual words for "missing" are NaN.

        Raises:
            DataError: a cell is text that is no plain number; names its line, column and value.
        """
        column = self.columns[label]
        if self.lines is None and not _is_text(column):
            return numeric_column(column, f"{self.file}: column {label!r}")
        # cells of a CSV are never missing; in Parquet, missing text counts as empty
        stripped = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        values = pd.to_numeric(stripped, errors="coerce").to_numpy(dtype=np.float64)
        unread = np.isnan(values) & ~stripped.str.lower().isin(_MISSING).to_numpy()
        if self.lines is None:
            unread |= np.isfinite(values)  # a Parquet file knows numbers; numbers as text are somebody's mistake
        if unread.any():
            row = int(np.argmax(unread))
            raise DataError(
                f"{self.file}: {self.place(row)}, column {label!r}: {column.iloc[row]!r} is text, not a "
                f"plain number ({int(unread.sum())} such cells): write 1234.5, without units or separators"
            )
        return values


def _is_text(column: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype)


def read_raw(path: str | Path) -> RawTable:
    """Read a CSV (`.csv`, `.tsv`, `.txt`, also `.gz`) or Parquet (`.parquet`, `.pq`) file.

    Raises:
        DataError: no such file, unknown kind, empty, header only, damaged, or an error message.
        LabelError: a column label is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file: check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: the file is empty: download or write it again")
    name = path.name.lower()
    if name.endswith(_PARQUET):
        return _read_parquet(path)
    if name.endswith(_CSV):
        return _read_csv(path)
    raise DataError(f"{path.name}: not a known kind of file: pass one of {', '.join(_CSV + _PARQUET)}")


def _read_parquet(path: Path) -> RawTable:
    import pyarrow
    import pyarrow.parquet

    try:
        frame = pyarrow.parquet.read_table(path).to_pandas()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name}: not a whole Parquet file ({str(error).splitlines()[0]}): "
            "it is damaged or cut short; download or write it again"
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=[name if name is not None else "index" for name in frame.index.names])
    odd = [label for label in frame.columns if not isinstance(label, str)]
    if odd:
        raise LabelError(f"{path.name}: the column label {odd[0]!r} is not text: name every column")
    if frame.empty:
        raise DataError(f"{path.name}: the file has no rows: download or write it again")
    _refuse_repeated(list(frame.columns), path.name)
    return RawTable(path.name, frame)


def _read_csv(path: Path) -> RawTable:
    text = _decoded(path)
    if not text.strip():
        raise DataError(f"{path.name}: the file is empty: download or write it again")
    first = text.lstrip().splitlines()[0].strip()
    if first[0] in "{[<":
        raise DataError(
            f"{path.name}: line 1: {_shown(text)!r} is JSON or HTML, not a table: "
            "an error message of the data source was saved as a file; download it again"
        )
    delimiter = max(",;\t", key=first.count)
    if delimiter not in first:
        raise DataError(
            f"{path.name}: line 1: {_shown(text)!r} has one column only: not a table of prices; "
            "if it is a message of the data source, download the file again, else separate columns by commas"
        )
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [label.strip() for label in next(row for row in reader if row)]
    _refuse_repeated(header, path.name)
    rows, lines = [], []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            word = "fewer" if len(row) < len(header) else "more"
            raise DataError(
                f"{path.name}: line {reader.line_num}: {len(row)} fields, {word} than the header's "
                f"{len(header)}: the file is damaged or cut short; correct or download it again"
            )
        rows.append(row)
        lines.append(reader.line_num)
    if not rows:
        raise DataError(f"{path.name}: a header and no rows: download or write the file again")
    columns = {label: list(cells) for label, cells in zip(header, zip(*rows, strict=True), strict=True)}
    return RawTable(path.name, pd.DataFrame(columns, dtype=object), lines=np.array(lines))


def _decoded(path: Path) -> str:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name}: not a whole gzip file ({error}): download or write it again") from error
    if raw[:4] == b"PAR1":
        raise DataError(f"{path.name}: this is a Parquet file: rename it to end in .parquet")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 text ({error}): save it as UTF-8") from error


def _shown(text: str) -> str:
    """The start of a file on one line."""
    return re.sub(r"\s+", " ", text.strip())[:60]


def _refuse_repeated(labels: list[str], file: str) -> None:
    repeated = pd.Index(labels)[pd.Index(labels).duplicated()]
    if len(repeated):
        label = repeated[0]
        places = [column + 1 for column, other in enumerate(labels) if other == label]
        raise LabelError(f"{file}: columns {places} are all labelled {label!r}: keep one or rename the others")
