"""Multipliers of earlier solves, kept by row: like problems are solved from where the last one ended."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from threading import Lock

import torch
from torch import Tensor

from backtest.errors import SolverError

__all__ = ["WarmStarts"]


class WarmStarts:
    """A memory of multipliers with one entry a key: a date, a (date, seed) pair, whatever names a row.

    Pass it to every `PositionSolver.solve` of a sequence of like problems, with the keys of the batch's rows. A row
    whose key is new, or whose problem has another number of multipliers, starts cold; so does one with a smooth cost
    of all weights together, whose models begin at the weights held. Where a row starts moves its
    positions by rounding only. May be shared by threads.
    """

    def __init__(self) -> None:
        self._multipliers: dict[Hashable, Tensor] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._multipliers)

    def recall(self, keys: Sequence[Hashable], count: int, like: Tensor) -> Tensor | None:
        """Return multipliers (B, R) to start from, 0 in rows that start cold; None when all do.

        Args:
            keys: B of them, one a row.
            count: R, how many multipliers the problem has.
            like: (B, N) or any other tensor, for its precision and device.
        """
        with self._lock:
            known = [self._multipliers.get(key) for key in keys]
        fitting = [None if row is None or len(row) != count else row for row in known]
        if all(row is None for row in fitting):
            return None
        cold = torch.zeros(count, dtype=like.dtype)
        rows = [cold if row is None else row for row in fitting]
        return torch.stack(rows).to(like)

    def remember(self, keys: Sequence[Hashable], multipliers: Tensor, usable: Tensor) -> None:
        """Keep the multipliers of a solve.

        Args:
            keys: B of them, one a row.
            multipliers: (B, R) at the solutions.
            usable: (B,) bool, rows that were solved; others are not kept.
        """
        kept = multipliers.detach().cpu()
        with self._lock:
            for number, key in enumerate(keys):
                if bool(usable[number]):
                    self._multipliers[key] = kept[number].clone()

    def __getstate__(self) -> dict[Hashable, Tensor]:
        return dict(self._multipliers)

    def __setstate__(self, state: dict[Hashable, Tensor]) -> None:
        self._multipliers, self._lock = dict(state), Lock()


def check_keys(keys: Sequence[Hashable] | None, n_rows: int) -> Sequence[Hashable]:
    """Return the keys of a batch, one a row; raise `SolverError` when they are missing, too few or repeated."""
    if keys is None:
        raise SolverError("warm starts are kept by row: pass keys=, one a row, or market=panel.at(rows)")
    if len(keys) != n_rows or len(set(keys)) != n_rows:
        raise SolverError(f"keys must name each of the {n_rows} rows once, got {list(keys)[:5]}")
    return keys
