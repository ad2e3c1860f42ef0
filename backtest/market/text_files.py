"""Text files to columns of cells with the line of each row; prose before the header and files without one.

Cells stay text. What is not a whole table is refused with the line where it ends or breaks.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import zlib

import numpy as np

from backtest.errors import DataError, LabelError
from backtest.market.headers import DATE, spelled
from backtest.market.number_text import MISSING_WORDS

__all__ = ["TEXT_ENDINGS", "read_text"]

_log = logging.getLogger("backtest.market")

TEXT_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
_DATE_CELL = re.compile(
    r"\d{8}|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{8} \d{2}:\d{2}(:\d{2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"
)
_LEAN_DATE = re.compile(r"\d{8} \d{2}:\d{2}")
LEAN_COLUMNS = ["date", "open", "high", "low", "close", "volume"]
"""Of Lean's daily files, which have no header: "19981209 00:00,353100,358800,348800,356300,3241200"."""
_PROSE_LINES = 50
"""A header is looked for in this many lines."""


def read_text(
    name: str, raw: bytes, columns: list[str] | None = None
) -> tuple[list[str], list[list[str]], np.ndarray, str]:
    """Read a text file, gzipped or not, as a header and columns of text.

    Args:
        name: of the file, for messages.
        raw: its bytes.
        columns: labels of a file without a header.

    Returns:
        header (C labels), columns (C lists of R cells), lines (R,) and the layout ("lean" or "").

    Raises:
        DataError: empty, header only, an error message, not UTF-8, damaged, or without a header.
    """
    text = _decoded(name, raw)
    if not text.strip():
        raise DataError(f"{name}: the file is empty: download or write it again")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{name}: line {line}: holds zero bytes: the file is damaged; download or write it again")
    lines = text.splitlines()
    first = next(line for line in lines if line.strip()).strip()
    if first[0] in "{[" or re.match(r"<(!|\?|html|head|body|xml|error)", first, re.IGNORECASE):
        raise DataError(
            f"{name}: line 1: {_shown(text)!r} is JSON or HTML, not a table: "
            "an error message of the data source was saved as a file; download it again"
        )
    skipped, delimiter = _header_line(lines)
    if skipped:
        _log.info("%s: %d lines before the header left out, first %r", name, skipped, _shown(first))
    elif delimiter not in first:
        raise DataError(
            f"{name}: line 1: {_shown(text)!r} has one column only: not a table of prices; "
            "if it is a message of the data source, download the file again, else separate columns by commas"
        )
    rows, numbers = _rows(name, lines, skipped, delimiter)
    header, layout = _header(name, rows[0], columns)
    if header is None:
        header = [label.strip() for label in rows.pop(0)]
        del numbers[0]
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != len(header):
            word = "fewer" if len(row) < len(header) else "more"
            raise DataError(
                f"{name}: line {number}: {len(row)} fields, {word} than the header's "
                f"{len(header)}: the file is damaged or cut short; correct or download it again"
            )
    if not rows:
        raise DataError(f"{name}: a header and no rows: download or write the file again")
    return header, [list(cells) for cells in zip(*rows, strict=True)], np.array(numbers), layout


def _header_line(lines: list[str]) -> tuple[int, str]:
    """How many lines stand before the header, and the delimiter.

    A line below others is the header where one of its cells names a date, those above have another number
    of cells, and the next line has as many.
    """
    start = next(k for k, line in enumerate(lines) if line.strip())
    counts: list[int] = []
    for k in range(start, min(start + _PROSE_LINES, len(lines) - 1)):
        delimiter = max(",;\t", key=lines[k].count)
        cells = lines[k].split(delimiter)
        names_date = any(spelled(cell) in DATE for cell in cells)
        if k == start and names_date and len(cells) > 1:
            break
        followed = lines[k + 1].count(delimiter) == lines[k].count(delimiter) > 0
        if k > start and names_date and followed and len(cells) not in counts:
            return k, delimiter
        counts.append(len(cells))
    return 0, max(",;\t", key=lines[start].count)


def _rows(name: str, lines: list[str], skipped: int, delimiter: str) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=delimiter)
    rows, numbers = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                numbers.append(reader.line_num + skipped)
    except csv.Error as error:
        raise DataError(
            f"{name}: line {reader.line_num + skipped}: not a table ({error}): correct or download the file again"
        ) from error
    return rows, numbers


def _header(name: str, row: list[str], columns: list[str] | None) -> tuple[list[str] | None, str]:
    """The labels of a file whose first line is data already, None where it is a header."""
    if columns is not None:
        return list(columns), ""
    cells = [cell.strip() for cell in row]
    headless = bool(_DATE_CELL.fullmatch(cells[0])) and all(_is_number(cell) for cell in cells[1:])
    if not headless:
        return None, ""
    if _LEAN_DATE.fullmatch(cells[0]) and len(cells) == len(LEAN_COLUMNS):
        return LEAN_COLUMNS, "lean"
    raise LabelError(
        f"{name}: line 1: {_shown(','.join(cells))!r} is a row of data, so the file has no header: name its "
        f"{len(cells)} columns in order, as in columns=['date', 'open', 'high', 'low', 'close', 'volume'], '' for "
        "those to leave out"
    )


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[KMBT%]?", cell)) or cell.lower() in MISSING_WORDS


def _decoded(name: str, raw: bytes) -> str:
    if name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}: not a whole gzip file ({error}): download or write it again") from error
    if raw[:4] == b"PAR1":
        raise DataError(f"{name}: this is a Parquet file: rename it to end in .parquet")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {line}: not UTF-8 text ({error}): save it as UTF-8") from error


def _shown(text: str) -> str:
    """The start of a file on one line."""
    return re.sub(r"\s+", " ", text.strip())[:60]
