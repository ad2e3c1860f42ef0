"""How orders are filled, worked out by hand, and markets made to break the ledger."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from random_markets import Given

from backtest.costs import BorrowFee, HoldingFee, TradingCost
from backtest.errors import SettingsError
from backtest.market import Delisting, MarketPanel, SpinOff
from backtest.simulation import Execution, Financing, MissingPrices, simulate
from backtest.simulation.policies.hold import Hold

nan = np.nan
OPEN = Execution(fill="open")
WHOLE = Execution(whole_shares=True)
NO_DEBT = Execution(borrow_cash=False)
TABLES = ("open_prices", "vwap", "dividends", "splits", "dollar_volume", "volatility")


def day(row: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01") + pd.Timedelta(days=row)


def market(prices: dict[str, list[float]], **more) -> MarketPanel:
    """Return a panel of columns; tables are columns too."""
    index = pd.DatetimeIndex([day(row) for row in range(len(next(iter(prices.values()))))])
    for name in TABLES:
        if name in more:
            more[name] = pd.DataFrame(more[name], index=index, dtype=float)
    return MarketPanel.from_prices(pd.DataFrame(prices, index=index, dtype=float), periods_per_year=252, **more)


def trade(panel: MarketPanel, weights, **options):
    """Trade one row of weights a date, decided at its own close; 1000 of wealth, no costs."""
    options = {"costs": None, "initial_wealth": 1000.0, "first_row": 0, "last_row": panel.n_periods - 1, **options}
    next_row = options.get("execution") is not None and options["execution"].next_row
    wanted = np.array(weights, dtype=float).reshape(panel.n_periods, panel.n_assets)
    return simulate(panel, Given(), wanted, lag=int(next_row), **options)


# ---- filled in the next row


@pytest.mark.parametrize("fill", ["open", "vwap"])
def test_the_shares_of_the_decision_are_bought_at_the_price_of_the_next_row(fill):
    """500 of 1000 at 10 are 50 shares; bought at 12 they cost 600, and are worth 550 at the close."""
    table = {"open_prices" if fill == "open" else "vwap": {"A": [10, 12, 11]}}
    result = trade(market({"A": [10, 11, 11]}, **table), [0.5, nan, nan], execution=Execution(fill=fill))

    assert result.shares[0, 0].tolist() == [50.0]
    assert result.wealth[0] == pytest.approx([1000, 950, 950], rel=1e-14)
    assert result.fill_prices[0].tolist() == [12.0]


def test_a_split_between_decision_and_fill_splits_the_order():
    panel = market({"A": [10, 5, 5]}, open_prices={"A": [10, 5, 5]}, splits={"A": [1, 2, 1]})
    result = trade(panel, [0.5, nan, nan], execution=OPEN)

    assert result.shares[0, 0].tolist() == [100.0]
    assert result.wealth[0].tolist() == [1000.0] * 3


def test_a_dividend_goes_to_who_held_before_the_open_and_not_to_who_buys_at_it():
    panel = market({"A": [10, 9, 9]}, open_prices={"A": [10, 9, 9]}, dividends={"A": [0, 1, 0]})
    buyer = trade(panel, [1.0, nan, nan], execution=OPEN)
    seller = trade(panel, [0.0, nan, nan], execution=OPEN, initial_weights=np.array([1.0]))

    assert buyer.wealth[0].tolist() == [1000.0] * 3
    assert seller.wealth[0].tolist() == [1000.0] * 3


def test_an_order_without_a_price_in_the_next_row_is_not_filled_and_noted():
    panel = market({"A": [10, 10, 10]}, open_prices={"A": [10, nan, 10]})
    result = trade(panel, [0.5, nan, nan], execution=OPEN)

    assert result.shares[0, :, 0].tolist() == [0.0, 0.0]
    assert result.events[["date", "kind"]].to_numpy().tolist() == [[day(1), "unfilled"]]


def test_a_name_without_any_price_yet_does_no_harm_to_fills_in_the_next_row():
    panel = market({"A": [10, 10, 10], "B": [nan, nan, 5]}, open_prices={"A": [10, 10, 10], "B": [nan, nan, 5]})
    result = trade(panel, [[0.5, 0.5], [nan, 0.5], [nan, nan]], execution=OPEN)

    assert result.wealth[0].tolist() == [1000.0] * 3


def test_a_spin_off_that_has_not_traded_yet_is_not_lost_at_the_open():
    """Of 10 shares at 100 each gives half a share of B at 40: wealth at the open of 80 is 1000 as well."""
    opens = {"A": [100, 80, 80], "B": [nan, nan, 40]}
    panel = market(
        {"A": [100, 80, 80], "B": [nan, 40, 40]}, open_prices=opens, spin_offs=[SpinOff("A", "B", 0.5, day(1))]
    )
    result = trade(panel, [[nan, nan]] * 3, execution=OPEN, initial_weights=np.array([1.0, 0.0]))

    assert result.wealth[0].tolist() == [1000.0] * 3


def test_what_is_delisted_at_a_close_can_be_sold_at_the_open_of_that_day():
    """Sold at 50, where the close pays 50% of 100 - and nothing of that is lost when it would pay 0."""
    panel = market({"A": [100, 100, 100]}, open_prices={"A": [100, 100, 50]}, delistings=[Delisting("A", day(2), -1.0)])
    result = trade(panel, [1.0, 0.0, nan], execution=OPEN)

    assert result.wealth[0].tolist() == [1000.0, 1000.0, 500.0]


def test_an_order_for_a_name_that_is_delisted_on_the_day_of_the_fill_never_vanishes():
    panel = market({"A": [100, 100, 100]}, open_prices={"A": [100, 100, 50]}, delistings=[Delisting("A", day(2), -1.0)])
    result = trade(panel, [1.0, 0.0, nan], execution=OPEN)
    sold = result.shares_traded[0, 1, 0] == -10.0

    assert sold or "unfilled" in result.events["kind"].tolist()


def test_what_a_delisting_pays_at_a_close_buys_nothing_at_the_open_before():
    opens = {"A": [100, 100, 100], "B": [10, 10, 10]}
    panel = market(
        {"A": [100, 100, 100], "B": [10, 10, 10]}, open_prices=opens, delistings=[Delisting("A", day(2), 0.0)]
    )
    execution = Execution(fill="open", borrow_cash=False)
    result = trade(panel, [[1.0, 0.0], [nan, 1.0], [nan, nan]], execution=execution)

    assert result.positions[0, 1, 1] == 0.0


@pytest.mark.parametrize("open_price", [200.0, 210.0])
@pytest.mark.parametrize("close", [150.0, 250.0])
def test_wealth_that_is_gone_at_the_open_earns_no_costs_and_stops_no_other_book(open_price, close):
    """10 shares short at 100 on 1000: at an open of 210 the book owes 100."""
    panel = market({"A": [100, 100, close, close]}, open_prices={"A": [100, 100, open_price, close]}, cash_rate=0.001)
    wanted = np.tile(np.array([[-1.0], [-1.5], [-1.0], [nan]]), (2, 1, 1)) * np.array([1.0, 0.1])[:, None, None]
    options = {
        "costs": TradingCost(0.01) + BorrowFee(0.1),
        "lag": 1,
        "first_row": 0,
        "last_row": 3,
        "execution": OPEN,
        "financing": Financing(credit_spread=0.1, proceeds_spread=0.2),
    }
    result = simulate(panel, Given(), wanted, names=("a", "b"), **options)
    alone = simulate(panel, Given(), wanted[1], names=("b",), **options)

    assert all((np.nan_to_num(paid) >= 0).all() for paid in result.costs.values())
    assert result.wealth[1].tobytes() == alone.wealth[0].tobytes()


# ---- a part of the volume


def test_no_more_than_the_part_of_the_volume_is_traded_and_the_rest_is_noted():
    panel = market({"A": [10, 10, 10]}, dollar_volume={"A": [1000, 2000, nan]})
    result = trade(panel, [0.5, 0.5, nan], execution=Execution(max_participation=0.1))

    assert result.shares[0, :, 0] == pytest.approx([10, 30])
    assert result.events["kind"].tolist() == ["unfilled", "unfilled"]


@pytest.mark.parametrize("volume", [0.0, nan])
def test_without_volume_nothing_is_traded(volume):
    panel = market({"A": [10, 10, 11]}, dollar_volume={"A": [volume] * 3})
    result = trade(panel, [0.5, 0.5, nan], execution=Execution(max_participation=0.5))

    assert result.wealth[0].tolist() == [1000.0] * 3


def test_a_part_of_the_volume_of_a_name_that_has_no_price_yet_is_nothing():
    volume = {"A": [1e6, 1e6, 1e6], "B": [5.0, 0.0, 5.0]}
    panel = market({"A": [10, 10, 10], "B": [nan, nan, 5]}, dollar_volume=volume)
    result = trade(panel, [[0.5, 0.5]] * 3, execution=Execution(max_participation=0.5))

    assert result.positions[0, :, 1].tolist() == [0.0, 0.0]


# ---- from cash alone


def test_covering_a_losing_short_is_never_capped_by_cash():
    result = trade(market({"A": [100, 190, 190]}), [-1.0, 0.0, nan], execution=NO_DEBT)

    assert result.shares[0, :, 0].tolist() == [-10.0, 0.0]
    assert result.wealth[0] == pytest.approx([1000, 100, 100])


def test_sales_pay_for_purchases_of_the_same_close():
    panel = market({"A": [10, 10, 10], "B": [5, 5, 5]})
    result = trade(panel, [[1.0, 0.0], [0.0, 1.0], [nan, nan]], execution=NO_DEBT)

    assert result.shares[0].tolist() == [[100.0, 0.0], [0.0, 200.0]]


@pytest.mark.parametrize("exponent", [1.2, 1.5, 2.0])
@pytest.mark.parametrize("volume", [1e2, 1e3, 1e6])
def test_purchases_with_impact_spend_all_cash_and_no_more(exponent, volume):
    costs = TradingCost(
        0.001, impact=1.0, exponent=exponent, volatility=0.05, dollar_volume=volume, wealth=1e6
    ) + HoldingFee(0.001)
    result = trade(market({"A": [10, 10]}), [3.0, nan], costs=costs, execution=NO_DEBT, initial_wealth=1e6)
    left = 1.0 - result.positions[0, 0, 0] - sum(values[0, 0] for values in result.costs.values())

    assert -1e-15 <= left < 1e-10  # rounding of the ledger
    assert 0 < result.positions[0, 0, 0] < 1


# ---- many books


def test_books_with_impact_are_what_they_are_alone_to_the_last_bit():
    rng = np.random.default_rng(4)
    prices = 30 * np.exp(np.cumsum(rng.normal(0, 0.03, (60, 7)), axis=0))
    panel = market(dict(zip("ABCDEFG", prices.T.tolist(), strict=True)))
    wanted = rng.normal(0, 0.3, (5, 60, 7))
    costs = TradingCost(impact=1.0, exponent=1.5, volatility=0.02, dollar_volume=1e6)
    together = simulate(panel, Given(), wanted, costs=costs, lag=0, initial_wealth=1e5)

    for book in range(5):
        alone = simulate(panel, Given(), wanted[book], costs=costs, lag=0, initial_wealth=1e5)
        for found, own in ((together.costs, alone.costs), (together.asset_costs, alone.asset_costs)):
            assert found["trading_cost"][book].tobytes() == own["trading_cost"][0].tobytes()


# ---- whole shares


def test_what_is_only_held_in_whole_shares_stays_to_the_last_share():
    rng = np.random.default_rng(2)
    for _ in range(100):
        prices = rng.uniform(50, 100, (6, 3))
        panel = market(dict(zip("ABC", prices.T.tolist(), strict=True)))
        result = trade(panel, [[0.3, 0.3, -0.3], *[[nan] * 3] * 5], execution=WHOLE, initial_wealth=1e4)

        assert (result.shares[0] == result.shares[0, 0]).all()
        assert (result.turnover[0, 1:] == 0).all()


def test_whole_shares_held_at_the_start_are_all_there():
    rng = np.random.default_rng(1)
    for _ in range(200):
        count, price, wealth = rng.integers(1, 400), round(rng.uniform(1, 100), 2), round(rng.uniform(1e4, 1e5), 2)
        panel = market({"A": [price] * 3})
        result = simulate(
            panel,
            Hold(),
            costs=None,
            lag=0,
            execution=WHOLE,
            initial_wealth=wealth,
            initial_weights=np.array([count * price / wealth]),
        )

        assert result.shares[0, :, 0].tolist() == [count, count]


@pytest.mark.parametrize("old", [2, 3, 10, 49, 98, 103])
def test_a_reverse_split_of_a_whole_number_of_lots_leaves_whole_shares(old):
    panel = market({"A": [1, old, old]}, splits={"A": [1, 1 / old, 1]})
    result = trade(panel, [1.0, nan, nan], execution=WHOLE, initial_wealth=7.0 * old)

    assert result.shares[0, :, 0].tolist() == [7.0 * old, 7.0]


def test_whole_shares_from_cash_alone_owe_nothing():
    panel = market({"A": [10.0, 10, 10]})
    result = trade(
        panel, [0.999, 0.5, nan], costs=TradingCost(0.05), execution=Execution(whole_shares=True, borrow_cash=False)
    )
    spent = result.positions[0, :, 0] + result.costs["trading_cost"][0]

    assert result.shares[0, 0, 0] == 95.0  # 96 cost 960 + 48
    assert (spent <= 1).all()


def test_books_in_whole_shares_are_what_they_are_alone_to_the_last_bit():
    rng = np.random.default_rng(3)
    prices = 30 * np.exp(np.cumsum(rng.normal(0, 0.03, (12, 4)), axis=0))
    panel = market(dict(zip("ABCD", prices.T.tolist(), strict=True)))
    wanted = rng.normal(0, 0.3, (3, 12, 4))
    options = {"costs": TradingCost(0.001), "lag": 0, "last_row": 11, "execution": WHOLE}
    together = simulate(panel, Given(), wanted, initial_wealth=np.array([500.0, 1e4, 1e6]), **options)

    assert (together.shares == np.rint(together.shares)).all()
    for book, wealth in enumerate([500.0, 1e4, 1e6]):
        alone = simulate(panel, Given(), wanted[book], initial_wealth=wealth, **options)
        assert together.positions[book].tobytes() == alone.positions[0].tobytes()
        assert together.wealth[book].tobytes() == alone.wealth[0].tobytes()


# ---- names that end


@pytest.mark.parametrize("fill", ["close", "open"])
def test_names_that_ended_before_the_start_cannot_be_held_at_the_start(fill):
    gone = [nan] * 3
    panel = market(
        {"A": [10] * 5, "B": [10, 10, *gone], "C": [10, 10, *gone]},
        open_prices={"A": [10] * 5, "B": [10, 10, *gone], "C": [10, 10, *gone]},
        delistings=[Delisting("B", day(1), -0.3)],
    )
    missing = MissingPrices(after=1, delisting_return=-0.3)
    for weights in ([0, 0.5, 0], [0, 0, 0.5]):
        with pytest.raises(SettingsError, match="initial_weights"):
            trade(
                panel,
                [[nan] * 3] * 5,
                first_row=3,
                initial_weights=np.array(weights),
                missing=missing,
                execution=Execution(fill=fill),
            )


def test_shares_received_of_a_name_that_ended_already_are_not_kept_at_its_last_price():
    """Without a price for a row B is worth nothing; half a share of it, received later, is as well."""
    panel = market({"A": [100] * 4, "B": [10, nan, nan, nan]}, spin_offs=[SpinOff("A", "B", 0.5, day(2))])
    result = trade(panel, [[1.0, 0.0], *[[nan, nan]] * 3], missing=MissingPrices(after=1, delisting_return=-1.0))

    assert result.wealth[0].tolist() == [1000.0] * 4


def test_what_the_delisting_of_a_spin_off_takes_on_the_day_it_is_received_is_told():
    """10 shares of A give 10 of B at 10, which end at half of that."""
    panel = market(
        {"A": [100] * 3, "B": [10, 10, nan]},
        spin_offs=[SpinOff("A", "B", 1.0, day(1))],
        delistings=[Delisting("B", day(1), -0.5)],
    )
    result = trade(panel, [[1.0, 0.0], *[[nan, nan]] * 2])

    assert result.wealth[0].tolist() == [1000.0, 1050.0, 1050.0]
    assert result.delisting[0].tolist() == [-0.05, 0.0]


def test_two_delistings_on_one_day_one_of_them_of_a_short():
    panel = market(
        {"A": [10, 10, nan], "B": [10, 10, nan]},
        delistings=[Delisting("A", day(1), -0.5), Delisting("B", day(1), 0.5)],
    )
    result = trade(panel, [[0.5, -0.5], *[[nan, nan]] * 2])

    assert result.wealth[0].tolist() == [1000.0, 500.0, 500.0]
    assert result.positions[0, 1].tolist() == [0.0, 0.0]
    assert result.delisting[0].tolist() == [-0.5, 0.0]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_split_and_a_dividend_in_a_gap_of_prices_are_earned_by_who_holds(side):
    """10 shares: 1 each of dividend, then 20 shares, back at 55."""
    panel = market({"A": [100, nan, nan, 55, 55]}, splits={"A": [1, 1, 2, 1, 1]}, dividends={"A": [0, 1, 0, 0, 0]})
    result = trade(panel, [side, *[nan] * 4])

    assert result.wealth[0] - 1000 == pytest.approx(side * np.array([0, 10, 10, 110, 110]))


@pytest.mark.parametrize(("weight", "wealth"), [(1.0, 2100.0), (-0.4, 560.0)])
def test_a_dividend_larger_than_the_price_is_paid_to_longs_and_by_shorts(weight, wealth):
    result = trade(market({"A": [10, 1, 1]}, dividends={"A": [0, 20, 0]}), [weight, nan, nan])

    assert result.wealth[0].tolist() == [1000.0, wealth, wealth]


# ---- sizes and emptiness


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("wealth", [1.0, 1e12])
def test_prices_and_wealth_of_any_size_give_the_same_returns(unit, wealth):
    prices = {"A": [100 * unit, 101 * unit, 99 * unit], "B": [unit, 1.1 * unit, nan]}
    result = trade(market(prices), [[0.5, 0.5]] * 3, costs=TradingCost(0.001), initial_wealth=wealth)

    # 1 and 0.045 are traded, at 10 bp; then A falls, and B stays at its last price.
    expected = [1, 0.505 + 0.55 - 0.001, 0.527 * 99 / 101 + 0.527 - 0.000045]
    assert result.wealth[0] / wealth == pytest.approx(expected, rel=1e-12)


def test_a_return_of_minus_everything_is_lost_and_the_name_can_be_bought_again():
    index = pd.DatetimeIndex([day(row) for row in range(3)])
    returns = pd.DataFrame({"A": [0.0, -1.0, 0.5], "B": [0.0, 0.1, 0.1]}, index=index)
    panel = MarketPanel.from_returns(returns, periods_per_year=252)
    both, one = trade(panel, [[0.5, 0.5]] * 3), trade(panel, [[1.0, 0.0]] * 3)

    assert both.wealth[0] == pytest.approx([1000, 550, 715])
    np.testing.assert_array_equal(one.wealth[0], [1000, 0, nan])
    assert one.ruined.tolist() == [True]


@pytest.mark.parametrize("weights", [[[0.5]] * 2, [[nan]] * 2])
@pytest.mark.parametrize("price", [10.0, nan])
def test_one_name_and_one_period_with_and_without_a_price_or_a_view(weights, price):
    result = trade(market({"A": [price, price]}), weights)

    assert result.wealth[0].tolist() == [1000.0, 1000.0]


def test_nothing_that_can_be_traded_is_cash_for_the_whole_run():
    panel = market({"A": [nan] * 4, "B": [nan] * 4}, cash_rate=0.01)
    result = trade(panel, [[0.5, 0.5]] * 4)

    assert result.wealth[0] == pytest.approx(1000 * 1.01 ** np.arange(4))


def test_a_delisting_of_a_name_that_never_had_a_price_changes_nothing():
    panel = market({"A": [10] * 4, "B": [nan] * 4}, delistings=[Delisting("B", day(2), -0.3)])
    result = trade(panel, [[0.5, 0.5]] * 4)

    assert result.wealth[0].tolist() == [1000.0] * 4
