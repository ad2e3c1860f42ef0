"""What a simulation returns: the path of every book, and everything that happened on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import SimulationError

__all__ = ["SimulationResult"]


@dataclass(frozen=True, eq=False, repr=False)
class SimulationResult:
    """B books over S periods; j is filled at the close of `fill_dates[j]`, its result known at `dates[j]`.

    Weights and costs are fractions of wealth just before the fill; `gross + interest - sum(costs) = net`. All
    values of a book are NaN after the period in which it was ruined.

    Attributes:
        names: (B,) of the books.
        dates: (S,) date at which each period's result is known.
        fill_dates: (S,) date of each fill, one panel row before `dates`.
        assets: (N,) labels.
        wealth: (B, S + 1) currency; the first is initial wealth, then after each period.
        gross: (B, S) return of the positions, before costs and interest.
        costs: name -> (B, S) of each cash cost, as charged.
        interest: (B, S) earned on cash after trades and costs; negative when paid.
        net: (B, S) return of wealth.
        opinions: name -> (B, S) of each cost that is not charged.
        utility: (B, S) net less all opinions.
        turnover: (B, S) sum of |trade|.
        leverage: (B, S) sum of |weight| after trading.
        net_exposure: (B, S) sum of weights after trading.
        positions: (B, S, N) weights after trading.
        held: (B, S, N) weights before trading.
        ruined: (B,) bool, wealth fell to 0 or below and the book was stopped.
        events: one row for each thing out of the ordinary: date, name, asset, kind, detail. Kinds: "failed"
            (no decision, all held), "inaccurate" (a solve at low precision), "untradable" (a trade that could
            not be filled), "missing return" (held, marked at the last price), "ruined".
        fill_prices: (S, N) last known price at each fill; None when the panel has no prices.
    """

    names: tuple[str, ...]
    dates: pd.DatetimeIndex
    fill_dates: pd.DatetimeIndex
    assets: pd.Index
    wealth: np.ndarray
    gross: np.ndarray
    costs: Mapping[str, np.ndarray]
    interest: np.ndarray
    net: np.ndarray
    opinions: Mapping[str, np.ndarray]
    utility: np.ndarray
    turnover: np.ndarray
    leverage: np.ndarray
    net_exposure: np.ndarray
    positions: np.ndarray
    held: np.ndarray
    ruined: np.ndarray
    events: pd.DataFrame
    fill_prices: np.ndarray | None = None

    def __repr__(self) -> str:
        period = f"{len(self.dates)} periods {self.dates[0]:%Y-%m-%d} to {self.dates[-1]:%Y-%m-%d}"
        return (
            f"SimulationResult({len(self.names)} books, {period}, {len(self.assets)} assets, "
            f"{len(self.events)} events, {self.ruined.sum()} ruined)"
        )

    def books(self, index: slice) -> SimulationResult:
        """Return the result of some of the books, as a slice of their order."""
        names = self.names[index]
        by_book: dict[str, Any] = {
            field.name: value[index]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray) and field.name != "fill_prices"
        }
        return replace(
            self,
            **by_book,
            names=names,
            costs={name: values[index] for name, values in self.costs.items()},
            opinions={name: values[index] for name, values in self.opinions.items()},
            events=self.events[self.events["name"].isin(names)].reset_index(drop=True),
        )

    @property
    def shares(self) -> np.ndarray:
        """(B, S, N) shares held after each fill, not rounded; in units of the panel's adjusted prices.

        Raises:
            SimulationError: the panel has no prices.
        """
        if self.fill_prices is None:
            raise SimulationError("shares need prices, and the panel has only returns: use MarketPanel.from_prices")
        value = self.positions * self.wealth[:, :-1, None]
        # A name that has no price yet cannot be held.
        return np.where(value == 0, 0.0, value / self.fill_prices)

    def to_frame(self) -> pd.DataFrame:
        """One row a book and period, indexed by name and date; a column a cost, as "cost: trading_cost"."""
        columns = {
            "wealth": self.wealth[:, 1:],
            "gross": self.gross,
            **{f"cost: {name}": values for name, values in self.costs.items()},
            "interest": self.interest,
            "net": self.net,
            **{f"opinion: {name}": values for name, values in self.opinions.items()},
            "utility": self.utility,
            "turnover": self.turnover,
            "leverage": self.leverage,
            "net_exposure": self.net_exposure,
        }
        index = pd.MultiIndex.from_product([self.names, self.dates], names=["name", "date"])
        return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)
