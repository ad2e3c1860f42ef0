"""Intervals and tests against published numbers, closed forms and independent simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from backtest.analysis import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    long_run_variance,
    probabilistic_sharpe_ratio,
    sharpe_difference_test,
    stationary_bootstrap_interval,
)
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


def test_sharpe_difference_of_normal_returns_has_memmels_standard_error():
    """Memmel (2003): T var = 2 - 2 r + (a^2 + b^2 - 2 a b r^2) / 2 for independent normal returns."""
    rng, r, a, b = np.random.default_rng(10), 0.6, 0.3, 0.1
    x = rng.standard_normal((20_000, 2)) @ np.linalg.cholesky([[1.0, r], [r, 1.0]]).T + [a, b]

    test = sharpe_difference_test(0.01 * x[:, 0], 0.03 * x[:, 1])

    memmel = np.sqrt((2 - 2 * r + 0.5 * (a**2 + b**2 - 2 * a * b * r**2)) / 20_000)
    assert test.standard_error == pytest.approx(memmel, rel=0.04)
    assert test.difference == pytest.approx(0.2, abs=4 * memmel)
    assert test.statistic == pytest.approx(test.difference / test.standard_error)


def test_sharpe_difference_test_rejects_a_true_null_about_one_time_in_twenty():
    rng = np.random.default_rng(11)
    p_values = []
    for _ in range(400):
        common = rng.standard_t(6, 300)
        a, b = (common + rng.standard_t(6, 300) + 0.1 for _ in range(2))
        p_values.append(sharpe_difference_test(a, b).p_value)

    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.085


def test_sharpe_difference_changes_sign_with_its_order_and_not_with_leverage():
    rng = np.random.default_rng(12)
    a, b = rng.normal(0.1, 1.0, 300), rng.normal(0.0, 1.0, 300)

    forward, backward, levered = (
        sharpe_difference_test(a, b),
        sharpe_difference_test(b, a),
        sharpe_difference_test(3 * a, 1e-3 * b),
    )

    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.p_value == pytest.approx(backward.p_value)
    assert forward.statistic == pytest.approx(levered.statistic)


def test_sharpe_ratios_that_cannot_be_compared_say_why():
    x = np.random.default_rng(13).normal(size=100)

    assert "constant" in sharpe_difference_test(x, np.full(100, 0.01)).reason
    assert "not finite" in sharpe_difference_test(x, np.where(np.arange(100) == 5, np.nan, x)).reason
    assert "move as one" in sharpe_difference_test(x, 2 * x).reason
    assert np.isnan(sharpe_difference_test(x, 2 * x).p_value)
    with pytest.raises(DataError, match="100 periods and b 99"):
        sharpe_difference_test(x, x[1:])


def test_the_worked_example_of_bailey_and_lopez_de_prado():
    """Their section "A numerical example": annual Sharpe 2.5 over 1250 days, 100 trials, skewness -3,
    kurtosis 10."""
    threshold = expected_maximum_sharpe(100, trial_sharpe_variance=0.5 / 250)

    probability = probabilistic_sharpe_ratio(
        2.5 / np.sqrt(250), threshold=threshold, n_periods=1250, skewness=-3.0, kurtosis=10.0
    )

    assert threshold == pytest.approx(0.1132, abs=5e-5)
    assert probability == pytest.approx(0.9004, abs=5e-5)


def test_expected_maximum_sharpe_is_that_of_simulated_trials():
    """The equation is the extreme-value limit, 1.5% high at 50 trials."""
    best = np.random.default_rng(14).normal(0.0, 0.2, (20_000, 50)).max(axis=1)

    assert expected_maximum_sharpe(50, trial_sharpe_variance=0.04) == pytest.approx(best.mean(), rel=0.02)


def test_one_trial_is_not_deflated_and_more_trials_deflate_more():
    x = np.random.default_rng(15).normal(0.05, 1.0, 500)

    probabilities = [
        deflated_sharpe_ratio(x, n_trials=n, trial_sharpe_variance=0.001).probability for n in (1, 10, 1000)
    ]

    sharpe = x.mean() / x.std(ddof=1)
    assert probabilities[0] == pytest.approx(norm.cdf(sharpe * np.sqrt(499)), abs=0.01)
    assert probabilities[0] > probabilities[1] > probabilities[2]


def test_a_deflated_sharpe_ratio_that_cannot_be_computed_says_why():
    x = np.random.default_rng(16).normal(size=100)

    for result, words in (
        (deflated_sharpe_ratio(np.full(100, 0.01), n_trials=1), "constant"),
        (deflated_sharpe_ratio(x[:5], n_trials=1), "too few"),
        (deflated_sharpe_ratio(np.r_[x, np.nan], n_trials=1), "not finite"),
        (deflated_sharpe_ratio(x, n_trials=9), "variance of the Sharpe ratio over the 9 trials is unknown"),
    ):
        assert np.isnan(result.probability)
        assert words in result.reason


@pytest.mark.parametrize(("n_trials", "variance"), [(0, 0.1), (2.5, 0.1), (-1, 0.1), (5, -0.1)])
def test_impossible_trials_are_refused(n_trials, variance):
    with pytest.raises(SettingsError, match="trial"):
        expected_maximum_sharpe(n_trials, trial_sharpe_variance=variance)
