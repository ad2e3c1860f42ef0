"""A small set of price features, causal and on one scale at every date.

Every feature of row t uses returns up to row t only. Windows are fractions of a year, so they mean the same
in daily, weekly and monthly panels. At each date a feature is ranked among the names that have it.

Sources: reversal, Jegadeesh 1990; momentum without the last month, Jegadeesh & Titman 1993; volatility, Ang,
Hodrick, Xing & Zhang 2006; distance from the 52-week high, George & Hwang 2004; beta, Frazzini & Pedersen
2014.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.market.panel import MarketPanel

__all__ = ["price_features"]

# a window counts when this share of its returns is known
_KNOWN_SHARE = 0.8


def price_features(panel: MarketPanel) -> MarketPanel:
    """Add eight features made from returns, ranked into [-1, 1] at each date.

    With month, quarter and year the nearest whole number of periods, l = log(1 + return), and sums over the
    window that ends at t:

    - `reversal_1p`: -l of the last period. Left out in monthly panels, where it is `reversal_1m`.
    - `reversal_1m`: -sum of l over a month.
    - `momentum_6_1`: sum of l over half a year, without the last month.
    - `momentum_12_1`: sum of l over a year, without the last month.
    - `volatility_1y`: standard deviation of returns over a year.
    - `volatility_ratio`: the same over a quarter, divided by that over a year.
    - `distance_from_high`: log of price over its highest in a year (from returns; 0 at the high).
    - `beta_1y`: slope over a year of the name's return on the mean return of the names known at each date.

    A feature is NaN where under 80% of its window's returns are known, and where the name is not tradable.
    Ranks: the lowest of n names gets -1, the highest 1, equal values their mean rank; one name alone gets 0.

    Args:
        panel: returns (T, N); its own features, if any, are replaced.

    Returns:
        The panel with features (T, N, 8), or 7 in monthly panels.
    """
    year = max(round(panel.periods_per_year), 2)
    half, quarter, month = (max(round(panel.periods_per_year / n), 1) for n in (2, 4, 12))
    returns = panel.returns
    # a total loss has log -inf, which would turn sums into NaN: floored at a loss of 1 - 1e-9
    logs = np.log1p(np.maximum(returns, -1 + 1e-9))
    volatility = _std(returns, year)
    raw = {
        "reversal_1p": -logs,
        "reversal_1m": -_sum(logs, month),
        "momentum_6_1": _lagged(_sum(logs, half - month), month),
        "momentum_12_1": _lagged(_sum(logs, year - month), month),
        "volatility_1y": volatility,
        "volatility_ratio": _ratio(_std(returns, quarter), volatility),
        "distance_from_high": _distance_from_high(logs, year),
        "beta_1y": _beta(returns, year),
    }
    if month == 1:
        del raw["reversal_1p"]
    ranked = [_ranked(np.where(panel.tradable, values, np.nan)) for values in raw.values()]
    return panel.with_features(np.stack(ranked, axis=2), list(raw))


def _rolling(values: np.ndarray, window: int) -> pd.api.typing.Rolling:
    return pd.DataFrame(values).rolling(window, min_periods=max(int(np.ceil(_KNOWN_SHARE * window)), 1))


def _sum(values: np.ndarray, window: int) -> np.ndarray:
    return _rolling(values, window).sum().to_numpy()


def _std(values: np.ndarray, window: int) -> np.ndarray:
    return _rolling(values, window).std().to_numpy()


def _lagged(values: np.ndarray, rows: int) -> np.ndarray:
    lagged = np.full(values.shape, np.nan)
    lagged[rows:] = values[:-rows]
    return lagged


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _distance_from_high(logs: np.ndarray, year: int) -> np.ndarray:
    level = np.where(np.isnan(logs), np.nan, np.cumsum(np.where(np.isnan(logs), 0.0, logs), axis=0))
    return level - _rolling(level, year).max().to_numpy()


def _beta(returns: np.ndarray, year: int) -> np.ndarray:
    known = np.isfinite(returns)
    market = np.where(known, _mean_of_known(returns)[:, None], np.nan)
    count = _sum(known.astype(np.float64), year)
    sum_r, sum_m = _sum(returns, year), _sum(market, year)
    covariance = _sum(returns * market, year) - sum_r * sum_m / count
    variance = _sum(market**2, year) - sum_m**2 / count
    return _ratio(covariance, variance)


def _mean_of_known(returns: np.ndarray) -> np.ndarray:
    """Mean (T,) over the names known at each date, the same to the last bit in any column order."""
    ordered = np.sort(returns, axis=1)  # NaN last
    count = np.isfinite(returns).sum(axis=1)
    total = np.cumsum(np.where(np.isnan(ordered), 0.0, ordered), axis=1)[:, -1]
    return np.divide(total, count, out=np.full(len(returns), np.nan), where=count > 0)


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks in [-1, 1] along each row, NaN kept."""
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    count = np.isfinite(ranks).sum(axis=1, keepdims=True)
    return 2 * (ranks - 1) / np.maximum(count - 1, 1) - np.where(count > 1, 1.0, 0.0)
