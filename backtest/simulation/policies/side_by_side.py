"""Several policies in one simulation, one a book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest.costs import Constraint
from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision, Policy, Solves

__all__ = ["SideBySide"]


@dataclass(frozen=True, eq=False)
class SideBySide(Policy):
    """Asks each policy for its own book. The books of one and the same object are decided together.

    Attributes:
        policies: one a book.
    """

    policies: tuple[Policy, ...]

    def __post_init__(self) -> None:
        for policy in self.policies:
            if policy.n_books not in (None, 1):
                raise SettingsError(
                    f"{type(policy).__name__} decides for {policy.n_books} books, and is given one of "
                    f"{len(self.policies)}: simulate it alone"
                )

    @property
    def n_books(self) -> int | None:  # type: ignore[override]
        """As many as there are policies."""
        return len(self.policies)

    @property
    def first_fill(self) -> int:  # type: ignore[override]
        """The first row at which all can decide."""
        return max(policy.first_fill for policy in self.policies)

    @property
    def constraints(self) -> Sequence[Constraint]:  # type: ignore[override]
        """Those of the policies, where these agree.

        Raises:
            SettingsError: they differ, and so does what whole shares must keep.
        """
        first = tuple(self.policies[0].constraints)
        if any(tuple(policy.constraints) != first for policy in self.policies[1:]):
            raise SettingsError(
                "policies side by side keep different constraints, and whole shares must keep the same in all books: "
                "give them the same constraint objects, or simulate one after the other"
            )
        return first

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> SideBySide:
        """Return the policies prepared, each object once."""
        prepared = {id(policy): policy.prepare(dates, assets, lag=lag) for policy in self.policies}
        return SideBySide(tuple(prepared[id(policy)] for policy in self.policies))

    def memory(self) -> dict[str, np.ndarray]:
        """Return the memories of all, numbered."""
        return {
            f"{number}:{name}": value
            for number, (policy, _) in enumerate(self._groups())
            for name, value in policy.memory().items()
        }

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Give each policy its memory back."""
        for number, (policy, _) in enumerate(self._groups()):
            own = f"{number}:"
            policy.restore({name.removeprefix(own): part for name, part in memory.items() if name.startswith(own)})

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Return the decisions of all, each for its own books."""
        q = np.empty_like(held)
        failures: dict[int, str] = {}
        remarks: dict[int, str] = {}
        solves = Solves.none(len(held))
        for policy, books in self._groups():
            decision = policy.decide(p[books], held[books], _of_books(market, books), tradable[books])
            if not isinstance(decision, Decision):
                decision = Decision(decision)
            q[books] = decision.q
            if decision.solves is not None:
                solves.put(books, decision.solves)
            failures |= {int(books[row]): why for row, why in decision.failures.items()}
            remarks |= {int(books[row]): what for row, what in decision.remarks.items()}
        return Decision(q, failures, remarks, solves)

    def _groups(self) -> list[tuple[Policy, np.ndarray]]:
        """Return each policy object once, with its books."""
        books: dict[int, list[int]] = {}
        for book, policy in enumerate(self.policies):
            books.setdefault(id(policy), []).append(book)
        by_id = {id(policy): policy for policy in self.policies}
        return [(by_id[key], np.array(rows)) for key, rows in books.items()]


def _of_books(market: MarketSnapshot, books: np.ndarray) -> MarketSnapshot:
    """Return the market with the wealth of some books alone: all else they share."""
    return market if market.wealth is None else replace(market, wealth=market.wealth[books])
