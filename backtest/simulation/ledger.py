"""The ledger: what is owned, in currency, and one pure function for each thing that happens to it.

B books side by side; nothing one book does moves another, not even in the last bit. Cash is signed: short
proceeds are in it, and a book that buys more than its wealth owes it. At this depth positive and negative
cash earn and pay the same rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.errors import SimulationError

__all__ = ["Ledger", "charge", "check_wealth", "earn", "open_ledger", "stop", "trade"]

IDENTITY = 1e-10
"""Largest gap, relative to the book, between wealth as owned and as rebuilt from weights and returns."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """What B books own, marked at the last known prices.

    Attributes:
        positions: (B, N) currency; negative when short; NaN in a book that was stopped.
        cash: (B,) currency; negative when owed; NaN in a book that was stopped.
    """

    positions: np.ndarray
    cash: np.ndarray

    @property
    def wealth(self) -> np.ndarray:
        """(B,) currency: positions plus cash."""
        return self.positions.sum(axis=1) + self.cash

    @property
    def weights(self) -> np.ndarray:
        """(B, N) positions as fractions of wealth."""
        return self.positions / self.wealth[:, None]


def open_ledger(wealth: np.ndarray, n_assets: int) -> Ledger:
    """Return books that hold `wealth` (B,) in cash and no position."""
    return Ledger(np.zeros((len(wealth), n_assets)), np.array(wealth, dtype=np.float64))


def trade(ledger: Ledger, q: np.ndarray) -> Ledger:
    """Move positions to weights `q` (B, N), fractions of wealth just before the trade; no cost is paid yet.

    A name whose weight is already `q` is not touched, to the last bit.
    """
    target = np.where(q == ledger.weights, ledger.positions, q * ledger.wealth[:, None])
    return Ledger(target, ledger.cash - (target - ledger.positions).sum(axis=1))


def charge(ledger: Ledger, amount: np.ndarray) -> Ledger:
    """Pay `amount` (B,) currency from cash."""
    return replace(ledger, cash=ledger.cash - amount)


def earn(ledger: Ledger, returns: np.ndarray, *, cash_rate: float) -> Ledger:
    """Let one period pass.

    Args:
        ledger: after trades and charges.
        returns: (N,) total returns of the period. NaN is a missing price: the position stays marked at its
            last one.
        cash_rate: of the period, earned on positive and paid on negative cash.
    """
    growth = 1.0 + np.where(np.isnan(returns), 0.0, returns)
    return Ledger(ledger.positions * growth, ledger.cash * (1.0 + cash_rate))


def stop(ledger: Ledger, books: np.ndarray) -> Ledger:
    """Close the `books` (B,) bool for good: all that they own is unknown from now on."""
    return Ledger(np.where(books[:, None], np.nan, ledger.positions), np.where(books, np.nan, ledger.cash))


def check_wealth(before: Ledger, after: Ledger, net: np.ndarray, *, names: tuple[str, ...], date: pd.Timestamp) -> None:
    """Assert the wealth identity: wealth before, times one plus net return, is wealth after.

    Args:
        before: the ledger just before the trade.
        after: the ledger at the end of the period.
        net: (B,) gross + interest - costs, computed from weights, not from the ledger; NaN in stopped books.
        names: (B,) of the books, for the message.
        date: the end of the period, for the message.

    Raises:
        SimulationError: they differ by more than 1e-10 of the size of the book.
    """
    owned, rebuilt = after.wealth, before.wealth * (1.0 + net)
    size = np.maximum(np.abs(before.wealth), np.abs(after.positions).sum(axis=1))
    broken = np.flatnonzero(np.abs(owned - rebuilt) > IDENTITY * size)
    if len(broken):
        book = broken[0]
        raise SimulationError(
            f"{names[book]}: {date:%Y-%m-%d}: the book owns {float(owned[book])!r}, but returns, interest "
            f"and costs explain {float(rebuilt[book])!r}, {owned[book] - rebuilt[book]:.3g} apart: the "
            "ledger is wrong, please report this"
        )
