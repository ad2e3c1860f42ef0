"""The preset: a small set of price features, causal and on one scale at every date."""

from __future__ import annotations

from backtest.market.features.computing import with_features
from backtest.market.features.declared import Feature
from backtest.market.features.from_returns import (
    Beta,
    DistanceFromHigh,
    Momentum,
    Reversal,
    Volatility,
    VolatilityRatio,
)
from backtest.market.features.windows import RUNNING
from backtest.market.features.wrappers import Named, Ranked
from backtest.market.panel import MarketPanel

__all__ = ["price_feature_set", "price_features"]


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
    Sources are with each feature, in `backtest.market.features`.

    Args:
        panel: returns (T, N); its own features, if any, are replaced.

    Returns:
        The panel with features (T, N, 8), or 7 in monthly panels.

    Raises:
        SettingsError: the panel has fewer than 3 periods a year, too few for a half year without a month.
    """
    return with_features(panel, price_feature_set(panel.periods_per_year))


def price_feature_set(periods_per_year: float) -> list[Feature]:
    """Return the features of `price_features`, to add to or to change.

    They sum as they always did (`RUNNING`), so that recorded studies repeat to the last bit.

    Args:
        periods_per_year: 252, 52 or 12; windows are fractions of it.
    """
    year = max(round(periods_per_year), 2)
    half, quarter, month = (max(round(periods_per_year / n), 1) for n in (2, 4, 12))
    features: dict[str, Feature] = {
        "reversal_1p": Reversal(1, RUNNING),
        "reversal_1m": Reversal(month, RUNNING),
        "momentum_6_1": Momentum(half - month, month, RUNNING),
        "momentum_12_1": Momentum(year - month, month, RUNNING),
        "volatility_1y": Volatility(year, RUNNING),
        "volatility_ratio": VolatilityRatio(max(quarter, 2), year, RUNNING),
        "distance_from_high": DistanceFromHigh(year, RUNNING),
        "beta_1y": Beta(year, RUNNING),
    }
    if month == 1:
        del features["reversal_1p"]
    return [Named(name, Ranked(feature)) for name, feature in features.items()]
