"""Wealth rebuilt from weights, returns and costs alone (CASES 14)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.costs import BorrowFee, HoldingFee, TradingCost
from backtest.market import MarketPanel
from backtest.simulation import Policy, simulate


class Given(Policy):
    """Holds the forecast where there is one."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, p)


def rebuilt_wealth(panel, result, *, half_spread, borrow, holding):
    """Walk one book forward from its weights, in plain Python, with none of the simulator's code."""
    wealth, path = 1.0, [1.0]
    held = [0.0] * panel.n_assets
    for j, fill in enumerate(result.fill_dates):
        row = panel.row(fill)
        q = result.positions[0, j]
        assert np.allclose(result.held[0, j], held, rtol=1e-10, atol=1e-12)
        cost = sum(
            half_spread * abs(q[i] - held[i]) + borrow / 252 * max(-q[i], 0) + holding * abs(q[i])
            for i in range(panel.n_assets)
        )
        returns = [0.0 if np.isnan(r) else r for r in panel.returns[row + 1]]
        rate = 0.0 if panel.cash_rate is None else panel.cash_rate[row]
        cash = (1 - sum(q) - cost) * (1 + rate)
        values = [q[i] * (1 + returns[i]) for i in range(panel.n_assets)]
        growth = sum(values) + cash
        wealth *= growth
        path.append(wealth)
        held = [value / growth for value in values]
    return np.array(path)


@st.composite
def markets(draw):
    n_rows, n_assets = draw(st.integers(3, 12)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prices = 20 * np.exp(np.cumsum(rng.normal(0, draw(st.sampled_from([0.001, 0.05])), (n_rows, n_assets)), axis=0))
    prices[rng.random(prices.shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    panel = MarketPanel.from_prices(
        pd.DataFrame(
            prices,
            index=pd.date_range("2020-01-01", periods=n_rows),
            columns=[f"N{i}" for i in range(n_assets)],
        ),
        cash_rate=draw(st.sampled_from([None, 0.0, 0.0003])),
        periods_per_year=252,
    )
    weights = rng.normal(0, draw(st.sampled_from([0.1, 0.6])), (n_rows, n_assets))
    weights[rng.random(n_rows) < 0.2] = np.nan
    weights[0] = 0.3
    return panel, weights


@settings(max_examples=150, deadline=None)
@given(
    market=markets(),
    rates=st.tuples(*(st.floats(0, high) for high in (0.01, 0.2, 0.001))),
    lag=st.integers(0, 1),
)
def test_wealth_rebuilt_from_weights_returns_and_costs_alone_agrees_to_1e10(market, rates, lag):
    panel, weights = market
    half_spread, borrow, holding = rates
    costs = TradingCost(half_spread) + BorrowFee(borrow) + HoldingFee(holding)
    result = simulate(panel, Given(), weights, costs=costs, lag=lag, first_row=lag, last_row=panel.n_periods - 1)

    known = np.isfinite(result.wealth[0])
    path = rebuilt_wealth(panel, result, half_spread=half_spread, borrow=borrow, holding=holding)
    size = np.maximum(np.abs(path[known]), 1e-3)

    assert (np.abs(path[known] - result.wealth[0, known]) <= 1e-10 * size).all()
    assert known.all() or result.ruined[0]


@settings(max_examples=60, deadline=None)
@given(market=markets(), lag=st.integers(0, 1))
def test_net_is_gross_plus_interest_less_costs_and_compounds_to_wealth(market, lag):
    panel, weights = market
    costs = TradingCost(0.002) + BorrowFee(0.05)
    result = simulate(panel, Given(), weights, costs=costs, lag=lag, first_row=lag, last_row=panel.n_periods - 1)
    alive = np.isfinite(result.net[0])

    assert np.allclose(
        (result.gross + result.interest - sum(result.costs.values()))[0, alive],
        result.net[0, alive],
        atol=1e-15,
    )
    assert np.allclose(np.cumprod(1 + result.net[0, alive]), result.wealth[0, 1:][alive], rtol=1e-10, atol=1e-12)
