"""The mean of a score over eras, how sure it is, its Sharpe ratio and its drawdown.

Weekly eras with targets over four weeks overlap, so neighbouring scores go together and the usual `s / sqrt(T)` is
too small. Standard errors are Newey and West's with as many lags as eras are purged (4 for 20-day targets, 12 for
60-day ones), but no more than a third of the eras, and the small-sample factor T / (T - 1). They are still too small
where scores overlap and eras are few: see `docs/numerai.md` for by how much.

The Sharpe ratio is mean / standard deviation of era scores, not annualised; its standard error is by the delta method
on the same lags, and so allows for skew, tails and overlap. The drawdown is the largest fall of the running sum of
scores from its highest point, the start at 0 included.

Sources: Newey & West, Econometrica 55 (1987); Lo, "The statistics of Sharpe ratios", Financial Analysts Journal 58
(2002); Mertens (2002) for the influence function of a Sharpe ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.errors import SettingsError

__all__ = ["EraStatistics", "newey_west_error"]


@dataclass(frozen=True)
class EraStatistics:
    """A score over eras; NaN where it cannot be had.

    Attributes:
        mean, error: of the era scores, and the standard error of the mean.
        sharpe, sharpe_error: mean / standard deviation, and its standard error.
        drawdown: largest fall of the running sum of scores, at least 0.
        n_eras: eras that have a score.
    """

    mean: float
    error: float
    sharpe: float
    sharpe_error: float
    drawdown: float
    n_eras: int

    @staticmethod
    def of(scores: np.ndarray, *, lags: int) -> EraStatistics:
        """Summarise scores (T,) in the order of eras; eras without a score (NaN) are passed over."""
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
            error=newey_west_error(x, lags=lags),
            sharpe=sharpe,
            sharpe_error=newey_west_error(influence, lags=lags),
            drawdown=drawdown,
            n_eras=len(x),
        )


def newey_west_error(x: np.ndarray, *, lags: int) -> float:
    """Return the standard error of the mean of `x` (T,) with Bartlett weights over `lags`; NaN for fewer than 2."""
    if lags < 0:
        raise SettingsError(f"lags must be at least 0, got {lags}")
    n = len(x)
    if n < 2:
        return float("nan")
    e = x - x.mean()
    used = min(lags, n // 3)
    variance = e @ e / n
    for lag in range(1, used + 1):
        variance += 2 * (1 - lag / (used + 1)) * (e[lag:] @ e[:-lag]) / n
    return float(np.sqrt(max(variance, 0.0) / (n - 1)))
