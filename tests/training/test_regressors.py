"""scikit-learn regressors behind the interface of every other model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression, Ridge

from backtest.errors import SettingsError
from backtest.training import RegressorLearner, Samples, WindowData, fit_objectives, fit_with
from backtest.training.linear import fit_linear
from backtest.training.objectives import euclidean_metric

TRAIN, VALIDATION = np.arange(0, 60), np.arange(64, 90)


def fitted(samples, toolbox, make, *, train=TRAIN, seeds=(0, 1), weights=None, **settings):
    """Fit what a function of the seed makes."""
    settings = replace(toolbox.small_forest, model="sklearn", regressor=make, **({"shrinkage": (1.0,)} | settings))
    data = WindowData(samples, toolbox.solver(trading=0.0), train, VALIDATION, seeds, settings)
    return fit_with(RegressorLearner(data, weights), ["squared"])["squared"]


def forest(seed):
    return ExtraTreesRegressor(n_estimators=10, min_samples_leaf=10, random_state=seed)


@pytest.fixture
def samples(toolbox):
    panel, _ = toolbox.panel()
    returns = panel.returns.copy()
    returns[:20, 4] = np.nan
    return Samples.of(replace(panel, returns=returns, tradable=None))


def test_least_squares_is_the_closed_form_on_the_scored_names(samples, toolbox):
    fit = fitted(samples, toolbox, lambda seed: LinearRegression())

    closed = fit_linear(
        samples,
        euclidean_metric(samples),
        train=TRAIN,
        validation=VALIDATION,
        ridges=(0.0,),
        n_replicas=2,
        scale=0.02,
    )
    rows = torch.arange(95, 115)
    torch.testing.assert_close(
        fit.network.forecast(samples, rows), closed.network.forecast(samples, rows), rtol=1e-4, atol=1e-7
    )


def test_weights_of_samples_count(samples, toolbox):
    weights = np.zeros(samples.scored.shape)
    weights[:30] = 1.0

    weighted = fitted(samples, toolbox, lambda seed: Ridge(), weights=weights)
    half = fitted(samples, toolbox, lambda seed: Ridge(), train=TRAIN[:30], seeds=(0,))

    rows = np.arange(95, 115)
    np.testing.assert_allclose(
        weighted.forecast(samples, rows)[0], half.forecast(samples, rows)[0], rtol=1e-4, atol=1e-8
    )


def test_seeds_repeat_do_not_depend_on_their_company_and_are_sized_on_validation(samples, toolbox):
    rows, settings = np.arange(95, 115), toolbox.small_forest

    together = fitted(samples, toolbox, forest, seeds=(4, 9), shrinkage=settings.shrinkage)
    again = fitted(samples, toolbox, forest, seeds=(4, 9), shrinkage=settings.shrinkage)
    alone = fitted(samples, toolbox, forest, seeds=(9,), shrinkage=(together.shrinkage,))

    p = together.forecast(samples, rows)
    assert np.array_equal(p, again.forecast(samples, rows))
    assert np.array_equal(p[1], alone.forecast(samples, rows)[0])
    best = int(together.validation_utility.mean(axis=1).argmax())
    assert (together.holding_periods, together.shrinkage) == settings.choices(depends_on_held=False)[best]


def test_nothing_after_the_validation_targets_moves_a_fit(samples, toolbox):
    garbled = Samples.of(samples.panel.garbled_after(int(VALIDATION[-1]) + 2))
    rows = np.arange(64, 90)

    true, other = (fitted(data, toolbox, forest) for data in (samples, garbled))

    assert np.array_equal(true.forecast(samples, rows), other.forecast(garbled, rows))
    assert repr(true.record()) == repr(other.record())


def test_a_regressor_that_gives_the_wrong_number_of_forecasts_is_refused(samples, toolbox):
    class Wrong(LinearRegression):
        def predict(self, X):
            return super().predict(X)[:-1]

    with pytest.raises(SettingsError, match=r"Wrong: predict gave \(155,\) for 156 samples"):
        fitted(samples, toolbox, lambda seed: Wrong())


def test_weights_of_another_shape_are_refused(samples, toolbox):
    with pytest.raises(SettingsError, match=r"weights have shape \(3,\), the samples \(120, 6\)"):
        fitted(samples, toolbox, lambda seed: Ridge(), weights=np.ones(3))


def test_a_dotted_name_with_parameters_makes_the_regressor_with_the_seed_as_its_random_state(samples, toolbox):
    rows = np.arange(95, 115)

    made = fitted(samples, toolbox, forest, seeds=(4, 9), shrinkage=toolbox.small_forest.shrinkage)
    named = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared"],
        train=TRAIN,
        validation=VALIDATION,
        seeds=(4, 9),
        settings=toolbox.small_forest,
    )["squared"]

    assert np.array_equal(made.forecast(samples, rows), named.forecast(samples, rows), equal_nan=True)
    assert not np.array_equal(*named.forecast(samples, rows))


def test_threads_are_refused_since_their_sums_differ(samples, toolbox):
    with pytest.raises(SettingsError, match="n_jobs must be left out or 1"):
        fitted(samples, toolbox, lambda seed: ExtraTreesRegressor(n_jobs=2))
