"""Training: where it converges, what it may see, and that it repeats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import FactorRisk
from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training import OBJECTIVES, Network, Samples, TrainingSettings, fit_objectives
from backtest.training.loops import evaluate_path, train_on_error, train_on_path
from backtest.training.objectives import DECISION_OBJECTIVES, euclidean_metric, risk_metric
from backtest.training.stopping import BestOnValidation

TRAIN, VALIDATION = np.arange(0, 60), np.arange(64, 90)


def fitted(panel, solver, settings, *, objectives=OBJECTIVES, seeds=(0, 1)):
    samples = Samples.of(panel)
    fits = fit_objectives(
        samples, solver, objectives, train=TRAIN, validation=VALIDATION, seeds=seeds, settings=settings
    )
    return samples, fits


@pytest.mark.parametrize("name", ["squared", "whitened"])
def test_a_linear_model_converges_to_least_squares(toolbox, name):
    panel, _ = toolbox.panel(200)
    samples, rows = Samples.of(panel), np.arange(180)
    rng = np.random.default_rng(3)
    loadings, specific = 0.02 * rng.standard_normal((6, 2)), rng.uniform(1e-4, 4e-4, 6)
    solver = PositionSolver(FactorRisk(loadings=loadings, specific_variance=specific))
    metric = euclidean_metric(samples) if name == "squared" else risk_metric(samples, solver, rows)
    start = Network.initial(3, hidden=(), seeds=(0,), scale=samples.target_scale(rows))
    settings = TrainingSettings(hidden=(), epochs=600, patience=600, batch_rows=180, weight_decay=0.0)

    trained = train_on_error(samples, start, metric, train=rows, validation=rows, seeds=(0,), settings=settings).network

    x = np.concatenate([panel.features[rows], np.ones((180, 6, 1))], axis=2)
    weight = np.eye(6) if name == "squared" else np.linalg.inv(loadings @ loadings.T + np.diag(specific))
    normal = np.einsum("tik,ij,tjl->kl", x, weight, x)
    closed = np.linalg.solve(normal, np.einsum("tik,ij,tj->k", x, weight, panel.targets(1)[rows]))
    found = trained.scale * np.append(trained.weights[0].flatten().numpy(), trained.biases[0].item())
    np.testing.assert_allclose(found, closed, rtol=1e-3, atol=2e-6)


def test_two_fits_are_equal_to_the_last_bit(toolbox):
    panel, _ = toolbox.panel()

    samples, first = fitted(panel, toolbox.solver(), toolbox.small)
    _, second = fitted(panel, toolbox.solver(), toolbox.small)

    rows = np.arange(95, 115)
    for name in OBJECTIVES:
        assert np.array_equal(first[name].forecast(samples, rows), second[name].forecast(samples, rows))
        assert repr(first[name].record()) == repr(second[name].record())  # text, for NaN equals NaN in it


@pytest.mark.parametrize("trading", [0.0, 2e-3])
def test_a_seed_does_not_depend_on_its_company(toolbox, trading):
    panel, _ = toolbox.panel()
    # One choice, which validation cannot make differently for one seed and for three.
    settings = replace(toolbox.small, holding_periods=(2.0,), shrinkage=(1.0,), patience=1, epochs=8, path_epochs=6)
    solver = toolbox.solver(trading=trading)

    samples, together = fitted(panel, solver, settings, seeds=(4, 0, 9))
    _, alone = fitted(panel, solver, settings, seeds=(9,))

    rows = np.arange(95, 115)
    for name in OBJECTIVES:
        assert together[name].epoch[2] == alone[name].epoch[0]
        np.testing.assert_allclose(
            together[name].forecast(samples, rows)[2], alone[name].forecast(samples, rows)[0], rtol=1e-4, atol=1e-9
        )


def test_nothing_after_the_validation_targets_moves_training(toolbox):
    panel, _ = toolbox.panel()
    last = int(VALIDATION[-1]) + 2  # the row at which the last validation target is known
    garbled = panel.garbled_after(last)
    solver = PositionSolver(
        (20.0 * FactorRisk(n_factors=2, lookback=20, refit_every=5)) + toolbox.solver().costs,
        toolbox.solver().constraints,
    )
    train = np.arange(12, 60)

    def parameters(data):
        return fit_objectives(
            Samples.of(data),
            solver.estimate(data),
            OBJECTIVES,
            train=train,
            validation=VALIDATION,
            seeds=(0,),
            settings=toolbox.small,
        )

    true, other = parameters(panel), parameters(garbled)

    assert not np.array_equal(panel.returns[last + 1], garbled.returns[last + 1])
    for name in OBJECTIVES:
        for left, right in zip(true[name].network.parameters, other[name].network.parameters, strict=True):
            assert torch.equal(left, right)
        assert repr(true[name].record()) == repr(other[name].record())


def test_choices_are_those_best_on_validation(toolbox):
    panel, _ = toolbox.panel()

    _, fits = fitted(panel, toolbox.solver(), toolbox.small)

    for fit in fits.values():
        best = int(fit.validation_utility.mean(axis=1).argmax())
        assert (fit.holding_periods, fit.shrinkage) == toolbox.small.choices(depends_on_held=True)[best]


def test_the_utility_chosen_on_is_the_utility_of_the_network_returned(toolbox):
    panel, _ = toolbox.panel()
    samples, fits = fitted(panel, toolbox.solver(), toolbox.small)

    for fit in fits.values():
        path = evaluate_path(
            samples,
            toolbox.solver(),
            fit.network,
            VALIDATION,
            holding_periods=torch.full((2,), fit.holding_periods, dtype=torch.float64),
        )
        best = fit.validation_utility[fit.validation_utility.mean(axis=1).argmax()]
        np.testing.assert_allclose(path.utility.mean((1, 2)).numpy(), best, rtol=1e-4, atol=1e-9)


def test_decision_objectives_start_from_the_better_error_fit_of_each_seed(toolbox):
    panel, _ = toolbox.panel()
    settings = replace(toolbox.small, path_epochs=1, holding_periods=(2.0,))

    _, fits = fitted(panel, toolbox.solver(), settings)

    for seed in range(2):
        better = max(("squared", "whitened"), key=lambda name: fits[name].validation_utility[:, seed].max())
        for name in DECISION_OBJECTIVES:
            assert fits[name].warm_start[seed] == better
        # Epoch 0 is the warm start itself, so what stops on the utility realized in validation can only gain.
        for name in ("aligned", "spo_plus", "fenchel_young"):
            gained = fits[name].validation_utility[:, seed].max() - fits[better].validation_utility[:, seed].max()
            assert gained >= -1e-12


@pytest.mark.parametrize("name", DECISION_OBJECTIVES)
def test_a_model_whose_positions_are_all_stuck_at_first_stays_finite(toolbox, name):
    panel, _ = toolbox.panel()
    samples, solver = Samples.of(panel), toolbox.solver(l1=1.0)  # no forecast is worth a position

    trained = train_on_path(
        samples,
        Network.initial(3, hidden=(), seeds=(0,), scale=0.02),
        solver,
        train=TRAIN,
        validation=VALIDATION,
        seeds=(0,),
        holding_periods=torch.ones(1, dtype=torch.float64),
        objectives=[name],
        settings=replace(toolbox.small, smoothing=0.0),
    )

    assert float(trained.moved) == 0
    assert all(torch.isfinite(parameter).all() for parameter in trained.network.parameters)


def test_early_stopping_keeps_each_replica_at_its_best():
    def network(value):
        return Network((torch.tensor(value).reshape(2, 1, 1),), (torch.zeros(2, 1, 1),), 1.0)

    best = BestOnValidation(network([0.0, 0.0]), torch.tensor([5.0, 5.0]), patience=2)
    for value, losses in [(1.0, [4.0, 6.0]), (2.0, [3.0, 6.0]), (3.0, [3.5, 1.0]), (4.0, [3.2, 0.5])]:
        best.update(network([value, value]), torch.tensor(losses))

    # The second had no better loss for two epochs, and was done before it would have improved.
    assert best.network.weights[0].flatten().tolist() == [2.0, 0.0]
    assert best.epoch.tolist() == [2, 0]
    assert best.loss.tolist() == [3.0, 5.0]
    assert best.finished


def test_names_without_features_get_no_forecast(toolbox):
    panel, _ = toolbox.panel()
    features = panel.features.copy()
    features[100, 2] = np.nan
    samples, fits = fitted(replace(panel, features=features), toolbox.solver(), toolbox.small)

    p = fits["aligned"].forecast(samples, np.array([100, 101]))

    assert np.isnan(p[:, 0, 2]).all()
    assert np.isfinite(np.delete(p[:, 0], 2, axis=1)).all()
    assert np.isfinite(p[:, 1]).all()


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"smoothing": -1.0}, {"shrinkage": ()}, {"patience": 0}]
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        TrainingSettings(**wrong)
