"""The orders of one day, by the code that a simulation runs: what is held and a forecast in, shares to trade out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from backtest.costs import Cost
from backtest.errors import LabelError, SettingsError
from backtest.market import MarketPanel, MarketSnapshot
from backtest.simulation.execution import Execution
from backtest.simulation.ledger import Ledger
from backtest.simulation.orders import Settings, State, ordered_shares
from backtest.simulation.policies import Policy
from backtest.simulation.quotes import Quotes
from backtest.simulation.record import Record
from backtest.simulation.share_limits import read_limits

__all__ = ["DayOrders", "orders_of_day"]


@dataclass(frozen=True, eq=False)
class DayOrders:
    """What to trade at the last row of a panel, N assets.

    Attributes:
        date: of the row.
        assets: (N,) labels.
        forecast: (N,) return of the period after the fill; NaN is no view.
        price: (N,) currency a share at the close; 0 where there never was one.
        shares: (N,) held before.
        bought: (N,) shares to buy, negative to sell.
        held, q: (N,) weights before and after.
        wealth: currency.
        tradable: (N,) bool.
        costs: name -> (N,) currency that the trade, and what is held after it for one period, is expected to cost.
        broken: constraint -> by how much the weights after the trade break it; empty when all are kept.
        events: a row for each thing that could not be done: date, name, asset, kind, detail.
        market: as known at the close.
    """

    date: pd.Timestamp
    assets: pd.Index
    forecast: np.ndarray
    price: np.ndarray
    shares: np.ndarray
    bought: np.ndarray
    held: np.ndarray
    q: np.ndarray
    wealth: float
    tradable: np.ndarray
    costs: dict[str, np.ndarray]
    broken: dict[str, float]
    events: pd.DataFrame
    market: MarketSnapshot

    @property
    def traded(self) -> np.ndarray:
        """Columns (n,) that are bought or sold, the largest trade in currency first."""
        value = np.abs(self.bought * self.price)
        order = np.argsort(-value, kind="stable")
        return order[value[order] > 0]

    def table(self) -> pd.DataFrame:
        """Return a row for each order: symbol, side, shares, price, value, weights, forecast and expected costs."""
        at = self.traded
        columns: dict[str, Any] = {
            "symbol": self.assets[at],
            "side": np.where(self.bought[at] > 0, "buy", "sell"),
            "shares": np.abs(self.bought[at]),
            "price": self.price[at],
            "value": self.bought[at] * self.price[at],
            "shares_before": self.shares[at],
            "shares_after": self.shares[at] + self.bought[at],
            "weight_before": self.held[at],
            "weight_after": self.q[at],
            "forecast": self.forecast[at],
        }
        columns |= {f"expected_{name}": cost[at] for name, cost in self.costs.items()}
        return pd.DataFrame(columns)


def orders_of_day(
    panel: MarketPanel,
    policy: Policy,
    forecast: np.ndarray | None,
    *,
    costs: Cost | None,
    shares: pd.Series | np.ndarray,
    wealth: float,
    execution: Execution | None = None,
    on_failure: Literal["hold", "raise"] = "raise",
) -> DayOrders:
    """Return the orders at the close of a panel's last row.

    It is what `simulate` would do there with the same holdings: universe, untradable names, failures and whole shares
    are treated by the same code.

    Args:
        panel: history up to today, T rows of N assets.
        policy: decides; its solver is estimated on this panel.
        forecast: (N,) made `lag` rows ago, as the simulator would use it; None is no view.
        costs: estimated on this panel; None costs nothing.
        shares: held before, (N,) or a Series by symbol, in which a name that is left out is not held. Without prices in
            the panel they are currency.
        wealth: positions and cash, in currency.
        execution: how orders are filled; None is fractions of shares at the close.
        on_failure: "raise", or hold everything.

    Raises:
        LabelError: a name that is held is not in the panel.
        SettingsError: wealth is not above 0, or a name that is held never had a price.
        SolverError: there is no decision, and `on_failure` is "raise".
    """
    execution, row = execution or Execution(), panel.n_periods - 1
    if not (np.isfinite(wealth) and wealth > 0):
        raise SettingsError(f"wealth is {wealth!r}: give the value of positions and cash, in currency")
    quotes = Quotes.of(panel, fill="close")
    price = quotes.price[row]
    owned = _owned(shares, panel)
    unpriced = np.flatnonzero((owned != 0) & ~(price > 0))
    if len(unpriced):
        raise SettingsError(f"{panel.assets[unpriced[0]]} is held, and {panel.name} has no price of it: bring one")
    value = owned * price
    p = np.full(panel.n_assets, np.nan) if forecast is None else np.array(forecast, dtype=np.float64)
    if p.shape != (panel.n_assets,):
        raise SettingsError(f"the forecast has shape {p.shape}: give one number for each of {panel.n_assets} assets")
    record = Record(panel, names=("today",), start=row, end=row + 1, cash_parts=(), before_fill=False)
    settings = Settings(
        panel=panel,
        quotes=quotes,
        execution=execution,
        rates=(np.zeros(panel.n_periods),) * 3,
        costs=(),
        in_currency=True,
        on_failure=on_failure,
    )
    state = State(
        row,
        Ledger(owned[None], np.array([wealth - value.sum()])),
        (value / wealth)[None],
        np.array([wealth]),
        panel.at(row, wealth=wealth),
    )
    prepared = policy.prepare(panel.dates, panel.assets, lag=0)
    bought = ordered_shares(settings, prepared, record, state, p[None])[0]
    # From the shares, as a ledger would have them; what is not traded keeps its weight to the last bit.
    q = np.where(bought == 0, state.held[0], (owned + bought) * price / wealth)
    tradable = panel.tradable[row]
    limits = read_limits(state.held, policy.constraints, state.market, tradable[None])[0]
    lot = np.where(tradable, price / wealth, 0.0) if execution.whole_shares else np.zeros(panel.n_assets)
    tolerance = np.where(limits.equal, limits.lots(lot).max(axis=1, initial=0.0) / 2, 0.0)
    events = pd.DataFrame(record.events, columns=["date", "name", "asset", "kind", "detail"])
    return DayOrders(
        date=panel.dates[row],
        assets=panel.assets,
        forecast=p,
        price=price,
        shares=owned,
        bought=bought,
        held=state.held[0],
        q=q,
        wealth=float(wealth),
        tradable=tradable,
        costs=_expected_costs(costs, q, state, wealth),
        broken=limits.broken(q, tolerance),
        events=events,
        market=state.market,
    )


def _owned(shares: pd.Series | np.ndarray, panel: MarketPanel) -> np.ndarray:
    if isinstance(shares, pd.Series):
        if not shares.index.is_unique:
            raise LabelError(f"holdings: {shares.index[shares.index.duplicated()][0]!r} is there twice: add them up")
        missing = shares.index.difference(panel.assets)
        if len(missing):
            raise LabelError(
                f"holdings: {panel.name} has no {', '.join(map(str, missing[:5]))}: bring its prices, or leave it out "
                "of holdings and of wealth"
            )
        shares = shares.reindex(panel.assets, fill_value=0.0).to_numpy()
    owned = np.array(shares, dtype=np.float64)
    if owned.shape != (panel.n_assets,) or not np.isfinite(owned).all():
        raise SettingsError(f"holdings: expected a finite number for each of {panel.n_assets} assets")
    return owned


def _expected_costs(costs: Cost | None, q: np.ndarray, state: State, wealth: float) -> dict[str, np.ndarray]:
    after, before = torch.from_numpy(q[None]), torch.from_numpy(state.held)
    parts = [(name, cost) for name, cost in (costs.parts if costs is not None else ()) if cost.cash]
    return {name: _by_asset(cost, after, before, state.market) * wealth for name, cost in parts}


def _by_asset(cost: Cost, q: torch.Tensor, held: torch.Tensor, market: MarketSnapshot) -> np.ndarray:
    values: np.ndarray = cost.value(q, held, market).detach().numpy()
    return np.array(np.broadcast_to(values, q.shape))[0]
