"""Features of a panel: declared objects, computed causally; the shipped ones and the protocol for a user's own."""

from __future__ import annotations

from backtest.market.features.computing import feature_values, with_features
from backtest.market.features.declared import Feature, FeatureRows
from backtest.market.features.from_returns import (
    Beta,
    DistanceFromHigh,
    LaggedReturn,
    MaximumReturn,
    Momentum,
    Reversal,
    Volatility,
    VolatilityRatio,
)
from backtest.market.features.from_volume import Illiquidity, LogDollarVolume, VolumeShock
from backtest.market.features.price_features import price_feature_set, price_features
from backtest.market.features.windows import RUNNING, WINDOWED
from backtest.market.features.wrappers import Named, OfPanel, Ranked, SectorNeutral

__all__ = [
    "RUNNING",
    "WINDOWED",
    "Beta",
    "DistanceFromHigh",
    "Feature",
    "FeatureRows",
    "Illiquidity",
    "LaggedReturn",
    "LogDollarVolume",
    "MaximumReturn",
    "Momentum",
    "Named",
    "OfPanel",
    "Ranked",
    "Reversal",
    "SectorNeutral",
    "Volatility",
    "VolatilityRatio",
    "VolumeShock",
    "feature_values",
    "price_feature_set",
    "price_features",
    "with_features",
]
