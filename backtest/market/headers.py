"""What columns of files of prices are called: the names of Yahoo, Alpha Vantage, investing.com, Stooq, Lean, Kaggle."""

from __future__ import annotations

import re

__all__ = ["DATE", "FIELDS", "PRICE_FIELDS", "SYMBOL", "UNNAMED", "spelled"]

DATE = frozenset(
    {"date", "datetime", "timestamp", "day", "time", "week", "weekending", "month", "monthending", "tradedate"}
)
SYMBOL = frozenset({"symbol", "ticker", "asset", "instrument", "code"})
# what pandas calls an index without a name; it may hold dates or row numbers
UNNAMED = frozenset({"", "index", "unnamed0"})

FIELDS: dict[str, frozenset[str]] = {
    "open": frozenset({"open", "openprice", "openingprice", "pxopen"}),
    "high": frozenset({"high", "highprice", "max", "pxhigh"}),
    "low": frozenset({"low", "lowprice", "min", "pxlow"}),
    "close": frozenset({"close", "price", "closeprice", "closingprice", "last", "pxlast", "prc"}),
    "adjusted_close": frozenset(
        {"adjustedclose", "adjclose", "closeadj", "closeadjusted", "adjustedprice", "adjprice", "totalreturnindex"}
    ),
    "volume": frozenset({"volume", "vol", "sharevolume", "pxvolume"}),
    "dividend": frozenset({"dividend", "dividends", "dividendamount", "divcash", "cashdividend", "dvd"}),
    "split": frozenset(
        {"split", "splits", "stocksplit", "stocksplits", "splitcoefficient", "splitratio", "splitfactor"}
    ),
    "dollar_volume": frozenset({"dollarvolume", "dollarvol", "valuetraded", "tradedvalue"}),
}
"""The fields of bars, in their order, and their names in files as `spelled` writes them."""

PRICE_FIELDS = ("open", "high", "low", "close", "adjusted_close")


def spelled(label: str) -> str:
    """Lower case, letters and digits only, without Alpha Vantage's numbers: "5. adjusted close" is "adjustedclose"."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^\s*\d+\.\s+", "", label.lower()))
