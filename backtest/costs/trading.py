"""What a trade costs. Charged by the simulator."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.curves import Power
from backtest.costs.impact import LiquidityHistory, estimate_liquidity, realized_liquidity
from backtest.costs.parameters import Parameter, aligned, check_parameter, is_zero, multiplier, one_a_row
from backtest.costs.terms import CostTerms, Ramp
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["TradingCost"]


@dataclass(frozen=True, eq=False)
class TradingCost(Cost):
    """What each trade `u = q - held` pays, by asset. The cash leg is free.

        half_spread |u| + buy_fee max(u, 0) + sell_fee max(-u, 0) + quadratic / 2 u^2
            + impact volatility |u|^exponent (wealth / dollar_volume)^(exponent - 1)

    The last is market impact: a trade of the fraction `f = wealth |u| / dollar_volume` of a period's volume moves the
    price by `impact volatility f^(exponent - 1)`, on average over the trade.

    Attributes:
        half_spread: scalar, (N,), (B, N) or a Series by asset; fraction of the traded value (2.5 bp is 2.5e-4).
        buy_fee, sell_fee: what a purchase or a sale pays besides, as a tax or commission: scalar or by asset, as all
            rates here; fraction of its value.
        quadratic: scalar or by asset; return per squared unit of weight, the slope of the price in what is traded.
        impact: `b`, scalar or by asset, about 1: trading a period's volume moves the price by about its volatility in
            that period.
        exponent: in (1, 2]; 1.5 is the square-root law of impact, 1.6 what Almgren et al. fitted.
        volatility: scalar or by asset, return per period; None is estimated from the panel by `estimate`.
        dollar_volume: scalar or by asset, currency per period, more than 0; None is estimated by `estimate`.
        wealth: currency, scalar or (B, 1); None is that of the market at hand, `panel.at(rows, wealth=...)`, where a
            row that has no wealth left has no impact.
        lookback: rows in the trailing windows of the estimates; None is a quarter of a year, and at least 12.
        history: the estimates; filled by `estimate`.

    Source: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", section 2.3; Almgren et al. (2005),
    "Direct estimation of equity market impact", for the exponent; Garleanu & Pedersen (2013), "Dynamic Trading with
    Predictable Returns and Transaction Costs", for the quadratic.

    Raises:
        CostError: a rate is negative or not finite, a volume or the wealth is not above 0, the exponent is outside (1,
            2], or the lookback is below 4.
    """

    half_spread: Parameter = 0.0
    buy_fee: Parameter = 0.0
    sell_fee: Parameter = 0.0
    quadratic: Parameter = 0.0
    impact: Parameter = 0.0
    exponent: float = 1.5
    volatility: Parameter | None = None
    dollar_volume: Parameter | None = None
    wealth: Parameter | None = None
    lookback: int | None = None
    history: LiquidityHistory | None = None
    cash = True
    paid_per_trade = True

    def __post_init__(self) -> None:
        for name in ("half_spread", "buy_fee", "sell_fee", "quadratic", "impact", "volatility"):
            if getattr(self, name) is not None:
                check_parameter(getattr(self, name), "TradingCost", name)
        for name in ("dollar_volume", "wealth"):
            if getattr(self, name) is not None:
                check_parameter(getattr(self, name), "TradingCost", name, minimum=1e-12)
        if not 1 < self.exponent <= 2:
            raise CostError(f"TradingCost: exponent must be more than 1 and at most 2, got {self.exponent!r}")
        if self.lookback is not None and self.lookback < 4:
            raise CostError(f"TradingCost: lookback must be at least 4 rows, got {self.lookback}")

    def estimate(self, panel: MarketPanel) -> TradingCost:
        """Return this cost with the volatility and volume of every row of the panel, where impact needs them."""
        if is_zero(self.impact) or (self.volatility is not None and self.dollar_volume is not None):
            return self
        history = estimate_liquidity(
            panel,
            lookback=self.lookback or max(12, round(panel.periods_per_year / 4)),
            volatility=self.volatility is None,
            volume=self.dollar_volume is None,
        )
        return replace(self, history=history)

    def realized(self, panel: MarketPanel) -> TradingCost:
        """Return this cost with the volume, and where the panel has it the volatility, of each row itself.

        A volume that is unknown or nil counts as its estimate.
        """
        expected = self if self.history is not None else self.estimate(panel)
        if expected.history is None:
            return self
        return replace(expected, history=realized_liquidity(panel, expected.history))

    @property
    def first_row(self) -> int:
        """First panel row with an estimate; 0 when nothing is estimated."""
        return 0 if self.history is None else self.history.first_row

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost by asset (B, N)."""
        trade = q - held
        if is_zero(self.buy_fee) and is_zero(self.sell_fee):
            cost = multiplier(self.half_spread, held, market, "TradingCost half_spread") * trade.abs()
        else:
            buy, sell = self._rates(held, market)
            cost = buy * trade.clamp(min=0) + sell * (-trade).clamp(min=0)
        if not is_zero(self.quadratic):
            cost = cost + self._parameter("quadratic", held, market) * trade.square() / 2
        if not is_zero(self.impact):
            cost = cost + self._impact(held, market) * power(trade.abs(), self.exponent)
        return cost

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a kink at the weight held, curvature around it, and a power of the distance to it."""
        terms = CostTerms()
        if not (is_zero(self.half_spread) and is_zero(self.buy_fee) and is_zero(self.sell_fee)):
            buy, sell = self._rates(held, market)
            terms = terms + CostTerms(ramps=(Ramp(start=held, left=-sell, right=buy),))
        if not is_zero(self.quadratic):
            terms = terms + _parabola(self._parameter("quadratic", held, market), held)
        if not is_zero(self.impact):
            weight = self._impact(held, market)
            terms = terms + (
                _parabola(2 * weight, held)
                if self.exponent == 2
                else CostTerms(curves=(Power(centre=held, weight=weight, exponent=self.exponent),))
            )
        return terms

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same for linear costs; curvature is around the weights held, and impact changes with wealth."""
        return () if is_zero(self.quadratic) and is_zero(self.impact) else None

    def _rates(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor]:
        """Return the linear rates of buying and selling, (B | 1, N) each."""
        half_spread = self._parameter("half_spread", held, market)
        buy_fee, sell_fee = (self._parameter(name, held, market) for name in ("buy_fee", "sell_fee"))
        return half_spread + buy_fee, half_spread + sell_fee

    def _impact(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return what multiplies `|u|^exponent` (B | 1, N)."""
        scale = self._parameter("impact", held, market) * self._parameter("volatility", held, market)
        volumes = self._wealth(held, market) / self._parameter("dollar_volume", held, market)
        return scale * power(volumes, self.exponent - 1)

    def _parameter(self, name: str, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        value: Any = getattr(self, name)
        if value is None:
            value = self._estimate_of(name, market)
        return aligned(value, held, market, f"TradingCost {name}")

    def _estimate_of(self, name: str, market: MarketSnapshot | None) -> np.ndarray:
        table = None if self.history is None else getattr(self.history, name)
        if self.history is None or table is None:
            raise CostError(f"TradingCost: impact needs {name}=, or an estimate: call solver.estimate(panel) first")
        if market is None or market.rows is None:
            raise CostError("TradingCost: its estimates differ from row to row: pass market=panel.at(rows)")
        return self.history.at(table, market.rows)

    def _wealth(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        if self.wealth is not None:
            return one_a_row(self.wealth, held, "TradingCost wealth")
        if market is None or market.wealth is None:
            raise CostError(
                "TradingCost: impact grows with wealth, in the currency of dollar_volume: "
                "pass wealth=, or solve with market=panel.at(rows, wealth=...)"
            )
        wealth = one_a_row(market.wealth, held, "the market's wealth")
        # A book that is ruined (NaN) must not spoil its row: it trades nothing.
        return wealth.nan_to_num().clamp(min=0)


def power(base: Tensor, exponent: float) -> Tensor:
    """Return `base ** exponent` of numbers of at least 0, the same bits wherever in a tensor a number is.

    Torch's own power differs in the last bit between the middle and the end of a tensor. Where a derivative is asked
    for it is used all the same.
    """
    if base.requires_grad or base.device.type != "cpu":
        return base.pow(exponent)
    if exponent == 0.5:
        return base.sqrt()
    if exponent == 1.5:
        return base * base.sqrt()
    return torch.from_numpy(np.asarray(np.power(base.numpy(), exponent)))


def _parabola(curvature: Tensor, held: Tensor) -> CostTerms:
    """Return `curvature / 2 (x - held)^2`."""
    return CostTerms(diagonal=curvature, linear=-curvature * held, constant=curvature * held.square() / 2)
