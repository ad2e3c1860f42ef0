"""What the market does to what is held, written down: corporate actions, delistings, prices that stay away."""

from __future__ import annotations

import numpy as np

from backtest.simulation.quotes import Quotes
from backtest.simulation.record import Record

__all__ = ["note_market_events"]


def note_market_events(record: Record, quotes: Quotes, row: int, shares: np.ndarray) -> None:
    """Note what happens in `row` to the `shares` (B, N) that were held at the close before it."""
    if not quotes.eventful[row]:
        return
    held = np.isfinite(shares) & (shares != 0)
    ended = quotes.delisted.get(row, {})
    parents = {parent for parent, _, _ in quotes.spin_offs.get(row, ())}
    for column in np.flatnonzero(held.any(axis=0)).tolist():
        what = [*_actions(quotes, row, column, is_ended=column in ended)]
        if column in ended:
            gain, reason = ended[column]
            what.append(
                ("delisted", f"{reason}: pays {quotes.payout[row, column]:.6g} a share, {gain:+.6g} on its mark")
            )
        if column in parents:
            for parent, child, ratio in quotes.spin_offs[row]:
                if parent == column:
                    what.append(("spin-off", f"{ratio:g} shares of {record.panel.assets[child]} for each share"))
        for kind, detail in what:
            for book in np.flatnonzero(held[:, column]).tolist():
                record.note(row, book, column, kind, detail)


def _actions(quotes: Quotes, row: int, column: int, *, is_ended: bool) -> list[tuple[str, str]]:
    what = []
    if quotes.counts_shares and not is_ended:
        growth, payout = float(quotes.growth[row, column]), float(quotes.payout[row, column])
        if growth != 1.0:
            what.append(("split", f"{growth:g} shares for each share"))
        if payout != 0.0:
            what.append(("dividend", f"{payout:.6g} for each share of the day before"))
    if quotes.known[row - 1, column] and not quotes.known[row, column] and not is_ended:
        price = "last price" if not quotes.counts_shares else f"last price {quotes.price[row, column]:.6g}"
        what.append(("missing price", f"held at its {price}"))
    return what
