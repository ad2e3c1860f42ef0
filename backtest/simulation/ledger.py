"""The ledger: shares and signed cash, and one pure function for each thing that happens to them.

B books side by side; nothing one book does moves another, not even in the last bit. Short proceeds are cash, and a book
that buys more than its wealth owes cash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.errors import SimulationError
from backtest.simulation.quotes import Quotes

__all__ = [
    "Ledger",
    "charge",
    "check_wealth",
    "close_row",
    "interest_on",
    "open_ledger",
    "open_row",
    "stop",
    "trade",
    "whole",
]

SNAP = 1e-9
"""Distance from a whole number, relative, up to which a number of shares is whole."""

IDENTITY = 1e-10
"""Largest gap, relative to the book, between wealth as owned and as rebuilt from weights and returns."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """What B books own.

    Attributes:
        shares: (B, N); negative when short; NaN in a book that was stopped. Of a panel without prices: currency.
        cash: (B,) currency; negative when owed; NaN in a book that was stopped.
    """

    shares: np.ndarray
    cash: np.ndarray


def open_ledger(wealth: np.ndarray, weights: np.ndarray, price: np.ndarray) -> Ledger:
    """Return books of `wealth` (B,) that hold `weights` (B, N) of it at `price` (N,), and the rest in cash."""
    value = weights * wealth[:, None]
    return Ledger(np.where(value == 0, 0.0, value / np.where(price > 0, price, 1.0)), wealth - value.sum(axis=1))


def trade(ledger: Ledger, bought: np.ndarray, paid: np.ndarray) -> Ledger:
    """Buy `bought` shares (B, N), or sell where negative, for `paid` currency (B, N); no cost is paid yet."""
    return Ledger(ledger.shares + bought, ledger.cash - paid.sum(axis=1))


def charge(ledger: Ledger, amount: np.ndarray) -> Ledger:
    """Pay `amount` (B,) currency from cash."""
    return replace(ledger, cash=ledger.cash - amount)


def open_row(ledger: Ledger, quotes: Quotes, row: int) -> Ledger:
    """Let the splits, spin-offs and dividends at the open of `row` happen to the shares of the row before."""
    shares, paid = quotes.open(ledger.shares, row)
    return Ledger(shares, ledger.cash + paid.sum(axis=1))


def close_row(ledger: Ledger, quotes: Quotes, row: int) -> Ledger:
    """Turn the shares of names that are delisted at the close of `row` into cash."""
    if row not in quotes.ends:
        return ledger
    columns = list(quotes.ends[row])
    shares = ledger.shares.copy()
    shares[:, columns] *= 0.0
    return Ledger(shares, ledger.cash + (ledger.shares[:, columns] * quotes.closing(row)[columns]).sum(axis=1))


def whole(ledger: Ledger, price: np.ndarray) -> Ledger:
    """Turn the fractions of shares that a split or spin-off leaves into cash at `price` (N,)."""
    nearest = np.rint(ledger.shares)
    # A number of shares that went through weights and splits is whole to rounding.
    kept = np.where(np.abs(ledger.shares - nearest) <= SNAP * (1.0 + np.abs(nearest)), nearest, np.trunc(ledger.shares))
    rest = ledger.shares - kept
    return Ledger(kept, ledger.cash + (rest * price).sum(axis=1))


def interest_on(cash: np.ndarray, value: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    """Return what a period pays on cash (B,), negative when the book pays; see `Financing` for the balances.

    Args:
        cash: (B,) short proceeds included.
        value: (B, N) of the positions, in the unit of `cash`.
        rates: of the period, on credits, debits and short proceeds.
    """
    credit, debit, proceeds = rates
    if credit == debit == proceeds:
        return cash * credit
    short_value = -np.minimum(value, 0.0).sum(axis=1)
    rest = cash - short_value
    return short_value * proceeds + np.where(rest > 0, credit, debit) * rest


def stop(ledger: Ledger, books: np.ndarray) -> Ledger:
    """Close the `books` (B,) bool for good: all that they own is unknown from now on."""
    return Ledger(np.where(books[:, None], np.nan, ledger.shares), np.where(books, np.nan, ledger.cash))


def check_wealth(
    before: np.ndarray,
    after: np.ndarray,
    net: np.ndarray,
    size: np.ndarray,
    *,
    names: tuple[str, ...],
    dates: pd.DatetimeIndex,
    row: int,
) -> None:
    """Assert the wealth identity: wealth before, times one plus net return, is wealth after.

    Args:
        before: (B,) wealth as owned at the beginning of the period; NaN in stopped books, as all else.
        after: (B,) wealth as owned at its end.
        net: (B,) gross + interest - costs, computed from weights and returns, not from the ledger.
        size: (B,) currency, of what the gap is a fraction: the larger of wealth and of all positions.
        names: (B,) of the books, for the message.
        dates, row: of the panel, and which of them ends the period, for the message.

    Raises:
        SimulationError: they differ by more than 1e-10 of the size of the book.
    """
    rebuilt = before * (1.0 + net)
    broken = np.flatnonzero(np.abs(after - rebuilt) > IDENTITY * size)
    if len(broken):
        book = broken[0]
        raise SimulationError(
            f"{names[book]}: {dates[row]:%Y-%m-%d}: the book owns {float(after[book])!r}, but returns, interest "
            f"and costs explain {float(rebuilt[book])!r}, {after[book] - rebuilt[book]:.3g} apart: the ledger is "
            "wrong, please report this"
        )
