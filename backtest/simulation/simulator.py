"""The simulator: one pass over time, B books at once.

Row r is a decision. The forecast meets the market as known at the close of r (risk, volume, what can be traded, what
is held); the order is filled at that close, or in row r + 1 at its open or average price; the period ends at the close
of r + 1. Each period: decide, fill, pay cash costs and the fees for the period ahead, earn interest at the rate known
at r, let splits, dividends and delistings happen, mark at the close, check the wealth identity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from backtest.costs import Cost
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation.checkpoint import Checkpoint, fingerprint
from backtest.simulation.execution import Execution
from backtest.simulation.financing import Financing
from backtest.simulation.inputs import read_forecasts, read_names, read_policy, read_rows, read_wealth, read_weights
from backtest.simulation.ledger import open_ledger
from backtest.simulation.orders import Settings
from backtest.simulation.period import Period
from backtest.simulation.policies import Policy
from backtest.simulation.progress import reporting
from backtest.simulation.quotes import MissingPrices, Quotes
from backtest.simulation.record import Record
from backtest.simulation.result import SimulationResult
from backtest.training.threads import one_thread

__all__ = ["simulate"]

_log = logging.getLogger(__name__)


def simulate(
    panel: MarketPanel,
    policy: Policy | Sequence[Policy],
    forecasts: Any = None,
    *,
    costs: Cost | None,
    lag: int = 1,
    first_row: int | None = None,
    last_row: int | None = None,
    initial_wealth: Any = None,
    initial_weights: Any = None,
    execution: Execution | None = None,
    financing: Financing | None = None,
    missing: MissingPrices | None = None,
    on_failure: Literal["hold", "raise"] = "hold",
    names: Sequence[str] | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 250,
) -> SimulationResult:
    """Trade policies through a panel, B books side by side; each is to the last bit what it is alone.

    Args:
        panel: the market.
        policy: decides the weights of all books; or a sequence of B policies, one a book. See
            `backtest.simulation.policies`.
        forecasts: (T, N) or (B, T, N), row t made with data up to t, or a DataFrame of dates by assets; None
            for a policy that needs none. One forecast serves all books of a sequence of policies.
        costs: estimated on this panel; the same for all books, but for parameters that have one number a book, (B, 1):
            each book is then charged its own. Its cash parts are charged as they came out (`realized`)
            at the market of the fill; the others are opinions, taken off utility alone. None charges nothing.
        lag: rows from a forecast to its fill; 0 fills at the close that the forecast was made from.
        first_row: row of the first decision; None decides on the first forecast.
        last_row: row at which the last period ends; None ends with the last forecast's period.
        initial_wealth: currency, one number or (B,). None starts at 1 of no currency: costs whose size depends on
            wealth, as market impact does, then ask for theirs.
        initial_weights: what is held at the start, without cost: (N,), (B, N) or a Series by asset; None is cash.
        execution: how orders are filled; None fills at the close of the decision, fractions of shares included.
        financing: what cash earns and debt pays; None is the panel's cash rate for both.
        missing: when a price that stays away counts as a delisting; None never, and the name stays at its last price.
        on_failure: a book for which the policy fails holds what it has ("hold", and an event says so), or the
            run stops.
        names: (B,) of the books.
        progress: True shows a bar; a function is called with (periods done, periods in all).
        checkpoint: folder in which the run is kept as it goes. The same call goes on where it was cut off, and ends
            with the same bytes as without a cut; another call is refused. None keeps nothing.
        checkpoint_every: periods after which the run is kept.

    A name that cannot be traded keeps its position. Held without a price it stays at its last one and earns, when its
    price is back, the return since. A name that leaves the universe is sold at the next fill. Short proceeds are cash.
    Wealth of 0 or less stops the book.

    Raises:
        LabelError, SettingsError, SimulationError: the inputs disagree; a cost or weight is not finite; the
            wealth identity is broken; the checkpoint is of another run.
        SolverError: a policy failed and `on_failure` is "raise".
    """
    if on_failure not in ("hold", "raise"):
        raise SettingsError(f'on_failure is {on_failure!r}: give "hold" or "raise"')
    execution, financing = execution or Execution(), financing or Financing()
    given = read_policy(policy)
    p = read_forecasts(forecasts, panel, n_books=given.n_books)
    names = read_names(names, len(p))
    wait = lag - 1 if execution.next_row and _is_row_count(lag) else lag
    if wait < 0:
        raise SettingsError(f'lag is {lag}: with fill="{execution.fill}" an order is filled one row later at least')
    prepared = given.prepare(panel.dates, panel.assets, lag=wait)
    start, end = read_rows(panel, p, lag=wait, first_fill=prepared.first_fill, first_row=first_row, last_row=last_row)
    quotes = Quotes.of(panel, fill=execution.fill, missing=missing)
    wealth = read_wealth(1.0 if initial_wealth is None else initial_wealth, len(p))
    weights = read_weights(initial_weights, panel, len(p), np.where(quotes.gone(start), 0.0, quotes.price[start]))
    parts = costs.parts if costs is not None else ()
    for name, cost in parts:
        _refuse_costs_by_book(name, cost)
    charged = [(name, cost.realized(panel)) for name, cost in parts if cost.cash]
    settings = Settings(
        panel=panel,
        quotes=quotes,
        execution=execution,
        rates=financing.rates(panel),
        costs=tuple(charged),
        in_currency=initial_wealth is not None,
        on_failure=on_failure,
    )
    record = Record(
        panel,
        names=names,
        start=start,
        end=end,
        cash_parts=[name for name, _ in charged],
        before_fill=execution.next_row,
    )
    ledger = open_ledger(wealth, weights, quotes.price[start])
    record.wealth[:, 0] = wealth
    kept = None
    first = start
    if checkpoint is not None:
        run = (given, costs, execution, financing, missing, on_failure)
        rows = (lag, start, end, settings.in_currency)
        kept = Checkpoint(checkpoint, fingerprint(panel, p, wealth, weights, names, rows, run))
        first, ledger = kept.resume(record, prepared, ledger)
    period = Period(settings, prepared, record)
    # Rows are too small for several threads: these would only wait for each other, and processes side by side too.
    with one_thread(), reporting(progress) as done:
        for row in range(first, end):
            ledger = period.step(row, p[:, row - wait], ledger)
            if kept is not None and ((row + 1 - start) % checkpoint_every == 0 or row + 1 == end):
                kept.keep(record, prepared, ledger, row + 1)
            done(row - start + 1, end - start)
    opinions = [(name, cost) for name, cost in parts if not cost.cash]
    result = record.result(opinions, quotes, whole_shares=execution.whole_shares, in_currency=settings.in_currency)
    _log_what_happened(result)
    return result


def _log_what_happened(result: SimulationResult) -> None:
    n_books, n_periods = result.net.shape
    span = f"{result.dates[0]:%Y-%m-%d} to {result.dates[-1]:%Y-%m-%d}" if n_periods else "no period"
    _log.info("simulated: %d books of %d periods, %s", n_books, n_periods, span)
    failed = result.events[result.events["kind"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        _log.warning(
            "%d of %d decisions failed, and what was held stayed: first %s on %s: %s",
            len(failed),
            n_books * n_periods,
            first["name"],
            f"{first['date']:%Y-%m-%d}",
            first["detail"],
        )


def _is_row_count(lag: Any) -> bool:
    return isinstance(lag, int | np.integer) and not isinstance(lag, bool)


def _refuse_costs_by_book(name: str, cost: Cost) -> None:
    weight = getattr(cost, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.numel() > 1:
        raise SettingsError(
            f"costs: {name} has a weight for each of {weight.numel()} books: what is charged, and what utility is "
            "made of, must be the same for all; give the costs of the solver that was not scaled"
        )
