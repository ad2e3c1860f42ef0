"""Universe by a table: point in time, open and broken spells, and what does not fit reported by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketPanel, read_prices
from backtest.market.membership import Membership, Spell, read_membership, with_members

TABLE = """ticker,start_date,end_date
AAA,1996-01-02,
BBB,2020-01-03,2020-01-08
BBB,2020-01-10,
GONE,1996-01-02,2020-01-06
OLD,1996-01-02,1999-01-04
NA,2020-01-07,
TRUE,1996-01-02,2020-01-02
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture
def small_panel() -> MarketPanel:
    """7 business days from 2020-01-02, without the 4th and 5th; TRUE misses a price on the second day."""
    prices = pd.DataFrame(10.0, pd.bdate_range("2020-01-02", periods=7), ["AAA", "BBB", "NA", "TRUE", "XXX"])
    return MarketPanel.from_prices(prices, periods_per_year=252, name="small")


def test_a_name_is_a_member_from_its_first_day_to_the_day_before_its_end(table, small_panel):
    made, _ = with_members(small_panel, read_membership(table, end_is_member=False))

    days = {asset: [f"{d:%d}" for d in made.dates[made.members[:, i]]] for i, asset in enumerate(made.assets)}
    assert days == {
        "AAA": ["02", "03", "06", "07", "08", "09", "10"],
        "BBB": ["03", "06", "07", "10"],
        "NA": ["07", "08", "09", "10"],
        "TRUE": [],
        "XXX": [],
    }
    assert made.returns is not None
    assert (made.n_periods, list(made.assets)) == (7, list(small_panel.assets))


def test_the_end_counts_only_when_it_is_said_to(table, small_panel):
    made, _ = with_members(small_panel, read_membership(table, end_is_member=True))

    assert [f"{d:%d}" for d in made.dates[made.members[:, 1]]] == ["03", "06", "07", "08", "10"]
    assert [f"{d:%d}" for d in made.dates[made.members[:, 3]]] == ["02"]


def test_a_delay_shows_changes_rows_later_but_not_stays_that_began_before_the_panel(table, small_panel):
    made, _ = with_members(small_panel, read_membership(table, end_is_member=False), delay=1)

    assert made.members[:, 0].all()
    assert [f"{d:%d}" for d in made.dates[made.members[:, 1]]] == ["06", "07", "08"]


def test_what_does_not_fit_is_counted_and_named(table, small_panel):
    prices = pd.DataFrame(small_panel.prices.copy(), small_panel.dates, small_panel.assets)
    prices.iloc[3, 0] = np.nan
    panel = MarketPanel.from_prices(prices, periods_per_year=252)

    _, report = with_members(panel, read_membership(table, end_is_member=False, known_until="2020-01-08"))

    assert report.matched == ("AAA", "BBB", "NA", "TRUE")
    assert report.not_in_panel == ("GONE",)  # OLD left before the panel starts
    assert report.never_members == ("TRUE", "XXX")
    assert report.reentered == ("BBB",)
    assert (report.not_tradable, report.before, report.after) == (1, 0, 2)
    np.testing.assert_allclose(report.covered, [1 / 2, 2 / 3, 1, 1, 1, 1, 1])
    assert "1 members of these dates are not in the panel: GONE" in str(report)


def test_members_of_a_cut_panel_are_those_of_the_whole(table, small_panel):
    membership = read_membership(table, end_is_member=False)
    whole = membership.flags(small_panel.dates, small_panel.assets)
    order = ["XXX", "NA", "AAA", "TRUE", "BBB"]

    for t in range(7):
        np.testing.assert_array_equal(membership.flags(small_panel.dates[: t + 1], small_panel.assets), whole[: t + 1])
    permuted = membership.flags(small_panel.dates, pd.Index(order))
    np.testing.assert_array_equal(permuted, whole[:, small_panel.assets.get_indexer(order)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ticker,start_date\nA,2020-01-01\n", "columns of .* are called end_date or end"),
        ("ticker,start_date,end_date\nA,2020-01-01\n", "line 2: 2 fields, 3 in the header"),
        ("ticker,start_date,end_date\nA,,2020-01-01\n", "line 2: A has no start date"),
        ("ticker,start_date,end_date\n,2020-01-01,\n", "line 2: 2020-01-01 has no ticker"),
        ("ticker,start_date,end_date\nA,2020-01-05,2020-01-05\n", "line 2: A is out on 2020-01-05, not after 2020"),
        (
            "ticker,start_date,end_date\nA,2020-01-01,\nA,2020-02-01,\n",
            "A from 2020-02-01: the spell before it, from 2020-01-01, is open",
        ),
        (
            "ticker,start_date,end_date\nA,2020-01-01,2020-02-02\nA,2020-02-01,\n",
            "the spell before it, from 2020-01-01, is until 2020-02-02",
        ),
        ("ticker,start_date,end_date\nA,1.2.20,\n", "'1.2.20' is not a date"),
        ("ticker,start_date,end_date\n", "no rows"),
        ("", "0 columns"),
    ],
)
def test_a_faulty_table_is_refused_with_its_place(text, message, tmp_path):
    path = tmp_path / "members.csv"
    path.write_text(text)

    with pytest.raises(DataError, match=message):
        read_membership(path, end_is_member=False)


def test_a_table_of_other_tickers_an_absent_file_and_a_bad_delay_are_refused(table, small_panel, tmp_path):
    membership = read_membership(table, end_is_member=False)

    with pytest.raises(LabelError, match=r"no name is ever a member by members\.csv"):
        with_members(small_panel.select(["XXX"]), membership)
    with pytest.raises(DataError, match="no such file"):
        read_membership(tmp_path / "absent.csv", end_is_member=False)
    with pytest.raises(SettingsError, match="delay is -1"):
        with_members(small_panel, membership, delay=-1)
    with pytest.raises(DataError, match="no spell"):
        Membership.of([])
    with pytest.raises(DataError, match="ends on 2019-01-01, not after it starts"):
        Membership.of([Spell("A", pd.Timestamp("2020-01-01"), pd.Timestamp("2019-01-01"))])


def test_the_504_stocks_of_2021_are_four_tenths_of_the_index_of_1999(shared_data):
    membership = read_membership(shared_data("membership/sp500_ticker_start_end.csv"), end_is_member=False)
    panel, report = with_members(read_prices(shared_data("panels/us_large_cap_weekly_1999_2021.parquet")), membership)
    count = membership.flags(panel.dates, pd.Index(membership.symbols)).sum(axis=1)

    assert len(membership.symbols) == 1181
    assert 485 < count.min() <= count.max() < 510
    assert len(report.matched) == 504
    assert 0.40 < report.covered[0] < 0.46
    assert report.covered[-1] > 0.99
    assert "CCI" in report.reentered
