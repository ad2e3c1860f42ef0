"""A universe by a rule: the names that trade most, as could be known at each date."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.errors import DataError, SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["LiquidityRule"]


@dataclass(frozen=True, kw_only=True)
class LiquidityRule:
    """The `top` names by trailing median dollar volume, chosen anew at the first row of each period.

    At such a row t a name is eligible that is tradable, has `min_history` known returns up to t, a price of
    `min_price` or more, and a known dollar volume on 80% of the last `window` rows, with a median above 0. Names are
    ranked by that median (then by label). Those that are members stay while their rank is `stay` or better; then the
    best others fill up to `top`. The choice holds until the next such row; a name keeps its membership when its
    price goes missing, and loses it at a delisting.

    Attributes:
        top: most members.
        stay: rank that a member may fall to, `top` or more; None is `top`: no hysteresis.
        window: rows of the median.
        min_history: known returns.
        min_price: currency; 0 asks for none. It needs raw prices, so a panel with splits: an adjusted price of the
            past is divided by splits of the future.
        rebalance: "W", "M", "Q" or "Y": calendar periods, at whose first row of the panel members are chosen. The last
            row of a period cannot be told before the next one is seen.

    Raises:
        SettingsError: a number is out of range, or the period is unknown.
    """

    top: int
    stay: int | None = None
    window: int = 63
    min_history: int = 252
    min_price: float = 0.0
    rebalance: str = "M"

    def __post_init__(self) -> None:
        for name, least in (("top", 1), ("window", 1), ("min_history", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(f"LiquidityRule: {name} is {value!r}: give a whole number, {least} or more")
        if self.stay is not None and (not isinstance(self.stay, int) or self.stay < self.top):
            raise SettingsError(f"LiquidityRule: stay is {self.stay!r}: give a rank of top={self.top} or more")
        if not (np.isfinite(self.min_price) and self.min_price >= 0):
            raise SettingsError(f"LiquidityRule: min_price is {self.min_price!r}: give 0 or more")
        if self.rebalance not in ("W", "M", "Q", "Y"):
            raise SettingsError(f"LiquidityRule: rebalance is {self.rebalance!r}: choose W, M, Q or Y")

    def members(self, panel: MarketPanel) -> np.ndarray:
        """Return the members (T, N), bool, of a `panel`, each row from rows up to it alone.

        Raises:
            DataError: the panel has no dollar volume, or no raw prices where `min_price` needs them.
        """
        if panel.dollar_volume is None:
            raise DataError(f"{panel.name}: a liquidity rule needs dollar_volume: read a file with volumes")
        if self.min_price and (panel.prices is None or panel.splits is None):
            raise DataError(
                f"{panel.name}: min_price={self.min_price:g} needs raw prices with their splits: adjusted prices of "
                "the past are divided by splits of the future; build the panel with splits=, or set min_price=0"
            )
        history = np.cumsum(np.isfinite(panel.returns), axis=0)
        order = np.argsort(panel.assets.to_numpy(dtype=object), kind="stable")  # ties by label
        chosen = np.zeros(panel.n_assets, dtype=bool)
        members = np.empty((panel.n_periods, panel.n_assets), dtype=bool)
        changes = self._first_rows(panel.dates)
        for row in range(panel.n_periods):
            if changes[row]:
                chosen = self._chosen(panel, row, history[row], chosen, order)
            members[row] = chosen
        for delisting in panel.delistings:
            members[panel.row(delisting.date) :, panel.assets.get_loc(delisting.asset)] = False
        return members

    def apply(self, panel: MarketPanel) -> MarketPanel:
        """Return the `panel` with the rule's members; no name and no date is removed.

        Raises:
            DataError: the panel has no dollar volume, or no raw prices where `min_price` needs them.
        """
        return replace(panel, members=self.members(panel))

    def _first_rows(self, dates: pd.DatetimeIndex) -> np.ndarray:
        period = dates.to_period("W-SUN" if self.rebalance == "W" else self.rebalance)
        return np.append(True, period[1:] != period[:-1])

    def _chosen(
        self, panel: MarketPanel, row: int, history: np.ndarray, members: np.ndarray, order: np.ndarray
    ) -> np.ndarray:
        assert panel.dollar_volume is not None  # refused before
        recent = panel.dollar_volume[max(row - self.window + 1, 0) : row + 1]
        enough = np.isfinite(recent).sum(axis=0) >= max(int(np.ceil(0.8 * self.window)), 1)
        median = np.full(panel.n_assets, np.nan)
        median[enough] = np.nanmedian(recent[:, enough], axis=0) if enough.any() else np.nan
        eligible = panel.tradable[row] & (history >= self.min_history) & (median > 0)
        if self.min_price:
            assert panel.prices is not None  # refused before
            eligible &= panel.prices[row] >= self.min_price
        ranked = order[np.argsort(-np.where(eligible, median, -np.inf)[order], kind="stable")]
        ranked = ranked[: int(eligible.sum())]
        staying = ranked[: self.stay or self.top]
        staying = staying[members[staying]][: self.top]
        chosen = np.zeros(panel.n_assets, dtype=bool)
        chosen[staying] = True
        others = ranked[~chosen[ranked]]
        chosen[others[: self.top - len(staying)]] = True
        return chosen
