"""Files that are no prices, or in doubt, are refused with file, place, column, value and cure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError
from backtest.market import read_prices


def _refused(path: Path, *parts: str) -> None:
    """Reading names the file and every part, and says what to do after a colon."""
    with pytest.raises(DataError) as caught:
        read_prices(path)
    message = str(caught.value)
    for part in (path.name, *parts):
        assert part in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty", "download"]),
        ("  \n\n", ["empty"]),
        ("date,A,B\n", ["a header and no rows"]),
        ("date,A,B", ["a header and no rows"]),
        (
            '{\n"Error Message": "Invalid API call"\n}\n',
            ["JSON or HTML", "Invalid API call", "download it again"],
        ),
        ("<html><body>429 Too Many Requests</body></html>", ["JSON or HTML", "429"]),
        ("Thank you for using our API! The limit is 5 a minute.\n", ["one column", "Thank you", "download"]),
        ("date,A\n2020-01-02,1\n2020-01-03\n", ["line 3", "1 fields, fewer", "cut short"]),
        ("date,A\n2020-01-02,1,5\n2020-01-03,1,5\n", ["line 2", "3 fields, more"]),
        ("date,A\n2020-01-02,1\n2020-01-03,1,5\n", ["line 3", "3 fields, more"]),
        ("date,A,A\n2020-01-02,1,1\n", ["columns [2, 3]", "'A'"]),
        ("date\n2020-01-02\n", ["one column"]),
        ("symbol,date\nA,2020-01-02\n", ["no price", "adjusted_close"]),
        ("symbol,close\nA,1\n", ["no date column"]),
        ("date,symbol,close,price\n2020-01-02,A,1,1\n", ["2 price columns"]),
        ("date,symbol,close\n2020-01-02,A,1\n2020-01-02,,1\n", ["line 3", "column 'symbol'", "''"]),
        ("date,symbol,close\n2020-01-02,A,1\n2020-01-02,A ,1\n", ["line 3", "'A '", "blanks"]),
        ("name,A\nfirst,1\nsecond,2\n", ["column 'name'", "'first'", "YYYY-MM-DD"]),
    ],
)
def test_a_csv_that_is_no_table_of_prices_says_what_it_is(tmp_path: Path, text: str, parts: list[str]) -> None:
    """CASES 44."""
    path = tmp_path / "broken.csv"
    path.write_text(text)

    _refused(path, *parts)


@pytest.mark.parametrize("cell", ["13.88M", "745.78K", "-1.09%", "1,234", "$12", "12 EUR", "TRUE"])
def test_text_that_is_no_plain_number_names_its_line_column_and_value(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "text.csv"
    path.write_text(f'date,A,B\n2020-01-02,1,2\n2020-01-03,2,"{cell}"\n')

    _refused(path, "line 3", "column 'B'", repr(cell), "write 1234.5")


def test_numbers_stored_as_text_in_parquet_are_refused(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "text.parquet"
    prices.assign(B=prices["B"].astype(str)).to_parquet(path)

    _refused(path, "row 0", "column 'B'", "is text")


@pytest.mark.parametrize("value", [0.0, -3.0])
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_prices_that_are_not_positive_name_their_line(
    tmp_path: Path, prices: pd.DataFrame, value: float, layout: str
) -> None:
    prices.iloc[4, 1] = value
    path = tmp_path / "p.csv"
    if layout == "wide":
        prices.rename_axis("date").to_csv(path)
    else:
        table = prices.rename_axis("date").reset_index().melt("date", var_name="symbol", value_name="close")
        table.to_csv(path, index=False)

    line = 4 + 2 if layout == "wide" else 600 + 4 + 2
    _refused(
        path,
        f"line {line} (2015-01-07)",
        "column 'B'",
        f"{value:g}",
        "positive price",
        "leave the cell empty",
    )


@pytest.mark.parametrize("rows", [4, 400])
@pytest.mark.parametrize("scale", [1, 100])
def test_returns_in_a_file_of_prices_are_refused(tmp_path: Path, rows: int, scale: float) -> None:
    """CASES 44: fractions and percent, long files and short ones."""
    path = tmp_path / "r.csv"
    returns = np.random.default_rng(0).normal(0.0005, 0.02, (rows, 5)) * scale
    pd.DataFrame(returns, index=pd.bdate_range("2020", periods=rows), columns=list("ABCDE")).to_csv(path)

    _refused(path, "column", "are returns or changes, not prices", "MarketPanel.from_returns")


def test_gross_returns_in_a_file_of_prices_are_refused(tmp_path: Path) -> None:
    """All positive, near 1 and without memory."""
    path = tmp_path / "r.csv"
    gross = 1 + np.random.default_rng(0).normal(0.0005, 0.02, (200, 5))
    pd.DataFrame(gross, index=pd.bdate_range("2020", periods=200), columns=list("ABCDE")).to_csv(path)

    _refused(path, "without memory", "MarketPanel.from_returns")


@pytest.mark.parametrize("seed", range(5))
def test_prices_are_not_taken_for_returns(tmp_path: Path, seed: int) -> None:
    """Cheap, flat, mean-reverting and jumping prices of any length pass."""
    rng = np.random.default_rng(seed)
    rows = (3, 35, 100, 700, 60)[seed]
    steps = np.cumsum(rng.normal(0, 0.03, (rows, 4)), axis=0)
    table = np.exp(steps) * [0.02, 1, 50, 5000]
    table[:, 1] = 1 + 0.05 * np.sin(np.arange(rows) / 3) + 0.001 * rng.normal(size=rows)
    path = tmp_path / "p.csv"
    pd.DataFrame(table, index=pd.bdate_range("2020", periods=rows), columns=list("ABCD")).to_csv(path)

    assert read_prices(path).n_periods == rows


def test_two_identical_columns_are_refused(tmp_path: Path, prices: pd.DataFrame) -> None:
    """CASES 44."""
    path = tmp_path / "p.csv"
    prices.assign(Z=prices["C"]).to_csv(path)

    _refused(path, "'C' and 'Z' are identical", "2015-10-08", "remove it")


def test_equal_duplicate_rows_are_dropped_and_logged(
    tmp_path: Path, prices: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    """CASES 41: also where the repeated price is missing, and in wide files."""
    long = prices.rename_axis("date").reset_index().melt("date", var_name="symbol", value_name="adjusted_close")
    wide = prices.rename_axis("date").reset_index()
    for name, table, repeated in (("long", long, 2), ("wide", wide, 12)):
        caplog.clear()
        path = tmp_path / f"{name}.csv"
        pd.concat([table, table.iloc[[5, 150]]]).to_csv(path, index=False)

        np.testing.assert_array_equal(read_prices(path).prices, prices.to_numpy())
        assert f"dropped {repeated} repeated rows" in caplog.text


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_different_duplicate_rows_are_refused(tmp_path: Path, prices: pd.DataFrame, value: float) -> None:
    """CASES 41."""
    long = prices.rename_axis("date").reset_index().melt("date", var_name="symbol", value_name="adjusted_close")
    path = tmp_path / "p.csv"
    pd.concat([long, long.iloc[[605]].assign(adjusted_close=value)]).to_csv(path, index=False)

    _refused(path, "(2015-01-08, B) is there twice", "line 607", "line 3602", "keep the right one")
    wide = prices.rename_axis("date").reset_index()
    pd.concat([wide, wide.iloc[[5]].assign(B=value)]).to_csv(path, index=False)
    _refused(path, "(2015-01-08, B) is there twice", "different close", "line 7 and", "line 602")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_truncated_parquet_names_the_file(tmp_path: Path, prices: pd.DataFrame, share: float) -> None:
    """CASES 46."""
    path = tmp_path / "cut.parquet"
    prices.to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    _refused(path, "not a whole Parquet file", "download or write it again")


def test_files_of_the_wrong_kind_say_so(tmp_path: Path, prices: pd.DataFrame) -> None:
    csv, odd, gz, latin = (tmp_path / n for n in ("p.csv", "p.xlsx", "p.csv.gz", "l.csv"))
    prices.to_parquet(csv)
    odd.write_text("x")
    gz.write_bytes(b"\x1f\x8b\x08\x00 cut")
    latin.write_bytes("date,É\n2020-01-02,1\n".encode("latin-1"))

    _refused(csv, "rename it to end in .parquet")
    _refused(odd, "not a known kind of file", ".csv")
    _refused(gz, "gzip")
    _refused(latin, "UTF-8")
    _refused(tmp_path / "none.csv", "no such file")


def test_a_parquet_without_rows_is_refused(tmp_path: Path, prices: pd.DataFrame) -> None:
    path = tmp_path / "p.parquet"
    prices.iloc[:0].to_parquet(path)

    _refused(path, "no rows")


def test_real_traps_are_refused(shared_data) -> None:
    _refused(shared_data("messy/traps/api_error_saved_as_csv.csv"), "Error Message", "download it again")
    _refused(
        shared_data("messy/traps/returns_labelled_prices_nasdaq100.csv"),
        "line 2",
        "column 'S2'",
        "-0.0645492",
        "returns",
    )
