"""read_prices: the same panel from every layout, missing prices kept, tickers kept as text."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError
from backtest.market import MarketPanel, read_prices


def _long(prices: pd.DataFrame, **columns: object) -> pd.DataFrame:
    table = prices.rename_axis("date").reset_index().melt("date", var_name="symbol", value_name="adjusted_close")
    return table.assign(**columns)


@pytest.fixture
def written(tmp_path: Path, prices: pd.DataFrame) -> dict[str, Path]:
    """One table of prices in every layout, all named prices.*."""
    long = _long(prices)
    paths = {}
    for layout, suffix in (("wide", "csv"), ("wide", "parquet"), ("long", "csv"), ("long", "parquet")):
        path = tmp_path / layout / f"prices.{suffix}"
        path.parent.mkdir(exist_ok=True)
        paths[f"{layout} {suffix}"] = path
    prices.rename_axis("Date").to_csv(paths["wide csv"])
    prices.to_parquet(paths["wide parquet"])
    long.to_csv(paths["long csv"], index=False)
    long.dropna().astype({"symbol": "category"}).to_parquet(paths["long parquet"], index=False)
    paths["gzip"] = tmp_path / "prices.csv.gz"
    prices.to_csv(paths["gzip"])
    paths["semicolons"] = tmp_path / "prices.txt"
    prices.to_csv(paths["semicolons"], sep=";")
    paths["shuffled"] = tmp_path / "shuffled.csv"
    long.sample(frac=1, random_state=1).to_csv(paths["shuffled"], index=False)
    paths["row numbers"] = tmp_path / "numbered.csv"
    long.dropna().to_csv(paths["row numbers"])
    paths["row numbers parquet"] = tmp_path / "numbered.parquet"
    long.dropna().to_parquet(paths["row numbers parquet"])
    paths["row numbers wide"] = tmp_path / "numbered_wide.csv"
    prices.rename_axis("date").reset_index().to_csv(paths["row numbers wide"])
    paths["multi-index"] = tmp_path / "indexed.parquet"
    long.set_index(["date", "symbol"]).to_parquet(paths["multi-index"])
    return paths


def test_every_layout_gives_the_same_panel(written: dict[str, Path], prices: pd.DataFrame) -> None:
    """Wide and long, CSV and Parquet, missing rows and empty cells; CASES 21: no date or name is deleted."""
    expected = MarketPanel.from_prices(prices, periods_per_year=252)

    for layout, path in written.items():
        panel = read_prices(path, periods_per_year=252)
        assert panel.data_hash == expected.data_hash, layout
    assert read_prices(written["wide csv"]).name == "prices"
    assert read_prices(written["gzip"]).name == "prices"
    assert read_prices(written["gzip"], name="mine").name == "mine"


def test_a_ticker_spelled_like_a_date_column_is_a_ticker(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "p.csv"
    prices.rename(columns={"A": "DAY", "B": "CODE"}).to_csv(path)

    assert list(read_prices(path).assets) == ["DAY", "CODE", "C", "D", "E", "F"]


def test_two_reads_give_the_same_bytes(written: dict[str, Path]) -> None:
    for path in written.values():
        assert read_prices(path).data_hash == read_prices(path).data_hash


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_tickers_that_look_like_values_stay_text(tmp_path: Path, prices: pd.DataFrame, layout: str) -> None:
    """CASES 45."""
    tickers = ["NA", "NAN", "TRUE", "INF", "BRK.B", "007"]
    table = prices.set_axis(tickers, axis=1)
    for path in (tmp_path / "p.csv", tmp_path / "p.parquet"):
        stored = table.rename_axis("date").reset_index() if layout == "wide" else _long(table)
        if path.suffix == ".csv":
            stored.to_csv(path, index=False)
        else:
            stored.to_parquet(path, index=False)
        panel = read_prices(path)

        assert sorted(panel.assets) == sorted(tickers)
        np.testing.assert_array_equal(panel.select(tickers).prices, prices.to_numpy())


@pytest.mark.parametrize(
    ("date", "symbol", "price"),
    [
        ("Date", "Ticker", "Adj Close"),
        ("week_ending", "symbol", "adjusted_close"),
        ("timestamp", "Asset", "adjClose"),
        ("DATE", "SYMBOL", "Close"),
    ],
)
def test_common_spellings_are_known(tmp_path: Path, prices: pd.DataFrame, date: str, symbol: str, price: str) -> None:
    path = tmp_path / "p.csv"
    renamed = _long(prices).rename(columns={"date": date, "symbol": symbol, "adjusted_close": price})
    renamed.to_csv(path, index=False)

    np.testing.assert_array_equal(read_prices(path).prices, prices.to_numpy())


def test_adjusted_close_gives_returns_and_raw_close_gives_dollar_volume(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "p.csv"
    table = _long(prices).dropna()
    table.assign(close=table["adjusted_close"] * 2, volume=1000).to_csv(path, index=False)
    panel = read_prices(path)

    np.testing.assert_array_equal(panel.prices, prices.to_numpy())
    np.testing.assert_allclose(panel.dollar_volume, 2000 * prices.to_numpy())


def test_a_column_of_dollar_volume_is_kept(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "p.parquet"
    _long(prices, dollar_volume=5e6, volume=3).to_parquet(path, index=False)

    assert (read_prices(path).dollar_volume == 5e6).all()


def test_close_alone_is_read_with_a_warning(
    tmp_path: Path, prices: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.csv"
    _long(prices).rename(columns={"adjusted_close": "close"}).to_csv(path, index=False)
    read_prices(path)

    assert "no adjusted close" in caplog.text


def test_a_file_of_bars_without_symbols_is_one_asset_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text("Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,1,1,1,2,4,10\n2020-01-03,1,1,1,3,5,10\n")
    panel = read_prices(path)

    assert list(panel.assets) == ["AAPL"]
    assert panel.prices.tolist() == [[4.0], [5.0]]
    assert panel.dollar_volume.tolist() == [[20.0], [30.0]]


@pytest.mark.parametrize(("frequency", "expected"), [("B", 252), ("W-FRI", 52), ("ME", 12), ("BME", 12)])
def test_periods_a_year_come_from_the_spacing_of_dates(
    tmp_path: Path, prices: pd.DataFrame, frequency: str, expected: float
) -> None:
    path = tmp_path / "p.csv"
    prices.iloc[:60].set_axis(pd.date_range("2015-01-01", periods=60, freq=frequency)).to_csv(path)

    assert read_prices(path).periods_per_year == expected


@pytest.mark.parametrize("frequency", ["D", "QE", "h", "YE"])
def test_other_spacings_ask_for_the_frequency(tmp_path: Path, prices: pd.DataFrame, frequency: str) -> None:
    path = tmp_path / "p.parquet"
    prices.iloc[:60].set_axis(pd.date_range("2015-01-01", periods=60, freq=frequency)).to_parquet(path)

    with pytest.raises(DataError, match=r"p\.parquet.*pass periods_per_year="):
        read_prices(path)
    assert read_prices(path, periods_per_year=365).periods_per_year == 365


def test_one_date_shows_no_frequency(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("date,A,B\n2020-01-02,1,2\n")

    with pytest.raises(DataError, match="1 date shows no frequency"):
        read_prices(path)


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_newest_first_is_sorted_and_logged(
    tmp_path: Path, prices: pd.DataFrame, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="backtest.market")
    path = tmp_path / "p.csv"
    backwards = prices.iloc[::-1]
    (backwards if layout == "wide" else _long(backwards).set_index("date")).rename_axis("date").to_csv(path)

    np.testing.assert_array_equal(read_prices(path).prices, prices.to_numpy())
    assert "sorted by date" in caplog.text


def test_utc_offsets_leave_the_local_trading_date(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two offsets in one column are summer and winter time of one exchange."""
    caplog.set_level(logging.INFO, logger="backtest.market")
    path = tmp_path / "p.csv"
    path.write_text("Date,A\n2022-03-11 00:00:00-05:00,1\n2022-03-14 00:00:00-04:00,2\n")

    assert list(read_prices(path).dates) == [pd.Timestamp("2022-03-11"), pd.Timestamp("2022-03-14")]
    assert "UTC offsets dropped" in caplog.text
    path.write_text("Date,A\n2022-03-11 15:00:00+00:00,1\n2022-03-14 15:00:00+00:00,2\n")
    with pytest.raises(LabelError, match=r"line 2: 2022-03-11 15:00:00.*trading date is in doubt"):
        read_prices(path)


def test_time_zones_in_parquet_leave_the_local_trading_date(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "p.parquet"
    prices.tz_localize("America/New_York").to_parquet(path)

    np.testing.assert_array_equal(read_prices(path).dates, prices.index)


def test_a_byte_order_mark_is_no_part_of_the_first_label(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbfDate,A\n2020-01-02,1\n2020-01-03,2\n")

    assert read_prices(path).prices.tolist() == [[1.0], [2.0]]


def test_words_for_missing_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("Date,A,B\n2020-01-02,1,\n2020-01-03,null,2\n2020-01-06,3,N/A\n2020-01-07,4,-\n")
    panel = read_prices(path)

    assert panel.tradable.tolist() == [[True, False], [False, True], [True, False], [True, False]]


def test_a_long_gap_in_prices_is_logged(tmp_path: Path, prices: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    """Washington Mutual, then after 313 days another company under the same ticker."""
    prices.iloc[100:320, 0] = np.nan
    path = tmp_path / "p.csv"
    prices.to_csv(path)
    read_prices(path)

    assert "A: no price from 2015-05-20" in caplog.text
    assert "same company" in caplog.text


def test_the_504_stocks_load_as_they_are(shared_data) -> None:
    panel = read_prices(shared_data("panels/us_large_cap_weekly_1999_2021.parquet"))

    assert (panel.n_periods, panel.n_assets, panel.periods_per_year) == (1121, 504, 52)
    assert "BRK.B" in panel.assets
    assert panel.dollar_volume is not None
    assert panel.tradable.sum() == 498_704
    hig = panel.select(["HIG"]).until("2008-11-21")
    assert hig.returns[-1, 0] == pytest.approx(-0.6087, abs=1e-4)
