"""Numbers at the ends of the range: limits that are never reached, powers near 1, costs that overflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    Cost,
    DollarNeutral,
    FactorRisk,
    LeverageLimit,
    LongOnly,
    PositionBounds,
    PositionLimit,
    Ridge,
    SeparableCost,
    SmoothCost,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
)
from backtest.solver import PositionSolver

N = 6
RNG = np.random.default_rng(0)
RISK = 5.0 * FactorRisk(loadings=RNG.normal(size=(N, 2)) * 0.01, specific_variance=4e-4)
P = RNG.normal(size=(3, N)) * 1e-3
LIMITS = [DollarNeutral(), LeverageLimit(0.8)]
FAR: dict[str, tuple[Cost, Cost]] = {
    "a soft position limit": (L1(1e-4) + Soft(PositionLimit(1e12), 1e-2), L1(1e-4)),
    "soft bounds": (Soft(PositionBounds(-1e12, 0.3), 1.0), Soft(PositionBounds(-np.inf, 0.3), 1.0)),
    "soft trade limits": (Soft(LongOnly(), 1.0) + Soft(TradeLimit(1e10), 1.0), Soft(LongOnly(), 1.0)),
    "a wide Huber penalty": (SoftL1(width=1e9, weight=1e-4), Ridge(1e-13)),
    "a soft limit beside impact": (
        TradingCost(impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0) + Soft(PositionLimit(1e12), 1e-2),
        TradingCost(impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0),
    ),
}


class Exponential(SeparableCost):
    def value(self, q, held, market):
        return 1e-3 * (torch.exp(q) - 1 - q)


class FirstExponential(SmoothCost):
    def value(self, q, held, market):
        return torch.exp(q[:, 0])


@pytest.mark.parametrize("name", FAR)
def test_a_break_that_is_never_reached_changes_nothing(name):
    with_it, without = FAR[name]
    far = PositionSolver(RISK + with_it, LIMITS).solve(P)

    assert far.residual.max() <= 1e-12
    np.testing.assert_allclose(far.q, PositionSolver(RISK + without, LIMITS).solve(P).q, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("exponent", "size"), [(1.01, 1.0), (1.05, 1e-14), (1.9, 1e-8), (1.05, 1e6)])
def test_impact_of_any_power_is_solved(exponent, size):
    impact = TradingCost(impact=1.0, exponent=exponent, volatility=1.0, dollar_volume=1.0, wealth=1.0)
    solution = PositionSolver(RISK + impact).solve(P * size)

    assert solution.status.tolist() == ["solved"] * 3
    assert solution.residual.max() <= 1e-9


def test_forecasts_whose_squares_overflow_are_not_solved_wrongly():
    solution = PositionSolver(RISK + L1(1e-4), [DollarNeutral()]).solve(P * 1e160, on_failure="nan")

    assert (solution.residual[solution.status == "solved"] <= 1e-9).all()
    assert np.isnan(solution.q[solution.status != "solved"]).all()


def test_a_cost_that_overflows_far_out_is_solved():
    solution = PositionSolver(Exponential()).solve(np.full((1, 3), 0.1))

    np.testing.assert_allclose(solution.q, np.log(101.0), rtol=1e-12)


def test_an_unbounded_row_beside_a_smooth_cost_is_named_and_spoils_no_other():
    costs = FirstExponential() + Ridge(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    p = np.array([[0.1, 0.1, 0.0], [0.1, 0.1, 0.0]])
    solution = PositionSolver(costs).solve(p, on_failure="nan")

    assert solution.status.tolist() == ["solved", "unbounded"]
    assert solution.q[0, 1] == pytest.approx(0.1)
    assert np.exp(solution.q[0, 0]) + solution.q[0, 0] == pytest.approx(0.1)
