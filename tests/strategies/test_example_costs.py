"""The custom costs that people copy: they keep the contract, agree with CVXPY, and are charged by the simulator."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import torch

from backtest.contracts import check_cost
from backtest.costs import DollarNeutral, FactorRisk, PositionLimit
from backtest.errors import LabelError
from backtest.market import MarketPanel, MarketSnapshot
from backtest.simulation import TargetWeights, simulate
from backtest.solver import PositionSolver
from strategies.liquidity_impact import LiquidityImpact
from strategies.stamp_duty import StampDuty

NAMES = list("ABCDEFGH")
N = len(NAMES)
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {"volatility": RNG.uniform(0.01, 0.04, N), "volume": 10.0 ** RNG.uniform(6, 9, N)}, index=NAMES[::-1]
)
RATE = pd.Series([0.005] * (N - 2) + [0.0, 0.0], index=NAMES)
MARKET = MarketSnapshot(assets=pd.Index(NAMES))
COSTS = {
    "stamp duty": StampDuty(),
    "stamp duty with exempt names": StampDuty(RATE),
    "liquidity impact": LiquidityImpact(TABLE, wealth=1e8),
}
LOADINGS, SPECIFIC = RNG.normal(size=(N, 2)) * 0.02, RNG.uniform(2e-4, 9e-4, N)
P, HELD = RNG.normal(size=N) * 0.01, RNG.normal(size=N) * 0.2


def by_cvxpy(cost):
    """Return the positions (N,) with `cost`, risk, dollar neutrality and a limit, in hundredths of wealth."""
    u = cp.Variable(N)
    x = u / 100
    risk = cp.sum_squares(LOADINGS.T @ x) + cp.sum_squares(cp.multiply(np.sqrt(SPECIFIC), x))
    objective = 100 * (-P @ x + 2.5 * risk + cost.expression(x, HELD, MARKET))
    program = cp.Problem(cp.Minimize(objective), [cp.sum(u) == 0, cp.abs(u) <= 50])
    for tolerance in (1e-12, 1e-10, 1e-9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
            program.solve(solver=cp.CLARABEL, **tight, static_regularization_constant=1e-11)
        if program.status == "optimal":
            break
    assert program.status == "optimal"
    return u.value / 100


@pytest.mark.parametrize("name", COSTS)
def test_an_example_keeps_its_contract_and_has_one_kink_at_what_is_held(name):
    report = check_cost(COSTS[name], market=MARKET)

    assert [kink.where for kink in report.kinks] == ["held"]
    assert report.kinks[0].declared
    assert report.separable
    assert report.lowest >= 0
    assert report.findings == ()
    assert report.value_gap <= 1e-12
    assert report.position_gap <= 1e-5


@pytest.mark.parametrize("name", COSTS)
def test_positions_with_an_example_agree_with_cvxpy_to_1e6(name):
    costs = 5.0 * FactorRisk(loadings=LOADINGS, specific_variance=SPECIFIC) + COSTS[name]
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(0.5)])
    solution = solver.solve(P, HELD, market=MARKET)

    assert solution.residual.max() <= 1e-9
    np.testing.assert_allclose(solution.q, by_cvxpy(COSTS[name]), rtol=0, atol=1e-6)


def test_stamp_duty_is_half_a_percent_of_what_is_bought_and_nothing_of_what_is_sold():
    q, held = torch.tensor([[0.3, 0.1, -0.1]]), torch.tensor([[0.1, 0.3, -0.2]])

    torch.testing.assert_close(StampDuty().value(q, held, None), torch.tensor([[0.001, 0.0, 0.0005]]))


def test_liquidity_impact_is_worked_out_by_hand_and_by_label():
    """Trade 4% of 1e6 = 40,000 of a name that trades 1e6 a day at 2% volatility: 0.02 0.04^1.5."""
    table = pd.DataFrame({"volatility": [0.01, 0.02], "volume": [4e6, 1e6]}, index=["Y", "X"])
    market = MarketSnapshot(assets=pd.Index(["X", "Y"]))
    q, held = torch.tensor([[0.14, 0.04]], dtype=torch.float64), torch.tensor([[0.1, 0.0]], dtype=torch.float64)

    cost = LiquidityImpact(table, wealth=1e6).value(q, held, market)

    torch.testing.assert_close(cost, torch.tensor([[0.02 * 0.04**1.5, 0.01 * 0.04**1.5 / 2]], dtype=torch.float64))


def test_a_name_without_liquidity_is_named():
    with pytest.raises(LabelError, match=r"LiquidityImpact table: .*missing \['A'\]"):
        LiquidityImpact(TABLE.drop("A"), wealth=1e8).value(torch.zeros(1, N), torch.zeros(1, N), MARKET)


def test_the_simulator_charges_stamp_duty_on_purchases_alone():
    """Buy 0.5 A and sell 0.2 B short; then sell A and cover B, at prices that do not move."""
    dates = pd.date_range("2024-01-01", periods=4)
    panel = MarketPanel.from_prices(pd.DataFrame({"A": 10.0, "B": 20.0}, dates), periods_per_year=252)
    targets = pd.DataFrame([[0.5, -0.2], [0.1, 0.0]], dates[[0, 1]], ["A", "B"])
    result = simulate(panel, TargetWeights(targets), costs=StampDuty(), lag=0, first_row=0, last_row=2)

    after = 1 - 0.005 * 0.5
    covered = 0.2 / after
    assert result.wealth[0].tolist() == pytest.approx([1.0, after, after * (1 - 0.005 * covered)], abs=1e-14)


def test_the_simulator_charges_what_the_solver_minimises():
    dates = pd.date_range("2024-01-01", periods=3)
    panel = MarketPanel.from_prices(pd.DataFrame(10.0, dates, NAMES), periods_per_year=252)
    targets = pd.DataFrame([HELD], dates[[0]], NAMES)
    cost = LiquidityImpact(TABLE, wealth=1e8)
    result = simulate(panel, TargetWeights(targets), costs=cost, lag=0, first_row=0, last_row=1)
    problem = PositionSolver(cost).problem(torch.zeros(1, N), torch.zeros(1, N).double(), market=MARKET)

    charged = float(problem.cost(torch.as_tensor(HELD)[None])[0])
    assert result.wealth[0, 1] == pytest.approx(1 - charged, rel=1e-13)
