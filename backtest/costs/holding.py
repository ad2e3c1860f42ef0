"""What a position costs while it is held. Charged by the simulator each period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import Parameter, aligned, check_parameter, periods_in_a_year
from backtest.costs.terms import CostTerms, Ramp
from backtest.market import MarketSnapshot

__all__ = ["BorrowFee", "HoldingFee", "LongFee"]


@dataclass(frozen=True, eq=False)
class _AnnualFee(Cost):
    """A fee a year on positions of one sign, `side` (1 for longs, -1 for shorts)."""

    annual_rate: Parameter
    periods_per_year: float | None = None
    cash = True
    side: ClassVar[int]

    def __post_init__(self) -> None:
        check_parameter(self.annual_rate, type(self).__name__, "annual_rate")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        return self._rate(held, market) * (self.side * q).clamp(min=0)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0, flat on the side that pays nothing."""
        rate = self._rate(held, market)
        zero = torch.zeros_like(rate)
        left, right = (zero, rate) if self.side > 0 else (-rate, zero)
        return CostTerms(ramps=(Ramp(start=zero, left=left, right=right),))

    def _rate(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        name = type(self).__name__
        periods = periods_in_a_year(self.periods_per_year, market, name)
        return aligned(self.annual_rate, held, market, f"{name} annual_rate") / periods


@dataclass(frozen=True, eq=False)
class BorrowFee(_AnnualFee):
    """`sum_i rate_i max(-q_i, 0) / periods_per_year`: the fee for borrowing what is sold short.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the short position a year.
        periods_per_year: None takes it from the market at hand.
    """

    side: ClassVar[int] = -1


@dataclass(frozen=True, eq=False)
class LongFee(_AnnualFee):
    """`sum_i rate_i max(q_i, 0) / periods_per_year`: what is paid on long positions, as for custody.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the long position a year.
        periods_per_year: None takes it from the market at hand.
    """

    side: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class HoldingFee(Cost):
    """`sum_i rate_i |q_i|`, charged each period on long and short positions alike.

    Attributes:
        rate: scalar, (N,), (B, N) or a Series by asset; fraction of the position a period.
    """

    rate: Parameter
    cash = True

    def __post_init__(self) -> None:
        check_parameter(self.rate, "HoldingFee", "rate")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        return aligned(self.rate, held, market, "HoldingFee rate") * q.abs()

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0."""
        rate = aligned(self.rate, held, market, "HoldingFee rate")
        return CostTerms(ramps=(Ramp(start=torch.zeros_like(rate), left=-rate, right=rate),))
