"""Prices from Yahoo through the package yfinance, with a cache on disk that an interruption cannot spoil.

Yahoo divides the prices, dividends and volumes of the past by the splits since, up to the day of the request. The
whole history up to that day is asked for, so the division is undone and the panel has prices as they were traded.
yfinance is under Apache-2.0; the data are Yahoo's, for personal use by its terms, and change without notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market.labels import parse_assets, parse_dates
from backtest.market.panel import MarketPanel
from backtest.whole_files import whole_file

__all__ = ["PriceClient", "YahooClient", "download"]

_COLUMNS = ("close", "volume", "dividends", "splits")


class PriceClient(Protocol):
    """Where prices come from; a test passes one of its own."""

    def history(self, symbol: str, start: pd.Timestamp) -> pd.DataFrame:
        """Daily rows from `start` to the last day there is.

        Returns:
            Dates without time zone as index, and the columns close, volume, dividends (0 = none) and splits (shares
            after for each before, 0 = none); prices, volumes and dividends divided by all later splits, dividends not
            taken out of prices.

        Raises:
            LookupError: the source does not know the symbol.
            OSError: the source cannot be reached, or refuses for now.
        """


@dataclass(frozen=True)
class YahooClient:
    """Yahoo Finance through yfinance (`pip install "aligned-backtest[sources]"`).

    Attributes:
        timeout: seconds to wait for an answer.
    """

    timeout: float = 20.0

    def history(self, symbol: str, start: pd.Timestamp) -> pd.DataFrame:
        """As `PriceClient.history`."""
        try:
            import yfinance
        except ImportError as error:
            raise SettingsError(
                'download needs the package yfinance, which is not installed: pip install "aligned-backtest[sources]"'
            ) from error
        hidden = yfinance.config.debug.hide_exceptions
        yfinance.config.debug.hide_exceptions = False
        try:
            found = yfinance.Ticker(symbol).history(
                start=f"{start:%Y-%m-%d}", interval="1d", auto_adjust=False, actions=True, timeout=self.timeout
            )
        except yfinance.exceptions.YFTickerMissingError as error:
            raise LookupError(str(error)) from error
        except yfinance.exceptions.YFException as error:
            raise ConnectionError(str(error)) from error
        finally:
            yfinance.config.debug.hide_exceptions = hidden
        found.index = pd.DatetimeIndex(found.index).tz_localize(None).normalize()
        names = {"Close": "close", "Volume": "volume", "Dividends": "dividends", "Stock Splits": "splits"}
        return found.rename(columns=names)[list(names.values())]


def download(
    symbols: Sequence[str],
    start: Any,
    end: Any,
    *,
    cache: str | Path,
    client: PriceClient | None = None,
    tries: int = 4,
    wait: float = 2.0,
    sleep: Callable[[float], None] = time.sleep,
    today: Any = None,
) -> MarketPanel:
    """Download daily prices into a panel, or take them from the cache.

    Each symbol is a file of the cache, written whole or not at all; a file that covers the dates is used without a
    connection. What was fetched before a failure stays there, so the same call goes on where it stopped.

    Args:
        symbols: as the source writes them: "BRK-B", "^GSPC", "VOD.L".
        start: first date.
        end: last date, before today: the row of a day that is not over changes.
        cache: folder; made if absent.
        client: the source; Yahoo unless given.
        tries: requests for a symbol before giving up.
        wait: seconds before the second try; doubled before each later one.
        sleep: waits so many seconds.
        today: the day of the request; the clock's unless given.

    Returns:
        A panel of prices as traded with dividends and splits, and dollar volume; 252 periods a year. Currencies are
        those of each listing and are not converted.

    Raises:
        DataError: symbols could not be fetched (offline, refused, unknown), or have no rows or impossible ones; says
            which, and what the cache holds.
        SettingsError: no symbols, `end` is not over, or yfinance is not installed.
    """
    names = list(parse_assets([symbols] if isinstance(symbols, str) else symbols, "download: symbols"))
    day = pd.Timestamp.now().normalize() if today is None else pd.Timestamp(today)
    first, last = parse_dates([start], "download: start")[0], parse_dates([end], "download: end")[0]
    if not names or tries < 1:
        raise SettingsError(f"download: {len(names)} symbols and {tries} tries: give one of each at least")
    if not first <= last < day:
        raise SettingsError(
            f"download: from {first:%Y-%m-%d} to {last:%Y-%m-%d} on {day:%Y-%m-%d}: start must not come after end, and "
            "end must lie before today, whose row is not complete"
        )
    folder = Path(cache)
    source = client or YahooClient()
    failed: dict[str, str] = {}
    frames: dict[str, pd.DataFrame] = {}
    for symbol in names:
        file = folder / f"{quote(symbol, safe='')}.parquet"
        found = _cached(file, first, last)
        if found is None:
            try:
                found = _fetched(source, symbol, first, tries=tries, wait=wait, sleep=sleep)
            except (OSError, LookupError) as error:
                failed[symbol] = str(error) or type(error).__name__
                continue
            _write(file, found, first, day)
        frames[symbol] = _as_traded(found).loc[first:last]
    if failed:
        raise DataError(_told(failed, names, folder, tries))
    empty = [symbol for symbol, frame in frames.items() if frame.empty]
    if empty:
        raise DataError(
            f"download: {', '.join(empty)}: no rows from {first:%Y-%m-%d} to {last:%Y-%m-%d}: leave them out"
        )
    tables: dict[str, Any] = {
        field: pd.DataFrame({symbol: frame[field] for symbol, frame in frames.items()}).sort_index()
        for field in ("prices", "dividends", "splits", "dollar_volume")
    }
    return MarketPanel.from_prices(**tables, periods_per_year=252, name="download")


def _fetched(
    source: PriceClient, symbol: str, start: pd.Timestamp, *, tries: int, wait: float, sleep: Callable[[float], None]
) -> pd.DataFrame:
    for number in range(tries):
        try:
            found = source.history(symbol, start)
            break
        except OSError:
            if number == tries - 1:
                raise
            sleep(wait * 2**number)
    where = f"download: {symbol}"
    if list(found.columns) != list(_COLUMNS):
        raise DataError(f"{where}: the source sent columns {list(found.columns)}, not {list(_COLUMNS)}")
    if found.empty:
        raise LookupError("the source has no rows of it")
    dates = parse_dates(found.index, f"{where}: dates")
    if not (dates.is_monotonic_increasing and dates.is_unique):
        raise LabelError(f"{where}: dates are not in order or repeat: the source sent a faulty table, try again later")
    return found.set_axis(dates, axis=0).astype(np.float64)


def _as_traded(found: pd.DataFrame) -> pd.DataFrame:
    """Prices and dividends as they were, from those divided by the later splits."""
    splits = found["splits"].where(found["splits"] > 0, 1.0)
    later = splits[::-1].cumprod()[::-1] / splits
    return pd.DataFrame(
        {
            "prices": found["close"] * later,
            "dividends": found["dividends"] * later,
            "splits": splits,
            "dollar_volume": found["close"] * found["volume"],
        }
    )


def _cached(file: Path, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame | None:
    """What a file of the cache holds, if it was asked for all of these dates."""
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        return None
    try:
        table = pyarrow.parquet.read_table(file)
        stated = {key: pd.Timestamp(table.schema.metadata[key].decode()) for key in (b"start", b"fetched")}
    except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not a whole file of the cache ({error}): delete it and download again") from error
    if stated[b"start"] > first or stated[b"fetched"] <= last:
        return None
    return table.to_pandas().set_index("date")


def _write(file: Path, found: pd.DataFrame, first: pd.Timestamp, day: pd.Timestamp) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(found.rename_axis("date").reset_index(), preserve_index=False)
    stated = {b"start": f"{first:%Y-%m-%d}".encode(), b"fetched": f"{day:%Y-%m-%d}".encode()}
    with whole_file(file) as opened:
        pyarrow.parquet.write_table(table.replace_schema_metadata(stated), opened)


def _told(failed: dict[str, str], names: Sequence[str], folder: Path, tries: int) -> str:
    shown = "; ".join(f"{symbol} ({reason})" for symbol, reason in list(failed.items())[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    held = [symbol for symbol in names if symbol not in failed]
    return (
        f"download: {len(failed)} of {len(names)} symbols could not be fetched in {tries} tries: {shown}{more}. "
        f"The cache {folder} has the other {len(held)}. Check the connection and the symbols and run it again: what is "
        "in the cache is not fetched twice, and is read without a connection"
    )
