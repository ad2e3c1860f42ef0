"""Linear models in closed form, against dense sums, against the gradient loop, and what may move them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import FactorRisk
from backtest.solver import PositionSolver
from backtest.training import Network, Samples, TrainingSettings, fit_objectives
from backtest.training.linear import NormalEquations, fit_linear, ridge_path
from backtest.training.loops import train_on_error
from backtest.training.objectives import euclidean_metric, risk_metric

ROWS = np.arange(5, 100)


def gappy(toolbox, n_periods=120):
    panel, _ = toolbox.panel(n_periods)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[20:30, 2, 1], returns[40:45, 3] = np.nan, np.nan
    return Samples.of(replace(panel, features=features, returns=returns, tradable=None))


def metric_of(name, samples, rows):
    rng = np.random.default_rng(3)
    risk = FactorRisk(loadings=0.02 * rng.standard_normal((6, 2)), specific_variance=rng.uniform(1e-4, 4e-4, 6))
    return euclidean_metric(samples) if name == "squared" else risk_metric(samples, PositionSolver(risk), rows)


def dense(samples, metric, rows):
    """The normal equations row by row, with the metric of each row as a matrix on all names."""
    gram, cross, square = np.zeros((4, 4)), np.zeros(4), 0.0
    for row in rows:
        at = torch.tensor([row])
        matrix = np.column_stack([metric.apply(unit.reshape(1, -1), at)[0] for unit in torch.eye(6).double()])
        x = np.column_stack([samples.features[row].double().numpy(), np.ones(6)])
        y = samples.target[row].numpy()
        gram, cross, square = gram + x.T @ matrix @ x, cross + x.T @ matrix @ y, square + y @ matrix @ y
    return gram, cross, square


@pytest.mark.parametrize("name", ["squared", "whitened"])
def test_the_sums_are_those_of_dense_metrics_however_they_are_cut_into_blocks(toolbox, name, monkeypatch):
    samples = gappy(toolbox)
    metric = metric_of(name, samples, ROWS)
    gram, cross, square = dense(samples, metric, ROWS)

    for block in (2**22, 1, 7 * 24):
        monkeypatch.setattr("backtest.training.linear.LARGEST_BLOCK", block)
        found = NormalEquations.of(samples, metric, ROWS)

        np.testing.assert_allclose(found.gram, gram, rtol=1e-10)
        np.testing.assert_allclose(found.cross, cross, rtol=1e-9)
        assert found.square == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize("name", ["squared", "whitened"])
def test_the_closed_form_is_where_the_gradient_loop_converges(toolbox, name):
    samples = gappy(toolbox, 200)
    rows = np.arange(180)
    metric = metric_of(name, samples, rows)
    scale = samples.target_scale(rows)
    start = Network.initial(3, hidden=(), seeds=(0,), scale=scale)
    settings = TrainingSettings(hidden=(), epochs=400, patience=400, batch_rows=180, weight_decay=0.0)

    descended = train_on_error(samples, start, metric, train=rows, validation=rows, seeds=(0,), settings=settings)
    closed = fit_linear(samples, metric, train=rows, validation=rows, ridges=(0.0,), n_replicas=2, scale=scale)

    for found, expected in zip(descended.network.parameters, closed.network.parameters, strict=True):
        torch.testing.assert_close(found[0], expected[1], rtol=2e-3, atol=1e-4)
    # Nothing is better than the optimum, and the loop comes that near to it.
    assert float(descended.validation_loss) == pytest.approx(closed.validation_loss, rel=1e-7)


@pytest.mark.parametrize("ridge", [0.0, 0.05, 2.0])
def test_each_ridge_solves_its_own_first_order_condition(toolbox, ridge):
    samples = gappy(toolbox)
    equations = NormalEquations.of(samples, metric_of("whitened", samples, ROWS), ROWS)

    (found,) = ridge_path(equations, [ridge])

    ones = equations.gram[-1]
    curvature = np.diag(equations.gram)[:-1] - ones[:-1] ** 2 / ones[-1]
    penalty = np.append(ridge * curvature * found[:-1], 0.0)
    scale = np.abs(equations.cross).max()
    np.testing.assert_allclose((equations.gram @ found + penalty - equations.cross) / scale, 0, atol=1e-10)


def test_a_ridge_of_a_tenth_shrinks_a_lone_coefficient_by_an_eleventh(toolbox):
    samples = gappy(toolbox)
    one = replace(samples, features=samples.features[..., :1])
    equations = NormalEquations.of(one, euclidean_metric(one), ROWS)

    plain, shrunk = ridge_path(equations, [0.0, 0.1])

    assert shrunk[0] == pytest.approx(plain[0] * 10 / 11)


def test_constant_and_repeated_features_leave_the_others_as_they_are(toolbox):
    samples = gappy(toolbox)
    features = samples.features
    more = torch.cat([features, torch.full_like(features[..., :1], 3.0), features[..., :1]], dim=-1)
    crowded = replace(samples, features=more)

    (plain,) = ridge_path(NormalEquations.of(samples, euclidean_metric(samples), ROWS), [0.0])
    (found,) = ridge_path(NormalEquations.of(crowded, euclidean_metric(crowded), ROWS), [0.0])

    assert found[3] == 0
    np.testing.assert_allclose([found[0] + found[4], found[1], found[2], found[5]], plain, rtol=1e-6)


def test_the_ridge_is_the_one_with_the_least_loss_on_validation(toolbox):
    samples = gappy(toolbox)
    train, validation, ridges = np.arange(5, 25), np.arange(30, 100), (0.0, 0.1, 1.0, 10.0)
    metric = metric_of("squared", samples, ROWS)

    fit = fit_linear(samples, metric, train=train, validation=validation, ridges=ridges, n_replicas=1, scale=0.02)

    losses = []
    for ridge in ridges:
        one = fit_linear(samples, metric, train=train, validation=validation, ridges=(ridge,), n_replicas=1, scale=0.02)
        error = one.network.forecast(samples, torch.as_tensor(validation))[0] - samples.target[validation]
        losses.append(float(error[samples.scored[validation]].square().sum()) / len(validation))
        assert one.validation_loss == pytest.approx(losses[-1], rel=1e-5)
    assert fit.ridge == ridges[int(np.argmin(losses))]


def test_memory_does_not_grow_with_the_number_of_dates(toolbox, monkeypatch):
    monkeypatch.setattr("backtest.training.linear.LARGEST_BLOCK", 1000)
    peaks = []
    for n_periods in (60, 400):
        samples = gappy(toolbox, n_periods)
        metric = euclidean_metric(samples)
        seen = []
        apply = type(metric).apply

        def watched(self, error, rows, seen=seen, apply=apply):
            seen.append(error.numel())
            return apply(self, error, rows)

        monkeypatch.setattr(type(metric), "apply", watched)
        NormalEquations.of(samples, metric, np.arange(n_periods - 5))
        monkeypatch.setattr(type(metric), "apply", apply)
        peaks.append(max(seen))

    assert peaks[0] == peaks[1] <= 1000


def test_linear_models_of_all_seeds_start_decisions_from_the_closed_form(toolbox):
    panel, _ = toolbox.panel()
    samples = Samples.of(panel)
    train, validation = np.arange(0, 60), np.arange(64, 90)
    settings = replace(toolbox.small, hidden=(), path_epochs=1)

    fits = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared", "aligned"],
        train=train,
        validation=validation,
        seeds=(0, 1),
        settings=settings,
    )

    squared = fit_linear(
        samples,
        euclidean_metric(samples),
        train=train,
        validation=validation,
        ridges=settings.ridge,
        n_replicas=1,
        scale=samples.target_scale(train),
    )
    found = fits["squared"].network
    torch.testing.assert_close(found.weights[0][1], fits["squared"].shrinkage * squared.network.weights[0][0])
    assert torch.equal(found.weights[0][0], found.weights[0][1])
    assert fits["squared"].details["ridge"] == squared.ridge
    assert fits["aligned"].warm_start[0] in ("squared", "whitened")
