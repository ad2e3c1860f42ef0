"""The Newton method against CVXPY and Clarabel, which share nothing with it but the statement of the problem."""

from __future__ import annotations

import numpy as np
import pytest
from random_problems import Case, random_case

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit
from backtest.solver import PositionSolver, constraint_violation, optimality_residual, reference_solve


def size_of_terms(case: Case, q) -> float:
    problem = case.problem
    return float(problem.cost(q).abs() + (problem.c * q).abs().sum())


def solve(case: Case):
    return case.solver.solve(case.p, case.held, tradable=case.tradable, on_failure="nan")


@pytest.mark.parametrize("block", range(10))
def test_positions_agree_to_1e6_and_objectives_to_1e9_on_500_random_problems(block):
    compared, seed = 0, 1000 * block
    while compared < 50:
        case = random_case(seed)
        solution, reference = solve(case), reference_solve(case.problem)
        where = f"seed {seed}"
        seed += 1
        if solution.status[0] == "infeasible":
            assert reference.status[0] == "infeasible", where
            continue
        compared += 1
        assert solution.status[0] == "solved", where
        assert reference.status[0] in ("solved", "inaccurate"), where
        q = solution.optimum.point.x
        assert solution.residual[0] <= 1e-9, where
        assert float(constraint_violation(case.problem, q)[0]) <= 1e-12, where
        np.testing.assert_allclose(solution.q, reference.q[0], rtol=0, atol=1e-6, err_msg=where)
        ours, theirs = float(case.problem.objective(q)), float(case.problem.objective(reference.q))
        assert abs(ours - theirs) <= 1e-9 * size_of_terms(case, reference.q) + 1e-16, where  # at q = 0 all is 0


@pytest.mark.parametrize("kind", ["nasty", "flat"])
def test_degenerate_problems_are_solved_or_refused_for_the_right_reason(kind):
    for seed in range(100_000, 100_250):
        case = random_case(seed, nasty=True, flat=kind == "flat")
        solution = solve(case)
        where = f"seed {seed}"
        if solution.status[0] == "solved":
            assert solution.residual[0] <= 1e-9, where
        else:
            # An interior-point method does not always find its certificate; it never finds a solution.
            assert solution.status[0] in ("infeasible", "unbounded"), where
            assert reference_solve(case.problem).status[0] in (solution.status[0], "failed"), where


def test_random_problems_contain_every_cost_and_constraint():
    kinds = set()
    for seed in range(200):
        solver = random_case(seed).solver
        kinds |= {name.rsplit("_2")[0] for name, _ in solver.costs.parts}
        kinds |= {type(constraint).__name__ for constraint in solver.constraints}

    assert kinds == {
        "factor_risk", "ridge", "l1", "soft_l1", "trading_cost", "borrow_fee", "holding_fee", "exposure",
        "DollarNeutral", "FullyInvested", "LongOnly", "PositionLimit", "LeverageLimit", "TurnoverLimit", "GroupLimits",
    }  # fmt: skip


def test_the_residual_sees_a_position_that_is_off_by_a_millionth():
    rng = np.random.default_rng(0)
    costs = 5.0 * FactorRisk(loadings=rng.normal(size=(8, 2)) * 0.01, specific_variance=4e-4) + 1e-4 * L1()
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(0.3), LeverageLimit(1.0)])
    solution = solver.solve(rng.normal(size=(1, 8)) * 1e-3)
    moved = solution.optimum.point.x.clone()
    free = int(np.argmax(solution.optimum.point.flexibility[0].numpy()))
    moved[0, free] += 1e-6

    assert float(optimality_residual(solution.problem, moved, solution.multipliers)[0]) > 1e-7
    assert solution.residual[0] < 1e-12
