"""What the ledger charges: every part once, impact at a stated wealth, and nothing of a ruined book."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import CvxpyCost, HoldingFee, RelativeTo, Ridge, TradingCost
from backtest.errors import CostError
from backtest.market import simulate_market
from backtest.simulation import EqualWeight, SolverPolicy, TargetWeights, simulate
from backtest.solver import PositionSolver


class WorstCase(CvxpyCost):
    cash = False

    def expression(self, x, held, market):
        import cvxpy as cp

        return 0.01 * cp.max(cp.abs(x))


def test_parts_that_come_with_numbers_of_their_own_are_each_charged_once(price_panel):
    panel = price_panel(A=[100.0] * 5, B=[50.0] * 5)
    costs = RelativeTo(HoldingFee(0.01) + HoldingFee(0.02), 0.0) + RelativeTo(HoldingFee(0.04), 0.0)
    result = simulate(panel, EqualWeight(), costs=costs, lag=0)

    assert sum(result.costs[name][0, 0] for name in result.costs) == pytest.approx(0.07)
    assert len(result.costs) == 3


def test_a_parameter_with_one_number_a_book_charges_each_book_its_own_and_no_other():
    market = simulate_market(6, 40, 2, seed=0, persistence=0.9)
    spreads = [2e-4, 1e-3, 3e-3]
    forecasts = np.stack([market.expected_returns] * len(spreads))

    def run(half_spread, p):
        costs = Ridge(0.02) + TradingCost(half_spread=half_spread)
        return simulate(market.panel, SolverPolicy(PositionSolver(costs)), p, costs=costs)

    together = run(np.array(spreads)[:, None], forecasts)

    for book, spread in enumerate(spreads):
        alone = run(spread, market.expected_returns)
        assert together.wealth[book].tolist() == alone.wealth[0].tolist()
        np.testing.assert_allclose(
            together.costs["trading_cost"][book], spread * together.turnover[book], rtol=1e-12, atol=1e-18
        )


def test_impact_needs_a_wealth_in_currency(price_panel):
    panel = price_panel(A=[100.0] * 5, B=[50.0] * 5)
    costs = TradingCost(impact=1.0, volatility=0.01, dollar_volume=1e7)

    with pytest.raises(CostError, match="wealth"):
        simulate(panel, EqualWeight(), costs=costs, lag=0)
    small, large = (simulate(panel, EqualWeight(), costs=costs, lag=0, initial_wealth=wealth) for wealth in (1e4, 1e8))
    assert large.costs["trading_cost"][0, 0] == pytest.approx(100 * small.costs["trading_cost"][0, 0])


def test_a_ruined_book_with_a_cvxpy_cost_ends_and_says_so(price_panel):
    panel = price_panel(A=[100.0, 100.0, 10.0, 10.0, 10.0], B=[50.0, 50.0, 5.0, 5.0, 5.0])
    weights = pd.DataFrame(1.0, index=panel.dates, columns=panel.assets)
    result = simulate(panel, TargetWeights(weights), costs=WorstCase(), lag=0)

    assert result.ruined.tolist() == [True]
