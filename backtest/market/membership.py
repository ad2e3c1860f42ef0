"""Who was in an index when: a table of spells to the members of a panel, and a report of what does not fit.

A table has one row for each spell: a ticker, the first day in, the first day out (or none yet). Tickers are not
companies: one that comes back may be another company, so re-entries are reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market.labels import parse_dates
from backtest.market.panel import MarketPanel
from backtest.market.small_tables import read_small_table

__all__ = ["Membership", "MembershipReport", "Spell", "read_membership", "with_members"]

_COLUMNS = {
    "symbol": ("ticker", "symbol", "asset"),
    "start": ("start_date", "start", "from", "added"),
    "end": ("end_date", "end", "to", "removed"),
}


@dataclass(frozen=True)
class Spell:
    """A stretch of membership.

    Attributes:
        symbol: label of the name.
        start: first day in.
        end: first day out; None while it is still in.
    """

    symbol: str
    start: pd.Timestamp
    end: pd.Timestamp | None = None


@dataclass(frozen=True, eq=False)
class Membership:
    """Spells in order of symbol and time, of one symbol apart from each other.

    Attributes:
        spells: of all symbols.
        known_until: the last day that the table knows about; an open spell says nothing of later days. The last
            date written in the table unless it is given.
        name: of the table, for messages.

    Raises:
        DataError: a spell ends before it starts, or two of one symbol overlap; there is none.
    """

    spells: tuple[Spell, ...]
    known_until: pd.Timestamp
    name: str = "membership"

    @staticmethod
    def of(spells: Iterable[Spell], *, known_until: Any = None, name: str = "membership") -> Membership:
        """A table of spells in any order."""
        ordered = tuple(sorted(spells, key=lambda spell: (spell.symbol, spell.start)))
        if not ordered:
            raise DataError(f"{name}: no spell of membership: give one row for each ticker and stay")
        before: Spell | None = None
        for spell in ordered:
            told = f"{name}: {spell.symbol} from {spell.start:%Y-%m-%d}"
            if spell.end is not None and spell.end <= spell.start:
                raise DataError(f"{told}: ends on {spell.end:%Y-%m-%d}, not after it starts: correct one of the dates")
            if (
                before is not None
                and before.symbol == spell.symbol
                and (before.end is None or before.end > spell.start)
            ):
                until = "open" if before.end is None else f"until {before.end:%Y-%m-%d}"
                raise DataError(
                    f"{told}: the spell before it, from {before.start:%Y-%m-%d}, is {until}: correct or join the two"
                )
            before = spell
        written = max(max(spell.start, spell.end or spell.start) for spell in ordered)
        known = written if known_until is None else parse_dates([known_until], f"{name}: known_until")[0]
        return Membership(ordered, known, name)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Each once, in order."""
        return tuple(dict.fromkeys(spell.symbol for spell in self.spells))

    def flags(self, dates: pd.DatetimeIndex, assets: pd.Index, *, delay: int = 0) -> np.ndarray:
        """Membership at each date.

        Args:
            dates: (T,) increasing.
            assets: (N,) labels; those that the table does not know are never members.
            delay: rows between a change and the row that first shows it; 0 shows it on its first day. Index
                changes are announced days before they take effect, so 0 knows nothing early.

        Returns:
            (T, N) bool: True on the days from `start` to the day before `end`.
        """
        if isinstance(delay, bool) or not isinstance(delay, int) or delay < 0:
            raise SettingsError(f"{self.name}: delay is {delay!r}: give a whole number of rows, 0 or more")
        flags = np.zeros((len(dates), len(assets)), dtype=bool)
        column = {asset: number for number, asset in enumerate(assets)}
        for spell in self.spells:
            if spell.symbol in column:
                first = int(dates.searchsorted(spell.start)) + delay
                # a stay that began before the panel is known at its first row
                first = 0 if len(dates) and spell.start < dates[0] else first
                last = len(dates) if spell.end is None else int(dates.searchsorted(spell.end)) + delay
                if spell.end is None or spell.end > dates[0]:
                    flags[first:last, column[spell.symbol]] = True
        return flags


@dataclass(frozen=True, eq=False)
class MembershipReport:
    """How a table and a panel fit; `print` it for plain words.

    Attributes:
        matched: symbols of both.
        not_in_panel: symbols of the table that were members during the panel's dates and are not in the panel.
            Where they are many, the universe is one of survivors.
        never_members: assets of the panel that the table does not know, or not during the panel.
        reentered: matched symbols with more than one spell; the later may be another company.
        not_tradable: cells (row, asset) where a member has no price.
        covered: share (T,) of the table's members of each date that are in the panel; NaN where it has none.
        before: rows before the table's first day; nobody is a member there.
        after: rows after the last day that the table knows.
    """

    matched: tuple[str, ...]
    not_in_panel: tuple[str, ...]
    never_members: tuple[str, ...]
    reentered: tuple[str, ...]
    not_tradable: int
    covered: np.ndarray
    before: int
    after: int

    def __str__(self) -> str:
        known = self.covered[np.isfinite(self.covered)]
        lines = [
            f"{len(self.matched)} tickers are in table and panel",
            f"{len(self.not_in_panel)} members of these dates are not in the panel: {_some(self.not_in_panel)}",
            f"{len(self.never_members)} names of the panel are never members: {_some(self.never_members)}",
            f"{len(self.reentered)} left and came back, perhaps as other companies: {_some(self.reentered)}",
            f"{self.not_tradable} member-days without a price",
            f"rows before the table starts: {self.before}; after its last known day: {self.after}",
        ]
        if len(known):
            lines.append(
                f"of the table's members the panel has {known.min():.0%} at the least, {np.median(known):.0%} in the "
                f"median, {known[-1]:.0%} at the end"
            )
        return "\n".join(lines)


def read_membership(path: str | Path, *, end_is_member: bool, known_until: Any = None) -> Membership:
    """Read a CSV with a ticker, a start and an end for each spell.

    Args:
        path: columns `ticker` (or symbol), `start_date` (or start), `end_date` (or end), in any order; an empty end is
            a spell that is open. Tickers are text: NA and TRUE are tickers.
        end_is_member: whether a name is still in on its end date. Tables differ, so it is not guessed.
        known_until: day until which the table is complete; the last date in it when left out.

    Raises:
        DataError: a column or a cell is missing; dates contradict each other; names file, line and ticker.
        LabelError: a date cannot be read.
    """
    file = Path(path).name
    rows = read_small_table(path, _COLUMNS)
    if not rows:
        raise DataError(f"{file}: no rows: give one for each ticker and stay")
    for place, row in rows:
        symbol, start = row["symbol"], row["start"]
        if not symbol or not start:
            fault = f"{symbol} has no start date" if symbol else f"{start or 'the row'} has no ticker"
            raise DataError(f"{place}: {fault}: write it or remove the row")
    starts = parse_dates([row["start"] for _, row in rows], f"{file}: start dates")
    written = [number for number, (_, row) in enumerate(rows) if row["end"]]
    last_days = parse_dates([rows[number][1]["end"] for number in written], f"{file}: end dates")
    first_days_out = dict(zip(written, last_days + pd.Timedelta(days=int(end_is_member)), strict=True))
    spells = []
    for number, (place, row) in enumerate(rows):
        first, out, symbol = starts[number], first_days_out.get(number), row["symbol"]
        if out is not None and out <= first:
            raise DataError(f"{place}: {symbol} is out on {out:%Y-%m-%d}, not after {first:%Y-%m-%d}: correct it")
        spells.append(Spell(symbol, first, out))
    return Membership.of(spells, known_until=known_until, name=file)


def with_members(panel: MarketPanel, membership: Membership, *, delay: int = 0) -> tuple[MarketPanel, MembershipReport]:
    """Set a panel's members from a table; no name and no date is removed.

    Args:
        panel: its members, if any, are replaced.
        membership: the table; labels are those of the panel.
        delay: rows between a change and the row that first shows it.

    Returns:
        The panel with members (T, N), and how table and panel fit.

    Raises:
        LabelError: no name of the panel is in the table.
    """
    flags = membership.flags(panel.dates, panel.assets, delay=delay)
    if not flags.any():
        raise LabelError(
            f"{panel.name}: no name is ever a member by {membership.name}: the panel has {_some(tuple(panel.assets))}, "
            f"the table {_some(membership.symbols)}: use the same tickers and dates"
        )
    symbols = pd.Index(membership.symbols)
    all_flags = membership.flags(panel.dates, symbols, delay=delay)
    inside = np.asarray(symbols.isin(panel.assets))
    total = all_flags.sum(axis=1)
    covered = np.divide(all_flags[:, inside].sum(axis=1), total, out=np.full(panel.n_periods, np.nan), where=total > 0)
    spells = pd.Series([spell.symbol for spell in membership.spells]).value_counts()
    matched = tuple(symbols[inside])
    report = MembershipReport(
        matched=matched,
        not_in_panel=tuple(symbols[np.flatnonzero(~inside & all_flags.any(axis=0))]),
        never_members=tuple(panel.assets[np.flatnonzero(~flags.any(axis=0))]),
        reentered=tuple(symbol for symbol in matched if spells[symbol] > 1),
        not_tradable=int((flags & ~panel.tradable).sum()),
        covered=covered,
        before=int((panel.dates < min(spell.start for spell in membership.spells)).sum()),
        after=int((panel.dates > membership.known_until).sum()),
    )
    return replace(panel, members=flags), report


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "") if labels else "none"
