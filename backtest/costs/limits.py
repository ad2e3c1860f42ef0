"""Constraints on positions. Each lowers itself to `LimitTerms`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.parameters import Parameter, aligned, check_parameter
from backtest.costs.terms import LimitTerms
from backtest.market import MarketSnapshot

__all__ = [
    "Constraint",
    "DollarNeutral",
    "FullyInvested",
    "LeverageLimit",
    "LongOnly",
    "PositionLimit",
    "TurnoverLimit",
]


class Constraint(ABC):
    """A convex set that positions must lie in."""

    @abstractmethod
    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return the pieces this constraint adds to the canonical problem, given the weights held (B, N)."""


def _sum_to(total: float, held: Tensor) -> LimitTerms:
    return LimitTerms(equality=(torch.ones_like(held[:1]).unsqueeze(1), held.new_full((1, 1), total)))


@dataclass(frozen=True)
class DollarNeutral(Constraint):
    """`1'q = 0`: longs and shorts are worth the same."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return one equality."""
        return _sum_to(0.0, held)


@dataclass(frozen=True)
class FullyInvested(Constraint):
    """`1'q = 1`: no cash."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return one equality."""
        return _sum_to(1.0, held)


@dataclass(frozen=True)
class LongOnly(Constraint):
    """`q >= 0`."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a lower limit of 0."""
        return LimitTerms(lower=torch.zeros_like(held[:1]))


@dataclass(frozen=True, eq=False)
class PositionLimit(Constraint):
    """`|q_i| <= limit_i`.

    Attributes:
        limit: scalar, (N,), (B, N) or a Series by asset; fraction of wealth.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "PositionLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return two-sided limits on each weight."""
        limit = aligned(self.limit, held, market, "PositionLimit limit")
        return LimitTerms(lower=-limit, upper=limit)


@dataclass(frozen=True, eq=False)
class LeverageLimit(Constraint):
    """`sum_i |q_i| <= limit`: longs plus shorts, as a fraction of wealth.

    Attributes:
        limit: scalar, or (B, 1) with one limit a row.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "LeverageLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a limit on the L1 norm of the weights."""
        return LimitTerms(leverage=_one_a_row(self.limit, held))


@dataclass(frozen=True, eq=False)
class TurnoverLimit(Constraint):
    """`sum_i |q_i - held_i| <= limit`: what may be traded in one period, as a fraction of wealth.

    Attributes:
        limit: scalar, or (B, 1) with one limit a row.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "TurnoverLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a limit on the L1 norm of the trades."""
        return LimitTerms(turnover=_one_a_row(self.limit, held))


def _one_a_row(limit: Parameter, held: Tensor) -> Tensor:
    return torch.as_tensor(limit, dtype=held.dtype, device=held.device).reshape(-1)
