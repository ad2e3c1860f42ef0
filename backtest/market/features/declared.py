"""What a feature is: a small frozen object that says its name, its look-back and what it reads, and computes itself."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pandas as pd

from backtest.errors import DataError, FeatureError
from backtest.market.panel import MarketPanel

__all__ = ["FIELDS", "Feature", "FeatureRows", "rows_of"]

FIELDS = (
    "returns",
    "prices",
    "open_prices",
    "vwap",
    "dividends",
    "splits",
    "dollar_volume",
    "volatility",
    "members",
    "tradable",
    "cash_rate",
    "features",
)
"""What a feature can declare that it reads: fields of a `MarketPanel`."""

_CURES = {
    "dollar_volume": "read a file with volumes, pass dollar_volume= to the panel",
    "members": "give the panel members (backtest.market.with_members)",
    "features": "give the panel features",
}


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """R consecutive rows of a panel, as a feature sees them; arrays are read-only views.

    Attributes:
        dates: (R,) of the rows.
        assets: (N,) labels.
        periods_per_year: of the panel.
        feature_names: of the panel's own features, the last axis of `rows["features"]`.
        tables: what the feature declared, by field: (R, N), but (R,) for `cash_rate` and (R, N, K) for `features`.
        owner: name of the feature, for messages.
    """

    dates: pd.DatetimeIndex
    assets: pd.Index
    periods_per_year: float
    feature_names: tuple[str, ...]
    tables: Mapping[str, np.ndarray]
    owner: str

    def __getitem__(self, field: str) -> np.ndarray:
        if field not in self.tables:
            raise FeatureError(f"feature {self.owner!r} reads {field!r} and does not declare it: add it to its `needs`")
        return self.tables[field]


class Feature(ABC):
    """One number for each date and asset, known at the close of the date.

    A feature of your own is a frozen dataclass with one method, `values`; its name is made from its class and numbers.

    Attributes:
        name: of the feature in a panel.
        lookback: how many rows, its own included, a value depends on; None where it depends on all rows before.
            Such a feature is computed over the whole panel at once, whatever the chunk.
        needs: fields of the panel that it reads (`FIELDS`); others are not shown to it, except `tradable`.
    """

    @property
    def name(self) -> str:
        """The class in small letters, and the numbers and words it was made with."""
        words = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()]
        if is_dataclass(self):
            settings = [getattr(self, field.name) for field in fields(self)]
            words += [str(setting) for setting in settings if isinstance(setting, (int, float, str))]
        return "_".join(words)

    @property
    def lookback(self) -> int | None:
        """Rows, its own included, that a value depends on; 1 unless said otherwise."""
        return 1

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields that are read; returns unless said otherwise."""
        return ("returns",)

    @abstractmethod
    def values(self, rows: FeatureRows) -> np.ndarray:
        """The feature at every row shown.

        The first rows of what is shown may lack some of their look-back: what is missing there counts as unknown, and
        only rows that have it all, or start with the panel, are used.

        Args:
            rows: (R,) consecutive rows.

        Returns:
            (R, N), NaN where it is not known.
        """


def rows_of(panel: MarketPanel, feature: Feature, start: int, stop: int) -> FeatureRows:
    """Rows `start`..`stop` - 1 of a panel, with what the feature declares and nothing else.

    Raises:
        DataError: the panel lacks a field that the feature needs.
        FeatureError: the feature declares a field that no panel has.
    """
    tables = {}
    for field in dict.fromkeys((*feature.needs, "tradable")):
        if field not in FIELDS:
            raise FeatureError(f"feature {feature.name!r} needs {field!r}, which no panel has: one of {FIELDS}")
        values = getattr(panel, field)
        if values is None:
            cure = _CURES.get(field, f"give the panel its {field}")
            raise DataError(
                f"{panel.name}: feature {feature.name!r} needs {field}, which the panel lacks: {cure}, or leave the "
                "feature out"
            )
        tables[field] = values[start:stop]
    return FeatureRows(
        dates=panel.dates[start:stop],
        assets=panel.assets,
        periods_per_year=panel.periods_per_year,
        feature_names=panel.feature_names,
        tables=tables,
        owner=feature.name,
    )
