"""Labels of rows and columns: dates that sort without ambiguity, assets that are text.

A label that could be read in two ways is refused, never guessed: text that is neither an ISO date nor
in one unambiguous day/month order, integers that are not YYYYMMDD, time zones, asset names that are no text.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import LabelError

__all__ = ["check_increasing", "parse_assets", "parse_dates", "require_same_labels", "row_of", "row_until"]

_FORMATS = (
    (re.compile(r"\d{4}-\d{1,2}-\d{1,2}"), ("%Y-%m-%d",)),
    (re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?"), ("ISO8601",)),
    (re.compile(r"\d{4}/\d{1,2}/\d{1,2}"), ("%Y/%m/%d",)),
    (re.compile(r"\d{8}"), ("%Y%m%d",)),
    (re.compile(r"\d{8} \d{2}:\d{2}"), ("%Y%m%d %H:%M",)),
    (re.compile(r"\d{1,2}/\d{1,2}/\d{4}"), ("%m/%d/%Y", "%d/%m/%Y")),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"), ("%d.%m.%Y",)),
    (re.compile(r"\d{1,2}-[A-Za-z]{3}-\d{4}"), ("%d-%b-%Y",)),
    (re.compile(r"[A-Za-z]{3} \d{1,2}, \d{4}"), ("%b %d, %Y",)),
)
_CURE = "write dates as YYYY-MM-DD"


def parse_dates(labels: Any, where: str, *, date_format: str | None = None) -> pd.DatetimeIndex:
    """Turn row labels into timezone-naive timestamps in nanoseconds, or refuse them.

    Accepted: timestamps, `datetime.date`, text in one common format (month/day order must be unambiguous over
    the whole column), and integers or text of the form YYYYMMDD. The order is kept as given.

    Args:
        labels: (T,) an index, Series, array or sequence of dates.
        where: what is being read, for the message ("prices.csv: column 'Date'").
        date_format: of text, as in `strptime` ("%d/%m/%Y"); None where the column leaves no doubt.

    Raises:
        LabelError: a time zone, a missing date, a number that is no date, or text that is not readable in
            exactly one way.
    """
    index = labels if isinstance(labels, pd.Index) else pd.Index(labels)
    if isinstance(index, pd.PeriodIndex):
        raise LabelError(f"{where}: periods ({index.freqstr}) instead of dates: pass index.to_timestamp(how='end')")
    if not isinstance(index, pd.DatetimeIndex):
        index = _parse_index(index, where, date_format)
    if index.tz is not None:
        raise LabelError(
            f"{where}: dates carry the time zone {index.tz}, first {index[0] if len(index) else 'none'}: "
            "pass local trading dates without one, as index.tz_localize(None).normalize()"
        )
    if index.hasnans:
        row = int(np.flatnonzero(index.isna())[0])
        raise LabelError(f"{where}: row {row}: the date is missing: remove the row or fill in its date")
    return pd.DatetimeIndex(index.to_numpy(dtype="datetime64[ns]"))


def _parse_index(index: pd.Index, where: str, date_format: str | None) -> pd.DatetimeIndex:
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = pd.Index(index.astype(object))
    if pd.api.types.is_integer_dtype(index.dtype):
        values = index.to_numpy()
        if len(values) and not ((values >= 1_600_00_00) & (values < 2_300_00_00)).all():
            raise LabelError(
                f"{where}: row labels are numbers ({values[0]}, ...), not dates: "
                f"set the date column as the index, and {_CURE}"
            )
        return _parse_text([str(v) for v in values], where, date_format)
    labels = list(index)
    if all(isinstance(v, str) for v in labels):
        return _parse_text(labels, where, date_format)
    for row, label in enumerate(labels):
        if label is None or label is pd.NaT or (isinstance(label, float) and np.isnan(label)):
            raise LabelError(f"{where}: row {row}: the date is missing: remove the row or fill in its date")
        if not isinstance(label, (datetime.date, np.datetime64)):
            raise LabelError(f"{where}: row {row}: {label!r} ({type(label).__name__}) is not a date: {_CURE}")
    return pd.DatetimeIndex(labels)


def _parse_text(texts: Sequence[str], where: str, date_format: str | None) -> pd.DatetimeIndex:
    if not texts:
        return pd.DatetimeIndex([])
    texts = [t.strip() for t in texts]
    if date_format is not None:
        return _parse_format(texts, where, date_format)
    known = [(pattern, formats) for pattern, formats in _FORMATS if pattern.fullmatch(texts[0])]
    if not known:
        raise LabelError(f"{where}: row 0: {texts[0]!r} is not a date in a known format: {_CURE}")
    pattern, formats = known[0]
    for row, text in enumerate(texts):
        if not pattern.fullmatch(text):
            raise LabelError(
                f"{where}: row {row}: {text!r} is not a date in the format of the first row, {texts[0]!r}: {_CURE}"
            )
    readings = {form: pd.to_datetime(pd.Index(texts), format=form, errors="coerce") for form in formats}
    whole = {form: dates for form, dates in readings.items() if not dates.hasnans}
    if not whole:
        form, dates = min(readings.items(), key=lambda item: int(np.sum(item[1].isna())))
        row = int(np.flatnonzero(dates.isna())[0])
        raise LabelError(f"{where}: row {row}: {texts[row]!r} is not a date as {form}: {_CURE}")
    candidates = list(whole.values())
    if len(candidates) > 1 and not candidates[0].equals(candidates[1]):
        raise LabelError(
            f"{where}: {texts[0]!r} and all other dates can be read as month/day or as day/month: {_CURE}, or pass "
            "date_format='%m/%d/%Y' or '%d/%m/%Y'"
        )
    return candidates[0]


def _parse_format(texts: Sequence[str], where: str, date_format: str) -> pd.DatetimeIndex:
    try:
        dates = pd.DatetimeIndex(pd.to_datetime(pd.Index(texts), format=date_format, errors="coerce"))
    except ValueError as error:
        raise LabelError(f"{where}: date_format {date_format!r} is not one of strptime: {error}") from error
    if dates.tz is None and not dates.hasnans:
        return dates
    row = int(np.argmax(dates.isna()))
    raise LabelError(f"{where}: row {row}: {texts[row]!r} is not a date as {date_format}: correct date_format")


def check_increasing(dates: pd.DatetimeIndex, where: str) -> None:
    """Refuse dates that repeat or go back, naming the first one that does.

    Raises:
        LabelError: `dates` is not strictly increasing.
    """
    if dates.is_monotonic_increasing and dates.is_unique:
        return
    steps = np.diff(dates.asi8)
    row = int(np.flatnonzero(steps <= 0)[0]) + 1
    before, label = dates[row - 1], dates[row]
    if before == label:
        raise LabelError(f"{where}: row {row}: the date {label} repeats: keep one row a date")
    raise LabelError(f"{where}: row {row}: the date {label} comes after {before}: sort the rows with sort_index()")


def row_of(date: Any, dates: pd.DatetimeIndex, where: str) -> int:
    """Row number of a date among increasing ones.

    Raises:
        LabelError: there is no such date; names its neighbours.
    """
    stamp = parse_dates([date], f"{where}: date")[0]
    row = int(dates.searchsorted(stamp))
    if row < len(dates) and dates[row] == stamp:
        return row
    near = [f"{d:%Y-%m-%d}" for d in dates[max(row - 1, 0) : row + 1]]
    raise LabelError(f"{where}: no row is dated {stamp}: the nearest are {' and '.join(near)}")


def row_until(t: Any, dates: pd.DatetimeIndex, where: str) -> int:
    """A row number as it is, or the last row at or before a date.

    Raises:
        LabelError: the row is outside 0..T-1, or the date is before the first.
    """
    if isinstance(t, (int, np.integer)) and not isinstance(t, bool):
        if not 0 <= t < len(dates):
            raise LabelError(f"{where}: row {t} is outside 0..{len(dates) - 1}")
        return int(t)
    stamp = parse_dates([t], f"{where}: date")[0]
    row = int(dates.searchsorted(stamp, side="right")) - 1
    if row < 0:
        raise LabelError(f"{where}: {stamp} is before the first row, {dates[0]:%Y-%m-%d}")
    return row


def parse_assets(labels: Iterable[Any], where: str) -> pd.Index:
    """Check that asset labels are unique, non-empty text, and return them as a plain index.

    Raises:
        LabelError: a label is missing, empty, not text, or there twice.
    """
    texts = list(labels)
    seen: dict[str, int] = {}
    for column, label in enumerate(texts):
        if not isinstance(label, str):
            raise LabelError(
                f"{where}: column {column}: the asset label {label!r} ({type(label).__name__}) is not text: "
                "name every asset, as in frame.columns = ['AAA', 'BBB']"
            )
        if not label.strip():
            raise LabelError(f"{where}: column {column}: the asset label is empty: name every asset")
        if label in seen:
            raise LabelError(f"{where}: columns {seen[label]} and {column} are both labelled {label!r}: rename one")
        seen[label] = column
    # str(...) drops subclasses such as numpy.str_, so that equal labels hash to equal bytes
    return pd.Index([str(t) for t in texts])


def require_same_labels(given: pd.Index, wanted: pd.Index, *, where: str, kind: str) -> None:
    """Refuse a set of labels that is not the wanted one, naming what is missing and what is extra.

    Args:
        given: the labels of an input, in any order.
        wanted: the labels it must have.
        where: what is being read, for the message.
        kind: "asset" or "date".

    Raises:
        LabelError: a label is missing, extra or there twice.
    """
    if given.equals(wanted):
        return
    if not given.is_unique:
        raise LabelError(f"{where}: the {kind} {given[given.duplicated()][0]} is there twice: keep one")
    problems = []
    for word, labels in (("missing", wanted.difference(given)), ("unknown", given.difference(wanted))):
        if len(labels):
            shown = ", ".join(str(label) for label in labels[:5])
            more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
            problems.append(f"{word} {kind}s {shown}{more}")
    if problems:
        raise LabelError(f"{where}: {'; '.join(problems)}: give exactly the {kind}s of the panel")
