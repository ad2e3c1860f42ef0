"""What a position costs while it is held. Charged by the simulator each period."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import Parameter, aligned, check_parameter, periods_in_a_year
from backtest.costs.terms import CostTerms, Ramp
from backtest.market import MarketSnapshot

__all__ = ["BorrowFee", "HoldingFee", "LongFee"]


@dataclass(frozen=True, eq=False)
class BorrowFee(Cost):
    """`sum_i rate_i max(-q_i, 0) / periods_per_year`: the fee for borrowing what is sold short.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the short position a year.
        periods_per_year: None takes it from the market at hand.
    """

    annual_rate: Parameter
    periods_per_year: float | None = None
    cash = True

    def __post_init__(self) -> None:
        check_parameter(self.annual_rate, "BorrowFee", "annual_rate")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        return self._rate(held, market) * (-q).clamp(min=0)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0, flat above."""
        rate = self._rate(held, market)
        zero = torch.zeros_like(rate)
        return CostTerms(ramps=(Ramp(start=zero, left=-rate, right=zero),))

    def _rate(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        periods = periods_in_a_year(self.periods_per_year, market, "BorrowFee")
        return aligned(self.annual_rate, held, market, "BorrowFee annual_rate") / periods


@dataclass(frozen=True, eq=False)
class LongFee(Cost):
    """`sum_i rate_i max(q_i, 0) / periods_per_year`: what is paid on long positions, as for custody.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the long position a year.
        periods_per_year: None takes it from the market at hand.
    """

    annual_rate: Parameter
    periods_per_year: float | None = None
    cash = True

    def __post_init__(self) -> None:
        check_parameter(self.annual_rate, "LongFee", "annual_rate")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        return self._rate(held, market) * q.clamp(min=0)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0, flat below."""
        rate = self._rate(held, market)
        zero = torch.zeros_like(rate)
        return CostTerms(ramps=(Ramp(start=zero, left=zero, right=rate),))

    def _rate(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        periods = periods_in_a_year(self.periods_per_year, market, "LongFee")
        return aligned(self.annual_rate, held, market, "LongFee annual_rate") / periods


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
