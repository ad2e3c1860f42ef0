"""Reasons of trades: what is left of a forecast is nothing at an optimum, and what stops a trade is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.analysis.trade_reasons import trade_reasons
from backtest.costs import DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, Ridge, SeparableCost, TradingCost
from backtest.market import MarketPanel
from backtest.simulation import Execution, SolverPolicy, orders_of_day
from backtest.solver import PositionSolver

ROWS, NAMES = 60, 5
FORECAST = np.array([2e-3, -1e-3, 5e-6, np.nan, 4e-4])


class StampDuty(SeparableCost):
    cash = True
    paid_per_trade = True

    def value(self, q, held, market):
        return 1e-4 * (q - held).clamp(min=0)


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(2)
    prices = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (ROWS, NAMES)), axis=0))
    frame = pd.DataFrame(prices, index=pd.bdate_range("2022-01-03", periods=ROWS), columns=list("ABCDE"))
    return MarketPanel.from_prices(frame, periods_per_year=252)


def reasons_of(panel, *constraints, whole=False, columns=None, risk=FactorRisk(n_factors=1, lookback=40)):
    costs = 5.0 * risk + TradingCost(half_spread=2e-4) + StampDuty()
    solver = PositionSolver(costs, constraints, holding_periods=4.0).estimate(panel)
    orders = orders_of_day(
        panel,
        SolverPolicy(solver),
        FORECAST,
        costs=solver.costs,
        shares=pd.Series({"D": 100.0}),
        wealth=1e6,
        execution=Execution(whole_shares=whole),
    )
    return orders, solver, trade_reasons(orders, solver, columns=columns).table.set_index("symbol")


def test_without_limits_nothing_is_left_of_the_forecast_of_what_is_traded(panel):
    orders, solver, table = reasons_of(panel)

    assert list(table.index) == list(orders.assets[orders.traded])
    np.testing.assert_allclose(table["left"], 0, atol=1e-2)
    taken = table[["factor_risk", "trading_cost", "stamp_duty"]].sum(axis=1)
    np.testing.assert_allclose(table["forecast"] - taken, table["left"], atol=1e-12)
    # Four holding periods share what is paid once; only purchases pay the duty.
    np.testing.assert_allclose(table["trading_cost"], 2.0 / 4, rtol=1e-5)
    np.testing.assert_allclose(table["stamp_duty"], np.where(table["direction"] == "buy", 1 / 4, 0), atol=1e-6)
    # Against the derivative of the risk itself.
    q = torch.from_numpy(orders.q[None]).requires_grad_()
    risk = dict(solver.costs.parts)["factor_risk"]
    (slope,) = torch.autograd.grad(risk.value(q, torch.zeros_like(q), orders.market).sum(), q)
    sign = np.where(table["direction"] == "buy", 1, -1)
    expected = sign * slope[0].numpy()[orders.assets.get_indexer(table.index)] * 1e4
    np.testing.assert_allclose(table["factor_risk"], expected, rtol=1e-2, atol=1e-3)


def test_a_limit_that_stops_a_trade_is_named(panel):
    _, _, table = reasons_of(panel, PositionLimit(0.05))
    assert table.loc["A", "why"].startswith("PositionLimit(0.05) stops it: a little more is worth")
    assert table.loc["A", "left"] > 1

    _, _, table = reasons_of(panel, LeverageLimit(0.1))
    assert "LeverageLimit(0.1) stops it" in table.loc["A", "why"]

    _, _, table = reasons_of(panel, DollarNeutral())
    assert table.loc["A", "why"].startswith("DollarNeutral stops it")
    # Sold to pay for what is bought, further than its own forecast is worth.
    assert table.loc["B", "why"].startswith("DollarNeutral asks for it: by itself the last of it loses 2.91 bp")


def test_what_is_not_traded_is_explained_too(panel):
    orders, _, table = reasons_of(panel, columns=[2, 3], risk=Ridge(1e-3))

    assert not orders.bought[[2, 3]].any()
    assert table.loc["C", "why"].startswith("not bought: a little more: forecast 0.05, risk and costs")
    assert table.loc["D", "why"] == "no forecast: what is held is kept"


def test_whole_shares_are_explained_by_the_next_share(panel):
    _, _, table = reasons_of(panel, whole=True)

    assert all(why.startswith(("the next share: forecast", "whole shares:")) for why in table["why"])
    assert table.loc["A", "why"].startswith("the next share: forecast 20.00, risk and costs 20.0")

    _, _, table = reasons_of(panel, DollarNeutral(), whole=True)
    # However the rounding of all names together happens to lie.
    assert all("DollarNeutral" in why for why in table["why"])
