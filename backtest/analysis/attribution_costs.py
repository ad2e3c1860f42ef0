"""What each cost of a run came to by name, and the parts that a trading cost is made of.

The simulator keeps the sums of each cost. Its parts are found by charging it again, one part at a time, at the fills of
the run: `TradingCost` is spread + fees + impact, and each part is a `TradingCost` of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from backtest.costs import Cost, RelativeTo, TradingCost
from backtest.costs.base import ScaledCost
from backtest.costs.parameters import is_zero
from backtest.errors import LabelError, SettingsError
from backtest.market import MarketPanel
from backtest.simulation import SimulationResult

__all__ = ["ChargedCosts", "charged_again", "rows_of"]

PARTS = {"spread": ("half_spread",), "fees": ("buy_fee", "sell_fee"), "impact": ("quadratic", "impact")}
"""Part of a trading cost -> the parameters that it is made of; the quadratic is an impact too."""

TOLERANCE = 1e-9
"""Of a charge, by which it may differ when it is charged again: it is rounded elsewhere."""


@dataclass(frozen=True, eq=False)
class ChargedCosts:
    """What was charged, by name and by period.

    Attributes:
        currency: "cost" or "cost: part" -> (B, N) currency over all periods.
        returns: the same -> (B, N) sum over all periods of fractions of wealth at the decision.
        paths: the same -> (B, S) fractions of wealth at the decision.
    """

    currency: dict[str, np.ndarray]
    returns: dict[str, np.ndarray]
    paths: dict[str, np.ndarray]


def rows_of(result: SimulationResult, panel: MarketPanel) -> np.ndarray:
    """Return the panel row (S,) of each decision.

    Raises:
        LabelError: the panel is not that of the run.
    """
    rows = panel.dates.get_indexer(result.fill_dates)
    ends = panel.dates.get_indexer(result.dates)
    if not panel.assets.equals(result.assets) or (rows < 0).any() or (ends != rows + 1).any():
        raise LabelError(
            f"{panel.name} has other assets or dates than the run, {len(result.assets)} assets, "
            f"{result.fill_dates[0]:%Y-%m-%d} to {result.dates[-1]:%Y-%m-%d}: give the panel that was simulated"
        )
    return np.asarray(rows)


def charged_again(result: SimulationResult, costs: Cost, panel: MarketPanel) -> ChargedCosts:
    """Return what each part of the cash costs came to.

    Args:
        result: of the run.
        costs: of the run, all of them.
        panel: of the run.

    Raises:
        LabelError: the panel is not that of the run.
        SettingsError: these are not the costs of the run: they come to something else.
    """
    rows = rows_of(result, panel)
    parts = {name: _parts_of(cost.realized(panel)) for name, cost in costs.parts if cost.cash}
    if set(parts) != set(result.costs):
        raise SettingsError(f"costs: the run was charged {list(result.costs)}, these are {list(parts)}: give its own")
    labels = [_label(name, part) for name, some in parts.items() for part, _ in some]
    n_books, n_periods, n_assets = result.positions.shape
    currency, returns = ({label: np.zeros((n_books, n_assets)) for label in labels} for _ in range(2))
    paths = {label: np.full((n_books, n_periods), np.nan) for label in labels}
    next_row = result.before_fill is not None
    for period, row in enumerate(rows.tolist()):
        wealth, before = result.fill_wealth[:, period], result.wealth[:, period]
        alive = np.isfinite(result.net[:, period])
        market = panel.at(row + next_row, wealth=wealth)
        if next_row:
            # Fees are for the days of the period, whose first is that of the decision.
            market = replace(market, days=panel.days[row : row + 1])
        q, held = (torch.from_numpy(np.ascontiguousarray(w[:, period])) for w in (result.positions, result.held))
        for name, some in parts.items():
            total = np.zeros(n_books)
            for part, cost in some:
                by_asset = np.broadcast_to(cost.value(q, held, market).detach().cpu().numpy(), q.shape)
                paid = np.where(alive[:, None], by_asset * wealth[:, None], 0.0)
                label = _label(name, part)
                currency[label] += paid
                paid = np.divide(paid, before[:, None], out=np.zeros_like(paid), where=alive[:, None])
                returns[label] += paid
                paths[label][:, period] = np.where(alive, paid.sum(axis=1), np.nan)
                total += paid.sum(axis=1)
            _refuse_others(result, name, period, total, alive)
    return ChargedCosts(currency, returns, paths)


def _refuse_others(result: SimulationResult, name: str, period: int, total: np.ndarray, alive: np.ndarray) -> None:
    charged = result.costs[name][:, period]
    wrong = np.flatnonzero(alive & (np.abs(total - charged) > TOLERANCE * np.abs(charged) + 1e-15))
    if len(wrong):
        book = wrong[0]
        raise SettingsError(
            f"costs: {result.names[book]}: {result.fill_dates[period]:%Y-%m-%d}: {name} was charged "
            f"{charged[book]:.6g} of wealth, and these costs come to {total[book]:.6g}: give the costs and the panel "
            "of the run"
        )


def _label(name: str, part: str) -> str:
    return f"{name}: {part}" if part else name


def _parts_of(cost: Cost) -> Sequence[tuple[str, Cost]]:
    """Return the parts of one cost by name; "" for one that has none. Their sum is the cost."""
    if isinstance(cost, ScaledCost):
        return [(part, ScaledCost(cost.weight, each)) for part, each in _parts_of(cost.cost)]
    if isinstance(cost, RelativeTo):
        return [(part, replace(cost, cost=each)) for part, each in _parts_of(cost.cost)]
    # A class derived from it may charge something else.
    if type(cost) is not TradingCost:
        return [("", cost)]
    every = {name for names in PARTS.values() for name in names}
    parts: list[tuple[str, Cost]] = []
    for part, names in PARTS.items():
        if not all(is_zero(getattr(cost, name)) for name in names):
            others: dict[str, Any] = dict.fromkeys(every.difference(names), 0.0)
            parts.append((part, replace(cost, **others)))
    return parts or [("", cost)]
