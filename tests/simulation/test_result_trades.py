"""Trades and round trips against a walk over shares in plain Python."""

from __future__ import annotations

from collections import deque

import numpy as np
import pandas as pd
import pytest
from random_markets import Given, random_panel
from traded_runs import drawn_run, simulated, size_of

from backtest.costs import TradingCost
from backtest.market import Delisting, MarketPanel
from backtest.simulation import Execution, Policy, simulate


class Shares(Policy):
    """Holds numbers of shares of a panel, one row of them a row."""

    def __init__(self, panel, shares):
        self.panel, self.shares = panel, np.asarray(shares, dtype=float)

    def decide(self, p, held, market, tradable):
        row = market.rows[0]
        return np.where(tradable, self.shares[row] * self.panel.prices[row] / market.wealth[:, None], held)


@pytest.mark.parametrize("seed", range(30))
def test_there_is_one_trade_for_each_weight_that_changes(seed):
    result = simulated(drawn_run(seed, n_books=2))
    expected = []
    for book, name in enumerate(result.names):
        for period in range(len(result.dates)):
            for column, asset in enumerate(result.assets):
                weight = result.positions[book, period, column] - result.held[book, period, column]
                if weight != 0 and np.isfinite(weight):
                    value = weight * result.fill_wealth[book, period]
                    expected.append([name, result.trade_dates[period], asset, value, weight])
    trades = result.trades

    assert trades[["name", "date", "asset", "value", "weight"]].to_numpy().tolist() == expected
    assert np.abs(trades["weight"]).sum() == pytest.approx(np.nansum(result.turnover), rel=1e-12)
    if result.counts_shares:
        np.testing.assert_allclose(trades["shares"] * trades["price"], trades["value"], rtol=1e-14)


@pytest.mark.parametrize("seed", range(60))
def test_the_gains_of_all_round_trips_add_up_to_the_gains_by_name(seed):
    result = simulated(drawn_run(seed, n_books=2))
    trips = result.round_trips()
    for book, name in enumerate(result.names):
        gained = trips[trips["name"] == name].groupby("asset")["gain"].sum().reindex(result.assets, fill_value=0.0)

        total = np.nansum(result.gains(name), axis=0)
        assert np.abs(gained.to_numpy() - total).max() <= 1e-11 * size_of(result, book)


def walked_round_trips(panel, result, book):
    """Follow the shares of every lot of one book, first in, first out: splits, dividends and delistings one by one.

    Orders are filled at the close, and nothing is spun off.
    """
    rows = []
    splits = np.ones(panel.prices.shape) if panel.splits is None else panel.splits
    dividends = np.zeros(panel.prices.shape) if panel.dividends is None else panel.dividends
    ends = {(d.asset, d.date): d.delisting_return for d in panel.delistings}
    alive = int(np.isfinite(result.net[book]).sum())
    for column, asset in enumerate(panel.assets):
        lots = deque()
        mark = np.nan
        for period in range(alive):
            row = panel.row(result.fill_dates[period])
            mark = panel.prices[row, column] if np.isfinite(panel.prices[row, column]) else mark
            date = panel.dates[row]
            left = float(result.shares_traded[book, period, column])
            while left and lots and lots[0]["shares"] * left < 0:
                lot = lots[0]
                ratio = abs(left) / abs(lot["shares"])
                part = 1.0 if ratio > 1 - 1e-9 else ratio
                left = left + lot["shares"] if ratio > 1 + 1e-9 else 0.0
                paid = part * lot["paid"]
                sold = part * lot["shares"] * mark
                gain = sold - part * lot["cost"] + paid
                rows.append((asset, lot["date"], date, part * lot["cost"], sold, gain))
                lot["shares"] *= 1 - part
                lot["cost"] *= 1 - part
                lot["paid"] *= 1 - part
                if part == 1.0:
                    lots.popleft()
            if left:
                lots.append({"shares": left, "cost": left * mark, "paid": 0.0, "date": date})
            after = row + 1
            for lot in lots:
                lot["shares"] *= splits[after, column]
                lot["paid"] += lot["shares"] * dividends[after, column]
            mark = mark / splits[after, column]
            if np.isfinite(panel.prices[after, column]):
                mark = panel.prices[after, column]
            if (asset, panel.dates[after]) in ends:
                for lot in lots:
                    cash = lot["shares"] * mark * (1.0 + ends[asset, panel.dates[after]])
                    gain = cash - lot["cost"] + lot["paid"]
                    rows.append((asset, lot["date"], panel.dates[after], lot["cost"], np.nan, gain))
                lots.clear()
        for lot in lots:
            gain = lot["shares"] * mark - lot["cost"] + lot["paid"]
            left = panel.dates[panel.row(result.fill_dates[alive - 1]) + 1] if result.ruined[book] else pd.NaT
            rows.append((asset, lot["date"], left, lot["cost"], np.nan, gain))
    columns = ["asset", "entry", "exit", "entry_value", "exit_value", "gain"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("seed", range(40))
def test_round_trips_are_those_of_a_walk_over_shares(seed):
    rng = np.random.default_rng(seed)
    panel = random_panel(
        rng, n_rows=20, n_assets=3, gaps=float(rng.choice([0.0, 0.2])), actions=0.2, delistings=int(rng.integers(3))
    )
    weights = rng.normal(0.0, 0.3, (20, 3))
    weights[rng.random(weights.shape) < 0.3] = np.nan
    weights[rng.random(20) < 0.2] = 0.0
    result = simulate(panel, Given(), weights, costs=TradingCost(0.001), lag=0, last_row=19, initial_wealth=1e6)
    found = result.round_trips()
    expected = walked_round_trips(panel, result, 0)
    room = 1e-9 * size_of(result, 0)
    # A lot of nothing but rounding is none.
    found, expected = (
        table[table["entry_value"].abs() > room]
        .sort_values(["asset", "entry", "exit"], kind="stable")
        .reset_index(drop=True)
        for table in (found, expected)
    )

    assert found["asset"].tolist() == expected["asset"].tolist()
    assert found["entry"].tolist() == expected["entry"].tolist()
    assert found["exit"].isna().tolist() == expected["exit"].isna().tolist()
    assert found["exit"].dropna().tolist() == expected["exit"].dropna().tolist()
    assert (found["side"] == np.where(expected["entry_value"] > 0, "long", "short")).all()
    for column in ("entry_value", "exit_value", "gain"):
        np.testing.assert_allclose(found[column].astype(float), expected[column].astype(float), rtol=0, atol=room)


def test_a_round_trip_of_two_lots_sold_in_two_parts(price_panel):
    panel = price_panel(A=[10, 20, 40, 50, 60])
    policy = Shares(panel, [[2.0], [3.0], [1.5], [0.0], [0.0]])
    result = simulate(panel, policy, costs=TradingCost(0.001), lag=0, last_row=4, initial_wealth=1000)
    trips = result.round_trips()

    assert trips["reason"].tolist() == ["trade"] * 3
    assert trips["entry_price"].tolist() == [10.0, 10.0, 20.0]
    assert trips["exit_price"].tolist() == [40.0, 50.0, 50.0]
    assert trips["gain"].tolist() == pytest.approx([1.5 * 30, 0.5 * 40, 1.0 * 30], rel=1e-9)


def test_a_long_that_is_turned_short_is_two_round_trips(price_panel):
    panel = price_panel(A=[10, 12, 9, 9])
    result = simulate(
        panel, Shares(panel, [[5.0], [-4.0], [0.0], [0.0]]), costs=None, lag=0, last_row=3, initial_wealth=100
    )
    trips = result.round_trips()

    assert trips[["side", "entry_price", "exit_price"]].to_numpy().tolist() == [
        ["long", 10.0, 12.0],
        ["short", 12.0, 9.0],
    ]
    assert trips["gain"].tolist() == pytest.approx([10.0, 12.0])
    assert trips["exit_value"].tolist() == pytest.approx([60.0, -36.0])


def test_a_delisted_lot_ends_at_its_delisting_with_what_it_paid():
    """CASES 1: 50 shares, last price 12, delisting return -30%."""
    frame = pd.DataFrame(
        {"A": [10.0, 11.0, 12.0, np.nan], "B": [1.0] * 4}, index=pd.date_range("2020-01-01", periods=4)
    )
    gone = Delisting("A", frame.index[2], -0.3, "bankrupt")
    panel = MarketPanel.from_prices(frame, periods_per_year=252, delistings=[gone])
    result = simulate(panel, Shares(panel, [[50.0, 0.0]] * 4), costs=None, lag=0, last_row=3, initial_wealth=1000)
    trip = result.round_trips().iloc[0]

    assert (trip["reason"], trip["exit"]) == ("delisted", frame.index[2])
    assert trip["gain"] == pytest.approx(420.0 - 500.0)


def test_round_trips_of_orders_filled_at_the_open_start_and_end_there():
    index = pd.date_range("2020-01-01", periods=4)
    prices = pd.DataFrame({"A": [10.0, 11, 12, 13]}, index=index)
    opens = pd.DataFrame({"A": [10.0, 10.5, 11.5, 12.5]}, index=index)
    panel = MarketPanel.from_prices(prices, open_prices=opens, periods_per_year=252)
    result = simulate(
        panel,
        Shares(panel, [[4.0], [0.0], [0.0], [0.0]]),
        costs=None,
        lag=1,
        first_row=0,
        last_row=3,
        initial_wealth=1000,
        execution=Execution(fill="open"),
    )
    trip = result.round_trips().iloc[0]

    assert (trip["entry"], trip["exit"]) == (index[1], index[2])
    assert (trip["entry_price"], trip["exit_price"]) == (10.5, 11.5)
    assert trip["gain"] == pytest.approx(4.0)


def test_what_was_held_at_the_start_is_a_lot_that_enters_at_the_first_fill(price_panel):
    panel = price_panel(A=[10, 12, 9], B=[5, 6, 7])
    result = simulate(
        panel,
        Shares(panel, [[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]),
        costs=None,
        lag=0,
        last_row=2,
        initial_wealth=100,
        initial_weights=[0.3, 0.2],
    )
    trips = result.round_trips().set_index("asset")

    assert trips.loc["A", "reason"] == "trade"
    assert trips.loc["A", ["entry_value", "exit_value", "gain"]].tolist() == pytest.approx([30.0, 30.0, 0.0])
    assert trips.loc["B", ["reason", "gain"]].tolist() == ["open", pytest.approx(8.0)]
