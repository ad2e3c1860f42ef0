"""Downloads: raw prices again, a cache that no interruption spoils, retries, and a clear word when offline."""

from __future__ import annotations

import os
import sys
import types

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market.download import YahooClient, download
from backtest.whole_files import whole_file

DATES = pd.bdate_range("2020-01-01", periods=30)
RAW = {"AAA": (100.0, 10, 4.0), "BRK-B": (50.0, 20, 0.5), "^GSPC": (3000.0, None, 1.0)}


class FakeClient:
    """Yahoo's way of writing history, from raw prices; fails when told."""

    def __init__(self, *, failures: dict[str, int] | None = None):
        self.failures = dict(failures or {})
        self.asked: list[str] = []

    def raw(self, symbol):
        level, row, ratio = RAW[symbol]
        splits = np.ones(30)
        if row is not None:
            splits[row] = ratio
        rng = np.random.default_rng(len(symbol))
        price = level * np.exp(np.cumsum(rng.normal(0, 0.01, 30))) / np.cumprod(splits)
        dividends = np.zeros(30)
        dividends[[5, 15]] = 0.01 * price[[5, 15]]
        return price, dividends, splits, rng.integers(100, 200, 30) * np.cumprod(splits)

    def history(self, symbol, start):
        self.asked.append(symbol)
        if self.failures.get(symbol, 0):
            self.failures[symbol] -= 1
            raise ConnectionError("no route")
        if symbol not in RAW:
            raise LookupError("possibly delisted")
        price, dividends, splits, shares = self.raw(symbol)
        later = np.cumprod(splits[::-1])[::-1] / splits
        return pd.DataFrame(
            {
                "close": price / later,
                "volume": shares * later,
                "dividends": dividends / later,
                "splits": np.where(splits == 1, 0, splits),
            },
            DATES,
        ).loc[start:]


def fetch(symbols, tmp_path, client, **more):
    given = {
        "start": "2020-01-01",
        "end": "2020-02-11",
        "today": "2020-02-12",
        "sleep": more.pop("sleep", lambda s: None),
    }
    return download(symbols, cache=tmp_path / "cache", client=client, **{**given, **more})


def test_prices_dividends_and_volume_are_as_they_were_traded(tmp_path):
    client = FakeClient()

    panel = fetch(["BRK-B", "AAA"], tmp_path, client)

    assert list(panel.assets) == ["BRK-B", "AAA"]
    for column, symbol in enumerate(panel.assets):
        price, dividends, splits, shares = client.raw(symbol)
        np.testing.assert_allclose(panel.prices[:, column], price, rtol=1e-12)
        np.testing.assert_allclose(panel.dividends[:, column], dividends, rtol=1e-12)
        np.testing.assert_array_equal(panel.splits[:, column], splits)
        np.testing.assert_allclose(panel.dollar_volume[:, column], price * shares, rtol=1e-12)


def test_a_split_after_the_last_date_does_not_touch_the_prices(tmp_path):
    client = FakeClient()

    panel = fetch(["AAA"], tmp_path, client, end="2020-01-08")

    np.testing.assert_allclose(panel.prices[:, 0], client.raw("AAA")[0][:6], rtol=1e-12)
    assert (panel.splits == 1).all()


def test_the_cache_answers_without_a_connection_for_the_dates_that_it_covers(tmp_path):
    client, offline = FakeClient(), FakeClient(failures={"AAA": 99})
    whole = fetch(["AAA"], tmp_path, client)

    assert fetch(["AAA"], tmp_path, offline).data_hash == whole.data_hash
    assert fetch(["AAA"], tmp_path, offline, start="2020-01-06", end="2020-01-20").n_periods == 11
    assert offline.asked == []
    with pytest.raises(DataError, match=r"AAA .no route"):
        fetch(["AAA"], tmp_path, offline, start="2019-12-02")
    with pytest.raises(DataError, match=r"AAA .no route"):
        fetch(["AAA"], tmp_path, offline, end="2020-02-14", today="2020-02-20")


def test_a_refusal_is_tried_again_with_doubled_waits(tmp_path):
    waits: list[float] = []

    fetch(["AAA"], tmp_path, FakeClient(failures={"AAA": 3}), sleep=waits.append)

    assert waits == [2.0, 4.0, 8.0]


def test_offline_the_message_names_the_symbols_the_reason_and_the_cache_and_the_next_call_goes_on(tmp_path):
    client = FakeClient(failures={"BRK-B": 4})

    with pytest.raises(DataError) as caught:
        fetch(["AAA", "BRK-B", "^GSPC", "NONE"], tmp_path, client)
    message = str(caught.value)
    assert "2 of 4 symbols could not be fetched in 4 tries: BRK-B (no route); NONE (possibly delisted)" in message
    assert f"The cache {tmp_path / 'cache'} has the other 2" in message
    assert client.asked.count("NONE") == 1
    client.asked.clear()
    fetch(["AAA", "BRK-B", "^GSPC"], tmp_path, client)
    assert client.asked == ["BRK-B"]


def test_an_interrupted_write_leaves_the_good_file_and_no_other(tmp_path, monkeypatch):
    fetch(["AAA"], tmp_path, FakeClient())
    file = tmp_path / "cache" / "AAA.parquet"
    good = file.read_bytes()

    def cut_off(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fetch(["AAA"], tmp_path, FakeClient(), start="2019-12-31")
    assert file.read_bytes() == good
    assert [path.name for path in file.parent.iterdir()] == ["AAA.parquet"]
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "new") as opened:
        opened.write(b"half")
    assert not (tmp_path / "new").exists()


def test_symbols_cannot_leave_the_cache(tmp_path):
    RAW["../../evil"] = RAW["AAA"]
    try:
        fetch(["../../evil"], tmp_path, FakeClient())
    finally:
        del RAW["../../evil"]

    assert [path.name for path in tmp_path.rglob("*.parquet")] == ["..%2F..%2Fevil.parquet"]


def test_a_damaged_file_of_the_cache_is_named(tmp_path):
    fetch(["AAA"], tmp_path, FakeClient())
    file = tmp_path / "cache" / "AAA.parquet"
    file.write_bytes(file.read_bytes()[:200])

    with pytest.raises(DataError, match=r"AAA.parquet: not a whole file of the cache .*: delete it"):
        fetch(["AAA"], tmp_path, FakeClient())


def test_faulty_answers_and_requests_are_refused(tmp_path):
    class Faulty(FakeClient):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def history(self, symbol, start):
            return self.change(super().history(symbol, start))

    with pytest.raises(LabelError, match="AAA: dates are not in order or repeat"):
        fetch(["AAA"], tmp_path, Faulty(lambda frame: frame.iloc[::-1]))
    with pytest.raises(DataError, match=r"AAA: the source sent columns"):
        fetch(["AAA"], tmp_path, Faulty(lambda frame: frame[["close"]]))
    with pytest.raises(DataError, match=r"AAA .the source has no rows of it"):
        fetch(["AAA"], tmp_path, Faulty(lambda frame: frame.iloc[:0]))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(SettingsError, match="end must lie before today"):
        fetch(["AAA"], tmp_path, FakeClient(), end="2020-02-12")
    with pytest.raises(SettingsError, match="0 symbols"):
        fetch([], tmp_path, FakeClient())
    with pytest.raises(LabelError, match="both labelled 'AAA'"):
        fetch(["AAA", "AAA"], tmp_path, FakeClient())
    with pytest.raises(DataError, match="AAA: no rows from 2019"):
        fetch(["AAA"], tmp_path, FakeClient(), start="2019-01-01", end="2019-01-31")


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)

    with pytest.raises(SettingsError, match=r"aligned-backtest\[sources\]"):
        fetch(["AAA"], tmp_path, None)


def test_yahoo_is_asked_for_unadjusted_rows_and_its_errors_are_told_apart(monkeypatch):
    """Against a stand-in for the package, so that no network is needed."""
    made = types.ModuleType("yfinance")

    class YFException(Exception): ...

    class YFTickerMissingError(YFException): ...

    class Ticker:
        def __init__(self, symbol):
            self.symbol = symbol

        def history(self, **asked):
            assert asked == {
                "start": "2020-01-02",
                "interval": "1d",
                "auto_adjust": False,
                "actions": True,
                "timeout": 20.0,
            }
            assert made.config.debug.hide_exceptions is False
            if self.symbol == "NONE":
                raise YFTickerMissingError("possibly delisted")
            if self.symbol == "BUSY":
                raise YFException("too many requests")
            index = pd.DatetimeIndex(["2020-01-02 00:00", "2020-01-03 00:00"], tz="Asia/Tokyo")
            columns = ["Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits"]
            return pd.DataFrame([[1.0, 2, 0.5, 1.5, 1.4, 100, 0.1, 2.0]] * 2, index, columns)

    debug = type("Debug", (), {"hide_exceptions": True})()
    made.config = type("Config", (), {"debug": debug})()
    made.exceptions = type("Exceptions", (), {"YFException": YFException, "YFTickerMissingError": YFTickerMissingError})
    made.Ticker = Ticker
    monkeypatch.setitem(sys.modules, "yfinance", made)
    start = pd.Timestamp("2020-01-02")

    found = YahooClient().history("AAA", start)

    assert found.columns.tolist() == ["close", "volume", "dividends", "splits"]
    assert found.index.tolist() == [pd.Timestamp("2020-01-02"), pd.Timestamp("2020-01-03")]
    assert found.iloc[0].tolist() == [1.5, 100, 0.1, 2.0]
    with pytest.raises(LookupError, match="delisted"):
        YahooClient().history("NONE", start)
    with pytest.raises(ConnectionError, match="too many"):
        YahooClient().history("BUSY", start)
    assert debug.hide_exceptions is True
