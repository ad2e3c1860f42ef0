"""Sharpe ratios and luck: a test that two are equal, and the probability that one is above a threshold.

Inputs are net returns (S,) per period, in time order; Sharpe ratios are per period (times the root of the
periods in a year they are annual). What cannot be computed is NaN and the result's `reason` says why; a
setting out of range is a `SettingsError`.

Sources: Ledoit & Wolf, "Robust performance hypothesis testing with the Sharpe ratio", J. Empirical Finance 15
(2008). Bailey & Lopez de Prado, "The Sharpe ratio efficient frontier", J. Risk 15 (2012), and "The deflated
Sharpe ratio", J. Portfolio Management 40 (2014). Politis & White, Econometric Reviews 23 (2004), with the
correction of Patton, Politis & White, 28 (2009): the block length, by `arch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from backtest.analysis.series_checks import one_series, two_series, why_unusable
from backtest.analysis.significance import long_run_variance
from backtest.errors import SettingsError

__all__ = [
    "DeflatedSharpe",
    "SharpeDifference",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "probabilistic_sharpe_ratio",
    "sharpe_difference_bootstrap",
    "sharpe_difference_test",
]

_NUMBERS_AT_ONCE = 1_000_000  # of resampled returns: 8 MB an array
_MOVES_AS_ONE = "the two series move as one: nothing to test"


@dataclass(frozen=True)
class SharpeDifference:
    """Sharpe ratio of `a` less that of `b`, and the two-sided test that they are equal; NaN with a `reason` if
    undefined.

    Attributes:
        difference: per period unless `scaled`.
        standard_error: of the difference, in the same unit.
        statistic: difference over standard error.
        p_value: two-sided.
        reason: why there is no test; None where there is one.
        block: block length of the bootstrap behind `p_value`, periods; None where the p-value is the normal one.
    """

    difference: float
    standard_error: float
    statistic: float
    p_value: float
    reason: str | None = None
    block: int | None = None

    def scaled(self, factor: float) -> SharpeDifference:
        """Return the test of Sharpe ratios times a positive `factor`, such as the root of the periods in a year."""
        return replace(self, difference=self.difference * factor, standard_error=self.standard_error * factor)


@dataclass(frozen=True)
class DeflatedSharpe:
    """The probability that the true Sharpe ratio is above the best that luck shows; NaN with a `reason` when undefined.

    Attributes:
        probability: that the true ratio is above `threshold`: the deflated Sharpe ratio.
        sharpe: the ratio measured, per period.
        threshold: expected largest ratio of as many trials without skill, per period.
        probabilistic: the probability that the true ratio is above zero, as if no other model had been tried: the
            probabilistic Sharpe ratio.
        reason: why there is no probability; None where there is one.
    """

    probability: float
    sharpe: float
    threshold: float
    probabilistic: float
    reason: str | None = None


def sharpe_difference_test(a: np.ndarray, b: np.ndarray) -> SharpeDifference:
    """Test that two strategies' paired net returns have one Sharpe ratio, by the normal distribution.

    The delta method on the means and second moments with a kernel estimate of their long-run variance, so that neither
    normal nor independent returns are assumed. The prewhitened quadratic spectral estimate is applied to the linear
    combination the gradient picks out, which is one series and not four.

    Args:
        a: (S,) net returns of the first strategy, fractions per period, in time order.
        b: (S,) of the second, on the same dates.

    Raises:
        DataError: the two are not series of one length.

    Source: Ledoit & Wolf (2008), J. Empirical Finance 15, section 3.1, equation 4.
    """
    a, b = two_series(a, b)
    reason = why_unusable(a) or why_unusable(b)
    if reason is not None:
        return SharpeDifference(np.nan, np.nan, np.nan, np.nan, reason)

    influence = _sharpe_influence(a) - _sharpe_influence(b)
    difference = float(a.mean() / a.std(ddof=1) - b.mean() / b.std(ddof=1))
    if influence.std() <= 1e-9:
        return SharpeDifference(difference, np.nan, np.nan, np.nan, _MOVES_AS_ONE)
    error = float(np.sqrt(long_run_variance(influence) / len(a)))
    statistic = difference / error
    return SharpeDifference(difference, error, statistic, float(2.0 * ndtr(-abs(statistic))))


def sharpe_difference_bootstrap(
    a: np.ndarray, b: np.ndarray, *, seed: int, n_resamples: int = 2000, block: int | None = None
) -> SharpeDifference:
    """The test of `sharpe_difference_test` with the p-value of a studentised circular block bootstrap.

    Ledoit & Wolf (2008), section 3.2: pairs of returns are resampled in blocks, each resample is studentised by the
    standard error natural to blocks (Gotze & Kunsch, Annals of Statistics 24, 1996), and the p-value is the share of
    resamples whose statistic is at least the observed one (their remark 3.2, with the 1 added to count and total). The
    observed statistic keeps its kernel standard error, as theirs does.

    The block length of Ledoit & Wolf is calibrated by a second bootstrap, which costs thousands of times more.

    Preferred to the normal p-value for its size: of 2,000 tests at 5% of two equal books (1,000 each correlated
    0.5 and 0.9) of 60, 120 and 250 periods, these percentages rejected (normal p-value, bootstrap):

        independent normal      4.9 4.2 5.8    3.7 3.9 5.8
        independent t(6)        5.2 5.8 5.2    3.6 5.1 4.6
        GARCH(1,1) 0.08, 0.9    6.5 8.3 9.0    5.1 7.1 8.6
        AR(1) 0.2               5.9 6.2 5.3    4.2 5.3 5.0
        AR(1) 0.5               7.9 7.6 6.2    4.8 5.0 4.7

    Args:
        a: (S,) net returns of the first strategy, fractions per period, in time order.
        b: (S,) of the second, on the same dates.
        seed: of the resampling: same seed, same p-value.
        n_resamples: at least 100.
        block: block length, periods, at most half of S; None is the choice of Politis & White for the influence series.

    Raises:
        SettingsError: fewer than 100 resamples, or a block that does not fit.
        DataError: the two are not series of one length.
    """
    if n_resamples < 100:
        raise SettingsError(f"n_resamples={n_resamples!r} must be at least 100, better 2000")
    plain = sharpe_difference_test(a, b)
    a, b = two_series(a, b)
    n = len(a)
    if block is not None and not (1 <= block <= n // 2 and int(block) == block):
        raise SettingsError(f"block={block!r} must be a whole number of periods from 1 to half of the {n} there are")
    if plain.reason is not None:
        return plain

    block = _block_length(_sharpe_influence(a) - _sharpe_influence(b)) if block is None else int(block)
    n_blocks = n // block
    sums_a, sums_b = _BlockSums.of(a, block), _BlockSums.of(b, block)
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // n_blocks)
    as_large = 0
    for first in range(0, n_resamples, at_once):
        starts = rng.integers(n, size=(min(at_once, n_resamples - first), n_blocks))
        sharpe_a, influence_a = sums_a.drawn(starts)
        sharpe_b, influence_b = sums_b.drawn(starts)
        error = np.sqrt(((influence_a - influence_b) ** 2).mean(axis=1) / block / n)
        moved = np.abs(sharpe_a - sharpe_b - plain.difference)
        # A resample without variation has no statistic; it counts against a rejection.
        as_large += int((~(moved < abs(plain.statistic) * error)).sum())
    p_value = (as_large + 1) / (n_resamples + 1)
    return SharpeDifference(plain.difference, plain.standard_error, plain.statistic, p_value, block=block)


def deflated_sharpe_ratio(
    returns: np.ndarray, *, n_trials: int, trial_sharpe_variance: float = np.nan
) -> DeflatedSharpe:
    """Return the probability that a Sharpe ratio is above that of the best of many trials without skill.

    Skewness and kurtosis are those of the returns. Autocorrelation is not allowed for.

    Args:
        returns: (S,) net returns, fractions per period, in time order.
        n_trials: how many models were tried, this one included.
        trial_sharpe_variance: variance, over the trials, of their Sharpe ratios per period; one trial needs none.

    Raises:
        SettingsError: no trial, or a negative variance.
        DataError: `returns` is not one series.

    Source: Bailey & Lopez de Prado (2014), "The deflated Sharpe ratio", J. Portfolio Management 40, equations 1 and 2.
    """
    series = one_series(returns, "returns")
    threshold = expected_maximum_sharpe(n_trials, trial_sharpe_variance=trial_sharpe_variance)
    reason = why_unusable(series)
    if reason is not None:
        return DeflatedSharpe(np.nan, np.nan, threshold, np.nan, reason)
    # Imported here: it is slow to load.
    from scipy.stats import kurtosis, skew

    sharpe = float(series.mean() / series.std(ddof=1))

    def probability_above(level: float) -> float:
        return probabilistic_sharpe_ratio(
            sharpe,
            threshold=level,
            n_periods=len(series),
            skewness=float(skew(series)),
            kurtosis=float(kurtosis(series, fisher=False)),
        )

    if np.isnan(threshold):
        reason = f"the variance of the Sharpe ratio over the {n_trials} trials is unknown"
        return DeflatedSharpe(np.nan, sharpe, threshold, probability_above(0.0), reason)
    return DeflatedSharpe(probability_above(threshold), sharpe, threshold, probability_above(0.0))


def expected_maximum_sharpe(n_trials: int, *, trial_sharpe_variance: float = np.nan) -> float:
    """Return the expected largest of `n_trials` Sharpe ratios of no true skill.

    In the units of the square root of `trial_sharpe_variance`, their variance over the trials. One trial has nothing to
    choose from: 0.

    Raises:
        SettingsError: no trial, or a negative variance.

    Source: Bailey & Lopez de Prado (2014), "The deflated Sharpe ratio", J. Portfolio Management 40, equation 1.
    """
    if n_trials < 1 or int(n_trials) != n_trials:
        raise SettingsError(f"n_trials={n_trials!r} must be a whole number from 1 up: count every model that was tried")
    if trial_sharpe_variance < 0:
        raise SettingsError(f"trial_sharpe_variance={trial_sharpe_variance!r} must not be negative")
    if n_trials == 1:
        return 0.0
    below = ndtri(1.0 - 1.0 / n_trials)
    above = ndtri(1.0 - 1.0 / (n_trials * math.e))
    return float(np.sqrt(trial_sharpe_variance) * ((1.0 - np.euler_gamma) * below + np.euler_gamma * above))


def probabilistic_sharpe_ratio(
    sharpe: float, *, threshold: float = 0.0, n_periods: int, skewness: float, kurtosis: float
) -> float:
    """Return the probability that the true Sharpe ratio exceeds a threshold; NaN where the moments allow no variance.

    Args:
        sharpe: the ratio measured, per period.
        threshold: per period, too.
        n_periods: periods that it was measured over.
        skewness: of the returns.
        kurtosis: of the returns, the raw one: 3 for a normal distribution.

    Source: Bailey & Lopez de Prado (2012), "The Sharpe ratio efficient frontier", J. Risk 15; (2014), equation 2.
    """
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if not variance > 0 or n_periods < 2:
        return np.nan
    return float(ndtr((sharpe - threshold) * np.sqrt((n_periods - 1) / variance)))


def _sharpe_influence(r: np.ndarray) -> np.ndarray:
    """What each period of `r` (S,) adds to its Sharpe ratio: its gradient times both moments' deviations.

    In deviations u from the mean m: u / s - m (u^2 - s^2) / (2 s^3), which is Ledoit & Wolf's gradient in the
    mean and the second moment, without the cancellation of two large terms.
    """
    u, variance = r - r.mean(), r.var()
    return u / variance**0.5 - r.mean() / (2.0 * variance**1.5) * (u**2 - variance)


@dataclass(frozen=True, eq=False)
class _BlockSums:
    """Sums over the block of periods, going round, that starts at each period, of deviations and their squares."""

    mean: float
    block: int
    first: np.ndarray  # (S,)
    second: np.ndarray  # (S,)

    @classmethod
    def of(cls, r: np.ndarray, block: int) -> _BlockSums:
        mean = float(r.mean())
        around = np.concatenate([r, r[: block - 1]]) - mean
        first, second = (np.convolve(x, np.ones(block), mode="valid") for x in (around, around**2))
        return cls(mean, block, first, second)

    def drawn(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sharpe ratio (M,) of each resample of blocks that start at `starts` (M, L), and the sum of the resample's
        own influence over each of its blocks (M, L)."""
        first, second = self.first[starts], self.second[starts]
        n = starts.shape[1] * self.block
        moved = first.sum(axis=1, keepdims=True) / n
        mean, variance = self.mean + moved, second.sum(axis=1, keepdims=True) / n - moved**2
        with np.errstate(divide="ignore", invalid="ignore"):
            sharpe = mean / np.sqrt(variance * n / (n - 1))
            squares = second - 2.0 * moved * first + self.block * (moved**2 - variance)
            influence = (first - self.block * moved) / variance**0.5 - mean / (2.0 * variance**1.5) * squares
        return sharpe[:, 0], influence


def _block_length(x: np.ndarray) -> int:
    from arch.bootstrap import optimal_block_length

    z = (x - x.mean()) / x.std()
    # At least 8 blocks must be left for a standard error.
    return int(np.clip(np.ceil(optimal_block_length(z)["circular"].iloc[0]), 1, max(1, len(x) // 8)))
