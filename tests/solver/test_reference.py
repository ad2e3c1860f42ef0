"""The slow reference and the residual that judges every solver, each against what is plainer still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_problems import random_case

from backtest.costs import (
    L1,
    CostTerms,
    Curve,
    DenseRisk,
    DollarNeutral,
    FactorRisk,
    LeverageLimit,
    PositionLimit,
    Ridge,
    RiskLimit,
    Soft,
    TradingCost,
    TurnoverLimit,
)
from backtest.costs.base import Cost
from backtest.costs.custom import SeparableCost
from backtest.errors import SolverError
from backtest.solver import Multipliers, PositionSolver, constraint_violation, optimality_residual, reference_solve
from backtest.solver.conic_program import conic_program
from backtest.solver.reference import run_clarabel

KINDS = [{}, {"nasty": True}, {"flat": True}, {"nasty": True, "flat": True}]


def problem_of(costs, limits=(), p=(1e-3, -2e-3, 5e-4), held=(0.1, 0.0, -0.2)):
    return PositionSolver(costs, limits).problem(
        torch.tensor([p], dtype=torch.float64), torch.tensor([held], dtype=torch.float64)
    )


@pytest.mark.parametrize("kind", KINDS, ids=["plain", "nasty", "flat", "nasty and flat"])
def test_the_reference_solves_every_piece_to_a_residual_of_1e9(kind):
    statuses = []
    for seed in range(200_000, 200_050):
        reference = reference_solve(random_case(seed, **kind).problem)
        statuses.append(reference.status[0])
        if statuses[-1] == "solved":
            assert reference.residual[0] <= 1e-9, f"seed {seed}"

    assert set(statuses) <= {"solved", "inaccurate", "infeasible", "unbounded"}
    assert statuses.count("inaccurate") <= 1  # at eight orders of magnitude between the risks of two names
    assert statuses.count("solved") >= 30


def test_no_mixture_with_other_feasible_weights_is_better_than_the_reference():
    rng = np.random.default_rng(1)
    solved = 0
    for seed in range(300_000, 300_020):
        problem = random_case(seed, largest=12).problem
        best = reference_solve(problem)
        if best.status[0] != "solved":
            continue
        solved += 1
        earned = torch.as_tensor(rng.normal(size=(3, problem.c.shape[1]))) * problem.c.abs().max()
        others = [reference_solve(replace(problem, c=problem.c + move)).q for move in earned.split(1)]
        shares = torch.as_tensor(rng.dirichlet(np.ones(4), size=100)) * torch.logspace(0, -4, 100)[:, None].double()
        mixed = best.q + shares[:, 1:] @ (torch.cat(others) - best.q)
        size = problem.cost(best.q).abs() + (problem.c * best.q).abs().sum()
        everywhere = torch.cat([problem.objective(point) for point in mixed.split(1)])

        assert float((problem.objective(best.q) - everywhere).max()) <= 1e-10 * float(size), f"seed {seed}"
    assert solved >= 12


def test_the_cone_program_counts_the_objective_that_the_problem_states():
    compared = 0
    for seed in range(400_000, 400_040):
        problem = random_case(seed, largest=12).problem
        conic = conic_program(problem)
        if run_clarabel(conic, 1e-11, 1e-10) != "optimal":
            continue
        q = torch.as_tensor(conic.weights())[None]
        # What does not depend on the weights is not in the program.
        stated = float(problem.objective(q) - problem.constant.sum())
        size = float(problem.cost(q).abs() + (problem.c * q).abs().sum()) + conic.price * conic.size

        assert conic.program.value * conic.price * conic.size == pytest.approx(stated, abs=1e-8 * size), f"seed {seed}"
        compared += 1

    assert compared >= 20


def test_a_cost_without_a_cvxpy_form_is_refused_with_the_method_to_write():
    class Plain(SeparableCost):
        def value(self, q, held, market):
            return q.square()

    with pytest.raises(SolverError, match=r"has no CVXPY form.*expression\(x, held, market\)"):
        reference_solve(problem_of(Plain()))


def test_a_users_curve_is_solved_by_the_expression_of_its_cost():
    class Square(SeparableCost):
        def value(self, q, held, market):
            return (q - held).square()

        def expression(self, x, held, market):
            return (x - held) ** 2

    reference = reference_solve(problem_of(0.5 * Square()))

    np.testing.assert_allclose(reference.q[0], [0.1 + 1e-3, -2e-3, -0.2 + 5e-4], atol=1e-12)


def test_a_curve_of_ones_own_is_solved_by_its_own_expression():
    class Fourth(Curve):
        def value(self, x):
            return x**4

        def slope(self, x):
            return 4 * x**3

        def curvature(self, x):
            return 12 * x**2

        def scaled(self, weight):
            raise NotImplementedError

        def shifted(self, by):
            raise NotImplementedError

        def rows(self, index):
            return self

        def expression(self, x):
            return x**4

    class FourthCost(Cost):
        def value(self, q, held, market):
            return q**4

        def terms(self, held, market):
            return CostTerms(curves=(Fourth(),))

    reference = reference_solve(problem_of(FourthCost()))

    np.testing.assert_allclose(reference.q[0], np.cbrt(np.array([1e-3, -2e-3, 5e-4]) / 4), rtol=1e-8)


def test_multipliers_are_split_in_the_order_of_the_dual():
    limits = [DollarNeutral(), LeverageLimit(1.0), RiskLimit(DenseRisk(np.eye(3)), volatility=0.1)]
    costs = FactorRisk(loadings=np.ones((3, 2)), specific_variance=1.0) + Soft(TurnoverLimit(0.1), 1.0)
    problem = problem_of(costs, limits)
    multipliers = Multipliers.of(problem, torch.arange(5.0)[None])

    assert multipliers.equality.tolist() == [[2.0]]
    assert multipliers.inequality.shape == (1, 0)
    assert multipliers.leverage.tolist() == [[3.0]]
    assert multipliers.turnover.tolist() == [[4.0]]
    assert multipliers.quadratic.tolist() == [[0.0]]
    assert Multipliers.of(problem, torch.zeros(1, 5), torch.ones(1, 1)).quadratic.tolist() == [[1.0]]


def test_a_violation_is_the_weight_that_must_be_moved():
    x = torch.tensor([[0.4, 0.0, 0.0]], dtype=torch.float64)
    for limit, expected in (
        (PositionLimit(0.3), 0.1),
        (LeverageLimit(0.3), 0.1),
        (TurnoverLimit(0.4), 0.1),
        (DollarNeutral(), 0.4),
        (RiskLimit(DenseRisk(np.eye(3)), volatility=0.4 * (1 - 1e-6)), 0.4e-6),
        (RiskLimit(DenseRisk(np.eye(3)), volatility=0.4), 0.0),
    ):
        violation = float(constraint_violation(problem_of(Ridge(), [limit]), x)[0])

        assert violation == pytest.approx(expected, rel=1e-5, abs=1e-15), limit


def test_a_soft_limit_is_not_broken_and_asks_a_multiplier_of_weight_times_violation():
    problem = problem_of(Ridge(1.0) + Soft(LeverageLimit(0.0), 10.0), held=(0.0, 0.0, 0.0), p=(0.1, 0.0, 0.0))
    x = torch.tensor([[0.1 / 11, 0.0, 0.0]], dtype=torch.float64)
    none = torch.zeros(1, 0, dtype=torch.float64)
    right = Multipliers(none, none, x[:, :1] * 10, none, none)
    wrong = replace(right, leverage=right.leverage * 1.001)

    assert float(constraint_violation(problem, x)[0]) == 0
    assert float(optimality_residual(problem, x, right)[0]) < 1e-14
    assert float(optimality_residual(problem, x, wrong)[0]) > 1e-5


def test_the_residual_of_a_flat_cost_sees_a_position_away_from_its_kink():
    problem = problem_of(L1(1.0), [PositionLimit(1.0)], held=(0.0, 0.0, 0.0))
    none = torch.zeros(1, 0, dtype=torch.float64)
    multipliers = Multipliers(none, none, none, none, none)

    assert float(optimality_residual(problem, torch.zeros(1, 3).double(), multipliers)[0]) == 0
    assert float(optimality_residual(problem, torch.full((1, 3), 1e-6).double(), multipliers)[0]) > 0.9


def test_what_is_not_a_number_has_no_residual():
    problem = problem_of(Ridge(1.0))
    none = torch.zeros(1, 0, dtype=torch.float64)
    residual = optimality_residual(problem, torch.full((1, 3), torch.nan).double(), Multipliers(*[none] * 5))

    assert bool(residual.isnan().all())


def test_an_impact_holds_a_weight_at_its_centre_like_a_kink():
    impact = TradingCost(impact=1.0, exponent=1.5, volatility=0.02, dollar_volume=1e6, wealth=1e6)
    problem = problem_of(Ridge(1.0) + impact, held=(0.1, 0.1, 0.1), p=(0.1, 0.1 + 1e-9, 0.2))
    reference = reference_solve(problem)
    trade = reference.q[0] - 0.1

    assert reference.residual[0] <= 1e-9
    assert float(trade[0].abs()) < 1e-12
    assert float(trade[2] + 0.03 * trade[2].sqrt()) == pytest.approx(0.1, rel=1e-10)
