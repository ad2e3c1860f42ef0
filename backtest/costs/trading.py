"""What a trade costs. Charged by the simulator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import Parameter, aligned, check_parameter
from backtest.costs.terms import CostTerms, Ramp
from backtest.market import MarketSnapshot

__all__ = ["TradingCost"]


@dataclass(frozen=True, eq=False)
class TradingCost(Cost):
    """`sum_i half_spread_i |q_i - held_i|`: each trade pays half the bid-ask spread. The cash leg is free.

    Attributes:
        half_spread: scalar, (N,), (B, N) or a Series by asset; fraction of the traded value (2.5 bp is 2.5e-4).

    Source: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", section 2.3, linear part.
    """

    half_spread: Parameter
    cash = True
    paid_per_trade = True

    def __post_init__(self) -> None:
        check_parameter(self.half_spread, "TradingCost", "half_spread")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost by asset (B, N)."""
        return aligned(self.half_spread, held, market, "TradingCost half_spread") * (q - held).abs()

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at the weight held."""
        rate = aligned(self.half_spread, held, market, "TradingCost half_spread")
        return CostTerms(ramps=(Ramp(start=held, left=-rate, right=rate),))
