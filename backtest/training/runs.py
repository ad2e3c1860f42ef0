"""Rows of a window that need not be consecutive: cut into runs, and runs into chunks.

A test block in the middle of a history leaves a gap in what is trained on. What was held before the gap is not what is
held after it, so no chunk of a path reaches over one, and every run starts from nothing held.
"""

from __future__ import annotations

import numpy as np

from backtest.errors import SettingsError

__all__ = ["chunks_of", "runs_of"]


def runs_of(rows: np.ndarray) -> list[np.ndarray]:
    """Return row numbers in runs of consecutive ones.

    Args:
        rows: increasing, at least one.

    Raises:
        SettingsError: they are not increasing.
    """
    steps = np.diff(rows)
    if not len(rows) or (steps < 1).any():
        raise SettingsError(f"rows must be increasing row numbers, at least one, got {np.asarray(rows).tolist()[:20]}")
    return np.split(rows, np.flatnonzero(steps > 1) + 1)


def chunks_of(rows: np.ndarray, length: int) -> np.ndarray:
    """Return chunks (C, L) of consecutive rows, L being `length` or that of the longest run where that is less.

    Where a run does not divide, its most recent rows are kept; a run shorter than L is left out.

    Args:
        rows: increasing row numbers.
        length: rows in a chunk.
    """
    runs = runs_of(rows)
    length = min(length, max(len(run) for run in runs))
    return np.concatenate([run[len(run) % length :].reshape(-1, length) for run in runs])
