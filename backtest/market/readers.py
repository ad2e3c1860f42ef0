"""Files of prices to panels: bars, repairs where they are named, then dates by assets.

Missing prices stay missing, and no date or name is removed. What cannot be the price of anything is refused, with the
place and the cure.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, SettingsError
from backtest.market.bar_reader import read_bars
from backtest.market.bars import Bars
from backtest.market.panel import MarketPanel
from backtest.market.problems import (
    refuse_identical_columns,
    refuse_impossible_prices,
    refuse_returns,
    unique_rows,
    warn_of_gaps,
)

__all__ = ["infer_periods_per_year", "panel_from_bars", "read_prices"]

_log = logging.getLogger("backtest.market")
# median days between dates -> allowed range of days, periods a year
_SPACINGS = (("daily", 1, 5, 252.0), ("weekly", 5, 9, 52.0), ("monthly", 26, 36, 12.0))
_PRICES = ("adjusted", "close", "raw")


def read_prices(
    source: Any,
    *,
    repair: str | Iterable[str] = (),
    prices: str | None = None,
    name: str | None = None,
    periods_per_year: float | None = None,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    symbol: str | None = None,
    kind: str = "prices",
    price_scale: float | None = None,
    date_format: str | None = None,
    decimal: str | None = None,
) -> MarketPanel:
    """Read a file of prices into a panel; total returns come from the adjusted close where there is one.

    The same as `read_bars`, `repair_bars` and `panel_from_bars`, which say more about the arguments.

    Args:
        source: a file, a zip, a folder or a frame, wide or long.
        repair: names of repairs, such as ["splits", "units"], or "safe"; none when left out.
        prices: "adjusted", "close" or "raw": which prices the panel holds.
        name: of the panel; the file's name without its ending when left out.
        periods_per_year: 252, 52 or 12; read off the spacing of the dates when left out.
        columns: of the file, where their names are not the usual ones.
        symbol: label of the one security in a file without symbols.
        kind: "prices" or "returns".
        price_scale: currency in one unit of the file's prices.
        date_format: of dates that could be read in two ways.
        decimal: "." or ",", of numbers that could be read in two ways.

    Returns:
        A panel with prices, assets sorted by label in long files and in file order in wide ones. A name is
        NaN and not tradable before listing, where its price is missing, and after delisting; no date or name
        is ever removed.

    Raises:
        DataError: the file is no table of prices, or holds values that cannot be prices; the message names
            file, row, column, value and the cure.
        LabelError: dates or symbols are missing, repeated or ambiguous.
    """
    bars = read_bars(
        source,
        columns=columns,
        symbol=symbol,
        kind=kind,
        price_scale=price_scale,
        date_format=date_format,
        decimal=decimal,
        name=name,
    )
    if repair:
        from backtest.market.repairs import repair_bars

        bars, _ = repair_bars(bars, repair)
    return panel_from_bars(bars, prices=prices, periods_per_year=periods_per_year)


def panel_from_bars(bars: Bars, *, prices: str | None = None, periods_per_year: float | None = None) -> MarketPanel:
    """Dates by assets out of a long table.

    Args:
        bars: of prices, or of returns, which give a panel without prices.
        prices: "adjusted" takes the adjusted close; "close" the close as it is; "raw" the close with its dividends
            and splits, from which the panel makes total returns. When left out: adjusted where there is such a column,
            else raw where there are dividends or splits, else the close, which is logged.
        periods_per_year: 252, 52 or 12; read off the spacing of the dates when left out.

    Raises:
        DataError: values that cannot be prices, two rows of one date and symbol that differ, identical columns, no
            frequency; names the place and the cure.
        SettingsError: the prices asked for are not in the bars.
    """
    place = bars.origin.files[0] if len(bars.origin.files) == 1 else bars.name
    keep = _unique(bars, place)
    dates, rows = _positions(bars)
    codes = bars.codes

    def table(values: np.ndarray) -> pd.DataFrame:
        cells = np.full((len(dates), len(bars.symbols)), np.nan)
        cells[rows[keep], codes[keep]] = values[keep]
        return pd.DataFrame(cells, index=dates, columns=bars.symbols)

    if periods_per_year is None:
        periods_per_year = infer_periods_per_year(dates, place)
    volume = _dollar_volume(bars)
    more: dict[str, Any] = {} if volume is None else {"dollar_volume": table(volume)}
    if "return" in bars.table:
        return MarketPanel.from_returns(
            table(bars.values("return")), periods_per_year=periods_per_year, name=bars.name, **more
        )
    which = _which_prices(bars, prices, place)
    field = "adjusted_close" if which == "adjusted" else "close"
    values = table(bars.values(field))
    places = table(np.arange(len(bars.rows), dtype=np.float64)).to_numpy()

    def where(row: int, column: int) -> str:
        return f"{bars.place(int(places[row, column]))} ({dates[row]:%Y-%m-%d})"

    cells = values.to_numpy()
    refuse_returns(cells, file=place, assets=bars.symbols, place=where)
    refuse_impossible_prices(cells, file=place, assets=bars.symbols, place=where)
    refuse_identical_columns(cells, file=place, dates=dates, assets=bars.symbols)
    warn_of_gaps(cells, file=place, dates=dates, assets=bars.symbols)
    if which == "raw":
        more |= {field: table(values) for field, values in _events(bars).items()}
    return MarketPanel.from_prices(values, periods_per_year=periods_per_year, name=bars.name, **more)


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


def _positions(bars: Bars) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """The dates (T,) that there are, and the number of each row's date (R,)."""
    stamps = bars.dates.asi8
    found, rows = np.unique(stamps, return_inverse=True)
    return pd.DatetimeIndex(found.view("datetime64[ns]")), rows


def _unique(bars: Bars, place: str) -> np.ndarray:
    dates, symbols = bars.dates, bars.symbols
    codes = bars.codes
    return unique_rows(
        [dates.asi8, codes],
        [bars.values(field) for field in bars.fields],
        file=place,
        labels=list(bars.fields),
        describe=lambda row: f"({dates[row]:%Y-%m-%d}, {symbols[codes[row]]})",
        place=bars.place,
    )


def _which_prices(bars: Bars, prices: str | None, place: str) -> str:
    if prices is None:
        if "adjusted_close" in bars.table:
            return "adjusted"
        if "split" in bars.table or "dividend" in bars.table:
            return "raw"
        _log.warning(
            "%s: no adjusted close: returns from the close leave out dividends, and splits if it is raw", place
        )
        return "close"
    if prices not in _PRICES:
        raise SettingsError(f"prices is {prices!r}: give one of {', '.join(_PRICES)}")
    if (needed := "adjusted_close" if prices == "adjusted" else "close") not in bars.table:
        raise SettingsError(f"{place}: prices is {prices!r}, and there is no {needed} among {list(bars.fields)}")
    return prices


def _dollar_volume(bars: Bars) -> np.ndarray | None:
    """(R,) currency, where it is known: as it stands, or unadjusted close times volume."""
    if "dollar_volume" in bars.table:
        return bars.values("dollar_volume")
    if "volume" not in bars.table or not bars.price_fields:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # the panel refuses what is infinite
        return bars.values("volume") * bars.values(bars.price)


def _events(bars: Bars) -> dict[str, np.ndarray]:
    """Dividends and splits of raw prices, as a panel counts them; a close that is adjusted for splits has none."""
    from backtest.market.finders.convention import price_convention

    events = {}
    if "dividend" in bars.table:
        events["dividends"] = bars.values("dividend")
    if "split" in bars.table and price_convention(bars).close_is_raw:
        split = bars.values("split")
        events["splits"] = np.where(split == 0, 1.0, split)
    return events
