"""What is wrong with bars: findings, and the edits that would cure them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backtest.market.bars import Bars

__all__ = ["Drop", "Edit", "Finding", "Findings", "Put", "Rename", "Scale", "finding"]


@dataclass(frozen=True, eq=False)
class Scale:
    """Multiply some columns by a factor at rows (positions in the bars)."""

    columns: tuple[str, ...]
    rows: np.ndarray
    factor: float


@dataclass(frozen=True, eq=False)
class Put:
    """Write values (one, or one for each row) into a column."""

    column: str
    rows: np.ndarray
    values: np.ndarray | float


@dataclass(frozen=True, eq=False)
class Drop:
    """Remove rows."""

    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Rename:
    """Give rows another symbol."""

    rows: np.ndarray
    symbol: str


Edit = Scale | Put | Drop | Rename


@dataclass(frozen=True, eq=False)
class Finding:
    """One problem of one security.

    Attributes:
        kind: "splits", "units", ...; also the name of the repair that cures it.
        symbol: of the security.
        first: date of the first row that is wrong.
        last: date of the last.
        n_rows: how many rows are wrong, or would change.
        where: file and place of the first row.
        message: what was seen, with the values that show it.
        cure: what the repair of that name would do; where there is no repair, what the user can do.
        safe: the evidence leaves no other reading, so that repair="safe" applies it.
        edits: what the repair does; none where a person must decide.
        values: the numbers of the message, by name.
    """

    kind: str
    symbol: str
    first: pd.Timestamp
    last: pd.Timestamp
    n_rows: int
    where: str
    message: str
    cure: str
    safe: bool = False
    edits: tuple[Edit, ...] = ()
    values: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        span = f"{self.first:%Y-%m-%d}" + ("" if self.last == self.first else f" to {self.last:%Y-%m-%d}")
        return f"{self.where}: {self.symbol}, {span}: {self.message}: {self.cure}"

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; edits are left out."""
        return {
            "kind": self.kind,
            "symbol": self.symbol,
            "first": f"{self.first:%Y-%m-%d}",
            "last": f"{self.last:%Y-%m-%d}",
            "rows": self.n_rows,
            "where": self.where,
            "message": self.message,
            "cure": self.cure,
            "safe": self.safe,
            "repair": self.kind if self.edits else None,
            "values": self.values,
        }


class Findings(tuple[Finding, ...]):
    """All findings, by kind, then symbol and date."""

    __slots__ = ()

    def of(self, kind: str) -> Findings:
        """Return those of one `kind`."""
        return Findings(f for f in self if f.kind == kind)

    def __iter__(self) -> Iterator[Finding]:
        return super().__iter__()

    def table(self) -> pd.DataFrame:
        """Return one row a finding: kind, symbol, first, last, rows, where, message, cure, safe."""
        columns = ["kind", "symbol", "first", "last", "n_rows", "where", "message", "cure", "safe"]
        return pd.DataFrame([[getattr(f, c) for c in columns] for f in self], columns=columns)


def finding(
    bars: Bars,
    kind: str,
    rows: np.ndarray,
    *,
    message: str,
    cure: str,
    safe: bool = False,
    edits: tuple[Edit, ...] = (),
    **values: float,
) -> Finding:
    """Build a finding about rows (positions) of one security, in order of time."""
    dates, first = bars.table["date"], int(rows[0])
    file = bars.origin.files[int(bars.origin.file[bars.rows[first]])]
    place = bars.origin.place(int(bars.rows[first]))
    return Finding(
        kind=kind,
        symbol=str(bars.symbols[bars.codes[first]]),
        first=dates.iloc[first],
        last=dates.iloc[int(rows[-1])],
        n_rows=len(rows),
        where=f"{file}: {place}",
        message=message,
        cure=cure,
        safe=safe,
        edits=edits,
        values={name: float(value) for name, value in values.items()},
    )
