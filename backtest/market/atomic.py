"""Files that are there whole or not at all: written beside the old one, then put in its place in one step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from backtest.errors import DataError
from backtest.market.bars import Bars

__all__ = ["write_atomically", "write_bars"]


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new file in the same folder, and put it in the place of `path` when it is whole.

    Whatever interrupts it, a file that was there before stays as it was.

    Raises:
        DataError: the folder is not there, or cannot be written to.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): make the folder, or choose another") from error
    os.close(handle)
    new = Path(name)
    try:
        write(new)
        with open(new, "rb") as written:
            os.fsync(written.fileno())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def write_bars(bars: Bars, path: str | Path) -> None:
    """Write bars as one long Parquet file, which `read_bars` and `read_prices` read back as they are."""

    def write(new: Path) -> None:
        bars.table.to_parquet(new, index=False)

    write_atomically(path, write)
