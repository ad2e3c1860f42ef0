"""read_bars: the same bars from every source, layout, spelling of dates and numbers; doubts are refused with a cure."""

from __future__ import annotations

import gzip
import logging
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from messy_twins import COLUMNS, NAMES, good, several, write

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import find_problems, panel_from_bars, read_bars, read_prices

FIELDS = tuple(NAMES[1:])


def _same(bars, table: pd.DataFrame) -> None:
    assert bars.fields == FIELDS
    np.testing.assert_array_equal(bars.dates, table["date"])
    for field in FIELDS:
        np.testing.assert_array_equal(bars.values(field), table[field])


def test_every_source_gives_the_same_bars(tmp_path: Path) -> None:
    """Text, gzip, tabs, Parquet, Feather, zip, frames of pandas, pyarrow and polars."""
    polars = pytest.importorskip("polars")
    table = good("yahoo")
    paths = [tmp_path / f"p.{ending}" for ending in ("csv", "tsv", "txt", "csv.gz", "parquet", "feather", "zip")]
    write(table, paths[0], "yahoo")
    named = pd.read_csv(paths[0], parse_dates=["Date"])
    named.to_csv(paths[1], sep="\t", index=False)
    named.to_csv(paths[2], sep=";", index=False)
    paths[3].write_bytes(gzip.compress(paths[0].read_bytes()))
    named.to_parquet(paths[4], index=False)
    named.to_feather(paths[5])
    with zipfile.ZipFile(paths[6], "w") as archive:
        archive.write(paths[0], "AAA.csv")

    for source in [*paths, named, named.set_index("Date"), pyarrow.Table.from_pandas(named), polars.from_pandas(named)]:
        _same(read_bars(source), table)
    assert list(read_bars(paths[0]).symbols) == ["p"]
    assert list(read_bars(paths[6]).symbols) == ["AAA"]
    assert list(read_bars(paths[0], symbol="BRK.B").symbols) == ["BRK.B"]


def test_a_folder_and_a_zip_of_one_file_a_symbol_are_one_table(tmp_path: Path) -> None:
    """Each row knows its file and line, also after the rows are sorted."""
    table = several("yahoo", symbols=3, rows=60)
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "notes.md").write_text("not prices")
    for symbol, part in table.groupby("symbol"):
        write(part.drop(columns="symbol").iloc[::-1], folder / f"{symbol}.csv", "yahoo")
    with zipfile.ZipFile(tmp_path / "prices.zip", "w") as archive:
        for file in folder.glob("*.csv"):
            archive.write(file, file.name)
    expected = panel_from_bars(read_bars(table, name="prices"), periods_per_year=252)

    for source in (folder, tmp_path / "prices.zip"):
        bars = read_bars(source)
        assert list(bars.symbols) == ["S0", "S1", "S2"]
        assert panel_from_bars(bars, periods_per_year=252).data_hash == expected.data_hash
    bars = read_bars(folder)
    assert bars.place(60) == "S1.csv: line 61"
    (folder / "S1.csv").write_text("Date,Close\n")
    with pytest.raises(DataError, match=r"S1\.csv: a header and no rows"):
        read_bars(folder)


@pytest.mark.parametrize(
    "names",
    [
        COLUMNS["alpha_vantage"],
        COLUMNS["yahoo"],
        ["date", "1. open", "2. high", "3. low", "4. close", "5. adjusted close", "6. volume", "dividends", "splits"],
        ["<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<ADJ CLOSE>", "<VOL>", "divCash", "splitFactor"],
    ],
)
def test_columns_are_known_by_their_usual_names(tmp_path: Path, names: list[str]) -> None:
    table = good("yahoo")
    table.set_axis(names, axis=1).to_csv(tmp_path / "p.csv", index=False)

    _same(read_bars(tmp_path / "p.csv"), table)


def test_other_names_are_given_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("when,ID,PX_LAST,price,note\n2020-01-02,A,1,9,x\n2020-01-03,A,2,9,y\n")
    bars = read_bars(path, columns={"close": "PX_LAST", "date": "when", "symbol": "ID"})

    assert bars.fields == ("close",)
    assert bars.values("close").tolist() == [1, 2]
    with pytest.raises(LabelError, match=r"p\.csv: columns: no column 'PX' among"):
        read_bars(path, columns={"close": "PX"})
    with pytest.raises(SettingsError, match="'last' is no field"):
        read_bars(path, columns={"last": "PX_LAST"})


def test_a_file_without_header_asks_for_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("2020-01-02,1,2,0.5,1.5,100\n2020-01-03,1,2,0.5,1.6,100\n")
    with pytest.raises(LabelError, match=r"p\.csv: line 1: .*no header.*columns=\["):
        read_bars(path)
    bars = read_bars(path, columns=["date", "open", "high", "low", "close", ""])

    assert bars.fields == ("open", "high", "low", "close")
    assert bars.place(0) == "line 1"


def test_leans_layout_needs_its_unit(tmp_path: Path) -> None:
    """Units are stated, never guessed."""
    path = tmp_path / "spy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "spy.csv", "20200102 00:00,3230000,3240000,3220000,3235000,59151200\n20200103 00:00,1,2,1,1,5\n"
        )
    with pytest.raises(DataError, match=r"Lean's layout.*price_scale=1e-4"):
        read_bars(path)
    bars = read_bars(path, price_scale=1e-4)

    assert bars.values("close")[0] == pytest.approx(323.5)
    assert bars.values("volume")[0] == 59151200
    with pytest.raises(SettingsError, match="price_scale is -1"):
        read_bars(path, price_scale=-1)


def test_prose_and_a_byte_order_mark_before_the_header_are_left_out(tmp_path: Path, caplog) -> None:
    """CASES 39; lines are still those of the file."""
    caplog.set_level(logging.INFO, logger="backtest.market")
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"\xef\xbb\xbfPrices of ACME, Inc\nDownload: 2020-02-01\n\nDate,Close,Volume\n2020-01-02,1,5\n2020-01-03,2,5\n"
    )
    bars = read_bars(path)

    assert bars.values("close").tolist() == [1, 2]
    assert bars.place(1) == "line 6"
    assert "3 lines before the header left out" in caplog.text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-01-02", "2020-01-13"),
        ("01/02/2020", "01/13/2020"),
        ("02/01/2020", "13/01/2020"),
        ("20200102", "20200113"),
        ("2020-01-02 00:00:00+01:00", "2020-01-13 00:00:00+02:00"),
        ("2020-01-02T00:00:00Z", "2020-01-13T00:00:00Z"),
        ("Jan 2, 2020", "Jan 13, 2020"),
    ],
)
def test_dates_that_can_be_read_in_one_way_are_read(tmp_path: Path, first: str, second: str) -> None:
    """CASES 39: newest first in all of them."""
    path = tmp_path / "p.csv"
    path.write_text(f'Date,Close,Volume\n"{second}",2,1\n"{first}",1,1\n')
    bars = read_bars(path)

    assert list(bars.dates) == [pd.Timestamp("2020-01-02"), pd.Timestamp("2020-01-13")]
    assert bars.values("close").tolist() == [1, 2]


def test_dates_in_doubt_need_their_format(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("Date,Close,Volume\n01/02/2020,1,1\n02/03/2020,2,1\n")
    with pytest.raises(LabelError, match=r"p\.csv: column 'Date'.*month/day or as day/month.*date_format='%m/%d/%Y'"):
        read_bars(path)

    assert list(read_bars(path, date_format="%d/%m/%Y").dates.month) == [2, 3]
    assert list(read_bars(path, date_format="%m/%d/%Y").dates.month) == [1, 2]
    with pytest.raises(LabelError, match=r"p\.csv: column 'Date': line 2: '01/02/2020' is not a date as %Y-%m-%d"):
        read_bars(path, date_format="%Y-%m-%d")


def test_text_numbers_are_numbers(tmp_path: Path) -> None:
    """CASES 40: units belong to volumes; words for nothing are missing."""
    path = tmp_path / "p.csv"
    cells = ["13.88M", "745.78K", "1.2B", "", "null", "-", "1,234,567", "12"]
    rows = "".join(f'2020-01-{k + 10},"1,234.50","{cell}",-1.09%\n' for k, cell in enumerate(cells))
    path.write_text("Date,Price,Vol.,Change %\n" + rows)
    bars = read_bars(path)

    np.testing.assert_array_equal(
        bars.values("volume"), [13_880_000, 745_780, 1.2e9, np.nan, np.nan, np.nan, 1_234_567, 12]
    )
    assert set(bars.values("close")) == {1234.5}


def test_a_comma_in_doubt_needs_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("Date;Close;Volume\n2020-01-02;1,234;5\n2020-01-03;1,5;5\n")
    with pytest.raises(DataError, match=r"p\.csv: line 2, column 'Close': '1,234'.*decimal="):
        read_bars(path)

    assert read_bars(path, decimal=",").values("close").tolist() == [1.234, 1.5]
    path.write_text("Date;Close;Volume\n2020-01-02;1.234,5;5\n2020-01-03;12;1.234\n")
    assert read_bars(path, decimal=",").values("close").tolist() == [1234.5, 12]
    path.write_text("Date;Close;Volume\n2020-01-02;1.2;5\n")
    with pytest.raises(DataError, match=r"'1\.2' is text"):
        read_bars(path, decimal=",")
    with pytest.raises(SettingsError, match="decimal is ';'"):
        read_bars(path, decimal=";")


def test_returns_are_stated_and_not_guessed(tmp_path: Path) -> None:
    """CASES 26 and 44."""
    path = tmp_path / "r.csv"
    dates = pd.bdate_range("2020-01-01", periods=60)
    returns = pd.DataFrame(np.random.default_rng(0).normal(0, 0.02, (60, 3)), index=dates, columns=list("ABC"))
    returns.rename_axis("Date").to_csv(path)
    with pytest.raises(DataError, match="kind='returns'"):
        read_prices(path)
    panel = read_prices(path, kind="returns")

    np.testing.assert_array_equal(panel.returns, returns)
    assert panel.prices is None
    path.write_text("Date,A,B\n2020-01-02,0.2,-1.09%\n2020-01-03,1.3,2%\n")
    assert read_prices(path, kind="returns", periods_per_year=252).returns.tolist() == [[0.2, -0.0109], [1.3, 0.02]]
    with pytest.raises(SettingsError, match="kind is 'yields'"):
        read_bars(path, kind="yields")


def test_tickers_are_text_in_every_source(tmp_path: Path) -> None:
    """CASES 45."""
    tickers = ["NA", "NAN", "TRUE", "INF", "BRK.B", "007", "null"]
    table = pd.concat([good("yahoo", rows=30, seed=k).assign(symbol=t) for k, t in enumerate(tickers)])
    for path in (tmp_path / "p.csv", tmp_path / "p.parquet"):
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)

        assert list(read_bars(path).symbols) == sorted(tickers)
        assert read_bars(path).table.groupby("symbol", observed=True).size().tolist() == [30] * 7


def test_three_states_of_a_missing_price_stay_apart() -> None:
    """CASES 42: before listing, inside, after delisting."""
    table = several("yahoo", symbols=2, rows=60)
    table.loc[70:75, ["close", "adjusted_close"]] = np.nan
    early = table[~((table["symbol"] == "S1") & (table.groupby("symbol").cumcount().isin([*range(5), *range(50, 60)])))]
    panel = read_prices(early, name="twin")

    missing = ~panel.tradable[:, 1]
    assert np.flatnonzero(missing).tolist() == [*range(5), *range(10, 16), *range(50, 60)]
    assert np.isfinite(panel.returns[16, 1])
    assert np.isnan(panel.returns[5, 1])


def test_the_panel_takes_the_prices_that_are_asked_for() -> None:
    """Total returns from raw close, dividends and splits equal those of the adjusted close, in both conventions."""
    table = good("alpha_vantage")
    adjusted, raw = (read_prices(table, prices=which, name="twin") for which in ("adjusted", "raw"))
    np.testing.assert_allclose(raw.returns[1:], adjusted.returns[1:], atol=1e-12)
    yahoo = good("yahoo")
    adjusted, raw = (read_prices(yahoo, prices=which, name="twin") for which in ("adjusted", "raw"))
    np.testing.assert_allclose(raw.returns[1:], adjusted.returns[1:], atol=5e-4)
    assert raw.splits is None

    without = table.drop(columns="adjusted_close")
    np.testing.assert_allclose(read_prices(without, name="t").returns[1:], read_prices(table, name="t").returns[1:])
    with pytest.raises(SettingsError, match="no adjusted_close among"):
        read_prices(without, prices="adjusted")
    with pytest.raises(SettingsError, match="prices is 'mid'"):
        read_prices(without, prices="mid")


def test_repairs_are_made_while_reading_when_named() -> None:
    wrong = good("alpha_vantage")
    right = read_prices(wrong, name="twin")
    wrong.loc[:199, "adjusted_close"] /= 2

    assert read_prices(wrong, name="twin").returns[200, 0] > 0.5
    np.testing.assert_allclose(
        read_prices(wrong, name="twin", repair=["splits"]).returns[1:], right.returns[1:], atol=1e-9
    )


def test_reading_changes_nothing_that_was_given() -> None:
    table = several("yahoo", rows=40).sample(frac=1, random_state=0)
    before = table.copy()
    find_problems(read_bars(table, name="twin"))

    assert table.equals(before)


@pytest.mark.parametrize("given", [3, "no such file.csv", np.zeros((3, 2)), pd.DataFrame(), pd.DataFrame({1: [2.0]})])
def test_what_is_no_source_is_refused(given: object) -> None:
    with pytest.raises(DataError):
        read_bars(given)
