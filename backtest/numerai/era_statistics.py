"""The mean of a score over eras, how sure it is, its Sharpe ratio and its drawdown.

Weekly eras with targets over four weeks overlap, so neighbouring scores go together and the usual `s / sqrt(T)` is half
of the truth. How far the overlap reaches is known (3 eras for 20-day targets, 11 for 60-day ones), so standard errors
are Hansen and Hodrick's: all autocovariances up to there with weight 1. As the mean is taken from the same scores, they
are divided by T - 1 - 2 lags instead of T. Overlap can only add to the variance of a mean, so it is never taken to be
less than without: where neighbours go against each other that is luck, or no overlap.

The Sharpe ratio is mean / standard deviation of era scores, not annualised; its standard error is by the delta method
on the same lags, and so allows for skew, tails and overlap. The drawdown is the largest fall of the running sum of
scores from its highest point, the start at 0 included.

Sources: Hansen & Hodrick, Journal of Political Economy 88 (1980); Lo, "The statistics of Sharpe ratios", Financial
Analysts Journal 58 (2002); Mertens (2002) for the influence function of a Sharpe ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.errors import SettingsError

__all__ = ["EraStatistics", "overlap_error"]


@dataclass(frozen=True)
class EraStatistics:
    """A score over eras; NaN where it cannot be had.

    Attributes:
        mean, error: of the era scores, and the standard error of the mean.
        sharpe, sharpe_error: mean / standard deviation, and its standard error.
        drawdown: largest fall of the running sum of scores, at least 0.
        n_eras: eras that have a score.

    Source: Hansen & Hodrick (1980), J. Political Economy 88, for standard errors under overlapping targets; Lo (2002),
    "The statistics of Sharpe ratios", and Mertens (2002) for that of the Sharpe ratio.
    """

    mean: float
    error: float
    sharpe: float
    sharpe_error: float
    drawdown: float
    n_eras: int

    @staticmethod
    def of(scores: np.ndarray, *, lags: int) -> EraStatistics:
        """Summarise `scores` (T,) in the order of eras; eras without a score (NaN) are passed over.

        `lags` is how many later eras the target of one overlaps: 3 for 20 days, 11 for 60.

        Raises:
            SettingsError: `lags` is negative.
        """
        x = np.asarray(scores, dtype=float)
        x = x[~np.isnan(x)]
        if not len(x):
            return EraStatistics(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
        mean, deviation = float(x.mean()), float(x.std())
        wealth = np.concatenate([[0.0], np.cumsum(x)])
        drawdown = float((np.maximum.accumulate(wealth) - wealth).max())
        if len(x) < 2 or deviation <= 1e-12 * abs(mean):
            return EraStatistics(mean, np.nan, np.nan, np.nan, drawdown, len(x))
        z = (x - mean) / deviation
        sharpe = mean / deviation
        influence = z - sharpe / 2 * (z**2 - 1)
        return EraStatistics(
            mean=mean,
            error=overlap_error(x, lags=lags),
            sharpe=sharpe,
            sharpe_error=overlap_error(influence, lags=lags),
            drawdown=drawdown,
            n_eras=len(x),
        )


def overlap_error(x: np.ndarray, *, lags: int) -> float:
    """Return the standard error of the mean of `x` (T,) whose neighbours up to `lags` overlap; NaN for fewer than 2.

    No more lags than (T - 4) / 3 are used.
    """
    if lags < 0:
        raise SettingsError(f"lags must be at least 0, got {lags}")
    n = len(x)
    if n < 2:
        return float("nan")
    e = x - x.mean()
    used = min(lags, max(0, (n - 4) // 3))
    alone = float(e @ e)
    together = alone + 2 * sum(float(e[lag:] @ e[:-lag]) for lag in range(1, used + 1))
    return float(np.sqrt(max(alone / (n * (n - 1)), together / (n * (n - 1 - 2 * used)))))
