"""The orders of one day are those of a backtest of that day, by the same code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import BorrowFee, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.errors import LabelError, SettingsError, SolverError
from backtest.market import MarketPanel
from backtest.simulation import EqualWeight, Execution, SolverPolicy, orders_of_day, simulate
from backtest.solver import PositionSolver

ROWS, NAMES = 90, 6
RNG = np.random.default_rng(4)
FORECASTS = RNG.normal(0, 2e-3, (ROWS, NAMES))


def make_panel(**changes):
    rng = np.random.default_rng(0)
    prices = 40 * np.exp(np.cumsum(rng.normal(3e-4, 0.02, (ROWS, NAMES)), axis=0))
    prices[50:60, 2] = np.nan
    dates, assets = pd.bdate_range("2021-01-04", periods=ROWS), list("ABCDEF")
    frame = pd.DataFrame(prices, index=dates, columns=assets)
    members = pd.DataFrame(True, index=dates, columns=assets)
    members.loc[dates[70] :, "E"] = False
    volume = pd.DataFrame(1e7, index=dates, columns=assets)
    return MarketPanel.from_prices(frame, members=members, dollar_volume=volume, periods_per_year=252, **changes)


def make_solver(panel, *constraints):
    costs = 5.0 * FactorRisk(n_factors=2, lookback=40) + TradingCost(half_spread=5e-4) + BorrowFee(0.02)
    return PositionSolver(costs, constraints or [LeverageLimit(2.0), PositionLimit(0.6)]).estimate(panel)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("fill", ["close", "open"])
def test_a_day_of_a_backtest_is_traded_again(whole, fill):
    panel = make_panel()
    if fill == "open":
        prices = pd.DataFrame(panel.prices, index=panel.dates, columns=panel.assets)
        panel = make_panel(open_prices=prices.shift(1).fillna(prices))
    solver, execution = make_solver(panel), Execution(fill=fill, whole_shares=whole)
    lag = 1
    result = simulate(
        panel,
        SolverPolicy(solver),
        FORECASTS,
        costs=solver.costs,
        lag=lag,
        initial_wealth=1e6,
        execution=execution,
    )
    first = panel.dates.get_loc(result.fill_dates[0])
    wait = lag if fill == "close" else lag - 1
    compared = 0
    for number in range(5, result.net.shape[1], 4):
        row = first + number
        history = panel.until(row)
        wealth = result.wealth[0, number]
        # What is held at the fill, in shares: there are no splits, so it is what was held at the decision.
        shares = result.held[0, number] * result.fill_wealth[0, number] / result.fill_prices[number]
        orders = orders_of_day(
            history,
            SolverPolicy(make_solver(history)),
            FORECASTS[row - wait],
            costs=make_solver(history).costs,
            shares=pd.Series(shares, index=panel.assets),
            wealth=wealth,
            execution=execution,
        )

        if fill == "close":
            np.testing.assert_allclose(orders.q, result.positions[0, number], rtol=0, atol=1e-9)
            np.testing.assert_allclose(orders.held, result.held[0, number], rtol=0, atol=1e-12)
        else:
            ordered = (result.positions[0, number] - result.held[0, number]) * result.fill_wealth[0, number]
            np.testing.assert_allclose(orders.bought * result.fill_prices[number], ordered, rtol=0, atol=1e-3)
        if whole:
            held_and_bought = orders.shares + orders.bought
            np.testing.assert_allclose(held_and_bought, np.round(held_and_bought), atol=1e-6)
        compared += orders.traded.size
    assert compared > 20


def test_the_table_has_the_trades_their_costs_and_nothing_else():
    panel = make_panel()
    solver = make_solver(panel)
    shares = pd.Series({"A": 100.0, "E": -50.0})
    orders = orders_of_day(
        panel,
        SolverPolicy(solver),
        FORECASTS[-2],
        costs=solver.costs,
        shares=shares,
        wealth=1e5,
        execution=Execution(whole_shares=True),
    )
    table = orders.table()

    assert set(table["side"]) <= {"buy", "sell"}
    assert (table["shares"] == np.round(table["shares"])).all()
    assert (table["shares"] > 0).all()
    value = table["value"].abs()
    assert value.is_monotonic_decreasing
    np.testing.assert_allclose(table["expected_trading_cost"], 5e-4 * value)
    # E left the universe: its short is covered.
    row = table.set_index("symbol").loc["E"]
    assert (row["side"], row["shares"], row["shares_after"]) == ("buy", 50, 0)
    assert "left the universe" in set(orders.events["kind"])
    assert orders.broken == {}


def test_a_constraint_that_what_is_held_breaks_is_said():
    panel = make_panel()
    shares = pd.Series({"A": 1e4})
    held = float(panel.prices[-1, 0]) * 1e4 / 1e5
    orders = orders_of_day(
        panel, EqualWeight(), None, costs=None, shares=np.zeros(NAMES), wealth=1e5, execution=Execution()
    )
    assert orders.broken == {}

    solver = make_solver(panel, LeverageLimit(2.0))
    untraded = np.full(NAMES, np.nan)  # no view: what is held is kept
    orders = orders_of_day(
        panel, SolverPolicy(solver), untraded, costs=solver.costs, shares=shares, wealth=1e5, on_failure="hold"
    )

    assert held > 2
    assert not len(orders.traded)
    assert orders.broken == {"LeverageLimit(2)": pytest.approx(held - 2)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"wealth": 0.0}, SettingsError, "wealth is 0.0"),
        ({"wealth": np.nan}, SettingsError, "wealth is nan"),
        ({"shares": pd.Series({"Z": 3.0})}, LabelError, "has no Z: bring its prices"),
        ({"shares": pd.Series([1.0, 2.0], index=["A", "A"])}, LabelError, "'A' is there twice"),
        ({"shares": np.array([1.0])}, SettingsError, "expected a finite number for each of 6 assets"),
        ({"forecast": np.zeros(3)}, SettingsError, r"forecast has shape \(3,\)"),
    ],
)
def test_what_cannot_be_is_refused(change, error, message):
    panel = make_panel()
    given = {"forecast": None, "shares": np.zeros(NAMES), "wealth": 1e5} | change
    forecast = given.pop("forecast")

    with pytest.raises(error, match=message):
        orders_of_day(panel, EqualWeight(), forecast, costs=None, **given)


def test_a_day_that_cannot_be_decided_stops_or_holds():
    panel = make_panel()
    solver = make_solver(panel, DollarNeutral(), PositionLimit(0.1))
    shares = pd.Series({"C": 4e4})
    prices = pd.DataFrame(panel.prices, index=panel.dates, columns=panel.assets)
    prices.loc[panel.dates[-1], "C"] = np.nan  # held, and it cannot be sold: nothing makes the book neutral
    stuck = MarketPanel.from_prices(prices, periods_per_year=252)
    solver = make_solver(stuck, DollarNeutral(), PositionLimit(0.1))
    given = {"costs": solver.costs, "shares": shares, "wealth": 1e5}

    with pytest.raises(SolverError, match=r"today: .*: no decision"):
        orders_of_day(stuck, SolverPolicy(solver), FORECASTS[-2], **given)
    held = orders_of_day(stuck, SolverPolicy(solver), FORECASTS[-2], **given, on_failure="hold")

    assert not len(held.traded)
    assert "failed" in set(held.events["kind"])
