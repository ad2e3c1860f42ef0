"""What the simulator writes down: the path of every book, and everything out of the ordinary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from backtest.costs import Cost
from backtest.errors import SimulationError, SolverError
from backtest.market import MarketPanel
from backtest.simulation.policies import Decision
from backtest.simulation.result import SimulationResult

__all__ = ["Record"]

UNFILLED = 1e-9
"""An unfilled trade is worth an event when it is larger than this fraction of wealth."""


class Record:
    """The path of all books, filled in as time passes."""

    def __init__(
        self,
        panel: MarketPanel,
        *,
        names: tuple[str, ...],
        start: int,
        end: int,
        parts: Sequence[tuple[str, Cost]],
    ) -> None:
        shape = (len(names), end - start)
        self.panel, self.names, self.start, self.end, self.parts = panel, names, start, end, parts
        self.wealth = np.full((shape[0], shape[1] + 1), np.nan)
        self.gross, self.interest, self.net = (np.full(shape, np.nan) for _ in range(3))
        self.values = {name: np.full(shape, np.nan) for name, _ in parts}
        self.positions, self.held = (np.full((*shape, panel.n_assets), np.nan) for _ in range(2))
        self.ruined = np.zeros(shape[0], dtype=bool)
        self.events: list[tuple[pd.Timestamp, str, str, str, str]] = []

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
        """Return the weights that are filled (B, N), NaN in stopped books; note what could not be done."""
        if not isinstance(decision, Decision):
            decision = Decision(decision)
        wanted = np.array(decision.q, dtype=np.float64)
        if wanted.shape != held.shape:
            raise SimulationError(f"the policy returned shape {wanted.shape}, expected {held.shape}: (books, assets)")
        date = self.panel.dates[row]
        for book, why in decision.failures.items():
            if self.ruined[book]:
                continue
            if on_failure == "raise":
                raise SolverError(f"{self.names[book]}: {date:%Y-%m-%d}: no decision: {why}")
            self._note(date, book, None, "failed", why)
            wanted[book] = held[book]
        for book, what in decision.remarks.items():
            self._note(date, book, None, "inaccurate", what)
        wanted[self.ruined] = np.nan
        bad = np.argwhere(~np.isfinite(wanted) & ~self.ruined[:, None])
        if len(bad):
            book, column = bad[0]
            raise SimulationError(
                f"{self.label(row)(book, column)}: the policy asks for weight {wanted[book, column]}: "
                "return a finite weight, and `held` to keep a position"
            )
        unfilled = ~tradable & (np.abs(wanted - held) > UNFILLED)
        for book, column in np.argwhere(unfilled).tolist():
            detail = f"wants {wanted[book, column]:.6g}, keeps {held[book, column]:.6g}"
            self._note(date, book, column, "untradable", detail)
        return np.where(tradable, wanted, held)

    def add(
        self,
        row: int,
        *,
        q: np.ndarray,
        held: np.ndarray,
        gross: np.ndarray,
        interest: np.ndarray,
        net: np.ndarray,
        values: dict[str, np.ndarray],
        after: np.ndarray,
    ) -> None:
        """Write down one period of all books; (B,) each but the weights (B, N)."""
        period = row - self.start
        self.positions[:, period], self.held[:, period] = q, held
        self.gross[:, period], self.interest[:, period], self.net[:, period] = gross, interest, net
        for name, value in values.items():
            self.values[name][:, period] = value
        self.wealth[:, period + 1] = after
        date = self.panel.dates[row + 1]
        missing = np.isnan(self.panel.returns[row + 1])
        if missing.any():
            for book, column in np.argwhere(missing & np.isfinite(q) & (q != 0)).tolist():
                self._note(date, book, column, "missing return", "held, marked at the last price")
        for book in np.flatnonzero(after <= 0).tolist():
            self.ruined[book] = True
            self._note(date, book, None, "ruined", f"wealth {after[book]:.6g}: the book is stopped")

    def _note(self, date: pd.Timestamp, book: int, column: int | None, kind: str, detail: str) -> None:
        asset = "" if column is None else self.panel.assets[column]
        self.events.append((date, self.names[book], asset, kind, detail))

    def result(self) -> SimulationResult:
        """Return the finished path."""
        panel, fills = self.panel, slice(self.start, self.end)
        opinions = {name: self.values[name] for name, cost in self.parts if not cost.cash}
        prices = panel.prices
        if prices is not None:
            prices = pd.DataFrame(prices[: self.end]).ffill().to_numpy()[fills]
        return SimulationResult(
            names=self.names,
            dates=panel.dates[self.start + 1 : self.end + 1],
            fill_dates=panel.dates[fills],
            assets=panel.assets,
            wealth=self.wealth,
            gross=self.gross,
            costs={name: self.values[name] for name, cost in self.parts if cost.cash},
            interest=self.interest,
            net=self.net,
            opinions=opinions,
            utility=self.net - sum(opinions.values(), np.zeros_like(self.net)),
            turnover=np.abs(self.positions - self.held).sum(axis=2),
            leverage=np.abs(self.positions).sum(axis=2),
            net_exposure=self.positions.sum(axis=2),
            positions=self.positions,
            held=self.held,
            ruined=self.ruined,
            events=pd.DataFrame(self.events, columns=["date", "name", "asset", "kind", "detail"]),
            fill_prices=prices,
        )
