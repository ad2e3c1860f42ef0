"""Costs of what differs from a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.curves import Power
from backtest.costs.parameters import Parameter, aligned, check_parameter
from backtest.costs.terms import CostTerms, SoftLimit
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["RelativeTo"]


@dataclass(frozen=True, eq=False)
class RelativeTo(Cost):
    """A cost of the active weights `q - benchmark`: `RelativeTo(FactorRisk(...), index)` is squared tracking error.

    What was held is active too, so that a cost of trades alone is what it was: `RelativeTo(TradingCost(...), b)` costs
    as much as `TradingCost(...)`. A sum is relative summand by summand.

    Attributes:
        cost: what is taken of the active weights.
        benchmark: `b`, (N,), (B, N) or a Series by asset; weights as fractions of wealth, of any sign.

    Raises:
        CostError: the benchmark is not finite.
    """

    cost: Cost
    benchmark: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.benchmark, "RelativeTo", "benchmark", minimum=-np.inf)

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost of the active weights by asset (B, N)."""
        benchmark = aligned(self.benchmark, held, market, "RelativeTo benchmark")
        return self.cost.value(q - benchmark, held - benchmark, market)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return the pieces of the cost, moved by the benchmark.

        Raises:
            CostError: the cost holds a soft leverage limit, which has no form in active weights.
        """
        benchmark = aligned(self.benchmark, held, market, "RelativeTo benchmark")
        active = held - benchmark
        return _shifted(self.cost.terms(active, market), benchmark, held=held, active=active)

    def estimate(self, panel: MarketPanel) -> RelativeTo:
        """Return the relative cost with its estimates fitted."""
        return replace(self, cost=self.cost.estimate(panel))

    def realized(self, panel: MarketPanel) -> RelativeTo:
        """Return the relative cost as it is charged."""
        return replace(self, cost=self.cost.realized(panel))

    @property
    def first_row(self) -> int:
        """That of the cost."""
        return self.cost.first_row

    @property
    def cash(self) -> bool:  # type: ignore[override]
        """Whether the cost is charged by the simulator."""
        return self.cost.cash

    @property
    def paid_per_trade(self) -> bool:  # type: ignore[override]
        """Whether the cost is paid once, at the trade."""
        return self.cost.paid_per_trade

    @property
    def depends_on_held(self) -> bool:
        """Whether the cost depends on what was held before."""
        return self.cost.depends_on_held

    @property
    def parts(self) -> tuple[tuple[str, Cost], ...]:
        """Each summand of the cost, relative to the benchmark."""
        return tuple(
            (f"relative_{name}", self if part is self.cost else replace(self, cost=part))
            for name, part in self.cost.parts
        )


def _shifted(terms: CostTerms, by: Tensor, *, held: Tensor, active: Tensor) -> CostTerms:
    """Return the terms of `x - by`; a place that was `active`, which is `held - by`, becomes `held` itself."""
    moved = CostTerms(
        constant=terms.constant,
        ramps=tuple(
            replace(ramp, start=held) if ramp.start is active and ramp.end is None else ramp.shifted(by)
            for ramp in terms.ramps
        ),
        bends=tuple(replace(bend, place=held) if bend.place is active else bend.shifted(by) for bend in terms.bends),
        curves=tuple(
            # The solver knows what lies at the weights held by their being the same tensor.
            replace(curve, centre=held) if isinstance(curve, Power) and curve.centre is active else curve.shifted(by)
            for curve in terms.curves
        ),
        smooth=tuple(function.shifted(by) for function in terms.smooth),
        soft=tuple(_shifted_limit(soft, by) for soft in terms.soft),
    )
    if terms.linear is not None:
        moved = moved + CostTerms(linear=terms.linear, constant=-terms.linear * by)
    if terms.diagonal is not None:
        pull = terms.diagonal * by
        moved = moved + CostTerms(diagonal=terms.diagonal, linear=-pull, constant=pull * by / 2)
    for block in terms.loadings:
        pull = (block @ (block.mT @ by.unsqueeze(-1))).squeeze(-1)
        moved = moved + CostTerms(loadings=(block,), linear=-pull, constant=pull * by / 2)
    return moved


def _shifted_limit(soft: SoftLimit, by: Tensor) -> SoftLimit:
    limit = soft.limit
    if limit.leverage is not None:
        raise CostError(
            "RelativeTo: a soft LeverageLimit cannot be taken of active weights: use RelativeTo(L1(...), benchmark)"
        )
    if limit.inequality is None:
        return soft
    matrix, bound = limit.inequality
    moved = bound + (matrix @ by.unsqueeze(-1)).squeeze(-1)
    return replace(soft, limit=replace(limit, inequality=(matrix, moved)))
