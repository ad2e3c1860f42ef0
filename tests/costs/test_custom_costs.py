"""A user's cost as pieces of the canonical problem: derivatives, kinks, rows, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.errors import CostError
from backtest.market import MarketSnapshot

B, N = 4, 6
RNG = np.random.default_rng(0)
HELD = torch.as_tensor(RNG.normal(size=(B, N)) * 0.1)
X = torch.as_tensor(RNG.normal(size=(B, N)) * 0.2)


class Buys(SeparableCost):
    """A rate on what is bought, one a row and asset."""

    paid_per_trade = True

    def __init__(self, rate):
        self.rate = rate

    def value(self, q, held, market):
        return self.rate * (q - held).clamp(min=0)


class Impact(SeparableCost):
    paid_per_trade = True

    def __init__(self, rate, exponent=1.5):
        self.rate, self.exponent = rate, exponent

    def value(self, q, held, market):
        return self.rate * (q - held).abs().pow(self.exponent)


class Quartic(SmoothCost):
    """`sum_k (b_k'q)^4 + ridge/2 |q|^2` of a row."""

    def __init__(self, loadings, ridge):
        self.loadings, self.ridge = loadings, ridge

    def value(self, q, held, market):
        return ((q @ self.loadings) ** 4).sum(-1) + self.ridge / 2 * q.square().sum(-1)


def curve_of(cost, held=HELD, market=None):
    return cost.terms(held, market).curves[0]


def function_of(cost, held=HELD, market=None):
    return cost.terms(held, market).smooth[0]


def difference(function, x, step=1e-6):
    return (function(x + step) - function(x - step)) / (2 * step)


RATES = torch.as_tensor(RNG.uniform(0.5, 1.5, size=(B, N)))
COSTS = {"buys": Buys(RATES * 1e-3), "three halves": Impact(RATES), "power 1.2": Impact(RATES, 1.2)}


@pytest.mark.parametrize("name", COSTS)
def test_slope_and_curvature_are_those_of_differences(name):
    curve = curve_of(COSTS[name])

    torch.testing.assert_close(curve.slope(X), difference(curve.value, X), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(curve.curvature(X), difference(curve.slope, X), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(curve.slope_and_curvature(X), (curve.slope(X), curve.curvature(X)), rtol=0, atol=0)


@pytest.mark.parametrize("name", COSTS)
def test_rows_weight_and_shift_are_those_of_the_whole_batch(name):
    shift, weight = torch.as_tensor(RNG.normal(size=(B, N))) * 0.01, torch.as_tensor(RNG.uniform(1, 2, (B, 1)))
    whole = curve_of(COSTS[name]).scaled(weight).scaled(3.0).shifted(shift)
    part = whole.rows(torch.tensor([3, 0, 1])).rows(torch.tensor([2, 0]))
    index = torch.tensor([1, 3])

    torch.testing.assert_close(whole.value(X), 3 * weight * COSTS[name].value(X - shift, HELD, None))
    for method in ("value", "slope", "curvature"):
        torch.testing.assert_close(getattr(part, method)(X[index]), getattr(whole, method)(X)[index], rtol=0, atol=0)
    for ours, theirs in zip(part.breaks, whole.breaks, strict=True):
        torch.testing.assert_close(ours.expand(2, N), theirs.expand(B, N)[index], rtol=0, atol=0)
    for ours, theirs in zip(part.sides(HELD[index]), whole.sides(HELD), strict=True):
        torch.testing.assert_close(ours, theirs[index], rtol=0, atol=0)


def test_a_row_of_shared_places_serves_all_rows():
    curve = curve_of(COSTS["three halves"])

    torch.testing.assert_close(curve.slope(X[:1]), curve.slope(X[:1].expand(B, N)), rtol=0, atol=0)


def test_the_two_sides_of_a_kink_are_told_apart_also_where_held_is_not_a_round_number():
    below, above = curve_of(COSTS["buys"]).sides(HELD)

    assert below.tolist() == torch.zeros(B, N).tolist()
    assert above.tolist() == (RATES * 1e-3).tolist()


def test_a_place_without_a_jump_has_one_slope_vertical_or_not():
    class Parabola(SeparableCost):
        def value(self, q, held, market):
            return q.square()

    for cost in (Parabola(), COSTS["three halves"]):
        with torch.no_grad():
            below, above = curve_of(cost).sides(HELD)
            assert below.tolist() == above.tolist() == curve_of(cost).slope(HELD).tolist()


@pytest.mark.parametrize("exponent", [1.1, 1.5, 1.9])
def test_the_curvature_where_the_slope_is_vertical_is_infinite_and_the_slope_is_0(exponent):
    slope, curvature = curve_of(Impact(RATES, exponent)).slope_and_curvature(HELD)

    assert bool((slope == 0).all())
    assert bool((curvature == torch.inf).all())


def test_curvature_is_right_where_automatic_differentiation_of_an_absolute_value_is_not():
    """At 0 it says that |u|^2 does not bend, and that max(u, 0)^1.5 does not know below 0."""
    squares = curve_of(Impact(RATES, 2))
    below = HELD - 0.1

    class BuysOnly(SeparableCost):
        paid_per_trade = True

        def value(self, q, held, market):
            return (q - held).clamp(min=0).pow(1.5)

    torch.testing.assert_close(squares.curvature(HELD), 2 * RATES)
    assert curve_of(BuysOnly()).curvature(below).tolist() == torch.zeros(B, N).tolist()


def test_slopes_have_a_graph_to_the_users_tensors_and_held_and_to_nothing_else():
    rate, held = RATES.clone().requires_grad_(), HELD.clone().requires_grad_()
    curve = curve_of(Impact(rate), held)
    upstream = torch.as_tensor(RNG.normal(size=(B, N)))
    by_rate, by_held = torch.autograd.grad((curve.slope(X) * upstream).sum(), (rate, held))

    torch.testing.assert_close(by_rate, upstream * curve_of(Impact(1.0)).slope(X))
    torch.testing.assert_close(by_held, -upstream * curve_of(Impact(RATES)).curvature(X))
    assert not curve_of(Impact(RATES)).slope(X).requires_grad
    with torch.no_grad():
        assert not curve.slope(X).requires_grad
        torch.testing.assert_close(curve.slope(X), curve_of(Impact(RATES)).slope(X), rtol=0, atol=0)


def test_the_graph_of_a_vertical_slope_has_no_nan():
    held = HELD.clone().requires_grad_()
    slope = curve_of(Impact(RATES), held).slope(held.detach())

    (gradient,) = torch.autograd.grad(slope.sum(), held)

    assert bool(torch.isfinite(gradient).all())


def test_a_cost_that_does_not_depend_on_the_weight_has_slope_0():
    class Fee(SeparableCost):
        def value(self, q, held, market):
            return torch.full_like(q, 0.001)

    assert curve_of(Fee()).slope_and_curvature(X)[0].tolist() == torch.zeros(B, N).tolist()


def test_a_slope_of_nan_names_cost_asset_row_and_weight():
    class Root(SeparableCost):
        def value(self, q, held, market):
            return torch.where(q > 0, q.sqrt() * q, torch.zeros_like(q))

    market = MarketSnapshot(assets=pd.Index(list("ABCDEF")))
    x = X.abs()
    x[2, 3] = -0.25

    with pytest.raises(CostError, match=r"Root: the derivative .* is NaN for asset 'D' \(row 2\) at weight -0.25"):
        curve_of(Root(), market=market).slope(x)


def test_a_slope_that_falls_at_a_break_is_refused_with_two_points():
    class Discount(SeparableCost):
        def value(self, q, held, market):
            return torch.minimum(q.abs(), 0.05 + q.abs() / 2)

        def kinks(self, held, market):
            return (0.0, 0.1)

    with pytest.raises(
        CostError, match=r"Discount is not convex: asset \d \(row \d\) costs .* half-way, above their mean"
    ):
        curve_of(Discount()).sides(torch.full((B, N), 0.1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kind", "returned", "message"),
    [
        (SeparableCost, lambda q: q.sum(-1), r"Wrong.value returned shape \(4,\) for weights \(4, 6\): .*not summed"),
        (SeparableCost, lambda q: q.sum(), r"shape \(\)"),
        (SmoothCost, lambda q: q.sum(0), r"shape \(6,\) .* or \(B,\) = one a row"),
        (SmoothCost, lambda q: 1.0, "returned float: return a torch tensor"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_wherever_it_is_called(kind, returned, message):
    class Wrong(kind):
        def value(self, q, held, market):
            return returned(q)

    with pytest.raises(CostError, match=message):
        Wrong().value(X, HELD, None)


def test_the_cost_of_a_row_is_spread_evenly_over_its_assets():
    cost = Quartic(torch.ones(N, 1, dtype=torch.float64), 0.0)

    torch.testing.assert_close(cost.value(X, HELD, None), (X.sum(-1) ** 4 / N).unsqueeze(-1).expand(B, N))


def test_kinks_may_be_numbers_rows_or_series_and_be_nowhere():
    class Declared(SeparableCost):
        def value(self, q, held, market):
            return q.square()

        def kinks(self, held, market):
            by_name = pd.Series([6.0, 5.0, 4.0, 3.0, 2.0, np.nan], index=list("FEDCBA"))
            return (0.05, np.arange(6.0), by_name, held)

    market = MarketSnapshot(assets=pd.Index(list("ABCDEF")))
    number, row, labelled, held = curve_of(Declared(), market=market).breaks

    assert number.tolist() == [[0.05] * N]
    assert row.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    assert labelled.tolist() == [[0.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert held is HELD


LOADINGS = torch.as_tensor(RNG.normal(size=(N, 2)))


def test_gradient_and_hessian_of_a_smooth_cost_are_those_of_differences():
    function = function_of(Quartic(LOADINGS, 0.7)).scaled(torch.full((B, 1), 2.0, dtype=torch.float64)).shifted(HELD)
    diagonal, loadings = function.curvature(X)
    hessian = torch.diag_embed(diagonal) + loadings @ loadings.mT
    columns = []
    for asset in range(N):
        step = torch.zeros_like(X)
        step[:, asset] = 1e-5
        by_value = (function.value(X + step) - function.value(X - step)) / 2e-5
        torch.testing.assert_close(function.gradient(X)[:, asset], by_value, rtol=1e-6, atol=1e-8)
        columns.append((function.gradient(X + step) - function.gradient(X - step)) / 2e-5)

    torch.testing.assert_close(hessian, torch.stack(columns, dim=-1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(diagonal, torch.full((B, N), 1.4, dtype=torch.float64))
    assert loadings.shape == (B, N, 2)


def test_a_diagonal_hessian_has_no_loadings():
    class Each(SmoothCost):
        def value(self, q, held, market):
            return q**4 + q.square()

    diagonal, loadings = function_of(Each()).curvature(X)

    torch.testing.assert_close(diagonal, 12 * X.square() + 2)
    assert loadings.shape == (B, N, 0)


def test_rows_of_a_smooth_cost_are_those_of_the_whole_batch():
    whole = function_of(Quartic(LOADINGS, 0.7)).scaled(torch.as_tensor(RNG.uniform(1, 2, (B, 1))))
    index = torch.tensor([2, 0])
    part = whole.rows(index)

    torch.testing.assert_close(part.value(X[index]), whole.value(X)[index], rtol=0, atol=0)
    torch.testing.assert_close(part.gradient(X[index]), whole.gradient(X)[index], rtol=0, atol=0)
    for ours, theirs in zip(part.curvature(X[index]), whole.curvature(X), strict=True):
        torch.testing.assert_close(ours.abs(), theirs[index].abs())  # an eigenvector's sign is free


def test_a_curvature_of_the_users_own_is_used_scaled_and_by_row():
    class Known(Quartic):
        def curvature(self, q, held, market):
            return torch.full_like(q, self.ridge), (q @ self.loadings).unsqueeze(1) * self.loadings * 12**0.5

    weight, index = torch.as_tensor(RNG.uniform(1, 2, (B, 1))), torch.tensor([3, 1])
    ours = function_of(Known(LOADINGS, 0.7)).scaled(weight).rows(index).curvature(X[index])
    theirs = function_of(Quartic(LOADINGS, 0.7)).scaled(weight).curvature(X)

    torch.testing.assert_close(
        torch.diag_embed(ours[0]) + ours[1] @ ours[1].mT,
        (torch.diag_embed(theirs[0]) + theirs[1] @ theirs[1].mT)[index],
    )


def test_a_saddle_is_refused_with_two_points_whose_middle_costs_more():
    class Saddle(SmoothCost):
        def value(self, q, held, market):
            return q.square().sum(-1) - 3 * q[:, 0] * q[:, 1]

    with pytest.raises(CostError, match=r"Saddle is not convex \(row 0\): it costs (.*) at weights .* half-way"):
        function_of(Saddle()).curvature(X)


def test_a_smooth_cost_with_a_vertical_gradient_is_refused():
    class Length(SmoothCost):
        def value(self, q, held, market):
            return q.square().sum(-1).sqrt()

    with pytest.raises(CostError, match="Length: its second derivative is not finite for asset 0"):
        function_of(Length()).curvature(torch.zeros_like(X))


def test_a_custom_cost_survives_pickle_and_deepcopy():
    cost = Impact(RATES)
    for twin in (copy.deepcopy(cost), pickle.loads(pickle.dumps(cost))):
        torch.testing.assert_close(curve_of(twin).slope(X), curve_of(cost).slope(X), rtol=0, atol=0)
        torch.testing.assert_close(copy.deepcopy(curve_of(twin)).slope(X), curve_of(cost).slope(X), rtol=0, atol=0)
