"""The same weights at every decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market import MarketSnapshot
from backtest.market.labels import parse_assets, require_same_labels
from backtest.market.tables import numeric_column
from backtest.simulation.policies.base import Policy

__all__ = ["FixedWeights"]


@dataclass(frozen=True, eq=False)
class FixedWeights(Policy):
    """Goes back to the same weights at every decision; `PeriodicRebalance` makes decisions rarer.

    A name that cannot be traded keeps its weight, and the others are not stretched to make up for it: what
    is missing is cash.

    Attributes:
        weights: (N,) fractions of wealth, finite: a Series of exactly the panel's assets, in any order, or an
            array in the panel's order. Becomes a copy in float64.

    Raises:
        DataError: a weight is not a finite number, or the shape is not (N,).
        LabelError: by `simulate`, when an asset is missing or unknown, or the array has another length.
    """

    weights: Any

    def __post_init__(self) -> None:
        labels = None
        if isinstance(self.weights, pd.Series):
            labels = parse_assets(self.weights.index, "FixedWeights")
            values = numeric_column(self.weights, "FixedWeights")
        else:
            values = np.array(self.weights, dtype=np.float64)
        if values.ndim != 1:
            raise DataError(f"FixedWeights: the weights have shape {values.shape}: give (N,), one an asset")
        for column in np.flatnonzero(~np.isfinite(values)).tolist():
            name = f"asset {column}" if labels is None else labels[column]
            raise DataError(f"FixedWeights: {name}: the weight is {values[column]}: write 0 for no position")
        object.__setattr__(self, "weights", values if labels is None else pd.Series(values, index=labels))

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> FixedWeights:
        """Return these weights in the panel's order.

        Raises:
            LabelError: labels are not the panel's, or there are none and the number is not N.
        """
        if isinstance(self.weights, pd.Series):
            require_same_labels(self.weights.index, assets, where="FixedWeights", kind="asset")
            return replace(self, weights=self.weights[assets].to_numpy())
        if len(self.weights) != len(assets):
            raise LabelError(
                f"FixedWeights: {len(self.weights)} weights without labels for a panel of {len(assets)} assets: "
                "give one an asset, in the panel's order, or a Series by asset"
            )
        return self

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the weights in every row, and what is held where a name cannot be traded."""
        return np.where(tradable, np.asarray(self.weights), held)
