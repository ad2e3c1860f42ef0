"""Folders of files to a panel: every layout gives the same one, read by column, date and symbol."""

from __future__ import annotations

import gzip
import logging
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketPanel, read_prices
from backtest.market.scanning import scan_folder, scan_rows

COLUMNS = {"prices": "adjusted_close", "dollar_volume": ("close", "volume")}
SYMBOLS = ["BRK.B", "NA", "TRUE", "aaa"]


@pytest.fixture(scope="module")
def long_table() -> pd.DataFrame:
    """60 days of 4 symbols in one table; one lists late, one misses a price; prices start as whole numbers."""
    rng = np.random.default_rng(1)
    dates = pd.bdate_range("2019-12-02", periods=60)
    parts = []
    for number, symbol in enumerate(SYMBOLS):
        close = np.round(50 + np.cumsum(rng.normal(0, 1, 60)), 2)
        close[:30] = close[:30].round()
        adjusted = close / 2
        adjusted[7] = np.nan
        part = pd.DataFrame(
            {
                "date": dates,
                "symbol": symbol,
                "close": close,
                "adjusted_close": adjusted,
                "volume": rng.integers(1, 99, 60),
            }
        )
        parts.append(part.iloc[20 * (number == 2) :])
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def expected(long_table) -> MarketPanel:
    price = long_table.pivot(index="date", columns="symbol", values="adjusted_close")
    volume = (long_table["close"] * long_table["volume"]).rename("traded")
    traded = pd.concat([long_table, volume], axis=1).pivot(index="date", columns="symbol", values="traded")
    return MarketPanel.from_prices(price, dollar_volume=traded, periods_per_year=252)


def by_symbol(table, folder, write):
    for symbol, part in table.groupby("symbol"):
        write(part.drop(columns="symbol"), folder / symbol)


def parquet_files(table, folder):
    by_symbol(table, folder, lambda part, path: part.to_parquet(f"{path}.parquet", index=False, row_group_size=7))


def csv_files(table, folder):
    by_symbol(table, folder, lambda part, path: part.to_csv(f"{path}.csv", index=False))


def zipped_files(table, folder):
    by_symbol(table, folder, lambda part, path: part.to_csv(f"{path}.csv.gz", index=False))


def newest_first_with_spelled_columns(table, folder):
    renamed = {"date": "Date", "adjusted_close": "Adjusted Close", "close": "CLOSE", "volume": "<VOLUME>"}
    by_symbol(
        table,
        folder,
        lambda part, path: part.iloc[::-1].rename(columns=renamed).to_csv(f"{path}.txt", index=False, sep=";"),
    )


def one_long_file(table, folder):
    table.sample(frac=1, random_state=0).to_parquet(folder / "all.parquet", index=False)


def long_files_with_categories(table, folder):
    made = table.assign(symbol=table["symbol"].astype("category"))
    for number, part in enumerate(np.array_split(np.arange(len(made)), 5)):
        made.iloc[part].to_parquet(folder / f"part-{number}.parquet", index=False)


def long_csv_with_numbers_for_dates(table, folder):
    table.assign(date=table["date"].dt.strftime("%Y%m%d").astype(int)).to_csv(folder / "all.csv", index=False)


def folders_of_symbols_and_years(table, folder):
    for (symbol, year), part in table.groupby(["symbol", table["date"].dt.year]):
        place = folder / f"symbol={symbol}" / f"year={year}"
        place.mkdir(parents=True)
        part.drop(columns="symbol").to_parquet(place / "part.parquet", index=False)


def stooq_like(table, folder):
    place = folder / "daily" / "us" / "1"
    place.mkdir(parents=True)
    (place / "empty.us.txt").touch()
    for symbol, part in table.groupby("symbol"):
        lines = ["<TICKER>,<PER>,<DATE>,<TIME>,<CLOSE>,<ADJUSTEDCLOSE>,<VOLUME>"]
        for row in part.itertuples():
            adjusted = "" if np.isnan(row.adjusted_close) else repr(row.adjusted_close)
            lines.append(f"{symbol},D,{row.date:%Y%m%d},000000,{row.close!r},{adjusted},{row.volume}")
        (place / f"{symbol.lower()}.us.txt").write_text("\n".join(lines))


LAYOUTS = [
    parquet_files,
    csv_files,
    zipped_files,
    newest_first_with_spelled_columns,
    one_long_file,
    long_files_with_categories,
    long_csv_with_numbers_for_dates,
    folders_of_symbols_and_years,
    stooq_like,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_panel(layout, long_table, expected, tmp_path):
    layout(long_table, tmp_path)

    panel = scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)

    assert panel.data_hash == expected.data_hash


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dates_and_symbols_are_cut_as_the_whole_would_be(layout, long_table, tmp_path):
    layout(long_table, tmp_path)
    start, end, symbols = "2019-12-30", "2020-01-08", ["aaa", "NA"]
    inside = long_table["date"].between(start, end) & long_table["symbol"].isin(symbols)
    price = long_table[inside].pivot(index="date", columns="symbol", values="adjusted_close")

    panel = scan_folder(
        tmp_path,
        columns={"prices": "adjusted_close"},
        periods_per_year=252,
        start=start,
        end=end,
        symbols=symbols,
    )

    assert panel.data_hash == MarketPanel.from_prices(price, periods_per_year=252).data_hash


def test_long_tables_hold_every_row_once(long_table, tmp_path):
    folders_of_symbols_and_years(long_table, tmp_path)

    rows = pd.concat(scan_rows(tmp_path, columns={"price": "adjusted_close"}, start="2020-01-01"))

    wanted = long_table[long_table["date"] >= "2020-01-01"][["date", "symbol", "adjusted_close"]]
    pd.testing.assert_frame_equal(
        rows.sort_values(["symbol", "date"], ignore_index=True),
        wanted.rename(columns={"adjusted_close": "price"}).sort_values(["symbol", "date"], ignore_index=True),
        check_dtype=False,
    )


def test_row_groups_outside_the_dates_are_not_read(long_table, tmp_path):
    """The pages of the last row groups are spoilt: a request that ends before them does not see it."""
    file = tmp_path / "aaa.parquet"
    part = long_table[long_table["symbol"] == "aaa"].drop(columns="symbol")
    part.to_parquet(file, index=False, row_group_size=20)
    whole = bytearray(file.read_bytes())
    group = pyarrow.parquet.read_metadata(file).row_group(2).column(2)
    start = group.dictionary_page_offset or group.data_page_offset
    whole[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    file.write_bytes(whole)
    asked = {"columns": {"prices": "adjusted_close"}, "periods_per_year": 252}

    panel = scan_folder(tmp_path, **asked, end=part["date"].iloc[39])

    assert panel.n_periods == 40
    with pytest.raises(DataError, match=r"aaa\.parquet: not a whole file"):
        scan_folder(tmp_path, **asked)


def test_equal_repeats_are_dropped_and_logged_and_different_ones_refused(long_table, tmp_path, caplog, expected):
    parquet_files(long_table, tmp_path)
    again = long_table[long_table["symbol"] == "aaa"].iloc[5:9].drop(columns="symbol")
    (tmp_path / "more").mkdir()
    again.to_parquet(tmp_path / "more" / "aaa.parquet", index=False)

    with caplog.at_level(logging.WARNING, logger="backtest.market"):
        panel = scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)
    assert panel.data_hash == expected.data_hash
    assert "4 repeated rows equal to earlier ones were dropped" in caplog.text
    again.assign(adjusted_close=1.5).to_parquet(tmp_path / "more" / "aaa.parquet", index=False)
    with pytest.raises(DataError, match=r"more/aaa.parquet: aaa on 2019-12-09 is there twice with different prices"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)
    inside = pd.concat([again, again.assign(close=3.0)])
    inside.to_parquet(tmp_path / "more" / "bbb.parquet", index=False)
    with pytest.raises(DataError, match=r"bbb.parquet: bbb on 2019-12-09 is there twice with different dollar_volume"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252, symbols=["bbb"])


def test_empty_files_are_left_out_and_logged(long_table, tmp_path, caplog):
    csv_files(long_table, tmp_path)
    (tmp_path / "zero.csv").touch()
    (tmp_path / "header.csv").write_text("date,close,adjusted_close,volume\n")

    with caplog.at_level(logging.WARNING, logger="backtest.market"):
        panel = scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)

    assert list(panel.assets) == SYMBOLS
    assert "1 files are empty and left out, first zero.csv" in caplog.text


GOOD = "date,close\n2020-01-02,1\n2020-01-03,2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,close\n2020-01-02,13.88M\n", "bad.csv: not a whole file of one kind of cells .*13.88M"),
        ("date,price\n2020-01-02,1\n", r"bad.csv: no 'close' column among \['date', 'price'\]"),
        ("when,close\n2020-01-02,1\n", "bad.csv: no date column among"),
        ("date,close\n01/02/2020,1\n", "bad.csv: column 'date': '01/02/2020' and others are not all YYYY-MM-DD"),
        ("date,close\n2020-01-02 00:00:00+09:00,1\n", "bad.csv: column 'date': dates carry the time zone UTC"),
        ("date,close\n,1\n2020-01-02,1\n", "bad.csv: column 'date': 1 rows have no date"),
        ("date,close\n20201302,1\n", "bad.csv: column 'date': '20201302' and others are not all"),
        ("date,close\n2020-01-02\n", "bad.csv: not a whole file"),
        ("date,close,Close\n2020-01-02,1,1\n", r"bad.csv: columns \['close', 'Close'\] have one name"),
        ('{"Error Message": "no such symbol"}\n', "bad.csv: line 1: .* is no header of columns"),
        ("<html>\n", "bad.csv: line 1: '<html>' is no header"),
    ],
)
def test_a_faulty_file_is_refused_by_name_with_the_cure(text, message, tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "bad.csv").write_text(text)

    with pytest.raises(DataError, match=message):
        scan_folder(tmp_path, columns={"prices": "close"}, periods_per_year=252)


def test_cut_off_and_mixed_files_and_missing_symbols_are_refused_by_name(long_table, tmp_path):
    parquet_files(long_table, tmp_path)
    whole = (tmp_path / "NA.parquet").read_bytes()
    (tmp_path / "NA.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"NA.parquet: not a whole file"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)
    (tmp_path / "NA.parquet").write_bytes(whole)

    with pytest.raises(LabelError, match="no file of ZZZ: write symbols as the file names do"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252, symbols=["aaa", "ZZZ"])
    with pytest.raises(LabelError, match="no rows of TRUE within the dates"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252, symbols=["aaa", "TRUE"], end="2019-12-04")
    with pytest.raises(DataError, match="no row within the dates"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252, start="2030-01-01")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    with pytest.raises(DataError, match="keep one kind of file in a folder"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        scan_folder(tmp_path / "absent", columns=COLUMNS, periods_per_year=252)
    with pytest.raises(DataError, match=r"no file that ends in \.parquet"):
        scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)
    with pytest.raises(SettingsError, match="turnover: no field of a panel"):
        scan_folder(tmp_path, columns={"prices": "close", "turnover": "x"}, periods_per_year=252)
    with pytest.raises(SettingsError, match="name no prices"):
        scan_folder(tmp_path, columns={"dividends": "x"}, periods_per_year=252)
    (tmp_path / "good.csv").write_text(GOOD)
    with pytest.raises(SettingsError, match="symbols is the text 'good'"):
        scan_folder(tmp_path, columns={"prices": "close"}, periods_per_year=252, symbols="good")


@pytest.mark.slow
def test_the_long_file_of_504_stocks_is_the_panel_that_the_reader_makes(shared_data, tmp_path):
    file = shared_data("panels/us_large_cap_daily_1999_2021.parquet")
    (tmp_path / "daily.parquet").symlink_to(file)

    panel = scan_folder(tmp_path, columns=COLUMNS, periods_per_year=252)

    assert panel.data_hash == read_prices(file).data_hash


@pytest.mark.slow
def test_memory_is_that_of_the_panel_and_a_block_however_large_the_folder(tmp_path):
    """120 MB of files; the panel's tables take 8 MB, and what is allocated at most stays far below the files."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2001-01-01", periods=5040)
    for number in range(24):
        values = 50 * np.exp(rng.normal(0, 0.2, (5040, 120)))
        frame = pd.DataFrame(values, columns=["close", *(f"x{i}" for i in range(119))])
        frame.insert(0, "date", dates)
        frame.to_parquet(tmp_path / f"S{number:02d}.parquet", index=False, row_group_size=1260)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    pool = pyarrow.default_memory_pool()
    seen = []

    tracemalloc.start()
    for _ in scan_rows(tmp_path, columns={"prices": "close"}):
        seen.append(pool.bytes_allocated())
    panel = scan_folder(tmp_path, columns={"prices": "close"}, periods_per_year=252)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size > 100e6
    assert max(seen) < 2e6
    assert peak < 15 * panel.returns.nbytes
    assert panel.returns.shape == (5040, 24)
