"""Files that are there whole or as they were before, however a program ends."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["whole_file", "write_text"]


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write so that it is there whole or, when the program is cut off meanwhile, as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not of `tempfile`, whose files only their owner may read: a folder of runs is shared.
    beside = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())
