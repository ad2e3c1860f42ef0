"""Delisting returns: from a table or a stated default, never quietly; what does not fit is named."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketPanel
from backtest.market.delistings import DELISTING_RETURNS, read_delistings, with_delistings

DAY = pd.bdate_range("2020-01-01", periods=40)


@pytest.fixture
def ending() -> MarketPanel:
    """A trades throughout; B ends after row 9, C after row 15, D misses the last 3 rows."""
    prices = pd.DataFrame(np.full((40, 4), 10.0) + np.arange(40)[:, None], DAY, list("ABCD"))
    prices.iloc[10:, 1] = np.nan
    prices.iloc[16:, 2] = np.nan
    prices.iloc[37:, 3] = np.nan
    return MarketPanel.from_prices(prices, periods_per_year=252, name="ending")


def write(tmp_path, *lines: str):
    path = tmp_path / "gone.csv"
    path.write_text("\n".join(["symbol,date,return,reason", *lines]))
    return path


def test_a_table_is_read_with_returns_dates_and_reasons(tmp_path):
    read = read_delistings(write(tmp_path, "B,2020-01-14,-0.4,bankrupt", "NA,2020-02-01,0.02,takeover"))

    assert [(d.asset, str(d.date.date()), d.delisting_return, d.reason) for d in read] == [
        ("B", "2020-01-14", -0.4, "bankrupt"),
        ("NA", "2020-02-01", 0.02, "takeover"),
    ]


def test_a_default_applies_only_when_passed_is_logged_and_stays_in_the_reason(tmp_path, caplog):
    path = write(tmp_path, "B,2020-01-14,,performance-nasdaq", "C,2020-01-14,-0.1,performance-nyse")

    with pytest.raises(DataError, match=r"gone.csv: line 2: B has no return, and no default .*none were passed"):
        read_delistings(path)
    with caplog.at_level(logging.WARNING, logger="backtest.market"):
        read = read_delistings(path, defaults=DELISTING_RETURNS)
    assert [d.delisting_return for d in read] == [-0.55, -0.1]
    assert read[0].reason == "performance-nasdaq (return -55% by default)"
    assert ["line 2: B" in message for message in caplog.messages] == [True]
    assert dict(DELISTING_RETURNS) == {
        "performance-nyse": -0.30,
        "performance-amex": -0.30,
        "performance-nasdaq": -0.55,
        "takeover": 0.0,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("B,2020-01-14,-30,x", "line 2: B: the return '-30' is no fraction"),
        ("B,2020-01-14,-30%,x", "line 2: B: the return '-30%' is no fraction"),
        ("B,2020-01-14,30,x", "line 2: B: the return '30' is no fraction"),
        ("B,2020-01-14,nan,x", "line 2: B: the return 'nan' is no fraction"),
        ("B,2020-01-14,,x", "no default for the reason 'x' .there are 'performance-nyse'"),
        (",2020-01-14,0,x", "line 2: no symbol"),
        ("B,2020-01-14,0,x\nB,2020-01-15,0,x", "line 3: B is there twice"),
        ("B,2020-01-14,0", "line 2: 3 fields, 4 in the header"),
    ],
)
def test_a_faulty_line_is_refused_with_its_place(line, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_delistings(write(tmp_path, line), defaults=DELISTING_RETURNS)


def test_dates_headers_and_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"'14\.1\.20'"):
        read_delistings(write(tmp_path, "B,14.1.20,0,x"))
    with pytest.raises(DataError, match="no such file"):
        read_delistings(tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("ticker,date,reason\n")
    with pytest.raises(DataError, match=r"0 columns of .* are called return or delisting_return"):
        read_delistings(tmp_path / "other.csv")
    assert read_delistings(write(tmp_path)) == ()


def test_a_delisting_after_the_last_price_takes_its_return_from_it(ending, tmp_path):
    weekend_after_row_12 = "2020-01-18"
    table = read_delistings(write(tmp_path, f"B,{weekend_after_row_12},-0.4,bankrupt", "ZZZ,2020-01-14,0,takeover"))

    made, report = with_delistings(ending, table)

    assert str(report.placed[0].date.date()) == "2020-01-17"
    np.testing.assert_allclose(made.returns[12, 1], -0.4)
    assert np.isnan(made.returns[13:, 1]).all()
    assert made.tradable[9, 1]
    assert not made.tradable[10:, 1].any()
    np.testing.assert_array_equal(made.returns[:, [0, 2, 3]], ending.returns[:, [0, 2, 3]])
    assert report.not_in_panel == ("ZZZ",)
    assert report.unexplained == ("C",)  # D ends three rows early only
    assert "1 names end early without a delisting: C" in str(report)


def test_a_delisting_on_its_last_priced_row_counts_after_that_row_s_return(ending, tmp_path):
    made, _ = with_delistings(ending, read_delistings(write(tmp_path, "B,2020-01-14,-0.5,bankrupt")))

    np.testing.assert_allclose(made.returns[9, 1], 19 / 18 * 0.5 - 1)
    assert not made.tradable[9, 1]


def test_names_that_end_get_a_default_only_when_it_is_stated(ending):
    untouched, told = with_delistings(ending, ())
    made, report = with_delistings(ending, (), default=-0.3)
    strict, _ = with_delistings(ending, (), default=-0.3, missing_rows=3)

    assert untouched.data_hash == ending.data_hash
    assert told.unexplained == ("B", "C")
    assert report.by_default == ("B", "C")
    assert report.unexplained == ()
    np.testing.assert_allclose([made.returns[10, 1], made.returns[16, 2]], -0.3)
    assert made.tradable[9, 1]
    assert [d.asset for d in strict.delistings] == ["B", "C", "D"]
    assert "default" in made.delistings[0].reason


def test_returns_without_prices_take_the_delisting_after_the_return_of_the_row(tmp_path):
    returns = pd.DataFrame(0.1, DAY, list("AB"))
    returns.iloc[10:, 1] = np.nan
    panel = MarketPanel.from_returns(returns, periods_per_year=252)

    made, _ = with_delistings(panel, read_delistings(write(tmp_path, "B,2020-01-14,-0.5,bankrupt")))

    np.testing.assert_allclose(made.returns[9, 1], 1.1 * 0.5 - 1)


def test_a_panel_built_with_the_delistings_is_the_same(ending, tmp_path):
    table = read_delistings(write(tmp_path, "B,2020-01-15,-0.5,bankrupt", "C,2020-01-30,0.1,takeover"))
    prices = pd.DataFrame(ending.prices, ending.dates, ending.assets)

    made, _ = with_delistings(ending, table)

    assert made.data_hash == MarketPanel.from_prices(prices, delistings=table, periods_per_year=252).data_hash


def test_contradictions_are_refused_and_leaving_later_is_reported(ending, tmp_path):
    with pytest.raises(DataError, match="ending: B leaves on 2020-01-10 and has prices until 2020-01-14"):
        with_delistings(ending, read_delistings(write(tmp_path, "B,2020-01-10,0,x")))
    _, report = with_delistings(ending, read_delistings(write(tmp_path, "A,2030-01-10,0,x")))
    assert (report.later, report.placed) == (("A",), ())
    once, _ = with_delistings(ending, read_delistings(write(tmp_path, "B,2020-01-15,0,x")))
    with pytest.raises(DataError, match="'B' leaves on 2020-01-15 and again on"):
        with_delistings(once, read_delistings(write(tmp_path, "B,2020-01-16,0,x")))
    for wrong in ({"default": -1.5}, {"default": float("nan")}, {"missing_rows": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            with_delistings(ending, (), **wrong)
