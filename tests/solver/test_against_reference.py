"""The Newton method against CVXPY and Clarabel, which share nothing with it but the statement of the problem."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_problems import Case, cases, random_case

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit
from backtest.solver import (
    PositionSolver,
    Solution,
    clashing_constraints,
    constraint_violation,
    optimality_residual,
    reference_solve,
)
from backtest.solver.feasibility import endless_direction

KINDS = [{}, {"nasty": True}, {"flat": True}, {"nasty": True, "flat": True}]
BLOCKS = 100


def size_of_terms(case: Case, q) -> float:
    problem = case.problem
    return float(problem.cost(q).abs() + (problem.c * q).abs().sum())


def solve(case: Case) -> Solution:
    return case.solver.solve(case.p, case.held, tradable=case.tradable, on_failure="nan")


def assert_solved_or_refused_for_the_right_reason(case: Case, where: str) -> None:
    solution = solve(case)
    status = solution.status[0]
    if status == "solved":
        assert solution.residual[0] <= 1e-9, where
        return
    if status == "inaccurate":
        # Where constraints depend on each other and leave no asset free, rounding is magnified: flagged, and bounded.
        assert solution.residual[0] <= 1e-8, where
        return
    reference = reference_solve(case.problem)
    if status in ("infeasible", "unbounded"):
        # An interior-point method does not always find its certificate; it never finds a solution.
        assert reference.status[0] in ("infeasible", "unbounded", "failed"), where
        if reference.status[0] not in (status, "failed"):
            # Constraints that clash, and a direction without end beside them: either is a right answer.
            assert clashing_constraints(case.problem), where
            assert len(endless_direction(case.problem)), where
    else:
        assert reference.status[0] != "solved", f"{where}: {status}, which the reference solves"


# Every block is 50 problems of its own; the later ones look for what the first 100 did not meet.
@pytest.mark.parametrize("block", [0, 1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 10))])
def test_positions_agree_to_1e6_and_objectives_to_1e9_on_500_random_problems(block):
    compared, seed = 0, 1000 * block
    while compared < 50:
        case = random_case(seed)
        solution, reference = solve(case), reference_solve(case.problem)
        where = f"seed {seed}"
        seed += 1
        if solution.status[0] == "infeasible":
            assert reference.status[0] in ("infeasible", "failed"), where
            continue
        compared += 1
        assert solution.status[0] == "solved", where
        assert reference.status[0] == "solved", where
        q = solution.optimum.point.x
        assert solution.residual[0] <= 1e-9, where
        assert float(constraint_violation(case.problem, q)[0]) <= 1e-11, where
        np.testing.assert_allclose(solution.q, reference.q[0], rtol=0, atol=1e-6, err_msg=where)
        ours, theirs = float(case.problem.objective(q)), float(case.problem.objective(reference.q))
        assert abs(ours - theirs) <= 1e-9 * size_of_terms(case, reference.q) + 1e-16, where  # at q = 0 all is 0


@pytest.mark.parametrize("kind", KINDS[1:], ids=["nasty", "flat", "nasty and flat"])
def test_degenerate_problems_are_solved_or_refused_for_the_right_reason(kind):
    for seed in range(100_000, 100_060):
        assert_solved_or_refused_for_the_right_reason(random_case(seed, **kind), f"seed {seed}, {kind}")


@given(case=cases())
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_hypothesis_draws_is_solved_or_refused_for_the_right_reason(case):
    assert_solved_or_refused_for_the_right_reason(case, "drawn by hypothesis")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
def test_ten_thousand_random_problems_have_no_wrong_answer_and_no_failure(block):
    for seed in range(1_000_000 + 100 * block, 1_000_000 + 100 * (block + 1)):
        kind = KINDS[seed % len(KINDS)]
        assert_solved_or_refused_for_the_right_reason(random_case(seed, **kind), f"seed {seed}, {kind}")


def test_random_problems_contain_every_cost_and_constraint():
    kinds = set()
    for seed in range(400):
        solver = random_case(seed).solver
        kinds |= {re.sub(r"_\d+$", "", name) for name, _ in solver.costs.parts}
        kinds |= {type(constraint).__name__ for constraint in solver.constraints}

    assert kinds == {
        "factor_risk", "dense_risk", "relative_factor_risk", "relative_dense_risk", "ridge", "l1", "relative_l1",
        "soft_l1", "trading_cost", "relative_trading_cost", "borrow_fee", "long_fee", "holding_fee", "exposure",
        "soft_dollar_neutral", "soft_position_limit", "soft_leverage_limit", "soft_turnover_limit",
        "soft_group_limit", "soft_group_limits", "soft_factor_limit", "soft_linear_limit", "soft_trade_limit",
        "soft_long_only", "soft_cash_floor", "soft_position_bounds", "soft_risk_limit",
        "DollarNeutral", "FullyInvested", "CashFloor", "LongOnly", "PositionLimit", "PositionBounds", "TradeLimit",
        "NoTrade", "LeverageLimit", "TurnoverLimit", "GroupLimit", "FactorLimit", "LinearLimit", "RiskLimit",
        "GroupLimits",
    }  # fmt: skip


def test_the_residual_sees_a_position_that_is_off_by_a_millionth():
    rng = np.random.default_rng(0)
    costs = 5.0 * FactorRisk(loadings=rng.normal(size=(8, 2)) * 0.01, specific_variance=4e-4) + 1e-4 * L1()
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(0.3), LeverageLimit(1.0)])
    solution = solver.solve(rng.normal(size=(1, 8)) * 1e-3)
    moved = solution.optimum.point.x.clone()
    free = int(np.argmax(np.where(np.abs(solution.q[0]) < 0.29, np.abs(solution.q[0]), 0.0)))
    moved[0, free] += 1e-6

    assert float(optimality_residual(solution.problem, moved, solution.multipliers)[0]) > 1e-7
    assert solution.residual[0] < 1e-12
