"""Each kind of problem, put into a good generated table: found where it is, cured to the table as it was."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messy_twins import bars_of, good, several

from backtest.errors import SettingsError
from backtest.market import Bars, find_problems, repair_bars, revert

STYLES = ["alpha_vantage", "yahoo"]
PRICES = ["open", "high", "low", "close", "adjusted_close"]


def _cured(right: pd.DataFrame, wrong: pd.DataFrame, kind: str, *, columns=("close", "adjusted_close")) -> Bars:
    """One repair finds something, brings every price back, leaves nothing to find, and can be undone."""
    bars = bars_of(wrong)
    found = find_problems(bars, [kind])
    assert found
    assert all(f.kind == kind and f.message and f.cure and f.where.startswith("twin: row ") for f in found)
    cured, log = repair_bars(bars, kind)
    for column in columns:
        np.testing.assert_allclose(cured.values(column), bars_of(right).values(column), rtol=1e-6, err_msg=column)
    assert not find_problems(cured, [kind])
    assert revert(cured, log).table.equals(bars.table)
    return cured


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("deviation", [0.005, 0.02, 0.04])
def test_a_good_table_has_no_problems(style: str, deviation: float) -> None:
    """Splits, dividends and volatility of any size are no problems; four tables each."""
    for seed in range(4):
        assert list(map(str, find_problems(bars_of(good(style, seed=seed, deviation=deviation))))) == []


def test_a_split_that_the_adjusted_close_leaves_out_is_applied() -> None:
    right = good("alpha_vantage")
    wrong = right.copy()
    wrong.loc[:99, "adjusted_close"] *= 4

    _cured(right, wrong, "splits")


@pytest.mark.parametrize("k", [91, 97, 99, 103])
def test_rows_before_a_yahoo_split_that_were_never_adjusted_are_rescaled(k: int) -> None:
    """The stretch of rows before some row near the split, with volume the other way."""
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[:k, PRICES] *= 4
    wrong.loc[:k, "volume"] /= 4

    _cured(right, wrong, "splits", columns=(*PRICES, "volume"))


def test_a_stretch_of_rows_at_a_yahoo_split_is_rescaled() -> None:
    """As in a weekly file whose week of the split is in new shares."""
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[100:102, PRICES] /= 4

    _cured(right, wrong, "splits", columns=PRICES)


def test_a_split_that_did_not_happen_is_taken_out() -> None:
    right = good("alpha_vantage")
    wrong = right.copy()
    wrong.loc[180, "split"] = 2.0
    wrong.loc[:179, "adjusted_close"] /= 2

    cured = _cured(right, wrong, "splits")
    assert cured.values("split")[180] == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_rows_that_are_adjusted_twice_are_brought_back(style: str, factor: float) -> None:
    right = good(style)
    wrong = right.copy()
    wrong.loc[:199, "adjusted_close"] /= factor

    _cured(right, wrong, "splits")


def test_a_split_shown_a_row_early_and_not_recorded_is_moved() -> None:
    """As TRMB on 2007-02-23."""
    right = good("alpha_vantage")
    wrong = right.copy()
    wrong.loc[99, "adjusted_close"] *= 4
    wrong.loc[100, "split"] = 1.0

    cured = _cured(right, wrong, "splits")
    assert cured.values("split")[100] == 4


@pytest.mark.parametrize("size", [-0.61, 1.02, 0.87, -0.57, -0.5, 1.0])
@pytest.mark.parametrize("style", STYLES)
def test_genuine_extremes_stay(size: float, style: str) -> None:
    """A day that moves close and adjusted close together is news, whatever its size; also near a split."""
    for row in (104, 200):
        table = good(style)
        table.loc[row:, PRICES] *= 1 + size
        table.loc[row, "volume"] *= 10

        assert [f for f in find_problems(bars_of(table)) if f.edits] == []


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("row", [50, 150, 250])
def test_a_dividend_that_is_not_applied_is_applied(style: str, row: int) -> None:
    right = good(style)
    steps = right["adjusted_close"] / right["close"]
    wrong = right.copy()
    split = right.loc[row, "split"] if style == "alpha_vantage" else 1
    wrong.loc[: row - 1, "adjusted_close"] *= steps[row] / steps[row - 1] / split

    _cured(right, wrong, "dividends")


@pytest.mark.parametrize("style", STYLES)
def test_a_dividend_in_cents_is_found_by_the_adjusted_close(style: str) -> None:
    """100 times too large on row 150; the adjusted close is right, only the record is wrong."""
    right = good(style)
    wrong = right.copy()
    wrong.loc[150, "dividend"] *= 100
    cured = _cured(right, wrong, "dividends")

    assert cured.values("dividend")[150] == pytest.approx(0.3)


def test_a_dividend_larger_than_the_share_with_a_missing_reverse_split() -> None:
    """As KSU on 2000-07-13: the total return is ordinary with a split of one half."""
    right = good("alpha_vantage", deviation=0.01)
    right.loc[200, "split"] = 0.5
    value = right.loc[199, "close"] * 2
    right.loc[200, "dividend"] = 0.97 * value
    level = 0.03 * value / right.loc[200, "close"]
    right.loc[200:, ["open", "high", "low", "close"]] *= level
    right.loc[250, "dividend"] *= level
    for row in right.index[::-1][1:]:
        step = right.loc[row + 1, "split"] * (right.loc[row + 1, "close"] + right.loc[row + 1, "dividend"])
        right.loc[row, "adjusted_close"] = right.loc[row + 1, "adjusted_close"] * right.loc[row, "close"] / step
    wrong = right.copy()
    wrong.loc[200, "split"] = 1.0
    wrong.loc[:199, "adjusted_close"] /= 2

    cured, _ = repair_bars(bars_of(wrong), "safe")
    assert cured.values("split")[200] == 0.5
    steps = np.diff(np.log(cured.values("adjusted_close")))
    np.testing.assert_allclose(steps, np.diff(np.log(bars_of(right).values("adjusted_close"))), atol=1e-6)


@pytest.mark.parametrize("factor", [100.0, 0.01, 1e4, 1e-4])
@pytest.mark.parametrize("rows", [(0, 40), (120, 121), (150, 230), (290, 300)])
def test_a_stretch_in_another_unit_is_brought_back(factor: float, rows: tuple[int, int]) -> None:
    """CASES 43: at either end, inside, or one row."""
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[rows[0] : rows[1] - 1, PRICES] *= factor

    _cured(right, wrong, "units", columns=PRICES)


def test_one_cell_in_another_unit_is_brought_back() -> None:
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[77, "low"] /= 100

    _cured(right, wrong, "units", columns=PRICES)


def test_two_units_of_equal_weight_are_left_to_a_person() -> None:
    table = good("yahoo").drop(columns="volume")
    table.loc[:149, PRICES] *= 100
    bars = bars_of(table)
    (found,) = find_problems(bars, ["units"])

    assert (found.safe, found.edits) == (False, ())
    assert "correct the file" in found.cure
    assert len(repair_bars(bars, "units")[1]) == 0


def test_another_company_under_a_ticker_is_another_security() -> None:
    """CASES 43: a gap of 313 days, then 177 times the price; rows of both are kept."""
    table = good("yahoo").drop(index=range(120, 122)).reset_index(drop=True)
    table.loc[120:, "date"] += pd.Timedelta(days=313)
    table.loc[120:, PRICES] *= 177
    bars = bars_of(table.assign(symbol="WM"))
    cured, log = repair_bars(bars, "reuse")

    assert cured.symbols[1] == "WM"
    assert cured.symbols[0].startswith("WM.until-2010-")
    assert (cured.codes == np.r_[np.zeros(120), np.ones(178)]).all()
    assert revert(cured, log).table.equals(bars.table)
    quiet = table.assign(symbol="WM")
    quiet.loc[120:, PRICES] /= 177
    assert not find_problems(bars_of(quiet), ["reuse"])


def test_equal_rows_are_dropped_and_different_ones_left_to_a_person() -> None:
    """CASES 41."""
    right = good("yahoo")
    again = pd.concat([right, right.iloc[[5, 150]]])
    assert len(_cured(right, again, "duplicates").rows) == len(right)
    other = pd.concat([right, right.iloc[[5]].assign(close=1.0)])
    (found,) = find_problems(bars_of(other), ["duplicates"])

    assert found.edits == ()
    assert "row 5" in found.message
    assert "row 300" in found.message


def test_history_filled_in_backwards_becomes_missing() -> None:
    right = good("alpha_vantage").drop(columns=["adjusted_close", "dividend", "split"])
    table = right.copy()
    table.loc[:39, ["open", "high", "low", "close"]] = table.loc[40, "close"]
    table.loc[:39, "volume"] = 0
    cured, _ = repair_bars(bars_of(table), "backfill")

    assert np.isnan(cured.values("close")[:40]).all()
    np.testing.assert_array_equal(cured.values("close")[41:], right["close"][41:])


@pytest.mark.parametrize(("kind", "volume", "rows"), [("stale", np.nan, 15), ("zero_volume", 0.0, 3)])
def test_prices_that_stand_still_become_missing_when_asked(kind: str, volume: float, rows: int) -> None:
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[200 : 199 + rows, PRICES] = wrong.loc[199, "close"]
    wrong.loc[199, ["high", "low", "open"]] = wrong.loc[199, "close"]
    wrong.loc[200 : 199 + rows, "volume"] = volume
    bars = bars_of(wrong)
    (found,) = find_problems(bars, [kind])
    cured, log = repair_bars(bars, [kind])

    assert found.safe is False
    assert (found.first, found.last) == (wrong.loc[200, "date"], wrong.loc[199 + rows, "date"])
    assert np.flatnonzero(np.isnan(cured.values("close"))).tolist() == list(range(200, 200 + rows))
    assert revert(cured, log).table.equals(bars.table)


def test_two_identical_securities_are_found_and_one_dropped_when_asked() -> None:
    """CASES 44."""
    table = several("yahoo", symbols=3)
    copy = pd.concat([table, table[table["symbol"] == "S1"].assign(symbol="T")])
    bars = bars_of(copy)
    (found,) = find_problems(bars, ["identical"])
    cured, log = repair_bars(bars, "identical")

    assert (found.symbol, "'S1'" in found.message) == ("T", True)
    assert list(cured.symbols) == ["S0", "S1", "S2"]
    assert revert(cured, log).table.equals(bars.table)


def test_rows_on_a_weekend_are_found() -> None:
    right = good("yahoo")
    saturday = right.iloc[[4]].assign(date=right.loc[4, "date"] + pd.Timedelta(days=1))
    _cured(right, pd.concat([right, saturday]), "frequency")


def test_a_live_row_between_those_of_a_weekly_file_is_found() -> None:
    right = good("yahoo").assign(date=pd.date_range("2010-01-04", periods=300, freq="7D"))
    live = right.iloc[[-1]].assign(date=right["date"].iloc[-1] + pd.Timedelta(days=3))
    _cured(right, pd.concat([right, live]), "frequency")


def test_months_at_the_start_of_a_daily_file_are_found() -> None:
    right = good("yahoo")
    months = right.iloc[:6].assign(date=pd.date_range("2009-07-01", periods=6, freq="BMS"))
    found = find_problems(bars_of(pd.concat([months, right])), ["frequency"])

    assert [(f.n_rows, str(f.first.date())) for f in found] == [(6, "2009-07-01")]
    assert "30 days apart" in found[0].message or "31 days apart" in found[0].message


@pytest.mark.parametrize("value", [np.inf, -np.inf, -3.0, 0.0])
def test_an_impossible_adjusted_close_is_made_from_the_close(value: float) -> None:
    right = good("yahoo")
    wrong = right.copy()
    wrong.loc[[20, 21, 222], "adjusted_close"] = value
    (found,) = find_problems(bars_of(wrong), ["impossible"])

    assert found.safe
    _cured(right, wrong, "impossible")


def test_impossible_prices_volumes_and_dividends_become_missing_when_named() -> None:
    table = good("yahoo")
    table.loc[3, "close"], table.loc[4, "volume"], table.loc[5, "dividend"] = -1, -5, np.inf
    bars = bars_of(table)
    assert [f.safe for f in find_problems(bars, ["impossible"])] == [False] * 3
    cured, _ = repair_bars(bars, "impossible")

    assert np.isnan([cured.values("close")[3], cured.values("volume")[4], cured.values("dividend")[5]]).all()


def test_a_possible_split_in_a_file_of_closes_is_suggested() -> None:
    table = good("alpha_vantage", deviation=0.01)[["date", "open", "high", "low", "close", "volume"]]
    (found,) = find_problems(bars_of(table), ["splits"])
    cured, log = repair_bars(bars_of(table), ["splits"])

    assert (found.safe, found.values["split"]) == (False, pytest.approx(4))
    np.testing.assert_allclose(cured.values("close")[:100], table["close"][:100] / 4)
    assert np.abs(np.diff(np.log(cured.values("close")))).max() < 0.1
    assert len(log) == 5


def test_a_split_that_is_recorded_nowhere_is_suggested_where_others_are_recorded() -> None:
    """As ANTM on 2005-06-02: neither the split column nor the adjusted close has it; never safe."""
    right = good("alpha_vantage", deviation=0.01)
    wrong = right.copy()
    wrong.loc[100, "split"] = 1.0
    wrong.loc[220, "split"] = 2.0
    wrong.loc[:99, "adjusted_close"] *= 4
    wrong.loc[220:, ["open", "high", "low", "close"]] /= 2
    wrong.loc[220:, "volume"] *= 2
    wrong.loc[250, "dividend"] /= 2
    wrong.loc[:219, "adjusted_close"] /= 2
    wrong.loc[220:, "adjusted_close"] /= 2
    bars = bars_of(wrong)
    (found,) = find_problems(bars)
    cured, _ = repair_bars(bars, "splits")

    assert (found.kind, found.safe, found.values["split"]) == ("splits", False, pytest.approx(4))
    assert cured.values("split")[100] == pytest.approx(4)
    steps = np.diff(np.log(cured.values("adjusted_close")))
    np.testing.assert_allclose(steps, np.diff(np.log(right["adjusted_close"])), atol=1e-9)
    assert len(find_problems(cured)) == 0


def test_a_repair_or_finder_that_does_not_exist_is_refused_by_name() -> None:
    bars = bars_of(good("yahoo"))
    with pytest.raises(SettingsError, match=r"no repair is called 'everything': choose among duplicates"):
        repair_bars(bars, ["everything"])
    with pytest.raises(SettingsError, match=r"no finder is called 'all'"):
        find_problems(bars, ["all"])


def test_other_securities_stay_as_they_are() -> None:
    """A fault in one of four leaves the bits of the others."""
    table = several("alpha_vantage")
    wrong = table.copy()
    mine = (wrong["symbol"] == "S2") & (wrong["date"] < "2010-09-01")
    wrong.loc[mine, "adjusted_close"] /= 2
    bars = bars_of(wrong)
    cured, log = repair_bars(bars, "safe")

    assert {change.finding.symbol for change in log} == {"S2"}
    others = bars.codes != 2
    assert cured.table[others].equals(bars.table[others])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    style=st.sampled_from(STYLES),
    row=st.integers(5, 290),
    factor=st.sampled_from([0.25, 0.5, 2 / 3, 1.5, 2.0, 5.0]),
)
def test_any_unexplained_level_of_the_adjusted_close_is_found_and_undone(seed, style, row, factor) -> None:
    """Wherever it begins and whatever its factor."""
    right = good(style, seed=seed)
    wrong = right.copy()
    wrong.loc[: row - 1, "adjusted_close"] *= factor
    bars = bars_of(wrong)
    cured, log = repair_bars(bars, "safe")

    steps = np.diff(np.log(cured.values("adjusted_close")))
    np.testing.assert_allclose(steps, np.diff(np.log(right["adjusted_close"])), atol=1e-5)
    assert revert(cured, log).table.equals(bars.table)
