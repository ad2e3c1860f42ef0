"""Gradients through the positions held: against finite differences of a whole chunk."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
import torch

from backtest.costs import CvxpyCost, DollarNeutral, FullyInvested, Ridge, TradingCost, TurnoverLimit
from backtest.errors import SettingsError, SolverError
from backtest.solver import PositionSolver
from backtest.training import Samples, TrainingSettings
from backtest.training.path import walk
from backtest.training.row_losses import ROW_OBJECTIVES
from backtest.training.through_time import drifted

LENGTH = 6


class Squares(CvxpyCost):
    """A cost outside the canonical form, as far as the solver knows."""

    def expression(self, x, held, market):
        return 1e-2 * cp.sum_squares(x)


def make_walk(toolbox, solver, *, names=ROW_OBJECTIVES, seed=0, n_chunks=1, gaps=True):
    """A function of forecasts (R, C, L, N) that walks them, and forecasts; a name cannot be traded in some rows."""
    panel, _ = toolbox.panel(40)
    features, returns = panel.features.copy(), panel.returns.copy()
    if gaps:
        features[2:4, 0] = np.nan
        returns[6, 3] = np.nan
    samples = Samples.of(replace(panel, features=features, returns=returns, tradable=np.ones_like(panel.tradable)))
    rng = np.random.default_rng(seed)
    n_replicas = len(names)
    p = torch.tensor(0.015 * rng.standard_normal((n_replicas, n_chunks, LENGTH, 6)))
    held = torch.tensor(0.1 * rng.standard_normal((n_replicas, n_chunks, 6)))
    rows = torch.arange(n_chunks * LENGTH).reshape(n_chunks, LENGTH).repeat(n_replicas, 1, 1)
    everyone = torch.arange(n_replicas)
    periods = torch.full((n_replicas,), 2.0, dtype=torch.float64)

    def walked(forecast, *, pick=everyone, chunk=slice(None), **options):
        return walk(
            samples,
            solver,
            p=forecast,
            rows=rows[pick][:, chunk],
            held=held[pick][:, chunk],
            holding_periods=periods[pick],
            objectives=[names[number] for number in pick],
            **options,
        )

    return walked, p, samples.scored[rows]


def differences(walked, p, *, weight=1.0, step=1e-6):
    """Central differences of each replica's total loss in its forecasts (R, 1, L, N): each bump is a replica."""
    n_replicas, size = len(p), p[0].numel()
    bumps = step * torch.eye(size).double().reshape(1, size, *p.shape[1:])
    pick = torch.arange(n_replicas).repeat_interleave(size)
    weight = torch.as_tensor(weight).expand(*p.shape[:-1])[pick].double()
    up, down = (
        (weight * walked((p.unsqueeze(1) + sign * bumps).flatten(0, 1), pick=pick).loss).sum((1, 2)) for sign in (1, -1)
    )
    return ((up - down) / (2 * step)).reshape(p.shape)


@pytest.mark.parametrize(("smoothing", "form"), [(0.02, "huber"), (0.02, "sqrt"), (0.0, "huber")])
def test_the_gradient_is_that_of_a_chunks_total_loss(toolbox, smoothing, form):
    solver = replace(toolbox.solver(), smoothing=smoothing, smoothing_form=form)
    walked, p, scored = make_walk(toolbox, solver)

    path = walked(p, through_time=True)

    expected = differences(walked, p)
    # A return that is not known counts as forecast without error, as data: no difference sees that.
    error = torch.where(scored, path.gradient - expected, 0.0).abs().amax(-1)
    error = error / expected.abs().amax((1, 2, 3), keepdim=True)[..., 0]
    # Pieces of a quadratic, exact but for rounding; one or another difference crosses the edge of a piece.
    assert int((error > 2e-6).sum()) <= 1, error
    assert path.failed.tolist() == [0] * len(ROW_OBJECTIVES)
    # Held as given is another gradient, but for the last row, which nothing comes after.
    given = walked(p).gradient
    torch.testing.assert_close(path.gradient[:, :, -1], given[:, :, -1], rtol=1e-8, atol=1e-10)
    assert float((path.gradient - given)[:, :, :-1].abs().max()) > 0.01 * float(given.abs().max())


def test_a_limit_on_turnover_carries_too(toolbox):
    solver = PositionSolver(toolbox.solver(trading=0.0).costs, [TurnoverLimit(0.2)], smoothing=0.02)
    walked, p, _ = make_walk(toolbox, solver, names=("aligned",), gaps=False)

    found = walked(p, through_time=True).gradient

    expected = differences(walked, p)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_weights_of_rows_weigh_their_losses(toolbox):
    walked, p, _ = make_walk(toolbox, replace(toolbox.solver(), smoothing=0.02), gaps=False)
    weight = torch.tensor(np.random.default_rng(1).uniform(-1, 2, (len(ROW_OBJECTIVES), 1, LENGTH)))

    found = walked(p, weigh=lambda loss: weight, through_time=True).gradient

    expected = differences(walked, p, weight=weight)
    error = (found - expected).abs().amax(-1) / expected.abs().amax()
    assert int((error > 2e-6).sum()) <= 1, error


def test_without_costs_of_what_is_held_nothing_comes_back(toolbox):
    walked, p, _ = make_walk(toolbox, toolbox.solver(trading=0.0), gaps=False)

    found = walked(p, through_time=True).gradient

    torch.testing.assert_close(found, walked(p).gradient, rtol=1e-9, atol=1e-11)


def test_chunks_and_replicas_side_by_side_equal_each_alone(toolbox):
    walked, p, _ = make_walk(toolbox, toolbox.solver(), n_chunks=3)

    together = walked(p, through_time=True).gradient

    for r in range(len(ROW_OBJECTIVES)):
        for c in range(3):
            pick, chunk = torch.tensor([r]), slice(c, c + 1)
            alone = walked(p[r : r + 1, chunk], pick=pick, chunk=chunk, through_time=True).gradient
            torch.testing.assert_close(together[r, c], alone[0, 0], rtol=1e-9, atol=1e-12)


def test_rows_that_cannot_be_solved_have_no_gradient_and_pass_on_what_they_held(toolbox):
    clashing = PositionSolver(Ridge() + TradingCost(half_spread=1e-3), [DollarNeutral(), FullyInvested()])
    walked, p, _ = make_walk(toolbox, clashing, gaps=False)

    path = walked(p, through_time=True)

    assert path.failed.tolist() == [LENGTH] * len(ROW_OBJECTIVES)
    assert float(path.gradient.abs().max()) == 0


def test_drift_is_what_the_market_makes_of_weights():
    q, y = torch.tensor([[0.5, -0.2]]).double(), torch.tensor([[0.1, 0.5]]).double()

    torch.testing.assert_close(drifted(q, y), torch.tensor([[0.55, -0.3]]).double() / 0.95)


def test_a_cvxpy_cost_is_refused_with_the_cure(toolbox):
    walked, p, _ = make_walk(toolbox, PositionSolver(Squares() + Ridge()), names=("aligned",), gaps=False)

    with pytest.raises(SolverError, match="leave through_time=False"):
        walked(p, through_time=True)


def test_flat_training_through_time_is_a_contradiction():
    with pytest.raises(SettingsError, match="leave path=True"):
        TrainingSettings(path=False, through_time=True)
