"""Whether a mean is more than luck: a bootstrap interval for it, and the long-run variance behind it.

Inputs are series of `S` period returns or differences of returns (S,), in time order. What cannot be computed
is NaN and the result's `reason` says why; a setting out of range is a `SettingsError`.

Sources: Politis & Romano, "The stationary bootstrap", JASA 89 (1994). Politis & White, "Automatic block-length
selection for the dependent bootstrap", Econometric Reviews 23 (2004), and Patton, Politis & White's
correction, 28 (2009): the mean block length, by `arch`. Andrews, Econometrica 59 (1991), and Andrews &
Monahan, Econometrica 60 (1992): the long-run variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backtest.analysis.series_checks import LEAST_PERIODS, one_series, why_unusable
from backtest.errors import SettingsError

__all__ = ["BootstrapInterval", "long_run_variance", "stationary_bootstrap_interval", "stationary_variance"]

_RESAMPLES_AT_ONCE = 250  # keeps memory under 50 MB at 8,000 periods
_LARGEST_ROOT = 0.97  # Andrews & Monahan (1992), section 3: keep the recolouring away from a unit root


@dataclass(frozen=True)
class BootstrapInterval:
    """A two-sided interval for a mean, in the units of its series; NaN with a `reason` when undefined.

    Attributes:
        mean: of the series, per period unless `scaled`.
        low, high: ends of the interval, in the same unit.
        level: confidence that it holds the true mean, such as 0.95.
        block: mean length of the resampled blocks, periods.
        n_resamples: of the bootstrap.
        n_periods: length of the series.
        reason: why there is no interval; None where there is one.
    """

    mean: float
    low: float
    high: float
    level: float
    block: float
    n_resamples: int
    n_periods: int
    reason: str | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False when it is undefined."""
        return self.low > 0 or self.high < 0

    def scaled(self, factor: float) -> BootstrapInterval:
        """Return the interval of the mean times a positive `factor`, such as the periods in a year."""
        return replace(self, mean=self.mean * factor, low=self.low * factor, high=self.high * factor)


def stationary_bootstrap_interval(
    x: np.ndarray,
    *,
    level: float = 0.95,
    seed: int,
    n_resamples: int = 2000,
    block: float | None = None,
) -> BootstrapInterval:
    """Return an interval for the mean of a series, as a paired difference by date, that allows for dependence in time.

    The interval is symmetric and studentised: mean +- c s, with `s` the standard error of the mean under the
    bootstrap itself (Politis & Romano 1994, lemma 1) and `c` the `level` quantile of |mean* - mean| / s* over
    resamples, each with its own s* by the same formula (a bootstrap t; Gotze & Kunsch, Annals of Statistics
    24, 1996). At 95% it covered the mean of simulated AR(1) series of 150 to 1000 periods, autocorrelation
    -0.2 to 0.5, 93 to 95% of the time; of 60 periods, 90% at 0.5. Percentile and basic intervals were
    tried and rejected: at autocorrelation 0.5 they covered 85% at 60 periods, 90% at 150 and 91% at 320.

    Args:
        x: (S,) in time order, of any unit; fewer than 20 periods, or a value that is unknown, give no interval.
        level: confidence, between 0 and 1.
        seed: of the resampling: same seed, same interval.
        n_resamples: at least 100.
        block: mean block length, periods; None is the choice of Politis & White (2004) as corrected by Patton, Politis
            & White (2009).

    Raises:
        SettingsError: a level outside 0 to 1, fewer than 100 resamples, or a block longer than the series.
        DataError: `x` is not one series.
    """
    if not 0 < level < 1:
        raise SettingsError(f"level={level!r} must lie between 0 and 1, such as 0.95")
    if n_resamples < 100:
        raise SettingsError(f"n_resamples={n_resamples!r} must be at least 100, better 2000")
    series = one_series(x, "x")
    n = len(series)
    if block is not None and not 1 <= block <= n:
        raise SettingsError(f"block={block!r} must be a mean block length from 1 to the {n} periods of the series")

    reason = why_unusable(series)
    if reason is not None:
        mean = float(series.mean()) if n and np.isfinite(series).all() else np.nan
        return BootstrapInterval(mean, np.nan, np.nan, level, np.nan, n_resamples, n, reason)

    from arch.bootstrap import StationaryBootstrap, optimal_block_length

    # Work on the standardised series: the interval scales with its input, and so must not depend on its
    # units.
    mean, scale = float(series.mean()), float(series.std())
    z = (series - mean) / scale
    if block is None:
        block = float(np.clip(optimal_block_length(z)["stationary"].iloc[0], 1.0, n))
    # arch asks for a whole number of periods in its type but takes any mean block length.
    bootstrap = StationaryBootstrap(block, z, seed=seed)  # type: ignore[arg-type]
    statistics = np.empty(n_resamples)
    resamples = (data[0][0] for data in bootstrap.bootstrap(n_resamples))
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        stop = min(start + _RESAMPLES_AT_ONCE, n_resamples)
        drawn = np.stack([next(resamples) for _ in range(start, stop)])
        error = np.sqrt(stationary_variance(drawn, 1.0 / block) / n)
        statistics[start:stop] = np.abs(drawn.mean(axis=1)) / np.maximum(error, 1e-12)
    half_width = float(np.quantile(statistics, level)) * scale * float(np.sqrt(stationary_variance(z, 1.0 / block) / n))
    return BootstrapInterval(mean, mean - half_width, mean + half_width, level, block, n_resamples, n)


def long_run_variance(x: np.ndarray) -> float:
    """Return the variance of sqrt(S) times the mean of `x` (S,), allowing for autocorrelation; NaN below 20 periods.

    Quadratic spectral kernel on AR(1)-prewhitened data with Andrews' automatic bandwidth, and the small-sample factor S
    / (S - 1). The unit is that of `x`, squared.

    Raises:
        DataError: `x` is not one series.

    Source: Andrews (1991), Econometrica 59, equations 5.3 and 6.4; Andrews & Monahan (1992), Econometrica 60, section
    3.
    """
    series = one_series(x, "x")
    n = len(series)
    if n < LEAST_PERIODS or np.isnan(series).any():
        return np.nan
    e = series - series.mean()
    if not e.any():
        return 0.0
    root = _first_order_root(e)
    u = e[1:] - root * e[:-1]
    again = _first_order_root(u)
    bandwidth = 1.3221 * (4.0 * again**2 / (1.0 - again) ** 4 * len(u)) ** 0.2
    covariance = np.correlate(u, u, mode="full")[len(u) - 1 :] / len(u)
    variance = covariance[0]
    if bandwidth > 1e-3:  # below it the kernel's weights are under 1e-6 at every lag
        angle = 6.0 * np.pi * np.arange(1, len(u)) / (5.0 * bandwidth)
        weight = 3.0 / angle**2 * (np.sin(angle) / angle - np.cos(angle))
        variance += 2.0 * weight @ covariance[1:]
    return float(max(variance, 0.0) / (1.0 - root) ** 2 * n / (n - 1))


def _first_order_root(e: np.ndarray) -> float:
    power = e[:-1] @ e[:-1]
    return float(np.clip(e[1:] @ e[:-1] / power, -_LARGEST_ROOT, _LARGEST_ROOT)) if power > 0 else 0.0


def stationary_variance(x: np.ndarray, p: float) -> np.ndarray:
    """Variance of sqrt(S) times the resampled mean of each row of `x` (..., S), blocks ending with
    probability `p`.

    Politis & Romano (1994), lemma 1: circular autocovariances c_k with weights (1 - k/S)(1-p)^k +
    (k/S)(1-p)^(S-k). The weighted sum over k is one inner product of spectra.
    """
    n = x.shape[-1]
    power = np.abs(np.fft.rfft(x - x.mean(axis=-1, keepdims=True), axis=-1)) ** 2 / n
    k = np.arange(n)
    weight = (1.0 - k / n) * (1.0 - p) ** k + (k / n) * (1.0 - p) ** (n - k)
    spectrum = np.fft.rfft(weight).real
    twice = np.full(power.shape[-1], 2.0)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    return power @ (spectrum * twice) / n
