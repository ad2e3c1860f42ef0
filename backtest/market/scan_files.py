"""Files of a large folder, opened one at a time, and only the columns, dates and symbols that are asked for.

pyarrow reads Parquet by row group and CSV by block, so memory is that of one block and not of a file.
"""

from __future__ import annotations

import csv
import gzip
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError

__all__ = ["FoundFile", "ScannedRows", "find_files", "scan_file", "spelled"]

_log = logging.getLogger("backtest.market")

_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".csv.gz", ".tsv", ".txt")
_ENDING = re.compile(r"(\.parquet|\.pq|\.csv\.gz|\.csv|\.tsv|\.txt)$", re.IGNORECASE)
_DATES = ("date", "datetime", "timestamp", "day", "indexlevel0")
SYMBOLS = ("symbol", "ticker", "asset")
_BLOCK = 2**20  # bytes of a CSV that are parsed at a time
_BATCH = 2**17  # rows of a Parquet file that are decoded at a time
# what pyarrow raises beside its own errors where bytes are damaged: names that are no text, dates beyond all years
_DAMAGE = (OSError, UnicodeDecodeError, OverflowError)
_CURE = "or read the file with read_prices"


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder.

    Attributes:
        path: of the file.
        folder: of the whole scan, for messages.
        keys: values in the names of its folders, as `year=2020/symbol=AAPL`, by key.
    """

    path: Path
    folder: Path
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path from the folder on."""
        return str(self.path.relative_to(self.folder))

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return _ENDING.sub("", self.path.name)


@dataclass(frozen=True, eq=False)
class ScannedRows:
    """Rows of one file, as many as were decoded at once.

    Attributes:
        file: they stand in.
        dates: (R,) datetime64[ns].
        symbols: the labels that occur.
        codes: (R,) position of each row's label in `symbols`.
        values: (R,) float64 by column, NaN where empty.
    """

    file: FoundFile
    dates: np.ndarray
    symbols: tuple[str, ...]
    codes: np.ndarray
    values: Mapping[str, np.ndarray]


def spelled(label: str) -> str:
    """A column's name in small letters and digits alone: `<CLOSE>`, `Close` and `close` are one."""
    return re.sub(r"[^a-z0-9]", "", label.lower())


def find_files(folder: str | Path) -> list[FoundFile]:
    """Parquet or CSV files of a folder and its folders, in order of their names; empty ones are logged and left out.

    Raises:
        DataError: no such folder, no such file in it, or files of both kinds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: check the path; a single file is read by read_prices")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _ENDING.search(path.name)]
    found = [path for path in found if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)]
    empty = [path for path in found if path.stat().st_size == 0]
    if empty:
        shown = ", ".join(str(path.relative_to(folder)) for path in empty[:5])
        _log.warning("%s: %d files are empty and left out, first %s", folder, len(empty), shown)
    files = [path for path in found if path.stat().st_size]
    if not files:
        raise DataError(f"{folder}: no file that ends in {', '.join(_PARQUET + _CSV)}: check the path")
    kinds = {path.name.lower().endswith(_PARQUET): path for path in files}
    if len(kinds) == 2:
        raise DataError(f"{folder}: {kinds[True].name} and {kinds[False].name}: keep one kind of file in a folder")
    return [FoundFile(path, folder, _keys(path.relative_to(folder))) for path in files]


def _keys(path: Path) -> dict[str, str]:
    parts = [part.split("=", 1) for part in path.parts[:-1] if "=" in part]
    return {key.lower(): unquote(value) for key, value in parts}


def scan_file(
    file: FoundFile,
    columns: Collection[str],
    *,
    start: pd.Timestamp | None = None,
    end: pd.Timestamp | None = None,
    symbols: Collection[str] | None = None,
    symbols_from: str,
) -> Iterator[ScannedRows]:
    """The rows of one file, some at a time.

    Args:
        file: to read.
        columns: names of columns of numbers, in any spelling.
        start: first date.
        end: last date, to the end of its day.
        symbols: to keep; None keeps all.
        symbols_from: "column", "folder" or "file".

    Raises:
        DataError: damaged, a column is missing or no numbers; names the file and the column.
        LabelError: a date or symbol is missing or cannot be read.
    """
    import pyarrow

    stop = None if end is None else end.normalize() + pd.Timedelta(days=1)  # the whole last day
    try:
        labels = labels_of(file)
        date = _first(labels, _DATES, file, "date")
        label_of = {name: _first(labels, (spelled(name),), file, repr(name)) for name in columns}
        label = _first(labels, SYMBOLS, file, "symbol") if symbols_from == "column" else None
        wanted = list(dict.fromkeys([date, *([label] if label else []), *label_of.values()]))
        bounds: dict[str, tuple[Any, Any]] = {date: (start, stop)}
        if label and symbols:
            bounds[label] = (min(symbols), max(symbols))
        for batch in _batches(file, wanted, set(label_of.values()), bounds):
            rows = _rows(batch, file, date, label, label_of, symbols_from)
            inside = np.ones(len(rows.dates), dtype=bool)
            if start is not None:
                inside &= rows.dates >= start.to_datetime64()
            if stop is not None:
                inside &= rows.dates < stop.to_datetime64()
            if label and symbols is not None:
                inside &= np.isin(rows.codes, [code for code, name in enumerate(rows.symbols) if name in symbols])
            if inside.any():
                yield _kept(rows, inside)
    except (pyarrow.ArrowException, *_DAMAGE) as error:
        raise DataError(
            f"{file.name}: not a whole file of one kind of cells ({str(error).splitlines()[0]}): it is damaged or cut "
            f"short, download or write it again; {_CURE}"
        ) from error


def labels_of(file: FoundFile) -> list[str]:
    """The column labels of a file.

    Raises:
        DataError: the file is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    if not file.path.name.lower().endswith(_PARQUET):
        return _header(file)[0]
    try:
        return list(pyarrow.parquet.read_schema(file.path).names)
    except (pyarrow.ArrowException, *_DAMAGE) as error:
        raise DataError(f"{file.name}: not a whole file ({str(error).splitlines()[0]}): download it again") from error


def _batches(
    file: FoundFile, wanted: list[str], numbers: set[str], bounds: Mapping[str, tuple[Any, Any]]
) -> Iterator[Any]:
    """Some rows of the wanted columns at a time; of Parquet, row groups that lie outside the bounds are not read."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    if file.path.name.lower().endswith(_PARQUET):
        with pyarrow.parquet.ParquetFile(file.path, page_checksum_verification=True) as parquet:
            groups = _groups(file, parquet.num_row_groups, bounds)
            yield from parquet.iter_batches(_BATCH, row_groups=groups, columns=wanted, use_threads=False)
        return
    labels, delimiter = _header(file)
    # said, not inferred: what a column holds must not hang on the rows of its first block
    kinds = {label: pyarrow.string() for label in labels if spelled(label) in SYMBOLS}
    kinds |= dict.fromkeys(numbers, pyarrow.float64())
    with pyarrow.csv.open_csv(
        file.path,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=labels, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=kinds, include_columns=wanted, strings_can_be_null=False
        ),
    ) as reader:
        yield from reader


def _groups(file: FoundFile, count: int, bounds: Mapping[str, tuple[Any, Any]]) -> list[int]:
    """Row groups that can hold rows within the bounds, by the least and the largest value that the file states."""
    import pyarrow.dataset
    import pyarrow.fs

    if all(pair == (None, None) for pair in bounds.values()):
        return list(range(count))
    local = pyarrow.fs.LocalFileSystem()
    fragment = pyarrow.dataset.ParquetFileFormat().make_fragment(str(file.path), filesystem=local)
    kept = None
    for name, pair in bounds.items():
        kind = fragment.physical_schema.field(name).type
        for bound, low in zip(pair, (True, False), strict=True):
            value = None if bound is None else _comparable(kind, bound)
            if value is not None:
                column = pyarrow.dataset.field(name)
                term = column >= value if low else column <= value
                kept = term if kept is None else kept & term
    return list(range(count)) if kept is None else [group.id for group in fragment.subset(filter=kept).row_groups]


def _comparable(kind: Any, bound: pd.Timestamp | str) -> Any:
    """A bound in the type of its column; None where no comparison of stated values is possible."""
    import pyarrow

    if isinstance(bound, str):
        return pyarrow.scalar(bound, type=kind) if pyarrow.types.is_string(kind) else None
    if pyarrow.types.is_timestamp(kind) and kind.tz is None:
        return pyarrow.scalar(bound.to_pydatetime()).cast(kind, safe=False)
    if pyarrow.types.is_date(kind):
        return pyarrow.scalar(bound.date(), type=kind)
    if pyarrow.types.is_integer(kind):
        return pyarrow.scalar(int(f"{bound:%Y%m%d}"), type=pyarrow.int64())
    return None


def _header(file: FoundFile) -> tuple[list[str], str]:
    """Column labels and delimiter of a CSV."""
    opened = gzip.open if file.path.name.lower().endswith(".gz") else open
    try:
        with opened(file.path, "rt", encoding="utf-8-sig") as text:
            header = text.readline(2**16).strip()
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise DataError(f"{file.name}: not a text file ({error}): write it as UTF-8") from error
    if not header or (header[0] in "{[<" and not re.match(r"<\w+>[,;\t|]", header)):
        raise DataError(
            f"{file.name}: line 1: {header[:60]!r} is no header of columns: an error message of the data source may "
            "have been saved as a file; download it again"
        )
    delimiter = max(",;\t|", key=header.count)
    labels = next(csv.reader([header], delimiter=delimiter))
    return [label.strip() for label in labels], delimiter


def _first(labels: list[str], words: tuple[str, ...], file: FoundFile, kind: str) -> str:
    for word in words:
        found = [label for label in labels if spelled(label) == word]
        if len(found) > 1:
            raise LabelError(f"{file.name}: columns {found} have one name: rename all but one")
        if found:
            return found[0]
    raise DataError(f"{file.name}: no {kind} column among {labels}: name one of its columns")


def _rows(
    batch: Any, file: FoundFile, date: str, label: str | None, label_of: Mapping[str, str], symbols_from: str
) -> ScannedRows:
    if label is not None:
        import pyarrow

        column = batch.column(label)
        if column.null_count:
            raise LabelError(f"{file.name}: column {label!r}: {column.null_count} rows have no symbol: write them")
        if not pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        names, codes = column.dictionary.to_pylist(), column.indices.to_numpy(zero_copy_only=False)
        odd = [name for name in names if not isinstance(name, str) or not name.strip()]
        if odd:
            raise LabelError(f"{file.name}: column {label!r}: {odd[0]!r} is no symbol: write symbols as text")
    else:
        names = [_symbol_of(file, symbols_from)]
        codes = np.zeros(batch.num_rows, dtype=np.intp)
    values = {name: _numbers(batch.column(column), file, column) for name, column in label_of.items()}
    return ScannedRows(file, _dates(batch.column(date), file, date), tuple(names), codes, values)


def _symbol_of(file: FoundFile, symbols_from: str) -> str:
    if symbols_from == "file":
        return file.stem
    for key in SYMBOLS:
        if key in file.keys:
            return file.keys[key]
    raise DataError(f"{file.name}: no folder in its path is called symbol=...: pass symbols_from='file' or 'column'")


def _dates(column: Any, file: FoundFile, label: str) -> np.ndarray:
    import pyarrow

    where, kind = f"{file.name}: column {label!r}", column.type
    if column.null_count:
        raise LabelError(f"{where}: {column.null_count} rows have no date: write them, {_CURE}")
    if pyarrow.types.is_timestamp(kind) and kind.tz is not None:
        raise LabelError(f"{where}: dates carry the time zone {kind.tz}: write trading dates without one, {_CURE}")
    if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        return column.cast(pyarrow.timestamp("ns")).to_numpy(zero_copy_only=False)
    if pyarrow.types.is_integer(kind):
        texts = pd.Index(column.to_numpy(zero_copy_only=False)).astype(str)
    elif pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        texts = pd.Index(column.to_pylist())
    else:
        raise LabelError(f"{where}: {kind} cells are no dates: write YYYY-MM-DD, {_CURE}")
    codes, names = pd.factorize(texts)
    unique = pd.Index(names)
    for form in ("%Y%m%d", "%Y-%m-%d"):
        parsed = pd.DatetimeIndex(pd.to_datetime(unique, format=form, errors="coerce"))
        if not parsed.hasnans:
            return np.asarray(parsed.to_numpy(dtype="datetime64[ns]"))[codes]
    raise LabelError(f"{where}: {unique[0]!r} and others are not all YYYY-MM-DD or YYYYMMDD: write them so, {_CURE}")


def _numbers(column: Any, file: FoundFile, label: str) -> np.ndarray:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind)):
        known = column.drop_null()
        shown = repr(known[0].as_py()) if len(known) else "nothing"
        raise DataError(
            f"{file.name}: column {label!r}: {kind} cells, as {shown}, are no numbers: correct them, {_CURE}"
        )
    return np.asarray(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _kept(rows: ScannedRows, inside: np.ndarray) -> ScannedRows:
    if inside.all():
        return rows
    values = {name: column[inside] for name, column in rows.values.items()}
    return ScannedRows(rows.file, rows.dates[inside], rows.symbols, rows.codes[inside], values)
