"""What the simulator writes down: the path of every book, and everything out of the ordinary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch

from backtest.costs import Cost
from backtest.errors import SimulationError, SolverError
from backtest.market import MarketPanel
from backtest.simulation.decision_times import DecisionTimes
from backtest.simulation.policies import Decision
from backtest.simulation.policies.base import NOT_ASKED
from backtest.simulation.predicted_risk import predicted_volatility
from backtest.simulation.quotes import Quotes
from backtest.simulation.result import SimulationResult

__all__ = ["Record"]

UNFILLED = 1e-9
"""An unfilled trade is worth an event when it is larger than this fraction of wealth."""

Event = tuple[pd.Timestamp, str, str, str, str]
"""Date, book, asset or "", kind, detail."""

CHUNK = 64
"""Periods at which opinions are valued at once."""

BY_PERIOD = (
    "gross",
    "interest",
    "net",
    "predicted",
    "turnover",
    "leverage",
    "net_exposure",
    "delisting",
    "fill_wealth",
)


class Record:
    """The path of B books over S periods, filled in as time passes."""

    def __init__(
        self,
        panel: MarketPanel,
        *,
        names: tuple[str, ...],
        start: int,
        end: int,
        cash_parts: Sequence[str],
        before_fill: bool,
    ) -> None:
        n_books, n_periods, n_assets = len(names), end - start, panel.n_assets
        self.panel, self.names, self.start, self.end = panel, names, start, end
        self.wealth = np.full((n_books, n_periods + 1), np.nan)
        self.by_period = {name: np.full((n_books, n_periods), np.nan) for name in BY_PERIOD}
        self.costs = {name: np.full((n_books, n_periods), np.nan) for name in cash_parts}
        self.asset_costs = {name: np.zeros((n_books, n_assets)) for name in cash_parts}
        weights = ("positions", "held", "before_fill") if before_fill else ("positions", "held")
        self.weights = {name: np.full((n_books, n_periods, n_assets), np.nan) for name in weights}
        # Orders filled at the close of their decision: the quotes have both already.
        filled = ("fill_prices", "returns_from_fill") if before_fill else ()
        self.by_asset = {name: np.full((n_periods, n_assets), np.nan) for name in filled}
        shape = (n_books, n_periods)
        self.solves = {
            "solve_statuses": np.full(shape, NOT_ASKED, dtype=np.int8),
            "solve_residuals": np.full(shape, np.nan),
            "solve_iterations": np.full(shape, NOT_ASKED, dtype=np.int32),
        }
        self.seconds = np.full(n_periods, np.nan)
        self.ruined = np.zeros(n_books, dtype=bool)
        self.events: list[Event] = []
        self._kept_events = 0

    def label(self, row: int) -> Callable[[int, int], str]:
        """Return what names a cell of this fill in messages: book, date, asset."""
        return lambda book, column: f"{self.names[book]}: {self.panel.dates[row]:%Y-%m-%d}: {self.panel.assets[column]}"

    def accept(
        self,
        decision: np.ndarray | Decision,
        *,
        row: int,
        held: np.ndarray,
        tradable: np.ndarray,
        on_failure: Literal["hold", "raise"],
    ) -> np.ndarray:
        """Return the weights that are ordered (B, N), NaN in stopped books; note what could not be done."""
        if not isinstance(decision, Decision):
            decision = Decision(decision)
        wanted = np.array(decision.q, dtype=np.float64)
        if wanted.shape != held.shape:
            raise SimulationError(f"the policy returned shape {wanted.shape}, expected {held.shape}: (books, assets)")
        self._keep_solves(decision, row - self.start)
        for book, why in decision.failures.items():
            if self.ruined[book]:
                continue
            if on_failure == "raise":
                raise SolverError(f"{self.names[book]}: {self.panel.dates[row]:%Y-%m-%d}: no decision: {why}")
            self.note(row, book, None, "failed", why)
            wanted[book] = held[book]
        for book, what in decision.remarks.items():
            self.note(row, book, None, "inaccurate", what)
        if self.ruined.any():
            wanted[self.ruined] = np.nan
        finite = np.isfinite(wanted)
        if not finite.all():
            bad = np.argwhere(~finite & ~self.ruined[:, None])
            if len(bad):
                book, column = bad[0]
                raise SimulationError(
                    f"{self.label(row)(book, column)}: the policy asks for weight {wanted[book, column]}: "
                    "return a finite weight, and `held` to keep a position"
                )
        if tradable.all():
            return wanted
        unfilled = ~tradable & (np.abs(wanted - held) > UNFILLED)
        for book, column in np.argwhere(unfilled).tolist():
            detail = f"wants {wanted[book, column]:.6g}, keeps {held[book, column]:.6g}"
            self.note(row, book, column, "untradable", detail)
        return np.where(tradable, wanted, held)

    def _keep_solves(self, decision: Decision, period: int) -> None:
        """Write down how a solver came to the decision of a period; in books that are stopped there is none."""
        if decision.solves is None:
            return
        alive = ~self.ruined
        given = (decision.solves.statuses, decision.solves.residuals, decision.solves.iterations)
        for kept, values in zip(self.solves.values(), given, strict=True):
            if np.shape(values) != alive.shape:
                raise SimulationError(
                    f"the policy's decision has solves of shape {np.shape(values)}, expected {alive.shape}: one a book"
                )
            # Which NaN it is, is not the policy's to say: a book's are the same bits among others and alone.
            finite = np.where(np.isnan(values), np.nan, values) if kept.dtype.kind == "f" else values
            kept[alive, period] = finite[alive]

    def add(
        self,
        row: int,
        *,
        costs: dict[str, np.ndarray],
        weights: dict[str, np.ndarray],
        by_asset: dict[str, np.ndarray],
        **values: np.ndarray,
    ) -> None:
        """Write down the period that is decided at `row`.

        Args:
            row: of the decision.
            costs: name -> (B, N) currency of each cash cost, as `positions` are charged it.
            weights: name -> (B, N), as in `weights`.
            by_asset: name -> (N,), of all books alike.
            values: `wealth_before` and `wealth_after` (B,), and what is kept by period (B,).
        """
        period = row - self.start
        before, after = values.pop("wealth_before"), values.pop("wealth_after")
        stopped = bool(self.ruined.any())
        self.wealth[:, period + 1] = after
        for name, cost in costs.items():
            # Summed here and not in torch, whose order of summation depends on the number of rows.
            self.costs[name][:, period] = cost.sum(axis=1) / before
            self.asset_costs[name] += np.where(self.ruined[:, None], 0.0, cost) if stopped else cost
        for name, weight in weights.items():
            self.weights[name][:, period] = weight
        for name, value in values.items():
            self.by_period[name][:, period] = value
        for name, kept in self.by_asset.items():
            kept[period] = by_asset[name]
        if stopped:
            # NaN has many bit patterns, and which one comes out of a sum depends on the others in it.
            for path in (*self.costs.values(), *self.by_period.values(), *self.weights.values()):
                path[self.ruined, period] = np.nan
            self.wealth[self.ruined, period + 1] = np.nan
        for book in np.flatnonzero(after <= 0).tolist():
            self.ruined[book] = True
            self.note(row + 1, book, None, "ruined", f"wealth {after[book]:.6g}: the book is stopped")

    def stretch(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Return all that is known of the periods `first` to `last` - 1, by name, for a checkpoint."""
        state = {f"asset cost:{name}": value for name, value in self.asset_costs.items()}
        return {
            **{name: _stretch(values, axis, first, last) for name, (values, axis) in self._timed().items()},
            **state,
            "ruined": self.ruined,
        }

    def take_up(self, first: int, last: int, kept: dict[str, np.ndarray], events: Sequence[Event]) -> None:
        """Fill in what `stretch` returned for the same periods, and what happened in them."""
        for name, (values, axis) in self._timed().items():
            _stretch(values, axis, first, last)[...] = kept[name]
        for name, value in self.asset_costs.items():
            value[...] = kept[f"asset cost:{name}"]
        self.ruined[...] = kept["ruined"]
        self.events += events
        self._kept_events = len(self.events)

    def new_events(self) -> list[Event]:
        """Return the events since this was called last, or since the checkpoint."""
        new, self._kept_events = self.events[self._kept_events :], len(self.events)
        return new

    def _timed(self) -> dict[str, tuple[np.ndarray, int]]:
        """Return every array that grows with time, and its axis of time."""
        return {
            # The first wealth is given; that after each period comes with it.
            "wealth": (self.wealth[:, 1:], 1),
            **{name: (values, 1) for name, values in (self.by_period | self.weights | self.solves).items()},
            **{f"cost:{name}": (values, 1) for name, values in self.costs.items()},
            **{name: (values, 0) for name, values in self.by_asset.items()},
        }

    def note(self, row: int, book: int, column: int | None, kind: str, detail: str) -> None:
        """Write down an event at a row, of one book, and of one asset or the whole book."""
        asset = "" if column is None else self.panel.assets[column]
        self.events.append((self.panel.dates[row], self.names[book], asset, kind, detail))

    def result(
        self, opinions: Sequence[tuple[str, Cost]], quotes: Quotes, *, whole_shares: bool, in_currency: bool
    ) -> SimulationResult:
        """Return the finished path, with the opinions valued at the positions taken."""
        fills = slice(self.start, self.end)
        valued = {name: self._opinion(name, cost, in_currency=in_currency) for name, cost in opinions}
        net = self.by_period["net"]
        by_asset = self.by_asset or {
            "fill_prices": quotes.price[fills],
            "returns_from_fill": np.stack([quotes.from_close(row + 1) for row in range(self.start, self.end)]),
        }
        events = pd.DataFrame(self.events, columns=["date", "name", "asset", "kind", "detail"])
        return SimulationResult(
            names=self.names,
            dates=self.panel.dates[self.start + 1 : self.end + 1],
            fill_dates=self.panel.dates[fills],
            assets=self.panel.assets,
            periods_per_year=self.panel.periods_per_year,
            wealth=self.wealth,
            costs=self.costs,
            opinions=valued,
            utility=net - sum(valued.values(), np.zeros_like(net)),
            **self.by_period,
            **self.solves,
            predicted_volatility=predicted_volatility(opinions, valued),
            asset_costs=self.asset_costs,
            positions=self.weights["positions"],
            held=self.weights["held"],
            before_fill=self.weights.get("before_fill"),
            **by_asset,
            counts_shares=self.panel.prices is not None,
            whole_shares=whole_shares,
            ruined=self.ruined,
            events=events.astype({"date": self.panel.dates.dtype}),
            times=DecisionTimes(len(self.names), self.seconds),
        )

    def _opinion(self, name: str, cost: Cost, *, in_currency: bool) -> np.ndarray:
        """Return an opinion of each book and period (B, S); a book at a time, so that each is what it is alone."""
        n_periods = self.end - self.start
        values = np.full((len(self.names), n_periods), np.nan)
        for first in range(0, n_periods, CHUNK):
            # Always as many rows: how torch sums depends on their number.
            periods = np.minimum(np.arange(first, first + CHUNK), n_periods - 1)
            rows = self.start + periods
            for book in range(len(self.names)):
                wealth = np.nan_to_num(self.wealth[book, periods]) if in_currency else None
                q, held = (
                    torch.from_numpy(np.nan_to_num(self.weights[kind][book, periods])) for kind in ("positions", "held")
                )
                by_asset = cost.value(q, held, self.panel.at(rows, wealth=wealth)).detach().cpu().numpy()
                by_asset = np.ascontiguousarray(np.broadcast_to(by_asset, q.shape))
                bad = np.argwhere(~np.isfinite(by_asset))
                if len(bad):
                    period, column = bad[0]
                    raise SimulationError(
                        f"{self.label(rows[period])(book, column)}: {name} is {by_asset[period, column]} for weight "
                        f"{q[period, column]:g}: give the cost a finite value where a position can be"
                    )
                total = np.where(np.isnan(self.by_period["net"][book, periods]), np.nan, by_asset.sum(axis=1))
                kept = min(CHUNK, n_periods - first)
                values[book, first : first + kept] = total[:kept]
        return values


def _stretch(values: np.ndarray, axis: int, first: int, last: int) -> np.ndarray:
    return values[first:last] if axis == 0 else values[:, first:last]
