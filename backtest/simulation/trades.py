"""Every filled trade of a simulation, and what was made of each from its entry to its exit.

Round trips are first in, first out. A lot is a part of a position, and the gain of a name in a period belongs to its
lots by their parts, so that the gains of all lots add up to `gross`, whatever splits, dividends, spin-offs and
delistings do to a share meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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
    for number in range(len(result.names)):
        positions, held = result.positions[number], result.held[number]
        # A name that is not traded has the weight it had, to the last bit; a stopped book has none.
        period, column = np.nonzero((positions != held) & np.isfinite(positions))
        books.append(np.full(len(period), number))
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

    def close(self, units: float = np.inf) -> Iterator[tuple[_Lot, float, float]]:
        """Take `units` off the oldest lots, or all; yield of each the lot, the part of it that goes, and its gain."""
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
        rest = abs(self.units) - abs(units)
        if not self.lots:
            self.units, self.gained = 0.0, 0.0
        elif rest > 0.1 * abs(self.units):
            self.units -= np.copysign(units, self.units)
        else:
            # Of a small rest of a large position the difference would be mostly rounding.
            self.units = sum(lot.units for lot in self.lots)


def round_trips_of(result: SimulationResult) -> pd.DataFrame:
    """Return one row a lot, from its entry to its exit; see `SimulationResult.round_trips`."""
    trips = [trip for book in range(len(result.names)) for trip in _Trips(result, book).all()]
    trips.sort(key=lambda trip: (trip.book, trip.entry, trip.column))
    book, column, entry, left = (
        np.array([getattr(trip, name) for trip in trips], dtype=int) for name in ("book", "column", "entry", "exit")
    )
    reason = np.array([trip.reason for trip in trips], dtype=object)
    exit_date = result.dates.take(left).where(reason != "trade", result.trade_dates.take(left))
    # What enters before the first fill was there at the first decision.
    entry_date = result.trade_dates.take(np.maximum(entry, 0)).where(entry >= 0, result.fill_dates[0])
    table: dict[str, Any] = {
        "name": pd.Index(result.names).take(book),
        "asset": result.assets.take(column),
        "side": pd.Series([trip.side for trip in trips], dtype=str),
        "entry": entry_date,
        "exit": exit_date.where(reason != "open"),
        "reason": pd.Series(reason, dtype=str),
    }
    numbers = ("entry_price", "exit_price", "entry_value", "exit_value", "gain")
    for name in numbers if result.counts_shares else numbers[2:]:
        table[name] = np.array([getattr(trip, name) for trip in trips], dtype=float)
    return pd.DataFrame(table)


class _Trip(NamedTuple):
    """One round trip; `entry` and `exit` are periods."""

    book: int
    column: int
    entry: int
    exit: int
    side: str
    reason: str
    entry_price: float
    exit_price: float
    entry_value: float
    exit_value: float
    gain: float


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
        # What the lots gain that are there before the trades of the period.
        self.early = self.held * self.since
        if result.before_fill is not None:
            self.early += result.before_fill[book, periods] * result.wealth[book, periods, None]
        events = result.events
        mine = events[(events["name"] == result.names[book]) & (events["kind"] == "delisted")]
        self.delisted = set(zip(mine["asset"], mine["date"], strict=True))

    def all(self) -> Iterator[_Trip]:
        """Yield them, a name after the other."""
        there = self.held + self.traded
        if self.n_periods:
            # Held at the start by a book that was ruined before the first fill: all that is known is what it gained.
            for column in np.flatnonzero((self.held[0] == 0) & (self.early[0] != 0)).tolist():
                gained = float(self.early[0, column])
                unknown = (np.nan, np.nan, np.nan, np.nan)
                yield _Trip(self.book, column, -1, 0, "unknown", "ruined", *unknown, gained)
        for column in np.flatnonzero(((self.held != 0) | (there != 0)).any(axis=0)).tolist():
            owned = there[:, column] != 0
            had = np.concatenate([[False], owned[:-1]])
            # All else that happens to a position happens to every part of it alike.
            matters = (self.traded[:, column] != 0) | ((self.held[:, column] != 0) != had)
            yield from self._of_name(column, np.flatnonzero(matters))

    def _of_name(self, column: int, periods: np.ndarray) -> Iterator[_Trip]:
        early, held, traded = self.early[:, column], self.held[:, column], self.traded[:, column]
        # What all units together gained after one of these periods, up to the next one itself or to the end.
        ends = np.minimum(np.append(periods[1:], self.n_periods - 1), self.n_periods - 1) + 1
        position = _Position()
        for period, end in zip(periods.tolist(), ends.tolist(), strict=True):
            if held[period] == 0 and position.lots:
                # It went at the end of the period before, or all was lost on the way to this fill.
                lost = self.result.fill_wealth[self.book, period] <= 0
                yield from self._ended(position, column, period if lost else period - 1)
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

    def _trade(self, position: _Position, column: int, period: int, held: float, traded: float) -> Iterator[_Trip]:
        since = float(self.since[period, column])
        opening = traded
        if held * traded < 0:
            whole = abs(traded) >= abs(held) * ALL
            opening = traded + held if abs(traded) * ALL > abs(held) else 0.0
            a_unit = held / position.units
            for lot, part, gain in position.close() if whole else position.close(traded / a_unit):
                value = part * lot.units * a_unit
                yield self._trip(lot, column, part, gain - value * since, period, "trade", value)
        if opening:
            self._enter(position, column, period, opening, earns=opening * since, held=held)

    def _enter(
        self, position: _Position, column: int, period: int, value: float, *, earns: float, held: float = 0.0
    ) -> None:
        price = float(self.result.fill_prices[period, column])
        units = value / price if not position.lots else value * position.units / held
        position.lots.append(_Lot(units, period, value, price, position.gained, earns))
        position.units += units

    def _ended(self, position: _Position, column: int, period: int) -> Iterator[_Trip]:
        """Yield the lots that no trade closed, at the end of a period: the run's, the book's, or the name's."""
        result = self.result
        date = result.dates[period]
        if (result.assets[column], date) in self.delisted:
            reason = "delisted"
        elif period < self.n_periods - 1:
            reason = "fractions in cash"
        else:
            reason = "ruined" if result.ruined[self.book] else "open"
        for lot, part, gain in position.close():
            yield self._trip(lot, column, part, gain, period, reason)

    def _trip(
        self, lot: _Lot, column: int, part: float, gain: float, period: int, reason: str, value: float = np.nan
    ) -> _Trip:
        price = float(self.result.fill_prices[period, column]) if reason == "trade" else np.nan
        side = "long" if lot.units > 0 else "short"
        ends = (lot.period, period, side, reason)
        return _Trip(self.book, column, *ends, lot.price, price, part * lot.value, value, gain)
