"""Total returns: what the holder of one share earned, and no other return is accepted beside prices."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from event_markets import holder_returns, raw_markets
from hypothesis import given, settings

from backtest.errors import DataError
from backtest.market import Delisting, MarketPanel, SpinOff

NAN = float("nan")


def panel_of(*, delistings=(), spin_offs=(), **tables: dict[str, list[float]]) -> MarketPanel:
    """A panel of tables by asset: panel_of(prices={"A": [10, 11]}, splits={"A": [1, 2]})."""
    dates = pd.bdate_range("2020-01-01", periods=len(next(iter(tables["prices"].values()))))
    frames = {field: pd.DataFrame(columns, index=dates, dtype=float) for field, columns in tables.items()}
    return MarketPanel.from_prices(**frames, delistings=delistings, spin_offs=spin_offs, periods_per_year=252)


DAY = pd.bdate_range("2020-01-01", periods=10)


def test_a_dividend_and_a_split_of_two_for_one_on_the_same_day() -> None:
    """100 becomes two shares of 51 and two dividends of 1.5: 105."""
    panel = panel_of(prices={"A": [100, 51, 51]}, splits={"A": [1, 2, 1]}, dividends={"A": [0, 1.5, 0.51]})

    np.testing.assert_allclose(panel.returns[:, 0], [NAN, 0.05, 0.01], rtol=1e-12)


def test_a_split_and_dividends_inside_a_gap_count_when_the_price_is_back() -> None:
    """100, a dividend of 1, a 4:1 split, a dividend of 0.5 on each of four shares, then 4 x 26: 107."""
    panel = panel_of(
        prices={"A": [100, NAN, NAN, NAN, 26]},
        splits={"A": [1, 1, 4, NAN, 1]},
        dividends={"A": [NAN, 1, 0, 0.5, 0]},
    )

    np.testing.assert_allclose(panel.returns[:, 0], [NAN, NAN, NAN, NAN, 0.07], rtol=1e-12)
    assert panel.splits[3, 0] == 1
    assert panel.dividends[0, 0] == 0


def test_events_before_the_first_price_are_nobody_s() -> None:
    panel = panel_of(prices={"A": [NAN, 10, 11]}, splits={"A": [2, 2, 1]}, dividends={"A": [3, 3, 0]})

    np.testing.assert_allclose(panel.returns[:, 0], [NAN, NAN, 0.1], rtol=1e-12)


def test_a_delisting_without_a_price_takes_its_return_from_the_last_mark() -> None:
    """CASES 1: last price 12, delisting return -30%: 8.4 a share."""
    panel = panel_of(
        prices={"A": [10, 12, NAN, NAN, NAN]},
        delistings=[Delisting("A", DAY[3], -0.3, "bankrupt")],
    )

    np.testing.assert_allclose(panel.returns[:, 0], [NAN, 0.2, NAN, -0.3, NAN], rtol=1e-12)
    assert panel.tradable[:, 0].tolist() == [True, True, False, False, False]


def test_a_delisting_at_a_known_price_is_marked_there_first() -> None:
    """10 is marked at 8, less 30%: 5.6; the dividend of 1 is paid in full: 6.6."""
    panel = panel_of(
        prices={"A": [10, 8, NAN], "B": [1, 1, 1]},
        dividends={"A": [0, 1, 0], "B": [0, 0, 0]},
        delistings=[Delisting("A", DAY[1], -0.3)],
    )

    np.testing.assert_allclose(panel.returns[:, 0], [NAN, -0.34, NAN], rtol=1e-12)
    assert panel.tradable[:, 0].tolist() == [True, False, False]
    assert panel.tradable[:, 1].all()


def test_a_split_on_the_way_to_a_delisting_changes_nothing() -> None:
    panel = panel_of(prices={"A": [12, NAN, NAN]}, splits={"A": [1, 0.1, 3]}, delistings=[Delisting("A", DAY[2], -0.3)])

    assert panel.returns[2, 0] == pytest.approx(-0.3, rel=1e-12)


def test_a_spin_off_is_worth_the_shares_received_at_their_close() -> None:
    """100 becomes 80 and half a share of 50: 105. The child's own dividend of that day is not theirs."""
    panel = panel_of(
        prices={"P": [100, 80, 88], "C": [NAN, 50, 55]},
        dividends={"P": [0, 0, 0], "C": [0, 7, 0]},
        spin_offs=[SpinOff("P", "C", 0.5, DAY[1])],
    )

    np.testing.assert_allclose(panel.returns, [[NAN, NAN], [0.05, NAN], [0.1, 0.1]], rtol=1e-12)


def test_a_spin_off_is_given_on_the_shares_after_the_split_of_its_day() -> None:
    """100 becomes two shares of 40 and one share of 30 (half a share each): 110."""
    panel = panel_of(
        prices={"P": [100, 40], "C": [NAN, 30]},
        splits={"P": [1, 2], "C": [1, 3]},
        spin_offs=[SpinOff("P", "C", 0.5, DAY[1])],
    )

    assert panel.returns[1, 0] == pytest.approx(0.1, rel=1e-12)


def test_a_spin_off_in_a_gap_keeps_the_value_of_its_day() -> None:
    """The shares are the holder's own from then on: their later fall is in the child's returns."""
    panel = panel_of(
        prices={"P": [100, NAN, 90], "C": [20, 25, 5]},
        spin_offs=[SpinOff("P", "C", 0.4, DAY[1])],
    )

    assert panel.returns[2, 0] == pytest.approx(0.0, abs=1e-12)
    assert panel.returns[2, 1] == pytest.approx(-0.8, rel=1e-12)


def test_a_child_without_a_price_that_day_counts_at_its_last_mark() -> None:
    panel = panel_of(
        prices={"P": [100, 90], "C": [20, NAN]},
        splits={"P": [1, 1], "C": [1, 2]},
        spin_offs=[SpinOff("P", "C", 1, DAY[1])],
    )

    assert panel.returns[1, 0] == pytest.approx(0.0, abs=1e-12)


def test_without_events_returns_are_price_ratios_to_the_last_bit(prices: pd.DataFrame) -> None:
    none = pd.DataFrame(0.0, prices.index, prices.columns)
    plain = MarketPanel.from_prices(prices, periods_per_year=252)
    told = MarketPanel.from_prices(prices, dividends=none, splits=none + 1, periods_per_year=252)
    marked = prices.ffill().to_numpy()

    np.testing.assert_array_equal(plain.returns[1:], prices.to_numpy()[1:] / marked[:-1] - 1)
    np.testing.assert_array_equal(told.returns, plain.returns)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets())
def test_returns_are_those_of_a_holder_of_one_share(market: dict) -> None:
    panel = MarketPanel.from_prices(**market)

    np.testing.assert_allclose(panel.returns, holder_returns(panel), rtol=1e-11, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets())
def test_adjusting_a_price_history_by_hand_gives_the_same_returns(market: dict) -> None:
    """Splits alone: prices divided by later splits are adjusted prices, with the same returns."""
    keep = {"prices": market["prices"], "delistings": market["delistings"], "periods_per_year": 252}
    raw = MarketPanel.from_prices(**keep, splits=market["splits"])
    later = market["splits"].iloc[::-1].cumprod().iloc[::-1].shift(-1, fill_value=1.0)
    adjusted = MarketPanel.from_prices(**{**keep, "prices": market["prices"] / later})

    np.testing.assert_allclose(raw.returns, adjusted.returns, rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets())
def test_a_cut_panel_has_the_same_returns(market: dict) -> None:
    """Nothing later moves a return: a panel built from the first rows alone equals the cut one."""
    whole = MarketPanel.from_prices(**market)
    cut = whole.n_periods // 2
    end = whole.dates[cut]
    early = {
        name: table.iloc[: cut + 1] if isinstance(table, pd.DataFrame) else table for name, table in market.items()
    }
    early["delistings"] = [d for d in market["delistings"] if d.date <= end]
    early["spin_offs"] = [s for s in market["spin_offs"] if s.date <= end]

    assert MarketPanel.from_prices(**early).data_hash == whole.until(cut).data_hash


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, 0, 0.03, r"row 2 \(2020-01-03\), column 'A': 0.03 is not the total return of the prices, 0.05,"),
        (1, 1, 0.0, r"row 1 \(2020-01-02\), column 'B': 0 is known where there is no price: write NaN"),
        (3, 1, -0.2, r"row 3 \(2020-01-06\), column 'B': -0.2 is not the total return of the prices, -0.3,"),
    ],
)
def test_other_returns_than_those_of_the_prices_are_refused(row: int, column: int, value: float, message: str) -> None:
    panel = panel_of(
        prices={"A": [100, 100, 51, 51], "B": [10, NAN, NAN, NAN]},
        splits={"A": [1, 1, 2, 1], "B": [1, 1, 1, 1]},
        dividends={"A": [0, 0, 1.5, 0], "B": [0, 0, 0, 0]},
        delistings=[Delisting("B", DAY[3], -0.3)],
    )
    returns = panel.returns.copy()
    returns[row, column] = value

    with pytest.raises(DataError, match=message):
        replace(panel, returns=returns)


def test_unknown_and_first_returns_are_free_and_rounding_is_accepted() -> None:
    panel = panel_of(prices={"A": [100, 110, 99]})
    free = replace(panel, returns=np.array([[0.5], [np.nan], [-0.1 + 9e-7]]))

    assert free.returns[0, 0] == 0.5
    with pytest.raises(DataError, match="is not the total return"):
        replace(panel, returns=np.array([[0.5], [np.nan], [-0.1 + 3e-6]]))


def test_checks_take_little_memory() -> None:
    """The copies that a panel keeps, and less than one more at a time."""
    rng = np.random.default_rng(0)
    dates, assets = pd.bdate_range("2000-01-03", periods=2000), [f"N{i}" for i in range(200)]
    prices = pd.DataFrame(np.exp(rng.normal(3, 1, (2000, 200))), dates, assets)
    none = pd.DataFrame(0.0, dates, assets)
    panel = MarketPanel.from_prices(prices, dividends=none, splits=none + 1, periods_per_year=252)
    tracemalloc.start()
    try:
        again = replace(panel)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert again.data_hash == panel.data_hash
    assert (peak - kept) / prices.to_numpy().nbytes < 1


@pytest.mark.parametrize(("symbol", "wrong"), [("AAPL", []), ("ODFL", []), ("TRMB", ["2007-02-23"])])
def test_raw_prices_dividends_and_splits_give_the_returns_of_the_vendor_s_adjusted_close(symbol, wrong, shared_data):
    """Three AAPL splits, its dividends; TRMB's adjusted close doubles on a day without a split, ours does not."""
    raw = pd.read_csv(shared_data(f"messy/alphavantage/{symbol}.csv"), index_col=0, parse_dates=True)
    tables = {"prices": "close", "dividends": "dividend_amount", "splits": "split_coefficient"}
    frames = {field: raw[[column]].set_axis([symbol], axis=1) for field, column in tables.items()}

    panel = MarketPanel.from_prices(**frames, periods_per_year=252)

    difference = np.abs(panel.returns[:, 0] - raw["adjusted_close"].pct_change().to_numpy())
    assert [f"{date:%Y-%m-%d}" for date in panel.dates[difference > 1e-10]] == wrong
