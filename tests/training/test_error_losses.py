"""Losses of forecasts against returns: each against a slow reference, its gradient against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from backtest.errors import SettingsError
from backtest.training import Network, Samples, TrainingSettings
from backtest.training.error_losses import SMALLEST_DISPERSION, RankCorrelation, error_loss, return_scale
from backtest.training.loops import train_on_error
from backtest.training.objectives import ERROR_OBJECTIVES

ROWS = np.arange(4, 30)


@pytest.fixture
def samples(toolbox):
    """Samples with an asset of unknown targets here and there, and some equal returns."""
    panel, _ = toolbox.panel(60)
    returns = panel.returns.copy()
    returns[8:14, 1] = np.nan
    returns[20, :3] = returns[20, 0]
    returns[25] = 0.01
    return Samples.of(replace(panel, returns=returns, tradable=np.ones_like(panel.tradable)))


def forecasts(*shape, seed=0, size=0.01):
    return torch.tensor(size * np.random.default_rng(seed).standard_normal((*shape, 6)))


@pytest.mark.parametrize("name", ERROR_OBJECTIVES)
def test_a_gradient_is_that_of_the_loss(samples, toolbox, name):
    loss, rows = error_loss(name, samples, toolbox.solver(), ROWS), torch.as_tensor(ROWS)
    p, y = forecasts(2, len(ROWS)), samples.target[rows]

    found = loss.gradient(p, y, rows)

    step = 1e-6
    differences = torch.zeros_like(p)
    for asset in range(6):
        bump = torch.zeros_like(p)
        bump[..., asset] = step
        differences[..., asset] = (loss.losses(p + bump, y, rows) - loss.losses(p - bump, y, rows)) / (2 * step)
    torch.testing.assert_close(found, differences, rtol=1e-6, atol=1e-6 * float(found.abs().max()))
    assert float(found[:, ~samples.scored[rows]].abs().max()) == 0


@pytest.mark.parametrize("name", ERROR_OBJECTIVES)
def test_replicas_with_rows_of_their_own_are_each_what_they_are_alone(samples, toolbox, name):
    loss = error_loss(name, samples, toolbox.solver(), ROWS)
    rows = torch.stack([torch.as_tensor(ROWS), torch.as_tensor(ROWS[::-1].copy())])
    p = forecasts(2, len(ROWS))

    together = loss.losses(p, samples.target[rows], rows), loss.gradient(p, samples.target[rows], rows)

    for r in range(2):
        alone = (
            loss.losses(p[r], samples.target[rows[r]], rows[r]),
            loss.gradient(p[r], samples.target[rows[r]], rows[r]),
        )
        for both, one in zip(together, alone, strict=True):
            torch.testing.assert_close(both[r], one, rtol=1e-13, atol=0)


def test_rank_correlation_is_that_of_forecasts_with_ranks(samples):
    loss, rows, p = RankCorrelation.of(samples, ROWS), torch.as_tensor(ROWS), forecasts(len(ROWS))

    found = loss.losses(p, samples.target[rows], rows)

    for place, row in enumerate(ROWS):
        on = samples.scored[row].numpy()
        ranks = stats.rankdata(samples.target[row].numpy()[on])
        flat = len(set(ranks)) == 1
        expected = 0.0 if flat else np.corrcoef(p[place].numpy()[on], ranks)[0, 1]
        assert float(found[place]) == pytest.approx(-expected, abs=1e-12)
    assert [len(set(samples.target[row].tolist())) for row in (18, 23)] == [4, 1]  # the ties are there


def test_rank_correlation_has_neither_scale_nor_level_and_its_gradient_turns_neither(samples):
    loss, rows, p = RankCorrelation.of(samples, ROWS), torch.as_tensor(ROWS), forecasts(len(ROWS))
    y = samples.target[rows]

    torch.testing.assert_close(loss.losses(7 * p + 0.3, y, rows), loss.losses(p, y, rows), rtol=1e-9, atol=1e-12)
    gradient = loss.gradient(p, y, rows)
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(len(rows)).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close((gradient * p).sum(-1), torch.zeros(len(rows)).double(), rtol=0, atol=1e-11)
    assert float(loss.losses(samples.target[rows], y, rows).mean()) < -0.8


def test_forecasts_that_are_all_equal_have_a_gradient_towards_the_ranks(samples):
    loss, rows = RankCorrelation.of(samples, ROWS), torch.as_tensor(ROWS)

    gradient = loss.gradient(torch.zeros(len(ROWS), 6).double(), samples.target[rows], rows)

    row = 0
    on = samples.scored[ROWS[row]]
    y = samples.target[ROWS[row]][on]
    ranks = torch.as_tensor(stats.rankdata(y.numpy())) - (len(y) + 1) / 2
    floor = SMALLEST_DISPERSION * (y - y.mean()).norm()
    torch.testing.assert_close(gradient[row][on], -ranks / ranks.norm() / floor, rtol=1e-12, atol=0)


def test_the_return_scale_is_the_slope_across_assets(samples):
    rows = torch.as_tensor(ROWS)
    y, scored = samples.target[rows], samples.scored[rows]
    p = torch.stack([5 * y + 3.0 + forecasts(len(ROWS), seed=1), -y, torch.full_like(y, 0.2)])

    found = return_scale(p, y, scored)

    u, v = [], []
    for row in range(len(rows)):
        on = scored[row]
        u.append(p[0, row][on] - p[0, row][on].mean())
        v.append(y[row][on] - y[row][on].mean())
    slope = np.linalg.lstsq(torch.cat(u).numpy()[:, None], torch.cat(v).numpy(), rcond=None)[0][0]
    np.testing.assert_allclose(found.numpy(), [slope, 0.0, 0.0], rtol=1e-10)


def test_a_model_trained_on_rank_correlation_finds_the_direction_and_comes_in_return_units(toolbox):
    panel, coefficients = toolbox.panel(400, signal=0.01, noise=0.02)
    samples, rows = Samples.of(panel), np.arange(380)
    start = Network.initial(3, hidden=(), seeds=(0, 1), scale=samples.target_scale(rows))
    settings = TrainingSettings(hidden=(), epochs=60, patience=60, batch_rows=64, weight_decay=0.0)

    trained = train_on_error(
        samples,
        start,
        RankCorrelation.of(samples, rows),
        train=rows,
        validation=rows,
        seeds=(0, 1),
        settings=settings,
    )

    found = trained.network.scale * trained.network.weights[0].squeeze(-1).double().numpy()
    np.testing.assert_allclose(
        found, [coefficients, coefficients], atol=1.5e-3
    )  # least squares: 0.5e-3 a standard error
    p = trained.network.forecast(samples, torch.as_tensor(rows))
    # In return units once is in return units for good.
    np.testing.assert_allclose(
        return_scale(p.detach(), samples.target[rows], samples.scored[rows]).numpy(), [1.0, 1.0], rtol=1e-6
    )


def test_a_decision_objective_is_no_error_loss(samples, toolbox):
    with pytest.raises(SettingsError, match="'aligned' is not an objective of forecast error"):
        error_loss("aligned", samples, toolbox.solver(), ROWS)
