"""The four objectives on one era: values, gradients, and what does not depend on the era's size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.errors import DataError, SettingsError
from backtest.numerai import EraBatch, EraCosts, EraLosses
from backtest.numerai.era_losses import ERA_OBJECTIVES
from backtest.training.losses import aligned_loss, misaligned_loss

COSTS = EraCosts(exposure=0.5, ridge=0.02, l1=0.002, limit=4.0)
EXPOSED = np.arange(3)


def batch_of(n=30, k=6, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 5, (k, n)).astype(np.int8)
    return EraBatch(1, features, np.zeros(k, dtype=bool), rng.choice([0, 0.25, 0.5, 0.75, 1], n))


def forecasts(rows, n=30, seed=1):
    return 0.03 * torch.randn(rows, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def target(batch):
    return torch.from_numpy(batch.centred_target())


@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_of_every_objective_is_that_of_its_loss(training):
    batch, losses = batch_of(), EraLosses(ERA_OBJECTIVES)
    solver, p, y = COSTS.solver(batch, EXPOSED, training=training), forecasts(len(ERA_OBJECTIVES)), None
    y = target(batch)
    _, gradient = losses.judge(solver, p, y, era=1)
    direction = forecasts(len(ERA_OBJECTIVES), seed=2)
    step = 1e-6

    above, _ = losses.judge(solver, p + step * direction, y, era=1)
    below, _ = losses.judge(solver, p - step * direction, y, era=1)

    np.testing.assert_allclose((gradient * direction).sum(-1), (above - below) / (2 * step), rtol=2e-4, atol=1e-10)


def test_decision_losses_are_those_of_the_library():
    batch = batch_of()
    solver, p, y = COSTS.solver(batch, EXPOSED), forecasts(2), target(batch)

    found, _ = EraLosses(("aligned", "misaligned")).judge(solver, p, y, era=1)

    assert found[0] == pytest.approx(float(aligned_loss(solver, p[0], y)), abs=1e-14)
    assert found[1] == pytest.approx(float(misaligned_loss(solver, p[1], y)), abs=1e-14)


def test_whitened_is_the_error_in_the_inverse_of_the_smooth_part_of_the_cost():
    batch = batch_of()
    p, y = forecasts(1), target(batch)
    loadings = torch.from_numpy(batch.loadings(EXPOSED))
    hessian = 0.5 * loadings @ loadings.T + 0.02 * 30 * torch.eye(30, dtype=torch.float64)

    found, _ = EraLosses(("whitened",)).judge(COSTS.solver(batch, EXPOSED), p, y, era=1)

    assert float(found) == pytest.approx(float((p - y) @ torch.linalg.solve(hessian, (p - y).T)), rel=1e-10)


def test_an_era_twice_as_large_with_the_same_rows_twice_has_the_same_losses():
    once = batch_of()
    twice = once.rows(np.tile(np.arange(30), 2))
    p = forecasts(len(ERA_OBJECTIVES))
    losses = EraLosses(ERA_OBJECTIVES)

    small, _ = losses.judge(COSTS.solver(once, EXPOSED), p, target(once), era=1)
    large, _ = losses.judge(COSTS.solver(twice, EXPOSED), p.repeat(1, 2), target(twice), era=1)

    np.testing.assert_allclose(large, small, rtol=1e-8)


def test_positions_keep_their_limits_and_pay_for_exposure():
    batch = batch_of()
    free, dear = (replace(COSTS, exposure=weight).solver(batch, EXPOSED) for weight in (0.0, 100.0))
    p = 3 * forecasts(1)
    loadings = torch.from_numpy(batch.loadings(EXPOSED))

    books = [solver.solve(p).q[0] for solver in (free, dear)]

    for q in books:
        assert float(q.abs().max()) <= 4 / 30 + 1e-12
        assert float(q.sum()) == pytest.approx(0, abs=1e-12)
    exposures = [float((loadings.T @ q).norm()) for q in books]
    assert exposures[1] < 0.05 * exposures[0]


def test_a_forecast_equal_to_the_target_has_no_gradient_but_in_the_ablation():
    batch = batch_of()
    y = target(batch)
    names = ("squared", "whitened", "aligned", "misaligned")

    _, gradient = EraLosses(names).judge(COSTS.solver(batch, EXPOSED), y.expand(4, -1), y, era=1)

    assert float(gradient[:3].abs().max()) < 1e-12
    assert float(gradient[3].abs().max()) > 1e-3


@pytest.mark.parametrize(
    "setting", [{"ridge": 0.0}, {"exposure": -1.0}, {"l1": np.nan}, {"limit": 0.0}, {"smoothing": -1.0}]
)
def test_costs_that_are_none_are_refused(setting):
    with pytest.raises(SettingsError, match=next(iter(setting))):
        EraCosts(**setting)


def test_unknown_objectives_are_refused_by_name():
    with pytest.raises(SettingsError, match="sharpe"):
        EraLosses(("squared", "sharpe"))


def test_an_era_without_targets_is_refused():
    with pytest.raises(DataError, match="era 0001 has no target"):
        replace(batch_of(), target=None).centred_target()
