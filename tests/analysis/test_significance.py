"""Intervals and the long-run variance against closed forms and independent simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from backtest.analysis import long_run_variance, stationary_bootstrap_interval
from backtest.errors import DataError, SettingsError


def autoregressive(rng, n, root):
    x = rng.standard_normal(n + 50)
    for t in range(1, n + 50):
        x[t] += root * x[t - 1]
    return x[50:]


def test_interval_is_the_same_for_the_same_seed_and_leaves_its_input_alone():
    x = np.random.default_rng(0).normal(0.001, 0.01, 200)
    before = x.copy()

    first = stationary_bootstrap_interval(x, seed=3, n_resamples=300)
    again = stationary_bootstrap_interval(x, seed=3, n_resamples=300)
    other = stationary_bootstrap_interval(x, seed=4, n_resamples=300)

    assert first == again
    assert first != other
    np.testing.assert_array_equal(x, before)


def test_interval_of_independent_data_is_students_interval():
    x = np.random.default_rng(1).normal(0.0, 0.01, 2000)

    interval = stationary_bootstrap_interval(x, seed=0, n_resamples=4000)

    half = norm.ppf(0.975) * x.std(ddof=1) / np.sqrt(2000)
    assert interval.mean == pytest.approx(x.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.06)
    assert interval.high - interval.mean == pytest.approx(interval.mean - interval.low)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_interval_scales_with_its_units_and_moves_with_its_mean(scale):
    x = np.random.default_rng(2).normal(0.0, 1.0, 150)
    base = stationary_bootstrap_interval(x, seed=0, n_resamples=200)

    moved = stationary_bootstrap_interval(scale * (x + 5.0), seed=0, n_resamples=200)

    assert moved.low == pytest.approx(scale * (base.low + 5.0), rel=1e-9)
    assert moved.high == pytest.approx(scale * (base.high + 5.0), rel=1e-9)


@pytest.mark.parametrize(("root", "least", "most"), [(0.0, 0.89, 0.99), (0.3, 0.87, 0.99)])
def test_interval_covers_the_mean_of_dependent_data(root, least, most):
    """200 AR(1) series of 200 periods: three standard errors of the share are 5%."""
    rng = np.random.default_rng(7)
    hits = 0
    for i in range(200):
        interval = stationary_bootstrap_interval(autoregressive(rng, 200, root), seed=i, n_resamples=200)
        hits += interval.low <= 0.0 <= interval.high

    assert least <= hits / 200 <= most


def test_positive_dependence_widens_the_interval():
    """The mean of an AR(1) has (1 + r) / (1 - r) times the variance of the mean of independent draws."""
    x = autoregressive(np.random.default_rng(8), 4000, 0.5)

    wide = stationary_bootstrap_interval(x, seed=0, n_resamples=500)
    blind = stationary_bootstrap_interval(x, seed=0, n_resamples=500, block=1)

    assert (wide.high - wide.low) / (blind.high - blind.low) == pytest.approx(np.sqrt(3.0), rel=0.12)
    assert wide.block > 5


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(50), "constant"),
        (np.full(50, 0.001), "constant"),
        (np.ones(19) * np.arange(19), "too few"),
        (np.array([]), "too few"),
        (np.r_[np.arange(30.0), np.nan], "1 of 31 values are not finite, the first in period 30"),
    ],
)
def test_a_series_without_an_interval_says_why(x, words):
    interval = stationary_bootstrap_interval(x, seed=0)

    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    assert words in interval.reason
    assert not interval.excludes_zero


@pytest.mark.parametrize(
    "settings", [{"level": 95}, {"level": 0.0}, {"n_resamples": 10}, {"block": 0.5}, {"block": 31}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match=next(iter(settings))):
        stationary_bootstrap_interval(np.arange(30.0), seed=0, **settings)


def test_a_table_is_not_a_series():
    with pytest.raises(DataError, match=r"\(30, 2\)"):
        stationary_bootstrap_interval(np.ones((30, 2)), seed=0)


@pytest.mark.parametrize("root", [-0.3, 0.0, 0.4])
def test_long_run_variance_of_an_autoregression(root):
    """Innovations of variance 1: 1 / (1 - root)^2."""
    x = autoregressive(np.random.default_rng(9), 20_000, root)

    assert long_run_variance(x) == pytest.approx(1 / (1 - root) ** 2, rel=0.06)
