"""Text as it stands in files of prices to numbers: "13.88M", "-1.09%", "1,234.50", and the words for nothing.

What can be read in two ways is not read: "1,234" is a thousand and more, or one and a bit, until another cell of its
column or `decimal` says which.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from backtest.errors import SettingsError

__all__ = ["MISSING_WORDS", "parse_numbers"]

MISSING_WORDS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "."})
"""Text that means "no number here", in lower case."""

_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_GROUPED = {
    ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"),
    ",": re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?"),
}
_CERTAIN = re.compile(r"[+-]?\d{1,3}((,\d{3}){2,}|(,\d{3})+\.\d+)")
"""A number whose commas can only stand between thousands."""


def parse_numbers(
    cells: np.ndarray, *, decimal: str | None = None, units: bool = False, percent: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Read text as numbers.

    Args:
        cells: (R,) of text.
        decimal: "." or ","; None reads points, and commas between thousands where a cell of the column leaves no doubt.
        units: "745.78K", "13.88M", "1.2B" and "1T" are numbers (of shares, or of currency).
        percent: "-1.09%" is -0.0109.

    Returns:
        values (R,) float64, NaN where there is no number, and unread (R,) bool: cells that are neither a number nor
        one of the words for a missing one.

    Raises:
        SettingsError: `decimal` is neither "." nor ",".
    """
    if decimal not in (None, ".", ","):
        raise SettingsError(f"decimal is {decimal!r}: give '.' or ','")
    stripped = pd.Series(cells, dtype=object).str.strip()
    plain = stripped
    if decimal == ",":
        # "1.234" is more than a thousand here, and "1.2" is nothing
        known = stripped.str.fullmatch(_GROUPED[","])
        plain = _with_point(stripped).where(known, stripped.where(~stripped.str.contains(".", regex=False), "?"))
    values = pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    unread = np.isnan(values) & ~stripped.str.lower().isin(MISSING_WORDS).to_numpy()
    if unread.any():
        rows = np.flatnonzero(unread)
        grouped = decimal == "." or (decimal is None and any(_CERTAIN.match(str(c)) for c in stripped.iloc[rows]))
        for row in rows.tolist():
            values[row] = _one(str(stripped.iloc[row]), decimal or ".", grouped=grouped, units=units, percent=percent)
        unread &= np.isnan(values)
    return values, unread


def _with_point(cells: pd.Series) -> pd.Series:
    return cells.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)


def _one(text: str, decimal: str, *, grouped: bool, units: bool, percent: bool) -> float:
    """One number with a unit, a per cent sign or separators; NaN where it has what is not allowed."""
    factor = 1.0
    if percent and text.endswith("%"):
        text, factor = text[:-1].rstrip(), 1e-2
    elif units and text[-1:].lower() in _UNITS:
        text, factor = text[:-1].rstrip(), _UNITS[text[-1:].lower()]
    if decimal == ",":
        if not _GROUPED[","].fullmatch(text):
            return np.nan
        text = text.replace(".", "").replace(",", ".")
    elif grouped and _GROUPED["."].fullmatch(text):
        text = text.replace(",", "")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text):
        return np.nan
    # 745.78 * 1e3 is 745780.0000000001: shift the decimal point in text
    if factor == 1.0:
        return float(text)
    return float(f"{text}e{round(np.log10(factor))}")
