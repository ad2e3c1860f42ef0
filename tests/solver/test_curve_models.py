"""Where the solver starts with a user's own curves: exact for piecewise parabolas, harmless for others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, SeparableCost, TradingCost
from backtest.solver import PositionSolver, reference_solve
from backtest.solver.canonical import assemble
from backtest.solver.curve_models import start_from_model
from backtest.solver.dual import Dual
from backtest.solver.newton import maximise_dual

N, ROWS = 6, 5


class StampDuty(SeparableCost):
    """Paid by buyers."""

    def value(self, q, held, market):
        return 0.005 * (q - held).clamp(min=0)


class Tiers(SeparableCost):
    """A dearer rate from 5% on, and a square of the trade."""

    def value(self, q, held, market):
        return 2e-3 * q.abs() + 0.01 * (q.abs() - 0.05).clamp(min=0) + 0.1 * (q - held).square()

    def kinks(self, held, market):
        return (0.0, 0.05, -0.05)


class Steep(SeparableCost):
    """A power of the trade: no parabola."""

    def value(self, q, held, market):
        return 0.02 * (q - held).abs().clamp(min=1e-30).pow(1.5)


def solver(cost):
    rng = np.random.default_rng(2)
    risk = FactorRisk(
        loadings=rng.normal(size=(N, 2)),
        factor_covariance=np.eye(2) * 1e-3,
        specific_variance=rng.uniform(1e-3, 4e-3, N),
    )
    limits = [LeverageLimit(0.8), PositionLimit(0.3), DollarNeutral()]
    return PositionSolver(5.0 * risk + TradingCost(half_spread=1e-3) + 1e-3 * L1() + cost, limits)


def rows():
    generator = torch.Generator().manual_seed(4)
    p = 0.01 * torch.randn(ROWS, N, generator=generator, dtype=torch.float64)
    held = 0.1 * torch.randn(ROWS, N, generator=generator, dtype=torch.float64)
    held[0] = 0.0  # both breaks of a stamp duty in one place
    return p, held


def problem_of(cost, p, held):
    made = solver(cost)
    return assemble(
        p,
        held,
        costs=made.costs,
        constraints=made.constraints,
        market=None,
        tradable=None,
        holding_periods=torch.ones(1, dtype=torch.float64),
        smoothing=0.0,
    )


@pytest.mark.parametrize("cost", [StampDuty(), Tiers()], ids=["stamp duty", "tiers"])
def test_with_pieces_of_parabolas_the_start_is_the_solution(cost):
    p, held = rows()
    problem = problem_of(cost, p, held)
    start = start_from_model(problem)

    point = maximise_dual(Dual.of(problem, problem.diagonal), start)

    assert int(point.iterations.max()) == 0
    assert float(point.error.max()) < 1e-9


@pytest.mark.parametrize("cost", [StampDuty(), Tiers(), Steep()], ids=["stamp duty", "tiers", "power"])
def test_the_start_changes_no_solution(cost, monkeypatch):
    p, held = rows()
    with_start = solver(cost).solve(p, held)
    monkeypatch.setattr("backtest.solver.solve_problem.start_from_model", lambda problem: None)
    without = solver(cost).solve(p, held)

    torch.testing.assert_close(with_start.q, without.q, rtol=0, atol=1e-10)
    assert list(with_start.status) == ["solved"] * ROWS


def test_a_rows_start_is_to_the_last_bit_what_it_is_alone():
    p, held = rows()
    together = start_from_model(problem_of(Tiers(), p, held))
    alone = [start_from_model(problem_of(Tiers(), p[row : row + 1], held[row : row + 1])) for row in range(ROWS)]

    assert torch.equal(together, torch.cat(alone))


def test_problems_without_a_curve_of_a_users_start_as_before():
    assert start_from_model(problem_of(TradingCost(half_spread=1e-3), *rows())) is None


def test_a_start_that_leads_nowhere_is_left(monkeypatch):
    """Rows that a bad start leaves unfinished begin anew from nothing."""
    p, held = rows()
    wanted = solver(StampDuty()).solve(p, held).q
    found = start_from_model(problem_of(StampDuty(), p, held))
    bad = torch.where(torch.arange(ROWS)[:, None] == 2, 1e9, found)
    monkeypatch.setattr("backtest.solver.solve_problem.start_from_model", lambda problem: bad)

    q = solver(StampDuty()).solve(p, held).q

    torch.testing.assert_close(q, wanted, rtol=0, atol=1e-10)


def test_a_stamp_duty_is_half_of_it_as_a_spread_and_half_as_a_price():
    """`(u)+ = (|u| + u) / 2`, so a shipped cost and another forecast give the same positions."""
    p, held = rows()
    duty = solver(StampDuty()).solve(p, held).q
    twin = solver(TradingCost(half_spread=0.0025))

    torch.testing.assert_close(duty, twin.solve(p - 0.0025, held).q, rtol=0, atol=1e-10)
    torch.testing.assert_close(duty, reference_solve(twin.problem(p - 0.0025, held)).q, rtol=0, atol=1e-6)
