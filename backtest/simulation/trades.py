"""Every filled trade of a simulation, and what was made of each from its entry to its exit.

Round trips are first in, first out. A lot is a part of a position, and the gain of a name in a period belongs to its
lots by their parts, so that the gains of all lots add up to `gross`, whatever splits, dividends, spin-offs and
delistings do to a share meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from backtest.simulation.result import SimulationResult

__all__ = ["round_trips_of", "trades_of"]

ALL = 1.0 - 1e-12
"""A trade of this part of a position, or more, is a trade of all of it: the rest is rounding."""


def trades_of(result: SimulationResult) -> pd.DataFrame:
    """Return one row a filled trade; see `SimulationResult.trades`."""
    books, periods, columns, weights = [], [], [], []
    for book in range(len(result.names)):
        positions, held = result.positions[book], result.held[book]
        # A name that is not traded has the weight it had, to the last bit; a stopped book has none.
        period, column = np.nonzero((positions != held) & np.isfinite(positions))
        books.append(np.full(len(period), book))
        periods.append(period)
        columns.append(column)
        weights.append(positions[period, column] - held[period, column])
    book, period, column, weight = (np.concatenate(parts) for parts in (books, periods, columns, weights))
    value = weight * result.fill_wealth[book, period]
    table = {
        "name": pd.Index(result.names).take(book),
        "date": result.trade_dates.take(period),
        "asset": result.assets.take(column),
    }
    if result.counts_shares:
        price = result.fill_prices[period, column]
        shares = value / price
        table |= {"shares": np.rint(shares) if result.whole_shares else shares, "price": price}
    return pd.DataFrame(table | {"value": value, "weight": weight})


@dataclass(slots=True)
class _Lot:
    """A part of a position.

    Attributes:
        units: of the position, negative when short.
        period: of the entry.
        value: paid for it, currency; negative for a short.
        price: of the entry.
        gained_before: gain of a unit up to the entry, all of it before this lot was there.
        at_entry: gain from the entry's fill to the end of that period.
    """

    units: float
    period: int
    value: float
    price: float
    gained_before: float
    at_entry: float


@dataclass(slots=True)
class _Position:
    """The lots of one name in one book, the oldest first; a unit gains `gained` since the position was opened."""

    units: float = 0.0
    gained: float = 0.0
    lots: deque[_Lot] = field(default_factory=deque)

    def close(self, units: float) -> Iterator[tuple[_Lot, float, float]]:
        """Take `units` off the oldest lots; yield of each the lot, the part of it that goes, and what that gained."""
        left = abs(units)
        while self.lots and left > 0:
            lot = self.lots[0]
            size = abs(lot.units)
            whole = left >= size * ALL
            part = 1.0 if whole else left / size
            gain = part * (lot.units * (self.gained - lot.gained_before) + lot.at_entry)
            yield lot, part, gain
            left -= size
            if whole:
                self.lots.popleft()
            else:
                lot.units *= 1.0 - part
                lot.value *= 1.0 - part
                lot.at_entry *= 1.0 - part
        self.units -= units
        if not self.lots:
            self.units, self.gained = 0.0, 0.0


def round_trips_of(result: SimulationResult) -> pd.DataFrame:
    """Return one row a lot, from its entry to its exit; see `SimulationResult.round_trips`."""
    rows: list[tuple[Any, ...]] = []
    for book in range(len(result.names)):
        rows += _Trips(result, book).rows()
    trips = pd.DataFrame(
        rows,
        columns=[
            *("name", "asset", "side", "entry", "exit", "reason"),
            *("entry_price", "exit_price", "entry_value", "exit_value", "gain"),
        ],
    )
    trips["entry"] = trips["entry"].astype(result.dates.dtype)
    trips["exit"] = trips["exit"].astype(result.dates.dtype)
    trips = trips.sort_values(["entry", "asset"], kind="stable")
    # Books in their own order, whatever they are called.
    order = trips["name"].map({name: place for place, name in enumerate(result.names)})
    trips = trips.iloc[np.argsort(order.to_numpy(dtype=int), kind="stable")].reset_index(drop=True)
    return trips if result.counts_shares else trips.drop(columns=["entry_price", "exit_price"])


class _Trips:
    """The round trips of one book."""

    def __init__(self, result: SimulationResult, book: int) -> None:
        alive = np.isfinite(result.net[book])
        # A stopped book has nothing after the period that ruined it.
        self.n_periods = int(alive.sum())
        periods = slice(0, self.n_periods)
        wealth = result.fill_wealth[book, periods, None]
        self.result, self.book = result, book
        self.held = result.held[book, periods] * wealth
        self.traded = (result.positions[book, periods] - result.held[book, periods]) * wealth
        self.since = result.returns_from_fill[periods]
        if result.before_fill is None:
            self.early = self.held * self.since
        else:
            self.early = result.before_fill[book, periods] * result.wealth[book, periods, None]
        events = result.events
        mine = events[(events["name"] == result.names[book]) & (events["kind"] == "delisted")]
        self.delisted = set(zip(mine["asset"], mine["date"], strict=True))

    def rows(self) -> list[tuple[Any, ...]]:
        there = self.held + self.traded
        rows = []
        if self.n_periods:
            # Held at the start and gone before the first fill: all that is known is what it gained.
            for column in np.flatnonzero((self.held[0] == 0) & (self.early[0] != 0)).tolist():
                rows.append(self._gone(column))
        for column in np.flatnonzero((there != 0).any(axis=0)).tolist():
            owned = there[:, column] != 0
            had = np.concatenate([[False], owned[:-1]])
            # All else that happens to a position happens to every part of it alike.
            matters = (self.traded[:, column] != 0) | ((self.held[:, column] != 0) != had)
            rows += self._of_name(column, np.flatnonzero(matters))
        return rows

    def _of_name(self, column: int, periods: np.ndarray) -> Iterator[tuple[Any, ...]]:
        early, held, traded = self.early[:, column], self.held[:, column], self.traded[:, column]
        # What all units together gained after one of these periods, up to the next one itself or to the end.
        ends = np.minimum(np.append(periods[1:], self.n_periods - 1), self.n_periods - 1) + 1
        position = _Position()
        for period, end in zip(periods.tolist(), ends.tolist(), strict=True):
            if held[period] == 0 and position.lots:
                # Between the fills: it is gone at the end of the period before, or on the way to this fill.
                gone = period - 1 if self.result.before_fill is None else period
                yield from self._ended(position, column, gone)
            if held[period] != 0 and not position.lots:
                # It came from elsewhere: it was held at the start, or another name spun it off.
                self._enter(position, column, period, held[period], earns=0.0)
                if early[period] != 0:
                    position.gained += early[period] / position.units
            if traded[period] != 0:
                yield from self._trade(position, column, period, float(held[period]), float(traded[period]))
            if position.lots:
                position.gained += float(early[period + 1 : end].sum()) / position.units
        if position.lots:
            yield from self._ended(position, column, self.n_periods - 1)

    def _trade(
        self, position: _Position, column: int, period: int, held: float, traded: float
    ) -> Iterator[tuple[Any, ...]]:
        since = float(self.since[period, column])
        opening = traded
        if held * traded < 0:
            closing = -held if abs(traded) >= abs(held) * ALL else traded
            opening = traded - closing if abs(traded) * ALL > abs(held) else 0.0
            a_unit = held / position.units
            for lot, part, gain in position.close(-closing / a_unit):
                value = part * lot.units * a_unit
                yield self._row(lot, column, part, gain - value * since, period, value)
        if opening:
            self._enter(position, column, period, opening, earns=opening * since, held=held)

    def _enter(
        self, position: _Position, column: int, period: int, value: float, *, earns: float, held: float = 0.0
    ) -> None:
        price = float(self.result.fill_prices[period, column])
        units = value / price if not position.lots else value * position.units / held
        position.lots.append(_Lot(units, period, value, price, position.gained, earns))
        position.units += units

    def _ended(self, position: _Position, column: int, period: int) -> Iterator[tuple[Any, ...]]:
        """Yield the lots that no trade closed, at the end of a period: the run's, the book's, or the name's."""
        result = self.result
        date = result.dates[period]
        if (result.assets[column], date) in self.delisted:
            reason = "delisted"
        elif period < self.n_periods - 1:
            reason = "fractions in cash"
        else:
            reason = "ruined" if result.ruined[self.book] else "open"
        for lot, part, gain in position.close(position.units):
            yield self._row(lot, column, part, gain, period, None, reason)

    def _gone(self, column: int) -> tuple[Any, ...]:
        result = self.result
        dates = (result.fill_dates[0], result.dates[0])
        label = (result.names[self.book], result.assets[column], "unknown", *dates, "delisted")
        return (*label, *[np.nan] * 4, float(self.early[0, column]))

    def _row(
        self, lot: _Lot, column: int, part: float, gain: float, period: int, value: float | None, reason: str = "trade"
    ) -> tuple[Any, ...]:
        result = self.result
        price = np.nan if value is None else float(result.fill_prices[period, column])
        left = pd.NaT if reason == "open" else result.trade_dates[period] if value is not None else result.dates[period]
        side = "long" if lot.units > 0 else "short"
        return (
            *(result.names[self.book], result.assets[column], side, result.trade_dates[lot.period], left, reason),
            *(lot.price, price, part * lot.value, np.nan if value is None else value, gain),
        )
