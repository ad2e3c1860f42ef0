"""Price files to panels: CSV or Parquet, wide or long, as the file is or not at all.

Wide: a date column and one column of prices a symbol. Long: a row for each date and symbol. A file
with open, high, low, close and no symbol is long with one symbol, the file's name. Rows may come in any
order; missing prices stay missing. What is changed without a doubt (order, equal repeated rows, UTC offsets)
is logged by the logger `backtest.market`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.files import RawTable, read_raw
from backtest.market.labels import parse_dates
from backtest.market.panel import MarketPanel
from backtest.market.problems import (
    refuse_identical_columns,
    refuse_impossible_prices,
    refuse_returns,
    unique_rows,
    warn_of_gaps,
)

__all__ = ["infer_periods_per_year", "read_prices"]

_log = logging.getLogger("backtest.market")

# spellings, after lower-casing and dropping everything but letters and digits
_DATE = {
    "date",
    "datetime",
    "timestamp",
    "day",
    "time",
    "week",
    "weekending",
    "month",
    "monthending",
    "tradedate",
}
# what pandas calls an index without a name; it may hold dates or row numbers
_UNNAMED = {"", "index", "unnamed0"}
_SYMBOL = {"symbol", "ticker", "asset", "instrument", "code"}
_ADJUSTED = {
    "adjustedclose",
    "adjclose",
    "closeadj",
    "closeadjusted",
    "adjustedprice",
    "adjprice",
    "totalreturnindex",
}
_CLOSE = {"close", "price", "closeprice", "closingprice", "last", "pxlast", "prc"}
_DOLLAR_VOLUME = {"dollarvolume", "dollarvol", "valuetraded", "tradedvalue"}
_VOLUME = {"volume", "vol", "sharevolume"}
_BARS = {"open", "high", "low"}
_OFFSET = re.compile(r"\s*(Z|[+-]\d{2}:?\d{2})$")
# median days between dates -> allowed range of days, periods a year
_SPACINGS = (("daily", 1, 5, 252.0), ("weekly", 5, 9, 52.0), ("monthly", 26, 36, 12.0))


def read_prices(path: str | Path, *, name: str | None = None, periods_per_year: float | None = None) -> MarketPanel:
    """Read a file of prices into a panel; total returns come from the adjusted close where there is one.

    Args:
        path: CSV (also .tsv, .txt, .gz) or Parquet. Long files need a date, a symbol and a close or adjusted
            close; dollar volume is kept, or made from unadjusted close times volume.
        name: of the panel; the file's name without its ending when left out.
        periods_per_year: 252, 52 or 12; read off the spacing of the dates when left out.

    Returns:
        A panel with prices, assets sorted by label in long files and in file order in wide ones. A name is
        NaN and not tradable before listing, where its price is missing, and after delisting; no date or name
        is ever removed.

    Raises:
        DataError: the file is no table of prices, or holds values that cannot be prices; the message names
            file, row, column, value and the cure.
        LabelError: dates or symbols are missing, repeated or ambiguous.
    """
    path = Path(path)
    raw = read_raw(path)
    stem = re.sub(r"(\.csv|\.tsv)?(\.gz)?$|\.[^.]+$", "", path.name)
    spelled = {label: re.sub(r"[^a-z0-9]", "", label.lower()) for label in raw.columns.columns}
    spelled = _without_row_numbers(raw, spelled)
    if _is_long(raw, spelled):
        prices, dollar_volume, rows = _read_long(raw, spelled, stem)
    else:
        prices, rows = _read_wide(raw, spelled)
        dollar_volume = None
    dates, assets, values = pd.DatetimeIndex(prices.index), prices.columns, prices.to_numpy()

    def place(row: int, column: int) -> str:
        return f"{raw.place(int(rows[row, column]))} ({dates[row]:%Y-%m-%d})"

    refuse_returns(values, file=raw.file, assets=assets, place=place)
    refuse_impossible_prices(values, file=raw.file, assets=assets, place=place)
    refuse_identical_columns(values, file=raw.file, dates=dates, assets=assets)
    warn_of_gaps(values, file=raw.file, dates=dates, assets=assets)
    if periods_per_year is None:
        periods_per_year = infer_periods_per_year(dates, raw.file)
    return MarketPanel.from_prices(
        prices, dollar_volume=dollar_volume, periods_per_year=periods_per_year, name=name or stem
    )


def infer_periods_per_year(dates: pd.DatetimeIndex, where: str) -> float:
    """Read 252, 52 or 12 off the spacing of dates.

    Raises:
        DataError: the spacing is none of business-daily, weekly and monthly, or there are too few dates.
    """
    cure = "pass periods_per_year= (252 business days, 365 days, 52 weeks, 12 months)"
    if len(dates) < 2:
        raise DataError(f"{where}: {len(dates)} date shows no frequency: {cure}")
    days = np.diff(dates.asi8) / 86_400e9
    median = float(np.median(days))
    if median <= 1 and np.mean(dates.day_of_week >= 5) > 0.1:
        raise DataError(f"{where}: dates include weekends, so a year has more than 252 of them: {cure}")
    for _, low, high, per_year in _SPACINGS:
        if low <= median <= high and np.mean((days >= low) & (days <= high)) >= 0.8:
            return per_year
    raise DataError(
        f"{where}: dates are {median:g} days apart in the median, from {days.min():g} to {days.max():g}: "
        f"neither daily, weekly nor monthly: {cure}"
    )


def _labels(spelled: dict[str, str], words: set[str]) -> list[str]:
    return [label for label, word in spelled.items() if word in words]


def _without_row_numbers(raw: RawTable, spelled: dict[str, str]) -> dict[str, str]:
    """Leave out a first column without a name that only counts rows, beside a column of dates."""
    first = next(iter(spelled))
    if spelled[first] not in _UNNAMED or not _labels(spelled, _DATE):
        return spelled
    cells = raw.columns[first]
    counts = pd.to_numeric(cells, errors="coerce") if cells.dtype == object else cells
    if not pd.api.types.is_numeric_dtype(counts.dtype) or counts.isna().any() or (counts >= 1e7).any():
        return spelled
    _log.info("%s: the first column numbers the rows: left out", raw.file)
    return {label: word for label, word in spelled.items() if label != first}


def _is_long(raw: RawTable, spelled: dict[str, str]) -> bool:
    words = set(spelled.values())
    has_price = bool(words & (_ADJUSTED | _CLOSE))
    symbols = _labels(spelled, _SYMBOL)
    if symbols:
        if not has_price:
            if pd.to_numeric(raw.columns[symbols[0]], errors="coerce").notna().any():
                return False  # numbers under a ticker such as CODE: a wide table
            raise DataError(
                f"{raw.file}: a column of symbols but no price among {list(spelled)}: "
                "name the price column 'adjusted_close' or 'close'"
            )
        return True
    return has_price and bool(words & (_BARS | _VOLUME | _DOLLAR_VOLUME))


def _read_wide(raw: RawTable, spelled: dict[str, str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Prices (T, N) in time order, and the row of the file that each cell stands in (T, N)."""
    first = next(iter(spelled))
    date_label = first if spelled[first] in _DATE | _UNNAMED else next(iter(_labels(spelled, _DATE)), first)
    assets = [label for label in spelled if label != date_label]
    values = np.column_stack([raw.numbers(label) for label in assets]) if assets else np.empty((0, 0))
    if not assets:
        raise DataError(f"{raw.file}: no column besides {date_label!r}: a table of prices has one a symbol")
    if spelled[date_label] not in _DATE | _UNNAMED:
        # said before the dates are looked at: files of returns often have no dates either
        refuse_returns(values, file=raw.file, assets=pd.Index(assets), place=lambda row, _: raw.place(row))
    dates = _read_dates(raw, date_label)
    keep = unique_rows(
        [dates.asi8],
        list(values.T),
        file=raw.file,
        labels=[f"prices of {asset!r}" for asset in assets],
        describe=lambda row: f"{dates[row]:%Y-%m-%d}",
        place=raw.place,
    )
    order = np.flatnonzero(keep)[np.argsort(dates.asi8[keep])]
    if (np.diff(order) < 0).any():
        _log.info("%s: dates were not in order: rows sorted by date", raw.file)
    frame = pd.DataFrame(values[order], index=dates[order], columns=pd.Index(assets))
    return frame, np.broadcast_to(order[:, None], frame.shape)


def _read_long(
    raw: RawTable, spelled: dict[str, str], stem: str
) -> tuple[pd.DataFrame, pd.DataFrame | None, np.ndarray]:
    """Prices (T, N), dollar volume where known, and the row of the file that each price stands in (T, N)."""
    named = {"date"} if "date" in spelled.values() else _DATE if _labels(spelled, _DATE) else _UNNAMED
    date_label = _one(raw, spelled, named, "date")
    columns = _long_columns(raw, spelled)
    dates = _read_dates(raw, date_label)
    symbols = _read_symbols(raw, spelled, stem)
    codes, names = pd.factorize(symbols, sort=True)
    keep = unique_rows(
        [dates.asi8, codes],
        list(columns.values()),
        file=raw.file,
        labels=list(columns),
        describe=lambda row: f"({dates[row]:%Y-%m-%d}, {symbols[row]})",
        place=raw.place,
    )
    rows, days = pd.factorize(dates[keep], sort=True)
    by_symbol = pd.DataFrame({"code": codes[keep], "row": rows})
    backwards = by_symbol.groupby("code")["row"].diff() < 0
    if backwards.any():
        _log.info("%s: dates were not in order for some symbols: rows sorted by date", raw.file)

    def table(values: np.ndarray) -> pd.DataFrame:
        cells = np.full((len(days), len(names)), np.nan)
        cells[rows, codes[keep]] = values[keep]
        return pd.DataFrame(cells, index=pd.DatetimeIndex(days), columns=pd.Index(names))

    volume = columns.get("dollar volume")
    places = table(np.arange(len(dates), dtype=np.float64)).to_numpy()
    return table(columns["prices"]), None if volume is None else table(volume), places


def _long_columns(raw: RawTable, spelled: dict[str, str]) -> dict[str, np.ndarray]:
    """Prices, and dollar volume where it is known, each (R,)."""
    adjusted, close = _labels(spelled, _ADJUSTED), _labels(spelled, _CLOSE)
    label = _one(raw, spelled, _ADJUSTED if adjusted else _CLOSE, "price")
    if adjusted:
        _log.info("%s: total returns from %r", raw.file, label)
    else:
        _log.warning(
            "%s: no adjusted close: returns from %r leave out dividends, and splits if it is raw",
            raw.file,
            label,
        )
    columns = {"prices": raw.numbers(label)}
    if _labels(spelled, _DOLLAR_VOLUME):
        columns["dollar volume"] = raw.numbers(_one(raw, spelled, _DOLLAR_VOLUME, "dollar volume"))
    elif _labels(spelled, _VOLUME):
        shares = raw.numbers(_one(raw, spelled, _VOLUME, "volume"))
        traded_at = raw.numbers(close[0]) if close else columns["prices"]
        columns["dollar volume"] = shares * traded_at
    return columns


def _one(raw: RawTable, spelled: dict[str, str], words: set[str], kind: str) -> str:
    labels = _labels(spelled, words)
    if len(labels) != 1:
        found = f"{len(labels)} {kind} columns {labels}" if labels else f"no {kind} column"
        raise LabelError(f"{raw.file}: {found} among {list(spelled)}: name exactly one {kind!r}")
    return labels[0]


def _read_symbols(raw: RawTable, spelled: dict[str, str], stem: str) -> np.ndarray:
    """(R,) text; the file's own name for every row of a file without symbols."""
    if not _labels(spelled, _SYMBOL):
        _log.info("%s: no column of symbols: the one asset is named %r", raw.file, stem)
        return np.full(len(raw.columns), stem, dtype=object)
    label = _one(raw, spelled, _SYMBOL, "symbol")
    column = raw.columns[label]
    for row, symbol in enumerate(column.unique()):
        if not isinstance(symbol, str) or not symbol or symbol != symbol.strip():
            row = int(np.argmax([s is symbol or s == symbol for s in column]))
            raise LabelError(
                f"{raw.file}: {raw.place(row)}, column {label!r}: {symbol!r} is no symbol: "
                "write every symbol as text without blanks around it"
            )
    return column.astype(object).to_numpy()


def _read_dates(raw: RawTable, label: str) -> pd.DatetimeIndex:
    """(R,) dates in file order; a UTC offset is dropped after it has given the local trading date."""
    column = raw.columns[label]
    where = f"{raw.file}: column {label!r}"
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        local = pd.DatetimeIndex(column).tz_localize(None)
    elif len(column) and isinstance(column.iloc[0], str) and _OFFSET.search(column.iloc[0]):
        local = parse_dates(column.str.replace(_OFFSET, "", regex=True).tolist(), where)
    else:
        return parse_dates(pd.Index(column), where)
    if not (local == local.normalize()).all():
        row = int(np.argmax(local != local.normalize()))
        raise LabelError(
            f"{where}: {raw.place(row)}: {column.iloc[row]} is not midnight in its own time zone, so its "
            "trading date is in doubt: write local trading dates as YYYY-MM-DD"
        )
    _log.info("%s: UTC offsets dropped: each date is the local trading date", where)
    return parse_dates(local, where)
