"""True contribution is the gradient of realized utility in the stake."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.analysis.contribution import true_contribution
from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.errors import SettingsError
from backtest.solver import PositionSolver

M, B, N = 3, 2, 10
RNG = np.random.default_rng(4)
FORECASTS = torch.as_tensor(RNG.normal(size=(M, B, N)) * 3e-3)
TARGET = torch.as_tensor(RNG.normal(size=(B, N)) * 3e-3)
HELD = torch.as_tensor(RNG.normal(size=(B, N)) * 0.05)
STAKES = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
RISK = 5.0 * FactorRisk(loadings=RNG.normal(size=(N, 3)) * 0.01, specific_variance=RNG.uniform(2e-4, 9e-4, N))
SOLVER = PositionSolver(
    RISK + TradingCost(2e-4) + 1e-4 * L1(), [DollarNeutral(), PositionLimit(0.25), LeverageLimit(0.9)]
)


def blend(stakes):
    return torch.einsum("m,mbn->bn", stakes / stakes.sum(), FORECASTS)


def utility(q):
    return (TARGET * q).sum(-1) - SOLVER.problem(blend(STAKES), HELD).cost(q)


def test_it_is_the_total_stake_times_the_gradient_of_utility_in_the_stake_by_finite_differences():
    contribution = true_contribution(SOLVER, FORECASTS, TARGET, stakes=STAKES, held=HELD)
    solution = SOLVER.solve(blend(STAKES), HELD)
    step = 1e-5
    for model in range(M):
        up, down = STAKES.clone(), STAKES.clone()
        up[model] += step
        down[model] -= step
        gained = utility(SOLVER.solve(blend(up), HELD).q) - utility(SOLVER.solve(blend(down), HELD).q)
        torch.testing.assert_close(contribution[model], STAKES.sum() * gained / (2 * step), rtol=1e-6, atol=1e-10)

    assert bool((solution.multipliers.leverage > 0).any())
    assert bool((solution.q == 0).any())


def test_it_is_the_total_stake_times_the_gradient_of_utility_in_the_stake_by_autograd():
    contribution = true_contribution(SOLVER, FORECASTS, TARGET, stakes=STAKES, held=HELD)
    for row in range(B):
        stakes = STAKES.clone().requires_grad_()
        utility(SOLVER(blend(stakes), HELD))[row].backward()
        torch.testing.assert_close(contribution[:, row], STAKES.sum() * stakes.grad, rtol=1e-8, atol=1e-12)


def test_without_kinks_or_limits_it_is_the_formula_with_the_inverse_hessian():
    smooth = PositionSolver(RISK)
    problem = smooth.problem(torch.zeros(1, N, dtype=torch.float64), torch.zeros(1, N, dtype=torch.float64))
    hessian = problem.loadings[0] @ problem.loadings[0].mT + torch.diag(problem.diagonal[0])
    m = blend(STAKES)
    expected = ((FORECASTS - m) * torch.linalg.solve(hessian, (TARGET - m).mT).mT).sum(-1)

    torch.testing.assert_close(true_contribution(smooth, FORECASTS, TARGET, stakes=STAKES), expected, rtol=1e-9, atol=0)


def test_contributions_weighted_by_stakes_sum_to_zero():
    contribution = true_contribution(SOLVER, FORECASTS, TARGET, stakes=STAKES, held=HELD)

    torch.testing.assert_close(STAKES @ contribution, torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-15)


def test_stakes_in_another_unit_give_the_same_contributions():
    one = true_contribution(SOLVER, FORECASTS, TARGET, stakes=STAKES, held=HELD)
    other = true_contribution(SOLVER, FORECASTS, TARGET, stakes=1e6 * STAKES, held=HELD)

    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-15)


def test_a_copy_of_the_blend_contributes_nothing():
    same = FORECASTS[:1].repeat(2, 1, 1)
    contribution = true_contribution(SOLVER, same, TARGET, stakes=[1.0, 3.0], held=HELD)

    torch.testing.assert_close(contribution, torch.zeros(2, B, dtype=torch.float64), rtol=0, atol=1e-15)


def test_what_cannot_be_traded_counts_for_nothing_and_needs_no_target():
    tradable = torch.ones(B, N, dtype=torch.bool)
    tradable[:, 3] = False
    unknown, forecasts = TARGET.clone(), FORECASTS.clone()
    unknown[:, 3] = forecasts[:, :, 3] = torch.nan
    known = true_contribution(SOLVER, FORECASTS, TARGET, stakes=STAKES, held=HELD, tradable=tradable)
    blind = true_contribution(SOLVER, forecasts, unknown, stakes=STAKES, held=HELD, tradable=tradable)

    torch.testing.assert_close(blind, known, rtol=0, atol=0)


@pytest.mark.parametrize("stakes", [[1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, np.nan, 1.0]])
def test_impossible_stakes_are_refused(stakes):
    with pytest.raises(SettingsError, match="stakes must be finite, at least 0, and not all 0, got"):
        true_contribution(SOLVER, FORECASTS, TARGET, stakes=stakes)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match=r"forecasts \(3, 2, 10\), target \(2, 10\) and stakes \(2,\) do not fit"):
        true_contribution(SOLVER, FORECASTS, TARGET, stakes=[1.0, 1.0])
