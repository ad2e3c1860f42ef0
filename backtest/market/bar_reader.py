"""Files and frames as users have them to bars: columns by their usual names, each value as it stands.

What is changed without a doubt (order, UTC offsets, "13.88M", lines before the header) is logged by the logger
`backtest.market`; everything else stays for `find_problems`, or is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market.bars import Bars, Origin
from backtest.market.files import RawTable, frame_table, read_tables, stem_of
from backtest.market.headers import DATE, FIELDS, PRICE_FIELDS, SYMBOL, UNNAMED, spelled
from backtest.market.problems import refuse_returns
from backtest.market.row_labels import read_row_dates, read_symbols

__all__ = ["read_bars"]

_log = logging.getLogger("backtest.market")
_RETURN_WORDS = frozenset({"return", "returns", "ret", "totalreturn", "change"})
_WORDS = {**FIELDS, "return": _RETURN_WORDS}
_KINDS = ("prices", "returns")
# what the messages call a field
_CALLED = {"close": "price", "adjusted_close": "price", "dollar_volume": "dollar volume"}


def read_bars(
    source: Any,
    *,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    symbol: str | None = None,
    kind: str = "prices",
    price_scale: float | None = None,
    date_format: str | None = None,
    decimal: str | None = None,
    name: str | None = None,
) -> Bars:
    """Read what files say about prices into one long table, without repairing anything.

    Wide: a date column and one column of prices a symbol. Long: a row for each date and symbol, or a file of one
    security that is named after the file. Columns are known by the names that Yahoo, Alpha Vantage, investing.com,
    Stooq, Lean and Kaggle give them.

    Args:
        source: a path: text (.csv, .tsv, .txt, also .gz), Parquet, Feather, a zip of text files, or a folder of these;
            or a frame of pandas, polars or pyarrow.
        columns: where names are not the usual ones, our name to the file's: {"close": "PX_LAST"}; of `date`, `symbol`
            and the fields of `Bars`. For a text file without a header the list of its labels in order, "" to
            leave one out.
        symbol: label of the one security in a file without symbols; the file's name when left out.
        kind: "prices" or "returns" (fractions per period; "-1.09%" is -0.0109).
        price_scale: currency in one unit of the file's prices and dividends: 0.01 for pence, 1e-4 for Lean's files.
        date_format: of dates as text, as in `strptime`; needed where day and month could be either.
        decimal: "." or ","; needed where a comma could stand between thousands or before decimals.
        name: for messages; the file's name without its ending when left out.

    Raises:
        DataError: the file is no table of prices; the message names file, place, value and the cure.
        LabelError: dates or symbols are missing or in doubt, or a column is not there.
        SettingsError: an argument is not one of those allowed.
    """
    if kind not in _KINDS:
        raise SettingsError(f"kind is {kind!r}: give 'prices' or 'returns'")
    if price_scale is not None and not (np.isfinite(price_scale) and price_scale > 0):
        raise SettingsError(f"price_scale is {price_scale!r}: give a positive number, currency in one unit of the file")
    given = dict(columns) if isinstance(columns, Mapping) else {}
    unknown = given.keys() - {"date", "symbol", *_WORDS}
    if unknown:
        raise SettingsError(f"columns: {sorted(unknown)[0]!r} is no field: name those of {['date', 'symbol', *_WORDS]}")
    labels = None
    if columns is not None and not isinstance(columns, Mapping):
        labels = [label or f"column {k + 1}" for k, label in enumerate(columns)]
    if isinstance(source, (str, Path)):
        path = Path(source)
        tables = list(read_tables(path, labels))
        name = name or stem_of(path.name)
    else:
        name = name or "frame"
        tables = [(name, frame_table(source, name))]
    parts = [
        _Part(raw, stem=symbol or stem, columns=given, kind=kind, decimal=decimal, date_format=date_format)
        for stem, raw in tables
    ]
    for part in parts:
        if part.raw.layout == "lean" and price_scale is None:
            raise DataError(
                f"{part.raw.file}: line 1: a file in Lean's layout, with prices in 1/10,000 of a dollar: pass "
                "price_scale=1e-4, or price_scale=1 if yours are in dollars"
            )
    return _joined([(part.raw, part.table()) for part in parts], scale=price_scale, name=name)


def _joined(parts: list[tuple[RawTable, pd.DataFrame]], *, scale: float | None, name: str) -> Bars:
    """Sort the rows of all files by symbol and date, remembering where each stood."""
    files = [np.full(len(table), number, dtype=np.int32) for number, (_, table) in enumerate(parts)]
    table = parts[0][1] if len(parts) == 1 else pd.concat([table for _, table in parts], ignore_index=True)
    if len(parts) > 1:
        # categories of several files are joined as text
        labels = [table["symbol"].astype(object) for _, table in parts]
        names = pd.Index(np.unique(np.concatenate([np.asarray(part.unique(), dtype=object) for part in labels])))
        table["symbol"] = pd.Categorical(pd.concat(labels, ignore_index=True), categories=names)
    dates, codes = table["date"].to_numpy(), table["symbol"].cat.codes.to_numpy()
    order = np.lexsort((dates.astype(np.int64), codes))
    if (np.diff(order) != 1).any():
        if ((np.diff(order) < 0) & (np.diff(codes[order]) == 0)).any():
            _log.info("%s: dates were not in order: rows sorted by date", name)
        table = table.iloc[order].reset_index(drop=True)
    if scale is not None:
        scaled = [field for field in (*PRICE_FIELDS, "dividend") if field in table]
        table[scaled] = table[scaled] * scale
    lines = table.pop("line").to_numpy()
    fields = [field for field in _WORDS if field in table]
    origin = Origin(
        tuple(raw.file for raw, _ in parts),
        np.concatenate(files)[order],
        lines,
        tuple(r.lines is not None for r, _ in parts),
    )
    return Bars(table[["date", "symbol", *fields]], np.arange(len(table)), origin, name)


class _Part:
    """One table and how it is read."""

    def __init__(
        self,
        raw: RawTable,
        *,
        stem: str,
        columns: dict[str, str],
        kind: str,
        decimal: str | None,
        date_format: str | None,
    ) -> None:
        self.raw, self.stem, self.kind = raw, stem, kind
        self.decimal, self.date_format = decimal, date_format
        self.given = columns
        missing = [label for label in columns.values() if label not in raw.columns]
        if missing:
            raise LabelError(
                f"{raw.file}: columns: no column {missing[0]!r} among {self._shown(raw.columns)}: correct it"
            )
        words = {str(label): spelled(str(label)) for label in raw.columns if label not in columns.values()}
        self.words = self._without_row_numbers(words)

    def table(self) -> pd.DataFrame:
        """Columns `date`, `symbol`, `line` and the fields, in file order."""
        return self._long() if self._is_long() else self._wide()

    @staticmethod
    def _shown(labels: Any) -> str:
        found = [str(label) for label in labels]
        return str(found[:12])[:-1] + (", ...]" if len(found) > 12 else "]")

    def _labels(self, words: frozenset[str]) -> list[str]:
        return [label for label, word in self.words.items() if word in words]

    def _without_row_numbers(self, words: dict[str, str]) -> dict[str, str]:
        """Leave out a first column without a name that only counts rows, beside a column of dates."""
        first = next(iter(words), None)
        if first is None or words[first] not in UNNAMED:
            return words
        if "date" not in self.given and not any(word in DATE for word in words.values()):
            return words
        cells = self.raw.columns[first]
        counts = pd.to_numeric(cells, errors="coerce") if cells.dtype == object else cells
        if not pd.api.types.is_numeric_dtype(counts.dtype) or counts.isna().any() or (counts >= 1e7).any():
            return words
        _log.info("%s: the first column numbers the rows: left out", self.raw.file)
        return {label: word for label, word in words.items() if label != first}

    def _is_long(self) -> bool:
        if self.given.keys() & {"symbol", *_WORDS}:
            return True
        known = set(self.words.values())
        prices = _RETURN_WORDS if self.kind == "returns" else FIELDS["adjusted_close"] | FIELDS["close"]
        has_price = bool(known & prices)
        symbols = self._labels(SYMBOL)
        if symbols:
            if not has_price:
                if pd.to_numeric(self.raw.columns[symbols[0]], errors="coerce").notna().any():
                    return False  # numbers under a ticker such as CODE: a wide table
                raise DataError(
                    f"{self.raw.file}: a column of symbols but no {self._wanted()} among {self._shown(self.words)}: "
                    f"name it {'return' if self.kind == 'returns' else 'adjusted_close or close'}"
                )
            return True
        others = FIELDS.keys() - {"close", "adjusted_close"}
        return has_price and any(known & FIELDS[field] for field in others)

    def _wanted(self) -> str:
        return "return" if self.kind == "returns" else "price"

    def _numbers(self, label: str, field: str) -> np.ndarray:
        return self.raw.numbers(
            label,
            decimal=self.decimal,
            units=field in ("volume", "dollar_volume"),
            percent=field == "return",
        )

    def _one(self, field: str, words: frozenset[str], called: str) -> str | None:
        """The one column of that name, None where there is none."""
        if field in self.given:
            return self.given[field]
        labels = self._labels(words)
        if len(labels) > 1:
            raise LabelError(
                f"{self.raw.file}: {len(labels)} {called} columns {labels} among {self._shown(self.words)}: "
                f"name exactly one {called!r}, as in columns={{{field!r}: {labels[0]!r}}}"
            )
        return labels[0] if labels else None

    def _long(self) -> pd.DataFrame:
        raw = self.raw
        words = frozenset({"date"}) if "date" in self.words.values() else DATE if self._labels(DATE) else UNNAMED
        date_label = self._one("date", words, "date")
        if date_label is None:
            raise LabelError(f"{raw.file}: no date column among {self._shown(self.words)}: name exactly one 'date'")
        fields = {}
        wanted = ["return"] if self.kind == "returns" else list(FIELDS)
        for field in [*wanted, *(() if self.kind == "prices" else ("volume", "dollar_volume"))]:
            label = self._one(field, _WORDS[field], _CALLED.get(field, field))
            if label is not None and label != date_label:
                fields[field] = label
        if not fields.keys() & {"close", "adjusted_close", "return"}:
            raise DataError(
                f"{raw.file}: no {self._wanted()} column among {self._shown(raw.columns)}: say which it is, as in "
                f"columns={{'{'return' if self.kind == 'returns' else 'close'}': 'PX_LAST'}}"
            )
        dates = read_row_dates(raw, date_label, self.date_format)
        symbols = read_symbols(raw, self._one("symbol", SYMBOL, "symbol"), self.stem)
        values = {field: self._numbers(label, field) for field, label in fields.items()}
        used = {date_label, *fields.values(), *self._labels(SYMBOL), *self.given.values()}
        unused = [label for label in self.words if label not in used]
        if unused:
            _log.info("%s: columns %s left out", raw.file, self._shown(unused))
        return pd.DataFrame({"date": dates, "symbol": symbols, **values, "line": self._lines()})

    def _lines(self) -> np.ndarray:
        return np.arange(len(self.raw.columns)) if self.raw.lines is None else self.raw.lines

    def _wide(self) -> pd.DataFrame:
        raw = self.raw
        first = next(iter(self.words), "")
        found = first if self.words.get(first) in DATE | UNNAMED else next(iter(self._labels(DATE)), first)
        date_label = self.given.get("date", found)
        assets = [label for label in self.words if label != date_label]
        if not assets:
            raise DataError(f"{raw.file}: no column besides {date_label!r}: a table of prices has one a symbol")
        field = "return" if self.kind == "returns" else "close"
        values = np.column_stack([self._numbers(label, field) for label in assets])
        if self.kind == "prices" and spelled(date_label) not in DATE | UNNAMED:
            # said before the dates are looked at: files of returns often have no dates either
            refuse_returns(values, file=raw.file, assets=pd.Index(assets), place=lambda row, _: raw.place(row))
        dates = read_row_dates(raw, date_label, self.date_format)
        for label in assets:
            if not label.strip():
                raise LabelError(f"{raw.file}: column {list(raw.columns).index(label) + 1} has no label: name it")
        codes = np.tile(np.arange(len(assets), dtype=np.int32), len(dates))
        return pd.DataFrame(
            {
                "date": dates.repeat(len(assets)),
                "symbol": pd.Categorical.from_codes(codes, categories=pd.Index(assets)),
                field: values.ravel(),
                "line": self._lines().repeat(len(assets)),
            }
        )
