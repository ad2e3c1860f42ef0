"""Tests of Sharpe ratios against published numbers, a slow reference and independent simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from backtest.analysis import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    sharpe_difference_bootstrap,
    sharpe_difference_test,
)
from backtest.errors import DataError, SettingsError


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


def pairs(rng, n, *, root=0.0):
    """Two fat-tailed series (n, 2) of one Sharpe ratio, correlated 0.5, autocorrelated by `root`."""
    x = rng.standard_t(6, (n + 50, 1)) + rng.standard_t(6, (n + 50, 2))
    for t in range(1, n + 50):
        x[t] += root * x[t - 1]
    return x[50:] + 0.2


def slow_bootstrap_p_value(a, b, *, seed, n_resamples, block):
    """Ledoit & Wolf (2008), section 3.2, as written: four moments, their gradient, and blocks one by one."""

    def ratio(r):
        return r[:, 0].mean() / r[:, 0].std(ddof=1) - r[:, 1].mean() / r[:, 1].std(ddof=1)

    def gradient(r):
        (m, k), (g, h) = r.mean(axis=0), (r**2).mean(axis=0)
        u, v = (g - m**2) ** 1.5, (h - k**2) ** 1.5
        return np.array([g / u, -h / v, -0.5 * m / u, 0.5 * k / v])

    returns = np.stack([a, b], axis=1)
    n = len(a)
    observed = sharpe_difference_test(a, b)
    starts = np.random.default_rng(seed).integers(n, size=(n_resamples, n // block))
    as_large = 0
    for starts_now in starts:
        rows = np.concatenate([(start + np.arange(block)) % n for start in starts_now])
        drawn = returns[rows]
        y = np.concatenate([drawn - drawn.mean(axis=0), drawn**2 - (drawn**2).mean(axis=0)], axis=1)
        psi = np.zeros((4, 4))
        for j in range(n // block):
            zeta = y[j * block : (j + 1) * block].sum(axis=0) / np.sqrt(block)
            psi += np.outer(zeta, zeta) / (n // block)
        error = np.sqrt(gradient(drawn) @ psi @ gradient(drawn) / n)
        as_large += abs(ratio(drawn) - ratio(returns)) / error >= abs(observed.statistic)
    return (as_large + 1) / (n_resamples + 1)


@pytest.mark.parametrize("block", [1, 4, 7])
def test_the_bootstrap_is_that_of_ledoit_and_wolf(block):
    a, b = pairs(np.random.default_rng(20), 90, root=0.2).T

    test = sharpe_difference_bootstrap(a, b + 0.05, seed=5, n_resamples=200, block=block)

    expected = slow_bootstrap_p_value(a, b + 0.05, seed=5, n_resamples=200, block=block)
    assert test.p_value == pytest.approx(expected, abs=1e-12)
    assert test.block == block
    assert test.statistic == sharpe_difference_test(a, b + 0.05).statistic


@pytest.mark.parametrize("root", [0.0, 0.4])
def test_the_bootstrap_rejects_a_true_null_about_one_time_in_twenty(root):
    """200 pairs of 80 periods: three standard errors of the share are 4.6%."""
    rng = np.random.default_rng(21)
    p_values = [
        sharpe_difference_bootstrap(*pairs(rng, 80, root=root).T, seed=i, n_resamples=199).p_value for i in range(200)
    ]

    assert 0.005 <= np.mean(np.array(p_values) <= 0.05) <= 0.1


def test_the_bootstrap_finds_a_better_book_and_is_the_same_for_the_same_seed():
    a, b = pairs(np.random.default_rng(22), 300).T
    better = a + 0.6

    first, again, turned, levered = (
        sharpe_difference_bootstrap(x, y, seed=3, n_resamples=500)
        for x, y in ((better, b), (better, b), (b, better), (1e-3 * better, 7 * b))
    )

    assert first == again
    assert first.p_value < 0.01
    assert turned.p_value == first.p_value == levered.p_value
    assert turned.difference == pytest.approx(-first.difference)


def test_a_bootstrap_that_cannot_be_computed_says_why():
    x = np.random.default_rng(23).normal(size=100)

    assert "move as one" in sharpe_difference_bootstrap(x, 2 * x, seed=0).reason
    assert "constant" in sharpe_difference_bootstrap(x, np.full(100, 0.01), seed=0).reason
    with pytest.raises(DataError, match="100 periods and b 99"):
        sharpe_difference_bootstrap(x, x[1:], seed=0)
    with pytest.raises(SettingsError, match="n_resamples=10"):
        sharpe_difference_bootstrap(x, -x, seed=0, n_resamples=10)
    for block in (0, 2.5, 51):
        with pytest.raises(SettingsError, match="block"):
            sharpe_difference_bootstrap(x, -x, seed=0, block=block)


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


def test_the_probabilistic_sharpe_ratio_is_not_deflated_by_trials():
    x = np.random.default_rng(17).normal(0.05, 1.0, 500)

    one = deflated_sharpe_ratio(x, n_trials=1)
    many = deflated_sharpe_ratio(x, n_trials=100, trial_sharpe_variance=0.001)
    unknown = deflated_sharpe_ratio(x, n_trials=100)

    assert one.probability == one.probabilistic == many.probabilistic == unknown.probabilistic
    assert many.probability < many.probabilistic
    assert np.isnan(unknown.probability)
