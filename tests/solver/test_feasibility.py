"""Constraints that clash and positions that nothing bounds, each the smallest of its kind with its right answer."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    CashFloor,
    Constraint,
    DenseRisk,
    DollarNeutral,
    Exposure,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    NoTrade,
    PositionLimit,
    RiskLimit,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.solver import PositionSolver, clashing_constraints, reference_solve
from backtest.solver.feasibility import endless_direction, is_feasible

SPREAD = Exposure(loadings=np.array([[1.0], [1.0], [0.0]]))
"""Costs nothing along (1, -1, 0), and nothing in the third asset."""

EVEN = FactorRisk(loadings=np.zeros((3, 0)), specific_variance=4e-4)


def problem_of(costs, limits=(), *, p=(2.0, 0.0, 0.0), held=(0.0, 0.0, 0.0)):
    p, held = (torch.tensor([part], dtype=torch.float64) for part in (p, held))
    return PositionSolver(costs, limits).problem(p, held)


def clashing(problem) -> tuple[str, ...]:
    """The names of the clash, without the numbers in them."""
    return tuple(re.sub(r"\(.*?\)", "", name) for name in clashing_constraints(problem))


CLASHES: list[tuple[list[Constraint], tuple[str, ...]]] = [
    ([FullyInvested(), RiskLimit(EVEN, volatility=0.0115)], ("FullyInvested", "RiskLimit")),
    ([LongOnly(), FullyInvested(), RiskLimit(EVEN, volatility=0.0116)], ()),  # the least possible is 0.01155
    (
        [RiskLimit(EVEN, volatility=0.01), LeverageLimit(3.0), NoTrade(np.array([True, False, False]))],
        ("RiskLimit", "NoTrade"),
    ),
    (
        [RiskLimit(EVEN, volatility=0.01, benchmark=np.array([1.0, 0, 0])), RiskLimit(EVEN, volatility=0.005)],
        ("RiskLimit", "RiskLimit"),
    ),
    ([RiskLimit(EVEN, volatility=0.01, benchmark=np.array([1.0, 0, 0])), RiskLimit(EVEN, volatility=0.0101)], ()),
    ([CashFloor(0.5), FactorLimit(np.ones((3, 1)), lower=0.6)], ("CashFloor", "FactorLimit")),
    ([TradeLimit(0.1), DollarNeutral()], ("TradeLimit", "DollarNeutral")),
]


@pytest.mark.parametrize(("limits", "clash"), CLASHES)
def test_limits_that_clash_are_the_smallest_set_of_them(limits, clash):
    problem = problem_of(EVEN, limits, held=(0.9, 0.0, 0.0))

    assert clashing(problem) == clash
    assert is_feasible(problem) == (not clash)


def test_a_soft_limit_never_clashes():
    assert is_feasible(problem_of(EVEN + Soft(LeverageLimit(0.0), 1.0), [FullyInvested()]))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_clash_with_a_risk_limit_does_not_depend_on_the_unit_of_weights(scale):
    limits = [PositionLimit(scale), RiskLimit(EVEN, volatility=0.01 * scale), NoTrade(np.array([True, False, False]))]

    assert clashing(problem_of(EVEN, limits, held=(0.4 * scale, 0.0, 0.0))) == ()
    assert clashing(problem_of(EVEN, limits, held=(0.6 * scale, 0.0, 0.0))) == ("RiskLimit", "NoTrade")


class Quartic(SmoothCost):
    """The fourth power of the net position of the first two."""

    def value(self, q, held, market):
        return (q[:, 0] - q[:, 1]) ** 4


class SlowGrowth(SmoothCost):
    """Along (1, -1) it costs at most `rate` a unit."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def value(self, q, held, market):
        return self.rate / 2 * (torch.sqrt((q[:, 0] - q[:, 1]) ** 2 + 1) - 1)


class Steep(SeparableCost):
    def value(self, q, held, market):
        return 1e-3 * q.square()


IMPACT = TradingCost(impact=1.0, exponent=1.5, volatility=0.01, dollar_volume=1e8, wealth=1e6)


@pytest.mark.parametrize(
    ("costs", "limits", "assets"),
    [
        (SPREAD, [], [0, 1]),
        (SPREAD + L1(0.9), [], [0, 1]),
        (SPREAD + L1(1.1), [], []),
        (SPREAD + IMPACT, [], []),
        (SPREAD + SoftL1(0.01, 0.9, form="root"), [], [0, 1]),
        (SPREAD + SoftL1(0.01, 1.1, form="root"), [], []),
        (SPREAD + TradingCost(quadratic=np.array([0.0, 0.0, 1.0])), [], [0, 1]),
        (SPREAD + Soft(PositionLimit(0.1), 1e-6), [], []),
        (SPREAD + Soft(LeverageLimit(0.1), 1e-6), [], []),
        (SPREAD + Soft(TurnoverLimit(0.1), 1e-6), [], []),
        (SPREAD + Soft(CashFloor(), 1.0) + L1(np.array([0.0, 0.0, 1.0])), [], [0, 1]),
        (SPREAD + Soft(FactorLimit(np.array([[1.0], [0.0], [0.0]]), upper=0.1), 1e-6), [], []),
        (SPREAD, [LeverageLimit(100.0)], []),
        (SPREAD, [RiskLimit(EVEN, volatility=1.0)], []),
        (SPREAD, [RiskLimit(SPREAD, volatility=1.0)], [0, 1]),
        (SPREAD, [RiskLimit(DenseRisk(np.diag([0.0, 1.0, 0.0])), volatility=1.0)], []),
        (SPREAD + Quartic(), [], []),
        (SPREAD + SlowGrowth(1.9), [], [0, 1]),
        (SPREAD + SlowGrowth(2.1), [], []),
        (SPREAD + Steep(), [], []),
        (SPREAD + Soft(RiskLimit(EVEN, volatility=0.1), 1.0), [], []),
    ],
)
def test_a_direction_is_endless_where_no_cost_and_no_limit_stops_it(costs, limits, assets):
    assert endless_direction(problem_of(costs, limits)).tolist() == assets


def test_loadings_that_differ_by_rounding_alone_bound_nothing_for_either_solver():
    """Their cost stops positions at 1e14 times wealth, which is an optimum on paper."""
    loadings = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9], [0.5, 0.5]]) * 0.1
    costs = 5.0 * FactorRisk(loadings=loadings, specific_variance=0.0) + 1e-4 * L1()
    solver = PositionSolver(costs)
    p = torch.tensor([[0.02, -0.02, 0.0]], dtype=torch.float64)

    assert solver.solve(p, on_failure="nan").status[0] == "unbounded"
    assert reference_solve(solver.problem(p, torch.zeros_like(p))).status[0] == "unbounded"
