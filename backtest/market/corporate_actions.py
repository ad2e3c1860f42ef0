"""What happens to a company and not to its price: delistings and spin-offs, checked and placed in a panel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.labels import parse_dates, row_of

__all__ = ["Delisting", "PlacedActions", "SpinOff", "ordered_actions", "placed_actions"]


@dataclass(frozen=True)
class Delisting:
    """A name leaves the market: at the close of `date` each share becomes cash.

    Attributes:
        asset: label of the name.
        date: of the row at whose close it happens.
        delisting_return: a fraction, -1 or more. The cash is the last mark times 1 + delisting_return; the mark is
            the price of that row, or the last known one where the row has none. A takeover at the last price has
            0. Studies of unknown ones use -0.30 (NYSE, AMEX: Shumway 1997) and -0.55 (Nasdaq: Shumway & Warther
            1999) for delistings for poor performance.
        reason: free text for logs and reports.

    Raises:
        DataError: the return is not a number of -1 or more, or the asset or the reason is not text.
        LabelError: the date cannot be read.
    """

    asset: str
    date: pd.Timestamp
    delisting_return: float
    reason: str = ""

    def __post_init__(self) -> None:
        where = f"delisting of {self.asset!r}"
        _require_text(where, asset=self.asset, reason=self.reason)
        put = object.__setattr__
        put(self, "date", parse_dates([self.date], f"{where}: date")[0])
        put(self, "delisting_return", _number(self.delisting_return, f"{where}: delisting_return"))
        if not (np.isfinite(self.delisting_return) and self.delisting_return >= -1):
            raise DataError(
                f"{where} on {self.date:%Y-%m-%d}: delisting_return is {self.delisting_return:g}: give a fraction of "
                "-1 or more: 0 for a takeover at the last price, -0.3 where it failed and nothing better is known"
            )


@dataclass(frozen=True)
class SpinOff:
    """A company gives shares of another to its holders, at the open of `date`, before anything trades.

    Attributes:
        parent: label of the company whose holders receive.
        child: label of the company whose shares they receive.
        ratio: shares of the child for each share of the parent, both as counted after that period's splits.
        date: of the row whose period opens with it. Shares received take no part in other events of that open: a
            dividend of the child that goes ex in the same period is not paid on them.

    Raises:
        DataError: the ratio is not a positive number, a label is not text, or parent and child are one.
        LabelError: the date cannot be read.
    """

    parent: str
    child: str
    ratio: float
    date: pd.Timestamp

    def __post_init__(self) -> None:
        where = f"spin-off of {self.child!r} from {self.parent!r}"
        _require_text(where, parent=self.parent, child=self.child)
        put = object.__setattr__
        put(self, "date", parse_dates([self.date], f"{where}: date")[0])
        put(self, "ratio", _number(self.ratio, f"{where}: ratio"))
        if not (np.isfinite(self.ratio) and self.ratio > 0):
            raise DataError(
                f"{where} on {self.date:%Y-%m-%d}: ratio is {self.ratio:g}: give the shares of the child for each "
                "share of the parent, above 0"
            )
        if self.parent == self.child:
            raise DataError(f"{where} on {self.date:%Y-%m-%d}: parent and child are one name: give the child's label")


@dataclass(frozen=True, eq=False)
class PlacedActions:
    """Corporate actions by row number, with columns instead of labels.

    Attributes:
        delistings: row -> columns (D,) and delisting returns (D,).
        spin_offs: row -> columns of the parents (S,), of the children (S,) and ratios (S,).
    """

    delistings: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    spin_offs: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.delistings or self.spin_offs)

    def delisted(self) -> list[tuple[int, int]]:
        """Row and column of each delisting, in order of time."""
        return [(row, int(column)) for row, (columns, _) in self.delistings.items() for column in columns]


def ordered_actions(
    delistings: Iterable[Delisting], spin_offs: Iterable[SpinOff], where: str
) -> tuple[tuple[Delisting, ...], tuple[SpinOff, ...]]:
    """Both as tuples in order of time, then of labels, so that equal data are equal tuples.

    Raises:
        DataError: an element is of another kind, or is there twice.
    """
    leaving = _all_of(Delisting, delistings, f"{where}: delistings")
    by_name: dict[str, Delisting] = {}
    for delisting in leaving:
        first = by_name.setdefault(delisting.asset, delisting)
        if first is not delisting:
            raise DataError(
                f"{where}: delistings: {delisting.asset!r} leaves on {first.date:%Y-%m-%d} and again on "
                f"{delisting.date:%Y-%m-%d}: keep one, and give a company that comes back a label of its own"
            )
    born = _all_of(SpinOff, spin_offs, f"{where}: spin_offs")
    pairs = set()
    for spin_off in born:
        pair = (spin_off.parent, spin_off.child, spin_off.date)
        if pair in pairs:
            raise DataError(
                f"{where}: spin_offs: {spin_off.child!r} from {spin_off.parent!r} on {spin_off.date:%Y-%m-%d} is "
                "there twice: keep one"
            )
        pairs.add(pair)
    return (
        tuple(sorted(leaving, key=lambda d: (d.date, d.asset))),
        tuple(sorted(born, key=lambda s: (s.date, s.parent, s.child))),
    )


def placed_actions(
    delistings: tuple[Delisting, ...],
    spin_offs: tuple[SpinOff, ...],
    *,
    dates: pd.DatetimeIndex,
    assets: pd.Index,
    where: str,
) -> PlacedActions:
    """Find rows and columns of ordered actions.

    Raises:
        LabelError: no row has that date, or no column that label.
        DataError: a spin-off after its parent's delisting, or not before its child's.
    """
    last_rows: dict[str, int] = {}
    leaving: dict[int, list[tuple[int, float]]] = {}
    for delisting in delistings:
        place = f"{where}: delisting of {delisting.asset!r}"
        row = row_of(delisting.date, dates, place)
        leaving.setdefault(row, []).append((_column(delisting.asset, assets, place), delisting.delisting_return))
        last_rows[delisting.asset] = row
    born: dict[int, list[tuple[int, int, float]]] = {}
    for spin_off in spin_offs:
        place = f"{where}: spin-off of {spin_off.child!r} from {spin_off.parent!r}"
        row = row_of(spin_off.date, dates, place)
        for name in (spin_off.parent, spin_off.child):
            if row > last_rows.get(name, row):
                raise DataError(
                    f"{place} on {spin_off.date:%Y-%m-%d}: {name!r} was delisted on "
                    f"{dates[last_rows[name]]:%Y-%m-%d} already: correct one of the dates"
                )
        columns = (_column(spin_off.parent, assets, place), _column(spin_off.child, assets, place))
        born.setdefault(row, []).append((*columns, spin_off.ratio))
    return PlacedActions(
        {row: (_columns(d[0] for d in some), np.array([d[1] for d in some])) for row, some in leaving.items()},
        {
            row: (_columns(s[0] for s in some), _columns(s[1] for s in some), np.array([s[2] for s in some]))
            for row, some in born.items()
        },
    )


def _columns(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), dtype=np.intp)


def _column(label: str, assets: pd.Index, place: str) -> int:
    if label not in assets:
        raise LabelError(f"{place}: {label!r} is no asset of the panel: add its prices or leave the event out")
    return int(assets.get_indexer(pd.Index([label]))[0])


def _all_of(kind: type[Any], given: Iterable[Any], where: str) -> list[Any]:
    try:
        found = list(given)
    except TypeError as error:
        raise DataError(f"{where}: {given!r} is no sequence: pass a tuple of {kind.__name__}(...)") from error
    for one in found:
        if not isinstance(one, kind):
            raise DataError(f"{where}: {one!r} is no {kind.__name__}: pass {kind.__name__}(...) objects")
    return found


def _require_text(where: str, **labels: Any) -> None:
    for name, label in labels.items():
        if not isinstance(label, str) or (name != "reason" and not label.strip()):
            raise DataError(f"{where}: {name} is {label!r}: give text")


def _number(value: Any, where: str) -> float:
    if isinstance(value, (bool, str)):
        raise DataError(f"{where} is {value!r}: give a number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is {value!r}: give a number") from error
