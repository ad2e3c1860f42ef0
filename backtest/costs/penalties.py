"""Penalties on the size of positions: opinions, never charged."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.curves import Root
from backtest.costs.parameters import Parameter, aligned, check_parameter
from backtest.costs.terms import CostTerms, Ramp
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["L1", "Ridge", "SoftL1"]


@dataclass(frozen=True, eq=False)
class Ridge(Cost):
    """`1/2 sum_i w_i q_i^2`.

    Attributes:
        weight: scalar, (N,), (B, N) or a Series by asset; return per squared weight and period.

    Raises:
        CostError: the weight is negative or not finite.
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

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class L1(Cost):
    """`sum_i w_i |q_i|`: small forecasts get no position.

    Attributes:
        weight: scalar, (N,), (B, N) or a Series by asset; return per unit of weight and period.

    Raises:
        CostError: the weight is negative or not finite.
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

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class SoftL1(Cost):
    """L1 with its kink rounded off, over about `width` on each side of 0.

    `form="huber"`: `w q^2 / (2 width)` where `|q| <= width`, `w (|q| - width / 2)` beyond. `form="root"`: `w (sqrt(q^2
    + width^2) - width)`, which bends everywhere.

    Attributes:
        width: scalar, (N,), (B, N) or a Series by asset; weight, more than 0.
        weight: scalar, (N,), (B, N) or a Series by asset; return per unit of weight and period, as in L1.
        form: "huber" or "root".

    Source: Huber (1964), "Robust estimation of a location parameter"; Charbonnier et al. (1997), "Deterministic
    edge-preserving regularization in computed imaging", for the root.

    Raises:
        CostError: the width is not above 0, the weight is negative, or the form is unknown.
    """

    width: Parameter
    weight: Parameter = 1.0
    form: Literal["huber", "root"] = "huber"

    def __post_init__(self) -> None:
        check_parameter(self.width, "SoftL1", "width", minimum=1e-12)
        check_parameter(self.weight, "SoftL1", "weight")
        if self.form not in ("huber", "root"):
            raise CostError(f'SoftL1: form is {self.form!r}: give "huber" or "root"')

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N)."""
        width, weight = self._parameters(held, market)
        size = q.abs()
        if self.form == "root":
            return weight * size.square() / (torch.sqrt(size.square() + width.square()) + width)
        return weight * torch.where(size <= width, size.square() / (2 * width), size - width / 2)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return a ramp, or a root, around 0."""
        width, weight = self._parameters(held, market)
        if self.form == "root":
            return CostTerms(curves=(Root(centre=torch.zeros_like(width), weight=weight, width=width),))
        return CostTerms(ramps=(Ramp(start=-width, left=-weight, right=weight, end=width),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()

    def _parameters(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor]:
        weight = aligned(self.weight, held, market, "SoftL1 weight")
        return aligned(self.width, held, market, "SoftL1 width"), weight
