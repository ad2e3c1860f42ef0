"""Which columns of a Numerai Parquet file are what; and the sets of features in `features.json`.

The classic schema: an index `id` (text), `era` ("0001", "era1", "X"), `data_type`, features `feature_*` (integers 0 to
4; in older files floats 0 to 1), targets `target*` (0 to 1, NaN where not known yet).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from backtest.errors import DataError

__all__ = ["Columns", "feature_set", "id_column", "open_parquet"]

_SHOWN = 5


@dataclass(frozen=True)
class Columns:
    """The columns of one file.

    Attributes:
        id: where the row's id is; None where the file has none.
        features: K names, in the order asked for.
        target: its name; None where none is asked for, or the file has none and may lack it.
        whole: whether all features are integers.
    """

    id: str | None
    features: tuple[str, ...]
    target: str | None
    whole: bool

    @staticmethod
    def of(
        path: Path, schema: Any, *, features: str | Sequence[str], target: str | None, target_needed: bool = True
    ) -> Columns:
        """Find the columns in the Arrow schema of the file at `path`.

        Args:
            path: for messages.
            schema: `pyarrow.Schema`.
            features: a pattern, "feature_*", or names.
            target: its name, or None.
            target_needed: whether a file without the target is refused (live files have none).

        Raises:
            DataError: a column is not there, or of the wrong type; the message lists what there is.
        """
        import pyarrow as pa

        if "era" not in schema.names:
            raise DataError(f'{path}: no column "era": this is no Numerai file; it has {_some(schema.names)}')
        names = _features(path, schema.names, features)
        types = [schema.field(name).type for name in names]
        for name, kind in zip(names, types, strict=True):
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise DataError(f"{path}: column {name!r} is {kind}: features are integers 0 to 4 or floats 0 to 1")
        whole = all(pa.types.is_integer(kind) for kind in types)
        if not whole and any(pa.types.is_integer(kind) for kind in types):
            mixed = next(name for name, kind in zip(names, types, strict=True) if pa.types.is_integer(kind))
            raise DataError(f"{path}: column {mixed!r} is integer, others are floats: give features of one kind")
        if target is not None and target not in schema.names:
            if target_needed:
                there = [name for name in schema.names if name.startswith("target")] or list(schema.names)
                raise DataError(f"{path}: no column {target!r}: choose from {_some(there)}")
            target = None
        if target is not None and not pa.types.is_floating(schema.field(target).type):
            raise DataError(f"{path}: column {target!r} is {schema.field(target).type}: a target is a float")
        return Columns(id_column(schema), names, target, whole)


def open_parquet(path: Path) -> Any:
    """Open a Parquet file without loading it.

    Raises:
        DataError: it is not there, or no whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Read ahead, or each column of each row group is a request of its own; not mapped, so that memory used is seen.
        return pq.ParquetFile(path, pre_buffer=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}): fetch it again") from error


def feature_set(path: str | Path, name: str) -> tuple[str, ...]:
    """Return the names of the features in the set `name` of the `features.json` at `path`.

    Raises:
        DataError: the file cannot be read, or has no such set.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as features.json: {error}") from error
    sets = found.get("feature_sets") if isinstance(found, dict) else None
    if not isinstance(sets, dict):
        raise DataError(f'{path}: no "feature_sets": give the features.json that comes with the data')
    if name not in sets:
        raise DataError(f"{path}: no set {name!r} of features: choose from {_some(list(sets))}")
    members = sets[name]
    if not isinstance(members, list) or not members or not all(isinstance(member, str) for member in members):
        raise DataError(f"{path}: set {name!r} must be a list of names of features, one at least")
    return tuple(members)


def _features(path: Path, names: Sequence[str], wanted: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(wanted, str):
        found = tuple(name for name in names if fnmatchcase(name, wanted))
        if not found:
            raise DataError(f"{path}: no column is like {wanted!r}: it has {_some(names)}")
        return found
    there = set(names)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(f"{path}: {len(missing)} of {len(wanted)} features are not there: {_some(missing)}")
    repeated = len(set(wanted)) != len(wanted)
    if repeated or not wanted:
        raise DataError(f"{path}: features must be different names, one at least, got {_some(wanted)}")
    return tuple(wanted)


def id_column(schema: Any) -> str | None:
    """Return the column that has the rows' ids: "id", or the pandas index; None where there is none."""
    if "id" in schema.names:
        return "id"
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    named = [name for name in index if isinstance(name, str) and name in schema.names]
    return named[0] if named else None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > _SHOWN else shown
