"""Costs given as CVXPY expressions: solved by the cone solver, with derivatives of its optimality system."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cvxpy as cp
import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    DollarNeutral,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    RelativeTo,
    Ridge,
    RiskLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.costs.cvxpy_cost import CvxpyCost
from backtest.errors import CostError, SolverError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver, reference_solve
from backtest.solver.conic import needs_cone_solver, solve_conic

RNG = np.random.default_rng(3)
N = 8
SCENARIOS = RNG.normal(size=(5, N)) * 0.02
LOADINGS = RNG.normal(size=(N, 3)) * 0.01
RISK = FactorRisk(loadings=LOADINGS, specific_variance=4e-4)
P = torch.as_tensor(RNG.normal(size=(3, N)) * 1e-3)
HELD = torch.as_tensor(RNG.normal(size=(3, N)) / N)


class WorstOfFive(CvxpyCost):
    """The largest loss over five scenarios."""

    def expression(self, x, held, market):
        return 0.05 * cp.max(-SCENARIOS @ x)


class Distance(CvxpyCost):
    """The length of the trade."""

    cash = True

    def expression(self, x, held, market):
        return 1e-3 * cp.norm(x - held)


class Quadratic(CvxpyCost):
    """The risk of a covariance."""

    def expression(self, x, held, market):
        return 2.5 * cp.sum_squares(LOADINGS.T @ x) + 2.5 * cp.sum_squares(0.02 * x)


class SquaredSum(CvxpyCost):
    """Costs nothing along weights that sum to 0."""

    def expression(self, x, held, market):
        return cp.square(cp.sum(x))


class NotConvex(CvxpyCost):
    def expression(self, x, held, market):
        return cp.sqrt(cp.sum(x))


class ByAsset(CvxpyCost):
    def expression(self, x, held, market):
        return cp.abs(x)


class Entropy(CvxpyCost):
    def expression(self, x, held, market):
        return -1e-3 * cp.sum(cp.entr(x))


class OfTheMarket(CvxpyCost):
    """A penalty whose weight is the wealth of the row."""

    def expression(self, x, held, market):
        return float(market.wealth[0]) * cp.sum_squares(x)


LIMITS = {
    "nothing": [],
    "linear limits": [DollarNeutral(), LeverageLimit(0.8), PositionLimit(0.2)],
    "cones": [RiskLimit(RISK, volatility=0.004), TurnoverLimit(0.7)],
}
COSTS = {
    "a worst case": 5.0 * RISK + WorstOfFive(),
    "a norm": 5.0 * RISK + 0.2 * Distance() + TradingCost(half_spread=2e-5),
    "a quadratic": Quadratic() + 1e-4 * L1(),
}


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_an_expression_is_solved_with_a_derivative_that_finite_differences_confirm(costs, limits):
    solver = PositionSolver(costs, limits)
    solution = solve_conic(solver.problem(P, HELD))
    jacobian = solution.solution_map.dense()
    step = 1e-7
    difference = torch.zeros_like(jacobian)
    for asset in range(N):
        moved = torch.zeros_like(P)
        moved[:, asset] = step
        ends = [solve_conic(solver.problem(P + sign * moved, HELD)).x for sign in (1, -1)]
        difference[:, :, asset] = (ends[0] - ends[1]) / (2 * step)

    assert solution.statuses.tolist() == [0, 0, 0]
    assert float(solution.residual.max()) <= 1e-11
    assert float(difference.abs().max()) > 1
    assert float((jacobian - difference).abs().max()) <= 1e-6 * float(difference.abs().max())
    assert float((jacobian - jacobian.mT).abs().max()) == 0
    assert float(torch.linalg.eigvalsh(jacobian).min()) >= -1e-6


def test_a_quadratic_expression_is_solved_like_the_risk_it_spells_out():
    limits = [DollarNeutral(), LeverageLimit(0.8)]
    ours = solve_conic(PositionSolver(Quadratic(), limits).problem(P, HELD))
    exact = reference_solve(PositionSolver(5.0 * RISK, limits).problem(P, HELD))

    np.testing.assert_allclose(ours.x, exact.q, atol=1e-10)
    for name in ("equality", "leverage"):
        np.testing.assert_allclose(getattr(ours.multipliers, name), getattr(exact.multipliers, name), atol=1e-12)


def test_a_worst_case_is_solved_like_the_linear_program_that_it_is():
    solution = solve_conic(PositionSolver(WorstOfFive() + L1(2e-3), [PositionLimit(0.1)]).problem(P, HELD))
    from scipy.optimize import linprog

    for row in range(3):
        cost = np.concatenate([2e-3 - P[row], 2e-3 + P[row], [0.05, -0.05]])
        rows = np.hstack([-SCENARIOS, SCENARIOS, -np.ones((5, 1)), np.ones((5, 1))])
        program = linprog(cost, A_ub=rows, b_ub=np.zeros(5), bounds=[(0, 0.1)] * (2 * N) + [(0, None)] * 2)

        np.testing.assert_allclose(solution.x[row], program.x[:N] - program.x[N : 2 * N], atol=1e-9)


def test_the_map_is_the_matrix_and_is_silent_where_it_is_told():
    solution = solve_conic(PositionSolver(5.0 * RISK + WorstOfFive()).problem(P, HELD))
    jacobian = solution.solution_map.dense()
    silenced = solution.solution_map.silenced(torch.tensor([False, True, False]))(P)

    torch.testing.assert_close(solution.solution_map(P), (jacobian @ P.unsqueeze(-1)).squeeze(-1))
    assert bool((silenced[1] == 0).all())
    torch.testing.assert_close(silenced[[0, 2]], solution.solution_map(P)[[0, 2]])


def test_a_row_without_a_solution_is_named_and_leaves_the_others_alone():
    held = HELD.clone()
    held[1] = 5.0  # a turnover limit of 1 cannot bring this back to the position limits
    limits = [PositionLimit(0.2), TurnoverLimit(1.5)]
    solver = PositionSolver(5.0 * RISK + WorstOfFive(), limits)
    solution = solve_conic(solver.problem(P, held))
    alone = solve_conic(solver.problem(P[2:], held[2:]))

    assert solution.statuses.tolist() == [0, 2, 0]
    assert bool(solution.x[1].isnan().all())
    assert bool((solution.solution_map(P)[1] == 0).all())
    torch.testing.assert_close(solution.x[2:], alone.x, rtol=0, atol=1e-12)


def test_nothing_that_bounds_the_positions_is_unbounded():
    solution = solve_conic(PositionSolver(WorstOfFive()).problem(torch.ones(1, N).double(), HELD[:1]))

    assert solution.statuses.tolist() == [3]


def test_positions_that_are_no_function_of_the_forecast_have_no_derivative_and_say_so():
    solution = solve_conic(PositionSolver(SquaredSum()).problem(torch.ones(1, N).double(), HELD[:1]))

    assert solution.statuses.tolist() == [0]
    with pytest.raises(SolverError, match="row 0: the positions are not a function of the forecast"):
        solution.solution_map(torch.ones(1, N).double())


def test_an_entropy_is_solved_but_its_derivative_is_refused():
    solver = PositionSolver(5.0 * RISK + Entropy(), [LongOnly(), FullyInvested()])
    solution = solve_conic(solver.problem(P[:1], HELD[:1]))
    x = solution.x[0].numpy()
    slope = P[0].numpy() - 5 * (LOADINGS @ (LOADINGS.T @ x) + 4e-4 * x) - 1e-3 * (np.log(x) + 1)

    assert solution.statuses.tolist() in ([0], [1])
    np.testing.assert_allclose(slope, slope.mean(), atol=1e-8)
    with pytest.raises(SolverError, match="exponential, power or semidefinite cones"):
        solution.solution_map(P[:1])


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (
            NotConvex(),
            r"NotConvex.expression is not convex by the rules of .* \(DCP\): .*Sum\(x, None, False\)",
        ),
        (ByAsset(), r"ByAsset.expression has shape \(8,\): return the cost of the row, as cp.sum"),
    ],
)
def test_an_expression_that_breaks_the_rules_is_refused_with_what_it_is(cost, message):
    with pytest.raises(CostError, match=message):
        solve_conic(PositionSolver(Ridge() + cost).problem(P, HELD))
    with pytest.raises(CostError, match=message):
        cost.value(P, HELD, None)


def test_the_value_is_that_of_the_expression_with_its_slope():
    q = (HELD + 0.1).requires_grad_()
    value = Distance().value(q, HELD, None)
    value.sum().backward()
    length = torch.linalg.norm(q.detach() - HELD, dim=1)

    assert value.shape == (3, N)
    torch.testing.assert_close(value.detach().sum(1), 1e-3 * length)
    torch.testing.assert_close(q.grad, 1e-3 * (q.detach() - HELD) / length.unsqueeze(1))
    with pytest.raises(CostError, match="no derivative in the weights held"):
        Distance().value(q, HELD.clone().requires_grad_(), None)


def test_an_expression_is_scaled_moved_and_picked_by_row_like_any_cost():
    weights = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    benchmark = torch.as_tensor(RNG.normal(size=(3, N)) / N)
    costs = weights * RelativeTo(Distance(), benchmark)
    solver = PositionSolver(costs)
    problem = solver.problem(P, HELD)
    picked = problem.rows(torch.tensor([2, 0]))
    function = problem.smooth[0]

    expected = costs.value(P, HELD, None).sum(1)
    torch.testing.assert_close(problem.cost(P), expected)
    torch.testing.assert_close(picked.cost(P[[2, 0]]), expected[[2, 0]])
    torch.testing.assert_close(
        function.subgradient(P), weights * 1e-3 * torch.nn.functional.normalize(P - HELD, dim=1), rtol=1e-10, atol=0
    )
    with pytest.raises(SolverError, match="solve_conic"):
        function.gradient(P)


def test_an_expression_sees_the_market_of_its_own_row():
    market = MarketSnapshot(wealth=np.array([1.0, 2.0, 4.0]))
    problem = PositionSolver(OfTheMarket()).problem(P, HELD, market=market)
    solution = solve_conic(problem)

    torch.testing.assert_close(solution.x, P / torch.tensor([[2.0], [4.0], [8.0]]), rtol=1e-9, atol=1e-14)


def test_only_a_problem_with_an_expression_needs_the_cone_solver():
    assert needs_cone_solver(PositionSolver(RISK + Distance()).problem(P, HELD))
    assert not needs_cone_solver(PositionSolver(RISK + L1()).problem(P, HELD))


def test_the_reference_solves_an_expression_with_its_residual():
    reference = reference_solve(PositionSolver(5.0 * RISK + WorstOfFive()).problem(P, HELD))

    assert set(reference.status) == {"solved"}
    assert (reference.residual <= 1e-11).all()


def test_a_solution_is_pickled_and_copied():
    solution = solve_conic(PositionSolver(5.0 * RISK + WorstOfFive()).problem(P, HELD))
    expected = solution.solution_map(P)

    for again in (pickle.loads(pickle.dumps(solution)), copy.deepcopy(solution)):
        torch.testing.assert_close(again.solution_map(P), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_cvxpy_is_not_loaded_before_it_is_used():
    code = "import sys, backtest; from backtest.costs.cvxpy_cost import CvxpyCost; sys.exit('cvxpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
