"""Capacity: one batch of wealths, and the wealth at which nothing is left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import Capacity, capacity_curve
from backtest.costs import DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation import EqualWeight, Policy, SolverPolicy, simulate
from backtest.solver import PositionSolver

WEALTHS = [1e5, 1e7, 1e9]


class Alternating(Policy):
    """Long the one name, then out of it, and so on: the same trades at any wealth."""

    def decide(self, p, held, market, tradable):
        return np.full(held.shape, 1.0 - market.rows[0] % 2)


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2020-01-01", periods=120)
    names = [f"N{i}" for i in range(8)]
    prices = pd.DataFrame(50 * np.exp(np.cumsum(rng.normal(0, 0.01, (120, 8)), axis=0)), index=index, columns=names)
    volume = pd.DataFrame(rng.uniform(1e7, 1e8, (120, 8)), index=index, columns=names)
    return MarketPanel.from_prices(prices, dollar_volume=volume, periods_per_year=252)


def rising(n_rows=41):
    """A name that rises by 1% every second day, the days on which `Alternating` holds it."""
    growth = np.where(np.arange(n_rows) % 2 == 1, 1.01, 1.0)
    frame = pd.DataFrame({"A": 100 * np.cumprod(growth)}, index=pd.bdate_range("2020-01-01", periods=n_rows))
    return MarketPanel.from_prices(frame, periods_per_year=252)


def test_the_books_of_a_curve_are_the_simulations_of_each_wealth_alone(panel):
    forecasts = np.random.default_rng(1).normal(0, 0.002, panel.returns.shape)
    costs = (5.0 * FactorRisk(n_factors=2, lookback=30) + TradingCost(1e-4, impact=1.0)).estimate(panel)
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(0.3), LeverageLimit(2)])
    settings = {"costs": costs, "lag": 1, "first_row": 40}
    capacity = capacity_curve(panel, SolverPolicy(solver), forecasts, wealths=WEALTHS[::-1], **settings)

    assert capacity.table.index.tolist() == WEALTHS
    for wealth in WEALTHS:
        alone = simulate(panel, SolverPolicy(solver), forecasts, initial_wealth=wealth, **settings)
        row = capacity.table.loc[wealth]
        book = capacity.result.names.index(f"{wealth:.15g}")

        assert capacity.result.wealth[book].tolist() == alone.wealth[0].tolist()
        assert row["net"] == pytest.approx(alone.net.mean() * 252, rel=1e-12)
        assert row["turnover"] == pytest.approx(alone.turnover.mean() * 252, rel=1e-12)
        assert row["gross"] - row["cost: trading_cost"] + row["interest"] == pytest.approx(row["net"], abs=1e-12)
    # The solver trades less where trades cost more.
    assert capacity.table["turnover"].is_monotonic_decreasing


def test_net_return_is_half_and_nothing_where_impact_says_so():
    """Impact of sigma (wealth / volume)^(1/2) a trade, two trades for 1%: nothing is left at a cost of 0.5% each."""
    panel = rising()
    costs = TradingCost(impact=1.0, volatility=0.05, dollar_volume=1e8)
    wealths = 1e8 * np.array([1e-6, 0.002, 0.0025, 0.003, 0.0098, 0.01, 0.0102])
    capacity = capacity_curve(panel, Alternating(), costs=costs, lag=0, wealths=wealths)

    assert capacity.zero == pytest.approx(1e8 * 0.01, rel=0.2)
    assert capacity.half == pytest.approx(1e8 * 0.0025, rel=0.2)
    assert capacity.notes == ()
    net = capacity.table["net"].to_numpy()
    for wealth, level in ((capacity.half, net[0] / 2), (capacity.zero, 0.0)):
        # Linear in the logarithm of wealth between its neighbours.
        assert np.interp(np.log(wealth), np.log(wealths), net) == pytest.approx(level, abs=1e-12)
    assert "net return is half at 2" in repr(capacity)


def test_what_is_not_reached_is_unknown_and_a_note_says_so():
    panel = rising()
    costs = TradingCost(impact=1.0, volatility=0.05, dollar_volume=1e8)
    short = capacity_curve(panel, Alternating(), costs=costs, lag=0, wealths=[1.0, 4e5])
    poor = capacity_curve(panel, Alternating(), costs=TradingCost(0.01), lag=0, wealths=[1.0, 2.0])

    assert np.isfinite(short.half)
    assert np.isnan(short.zero)
    assert [note.split(" a year ")[1] for note in short.notes] == [
        "at the largest wealth and never falls to 0: try larger ones"
    ]
    assert np.isnan([poor.half, poor.zero]).all()
    assert "at the smallest wealth already: try smaller ones" in repr(poor)


def test_a_ruined_book_earns_nothing_after_its_ruin():
    frame = pd.DataFrame({"A": [100.0, 101, 102, 103, 104]}, index=pd.bdate_range("2020-01-01", periods=5))
    panel = MarketPanel.from_prices(frame, periods_per_year=252)
    costs = TradingCost(impact=1.0, volatility=0.05, dollar_volume=1e3)
    capacity = capacity_curve(panel, EqualWeight(), costs=costs, lag=0, wealths=[1.0, 1e9])

    assert capacity.table["ruined"].tolist() == [False, True]
    assert capacity.table["net"].iloc[1] == pytest.approx(capacity.result.net[1, 0] / 4 * 252)
    assert "True" in repr(capacity)


def test_wealths_that_make_no_curve_are_refused(panel):
    with pytest.raises(SettingsError, match="give two or more positive amounts"):
        capacity_curve(panel, EqualWeight(), costs=None, wealths=[1e6])
    with pytest.raises(SettingsError, match="give two or more positive amounts"):
        capacity_curve(panel, EqualWeight(), costs=None, wealths=[1e6, -1.0])
    with pytest.raises(SettingsError, match="give each once"):
        capacity_curve(panel, EqualWeight(), costs=None, wealths=[1e6, 1e6])
    with pytest.raises(SettingsError, match="takes one forecast for all wealths, and these are 2"):
        capacity_curve(panel, EqualWeight(), np.zeros((2, 120, 8)), costs=None, wealths=[1e6, 1e7])
    with pytest.raises(SettingsError, match="give two or more that differ"):
        Capacity.of(simulate(panel, EqualWeight(), costs=None))
