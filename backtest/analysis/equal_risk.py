"""Two books at the same volatility, so that one is not called better for having taken more risk.

A hypothetical: nobody traded the rescaled book. Its net returns are the actual ones times a factor, as if
gross return and every cost grew in proportion to the positions. Spreads and fees do; market impact grows
faster, so that a book scaled up is flattered and one scaled down wronged; limits and the no-trade zone would
bind elsewhere; and interest on cash does not scale at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.analysis.series_checks import LEAST_PERIODS, two_series, why_unusable
from backtest.errors import SettingsError

__all__ = ["EqualRisk", "equal_risk"]


@dataclass(frozen=True, eq=False)
class EqualRisk:
    """Factors by which to multiply each book's net returns of each period, to give both one volatility.

    Attributes:
        factor_a: (S,) of the first book; NaN before `first`, or throughout with a `reason`.
        factor_b: (S,) of the second.
        first: first period with factors, counted from 0.
        reason: why there are none; None where there are.
    """

    factor_a: np.ndarray
    factor_b: np.ndarray
    first: int
    reason: str | None = None

    def difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return `a` less `b` at equal risk, (..., S - first): of the books themselves, or of each of their seeds.

        Args:
            a: net returns of the first book, (S,), or (n, S) of its seeds.
            b: of the second, in the same shape.
        """
        kept = slice(self.first, None)
        return self.factor_a[kept] * a[..., kept] - self.factor_b[kept] * b[..., kept]


def equal_risk(
    a: np.ndarray,
    b: np.ndarray,
    *,
    volatility: float | None = None,
    warm_up: int | None = None,
    lag: int = 1,
) -> EqualRisk:
    """Find the factors that give two books' net returns (S,) one volatility.

    Args:
        a: (S,) net returns of the first book, fractions per period; it is left as it is unless `volatility` is given.
        b: (S,) of the second, on the same dates.
        volatility: standard deviation per period to bring both to; None brings `b` to that of `a`.
        warm_up: None takes one factor a book from the standard deviation of all periods: exact equality, known only in
            hindsight. A number takes, for every period, the periods before it that were known when its trades were
            decided, at least so many of them (20 or more): nothing looks ahead, and volatility is equal only as far as
            the past foretells it.
        lag: with `warm_up`, periods from a decision to its fill: row s, known at its close, was filled at the close of
            row s - 1 and decided with rows up to s - 1 - lag.

    Raises:
        SettingsError: a volatility not above zero, a warm-up under 20 periods, a negative lag.
        DataError: series that are not of one length.
    """
    a, b = two_series(a, b)
    n = len(a)
    if volatility is not None and not (np.isfinite(volatility) and volatility > 0):
        raise SettingsError(f"volatility={volatility!r} must be a positive standard deviation per period, such as 0.01")
    if warm_up is not None and warm_up < LEAST_PERIODS:
        raise SettingsError(f"warm_up={warm_up!r} must be at least {LEAST_PERIODS} periods, better a year")
    if lag < 0:
        raise SettingsError(f"lag={lag!r} must be 0 or more periods")
    first = 0 if warm_up is None else warm_up + lag
    reason = why_unusable(a) or why_unusable(b)
    if reason is None and first >= n:
        reason = f"{n} periods leave none after a warm-up of {warm_up} and a lag of {lag}"
    if reason is None and warm_up is not None:
        reason = why_unusable(a[:warm_up]) or why_unusable(b[:warm_up])
        reason = None if reason is None else f"in the warm-up of {warm_up} periods: {reason}"
    if reason is not None:
        return EqualRisk(np.full(n, np.nan), np.full(n, np.nan), first, reason)
    risk_a, risk_b = (_known_deviation(x, first, lag) for x in (a, b))
    target = risk_a if volatility is None else np.full(n, volatility)
    return EqualRisk(target / risk_a, target / risk_b, first)


def _known_deviation(x: np.ndarray, first: int, lag: int) -> np.ndarray:
    """Standard deviation (S,), ddof 1, of all of `x` if `first` is 0, else of the rows before s - lag, from `first`."""
    n = len(x)
    if first == 0:
        return np.full(n, x.std(ddof=1))
    # Deviations from the first value: running sums then lose no digits to a common level.
    u = x - x[0]
    count = np.arange(first, n) - lag
    sums, squares = np.cumsum(u)[count - 1], np.cumsum(u**2)[count - 1]
    return np.concatenate([np.full(first, np.nan), np.sqrt((squares - sums**2 / count) / (count - 1))])
