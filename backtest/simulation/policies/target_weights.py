"""Weights from a table, by date."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market import MarketSnapshot
from backtest.market.labels import require_same_labels
from backtest.market.tables import numeric_table
from backtest.simulation.policies.base import Policy

__all__ = ["TargetWeights"]


@dataclass(frozen=True, eq=False)
class TargetWeights(Policy):
    """Holds the weights of a table: row `d` is decided at the close of `d` and filled `lag` rows later.

    On dates that are not in the table nothing is traded, so a table of months rebalances a daily panel
    monthly. A weight for a name that cannot be traded at the fill is not filled then, and not made up for
    before the table's next date.

    Attributes:
        weights: dates by assets, fractions of wealth, finite; exactly the panel's assets, in any order, and
            dates of the panel as timestamps or text. Becomes a copy with timestamps and float64 columns.

    Raises:
        LabelError: a row label is not a date or there twice; by `simulate`, when an asset is missing or
            unknown, or a date is not in the panel.
        DataError: a cell is not a finite number.
    """

    weights: pd.DataFrame
    first_fill: int = 0

    def __post_init__(self) -> None:
        dates, assets, values = numeric_table(self.weights, "TargetWeights")
        if not len(dates):
            raise LabelError("TargetWeights: the table has no row: give one row a rebalancing date")
        if not dates.is_unique:
            twice = dates[dates.duplicated()][0]
            raise LabelError(f"TargetWeights: the date {twice:%Y-%m-%d} is there twice: keep one row")
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise DataError(
                f"TargetWeights: {dates[row]:%Y-%m-%d}, {assets[column]}: the weight is "
                f"{values[row, column]}: write 0 for no position"
            )
        object.__setattr__(self, "weights", pd.DataFrame(values, index=dates, columns=assets))

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> TargetWeights:
        """Return these targets dated by their fill, assets in the panel's order.

        Raises:
            LabelError: assets are not the panel's, a date is none of its, or no row can be filled.
        """
        require_same_labels(self.weights.columns, assets, where="TargetWeights", kind="asset")
        decided = dates.get_indexer(self.weights.index)
        if (decided < 0).any():
            unknown = self.weights.index[int(np.argmin(decided))]
            raise LabelError(
                f"TargetWeights: {unknown} is no date of the panel, which has {len(dates)} from "
                f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}: give its dates, or drop the row"
            )
        in_time = decided + lag < len(dates)
        if not in_time.any():
            raise LabelError(
                f"TargetWeights: no row can be filled: the first, {self.weights.index.min()}, is filled "
                f"{lag} rows later, and the panel ends on {dates[-1]:%Y-%m-%d}"
            )
        filled = self.weights.loc[in_time, assets].set_axis(dates[decided[in_time] + lag])
        return replace(self, weights=filled, first_fill=int(decided.min()) + lag)

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the table's row for the date of the market, or what is held."""
        assert market.dates is not None
        row = int(self.weights.index.get_indexer(market.dates[:1])[0])
        if row < 0:
            return held
        return np.broadcast_to(self.weights[market.assets].to_numpy()[row], held.shape)
