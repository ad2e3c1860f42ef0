"""Dates and symbols of the rows of a raw table."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd

from backtest.errors import LabelError
from backtest.market.files import RawTable
from backtest.market.labels import parse_dates

__all__ = ["read_row_dates", "read_symbols"]

_log = logging.getLogger("backtest.market")
_OFFSET = re.compile(r"\s*(Z|[+-]\d{2}:?\d{2})$")


def read_symbols(raw: RawTable, label: str | None, stem: str) -> pd.Categorical[str]:
    """Symbols (R,) as categories in the order of text; `stem` for every row of a file without them.

    Raises:
        LabelError: a symbol is missing, no text, or has blanks around it.
    """
    if label is None:
        _log.info("%s: no column of symbols: the one asset is named %r", raw.file, stem)
        return pd.Categorical.from_codes(np.zeros(len(raw.columns), dtype=np.int8), categories=pd.Index([stem]))
    codes, found = pd.factorize(raw.columns[label])
    names = list(found)
    for number, symbol in enumerate([*names, *([None] if (codes < 0).any() else [])]):
        if not isinstance(symbol, str) or not symbol or symbol != symbol.strip():
            row = int(np.argmax(codes == (number if number < len(names) else -1)))
            raise LabelError(
                f"{raw.file}: {raw.place(row)}, column {label!r}: {symbol!r} is no symbol: "
                "write every symbol as text without blanks around it"
            )
    order = np.argsort(np.array(names, dtype=object))
    ranks = np.empty(len(names), dtype=np.int32)
    ranks[order] = np.arange(len(names))
    return pd.Categorical.from_codes(ranks[codes], categories=pd.Index([str(names[k]) for k in order]))


def read_row_dates(raw: RawTable, label: str, date_format: str | None) -> pd.DatetimeIndex:
    """Dates (R,) in file order; a UTC offset is dropped after it has given the local trading date.

    Raises:
        LabelError: a date is missing, in doubt, or not midnight in its own time zone.
    """
    column = raw.columns[label]
    where = f"{raw.file}: column {label!r}"
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        local = pd.DatetimeIndex(column).tz_localize(None)
    elif len(column) and isinstance(column.iloc[0], str) and _has_offset(column.iloc[0]):
        texts = column.astype(object).where(column.notna(), "").astype(str)
        local = _parsed(raw, texts.str.replace(_OFFSET, "", regex=True).tolist(), where, None)
    else:
        return _parsed(raw, pd.Index(column), where, date_format)
    if not (local == local.normalize()).all():
        row = int(np.argmax(local != local.normalize()))
        raise LabelError(
            f"{where}: {raw.place(row)}: {column.iloc[row]} is not midnight in its own time zone, so its "
            "trading date is in doubt: write local trading dates as YYYY-MM-DD"
        )
    _log.info("%s: UTC offsets dropped: each date is the local trading date", where)
    return parse_dates(local, where)


def _has_offset(text: str) -> bool:
    # without a time of day, the end of 02-01-2020 is a year
    return bool(_OFFSET.search(text)) and ":" in text.replace(_OFFSET.findall(text)[0], "")


def _parsed(raw: RawTable, labels: object, where: str, date_format: str | None) -> pd.DatetimeIndex:
    try:
        return parse_dates(labels, where, date_format=date_format)
    except LabelError as error:
        # parse_dates counts rows; the reader of a text file counts lines
        found = re.search(r": row (\d+): ", str(error))
        if raw.lines is None or not found:
            raise
        line = f": line {raw.lines[int(found[1])]}: "
        raise LabelError(str(error).replace(found[0], line, 1)) from error
    except (TypeError, ValueError, OverflowError) as error:
        # pandas on timestamps of several time zones, or outside the years 1678 to 2261
        raise LabelError(f"{where}: not readable as dates ({error}): write dates as YYYY-MM-DD") from error
