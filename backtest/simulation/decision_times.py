"""How long decisions took: no part of what a run is, for runs that are the same to the last bit differ in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["DecisionTimes"]


@dataclass(frozen=True)
class DecisionTimes:
    """Wall-clock time of each decision, of all books that were decided in one call.

    Two of as many books are equal, whatever the clock said. Neither saved with a result nor kept by a checkpoint.

    Attributes:
        n_books: decided in one call, those of other objectives in the same simulation included.
        seconds: (S,) of each decision; NaN for those that a checkpoint brought.
    """

    n_books: int
    seconds: np.ndarray = field(compare=False)
