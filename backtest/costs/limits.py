"""Constraints on positions: the base class, budgets and limits on norms. Each lowers itself to `LimitTerms`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.parameters import Parameter, check_parameter, one_a_row
from backtest.costs.terms import LimitTerms
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["Constraint", "DollarNeutral", "FullyInvested", "LeverageLimit", "TurnoverLimit"]


class Constraint(ABC):
    """A convex set that positions must lie in."""

    @abstractmethod
    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return the pieces this constraint adds to the canonical problem.

        Args:
            held: (B, N) weights before trading.
            market: the market at the B rows; None where the constraint needs nothing of it.
        """

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Return what the terms are a function of besides the assets; see `Cost.terms_key`.

        Args:
            market: the market at the rows that are about to be solved, or None.
        """
        return None

    def estimate(self, panel: MarketPanel) -> Constraint:
        """Return this constraint with everything it estimates fitted to `panel`, row `t` from rows up to `t` alone."""
        return self

    @property
    def first_row(self) -> int:
        """First panel row at which everything the constraint estimates is known."""
        return 0

    @property
    def depends_on_held(self) -> bool:
        """Whether the set depends on what was held before."""
        return False


def _sum_to(total: float, held: Tensor) -> LimitTerms:
    return LimitTerms(equality=(torch.ones_like(held[:1]).unsqueeze(1), held.new_full((1, 1), total)))


@dataclass(frozen=True)
class DollarNeutral(Constraint):
    """`1'q = 0`: longs and shorts are worth the same."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return one equality."""
        return _sum_to(0.0, held)

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True)
class FullyInvested(Constraint):
    """`1'q = 1`: no cash."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return one equality."""
        return _sum_to(1.0, held)

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class LeverageLimit(Constraint):
    """`sum_i |q_i| <= limit`: longs plus shorts, as a fraction of wealth.

    Attributes:
        limit: scalar, or (B, 1) with one limit a row.

    Raises:
        CostError: the limit is negative or not finite.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "LeverageLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a limit on the L1 norm of the weights."""
        return LimitTerms(leverage=one_a_row(self.limit, held, "LeverageLimit limit").squeeze(-1))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class TurnoverLimit(Constraint):
    """`sum_i |q_i - held_i| <= limit`: what may be traded in one period, as a fraction of wealth.

    Attributes:
        limit: scalar, or (B, 1) with one limit a row.

    Raises:
        CostError: the limit is negative or not finite.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "TurnoverLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a limit on the L1 norm of the trades."""
        return LimitTerms(turnover=one_a_row(self.limit, held, "TurnoverLimit limit").squeeze(-1))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()

    @property
    def depends_on_held(self) -> bool:
        """True: it limits trades."""
        return True
