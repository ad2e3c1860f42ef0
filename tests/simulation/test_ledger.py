"""Books small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import L1, BorrowFee, HoldingFee, TradingCost
from backtest.errors import SimulationError
from backtest.market import MarketPanel
from backtest.simulation import EqualWeight, simulate
from backtest.simulation.ledger import (
    Ledger,
    charge,
    check_wealth,
    interest_on,
    open_ledger,
    trade,
    whole,
)
from backtest.simulation.quotes import Quotes


def test_selling_short_puts_the_proceeds_into_cash_and_leaves_wealth_alone():
    """CASES 7: sell 1 at 100 short with cash 1000."""
    book = trade(Ledger(np.zeros((1, 1)), np.array([1000.0])), np.array([[-1.0]]), np.array([[-100.0]]))

    assert book.cash.tolist() == [1100.0]
    assert book.shares.tolist() == [[-1.0]]
    assert (book.shares[0] * 100.0 + book.cash).tolist() == [1000.0]


@pytest.mark.parametrize(("rate", "cash"), [(0.0, 100.0), (0.001, 99.9), (0.05, 95.0)])
def test_selling_everything_without_cash_gives_its_value_less_cost(rate, cash):
    """CASES 6: cash 0, long 10 at 10, target 0."""
    cost = TradingCost(rate).value(torch.zeros(1, 1), torch.ones(1, 1), None)
    sold = trade(Ledger(np.array([[10.0]]), np.array([0.0])), np.array([[-10.0]]), np.array([[-100.0]]))
    sold = charge(sold, cost.sum(1).numpy() * 100.0)

    assert sold.shares.tolist() == [[0.0]]
    assert sold.cash == pytest.approx([cash], abs=1e-12 if rate == 0 else 1e-6)


def test_fractions_of_shares_become_cash_at_their_price_long_and_short():
    book = whole(Ledger(np.array([[151.5, -10.25, 3.0]]), np.array([1.0])), np.array([10.0, 4.0, 7.0]))

    assert book.shares.tolist() == [[151.0, -10.0, 3.0]]
    assert book.cash.tolist() == [1.0 + 5.0 - 1.0]


def test_a_book_opens_with_the_weights_it_is_given(price_panel):
    quotes = Quotes.of(price_panel(A=[10, 11], B=[5, 5]))
    book = open_ledger(np.array([1000.0]), np.array([[0.5, -0.1]]), quotes.price[0])

    assert book.shares.tolist() == [[50.0, -20.0]]
    assert book.cash.tolist() == [600.0]


@pytest.mark.parametrize(
    ("cash", "short", "interest"),
    [
        (100.0, 0.0, 1.0),  # a credit
        (-100.0, 0.0, -3.0),  # a debit
        (50.0, 50.0, 0.25),  # short proceeds alone
        (0.0, 50.0, 0.25 - 1.5),  # longs of 150 and shorts of 50 on a wealth of 100
        (120.0, 20.0, 0.1 + 1.0),
    ],
)
def test_credits_debits_and_short_proceeds_have_rates_of_their_own(cash, short, interest):
    found = interest_on(np.array([cash]), np.array([[70.0, -short]]), rates=(0.01, 0.03, 0.005))

    assert found == pytest.approx([interest], rel=1e-14)


def test_a_broken_wealth_identity_names_book_date_and_numbers():
    after = np.array([1.0, 1.0 + 1e-9])

    with pytest.raises(SimulationError, match=r"second: 2020-01-02: .*1\.000000001.*explain 1\.0, 1e-09 apart"):
        check_wealth(
            np.ones(2),
            after,
            np.zeros(2),
            np.ones(2),
            names=("first", "second"),
            dates=pd.DatetimeIndex(["2020-01-01", "2020-01-02"]),
            row=1,
        )


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]])
def test_five_names_at_a_fifth_of_1000_and_price_10_are_20_shares_each(price_panel, targets, order):
    """CASES 3, in any column order, and with unequal prices beside it."""
    columns = [{"A": 10}, {"B": 10}, {"C": 10}, {"D": 10}, {"E": 10}]
    panel = price_panel(**{name: [p] * 3 for i in order for name, p in columns[i].items()})
    result = simulate(panel, EqualWeight(), costs=None, lag=0, initial_wealth=1000)

    assert result.shares[0].tolist() == [[20.0] * 5] * 2


def test_shares_are_worked_out_from_wealth_and_prices_at_each_fill(price_panel, targets):
    panel = price_panel(A=[10, 20, 20], B=[5, 5, 10])
    result = simulate(panel, targets(panel, {0: [0.5, -0.5], 1: [0.5, 0.5]}), costs=None, lag=0, initial_wealth=100)

    assert result.wealth[0].tolist() == [100.0, 150.0, 225.0]
    assert result.shares[0].tolist() == [[5.0, -10.0], [3.75, 15.0]]


def test_shares_without_prices_are_refused():
    panel = MarketPanel.from_returns(
        pd.DataFrame({"A": [0.0, 0.1]}, index=pd.date_range("2020-01-01", periods=2)), periods_per_year=252
    )
    result = simulate(panel, EqualWeight(), costs=None, lag=0)

    with pytest.raises(SimulationError, match="from_prices"):
        _ = result.shares


def test_a_short_that_triples_ruins_the_book_which_stops_there(price_panel, targets):
    """CASES 4: short 10 at 100 with wealth 1000, price 300; no revival when it falls back."""
    panel = price_panel(A=[100, 300, 1, 1])
    result = simulate(panel, targets(panel, {0: [-1.0]}), costs=TradingCost(0.0), lag=0, initial_wealth=1000)

    assert result.ruined.tolist() == [True]
    np.testing.assert_array_equal(result.wealth[0], [1000, -1000, np.nan, np.nan])
    np.testing.assert_array_equal(result.net[0], [-2, np.nan, np.nan])
    for values in (result.gross, result.utility, result.turnover, result.leverage, result.positions):
        assert np.isnan(values[0, 1:]).all()
    assert result.events.to_numpy().tolist() == [
        [panel.dates[1], "portfolio", "", "ruined", "wealth -1000: the book is stopped"]
    ]


def test_ruin_of_one_book_leaves_the_others_as_they_are(price_panel):
    panel = price_panel(A=[100, 300, 150, 150], B=[10, 10, 10, 11])
    forecasts = np.zeros((3, 4, 2))
    forecasts[0, :, 0], forecasts[1, :, 0], forecasts[2, :, 0] = 0.5, -1.0, -0.2
    forecasts[:, :, 1] = 0.1
    costs = TradingCost(0.001) + BorrowFee(0.03)
    result = simulate(panel, _AsForecast(), forecasts, costs=costs, lag=0, names=("a", "b", "c"))

    assert result.ruined.tolist() == [False, True, False]
    for book in (0, 2):
        alone = simulate(panel, _AsForecast(), forecasts[book], costs=costs, lag=0)
        assert (result.wealth[book] == alone.wealth[0]).all()
        assert (result.positions[book] == alone.positions[0]).all()


def test_turnover_is_measured_from_the_drifted_weights(price_panel):
    """CASES 13: +100% and 0% from equal weights are (2/3, 1/3) before the next trade."""
    panel = price_panel(A=[1, 2, 2], B=[1, 1, 1])
    result = simulate(panel, EqualWeight(), costs=None, lag=0)

    assert result.held[0, 1] == pytest.approx([2 / 3, 1 / 3])
    assert result.turnover[0] == pytest.approx([1.0, 1 / 3])


@pytest.mark.parametrize(("weight", "cost"), [(1.0, 0.002), (-1.0, 0.002), (0.5, 0.001)])
def test_buying_with_all_wealth_costs_the_rate_once(price_panel, targets, weight, cost):
    """CASES 15: the cash leg is free."""
    panel = price_panel(A=[100, 100])
    result = simulate(panel, targets(panel, {0: [weight]}), costs=TradingCost(0.002), lag=0)

    assert result.costs["trading_cost"].tolist() == [[cost]]
    assert result.wealth[0] == pytest.approx([1.0, 1.0 - cost])


def test_two_costs_of_one_class_are_both_charged_and_named(price_panel, targets):
    """CASES 12."""
    panel = price_panel(A=[100, 100], B=[50, 50])
    costs = TradingCost(0.001) + 2.0 * TradingCost(0.002) + HoldingFee(0.0001) + 0.01 * L1()
    result = simulate(panel, targets(panel, {0: [0.5, -0.25]}), costs=costs, lag=0)

    charged = {name: float(values[0, 0]) for name, values in result.costs.items()}
    assert charged == pytest.approx({"trading_cost": 0.00075, "trading_cost_2": 0.003, "holding_fee": 0.000075})
    assert result.net[0] == pytest.approx([-0.003825])
    assert result.utility[0] == pytest.approx([-0.003825 - 0.0075])
    assert result.opinions["l1"][0] == pytest.approx([0.0075])


def test_a_round_trip_costs_the_same_both_ways_and_cash_pays_none(price_panel, targets):
    """CASES 12: cost(w, w0) = cost(w0, w), and a book in cash is charged nothing."""
    panel = price_panel(A=[100, 100, 100, 100])
    result = simulate(
        panel,
        targets(panel, {0: [0.0], 1: [0.6], 2: [0.0]}),
        costs=TradingCost(0.001) + HoldingFee(0.0),
        lag=0,
    )

    paid = result.costs["trading_cost"][0]
    assert paid[0] == 0.0
    assert paid[1] == pytest.approx(0.0006)
    assert paid[2] == pytest.approx(0.0006, rel=1e-3)  # of wealth that is less by the first cost


def test_the_borrow_fee_is_a_yearly_rate_on_shorts_alone(price_panel, targets):
    panel = price_panel(A=[100, 100], B=[100, 100], periods_per_year=52)
    result = simulate(panel, targets(panel, {0: [0.5, -0.5]}), costs=BorrowFee(0.052), lag=0)

    assert result.costs["borrow_fee"][0] == pytest.approx([0.5 * 0.001])


def test_cash_earns_and_debt_pays_the_cash_rate_known_at_the_fill(price_panel, targets):
    panel = price_panel(A=[100, 100, 100, 100], cash_rate=np.array([0.01, 0.02, 0.03, 0.5]))
    result = simulate(panel, targets(panel, {0: [0.5], 1: [1.5], 2: [-0.5]}), costs=None, lag=0)

    assert result.interest[0] == pytest.approx([0.5 * 0.01, -0.5 * 0.02, 1.5 * 0.03])
    assert result.net[0] == pytest.approx(result.interest[0])


def test_one_missing_return_on_a_held_name_freezes_it_and_the_gap_is_earned_when_the_price_is_back(
    price_panel, targets
):
    """CASES 11."""
    panel = price_panel(A=[100, np.nan, 120, 120], B=[10, 10, 10, 10])
    result = simulate(panel, targets(panel, {0: [0.5, 0.5]}), costs=None, lag=0)

    assert result.wealth[0] == pytest.approx([1.0, 1.0, 1.1, 1.1])
    assert result.gross[0] == pytest.approx([0.0, 0.1, 0.0])
    assert result.positions[0, 1].tolist() == [0.5, 0.5]
    assert result.events.to_numpy().tolist() == [
        [panel.dates[1], "portfolio", "A", "missing price", "held at its last price 100"]
    ]
    assert result.shares[0, :, 0] == pytest.approx([0.005] * 3)


def test_a_name_that_is_not_held_may_lack_returns_and_removes_no_date(price_panel, targets):
    """CASES 20."""
    with_gaps = price_panel(A=[100, 101, 103, 102], B=[np.nan, np.nan, 10, np.nan])
    without = price_panel(A=[100, 101, 103, 102])
    result = simulate(with_gaps, targets(with_gaps, {0: [1.0, 0.0]}), costs=TradingCost(0.001), lag=0)
    alone = simulate(without, targets(without, {0: [1.0]}), costs=TradingCost(0.001), lag=0)

    assert result.dates.equals(alone.dates)
    assert result.wealth.tolist() == alone.wealth.tolist()
    assert len(result.events) == 0


def test_a_target_in_a_name_without_a_price_is_not_filled_and_logged(price_panel, targets):
    panel = price_panel(A=[100, 100, 100], B=[np.nan, 10, 20])
    result = simulate(panel, targets(panel, {0: [0.5, 0.5], 1: [0.5, 0.5]}), costs=None, lag=0)

    assert result.positions[0].tolist() == [[0.5, 0.0], [0.5, 0.5]]
    assert result.net[0].tolist() == [0.0, 0.5]
    assert result.events.to_numpy().tolist() == [[panel.dates[0], "portfolio", "B", "untradable", "wants 0.5, keeps 0"]]


def test_equal_weight_shares_out_what_is_not_stuck(price_panel):
    panel = price_panel(A=[1, np.nan, 1], B=[1, 1, 1], C=[np.nan, 1, 1])
    result = simulate(panel, EqualWeight(), costs=None, lag=0)

    assert result.positions[0] == pytest.approx(np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]))


class _AsForecast(EqualWeight):
    """Holds the forecast itself."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, p)
