"""Numerai's Parquet files, era by era, in bounded memory.

A file is never loaded whole. Its eras are read once at opening (one column), then features by column and row group, in
pieces of about `PIECE` bytes; integer features stay int8 until a batch is made of them. Each era comes as one
`EraBatch`. Memory is that of a piece and an era, or, where a random order is asked for, of the row groups that belong
together: where eras end with row groups, as in files of `generate_files`, row groups come in random order and the eras
of each too; elsewhere in the order of the file.

**Trading costs cannot be measured on these data.** The ids of the classic data do not persist: a stock has another id
in every era, so what was held in one era cannot be found again in the next, and neither turnover nor its cost can be
known. Only costs of a single era are here: exposure, concentration, L1, limits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from backtest.errors import DataError, SettingsError
from backtest.numerai.era_batch import EraBatch
from backtest.numerai.eras import LIVE, era_name, era_number
from backtest.numerai.schema import Columns, open_parquet

__all__ = ["NO_TRADING_COSTS", "EraFile"]

PIECE = 2**26
"""Bytes of features that are decoded at a time."""

TOGETHER = 2**28
"""Most bytes of features that are held to give their eras in another order than the file's."""

NO_TRADING_COSTS = "ids do not persist from era to era: trading costs cannot be measured on these data"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EraFile:
    """One file.

    Attributes:
        path: where it is.
        columns: which columns are read.
        row_eras: (n,) of the n rows, int32, the number of each row's era.
        groups: (n,) with one more than there are row groups: first row of each row group, and the number of rows.
    """

    path: Path
    columns: Columns
    row_eras: np.ndarray
    groups: np.ndarray

    @staticmethod
    def open(
        path: str | Path,
        *,
        features: str | Sequence[str] = "feature*",
        target: str | None = "target",
        target_needed: bool = True,
    ) -> EraFile:
        """Open a file and read its eras.

        Args:
            path: a Parquet file in the classic schema.
            features: a pattern of their names, or names.
            target: the target's column; None reads none.
            target_needed: whether a file without that column is refused.

        Raises:
            DataError: no whole Parquet file, no Numerai file, a column that is missing, an era that is none, or eras
                that are scattered over a file too large to sort in memory.
        """
        place = Path(path)
        file = open_parquet(place)
        columns = Columns.of(place, file.schema_arrow, features=features, target=target, target_needed=target_needed)
        groups = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))])
        if not groups[-1]:
            raise DataError(f"{place}: it has no rows")
        found = EraFile(place, columns, _read_eras(place, file), groups)
        if not found._contiguous and found._bytes(int(groups[-1])) > TOGETHER:
            starts = np.flatnonzero(np.diff(found.row_eras, prepend=-1))
            _, first = np.unique(found.row_eras[starts], return_index=True)
            again = int(starts[np.setdiff1d(np.arange(len(starts)), first)[0]])
            raise DataError(
                f"{place}: row {again}: era {era_name(int(found.row_eras[again]))} begins again after others, and the "
                "file is too large to sort in memory: write it sorted by era"
            )
        _log.info("%s", found)
        return found

    def __repr__(self) -> str:
        eras = self.eras
        return (
            f"EraFile({str(self.path)!r}: {len(self.row_eras):,} rows, {len(eras)} eras from {era_name(eras[0])} to "
            f"{era_name(eras[-1])}, {len(self.columns.features):,} features, target {self.columns.target}; "
            f"{NO_TRADING_COSTS})"
        )

    @property
    def eras(self) -> tuple[int, ...]:
        """The numbers of its eras, in order."""
        return tuple(np.unique(self.row_eras).tolist())

    def stream(
        self, eras: Iterable[int] | None = None, *, seed: int | None = None, ids: bool = False
    ) -> Iterator[EraBatch]:
        """Give each era once.

        Args:
            eras: numbers of those wanted; None takes all but the live one. What the file does not have is an error.
            seed: for a random order, as far as memory allows; None is the order of the file.
            ids: whether batches carry the ids of their rows.

        Yields:
            One batch an era.

        Raises:
            DataError: values out of range (see `EraBatch.checked`), no ids, a file that breaks off.
            SettingsError: an era that is not in the file.
        """
        wanted = set(self.eras) - {LIVE} if eras is None else set(eras)
        if unknown := sorted(wanted - set(self.eras)):
            raise SettingsError(f"{self.path}: no era {era_name(unknown[0])}: it has {self!r}")
        if ids and self.columns.id is None:
            raise DataError(f"{self.path}: no column or index 'id', which joins and submissions need")
        random = None if seed is None else np.random.default_rng(seed)
        segments = self._segments(wanted)
        if random is not None:
            segments = [segments[i] for i in random.permutation(len(segments))]
        for segment in segments:
            held_at_once = self._bytes(int(self.groups[segment[-1] + 1] - self.groups[segment[0]])) <= TOGETHER
            if not self._contiguous:
                batches = iter(self._sorted(segment, wanted, ids))
            else:
                batches = self._read(segment, wanted, ids)
            if random is not None and held_at_once:
                listed = list(batches)
                batches = (listed[i] for i in random.permutation(len(listed)))
            yield from batches

    @property
    def _contiguous(self) -> bool:
        runs = 1 + int(np.count_nonzero(np.diff(self.row_eras)))
        return runs == len(self.eras)

    def _bytes(self, rows: int) -> int:
        return rows * len(self.columns.features) * (1 if self.columns.whole else 4)

    def _segments(self, wanted: set[int]) -> list[list[int]]:
        """Return runs of row groups that share no era with each other, without those that have nothing wanted."""
        if not self._contiguous:
            return [list(range(len(self.groups) - 1))]
        segments: list[list[int]] = []
        for group in range(len(self.groups) - 1):
            start = self.groups[group]
            if segments and self.row_eras[start] == self.row_eras[start - 1]:
                segments[-1].append(group)
            else:
                segments.append([group])
        spans = [(segment, self.groups[segment[0]], self.groups[segment[-1] + 1]) for segment in segments]
        members = np.array(sorted(wanted))
        return [segment for segment, a, b in spans if np.isin(self.row_eras[a:b], members).any()]

    def _read(self, segment: list[int], wanted: set[int], ids: bool) -> Iterator[EraBatch]:
        """Give the wanted eras of a segment, each as soon as it is complete."""
        row = int(self.groups[segment[0]])
        end = int(self.groups[segment[-1] + 1])
        parts: list[_Piece] = []
        for piece in self._pieces(segment, ids):
            eras = self.row_eras[row : row + piece.n_rows]
            edges = [0, *(np.flatnonzero(np.diff(eras)) + 1).tolist(), piece.n_rows]
            for a, b in pairwise(edges):
                era = int(eras[a])
                if era not in wanted:
                    continue
                parts.append(piece.rows(slice(a, b)))
                last = row + b
                if last == end or self.row_eras[last] != era:
                    yield self._batch(era, parts, last - sum(part.n_rows for part in parts))
                    parts = []
            row += piece.n_rows

    def _sorted(self, segment: list[int], wanted: set[int], ids: bool) -> Iterator[EraBatch]:
        whole = _Piece.joined(list(self._pieces(segment, ids)))
        for era in sorted(wanted):
            rows = np.flatnonzero(self.row_eras == era)
            yield self._batch(era, [whole.rows(rows)], int(rows[0]))

    def _batch(self, era: int, parts: list[_Piece], first_row: int) -> EraBatch:
        piece = _Piece.joined(parts)
        return EraBatch.checked(
            str(self.path),
            era,
            piece.features,
            piece.target,
            ids=piece.ids,
            names=self.columns.features,
            first_row=first_row,
        )

    def _pieces(self, segment: list[int], ids: bool) -> Iterator[_Piece]:
        import pyarrow as pa

        columns = self.columns
        names = [*columns.features, *([columns.target] if columns.target else [])]
        if ids:
            assert columns.id is not None
            names.append(columns.id)
        try:
            file = open_parquet(self.path)
            for group in segment:
                rows = int(self.groups[group + 1] - self.groups[group])
                if self._bytes(rows) <= TOGETHER:
                    # Some columns at a time: Parquet decodes to 4 bytes a number before they become one.
                    at_once = max(1, PIECE // (4 * rows))
                    parts = [names[first : first + at_once] for first in range(0, len(names), at_once)]
                    yield _Piece.of(self.path, (file.read_row_group(group, part) for part in parts), columns, rows)
                else:
                    at_once = max(1, PIECE // self._bytes(1))
                    for batch in file.iter_batches(at_once, row_groups=[group], columns=names):
                        yield _Piece.of(self.path, [batch], columns, batch.num_rows)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise DataError(f"{self.path}: it breaks off or is damaged ({error}): fetch it again") from error


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some rows of a file: features (K, n), target (n,) or None, ids (n,) or None."""

    features: np.ndarray
    target: np.ndarray | None
    ids: np.ndarray | None

    @property
    def n_rows(self) -> int:
        return self.features.shape[1]

    def rows(self, index: Any) -> _Piece:
        return _Piece(
            self.features[:, index],
            None if self.target is None else self.target[index],
            None if self.ids is None else self.ids[index],
        )

    @staticmethod
    def of(path: Path, tables: Iterable[Any], columns: Columns, n_rows: int) -> _Piece:
        """Put together rows whose columns come in several tables."""
        place = {name: number for number, name in enumerate(columns.features)}
        features = np.empty((len(place), n_rows), np.int8 if columns.whole else np.float32)
        target = ids = None
        for table in tables:
            for name in table.schema.names:
                column = table.column(name)
                if name in place and columns.whole and column.null_count:
                    raise DataError(f"{path}: column {name!r} has {column.null_count} missing values: fill them with 2")
                values = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
                if name in place:
                    features[place[name]] = _within_bytes(path, name, values)
                if name == columns.target:
                    target = values.astype(np.float64)
                if name == columns.id and name not in place:
                    ids = values
        return _Piece(features, target, ids)

    @staticmethod
    def joined(parts: list[_Piece]) -> _Piece:
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return _Piece(
            np.concatenate([part.features for part in parts], axis=1),
            None if first.target is None else np.concatenate([p.target for p in parts if p.target is not None]),
            None if first.ids is None else np.concatenate([part.ids for part in parts if part.ids is not None]),
        )


def _within_bytes(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return values that may be stored as int8 without becoming others."""
    wide = values.dtype.kind in "iu" and values.dtype != np.int8 and len(values) > 0
    if wide and not -128 <= values.min() <= values.max() < 128:
        row = int(np.argmax((values < -128) | (values > 127)))
        raise DataError(f"{path}: column {name!r} has the value {values[row]}: it must be 0 to 4")
    return values


def _read_eras(path: Path, file: Any) -> np.ndarray:
    """Return the number of the era of each row."""
    import pyarrow as pa

    try:
        column = file.read(columns=["era"]).column("era")
        coded = column.combine_chunks().dictionary_encode() if not pa.types.is_dictionary(column.type) else column
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        names = coded.dictionary.to_pylist()
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(f"{path}: it breaks off or is damaged ({error}): fetch it again") from error
    if coded.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{path}: row {row}: no era")
    codes = coded.indices.to_numpy(zero_copy_only=False)
    numbers = np.empty(len(names), dtype=np.int32)
    for code, name in enumerate(names):
        try:
            numbers[code] = era_number(name)
        except DataError as error:
            raise DataError(f"{path}: row {int(np.argmax(codes == code))}: {error}") from error
    return numbers[codes]
