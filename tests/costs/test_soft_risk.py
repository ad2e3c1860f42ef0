"""A soft risk limit is a smooth function of all weights: its gradient, Hessian, rows and CVXPY form."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from cost_cases import HELD, NUMBERS, B, N, factor_risk

from backtest.costs import Ridge, RiskLimit, Soft

RNG = np.random.default_rng(9)
TENSORS = {name: torch.as_tensor(value) for name, value in NUMBERS.items()}
X = torch.as_tensor(RNG.normal(size=(B, N)))
LIMIT = RiskLimit(factor_risk(TENSORS) + Ridge(), TENSORS["one a row"], benchmark=TENSORS["benchmark"])
(FUNCTION,) = Soft(LIMIT, TENSORS["one a row"]).terms(HELD, None).smooth
FUNCTIONS = {
    "plain": FUNCTION,
    "scaled": FUNCTION.scaled(3.0),
    "shifted": FUNCTION.shifted(TENSORS["width"]).shifted(HELD),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_and_the_hessian_are_those_of_the_value(name):
    function = FUNCTIONS[name]
    diagonal, loadings = function.curvature(X)
    for row in range(B):
        alone = function.rows(torch.tensor([row]))
        point = X[row : row + 1]
        gradient = torch.autograd.functional.jacobian(lambda x, f=alone: f.value(x).sum(), point)
        hessian = torch.autograd.functional.hessian(lambda x, f=alone: f.value(x).sum(), point)[0, :, 0]

        torch.testing.assert_close(function.gradient(X)[row : row + 1], gradient, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(
            diagonal[row].diag() + loadings[row] @ loadings[row].mT, hessian, rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inside_the_limit_it_is_flat(name):
    function = FUNCTIONS[name]
    inside = TENSORS["benchmark"].expand(B, N)
    inside = inside + TENSORS["width"] + HELD if name == "shifted" else inside
    diagonal, loadings = function.curvature(inside)

    assert [bool((part == 0).all()) for part in (function.value(inside), diagonal, loadings)] == [True] * 3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_cvxpy_form_is_the_same_function_and_convex(name):
    function = FUNCTIONS[name]
    for row in range(B):
        x = cp.Variable(N, value=X[row].numpy())
        expression = function.rows(torch.tensor([row])).expression(x)

        assert expression.is_convex()
        assert float(expression.value) == pytest.approx(float(function.value(X)[row]), rel=1e-12)


def test_its_gradient_has_a_graph_to_its_parameters():
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (function,) = Soft(LIMIT, weight).terms(HELD, None).smooth
    (slope,) = torch.autograd.grad(function.gradient(X).sum(), weight)

    torch.testing.assert_close(slope, function.gradient(X).sum().detach() / 2)
