"""Estimated factor risk: what it estimates, and that it never looks ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import FactorRisk
from backtest.errors import CostError
from backtest.market import MarketPanel
from backtest.solver import PositionSolver

T, N = 400, 12
RNG = np.random.default_rng(6)
TRUE_LOADINGS = RNG.normal(size=(N, 2)) * 0.01
RETURNS = RNG.normal(size=(T, 2)) @ TRUE_LOADINGS.T + RNG.normal(size=(T, N)) * 0.01


def panel_of(returns: np.ndarray) -> MarketPanel:
    index = pd.bdate_range("2015-01-01", periods=len(returns))
    frame = pd.DataFrame(returns, index=index, columns=[f"S{i}" for i in range(N)])
    return MarketPanel.from_returns(frame, periods_per_year=252, name="test")


RISK = FactorRisk(n_factors=2, lookback=120, refit_every=7)


def model_at(panel: MarketPanel, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    problem = (
        PositionSolver(RISK)
        .estimate(panel)
        .problem(torch.zeros(1, N, dtype=torch.float64), torch.zeros(1, N, dtype=torch.float64), market=panel.at([row]))
    )
    return problem.loadings, problem.diagonal


@pytest.mark.parametrize("row", [60, 61, 119, 200, 333])
def test_garbling_the_future_leaves_every_earlier_estimate_equal_to_the_bit(row):
    garbled = RETURNS.copy()
    garbled[row + 1 :] = RNG.uniform(-0.5, 0.5, size=garbled[row + 1 :].shape)

    for whole, other in zip(model_at(panel_of(RETURNS), row), model_at(panel_of(garbled), row), strict=True):
        assert torch.equal(whole, other)


@pytest.mark.parametrize("row", [60, 119, 200])
def test_cutting_the_future_leaves_every_earlier_estimate_equal_to_the_bit(row):
    panel = panel_of(RETURNS)

    for whole, cut in zip(model_at(panel, row), model_at(panel.until(row), row), strict=True):
        assert torch.equal(whole, cut)


def test_positions_up_to_a_row_do_not_move_when_the_future_does():
    p = RNG.normal(size=(2, N)) * 1e-3
    garbled = RETURNS.copy()
    garbled[301:] *= -3
    answers = [
        PositionSolver(RISK).estimate(panel).solve(p, market=panel.at([250, 300])).q
        for panel in (panel_of(RETURNS), panel_of(garbled))
    ]

    np.testing.assert_array_equal(answers[0], answers[1])


def test_the_estimate_is_near_the_covariance_it_was_drawn_from():
    long = RNG.normal(size=(4000, 2)) @ TRUE_LOADINGS.T + RNG.normal(size=(4000, N)) * 0.01
    panel = panel_of(long)
    risk = FactorRisk(n_factors=2, lookback=4000, refit_every=1999).estimate(panel)
    problem = PositionSolver(risk).problem(
        torch.zeros(1, N, dtype=torch.float64), torch.zeros(1, N, dtype=torch.float64), market=panel.at([3999])
    )
    estimate = (problem.loadings[0] @ problem.loadings[0].mT).numpy() + np.diag(problem.diagonal[0].numpy())
    true = TRUE_LOADINGS @ TRUE_LOADINGS.T + 1e-4 * np.eye(N)

    assert np.linalg.norm(estimate - true) < 0.1 * np.linalg.norm(true)


def test_an_asset_with_little_history_is_risky_and_has_no_loading():
    returns = RETURNS.copy()
    returns[:380, 3] = np.nan
    loadings, specific = model_at(panel_of(returns), 399)
    variances = np.nanvar(returns[280:], axis=0)

    assert bool((loadings[0, 3] == 0).all())
    assert float(specific[0, 3]) > np.median(variances)
    assert bool((specific > 0).all())


def test_a_missing_return_and_a_constant_price_leave_the_estimate_finite():
    returns = RETURNS.copy()
    returns[RNG.random(returns.shape) < 0.1] = np.nan
    returns[:, 5] = 0.0
    loadings, specific = model_at(panel_of(returns), 399)

    assert bool(torch.isfinite(loadings).all())
    assert bool((specific > 0).all())


def test_a_row_before_the_first_estimate_is_refused_with_the_first_that_has_one():
    panel = panel_of(RETURNS)
    solver = PositionSolver(RISK).estimate(panel)

    assert solver.costs.first_row == 60
    with pytest.raises(CostError, match=r"FactorRisk has no estimate at row 59: its first is at row 60. Start later"):
        solver.solve(np.zeros(N), market=panel.at([59]))
    with pytest.raises(CostError, match=r"differs from row to row: pass market=panel.at\(rows\)"):
        solver.solve(np.zeros(N))


def test_too_short_a_panel_is_refused():
    with pytest.raises(CostError, match="FactorRisk needs 61 rows of returns, the panel has 30"):
        RISK.estimate(panel_of(RETURNS[:30]))


def test_a_given_model_is_not_estimated():
    risk = FactorRisk(loadings=TRUE_LOADINGS, specific_variance=1e-4)

    assert risk.estimate(panel_of(RETURNS)) is risk
    assert risk.first_row == 0


def test_other_signs_of_returns_give_the_same_risk():
    panel, other = panel_of(RETURNS), panel_of(-RETURNS)
    q = torch.as_tensor(RNG.normal(size=(1, N)))
    held = torch.zeros_like(q)
    risks = [RISK.estimate(each).value(q, held, each.at([300])).sum() for each in (panel, other)]

    torch.testing.assert_close(risks[0], risks[1], rtol=1e-10, atol=0)
