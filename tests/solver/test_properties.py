"""Properties that hold for every problem."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import random_case

from backtest.costs import SumOfCosts
from backtest.solver import constraint_violation
from backtest.solver.compiled import maximise_dual_compiled
from backtest.solver.dual import Dual
from backtest.solver.newton import maximise_dual

seeds = st.integers(0, 2**31)
modest = settings(deadline=None, max_examples=60, derandomize=True)


def solve(case, **changes):
    changed = replace(case, **changes)
    return changed.solver.solve(changed.p, changed.held, tradable=changed.tradable, on_failure="nan")


@modest
@given(seeds, st.booleans())
def test_a_solved_row_is_optimal_and_breaks_no_limit(seed, flat):
    case = random_case(seed, nasty=True, flat=flat)
    solution = solve(case)
    if solution.status[0] == "solved":
        assert solution.residual[0] <= 1e-9
        bound = max(1.0, float(solution.optimum.point.x.abs().max()))
        assert float(constraint_violation(case.problem, solution.optimum.point.x)[0]) <= 1e-10 * bound
    else:
        assert solution.status[0] in ("infeasible", "unbounded")


@modest
@given(seeds)
def test_costs_and_forecasts_in_another_unit_give_the_same_positions(seed):
    case = random_case(seed)
    scaled = replace(case.solver, costs=1e4 * case.solver.costs)
    one, other = solve(case), solve(case, solver=scaled, p=1e4 * case.p)

    assert one.status[0] == other.status[0]
    if one.status[0] == "solved":
        np.testing.assert_allclose(other.q, one.q, atol=1e-10)


@modest
@given(seeds)
def test_positions_rise_with_their_own_forecast_and_earn_more(seed):
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    change = rng.normal(size=len(case.p)) * 1e-3
    one, other = solve(case), solve(case, p=case.p + change)
    if one.status[0] == "solved":
        assert float(change @ (other.q - one.q)) >= -1e-15


@modest
@given(seeds)
def test_the_two_halves_of_a_cost_sum_to_it(seed):
    case = random_case(seed)
    halves = SumOfCosts(tuple(0.5 * cost for _, cost in case.solver.costs.parts) * 2)
    one, other = solve(case), solve(case, solver=replace(case.solver, costs=halves))

    if one.status[0] == "solved":
        np.testing.assert_allclose(other.q, one.q, atol=1e-10)


@modest
@given(seeds)
def test_the_solution_map_is_linear_symmetric_and_positive(seed):
    solution = solve(random_case(seed))
    if solution.status[0] != "solved":
        return
    rng = np.random.default_rng(seed)
    a, b = (torch.as_tensor(rng.normal(size=(1, solution.q.size))) for _ in range(2))
    j = solution.solution_map
    size = float(j.flexibility.max()) + 1e-300

    torch.testing.assert_close(j(2 * a - 3 * b), 2 * j(a) - 3 * j(b), rtol=0, atol=1e-10 * size)
    assert float((a * j(b)).sum() - (b * j(a)).sum()) == pytest.approx(0, abs=1e-10 * size)
    assert float((a * j(a)).sum()) >= -1e-10 * size


@settings(modest, max_examples=8)
@given(seeds)
def test_the_batched_and_the_compiled_method_agree(seed):
    case = random_case(seed, nasty=True)
    compiled = solve(case)
    with (
        patch("backtest.solver.optimise.maximise", maximise_dual),
        patch("backtest.solver.proximal.maximise", maximise_dual),
    ):
        batched = solve(case)

    assert batched.status[0] == compiled.status[0]
    if compiled.status[0] == "solved":
        assert batched.residual[0] <= 1e-9


def test_both_methods_solve_a_batch_of_rows_that_end_at_different_steps():
    case = random_case(5, largest=30)
    rng = np.random.default_rng(0)
    n = len(case.p)
    p = torch.as_tensor(case.p * 10.0 ** rng.uniform(-2, 1, size=(20, 1)))
    problem = case.solver.problem(p, torch.as_tensor(rng.normal(size=(20, n)) / n))
    dual = Dual.of(problem, problem.diagonal)
    batched, compiled = maximise_dual(dual), maximise_dual_compiled(dual)

    assert len(set(compiled.iterations.tolist())) > 1
    torch.testing.assert_close(batched.x, compiled.x, rtol=0, atol=1e-12)
