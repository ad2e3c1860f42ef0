"""Why each trade of a day is as large as it is: what one more share is forecast to earn, and what it would cost.

At the optimum a name is bought until the next share's forecast is used up by what it adds to risk and costs, or until a
limit stops it. Both are read off the costs themselves, by one step further in the direction of the trade, so a user's
own cost is explained like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from backtest.costs import Cost
from backtest.simulation import DayOrders
from backtest.simulation.share_limits import ShareLimits, read_limits
from backtest.solver import PositionSolver

__all__ = ["TradeReasons", "trade_reasons"]

STEP = 1e-6
"""The next step where shares need not be whole, as a weight."""

AT_ONCE = 128
"""Names whose next steps are valued in one batch."""

BASIS_POINT = 1e-4

NOTHING = 0.01 * BASIS_POINT
"""What is left of a forecast, a period, that is not worth a word: a step is not a derivative."""


@dataclass(frozen=True)
class TradeReasons:
    """A table of reasons, one row a name.

    Attributes:
        table: symbol, direction, forecast of one unit of weight more in that direction, one column for what each cost
            takes of it, what is `left`, all in basis points a period; and `why` it is not traded further, in words.
            Costs that are paid at the trade are spread over the solver's holding period.
    """

    table: pd.DataFrame

    def __str__(self) -> str:
        return "\n".join(f"{row.symbol}: {row.why}" for row in self.table.itertuples())


def trade_reasons(
    orders: DayOrders, solver: PositionSolver, *, columns: Sequence[int] | np.ndarray | None = None
) -> TradeReasons:
    """Explain trades.

    Args:
        orders: of one day.
        solver: the one that decided, estimated on the same panel.
        columns: names to explain, by column; None takes those that are traded, the largest first. A name that is not
            traded is explained in the direction of its forecast.

    Returns:
        A row for each of the columns, in their order.
    """
    at = np.asarray(orders.traded if columns is None else columns, dtype=int)
    wanted = np.where(np.nan_to_num(orders.forecast[at]) < 0, -1.0, 1.0)
    direction = np.where(orders.bought[at] != 0, np.sign(orders.bought[at]), wanted)
    whole = bool(len(orders.traded)) and bool(np.all(orders.bought == np.round(orders.bought)))
    step = np.where(orders.price[at] > 0, orders.price[at] / orders.wealth, STEP) if whole else np.full(len(at), STEP)
    forecast = direction * orders.forecast[at]
    taken = _taken(solver, orders, at, direction * step)
    left = forecast - sum(taken.values(), np.zeros(len(at)))
    undone = -forecast - sum(_taken(solver, orders, at, -direction * step).values(), np.zeros(len(at)))
    limits = read_limits(orders.held[None], solver.constraints, orders.market, orders.tradable[None])[0]
    why = [
        _why(orders, limits, _Step(int(column), *(float(part) for part in parts)), whole=whole)
        for column, *parts in zip(at, direction, step, forecast, left, undone, strict=True)
    ]
    return TradeReasons(
        pd.DataFrame(
            {
                "symbol": orders.assets[at],
                "direction": np.where(direction > 0, "buy", "sell"),
                "forecast": forecast / BASIS_POINT,
                **{name: value / BASIS_POINT for name, value in taken.items()},
                "left": left / BASIS_POINT,
                "why": why,
            }
        )
    )


@dataclass(frozen=True)
class _Step:
    """One step further with one name: `left` of its forecast a unit, and what one step back would be worth."""

    column: int
    sign: float
    size: float
    forecast: float
    left: float
    undone: float


def _taken(solver: PositionSolver, orders: DayOrders, at: np.ndarray, change: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each cost takes, a period and unit of weight, when the weight of each name alone changes."""
    periods = float(torch.as_tensor(solver.holding_periods).reshape(-1)[0])
    return {
        name: _growth(cost, orders, at, change) / np.abs(change) / (periods if cost.paid_per_trade else 1.0)
        for name, cost in solver.costs.parts
    }


def _growth(cost: Cost, orders: DayOrders, at: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return by how much a cost of the whole book grows when the weight of each name alone changes."""
    base = torch.from_numpy(orders.q[None])
    held = torch.from_numpy(orders.held[None])

    def total(q: torch.Tensor) -> np.ndarray:
        value: Any = cost.value(q, held.expand_as(q), orders.market).detach()
        return np.asarray(value.expand_as(q).sum(dim=1).numpy(), dtype=np.float64)

    now = total(base)[0]
    grown = np.empty(len(at))
    for first in range(0, len(at), AT_ONCE):
        part = slice(first, min(first + AT_ONCE, len(at)))
        q = base.repeat(part.stop - part.start, 1)
        q[torch.arange(len(q)), torch.as_tensor(at[part])] += torch.from_numpy(change[part])
        grown[part] = total(q)
    growth: np.ndarray = grown - now
    return growth


def _why(orders: DayOrders, limits: ShareLimits, step: _Step, *, whole: bool) -> str:
    column = step.column
    if not orders.tradable[column]:
        return "cannot be traded today: no price, or it has left"
    told = orders.events[orders.events["asset"] == orders.assets[column]]
    if len(told):
        return "; ".join(f"{kind}: {detail}" for kind, detail in zip(told["kind"], told["detail"], strict=True))
    if np.isnan(step.forecast):
        return "no forecast: what is held is kept"
    one = "the next share" if whole else "a little more"
    cost = step.forecast - step.left
    used_up = f"{one}: forecast {_points(step.forecast)}, risk and costs {_points(cost)} bp a period"
    worth = f"{one} is worth {_points(step.left)} bp a period"
    if orders.bought[column] == 0 and step.left <= 0:
        return f"not {'bought' if step.sign > 0 else 'sold'}: {used_up}"
    if step.undone > NOTHING:
        asks = _broken_by(orders, limits, step, -1.0)
        if asks or not whole:
            asked = f"{asks or 'limits on several names together'} asks for it"
            return f"{asked}: by itself the last of it loses {_points(step.undone)} bp a period"
        return f"whole shares: a part of the last one loses {_points(step.undone)} bp a period"
    if step.left <= NOTHING:
        return used_up
    stops = _broken_by(orders, limits, step, 1.0)
    if stops:
        return f"{stops} stops it: {worth}"
    return f"whole shares: {worth}" if whole else f"limits on several names together stop it: {worth}"


def _points(value: float) -> str:
    return f"{value / BASIS_POINT + 0.0:.2f}"


def _broken_by(orders: DayOrders, limits: ShareLimits, step: _Step, way: float) -> str:
    """Return the limits that one step more would break, or, with `way` -1, one step back.

    An equality counts whenever it has a say in the name: whole shares keep it to a tolerance, within which a step may
    happen to bring it nearer.
    """
    further, nothing_allowed = orders.q.copy(), np.zeros(len(limits.high))
    further[step.column] += way * step.sign * step.size
    broken, before = limits.broken(further, nothing_allowed), limits.broken(orders.q, nothing_allowed)
    names = {name for name, excess in broken.items() if excess > before.get(name, 0.0)}
    rows = np.flatnonzero(limits.equal[: len(limits.matrix)] & (limits.matrix[:, step.column] != 0))
    return " and ".join(sorted(names | {limits.names[owner] for owner in limits.owner[rows]}))
