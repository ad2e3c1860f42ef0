"""What a position costs while it is held. Charged by the simulator each period."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import Parameter, aligned, check_parameter, multiplier, one_a_row, periods_in_a_year
from backtest.costs.terms import CostTerms, Ramp
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["BorrowFee", "HoldingFee", "LongFee"]

DAYS_IN_A_YEAR = {"actual/365": 365, "actual/360": 360}


@dataclass(frozen=True, eq=False)
class _AnnualFee(Cost):
    """A fee a year on positions of one sign, `side` (1 for longs, -1 for shorts)."""

    annual_rate: Parameter
    periods_per_year: float | None = None
    day_count: Literal["actual/365", "actual/360"] | None = None
    cash = True
    side: ClassVar[int]

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_parameter(self.annual_rate, name, "annual_rate")
        if self.day_count not in (None, *DAYS_IN_A_YEAR):
            raise CostError(f'{name}: day_count is {self.day_count!r}: give "actual/365", "actual/360" or None')
        if self.day_count is not None and self.periods_per_year is not None:
            raise CostError(f"{name}: give periods_per_year or day_count, not both")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        position = q.clamp(min=0) if self.side > 0 else -q.clamp(max=0)
        return self._rate(held, market) * position

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0, flat on the side that pays nothing."""
        rate = aligned(self._rate(held, market), held, market, type(self).__name__)
        zero = torch.zeros_like(rate)
        left, right = (zero, rate) if self.side > 0 else (-rate, zero)
        return CostTerms(ramps=(Ramp(start=zero, left=left, right=right),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """The length of a period."""
        if self.day_count is None:
            return self.periods_per_year or (None if market is None else market.periods_per_year)
        return None if market is None or market.days is None else tuple(market.days.tolist())

    def _rate(self, held: Tensor, market: MarketSnapshot | None) -> Tensor | float:
        """Return the rate of the period, as what positions (B, N) are multiplied by."""
        name = type(self).__name__
        rate = multiplier(self.annual_rate, held, market, f"{name} annual_rate")
        if self.day_count is None:
            return rate / periods_in_a_year(self.periods_per_year, market, name)
        if market is None or market.days is None:
            raise CostError(f"{name}: day_count counts calendar days: pass market=panel.at(rows)")
        if len(market.days) == 1:
            return rate * float(market.days[0]) / DAYS_IN_A_YEAR[self.day_count]
        return rate * one_a_row(market.days, held, "the market's days") / DAYS_IN_A_YEAR[self.day_count]


@dataclass(frozen=True, eq=False)
class BorrowFee(_AnnualFee):
    """`sum_i rate_i max(-q_i, 0) / periods_per_year`: the fee for borrowing what is sold short.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the short position a year.
        periods_per_year: None takes it from the market at hand.
        day_count: "actual/365" or "actual/360" charges the calendar days until the next row, weekends included; None
            charges every period the same.

    Raises:
        CostError: the rate is negative or not finite, or the day count is unknown or given with periods_per_year.
    """

    side: ClassVar[int] = -1


@dataclass(frozen=True, eq=False)
class LongFee(_AnnualFee):
    """`sum_i rate_i max(q_i, 0) / periods_per_year`: what is paid on long positions, as for custody.

    Attributes:
        annual_rate: scalar, (N,), (B, N) or a Series by asset; fraction of the long position a year.
        periods_per_year: None takes it from the market at hand.
        day_count: "actual/365" or "actual/360" charges the calendar days until the next row, weekends included; None
            charges every period the same.

    Raises:
        CostError: the rate is negative or not finite, or the day count is unknown or given with periods_per_year.
    """

    side: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class HoldingFee(Cost):
    """`sum_i rate_i |q_i|`, charged each period on long and short positions alike.

    Attributes:
        rate: scalar, (N,), (B, N) or a Series by asset; fraction of the position a period.

    Raises:
        CostError: the rate is negative or not finite.
    """

    rate: Parameter
    cash = True

    def __post_init__(self) -> None:
        check_parameter(self.rate, "HoldingFee", "rate")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the fee by asset (B, N)."""
        return multiplier(self.rate, held, market, "HoldingFee rate") * q.abs()

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at 0."""
        rate = aligned(self.rate, held, market, "HoldingFee rate")
        return CostTerms(ramps=(Ramp(start=torch.zeros_like(rate), left=-rate, right=rate),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()
