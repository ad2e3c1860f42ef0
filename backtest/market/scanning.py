"""A folder larger than memory to a panel: read by column, date and symbol, one block of one file at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from backtest.errors import LabelError, SettingsError
from backtest.market.labels import parse_dates
from backtest.market.panel import MarketPanel
from backtest.market.scan_files import SYMBOLS, FoundFile, ScannedRows, find_files, labels_of, scan_file, spelled
from backtest.market.scan_grid import ScanGrid

__all__ = ["scan_folder", "scan_rows"]

Columns = Mapping[str, str | tuple[str, ...]]
Source = Literal["column", "folder", "file"]

_FIELDS = ("prices", "open_prices", "vwap", "dividends", "splits", "dollar_volume", "volatility")


def scan_folder(
    path: str | Path,
    *,
    columns: Columns,
    periods_per_year: float,
    start: Any = None,
    end: Any = None,
    symbols: Sequence[str] | None = None,
    symbols_from: Source | None = None,
    name: str | None = None,
) -> MarketPanel:
    """Read a folder of Parquet or CSV files into a panel.

    One file a symbol, one long file or many, or folders called `symbol=AAPL` or `year=2020`. Column names are found in
    any spelling (`<CLOSE>`, `Close`). Dates are timestamps without time zone, or YYYY-MM-DD or YYYYMMDD. Memory
    is the tables of the panel, and one block.

    Args:
        path: of the folder; folders in it are searched too.
        columns: columns of the files for fields of the panel: {"prices": "adjusted_close", "dollar_volume": ("close",
            "volume")}; several are multiplied. What is raw and what is adjusted is as for `MarketPanel.from_prices`.
        periods_per_year: 252, 52 or 12.
        start: first date, itself included.
        end: last date, itself included.
        symbols: to keep; the files of others are not opened where their name or folder says the symbol.
        symbols_from: where a row's symbol is written; None takes the folder's `symbol=` if there is one, else a column
            called symbol or ticker, else the file's name.
        name: of the panel; the folder's unless given.

    Returns:
        A panel with the dates that occur, sorted by date and symbol.

    Raises:
        DataError: a file is damaged, lacks a column, or contradicts another; names the file.
        LabelError: dates or symbols cannot be read, or a symbol asked for is in no file.
        SettingsError: a field is unknown, or prices are missing.
    """
    _check_columns(columns)
    if "prices" not in columns:
        raise SettingsError(f"scan_folder: columns {dict(columns)} name no prices: say {{'prices': 'adjusted_close'}}")
    files, source = _files(path, symbols, symbols_from)
    grid = ScanGrid(list(columns), len(files) if source != "column" else len(symbols or ()) or 64)
    for rows in _scanned(files, columns, start, end, symbols, source):
        grid.add(rows)
    where = name or Path(path).name
    dates, labels, tables = grid.tables(where)
    if symbols is not None:
        absent = sorted(set(symbols) - set(labels))
        if absent:
            raise LabelError(
                f"{path}: no rows of {', '.join(absent[:8])} within the dates: check symbols, start and end"
            )
    frames: dict[str, Any] = {
        field: pd.DataFrame(values, dates, labels, copy=False) for field, values in tables.items()
    }
    return MarketPanel.from_prices(**frames, periods_per_year=periods_per_year, name=where)


def scan_rows(
    path: str | Path,
    *,
    columns: Columns,
    start: Any = None,
    end: Any = None,
    symbols: Sequence[str] | None = None,
    symbols_from: Source | None = None,
) -> Iterator[pd.DataFrame]:
    """Read the rows of a folder as long tables, some at a time, where a panel would not fit into memory.

    Args:
        path: of the folder; folders in it are searched too.
        columns: columns of the files for those of the tables, called as you like: {"close": "adjusted_close",
            "dollar_volume": ("close", "volume")}; several are multiplied.
        start: first date, itself included.
        end: last date, itself included.
        symbols: to keep; None keeps all.
        symbols_from: where a row's symbol is written; as for `scan_folder`.

    Yields:
        Tables with a row a date and symbol, in the order of the files: date, symbol and a column for each of `columns`.

    Raises:
        DataError: a file is damaged, lacks a column, or contradicts another; names the file.
        LabelError: dates or symbols cannot be read, or a symbol asked for is in no file.
        SettingsError: `symbols` is a text instead of a list.
    """
    files, source = _files(path, symbols, symbols_from)
    for rows in _scanned(files, columns, start, end, symbols, source):
        labels = np.array(rows.symbols, dtype=object)[rows.codes]
        yield pd.DataFrame({"date": rows.dates, "symbol": labels, **rows.values})


def _files(
    path: str | Path, symbols: Sequence[str] | None, symbols_from: Source | None
) -> tuple[list[FoundFile], Source]:
    files = find_files(path)
    source: Source = symbols_from or _source(files[0])
    if symbols is None or source == "column":
        return files, source
    if isinstance(symbols, str):
        raise SettingsError(f"scan: symbols is the text {symbols!r}: give a list of symbols")
    wanted = set(symbols)
    if source == "file":
        kept = [file for file in files if file.stem in wanted]
    else:
        kept = [file for file in files if any(file.keys.get(key) in wanted for key in SYMBOLS)]
    absent = sorted(wanted - {file.stem if source == "file" else _key(file) for file in kept})
    if absent:
        raise LabelError(f"{path}: no file of {', '.join(absent[:8])}: write symbols as the {source} names do")
    return kept, source


def _key(file: FoundFile) -> str:
    return next(file.keys[key] for key in SYMBOLS if key in file.keys)


def _source(file: FoundFile) -> Source:
    if any(key in file.keys for key in SYMBOLS):
        return "folder"
    return "column" if any(spelled(label) in SYMBOLS for label in labels_of(file)) else "file"


def _scanned(
    files: Sequence[FoundFile],
    columns: Columns,
    start: Any,
    end: Any,
    symbols: Sequence[str] | None,
    source: Source,
) -> Iterator[ScannedRows]:
    first, last = (None if bound is None else parse_dates([bound], "scan: dates")[0] for bound in (start, end))
    parts = {field: (names,) if isinstance(names, str) else tuple(names) for field, names in columns.items()}
    wanted = dict.fromkeys(name for names in parts.values() for name in names)
    for file in files:
        year = file.keys.get("year", "")
        if year.isdigit() and ((first and int(year) < first.year) or (last and int(year) > last.year)):
            continue
        for rows in scan_file(file, list(wanted), start=first, end=last, symbols=symbols, symbols_from=source):
            values = {field: np.prod([rows.values[name] for name in names], axis=0) for field, names in parts.items()}
            yield ScannedRows(rows.file, rows.dates, rows.symbols, rows.codes, values)


def _check_columns(columns: Columns) -> None:
    unknown = sorted(set(columns) - set(_FIELDS))
    if unknown:
        raise SettingsError(
            f"scan_folder: {', '.join(unknown)}: no field of a panel: choose among {', '.join(_FIELDS)}"
        )
