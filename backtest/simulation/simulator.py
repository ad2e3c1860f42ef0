"""The simulator: one pass over time, B books at once.

Row s is a fill. The forecast of row s - lag meets the market as known at the close of s (risk, volume, what
can be traded, what is held), is filled at that close, and earns `returns[s + 1]`. Each period: decide, trade,
pay cash costs and the fees for the period ahead, earn the period's returns and the cash rate known at s,
check the wealth identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch

from backtest.costs import Cost
from backtest.errors import SettingsError, SimulationError
from backtest.market import MarketPanel, MarketSnapshot
from backtest.simulation.inputs import read_forecasts, read_names, read_rows, read_wealth
from backtest.simulation.ledger import charge, check_wealth, earn, open_ledger, stop, trade
from backtest.simulation.policies import Policy
from backtest.simulation.record import Record
from backtest.simulation.result import SimulationResult

__all__ = ["simulate"]


def simulate(
    panel: MarketPanel,
    policy: Policy,
    forecasts: Any = None,
    *,
    costs: Cost | None,
    lag: int = 1,
    first_row: int | None = None,
    last_row: int | None = None,
    initial_wealth: Any = None,
    on_failure: Literal["hold", "raise"] = "hold",
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SimulationResult:
    """Trade a policy through a panel, one book for each batch row of the forecasts.

    Args:
        panel: the market.
        policy: decides the weights of all books; see `backtest.simulation.policies`.
        forecasts: (T, N) or (B, T, N), row t made with data up to t, or a DataFrame of dates by assets; None
            for a policy that needs none.
        costs: estimated on this panel, valued at the market of the fill. Its cash parts are charged; the
            others are opinions, taken off utility alone. None charges nothing.
        lag: rows from a forecast to its fill; 0 fills at the close that the forecast was made from.
        first_row: row of the first fill; None fills the first forecast.
        last_row: row at which the last period ends; None ends with the last forecast's period.
        initial_wealth: currency, one number or (B,). None starts at 1 of no currency: costs whose size depends on
            wealth, as market impact does, then ask for theirs.
        on_failure: a book for which the policy fails holds what it has ("hold", and an event says so), or the
            run stops.
        names: (B,) of the books.
        progress: called with (periods done, periods in all).

    A name that cannot be traded at the fill keeps its position. A held name without a return keeps its value
    that period and earns, when its return is known again, that return as the panel gives it: the return since
    the last known price in a panel built from prices. A name that never returns stays at its last price.
    Short proceeds are cash; all cash, or debt, earns or pays `panel.cash_rate` where that is known and
    nothing where it is not. Wealth of 0 or less stops the book.

    Raises:
        LabelError, SettingsError, SimulationError: the inputs disagree; a cost or weight is not finite; the
            wealth identity is broken.
        SolverError: a policy failed and `on_failure` is "raise".
    """
    if on_failure not in ("hold", "raise"):
        raise SettingsError(f'on_failure is {on_failure!r}: give "hold" or "raise"')
    p = read_forecasts(forecasts, panel)
    n_books = len(p)
    names = read_names(names, n_books)
    policy = policy.prepare(panel.dates, panel.assets, lag=lag)
    start, end = read_rows(panel, p, lag=lag, first_fill=policy.first_fill, first_row=first_row, last_row=last_row)
    parts = costs.parts if costs is not None else ()
    record = Record(panel, names=names, start=start, end=end, parts=parts)
    ledger = open_ledger(read_wealth(1.0 if initial_wealth is None else initial_wealth, n_books), panel.n_assets)
    record.wealth[:, 0] = ledger.wealth
    for row in range(start, end):
        alive = ~record.ruined
        wealth, held = ledger.wealth, ledger.weights
        tradable = panel.tradable[row] & alive[:, None]
        market = panel.at(row, wealth=None if initial_wealth is None else wealth)
        decision = policy.decide(p[:, row - lag].copy(), np.where(alive[:, None], held, 0.0), market, tradable)
        q = record.accept(decision, row=row, held=held, tradable=tradable, on_failure=on_failure)

        traded = trade(ledger, q)
        values = {name: _value(name, cost, q, held, market, record.label(row)) for name, cost in parts}
        charged = sum((values[name] for name, cost in parts if cost.cash), np.zeros(n_books))
        paid = charge(traded, charged * wealth)
        cash_rate = 0.0 if panel.cash_rate is None else float(panel.cash_rate[row])
        after = earn(paid, panel.returns[row + 1], cash_rate=cash_rate)

        gross = (q * np.where(np.isnan(panel.returns[row + 1]), 0.0, panel.returns[row + 1])).sum(axis=1)
        interest = (1.0 - q.sum(axis=1) - charged) * cash_rate
        net = gross + interest - charged
        check_wealth(ledger, after, net, names=names, date=panel.dates[row + 1])
        record.add(row, q=q, held=held, gross=gross, interest=interest, net=net, values=values, after=after.wealth)
        ledger = stop(after, record.ruined)
        if progress is not None:
            progress(row - start + 1, end - start)
    return record.result()


def _value(
    name: str,
    cost: Cost,
    q: np.ndarray,
    held: np.ndarray,
    market: MarketSnapshot,
    label: Callable[[int, int], str],
) -> np.ndarray:
    """Return one cost of each book (B,), as a fraction of wealth before the trade; NaN in stopped books."""
    by_asset = cost.value(torch.from_numpy(q), torch.from_numpy(held), market).detach().cpu().numpy()
    by_asset = np.ascontiguousarray(np.broadcast_to(by_asset, q.shape))
    bad = np.argwhere(~np.isfinite(by_asset) & np.isfinite(q))
    if len(bad):
        book, column = bad[0]
        raise SimulationError(
            f"{label(book, column)}: {name} is {by_asset[book, column]} for weight {q[book, column]:g} after "
            f"{held[book, column]:g}: give the cost a finite value where it can be traded"
        )
    # Summed here and not in torch, whose order of summation depends on the number of rows.
    return by_asset.sum(axis=1)
