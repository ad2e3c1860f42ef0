"""Performance of a series of returns: growth, risk, and what a forecast's ranks are worth.

Every function takes the net returns of `S` periods, fractions of wealth just before the period, and works on

* an array, time on the last axis: (S,) gives one number, (B, S) gives (B,);
* a `Series` (S,), which gives one number, or a `DataFrame` (S, B) with a row a period, which gives a `Series`
by column.

Numbers given are returns, whatever their size: nothing is guessed to be a price. `periods_per_year` is always
given (252, 52 or 12) and never read off a calendar. An unknown return (NaN) makes the result unknown; no
period at all, or an infinite return, is a `DataError`.

Sources: Sharpe, "The Sharpe Ratio" (1994); Sortino & van der Meer, "Downside Risk" (1991); Grinold & Kahn,
*Active Portfolio Management* (2000), chapter 6, for the information coefficient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from backtest.errors import DataError, SettingsError

__all__ = [
    "InformationCoefficient",
    "Returns",
    "annual_return",
    "annual_volatility",
    "coefficient_of",
    "drawdown",
    "information_coefficient",
    "max_drawdown",
    "mean_annual_return",
    "mean_by_date",
    "performance_table",
    "rank_correlations",
    "sharpe_ratio",
    "sortino_ratio",
    "total_return",
]

Returns: TypeAlias = np.ndarray | pd.Series | pd.DataFrame

# A standard deviation below this is the rounding error of one constant return: returns are differences of
# numbers near 1, known to 2e-16, and a mean of S of them loses a few digits more.
_CONSTANT = 1e-14
_LEAST_NAMES = 3


def total_return(returns: Returns) -> Any:
    """Compound growth over all periods, a fraction: the product of (1 + return), less 1.

    Wealth at or below zero stays where it is: nothing is left to earn the later returns, known or not.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
    """
    return _over_time(returns, lambda r: _wealth(r)[..., -1] - 1.0)


def annual_return(returns: Returns, *, periods_per_year: float) -> Any:
    """Compound annual growth rate, a fraction a year; -1 when all wealth is lost.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.
        periods_per_year: 252, 52 or 12, as given and never read off a calendar.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.
    """
    years = _checked(periods_per_year)

    def compound(r: np.ndarray) -> np.ndarray:
        return np.maximum(_wealth(r)[..., -1], 0.0) ** (years / r.shape[-1]) - 1.0

    return _over_time(returns, compound)


def mean_annual_return(returns: Returns, *, periods_per_year: float) -> Any:
    """Arithmetic mean return times the periods in a year: a fraction a year that adds up over costs.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.
        periods_per_year: 252, 52 or 12, as given and never read off a calendar.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.
    """
    years = _checked(periods_per_year)
    return _over_time(returns, lambda r: r.mean(axis=-1) * years)


def annual_volatility(returns: Returns, *, periods_per_year: float) -> Any:
    """Standard deviation (ddof 1) scaled by the root of the periods in a year; NaN for a single period.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.
        periods_per_year: 252, 52 or 12, as given and never read off a calendar.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.
    """
    years = _checked(periods_per_year)
    return _over_time(returns, lambda r: _deviation(r) * np.sqrt(years))


def sharpe_ratio(returns: Returns, *, periods_per_year: float, cash_return: float = 0.0) -> Any:
    """Mean over standard deviation (ddof 1) of the returns above cash, annualised by the root of the periods in a year.

    Constant returns have no risk to divide by: the result is NaN.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.
        periods_per_year: 252, 52 or 12, as given and never read off a calendar.
        cash_return: what cash earns, a fraction per period, the same in all.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.

    Source: Sharpe (1994), "The Sharpe Ratio", J. Portfolio Management 21, equations 3 to 6.
    """
    years = _checked(periods_per_year)

    def ratio(r: np.ndarray) -> np.ndarray:
        return _quotient(r.mean(axis=-1) - cash_return, _deviation(r), scale=_scale(r)) * np.sqrt(years)

    return _over_time(returns, ratio)


def sortino_ratio(returns: Returns, *, periods_per_year: float, required_return: float = 0.0) -> Any:
    """Mean over downside deviation of the returns above a required one, annualised by the root of the periods in a
    year.

    The downside deviation is the root of the mean, over *all* periods, of the squared shortfalls. With no shortfall the
    result is NaN.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.
        periods_per_year: 252, 52 or 12, as given and never read off a calendar.
        required_return: a fraction per period; what is below it falls short.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.

    Source: Sortino & van der Meer (1991), "Downside Risk", J. Portfolio Management 17.
    """
    years = _checked(periods_per_year)

    def ratio(r: np.ndarray) -> np.ndarray:
        excess = r - required_return
        downside = np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2, axis=-1))
        return _quotient(excess.mean(axis=-1), downside, scale=_scale(r)) * np.sqrt(years)

    return _over_time(returns, ratio)


def drawdown(returns: Returns) -> Any:
    """Return wealth below its highest so far, a fraction <= 0 at the end of each period.

    The start, before the first period, counts as a high: a loss in the first period is a drawdown.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.

    Returns:
        The same shape as `returns`, with its labels.

    Raises:
        DataError: no period, an infinite return, or what is no number.
    """
    values = _values(returns)
    wealth = _wealth(values)
    highest = np.maximum(np.maximum.accumulate(wealth, axis=-1), 1.0)
    fall = wealth / highest - 1.0
    if isinstance(returns, pd.Series):
        return pd.Series(fall, index=returns.index, name=returns.name)
    if isinstance(returns, pd.DataFrame):
        return pd.DataFrame(fall.T, index=returns.index, columns=returns.columns)
    return fall


def max_drawdown(returns: Returns) -> Any:
    """Return the deepest drawdown, a fraction <= 0; 0 when wealth never falls below an earlier high.

    Args:
        returns: net returns of S periods, fractions of wealth just before the period: (S,), (B, S), a Series, or a
            DataFrame (S, B) with a row a period.

    Returns:
        A number for one series, (B,) for an array of several, a Series by column for a DataFrame; NaN where a return is
        unknown.

    Raises:
        DataError: no period, an infinite return, or what is no number.
    """
    return _over_time(returns, lambda r: drawdown(r).min(axis=-1))


class InformationCoefficient(NamedTuple):
    """The mean rank correlation of forecasts with what followed, and its t statistic over dates.

    Attributes:
        mean: over dates, between -1 and 1; NaN when no date is usable.
        t_statistic: the mean over its standard error, dates taken as independent; NaN with one date.
        n_dates: dates with a rank correlation.
    """

    mean: float
    t_statistic: float
    n_dates: int


def information_coefficient(p: np.ndarray, y: np.ndarray) -> InformationCoefficient:
    """Return the mean over dates of the Spearman rank correlation across names, with its t statistic.

    A name counts on a date when forecast and return are both known; ties share their mean rank. A date with fewer than
    3 such names, or with all forecasts or all returns equal, has no rank correlation and is left out. The t statistic
    takes the dates as independent, which one-period targets that do not overlap nearly are. No usable date gives NaN;
    one date, no t statistic.

    Args:
        p: (T, N) forecasts.
        y: (T, N) the returns that they were forecasts of (`MarketPanel.targets`).

    Raises:
        DataError: the two are not of one shape (T, N).

    Source: Grinold & Kahn (2000), *Active Portfolio Management*, chapter 6.
    """
    return coefficient_of(rank_correlations(p, y))


def coefficient_of(correlations: np.ndarray) -> InformationCoefficient:
    """Mean and t statistic of `rank_correlations` (T,), as `information_coefficient` says."""
    correlation = correlations[np.isfinite(correlations)]
    n = len(correlation)
    if n == 0:
        return InformationCoefficient(np.nan, np.nan, 0)
    mean = float(correlation.mean())
    error = correlation.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
    return InformationCoefficient(mean, float(mean / error) if error > _CONSTANT else np.nan, n)


def rank_correlations(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman rank correlation (T,) across names between `p` and `y` (T, N), date by date.

    NaN on the dates that `information_coefficient`, which is their mean, leaves out; it says which.
    """
    from scipy.stats import rankdata

    p, y = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    if p.ndim != 2 or p.shape != y.shape:
        raise DataError(f"forecasts {p.shape} and returns {y.shape} must have one shape (T, N): align them by label")
    known = np.isfinite(p) & np.isfinite(y)
    counts = known.sum(axis=1)
    rows = counts >= _LEAST_NAMES
    known, counts = known[rows], counts[rows, None]
    correlation = np.full(len(p), np.nan)
    if not len(known):
        return correlation
    middle = (counts + 1) / 2
    ranks = [rankdata(np.where(known, x[rows], np.nan), axis=1, nan_policy="omit") - middle for x in (p, y)]
    a, b = (np.where(known, rank, 0.0) for rank in ranks)
    spread = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    correlation[np.flatnonzero(rows)[spread > 0]] = (a * b).sum(axis=1)[spread > 0] / spread[spread > 0]
    return correlation


def mean_by_date(correlations: Sequence[np.ndarray], dates: pd.DatetimeIndex) -> pd.Series:
    """Mean over books of their `rank_correlations`, (T,) each, by date; dates without any are left out."""
    means = pd.DataFrame(np.stack(correlations)).mean()
    return pd.Series(means.to_numpy(), index=dates).dropna()


def performance_table(returns: Mapping[str, Any] | pd.DataFrame, *, periods_per_year: float) -> pd.DataFrame:
    """Return one row a series, one column a measure, and a note where a measure is undefined.

    Args:
        returns: name -> (S,) net returns, fractions; or a DataFrame (S, names) with a column a series.
        periods_per_year: 252, 52 or 12.

    Returns:
        Indexed by name. Returns and volatility are fractions, a year but for total_return; ratios are annual;
        max_drawdown is <= 0; "note" is text, empty where all is defined.

    Raises:
        DataError: a series is not (S,), holds no period, an infinite return, or what is no number.
        SettingsError: periods_per_year is not a positive number.
    """
    years = {"periods_per_year": periods_per_year}
    rows = {}
    for name, values in returns.items():
        series = np.asarray(values, dtype=float)
        if series.ndim != 1:
            raise DataError(f"{name!r}: returns must be one series (S,), not {series.shape}")
        rows[name] = {
            "total_return": total_return(series),
            "annual_return": annual_return(series, **years),
            "mean_annual_return": mean_annual_return(series, **years),
            "annual_volatility": annual_volatility(series, **years),
            "sharpe_ratio": sharpe_ratio(series, **years),
            "sortino_ratio": sortino_ratio(series, **years),
            "max_drawdown": max_drawdown(series),
            "note": _note(series),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _note(series: np.ndarray) -> str:
    if np.isnan(series).any():
        return f"{int(np.isnan(series).sum())} of {len(series)} returns are unknown: no measure is given"
    if len(series) == 1:
        return "one period: volatility and Sharpe ratio are undefined"
    if _deviation(series) <= _CONSTANT * _scale(series):
        return "constant returns: the Sharpe ratio is undefined"
    if series.min() >= 0:
        return "no losing period: the Sortino ratio is undefined"
    return ""


def _over_time(returns: Returns, measure: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Apply `measure` (..., S) -> (...), and give back what the caller's type calls for."""
    result = measure(_values(returns))
    if isinstance(returns, pd.DataFrame):
        return pd.Series(result, index=returns.columns)
    return float(result) if np.ndim(result) == 0 else result


def _values(returns: Returns) -> np.ndarray:
    """Time on the last axis, float64, checked."""
    try:
        values = np.asarray(returns, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"returns must be numbers: {error}") from error
    if isinstance(returns, pd.DataFrame):
        values = values.T
    if values.ndim == 0 or values.shape[-1] == 0:
        raise DataError(f"returns of shape {values.shape} hold no period: give at least one")
    if np.isinf(values).any():
        period = int(np.argwhere(np.isinf(values))[0, -1])
        raise DataError(
            f"period {period} (counted from 0) has an infinite return: correct the price before it, perhaps 0"
        )
    return values


def _wealth(r: np.ndarray) -> np.ndarray:
    """Wealth from a start of 1, frozen at ruin: two returns below -100% must not multiply to a gain."""
    factors = 1.0 + r
    ruined = np.maximum.accumulate(factors <= 0.0, axis=-1)
    factors[..., 1:][ruined[..., :-1]] = 1.0
    return np.cumprod(factors, axis=-1)


def _checked(periods_per_year: float) -> float:
    if not (np.isfinite(periods_per_year) and periods_per_year > 0):
        raise SettingsError(f"periods_per_year={periods_per_year!r} must be a positive number, such as 252, 52 or 12")
    return float(periods_per_year)


def _deviation(r: np.ndarray) -> np.ndarray:
    return r.std(axis=-1, ddof=1) if r.shape[-1] > 1 else np.full(r.shape[:-1], np.nan)


def _scale(r: np.ndarray) -> np.ndarray:
    return np.maximum(1.0, np.abs(r).max(axis=-1))


def _quotient(mean: np.ndarray, deviation: np.ndarray, *, scale: np.ndarray) -> np.ndarray:
    """The ratio, NaN without a warning where the deviation is nothing but rounding error."""
    risky = deviation > _CONSTANT * scale
    return np.where(risky, mean / np.where(risky, deviation, 1.0), np.nan)
