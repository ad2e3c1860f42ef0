"""Features of features: renamed, ranked within each date, less the mean of their sector; and a panel's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from backtest.errors import LabelError
from backtest.market.features.declared import Feature, FeatureRows
from backtest.market.features.from_returns import mean_of_known

__all__ = ["Named", "OfPanel", "Ranked", "SectorNeutral"]


@dataclass(frozen=True)
class Named(Feature):
    """A feature under a name of your own.

    Attributes:
        label: what the panel calls it.
        feature: any.
    """

    label: str
    feature: Feature

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def lookback(self) -> int | None:
        """That of the feature."""
        return self.feature.lookback

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the feature."""
        return self.feature.needs

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) of the feature."""
        return self.feature.values(rows)


@dataclass(frozen=True)
class OfPanel(Feature):
    """A feature that the panel has already, so that it can be kept, ranked or made sector-neutral.

    Attributes:
        label: what the panel calls it.
    """

    label: str

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def needs(self) -> tuple[str, ...]:
        """The panel's own features."""
        return ("features",)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """Return them as they are (R, N).

        Raises:
            LabelError: the panel has no such feature.
        """
        if self.label not in rows.feature_names:
            raise LabelError(f"the panel has no feature {self.label!r}: choose one of {rows.feature_names}")
        return rows["features"][:, :, rows.feature_names.index(self.label)]


@dataclass(frozen=True)
class Ranked(Feature):
    """Ranks within each date, in [-1, 1]: the lowest of n names gets -1, the highest 1, equal ones their mean rank.

    Ranked are the names that are tradable, or with `members_only` those of them that are members too; others are NaN.
    One name alone gets 0.

    Attributes:
        feature: any.
        members_only: leave out names that are no members of the universe; needs a panel with members.
    """

    feature: Feature
    members_only: bool = False

    @property
    def name(self) -> str:
        """`ranked_` and the name of the feature."""
        return f"ranked_{self.feature.name}"

    @property
    def lookback(self) -> int | None:
        """That of the feature."""
        return self.feature.lookback

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the feature, and members where they are asked for."""
        return (*self.feature.needs, "members") if self.members_only else self.feature.needs

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) ranks."""
        among = rows["tradable"] & rows["members"] if self.members_only else rows["tradable"]
        ranks = pd.DataFrame(np.where(among, self.feature.values(rows), np.nan)).rank(axis=1).to_numpy()
        count = np.isfinite(ranks).sum(axis=1, keepdims=True)
        return 2 * (ranks - 1) / np.maximum(count - 1, 1) - np.where(count > 1, 1.0, 0.0)


@dataclass(frozen=True, init=False)
class SectorNeutral(Feature):
    """A feature less its mean over the tradable names of the same sector at the same date.

    A name that is alone in its sector gets 0.

    Attributes:
        feature: any.
        sectors: pairs of asset label and sector; given as a mapping. Sectors are those of all dates: where they were
            assigned later, they are knowledge of the future.
    """

    feature: Feature
    sectors: tuple[tuple[str, str], ...] = field(repr=False)

    def __init__(self, feature: Feature, sectors: Mapping[str, str]) -> None:
        object.__setattr__(self, "feature", feature)
        object.__setattr__(self, "sectors", tuple(sorted(dict(sectors).items())))

    @property
    def name(self) -> str:
        """`sector_neutral_` and the name of the feature."""
        return f"sector_neutral_{self.feature.name}"

    @property
    def lookback(self) -> int | None:
        """That of the feature."""
        return self.feature.lookback

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the feature."""
        return self.feature.needs

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) differences, in units of the feature.

        Raises:
            LabelError: an asset has no sector.
        """
        known = dict(self.sectors)
        missing = [asset for asset in rows.assets if asset not in known]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise LabelError(f"{self.name}: no sector for {', '.join(missing[:5])}{more}: give every asset one")
        values = np.where(rows["tradable"], self.feature.values(rows), np.nan)
        of_asset = np.array([known[asset] for asset in rows.assets])
        for sector in np.unique(of_asset):
            columns = np.flatnonzero(of_asset == sector)
            values[:, columns] -= mean_of_known(values[:, columns])[:, None]
        return values
