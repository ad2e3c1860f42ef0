"""A result in one file: arrays as they are, labels as text, nothing that runs when it is read.

The file is a NumPy archive (.npz) without pickled objects. Its part "head" is JSON: what the file is, its version, and
what each field is; every array is a part of its own.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.market.whole_file import whole_file

__all__ = ["read_fields", "write_fields"]

FORMAT = "backtest.SimulationResult"
VERSION = 1
AGAIN = "run the simulation again, or load the right file"


def write_fields(path: Path, values: Mapping[str, Any]) -> None:
    """Write named values: arrays, mappings of arrays, dates, labels, a table of events, numbers, None."""
    arrays: dict[str, np.ndarray] = {}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "fields": {name: _described(name, value, arrays) for name, value in values.items()},
    }
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_fields(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what `write_fields` wrote.

    Args:
        path: of the file.
        names: of the fields that must be there.

    Raises:
        DataError: the file is not there, damaged, cut short, of another kind or of another version.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file: check the path")
    try:
        # An archive has its table of contents at the end, and a checksum for each part.
        with zipfile.ZipFile(path) as archive:
            parts = {member.removesuffix(".npy"): _array(archive, member) for member in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}: not a whole file of a saved result ({error}): {AGAIN}") from error
    head = _head(parts)
    if head is None:
        raise DataError(f"{path}: an archive, but not of a saved result: {AGAIN}")
    if head["version"] != VERSION or set(head["fields"]) != set(names):
        raise DataError(
            f"{path}: a result saved by another version of this library (format {head['version']}, here {VERSION}): "
            "load it with that version, or run the simulation again"
        )
    return {name: _restored(name, what, parts) for name, what in head["fields"].items()}


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        # Read to the end of the part, where its checksum is compared.
        file.read()
    return array


def _head(parts: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    if "head" not in parts or parts["head"].dtype != np.uint8:
        return None
    try:
        head = json.loads(parts["head"].tobytes())
    except ValueError:
        return None
    return head if isinstance(head, dict) and head.get("format") == FORMAT else None


def _described(name: str, value: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a field is, in JSON; put its arrays among the others."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"kind": "array"}
    if isinstance(value, Mapping):
        arrays.update({f"{name}/{place}": array for place, array in enumerate(value.values())})
        return {"kind": "arrays", "names": list(value)}
    if isinstance(value, pd.DatetimeIndex):
        arrays[name] = value.to_numpy()
        return {"kind": "dates", "name": value.name}
    if isinstance(value, pd.Index):
        return {"kind": "labels", "labels": value.tolist(), "dtype": str(value.dtype), "name": value.name}
    if isinstance(value, pd.DataFrame):
        columns = {label: _described(f"{name}/{label}", pd.Index(value[label]), arrays) for label in value}
        return {"kind": "table", "columns": columns}
    if isinstance(value, tuple):
        return {"kind": "texts", "texts": list(value)}
    return {"kind": "value", "value": value}


def _restored(name: str, what: Mapping[str, Any], parts: Mapping[str, np.ndarray]) -> Any:
    kind = what["kind"]
    if kind == "array":
        return parts[name]
    if kind == "arrays":
        return {label: parts[f"{name}/{place}"] for place, label in enumerate(what["names"])}
    if kind == "dates":
        return pd.DatetimeIndex(parts[name], name=what["name"])
    if kind == "labels":
        return pd.Index(what["labels"], dtype=what["dtype"], name=what["name"])
    if kind == "table":
        columns = {label: _restored(f"{name}/{label}", column, parts) for label, column in what["columns"].items()}
        return pd.DataFrame({label: pd.Series(column) for label, column in columns.items()})
    return tuple(what["texts"]) if kind == "texts" else what["value"]
