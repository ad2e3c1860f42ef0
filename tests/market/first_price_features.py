"""The eight price features as they were first written, on whole arrays: the oracle of `price_features`.

Every recorded study and every number of the README was made with these lines. They are not to be tidied.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.market import MarketPanel

_KNOWN_SHARE = 0.8


def first_price_features(panel: MarketPanel) -> dict[str, np.ndarray]:
    """The ranked features (T, N) by name."""
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
    return {name: _ranked(np.where(panel.tradable, values, np.nan)) for name, values in raw.items()}


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
