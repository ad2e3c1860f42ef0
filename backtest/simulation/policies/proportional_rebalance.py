"""A policy that moves part of the way to what another one wants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision
from backtest.simulation.policies.wrapping import WrappedPolicy

__all__ = ["ProportionalRebalance"]


@dataclass(frozen=True)
class ProportionalRebalance(WrappedPolicy):
    """Trades `fraction` of the distance from what is held to what a policy wants.

        q = held + fraction (wanted - held)    where |wanted - held| > tolerance, and q = held elsewhere

    A convex limit on weights that both the policy's answer and the weights held keep is kept between them too. With a
    tolerance, names are left out one by one, and a limit on a sum, as `FullyInvested`, is missed by what was left out.

    Attributes:
        policy: what is asked at every decision.
        fraction: in (0, 1].
        tolerance: weight, a fraction of wealth; a name this close to where it is wanted is not traded.

    Raises:
        SettingsError: the fraction or the tolerance is out of range.
    """

    fraction: float
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise SettingsError(f"ProportionalRebalance: fraction is {self.fraction!r}: give more than 0, at most 1")
        if not 0 <= self.tolerance < np.inf:
            raise SettingsError(f"ProportionalRebalance: tolerance is {self.tolerance!r}: give a weight from 0")

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Return the weights part of the way; what failed in the policy has failed here."""
        found = self.policy.decide(p, held, market, tradable)
        if not isinstance(found, Decision):
            found = Decision(found)
        way = found.q - held
        # NaN, the answer of a policy that does not know what it wants, must stay one.
        traded = ~(np.abs(way) <= self.tolerance) & tradable
        moved = found.q if self.fraction == 1 else held + self.fraction * way
        return Decision(np.where(traded, moved, held), found.failures, found.remarks, found.solves)
