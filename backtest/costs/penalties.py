"""Penalties on the size of positions: opinions, never charged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import Parameter, aligned, check_parameter
from backtest.costs.terms import CostTerms, Ramp
from backtest.market import MarketSnapshot

__all__ = ["L1", "Ridge", "SoftL1"]


@dataclass(frozen=True, eq=False)
class Ridge(Cost):
    """`1/2 sum_i w_i q_i^2`.

    Attributes:
        weight: scalar, (N,), (B, N) or a Series by asset; return per squared weight and period.
    """

    weight: Parameter = 1.0

    def __post_init__(self) -> None:
        check_parameter(self.weight, "Ridge", "weight")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N)."""
        return aligned(self.weight, held, market, "Ridge weight") * q.square() / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return its diagonal."""
        return CostTerms(diagonal=aligned(self.weight, held, market, "Ridge weight"))


@dataclass(frozen=True, eq=False)
class L1(Cost):
    """`sum_i w_i |q_i|`: small forecasts get no position.

    Attributes:
        weight: scalar, (N,), (B, N) or a Series by asset; return per unit of weight and period.
    """

    weight: Parameter = 1.0

    def __post_init__(self) -> None:
        check_parameter(self.weight, "L1", "weight")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N)."""
        return aligned(self.weight, held, market, "L1 weight") * q.abs()

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0."""
        weight = aligned(self.weight, held, market, "L1 weight")
        return CostTerms(ramps=(Ramp(start=torch.zeros_like(weight), left=-weight, right=weight),))


@dataclass(frozen=True, eq=False)
class SoftL1(Cost):
    """The Huber form of L1: `w q^2 / (2 width)` where `|q| <= width`, `w (|q| - width / 2)` beyond.

    Attributes:
        width: weight within which the penalty is quadratic; more than 0.
        weight: as in L1.

    Source: Huber (1964), "Robust estimation of a location parameter".
    """

    width: float
    weight: Parameter = 1.0

    def __post_init__(self) -> None:
        check_parameter(self.width, "SoftL1", "width", minimum=1e-12)
        check_parameter(self.weight, "SoftL1", "weight")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N)."""
        size, weight = q.abs(), aligned(self.weight, held, market, "SoftL1 weight")
        return weight * torch.where(size <= self.width, size.square() / (2 * self.width), size - self.width / 2)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a ramp around 0."""
        weight = aligned(self.weight, held, market, "SoftL1 weight")
        end = torch.full_like(weight, self.width)
        return CostTerms(ramps=(Ramp(start=-end, left=-weight, right=weight, end=end),))
