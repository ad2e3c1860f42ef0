"""Kinks smoothed for training: what takes their place, and that solver, derivative and reference agree on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.costs import L1, BorrowFee, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, Ridge, TradingCost
from backtest.errors import SettingsError
from backtest.solver import PositionSolver, Status, reference_solve

N, B = 7, 16


def make_case(*, smoothing=0.02, form="sqrt", seed=0):
    """A solver in which everything binds somewhere, with forecasts and weights held."""
    rng = np.random.default_rng(seed)
    risk = FactorRisk(0.01 * rng.standard_normal((N, 2)), specific_variance=rng.uniform(2e-4, 6e-4, N))
    costs = 20.0 * risk + L1(rng.uniform(5e-4, 3e-3, N)) + BorrowFee(0.2, periods_per_year=252)
    costs = costs + TradingCost(half_spread=4e-3, sell_fee=1e-3) + 1e-3 * Ridge()
    limits = [DollarNeutral(), PositionLimit(0.4), LeverageLimit(1.5)]
    solver = PositionSolver(costs, limits, smoothing=smoothing, smoothing_form=form)
    p = torch.tensor(0.015 * rng.standard_normal((B, N)))
    return solver, p, torch.tensor(0.15 * rng.standard_normal((B, N)))


def test_a_rounded_kink_is_the_function_of_the_paper():
    # Buying costs 2, selling 1 a unit: the middle slope is 0.5, the jump 3; |x - held| becomes sqrt(.) - w.
    solver = PositionSolver(TradingCost(half_spread=1.0, buy_fee=1.0) + Ridge(), smoothing=0.1, smoothing_form="sqrt")
    held, x = torch.tensor([[0.3]], dtype=torch.float64), torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(-1, 1)

    cost = solver.problem(torch.zeros_like(x), held.expand_as(x)).cost(x)

    away = x[:, 0] - 0.3
    expected = 0.5 * away + 1.5 * (torch.sqrt(away**2 + 0.01) - 0.1) + x[:, 0] ** 2 / 2
    torch.testing.assert_close(cost, expected, rtol=1e-12, atol=1e-15)


def test_positions_under_rounded_kinks_are_those_of_the_reference():
    solver, p, held = make_case()

    solution = solver.solve(p, held)

    reference = reference_solve(solver.problem(p, held))
    assert (solution.statuses == Status.SOLVED).all()
    assert (reference.statuses == Status.SOLVED).all()
    torch.testing.assert_close(solution.q, reference.q, rtol=0, atol=1e-7)


@pytest.mark.parametrize("form", ["huber", "sqrt"])
def test_the_derivative_under_smoothed_kinks_is_that_of_the_positions(form):
    solver, p, held = make_case(form=form)
    q = solver.solve(p, held)
    weight = torch.tensor(np.random.default_rng(3).standard_normal((B, N)))

    forecast, before = p.clone().requires_grad_(), held.clone().requires_grad_()
    gradients = torch.autograd.grad((solver(forecast, before) * weight).sum(), (forecast, before))
    closed = q.solution_map(weight)

    torch.testing.assert_close(gradients[0], closed, rtol=1e-9, atol=1e-9)
    step = 1e-6
    for gradient, name in zip(gradients, ("p", "held"), strict=True):
        differences = torch.zeros_like(p)
        for asset in range(N):
            bump = torch.zeros_like(p)
            bump[:, asset] = step
            moved = [
                solver.solve(*((p + s * bump, held) if name == "p" else (p, held + s * bump))).q for s in (1.0, -1.0)
            ]
            differences[:, asset] = ((moved[0] - moved[1]) * weight).sum(-1) / (2 * step)
        error = (gradient - differences).abs().amax(-1)
        # A row is left out where a bump crosses the edge of a limit or of a parabola.
        assert int((error <= 1e-5 * float(gradient.abs().max())).sum()) >= B - 2, (name, error)


def test_rounded_kinks_leave_every_name_free_but_at_limits_and_come_near_sharp_ones_as_they_narrow():
    sharp, p, held = make_case(smoothing=0.0)
    exact = sharp.solve(p, held)
    assert float(exact.free.double().mean()) < 0.6

    errors = []
    for width in (1e-2, 1e-3, 1e-4):
        solver, _, _ = make_case(smoothing=width)
        solution = solver.solve(p, held)
        # A leverage limit that binds has a kink of its own, at 0.
        levered = solution.q.abs().sum(-1, keepdim=True) > 1.5 - 1e-9
        at_limit = (solution.q.abs() > 0.4 - 1e-9) | (levered & (solution.q == 0))
        assert bool((solution.free | at_limit).all())
        errors.append(float((solution.q - exact.q).abs().max()))

    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2e-3


def test_an_unknown_form_is_refused():
    with pytest.raises(SettingsError, match='smoothing_form must be "huber" or "sqrt", got \'hard\''):
        PositionSolver(Ridge(), smoothing_form="hard")
