"""Repairs: each cures the findings of one kind, logs what it changed, and can be undone to the last bit."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, SettingsError
from backtest.market.bars import Bars
from backtest.market.finders import FINDERS
from backtest.market.findings import Drop, Finding, Put, Rename, Scale

__all__ = ["REPAIRS", "Change", "ChangeLog", "repair_bars", "revert"]

_log = logging.getLogger("backtest.market")

REPAIRS = tuple(FINDERS)
"""Names of the repairs, in the order in which they are made."""
SAFE = "safe"


@dataclass(frozen=True, eq=False)
class Change:
    """One column of some rows, before and after.

    Attributes:
        finding: why.
        column: that changed; "symbol" for rows given to another security, "" for rows that were dropped.
        rows: numbers of the rows as they were read (K,), see `Bars.rows`.
        before: values (K,); for dropped rows the table of them.
        after: values (K,); None for dropped rows.
        symbols: all labels before, in their order, where a change of rows or symbols may alter them.
    """

    finding: Finding
    column: str
    rows: np.ndarray
    before: np.ndarray | pd.DataFrame
    after: np.ndarray | None
    symbols: pd.Index | None = None


class ChangeLog(tuple[Change, ...]):
    """Every change in the order in which it was made."""

    __slots__ = ()

    def table(self, bars: Bars) -> pd.DataFrame:
        """Return one row for each changed cell or dropped row: repair, symbol, date, file, line, column, before, after,
        why.

        Args:
            bars: before the repairs; says where rows stand, and their dates.
        """
        dates = np.array(bars.dates.strftime("%Y-%m-%d"), dtype=object)
        parts = []
        for change in self:
            numbers, origin = change.rows, bars.origin
            base = {
                "repair": change.finding.kind,
                "symbol": change.finding.symbol,
                "date": dates[np.searchsorted(bars.rows, numbers)],
                "file": np.array(origin.files, dtype=object)[origin.file[numbers]],
                "line": origin.line[numbers],
            }
            if isinstance(change.before, pd.DataFrame):
                for column in change.before.columns:
                    values = [_written(v) for v in change.before[column]]
                    parts.append(pd.DataFrame({**base, "column": column, "before": values, "after": "dropped"}))
                    parts[-1]["why"] = change.finding.message
            else:
                assert change.after is not None
                before, after = [_written(v) for v in change.before], [_written(v) for v in change.after]
                parts.append(pd.DataFrame({**base, "column": change.column, "before": before, "after": after}))
                parts[-1]["why"] = change.finding.message
        columns = ["repair", "symbol", "date", "file", "line", "column", "before", "after", "why"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _written(value: object) -> str:
    """The shortest text that reads back as the same number."""
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else repr(float(value))
    return f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else str(value)


def repair_bars(bars: Bars, repairs: str | Iterable[str]) -> tuple[Bars, ChangeLog]:
    """Cure problems by name; what is not named stays.

    Args:
        bars: as they were read.
        repairs: names out of `REPAIRS`, whose findings are all cured, or "safe" (alone or among names) for the findings
            of any kind whose evidence leaves no doubt.

    Returns:
        New bars, and the log of every change. The input stays as it was.

    Raises:
        SettingsError: there is no such repair.
    """
    named = [repairs] if isinstance(repairs, str) else list(repairs)
    unknown = [name for name in named if name not in (*REPAIRS, SAFE)]
    if unknown:
        raise SettingsError(f"no repair is called {unknown[0]!r}: choose among {', '.join(REPAIRS)}, or {SAFE!r}")
    changes: list[Change] = []
    for kind in REPAIRS:
        if kind not in named and SAFE not in named:
            continue
        if not bars.price_fields and kind not in ("duplicates", "frequency"):
            continue
        found = [f for f in FINDERS[kind](bars) if f.edits and (f.safe or kind in named)]
        if found:
            bars, made = _applied(bars, found)
            changes += made
            cells = sum(len(change.rows) for change in made)
            _log.warning("%s: repair %r: %d problems, %d cells or rows changed", bars.name, kind, len(found), cells)
    return bars, ChangeLog(changes)


def _applied(bars: Bars, findings: list[Finding]) -> tuple[Bars, list[Change]]:
    """Make the edits of findings of one kind; rows are dropped at the end, so that positions hold."""
    columns = {field: bars.values(field).copy() for field in bars.fields}
    symbols = bars.table["symbol"]
    changes: list[Change] = []
    dropped: list[tuple[Finding, np.ndarray]] = []
    renamed: list[tuple[Finding, Rename]] = []
    for found in findings:
        for edit in found.edits:
            if isinstance(edit, Drop):
                dropped.append((found, edit.rows))
            elif isinstance(edit, Rename):
                renamed.append((found, edit))
            elif isinstance(edit, Put):
                values = columns[edit.column]
                before = values[edit.rows].copy()
                values[edit.rows] = edit.values
                changes.append(Change(found, edit.column, bars.rows[edit.rows], before, values[edit.rows].copy()))
            elif isinstance(edit, Scale):
                for column in edit.columns:
                    values = columns[column]
                    before = values[edit.rows].copy()
                    with np.errstate(over="ignore"):  # an infinite price is found and refused as one
                        values[edit.rows] = before * edit.factor
                    changes.append(Change(found, column, bars.rows[edit.rows], before, values[edit.rows].copy()))
    if renamed:
        texts = symbols.astype(object).to_numpy(dtype=object, copy=True)
        for found, rename in renamed:
            before = texts[rename.rows].copy()
            texts[rename.rows] = rename.symbol
            after = texts[rename.rows].copy()
            changes.append(Change(found, "symbol", bars.rows[rename.rows], before, after, bars.symbols))
        symbols = pd.Series(_categories(texts, bars.symbols))
    made = Bars(bars.table.assign(symbol=symbols, **columns), bars.rows, bars.origin, bars.name)
    if dropped:
        keep = np.ones(len(bars.rows), dtype=bool)
        for found, rows in dropped:
            rows = rows[keep[rows]]
            keep[rows] = False
            gone = made.table.iloc[rows].copy()
            changes.append(Change(found, "", bars.rows[rows], gone, None, made.symbols))
        made = made.take(keep)
        if any(found.kind == "identical" for found, _ in dropped):
            made = Bars(
                made.table.assign(symbol=made.table["symbol"].cat.remove_unused_categories()),
                made.rows,
                made.origin,
                made.name,
            )
    return made, changes


def _categories(texts: np.ndarray, known: pd.Index) -> Any:
    """Known symbols keep their order; a new one stands before the one whose rows it took."""
    found = set(texts)
    new = [text for text in dict.fromkeys(texts.tolist()) if text not in known]
    order: list[str] = []
    for symbol in known:
        order += [text for text in new if text.rsplit(".until-", 1)[0] == symbol]
        if symbol in found or not any(text.startswith(f"{symbol}.until-") for text in new):
            order.append(symbol)
    return pd.Categorical(texts, categories=pd.Index(order))


def revert(bars: Bars, log: ChangeLog) -> Bars:
    """Undo every change of a log, the last one first: the bars as they were before, to the last bit.

    Args:
        bars: as the repairs left them.
        log: of these repairs.

    Raises:
        DataError: the bars are not what the log's repairs made.
    """
    table, rows = bars.table.copy(), bars.rows
    for change in reversed(log):
        if isinstance(change.before, pd.DataFrame):
            assert change.symbols is not None
            parts = [
                part.assign(symbol=part["symbol"].cat.set_categories(change.symbols)) for part in (table, change.before)
            ]
            table = pd.concat(parts, ignore_index=True)
            rows = np.r_[rows, change.rows]
            order = np.argsort(rows, kind="stable")
            table, rows = table.iloc[order].reset_index(drop=True), rows[order]
            continue
        at = np.searchsorted(rows, change.rows)
        if (at >= len(rows)).any() or (rows[at] != change.rows).any():
            raise DataError(
                f"{bars.name}: revert: rows of the log are not in the bars: pass those that the repairs made"
            )
        if change.column == "symbol":
            texts = table["symbol"].astype(object).to_numpy(dtype=object, copy=True)
            texts[at] = change.before
            assert change.symbols is not None
            # labels that other changes of the same repair gave, and that are undone after this one
            given = [text for text in dict.fromkeys(texts.tolist()) if text not in change.symbols]
            table["symbol"] = pd.Categorical(texts, categories=pd.Index([*change.symbols, *given]))
        else:
            values = table[change.column].to_numpy(copy=True)
            assert change.after is not None
            same = (values[at] == change.after) | (np.isnan(values[at]) & np.isnan(change.after))
            if not same.all():
                raise DataError(
                    f"{bars.name}: revert: {change.column} of {change.finding.symbol} is not what the log says: "
                    "pass the bars that the repairs made"
                )
            values[at] = change.before
            table[change.column] = values
    return Bars(table, rows, bars.origin, bars.name)
