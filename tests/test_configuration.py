"""What settings in the units of the command line become."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.configuration import build_solver, parse_settings
from backtest.costs import TradingCost
from backtest.errors import CostError, SettingsError
from backtest.market import MarketPanel, simulate_market

N_PERIODS, N_ASSETS = 300, 4


def table(values):
    return pd.DataFrame(values, index=pd.bdate_range("2020-01-01", periods=N_PERIODS)).add_prefix("N")


def panel(**more):
    returns = table(0.01 * np.random.default_rng(0).normal(size=(N_PERIODS, N_ASSETS)))
    return MarketPanel.from_returns(returns, periods_per_year=252, **more)


def settings(**costs):
    return parse_settings({"prices": "prices.csv", "costs": {"factors": 1, **costs}})


def trading_cost(market, **costs):
    """Return the cost by asset of the first trade of a tenth of wealth in each name, at the last row."""
    solver = build_solver(settings(**costs), market).estimate(market)
    (found,) = [part for _, part in solver.costs.parts if isinstance(part, TradingCost)]
    held = torch.zeros(1, N_ASSETS, dtype=torch.float64)
    return found.value(held + 0.1, held, market.at([N_PERIODS - 1]))[0].numpy()


def test_impact_is_that_of_a_book_of_the_wealth_given():
    volume = np.array([1e6, 4e6, 1e8, 1e10])
    market = panel(dollar_volume=table(np.tile(volume, (N_PERIODS, 1))))
    spread = trading_cost(market, half_spread=10)
    np.testing.assert_allclose(spread, 0.1 * 10e-4)

    small, large = (trading_cost(market, half_spread=10, impact=2.0, wealth=w) - spread for w in (1e6, 4e6))

    # The square-root law: b sigma |u| (wealth |u| / volume)^1/2.
    np.testing.assert_allclose(large, 2 * small, rtol=1e-9)
    lookback = 63
    sigma = market.returns[-lookback:].std(axis=0, ddof=1)
    np.testing.assert_allclose(small, 2.0 * sigma * 0.1 * np.sqrt(1e6 * 0.1 / volume), rtol=1e-9)


def test_impact_needs_volumes_and_says_so():
    with pytest.raises(CostError, match="impact needs dollar_volume"):
        build_solver(settings(impact=1.0), panel()).estimate(panel())
    with pytest.raises(SettingsError, match=r"costs\.impact: a simulated market has no volumes"):
        build_solver(
            parse_settings({"market": "simulated", "costs": {"impact": 1.0}}), simulate_market(5, 60, 2, seed=0)
        )
