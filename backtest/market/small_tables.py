"""Small tables that people write by hand: CSV cells as text, each with its place, under known names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from backtest.errors import DataError

__all__ = ["read_small_table"]


def read_small_table(path: str | Path, columns: Mapping[str, tuple[str, ...]]) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV with a header.

    Args:
        path: of the file.
        columns: what each column may be called, in small letters, by the name it gets here; others are left out.

    Returns:
        For each row its place, as "gone.csv: line 2", and its cells without blanks around them, by name. Nothing is
        read into a cell: NA and TRUE are text.

    Raises:
        DataError: no such file, no UTF-8 text, a column missing or there twice, a row of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file: check the path")
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [label.strip().lower() for label in next(reader, [])]
            places = {}
            for name, words in columns.items():
                found = [number for number, label in enumerate(header) if label in words]
                if len(found) != 1:
                    called = f"{len(found)} columns of {header[:10]} are called {' or '.join(words)}"
                    raise DataError(f"{path.name}: {called}: name exactly one")
                places[name] = found[0]
            for cells in reader:
                place = f"{path.name}: line {reader.line_num}"
                if cells and len(cells) != len(header):
                    raise DataError(f"{place}: {len(cells)} fields, {len(header)} in the header: correct the line")
                if cells:
                    rows.append((place, {name: cells[column].strip() for name, column in places.items()}))
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 text ({error}): save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path.name}: line {reader.line_num}: not a table of cells ({error}): correct the line"
        ) from error
    return rows
