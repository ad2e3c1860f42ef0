"""What a share is worth, what becomes of it from row to row, and what it pays out: a panel as the ledger reads it.

A panel without prices has no shares: there one "share" is one unit of currency in the name, its price is always 1, and
its number grows with the total return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market import MarketPanel

__all__ = ["MissingPrices", "Quotes"]

Fill = Literal["close", "open", "vwap"]


@dataclass(frozen=True, kw_only=True)
class MissingPrices:
    """When a name whose price stays away counts as delisted. Without this rule it stays at its last price.

    Attributes:
        after: rows without a price; in that row its holders are paid out.
        delisting_return: on the last price. -0.3 is what Shumway (1997), "The Delisting Bias in CRSP Data", found for
            delistings for poor performance on the NYSE and Amex; a takeover pays about 0.
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


@dataclass(frozen=True, eq=False)
class Quotes:
    """Prices and corporate actions; row t is known at the close of t.

    Attributes:
        price: (T, N) currency a share at the close; where missing the last one, counted in today's shares; 0 before
            the first, where nothing can be held.
        growth: (T, N) shares at row t for each share at row t - 1; 0 where the name is delisted.
        payout: (T, N) currency paid in row t for each share at row t - 1: dividends, and what a delisting leaves.
        fill_price: (T, N) at which trades of row t are filled; NaN where they are not.
        spin_offs: row -> (parent column, child column, shares of the child for each share of the parent at row t - 1).
        delisted: row -> column -> (currency gained, or lost, on each share of row t - 1, reason).
        known: (T, N) bool, where there is a price, or without prices a return.
        counts_shares: False for a panel without prices.
    """

    price: np.ndarray
    growth: np.ndarray
    payout: np.ndarray
    fill_price: np.ndarray
    spin_offs: Mapping[int, tuple[tuple[int, int, float], ...]]
    delisted: Mapping[int, Mapping[int, tuple[float, str]]]
    known: np.ndarray
    counts_shares: bool

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
        ended = _ended(panel, known, missing)
        spin_offs = _spin_offs(panel)
        if ended:
            growth, payout = growth.copy(), payout.copy()
        delisted: dict[int, dict[int, tuple[float, str]]] = {}
        for row, column, last_return, reason in ended:
            worth = growth[row, column] * price[row, column]
            if panel.prices is None and known[row, column]:
                # The return that the panel has for that row is the whole one already. What is left of nothing tells
                # nothing of what there was: then all of it counts.
                worth = worth / (1.0 + last_return) if last_return > -1 else 1.0
            payout[row, column] += worth * (1.0 + last_return)
            growth[row, column] = 0.0
            delisted.setdefault(row, {})[column] = (worth * last_return, reason)
            for spin_off in [each for each in spin_offs.get(row, ()) if each[1] == column]:
                # The child ends in the row that it begins in: its shares are cash at once.
                parent, _, ratio = spin_off
                payout[row, parent] += ratio * price[row, column] * (1.0 + last_return)
                spin_offs[row] = tuple(each for each in spin_offs[row] if each is not spin_off)
        filled = _fill_prices(panel, price, fill)
        return cls(price, growth, payout, filled, spin_offs, delisted, known, panel.prices is not None)

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
        rows[[*self.spin_offs, *self.delisted]] = True
        return rows

    def delisting_gain(self, shares: np.ndarray, row: int) -> np.ndarray:
        """Return the currency (B,) that `shares` (B, N) of row - 1 gain, or lose, by the delistings of `row`."""
        gain = np.zeros(len(shares))
        for column, (a_share, _) in self.delisted.get(row, {}).items():
            gain += shares[:, column] * a_share
        return gain

    def advance(self, shares: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `shares` (B, N) of row - 1 become in `row`, and the currency (B, N) they pay out on the way."""
        later = shares * self.growth[row]
        for parent, child, ratio in self.spin_offs.get(row, ()):
            later[:, child] += shares[:, parent] * ratio
        return later, shares * self.payout[row]

    def total_return(self, row: int) -> np.ndarray:
        """Return the return (N,) of each name from the close of row - 1 to that of `row`, with all it pays out."""
        before, after = self.price[row - 1], self.price[row]
        worth = self.growth[row] * after + self.payout[row]
        for parent, child, ratio in self.spin_offs.get(row, ()):
            worth[parent] += ratio * after[child]
        # A name without a price before was not held.
        priced = before > 0
        return np.divide(worth, before, out=np.ones_like(worth), where=priced) - 1.0


def _marks(prices: np.ndarray, known: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return prices with the last known one where there is none, in shares as they are counted by then."""
    if known.all():
        return prices
    # Before its first price a name is not held, whatever it is worth: 0 keeps NaN out of sums.
    # In units of the shares of row 0 a split moves no price.
    count = np.cumprod(splits, axis=0)
    marks: np.ndarray = pd.DataFrame(prices * count).ffill().to_numpy() / count
    return np.where(known, prices, np.nan_to_num(marks))


def _ended(panel: MarketPanel, known: np.ndarray, missing: MissingPrices | None) -> list[tuple[int, int, float, str]]:
    """Return (row, column, return on the last mark, reason) of every name that ends, declared or by the rule."""
    ended = []
    declared: dict[int, int] = {}
    for event in panel.delistings:
        row, column = panel.row(event.date), _column(panel, event.asset)
        declared[column] = row
        ended.append((row, column, event.delisting_return, event.reason or "delisted"))
    if missing is None:
        return ended
    for column in np.flatnonzero(~known.all(axis=0)).tolist():
        there = known[:, column]
        first = int(np.argmax(there)) if there.any() else len(there)
        gap = 0
        for row in range(first, len(there)):
            gap = 0 if there[row] else gap + 1
            if gap == missing.after and row < declared.get(column, len(there)):
                ended.append((row, column, missing.delisting_return, f"no price for {missing.after} rows"))
    return ended


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
