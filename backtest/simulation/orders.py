"""Orders of one row: what a policy decides becomes shares to buy and sell, of a simulation or of today alike."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np

from backtest.costs import Cost
from backtest.market import MarketPanel, MarketSnapshot
from backtest.simulation.execution import Execution
from backtest.simulation.ledger import Ledger
from backtest.simulation.policies import Policy
from backtest.simulation.quotes import Quotes
from backtest.simulation.record import Record
from backtest.simulation.whole_shares import round_to_shares

__all__ = ["Settings", "State", "ordered_shares"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """What stays the same from period to period.

    Attributes:
        panel: the market.
        quotes: the same as the ledger reads it.
        execution: how orders are filled.
        rates: of credits, debits and short proceeds, (T,) each.
        costs: (name, cost) of what is charged.
        in_currency: wealth is in currency, and costs may depend on it.
        on_failure: hold, or raise.
    """

    panel: MarketPanel
    quotes: Quotes
    execution: Execution
    rates: tuple[np.ndarray, np.ndarray, np.ndarray]
    costs: tuple[tuple[str, Cost], ...]
    in_currency: bool
    on_failure: Literal["hold", "raise"]


@dataclass(frozen=True, eq=False)
class State:
    """What B books own at the close of a row.

    Attributes:
        row: of the decision.
        ledger: shares and cash.
        held: (B, N) weights.
        wealth: (B,) currency.
        market: as known at that close.
    """

    row: int
    ledger: Ledger
    held: np.ndarray
    wealth: np.ndarray
    market: MarketSnapshot


def ordered_shares(settings: Settings, policy: Policy, record: Record, state: State, p: np.ndarray) -> np.ndarray:
    """Return the shares to buy (B, N), negative to sell, as decided at the close of `state.row`.

    Args:
        settings: of the simulation.
        policy: prepared; decides the weights.
        record: is told of what could not be done.
        state: what is owned.
        p: (B, N) forecasts to decide on.
    """
    panel, row, held = settings.panel, state.row, state.held
    alive = ~record.ruined
    tradable = panel.tradable[row] & alive[:, None]
    seen, free = held, tradable
    if panel.members is not None:
        # What leaves the universe is sold, whatever the policy thinks of it.
        out = tradable & ~panel.members[row]
        seen, free = np.where(out, 0.0, held), tradable & panel.members[row]
        for book, column in np.argwhere(out & (held != 0) & np.isfinite(held)).tolist():
            record.note(row, book, column, "left the universe", f"sells {held[book, column]:.6g}")
    # Copies: what a policy writes on them is its own.
    known = seen.copy() if alive.all() else np.where(alive[:, None], seen, 0.0)
    begun = perf_counter()
    decision = policy.decide(p.copy(), known, state.market, free)
    record.seconds[row - record.start] = perf_counter() - begun
    q = record.accept(decision, row=row, held=seen, tradable=free, on_failure=settings.on_failure)
    if settings.execution.whole_shares:
        return _whole_shares(settings, policy, record, state, q, tradable)
    price = settings.quotes.fillable_price[row]
    # A name whose weight is already `q` is not touched, to the last bit.
    return np.where(q == held, 0.0, q * state.wealth[:, None] / price - state.ledger.shares)


def _whole_shares(
    settings: Settings, policy: Policy, record: Record, state: State, q: np.ndarray, tradable: np.ndarray
) -> np.ndarray:
    """Return the whole shares to buy (B, N), negative to sell; note the constraints that no rounding keeps."""
    alive, row = ~record.ruined, state.row
    rounded = round_to_shares(
        np.where(alive[:, None], q, 0.0),
        np.where(alive[:, None], state.held, 0.0),
        price=settings.quotes.price[row],
        wealth=np.where(alive, state.wealth, np.nan),
        constraints=policy.constraints,
        market=state.market,
        tradable=tradable,
    )
    # Where nothing is rounded, what is exceeded has drifted there, or the policy asked for it.
    rounds: np.ndarray = ~np.all(rounded.untouched, axis=1)
    for book, broken in rounded.broken.items():
        if not rounds[book]:
            continue
        for name, excess in broken.items():
            record.note(row, book, None, "rounding", f"{name} is exceeded by {excess:.3g} in whole shares")
    for book in np.flatnonzero(rounded.held_back & alive).tolist():
        refused = ", ".join(f"{name} by {excess:.3g}" for name, excess in rounded.refused[book].items())
        record.note(row, book, None, "rounding", f"all is held: the best whole shares exceed {refused}")
    bought = np.where(rounded.untouched, 0.0, rounded.shares - state.ledger.shares)
    return np.where(alive[:, None], bought, np.nan)
