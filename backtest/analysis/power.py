"""How long a difference of this size takes to be told from luck, and how small a difference this history could show.

The two-sided test that a mean is zero, at large sample size: with long-run standard deviation `s` (of the root
of S times the mean of S periods) a true mean `m` is found significant at level 1 - a with probability `power`
after ((z_{1-a/2} + z_power) s / m)^2 periods (the chance of being significant on the wrong side is left out).
Standard; for example Lehmann & Romano, Testing Statistical Hypotheses (3rd ed., 2005), section 11.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from backtest.analysis.series_checks import one_series, why_unusable
from backtest.analysis.significance import long_run_variance
from backtest.errors import SettingsError

__all__ = ["PowerStatement", "power_statement"]

_MANY_YEARS = 10_000
_ZERO = 1e-12  # a mean this small beside its standard deviation is rounding error


@dataclass(frozen=True)
class PowerStatement:
    """What a true difference as large as the measured one would need; NaN with a `reason` when undefined.

    Attributes:
        mean: of the series, per period.
        deviation: long-run standard deviation per period, autocorrelation allowed for.
        periods_needed: for a two-sided test at `level` to show a true mean of that size with probability `power`;
            infinite when the mean is zero.
        smallest_difference: the smallest true mean, per period, that the `n_periods` at hand would show with that
            probability.
        n_periods: length of the series.
        periods_per_year: 252, 52 or 12.
        level: of confidence, such as 0.95.
        power: probability of a true mean to be shown, such as 0.8.
        reason: why it is undefined; None where it is not.
    """

    mean: float
    deviation: float
    periods_needed: float
    smallest_difference: float
    n_periods: int
    periods_per_year: float
    level: float
    power: float
    reason: str | None = None

    @property
    def years_needed(self) -> float:
        """`periods_needed` in years."""
        return self.periods_needed / self.periods_per_year

    @property
    def needed(self) -> str:
        """How long it would need, as the end of a sentence."""
        if self.reason is not None:
            return f"how long it would need is unknown: {self.reason}"
        if math.isinf(self.periods_needed):
            return "no length of history would tell it from luck"
        if self.years_needed > _MANY_YEARS:
            return f"would need more than {_MANY_YEARS:,} years to be told from luck"
        return f"would need about {_years(self.years_needed)} to be told from luck"

    @property
    def sentence(self) -> str:
        """How long it would need, and what this history could show, in one clause."""
        return self.needed if self.reason is not None else f"{self.needed}; {self.could_show}"

    @property
    def could_show(self) -> str:
        """How small a difference this history could show, as a clause; empty where it is not known."""
        if self.reason is not None:
            return ""
        smallest = 100 * self.smallest_difference * self.periods_per_year
        digits = min(max(1, 1 - math.floor(math.log10(smallest))), 6)
        there_are = _years(self.n_periods / self.periods_per_year)
        return f"{there_are} could show {smallest:.{digits}f}% a year (power {100 * self.power:g}%)"

    def to_dict(self) -> dict[str, Any]:
        """Return the statement with differences a year, as fractions of wealth."""
        return {
            "periods_needed": self.periods_needed,
            "years_needed": self.years_needed,
            "smallest_difference": self.smallest_difference * self.periods_per_year,
            "level": self.level,
            "power": self.power,
            "reason": self.reason,
            "sentence": self.sentence,
        }


def power_statement(
    x: np.ndarray, *, periods_per_year: float, level: float = 0.95, power: float = 0.8
) -> PowerStatement:
    """State how long a history it takes to tell the mean of a series from luck.

    With long-run standard deviation `s` a true mean `m` is found significant at level 1 - a with probability `power`
    after ((z_{1-a/2} + z_power) s / m)^2 periods. The measured mean and long-run variance are taken as the true ones,
    so the answer is as uncertain as they are: a mean one standard error either way of a `t` statistic of 2 moves it by
        a
    factor of 4 up or of 2 down. It is for planning the next test; it adds nothing to the p-value of this one.

    Args:
        x: (S,) in time order, a paired difference by date.
        periods_per_year: 252, 52 or 12.
        level: of confidence of the two-sided test.
        power: probability of the true mean to be found significant.

    Raises:
        SettingsError: a level or power outside 0 to 1, or periods_per_year that is not a positive number.
        DataError: `x` is not one series.

    Source: Lehmann & Romano (2005), *Testing Statistical Hypotheses*, section 11.2.
    """
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise SettingsError(
                f"{name}={value!r} must lie between 0 and 1, such as {0.95 if name == 'level' else 0.8}"
            )
    if not (np.isfinite(periods_per_year) and periods_per_year > 0):
        raise SettingsError(f"periods_per_year={periods_per_year!r} must be a positive number, such as 252, 52 or 12")
    year = float(periods_per_year)
    series = one_series(x, "x")
    n = len(series)
    reason = why_unusable(series)
    variance = np.nan if reason is not None else long_run_variance(series)
    if reason is None and not variance > 0:
        reason = "its long-run variance is estimated as zero"
    if reason is not None:
        mean = float(series.mean()) if n and np.isfinite(series).all() else np.nan
        return PowerStatement(mean, np.nan, np.nan, np.nan, n, year, level, power, reason)
    mean, deviation = float(series.mean()), float(np.sqrt(variance))
    distance = float(ndtri(0.5 + level / 2) + ndtri(power)) * deviation
    zero = abs(mean) <= _ZERO * series.std()
    needed = math.inf if zero else (distance / mean) ** 2
    return PowerStatement(mean, deviation, needed, distance / math.sqrt(n), n, year, level, power)


def _years(years: float) -> str:
    return f"{years:,.0f} years" if years >= 20 else f"{years:.1f} years"
