"""Means over eras that overlap: standard errors, Sharpe ratios, drawdowns."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import SettingsError
from backtest.numerai.era_statistics import EraStatistics, overlap_error


def overlapping(rng, n):
    """Scores whose targets span four eras: a moving average of independent ones."""
    return np.convolve(rng.normal(size=n + 3), np.ones(4) / 4, mode="valid")


def test_without_lags_the_error_is_the_textbook_one():
    x = np.random.default_rng(0).normal(size=50)

    assert overlap_error(x, lags=0) == pytest.approx(x.std(ddof=1) / np.sqrt(50))


def test_the_error_of_a_small_series_is_the_one_by_hand():
    e = np.array([1.0, 2.0, 4.0, 3.0, 2.0, 1.0, 1.0]) - 2
    by_hand = e @ e + 2 * (e[1:] @ e[:-1])

    assert overlap_error(e + 2, lags=1) == pytest.approx(np.sqrt(by_hand / (7 * (7 - 1 - 2))))


def test_neighbours_that_go_against_each_other_do_not_make_a_mean_surer():
    swinging = np.tile([1.0, -1.0], 20) + 0.01 * np.arange(40)

    assert overlap_error(swinging, lags=3) == overlap_error(swinging, lags=0)


@pytest.mark.parametrize("n", [52, 200])
def test_overlapping_scores_have_the_true_error_and_the_naive_one_is_half_of_it(n):
    rng = np.random.default_rng(1)
    draws = [overlapping(rng, n) for _ in range(1000)]
    truth = np.std([x.mean() for x in draws])

    def size(lags):
        return np.sqrt(np.mean([overlap_error(x, lags=lags) ** 2 for x in draws]))

    assert size(3) == pytest.approx(truth, rel=0.06)
    assert size(0) == pytest.approx(0.51 * truth, rel=0.08)


def test_the_error_of_a_sharpe_ratio_is_near_the_truth():
    rng = np.random.default_rng(2)
    found = [EraStatistics.of(0.5 + rng.normal(size=150), lags=0) for _ in range(400)]
    truth = np.std([one.sharpe for one in found])

    assert np.mean([one.sharpe_error for one in found]) == pytest.approx(truth, rel=0.08)


def test_the_drawdown_counts_from_the_start():
    assert EraStatistics.of(np.array([-0.1, 0.0, 0.05]), lags=0).drawdown == pytest.approx(0.1)
    assert EraStatistics.of(np.array([0.1, -0.3, 0.1, -0.1]), lags=0).drawdown == pytest.approx(0.3)
    assert EraStatistics.of(np.array([0.1, 0.2]), lags=0).drawdown == 0


def test_eras_without_a_score_are_passed_over():
    x = np.array([0.1, np.nan, 0.3, 0.2])

    assert EraStatistics.of(x, lags=1) == EraStatistics.of(x[~np.isnan(x)], lags=1)


@pytest.mark.parametrize("x", [[], [np.nan], [0.2], [0.2, 0.2, 0.2]])
def test_what_cannot_be_had_is_nan(x):
    found = EraStatistics.of(np.array(x, dtype=float), lags=4)

    assert np.isnan(found.error)
    assert np.isnan(found.sharpe)


def test_negative_lags_are_refused():
    with pytest.raises(SettingsError, match="at least 0"):
        overlap_error(np.arange(4.0), lags=-1)
