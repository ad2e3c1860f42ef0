"""Superior ability: Hansen's equations one by one, its size and power on simulated returns, and its invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import StationaryBootstrap

from backtest.analysis import long_run_variance, superior_ability
from backtest.errors import DataError, SettingsError


def returns(rng, n, n_variants, *, root=0.0):
    """(n, n_variants) of mean 0, correlated 0.5 with each other, autocorrelated by `root`."""
    x = rng.standard_normal((n + 50, 1)) + rng.standard_normal((n + 50, n_variants))
    for t in range(1, n + 50):
        x[t] += root * x[t - 1]
    return x[50:]


def slow_p_values(d, *, block, seed, n_resamples):
    """Hansen (2005), section 3, on differences d (S, V): lower, consistent and upper, a resample at a time."""
    n, n_variants = d.shape
    p = 1.0 / block
    omega = np.empty(n_variants)
    for k in range(n_variants):
        e = d[:, k] - d[:, k].mean()
        omega[k] = e @ e / n
        for lag in range(1, n):
            weight = (n - lag) / n * (1 - p) ** lag + lag / n * (1 - p) ** (n - lag)
            omega[k] += 2 * weight * (e[lag:] @ e[:-lag]) / n
    omega = np.sqrt(omega)
    # The one change: observed means are studentised by the kernel estimate, resampled ones by the bootstrap's.
    observed = d.mean(axis=0) / np.sqrt([long_run_variance(x) for x in d.T])
    bound = -np.sqrt(2 * np.log(np.log(n)) / n)
    kept = [np.maximum(observed, 0.0), np.where(observed >= bound, observed, 0.0), observed]
    counts = np.zeros(3)
    for data, _ in StationaryBootstrap(block, d, seed=seed).bootstrap(n_resamples):
        resampled = (data[0].mean(axis=0) - d.mean(axis=0)) / omega + observed
        for i, recentred in enumerate(kept):
            counts[i] += max(0.0, (resampled - recentred).max()) > max(0.0, observed.max())
    return (counts + 1) / (n_resamples + 1)


def test_the_p_values_are_hansens():
    rng = np.random.default_rng(0)
    d = returns(rng, 120, 6, root=0.2) + np.array([0.25, 0.0, 0.1, -0.1, -0.9, -2.0])
    benchmark = rng.standard_normal(120)

    test = superior_ability(d + benchmark[:, None], benchmark, seed=4, n_resamples=300, block=3.0)

    expected = slow_p_values(d, block=3.0, seed=4, n_resamples=300)
    assert [test.lower, test.consistent, test.upper] == pytest.approx(expected.tolist(), abs=1e-12)
    assert 0 < test.lower <= test.consistent < test.upper < 0.5


@pytest.mark.parametrize("root", [0.0, 0.3])
def test_without_skill_it_rejects_about_one_time_in_twenty(root):
    """150 tests of 3 variants over 100 periods: three standard errors of the share are 5.3%."""
    rng = np.random.default_rng(1)
    p_values = [
        superior_ability(returns(rng, 100, 3, root=root), np.zeros(100), seed=i, n_resamples=100).consistent
        for i in range(150)
    ]

    assert 0.0 < np.mean(np.array(p_values) <= 0.05) <= 0.105


def test_one_truly_better_variant_among_many_is_found():
    """A mean of 0.3 standard deviations over 150 periods is 3.7 standard errors: nearly always shown."""
    rng = np.random.default_rng(2)
    found = []
    for i in range(30):
        variants = returns(rng, 150, 5)
        variants[:, 3] += 0.3 * np.sqrt(2.0)
        test = superior_ability(variants, np.zeros(150), seed=i, n_resamples=100)
        found.append(test.consistent <= 0.05 and test.best == "variant 3")

    assert np.mean(found) >= 0.8


def test_choosing_the_best_of_many_is_paid_for():
    """The p-value of the luckiest of 40 is far above the one it would have alone."""
    variants = returns(np.random.default_rng(3), 200, 40)
    luckiest = variants[:, [np.argmax(variants.mean(axis=0))]]

    alone, among_all = (superior_ability(x, np.zeros(200), seed=0, n_resamples=500) for x in (luckiest, variants))

    assert alone.consistent < 0.05
    assert among_all.consistent > 5 * alone.consistent


def test_order_names_and_units_change_nothing():
    rng = np.random.default_rng(4)
    variants, benchmark = returns(rng, 150, 5, root=0.2) + 0.1, rng.standard_normal(150)
    order = [3, 0, 4, 1, 2]
    frame = pd.DataFrame(variants, columns=list("abcde"))

    base = superior_ability(frame, benchmark, seed=9, n_resamples=300)
    shuffled = superior_ability(frame.iloc[:, order], benchmark, seed=9, n_resamples=300)
    scaled = superior_ability(1e-4 * frame, 1e-4 * benchmark, seed=9, n_resamples=300)

    assert base == superior_ability(frame, benchmark, seed=9, n_resamples=300)
    for other in (shuffled, scaled):
        assert (other.lower, other.consistent, other.upper, other.best) == (
            base.lower,
            base.consistent,
            base.upper,
            base.best,
        )
        assert other.statistic == pytest.approx(base.statistic)
    assert scaled.best_difference == pytest.approx(1e-4 * base.best_difference)


def test_a_wild_variant_and_a_poor_one_do_not_hide_a_good_one():
    """Without studentising, one variant of 100 times the deviation decides everything."""
    rng = np.random.default_rng(5)
    variants = returns(rng, 200, 2)
    variants[:, 0] += 0.5
    wild, poor = 100 * rng.standard_normal(200), rng.standard_normal(200) - 5.0
    wild -= wild.mean()

    alone = superior_ability(variants, np.zeros(200), seed=0, n_resamples=500)
    beside = superior_ability(np.column_stack([variants, wild, poor]), np.zeros(200), seed=0, n_resamples=500)

    assert alone.consistent < 0.02
    assert beside.consistent < 0.02


def test_nothing_better_than_the_benchmark_is_no_evidence():
    variants = returns(np.random.default_rng(6), 100, 3)
    variants -= variants.mean(axis=0) + 0.1

    test = superior_ability(variants, np.zeros(100), seed=0, benchmark_name="squared")

    assert (test.lower, test.consistent, test.upper, test.statistic) == (1.0, 1.0, 1.0, 0.0)
    assert test.sentence == "none of 3 variants earned more than squared"


def test_a_variant_that_is_the_benchmark_is_left_out():
    rng = np.random.default_rng(7)
    variants, benchmark = returns(rng, 100, 2), rng.standard_normal(100)

    with_itself = superior_ability(np.column_stack([benchmark, variants]), benchmark, seed=0, n_resamples=200)
    without = superior_ability(variants, benchmark, seed=0, n_resamples=200, names=["variant 1", "variant 2"])

    assert with_itself == without
    assert with_itself.n_variants == 2


def test_a_test_that_cannot_be_made_says_why():
    x = np.random.default_rng(8).normal(size=(100, 2))
    broken = x.copy()
    broken[7, 1] = np.nan

    for variants, benchmark, words in (
        (x, x[:, 0] - 0.01, "variant 0 less the benchmark: the series is constant"),
        (broken, x[:, 0], "variant 1 less the benchmark: 1 of 100 values are not finite, the first in period 7"),
        (x[:10], x[:10, 0], "too few"),
        (x[:, :1], x[:, 0], "every variant is the benchmark itself"),
    ):
        test = superior_ability(variants, benchmark, seed=0)
        assert words in test.reason
        assert words in test.sentence
        assert np.isnan(test.consistent)


def test_impossible_inputs_are_refused():
    x = np.random.default_rng(9).normal(size=(50, 2))

    for match, variants, benchmark, settings in (
        ("variants have 50 periods and benchmark 49", x, x[1:, 0], {}),
        (r"not of shape \(50,\)", x[:, 0], x[:, 0], {}),
        ("names has 1 names for 2 variants", x, x[:, 0], {"names": ["a"]}),
    ):
        with pytest.raises(DataError, match=match):
            superior_ability(variants, benchmark, seed=0, **settings)
    for settings in ({"n_resamples": 10}, {"block": 0.5}, {"block": 51}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            superior_ability(x, x[:, 0], seed=0, **settings)
