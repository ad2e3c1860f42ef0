"""Policies around another policy: what they pass on to it, and how they ask it for some books alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from backtest.costs import Constraint
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision, Policy, Solves

__all__ = ["WrappedPolicy", "decide_some"]


@dataclass(frozen=True)
class WrappedPolicy(Policy):
    """A policy that asks another one what to hold, and then does something of its own with the answer.

    Its first decision, its constraints and its memory are those of the policy within.

    Attributes:
        policy: the policy within.
    """

    policy: Policy

    @property
    def first_fill(self) -> int:  # type: ignore[override]
        """That of the policy within."""
        return self.policy.first_fill

    @property
    def n_books(self) -> int | None:  # type: ignore[override]
        """As many as the policy within decides for."""
        return self.policy.n_books

    @property
    def constraints(self) -> Sequence[Constraint]:  # type: ignore[override]
        """Those of the policy within."""
        return self.policy.constraints

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> Self:
        """Return this policy around the one within, prepared."""
        return replace(self, policy=self.policy.prepare(dates, assets, lag=lag))

    def memory(self) -> dict[str, np.ndarray]:
        """Return the memory of the policy within."""
        return self.policy.memory()

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Hand the memory to the policy within."""
        self.policy.restore(memory)


def decide_some(
    policy: Policy,
    p: np.ndarray,
    held: np.ndarray,
    market: MarketSnapshot,
    tradable: np.ndarray,
    *,
    rows: np.ndarray,
) -> Decision:
    """Return what a policy decides for some books; the others keep what they hold.

    All books go to the policy, so that each stays at its place; those that are not to decide have nothing that can
    be traded.

    Args:
        policy: is asked, unless no book is to decide.
        p, held, market, tradable: as `Policy.decide` takes them.
        rows: (B,) bool, the books that decide.
    """
    if not rows.any():
        return Decision(held)
    decides = rows[:, None]
    found = policy.decide(np.where(decides, p, np.nan), held, market, tradable & decides)
    if not isinstance(found, Decision):
        found = Decision(found)
    solves = None
    if found.solves is not None:
        solves = Solves.none(len(held))
        solves.put(rows, found.solves.of(rows))
    return Decision(
        np.where(decides, found.q, held),
        {row: why for row, why in found.failures.items() if rows[row]},
        {row: what for row, what in found.remarks.items() if rows[row]},
        solves,
    )
