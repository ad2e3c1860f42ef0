"""What a policy is: from a forecast, what is held and the market as known, to the weights to hold.

A policy sees the forecast made some rows before, and of the market what is known at the close at which it decides:
features, volume and risk estimates up to there, the weights held, and what can be traded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from backtest.costs import Constraint
from backtest.errors import SimulationError
from backtest.market import MarketSnapshot

__all__ = ["NOT_ASKED", "Decision", "Policy", "Solves"]

NOT_ASKED = -1
"""Status of a book for which no solver was asked."""


@dataclass(frozen=True, eq=False)
class Solves:
    """How a solver came to the weights of B books.

    Attributes:
        statuses: (B,) int8 of `backtest.solver.Status`, or `NOT_ASKED`.
        residuals: (B,) relative error by which the solver judged each row; NaN where it was not asked.
        iterations: (B,) int32 of its method; `NOT_ASKED` where it was not asked.
    """

    statuses: np.ndarray
    residuals: np.ndarray
    iterations: np.ndarray

    @staticmethod
    def none(n_books: int) -> Solves:
        """Return those of books for which no solver was asked, to be written into."""
        counts = np.full(n_books, NOT_ASKED, dtype=np.int32)
        return Solves(counts.astype(np.int8), np.full(n_books, np.nan), counts)

    def put(self, books: np.ndarray, other: Solves) -> None:
        """Take those of some books, their places (b,), from others (b,)."""
        self.statuses[books] = other.statuses
        self.residuals[books] = other.residuals
        self.iterations[books] = other.iterations

    def of(self, books: np.ndarray) -> Solves:
        """Return those of some books, by places or as a mask (B,)."""
        return Solves(self.statuses[books], self.residuals[books], self.iterations[books])


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights, with what went wrong on the way to them.

    Attributes:
        q: (B, N) weights to hold, fractions of wealth just before the trade. A failed row's are not read.
        failures: row -> why it has no decision.
        remarks: row -> what its decision lacks.
        solves: how a solver came to it; None where none was asked.
    """

    q: np.ndarray
    failures: Mapping[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)
    solves: Solves | None = None


class Policy(ABC):
    """Decides weights.

    Attributes:
        first_fill: first panel row at which it can decide; the simulator starts there or later by default.
        constraints: what the weights keep, and must keep when they are rounded to whole shares.
        n_books: how many books it decides for; None is any number.
    """

    first_fill: int = 0
    n_books: int | None = None
    constraints: Sequence[Constraint] = ()

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> Policy:
        """Return this policy for one run: its labelled inputs checked against the panel's, its memory empty.

        Args:
            dates: (T,) of the panel.
            assets: (N,) of the panel.
            lag: rows from a forecast to the decision that is made with it.
        """
        return self

    def memory(self) -> dict[str, np.ndarray]:
        """Return what a decision depends on besides its arguments: arrays of any shape by name; nothing by default.

        A checkpoint keeps it, so that a run that goes on decides as if it had never stopped.
        """
        return {}

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take up a memory.

        Args:
            memory: what `memory` returned, arrays of the same shape, by name.

        Raises:
            SimulationError: there is something to take up, and the policy keeps nothing.
        """
        if memory:
            raise SimulationError(f"{type(self).__name__} keeps no memory, but the checkpoint has {sorted(memory)}")

    @abstractmethod
    def decide(
        self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray
    ) -> np.ndarray | Decision:
        """Return the weights to hold, or a `Decision` that also says what failed.

        Args:
            p: (B, N) forecasts, made `lag` rows before the fill; NaN is no view.
            held: (B, N) weights just before the trade.
            market: the market at the close of the fill: one row that all B share.
            tradable: (B, N) bool, can be traded at the fill. Other names stay as they are, whatever is asked
                for.
        """
