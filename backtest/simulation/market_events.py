"""What the market does to what is held, written down: corporate actions, delistings, prices that stay away."""

from __future__ import annotations

import numpy as np

from backtest.simulation.quotes import Quotes
from backtest.simulation.record import Record

__all__ = ["note_market_events"]


def note_market_events(record: Record, quotes: Quotes, row: int, shares: np.ndarray, at_close: np.ndarray) -> None:
    """Note what happens in `row` to the `shares` (B, N) of the close before it, and to those that it closes with."""
    if not quotes.eventful[row]:
        return
    ends = quotes.ends.get(row, {})
    for column, end in ends.items():
        for book in np.flatnonzero(np.isfinite(at_close[:, column]) & (at_close[:, column] != 0)).tolist():
            detail = f"{end.reason}: pays {end.paid:.6g} a share, {end.gained:+.6g} on its mark"
            record.note(row, book, column, "delisted", detail)
    held = np.isfinite(shares) & (shares != 0)
    parents = {parent for parent, _, _ in quotes.spin_offs.get(row, ())}
    for column in np.flatnonzero(held.any(axis=0)).tolist():
        what = _actions(quotes, row, column, ends=column in ends)
        if column in parents:
            for parent, child, ratio in quotes.spin_offs[row]:
                if parent == column:
                    what.append(("spin-off", f"{ratio:g} shares of {record.panel.assets[child]} for each share"))
        for kind, detail in what:
            for book in np.flatnonzero(held[:, column]).tolist():
                record.note(row, book, column, kind, detail)


def _actions(quotes: Quotes, row: int, column: int, *, ends: bool) -> list[tuple[str, str]]:
    what = []
    if quotes.counts_shares:
        growth, payout = float(quotes.growth[row, column]), float(quotes.payout[row, column])
        if growth != 1.0:
            what.append(("split", f"{growth:g} shares for each share"))
        if payout != 0.0:
            what.append(("dividend", f"{payout:.6g} for each share of the day before"))
    if quotes.known[row - 1, column] and not quotes.known[row, column] and not ends:
        price = "last price" if not quotes.counts_shares else f"last price {quotes.price[row, column]:.6g}"
        what.append(("missing price", f"held at its {price}"))
    return what
