"""What holds for every cost: its value by formula, the solver's view of it, convexity, labels, derivatives."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from cost_cases import ASSETS, CASES, HELD, MARKET, NUMBERS, B, N, problem_of
from hypothesis import given
from hypothesis import strategies as st

from backtest.costs import L1, FactorRisk, Ridge, SoftL1, TradingCost

RNG = np.random.default_rng(3)
POINTS = [torch.as_tensor(RNG.normal(size=(B, N)) * size) for size in (0.01, 0.2, 0.2, 3.0)]


def by_row(values: torch.Tensor) -> np.ndarray:
    return values.sum(-1).numpy()


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_the_formula(name):
    case = CASES[name]

    for q in POINTS:
        value = case.of_numbers().value(q, HELD, MARKET)

        assert value.shape == (B, N)
        np.testing.assert_allclose(
            by_row(value), case.formula(q.numpy(), HELD.numpy(), NUMBERS), rtol=1e-12, atol=1e-15
        )


@pytest.mark.parametrize("name", CASES)
def test_the_values_by_asset_sum_to_what_the_solver_minimises(name):
    cost = CASES[name].of_numbers()
    problem = problem_of(cost)

    for q in POINTS:
        size = 1 + float(problem.constant.abs().sum())
        np.testing.assert_allclose(problem.cost(q), by_row(cost.value(q, HELD, MARKET)), rtol=1e-12, atol=1e-15 * size)


@pytest.mark.parametrize("name", CASES)
def test_a_row_of_a_batch_is_the_problem_of_that_row(name):
    problem = problem_of(CASES[name].of_numbers())

    for row in range(B):
        alone = problem.rows(torch.tensor([row])).cost(POINTS[1][row : row + 1])
        torch.testing.assert_close(alone, problem.cost(POINTS[1])[row : row + 1], rtol=1e-14, atol=1e-16)


@given(st.sampled_from(sorted(CASES)), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(-3, 1))
def test_every_cost_is_convex_and_not_negative(name, seed, share, power):
    rng, cost = np.random.default_rng(seed), CASES[name].of_numbers()
    one, other = (torch.as_tensor(rng.normal(size=(B, N)) * 10.0**power) for _ in range(2))
    if seed % 3 == 0:
        one = HELD
    between = share * one + (1 - share) * other
    ends = [by_row(cost.value(q, HELD, MARKET)) for q in (one, other)]
    middle = by_row(cost.value(between, HELD, MARKET))

    assert (middle >= -1e-15).all()
    assert (middle <= share * ends[0] + (1 - share) * ends[1] + 1e-12 * (1 + abs(ends[0]) + abs(ends[1]))).all()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.parameters])
def test_the_cost_of_the_solver_has_the_derivatives_of_finite_differences(name):
    case, q = CASES[name], POINTS[1]

    def total(*values):
        tensors = {key: torch.as_tensor(value) for key, value in NUMBERS.items()}
        tensors |= dict(zip(case.parameters, values, strict=True))
        return problem_of(case.cost(tensors)).cost(q)

    inputs = [torch.as_tensor(NUMBERS[key]).clone().requires_grad_() for key in case.parameters]

    assert torch.autograd.gradcheck(total, inputs)


@pytest.mark.parametrize("name", ["dense risk", "dense risk by row", "singular dense risk", "soft risk limit", "root"])
def test_the_cost_of_the_solver_has_second_derivatives(name):
    case, q = CASES[name], POINTS[1]

    def total(*values):
        tensors = {key: torch.as_tensor(value) for key, value in NUMBERS.items()}
        tensors |= dict(zip(case.parameters, values, strict=True))
        return problem_of(case.cost(tensors)).cost(q)

    inputs = [torch.as_tensor(NUMBERS[key]).clone().requires_grad_() for key in case.parameters]

    assert torch.autograd.gradgradcheck(total, inputs)


@pytest.mark.parametrize("name", CASES)
def test_the_cost_of_the_solver_has_the_derivatives_in_what_was_held(name):
    cost, q = CASES[name].of_numbers(), POINTS[1]
    held = HELD.clone().requires_grad_()

    totals = cost.value(q, held, MARKET).sum(), problem_of(cost, held).cost(q).sum()
    expected, actual = (
        torch.autograd.grad(total + 0 * held.sum(), held)[0]  # a cost need not depend on it at all
        for total in totals
    )

    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_a_cost_survives_pickle_and_deepcopy(name):
    cost, q = CASES[name].of_numbers(), POINTS[1]

    for other in (pickle.loads(pickle.dumps(cost)), copy.deepcopy(cost)):
        torch.testing.assert_close(other.value(q, HELD, MARKET), cost.value(q, HELD, MARKET), rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_parts_have_unique_names_and_add_up(name):
    cost, q = CASES[name].of_numbers(), POINTS[1]
    parts = [part.value(q, HELD, MARKET) for _, part in cost.parts]
    scaled = [part.value(q, HELD, MARKET) for _, part in (2.0 * cost + Ridge(1e-9)).parts]

    assert len({label for label, _ in cost.parts}) == len(cost.parts)
    torch.testing.assert_close(sum(parts[1:], parts[0]), cost.value(q, HELD, MARKET), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(sum(scaled[1:-1], scaled[0]), 2 * cost.value(q, HELD, MARKET), rtol=1e-12, atol=1e-15)


def test_parameters_that_all_rows_share_are_not_copied_for_each():
    loadings, rate = (torch.as_tensor(NUMBERS[key]) for key in ("loadings", "positive"))
    costs = FactorRisk(loadings=loadings, specific_variance=rate) + L1(rate) + SoftL1(width=rate, form="root")
    problem = problem_of(costs + TradingCost(quadratic=rate))
    shared = [problem.loadings, problem.diagonal, problem.curves[0].weight, problem.ramps[0].right]

    assert [len(tensor) for tensor in shared] == [1, 1, 1, 1]


LABELLED = {
    "trading cost": lambda by: TradingCost(
        by("positive"), by("width"), by("other positive"), by("width"), 1.0, volatility=by("width"),
        dollar_volume=by("volume"),
    ),
    "soft l1": lambda by: SoftL1(width=by("width"), weight=by("positive")),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_parameters_are_put_in_the_order_of_the_assets(name):
    plain = LABELLED[name](lambda key: NUMBERS[key])
    labelled = LABELLED[name](lambda key: pd.Series(NUMBERS[key], index=ASSETS)[::-1])

    assert torch.equal(labelled.value(POINTS[1], HELD, MARKET), plain.value(POINTS[1], HELD, MARKET))
    assert torch.equal(problem_of(labelled).cost(POINTS[1]), problem_of(plain).cost(POINTS[1]))


def test_another_order_of_the_market_moves_labelled_parameters_with_it():
    order = np.array([3, 1, 4, 0, 2])
    market = replace(MARKET, assets=ASSETS[order])
    cost = LABELLED["trading cost"](lambda key: pd.Series(NUMBERS[key], index=ASSETS))
    moved = cost.value(POINTS[1][:, order], HELD[:, order], market)

    torch.testing.assert_close(moved, cost.value(POINTS[1], HELD, MARKET)[:, order], rtol=0, atol=0)
