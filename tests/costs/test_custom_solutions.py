"""Positions with a user's cost, against built-in costs, CVXPY and differences."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch

from backtest.costs import DollarNeutral, Exposure, FactorRisk, LeverageLimit, PositionLimit, Ridge, TradingCost
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.solver import PositionSolver

B, N, K = 5, 12, 3
RNG = np.random.default_rng(1)
RISK = 5.0 * FactorRisk(loadings=RNG.normal(size=(N, K)) * 0.02, specific_variance=RNG.uniform(1e-4, 9e-4, N))
P, HELD = RNG.normal(size=(B, N)) * 2e-3, RNG.normal(size=(B, N)) * 0.1
LIMITS = [DollarNeutral(), PositionLimit(0.4), LeverageLimit(1.5)]


class Absolute(SeparableCost):
    paid_per_trade = True

    def __init__(self, rate):
        self.rate = rate

    def value(self, q, held, market):
        return self.rate * (q - held).abs()


class Impact(SeparableCost):
    paid_per_trade = True

    def __init__(self, rate, exponent=1.5):
        self.rate, self.exponent = rate, exponent

    def value(self, q, held, market):
        return self.rate * (q - held).abs().clamp(min=1e-30).pow(self.exponent)


class Shape(SeparableCost):
    """A kink at 0.1 that is not declared, on top of a quartic."""

    def value(self, q, held, market):
        return 2e-3 * (q - 0.1).clamp(min=0) + 0.05 * q**4


class Quartic(SmoothCost):
    def __init__(self, loadings, weight):
        self.loadings, self.weight = loadings, weight

    def value(self, q, held, market):
        return self.weight * ((q @ self.loadings) ** 4).sum(-1)


class Squares(SmoothCost):
    def __init__(self, loadings):
        self.loadings = torch.as_tensor(loadings)

    def value(self, q, held, market):
        return (q @ self.loadings).square().sum(-1) / 2


SIZE = 0.1


def by_cvxpy(expression, p, held, limits=True):
    """Return the positions of one row (N,) with a cost by CVXPY on top of `RISK`, in units of `SIZE`."""
    risk = RISK.terms(torch.zeros(1, N, dtype=torch.float64), None)
    u = cp.Variable(N)
    x = SIZE * u
    price = float(np.abs(p).max())
    loadings = torch.cat(risk.loadings, dim=-1)[0].numpy() * SIZE / np.sqrt(price)
    diagonal = np.sqrt(risk.diagonal.expand(1, N)[0].numpy() / price) * SIZE
    objective = (
        -(p / price * SIZE) @ u + (cp.sum_squares(loadings.T @ u) + cp.sum_squares(cp.multiply(diagonal, u))) / 2
    )
    bounds = [cp.sum(u) == 0, cp.abs(u) <= 0.4 / SIZE, cp.norm1(u) <= 1.5 / SIZE] if limits else []
    program = cp.Problem(cp.Minimize(objective + expression(x, held) / price), bounds)
    for tolerance in (1e-12, 1e-10, 1e-9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
            program.solve(solver=cp.CLARABEL, **tight, static_regularization_constant=1e-11)
        if program.status == "optimal":
            break
    assert program.status == "optimal"
    return SIZE * u.value


def test_an_absolute_value_gives_the_positions_of_the_built_in_trading_cost():
    ours = PositionSolver(RISK + Absolute(1e-3), LIMITS).solve(P, HELD)
    theirs = PositionSolver(RISK + TradingCost(half_spread=1e-3), LIMITS).solve(P, HELD)

    assert ours.residual.max() <= 1e-9
    np.testing.assert_allclose(ours.q, theirs.q, rtol=0, atol=1e-11)


def test_squares_of_exposures_give_the_positions_of_the_built_in_exposure():
    loadings = RNG.normal(size=(N, 2)) * 0.05
    ours = PositionSolver(RISK + Squares(loadings), LIMITS).solve(P, HELD)
    theirs = PositionSolver(RISK + Exposure(loadings=loadings), LIMITS).solve(P, HELD)

    assert ours.residual.max() <= 1e-9
    np.testing.assert_allclose(ours.q, theirs.q, rtol=0, atol=1e-10)


LOADINGS = RNG.normal(size=(N, 2))
RATE = RNG.uniform(0.5, 2.0, size=N) * 1e-3
PROBLEMS = {
    "three halves": (Impact(torch.as_tensor(RATE)), lambda x, held: RATE @ cp.power(cp.abs(x - held), 1.5)),
    "a kink that is not declared": (
        Shape(),
        lambda x, held: cp.sum(2e-3 * cp.pos(x - 0.1) + 0.05 * cp.power(x, 4)),
    ),
    "quartic of exposures": (
        Quartic(torch.as_tensor(LOADINGS), 1e-2),
        lambda x, held: 1e-2 * cp.sum(cp.power(LOADINGS.T @ x, 4)),
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_positions_agree_with_cvxpy_to_1e6(name):
    cost, expression = PROBLEMS[name]
    solution = PositionSolver(RISK + cost, LIMITS).solve(P, HELD)

    assert (solution.status == "solved").all()
    assert solution.residual.max() <= 1e-9
    for row in range(B):
        np.testing.assert_allclose(solution.q[row], by_cvxpy(expression, P[row], HELD[row]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_batch_equals_its_rows_one_at_a_time(name):
    solver = PositionSolver(RISK + PROBLEMS[name][0], LIMITS)
    whole = solver.solve(P, HELD).q

    for row in range(B):
        np.testing.assert_allclose(solver.solve(P[row], HELD[row]).q, whole[row], rtol=0, atol=1e-12)


def gradient_gap(positions, x, upstream, step=1e-6):
    """Return the gap between the gradient of `upstream . positions(x)` and differences along a direction, relative."""
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((positions(leaf) * upstream).sum(), leaf)
    direction = torch.as_tensor(np.random.default_rng(7).normal(size=x.shape)) * x.abs().max()
    high, low = ((positions(x + side * step * direction) * upstream).sum() for side in (1, -1))
    by_difference = float(high - low) / (2 * step)
    return abs(float((gradient * direction).sum()) - by_difference) / abs(by_difference)


UPSTREAM = torch.as_tensor(RNG.normal(size=(B, N)))
FORECAST, BEFORE = torch.as_tensor(P), torch.as_tensor(HELD)


def test_positions_have_derivatives_in_forecast_held_and_the_users_own_tensors():
    rate, forecast, before, upstream = torch.as_tensor(RATE), FORECAST[:2], BEFORE[:2], UPSTREAM[:2]

    def solved(p=forecast, held=before, rate=rate):
        return PositionSolver(RISK + Impact(rate), LIMITS)(p, held)

    assert gradient_gap(lambda p: solved(p=p), forecast, upstream) <= 1e-6
    assert gradient_gap(lambda held: solved(held=held), before, upstream) <= 1e-6
    assert gradient_gap(lambda rate: solved(rate=rate), rate, upstream) <= 1e-6


def test_positions_have_derivatives_in_the_tensors_of_a_smooth_cost():
    loadings = torch.as_tensor(LOADINGS)

    def solved(p=FORECAST, loadings=loadings):
        return PositionSolver(RISK + Quartic(loadings, 1e-2), LIMITS)(p, BEFORE)

    assert gradient_gap(lambda p: solved(p=p), FORECAST, UPSTREAM) <= 1e-6
    assert gradient_gap(lambda loadings: solved(loadings=loadings), loadings, UPSTREAM) <= 1e-6


def test_parameters_by_row_stay_with_their_rows():
    rate = torch.as_tensor(RNG.uniform(0.5, 2.0, size=(B, N)) * 1e-3)
    whole = PositionSolver(RISK + Impact(rate)).solve(P, HELD).q

    for row in range(B):
        alone = PositionSolver(RISK + Impact(rate[row])).solve(P[row], HELD[row]).q
        np.testing.assert_allclose(whole[row], alone, rtol=0, atol=1e-12)


def test_a_cost_paid_per_trade_is_divided_by_the_holding_periods():
    long = PositionSolver(RISK + Impact(1e-3), holding_periods=4.0).solve(P, HELD).q
    cheap = PositionSolver(RISK + 0.25 * Impact(1e-3)).solve(P, HELD).q

    np.testing.assert_allclose(long, cheap, rtol=0, atol=1e-12)


def test_no_forecast_and_no_holdings_give_no_position():
    zero = np.zeros((2, N))
    for cost in (Absolute(1e-3), Impact(1e-3), Quartic(torch.as_tensor(LOADINGS), 1.0)):
        assert PositionSolver(Ridge(1.0) + cost).solve(zero, zero).q.tolist() == zero.tolist()
