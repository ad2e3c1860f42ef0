"""What a share is worth, what becomes of it from row to row, and what it pays out: a panel as the ledger reads it.

A panel without prices has no shares: there one "share" is one unit of currency in the name, its price is always 1, and
its number grows with the total return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market import MarketPanel

__all__ = ["MissingPrices", "Quotes"]

Fill = Literal["close", "open", "vwap"]

CHUNK = 64
"""Rows for which returns are worked out at once."""


@dataclass(frozen=True, kw_only=True)
class MissingPrices:
    """When a name whose price stays away counts as delisted. Without this rule it stays at its last price.

    Attributes:
        after: rows without a price; in that row its holders are paid out.
        delisting_return: on the last price. -0.3 is what Shumway (1997), "The Delisting Bias in CRSP Data", found for
            delistings for poor performance on the NYSE and Amex; a takeover pays about 0.

    Raises:
        SettingsError: `after` is no number of rows, or the return is below -1.
    """

    after: int
    delisting_return: float

    def __post_init__(self) -> None:
        if isinstance(self.after, bool) or not isinstance(self.after, int | np.integer) or self.after < 1:
            raise SettingsError(f"MissingPrices: after is {self.after!r}: give a number of rows, 1 or more")
        if not -1 <= self.delisting_return < np.inf:
            raise SettingsError(
                f"MissingPrices: delisting_return is {self.delisting_return!r}: give a fraction of at least -1"
            )


class End(NamedTuple):
    """How a name is delisted.

    Attributes:
        paid: currency for each share at the close.
        gained: currency gained, or lost, on each share's last mark; contained in `paid`.
        reason: in words.
    """

    paid: float
    gained: float
    reason: str


@dataclass(frozen=True, eq=False)
class Quotes:
    """Prices and corporate actions; row t is known at the close of t.

    Attributes:
        price: (T, N) currency a share at the close; where missing the last one, counted in today's shares; 0 before
            the first, where nothing can be held.
        growth: (T, N) shares after the open of row t for each share at row t - 1.
        payout: (T, N) currency paid at the open of row t for each share at row t - 1: dividends.
        fill_price: (T, N) at which trades of row t are filled; NaN where they are not.
        spin_offs: row -> (parent column, child column, shares of the child for each share of the parent at row t - 1).
        ends: row -> column -> how the name is delisted at the close of the row.
        known: (T, N) bool, where there is a price, or without prices a return.
        counts_shares: False for a panel without prices.
    """

    price: np.ndarray
    growth: np.ndarray
    payout: np.ndarray
    fill_price: np.ndarray
    spin_offs: Mapping[int, tuple[tuple[int, int, float], ...]]
    ends: Mapping[int, Mapping[int, End]]
    known: np.ndarray
    counts_shares: bool
    _earned: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, panel: MarketPanel, *, fill: Fill = "close", missing: MissingPrices | None = None) -> Quotes:
        """Read a panel.

        Raises:
            SettingsError: the panel has no such fill prices.
        """
        shape = (panel.n_periods, panel.n_assets)
        known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
        if panel.prices is None:
            price = np.broadcast_to(1.0, shape)
            growth = 1.0 + np.where(np.isnan(panel.returns), 0.0, panel.returns)
            payout = np.broadcast_to(0.0, shape)
        else:
            growth = np.broadcast_to(1.0, shape) if panel.splits is None else panel.splits
            price = _marks(panel.prices, known, growth)
            payout = np.broadcast_to(0.0, shape) if panel.dividends is None else growth * panel.dividends
        filled = _fill_prices(panel, price, fill)
        ends = _ends(panel, known, missing, price)
        return cls(price, growth, payout, filled, _spin_offs(panel), ends, known, panel.prices is not None)

    @cached_property
    def fillable_price(self) -> np.ndarray:
        """(T, N) as `price`, NaN before the first: what a number of shares is worked out with."""
        return np.where(self.price > 0, self.price, np.nan) if (self.price == 0).any() else self.price

    @cached_property
    def eventful(self) -> np.ndarray:
        """(T,) bool: something is worth an event in this row, for who holds the name."""
        rows = np.zeros(len(self.known), dtype=bool)
        if self.counts_shares:
            rows |= (self.growth != 1.0).any(axis=1) | (self.payout != 0.0).any(axis=1)
        rows[1:] |= (self.known[:-1] & ~self.known[1:]).any(axis=1)
        rows[[*self.spin_offs, *self.ends]] = True
        return rows

    def gone(self, row: int) -> np.ndarray:
        """Return the names (N,) that were delisted up to the close of `row`, and have had no price since."""
        gone = np.zeros(self.known.shape[1], dtype=bool)
        for last in sorted(end for end in self.ends if end <= row):
            for column in self.ends[last]:
                gone[column] = not self.known[last + 1 : row + 1, column].any()
        return gone

    def open(self, shares: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `shares` (B, N) of row - 1 become at the open of `row`, and the currency (B, N) they pay out."""
        later = shares * self.growth[row]
        for parent, child, ratio in self.spin_offs.get(row, ()):
            later[:, child] += shares[:, parent] * ratio
        return later, shares * self.payout[row]

    def closing(self, row: int) -> np.ndarray:
        """Return what a share leaves at the close of `row` (N,): its price, or what a delisting pays."""
        if row not in self.ends:
            closing: np.ndarray = self.price[row]
            return closing
        closing = self.price[row].copy()
        for column, end in self.ends[row].items():
            closing[column] = end.paid
        return closing

    def from_close(self, row: int) -> np.ndarray:
        """Return what each name earns (N,) from the close of row - 1 to what a share leaves at the close of `row`."""
        # Every row of a run is asked for, one after the other: some are worked out at once, and the last of them kept.
        chunk = row // CHUNK
        if chunk not in self._earned:
            self._earned.clear()
            self._earned[chunk] = self._from_close(max(1, chunk * CHUNK), min((chunk + 1) * CHUNK, len(self.known)))
        found: np.ndarray = self._earned[chunk][row - max(1, chunk * CHUNK)]
        return found

    def _from_close(self, first: int, last: int) -> np.ndarray:
        """Return `from_close` of the rows from `first` to `last` - 1."""
        closing = np.array(self.price[first:last])
        for row in range(first, last):
            if row in self.ends:
                closing[row - first] = self.closing(row)
        worth = self.growth[first:last] * closing + self.payout[first:last]
        for row in range(first, last):
            for parent, child, ratio in self.spin_offs.get(row, ()):
                worth[row - first, parent] += ratio * closing[row - first, child]
        return _earned(worth, self.price[first - 1 : last - 1])

    def delisting_gain(self, shares: np.ndarray, row: int) -> np.ndarray:
        """Return the currency (B,) that `shares` (B, N) gain, or lose, on their marks by the delistings of `row`."""
        gain = np.zeros(len(shares))
        for column, end in self.ends.get(row, {}).items():
            gain += shares[:, column] * end.gained
        return gain

    def returns_to(self, price: np.ndarray, row: int) -> np.ndarray:
        """Return what each name earns (N,) from the close of row - 1 to a `price` (N,) of `row`, payouts included."""
        before = self.price[row - 1]
        worth = self.growth[row] * price + self.payout[row]
        for parent, child, ratio in self.spin_offs.get(row, ()):
            worth[parent] += ratio * price[child]
        return _earned(worth, before)


def _earned(worth: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return what is earned on the price `before`; 0 by a name that had none, and was not held."""
    return np.divide(worth, before, out=np.ones_like(worth), where=before > 0) - 1.0


def _marks(prices: np.ndarray, known: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return prices with the last known one where there is none, in shares as they are counted by then."""
    if known.all():
        return prices
    # Before its first price a name is not held, whatever it is worth: 0 keeps NaN out of sums.
    # In units of the shares of row 0 a split moves no price.
    count = np.cumprod(splits, axis=0)
    marks: np.ndarray = pd.DataFrame(prices * count).ffill().to_numpy() / count
    return np.where(known, prices, np.nan_to_num(marks))


def _ends(
    panel: MarketPanel, known: np.ndarray, missing: MissingPrices | None, price: np.ndarray
) -> dict[int, dict[int, End]]:
    """Return how names end, as the panel declares it or by the rule."""
    ends: dict[int, dict[int, End]] = {}

    def end(row: int, column: int, last_return: float, reason: str) -> None:
        mark = float(price[row, column])
        if panel.prices is None and known[row, column]:
            # The return that the panel has for that row is the whole one already. Where it leaves nothing, what the
            # delisting took cannot be told apart.
            gained = last_return / (1.0 + last_return) if last_return > -1 else 0.0
            paid = mark
        else:
            gained, paid = mark * last_return, mark * (1.0 + last_return)
        ends.setdefault(row, {})[column] = End(paid, gained, reason)

    declared: dict[int, int] = {}
    for event in panel.delistings:
        row, column = panel.row(event.date), _column(panel, event.asset)
        declared[column] = row
        end(row, column, event.delisting_return, event.reason or "delisted")
    if missing is None:
        return ends
    received = {(panel.row(event.date), _column(panel, event.child)) for event in panel.spin_offs}
    for column in np.flatnonzero(~known.all(axis=0)).tolist():
        there = known[:, column]
        gap, last = 0, declared.get(column, len(there))
        for row in range(int(np.argmax(there)) if there.any() else last, last):
            gap = 0 if there[row] else gap + 1
            # What is received of a name that ended already ends at once.
            if gap == missing.after or (gap > missing.after and (row, column) in received):
                end(row, column, missing.delisting_return, f"no price for {missing.after} rows")
    return ends


def _spin_offs(panel: MarketPanel) -> dict[int, tuple[tuple[int, int, float], ...]]:
    found: dict[int, tuple[tuple[int, int, float], ...]] = {}
    for event in panel.spin_offs:
        row, parent, child = panel.row(event.date), _column(panel, event.parent), _column(panel, event.child)
        # The event counts the parent's shares after a split of the same row.
        ratio = event.ratio * (1.0 if panel.splits is None else float(panel.splits[row, parent]))
        found[row] = (*found.get(row, ()), (parent, child, ratio))
    return found


def _column(panel: MarketPanel, asset: str) -> int:
    return int(np.flatnonzero(panel.assets == asset)[0])


def _fill_prices(panel: MarketPanel, price: np.ndarray, fill: Fill) -> np.ndarray:
    if fill == "close":
        return np.where(price > 0, price, np.nan) if (price == 0).any() else price
    field = {"open": "open_prices", "vwap": "vwap"}[fill]
    prices = getattr(panel, field)
    if prices is None:
        raise SettingsError(
            f'fill is "{fill}", and {panel.name} has no {field}: use MarketPanel.from_prices(..., {field}=...)'
        )
    filled: np.ndarray = prices
    return filled
