"""What a cost or a constraint is made of: the pieces of the canonical problem.

The canonical problem of one row of a batch (p, x, held in R^N) is

    minimise_x  -p'x + o + l'x + 1/2 |G'x|^2 + 1/2 sum_i d_i x_i^2 + sum_i phi_i(x_i) + h(x) + soft limits
    subject to  A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper,  Q_m(x) <= r_m

with `phi_i` convex scalar functions: sums of ramps, bends and curves; `h` convex and smooth, of all weights together;
`Q_m` convex quadratics; and a soft limit the penalty `weight / 2 violation^2`. Every cost lowers itself to `CostTerms`,
every constraint to `LimitTerms`; the solver adds them up. Shapes: `(B, ...)`, or `(1, ...)` for what all rows share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.costs.curves import Curve, pick_rows

__all__ = ["Bend", "CostTerms", "LimitTerms", "QuadraticLimit", "Ramp", "SmoothFunction", "SoftLimit"]


@dataclass(frozen=True)
class Ramp:
    """A convex scalar function whose derivative climbs from `left` to `right`.

    The derivative is `left` below `start`, `right` above `end`, and linear between them. With `end=None` it jumps at
    `start`: a kink, like an absolute value. The function is 0 at the middle of the ramp.

    Attributes:
        start: (B | 1, N) weight at which the climb begins, or the place of the kink.
        left: (B | 1, N) derivative below, a cost per unit of weight.
        right: (B | 1, N) derivative above, at least `left`.
        end: (B | 1, N) weight at which the climb ends; None for a kink.
    """

    start: Tensor
    left: Tensor
    right: Tensor
    end: Tensor | None = None

    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""
        if self.end is None:
            beyond = x - self.start
            return self.right * beyond.clamp(min=0) + self.left * beyond.clamp(max=0)
        half = (self.end - self.start) / 2
        from_middle = x - self.start - half
        inside = from_middle.clamp(-half, half)
        slope = (self.right - self.left) / (2 * half)
        middle = (self.right + self.left) / 2
        bent = middle * inside + slope * inside.square() / 2
        # The value at the middle, not at the ends, is the zero: |x| smoothed is 0 at 0.
        return bent + self.right * (from_middle - half).clamp(min=0) + self.left * (from_middle + half).clamp(max=0)

    def slope(self, x: Tensor, *, above: bool) -> Tensor:
        """Return the derivative (B, N) at weights `x` (B, N): just above them where `above`, else just below."""
        if self.end is None:
            return torch.where(x >= self.start if above else x > self.start, self.right, self.left)
        width = (self.end - self.start).clamp(min=torch.finfo(x.dtype).tiny)
        share = ((x - self.start) / width).clamp(0, 1)
        return self.left + (self.right - self.left) * share

    def scaled(self, weight: float | Tensor) -> Ramp:
        """Return the ramp of `weight`, a number of at least 0 or (B | 1, N), times this function."""
        return Ramp(self.start, self.left * weight, self.right * weight, self.end)

    def widened(self, width: float | Tensor) -> Ramp:
        """Return a kink smoothed over `width` on each side (Huber 1964).

        A ramp that is smooth stays as it is. `width` is a weight, more than 0: a number or (B | 1, N).
        """
        if self.end is not None:
            return self
        return Ramp(self.start - width, self.left, self.right, self.start + width)

    def shifted(self, by: Tensor) -> Ramp:
        """Return the ramp of `x - by`, with `by` (B | 1, N) a weight by asset."""
        return replace(self, start=self.start + by, end=None if self.end is None else self.end + by)


@dataclass(frozen=True)
class Bend:
    """`1/2 below min(x - place, 0)^2 + 1/2 above max(x - place, 0)^2`: a parabola for each side.

    Attributes:
        place: (B | 1, N) weight where the curvature changes.
        below, above: (B | 1, N) curvature on each side, at least 0.
    """

    place: Tensor
    below: Tensor
    above: Tensor

    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""
        beyond = x - self.place
        return (self.below * beyond.clamp(max=0).square() + self.above * beyond.clamp(min=0).square()) / 2

    def slope(self, x: Tensor) -> Tensor:
        """Return the derivative (B, N) at `x`."""
        beyond = x - self.place
        return self.below * beyond.clamp(max=0) + self.above * beyond.clamp(min=0)

    def scaled(self, weight: float | Tensor) -> Bend:
        """Return the bend of `weight`, a number of at least 0 or (B | 1, N), times this function."""
        return Bend(self.place, self.below * weight, self.above * weight)

    def shifted(self, by: Tensor) -> Bend:
        """Return the bend of `x - by`, with `by` (B | 1, N) a weight by asset."""
        return replace(self, place=self.place + by)


class SmoothFunction(ABC):
    """`h`: a convex function of all weights of a row together, twice differentiable."""

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """Return the function (B,) at weights `x` (B, N)."""

    @abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """Return its gradient (B, N) at `x`, with a graph to whatever it depends on where gradients are enabled."""

    @abstractmethod
    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return its Hessian at `x` as a diagonal (B, N), at least 0, and loadings (B, N, r): `diag + R R'`."""

    @abstractmethod
    def scaled(self, weight: float | Tensor) -> SmoothFunction:
        """Return `weight`, a number of at least 0 or (B | 1, 1), times this function."""

    @abstractmethod
    def shifted(self, by: Tensor) -> SmoothFunction:
        """Return the function of `x - by`, with `by` (B | 1, N) a weight by asset."""

    @abstractmethod
    def rows(self, index: Tensor) -> SmoothFunction:
        """Return the function of the rows `index` of the batch, whole numbers (n,) or bool (B,)."""


@dataclass(frozen=True)
class SoftLimit:
    """The penalty `weight / 2 violation^2` on every inequality and norm limit of `limit`.

    Attributes:
        limit: holds `inequality`, `leverage` or `turnover`, and nothing else.
        weight: (B | 1, 1), more than 0; return per squared unit of violation.
    """

    limit: LimitTerms
    weight: Tensor


@dataclass(frozen=True)
class QuadraticLimit:
    """`constant + linear'x + 1/2 |G'x|^2 + 1/2 sum d x^2 <= bound`.

    Attributes:
        terms: `constant`, `linear`, `diagonal` and `loadings`, and nothing else.
        bound: (B | 1, 1).
    """

    terms: CostTerms
    bound: Tensor

    def value(self, x: Tensor) -> Tensor:
        """Return the left side (B, 1) at weights `x` (B, N)."""
        terms = self.terms
        by_asset = torch.zeros_like(x)
        if terms.constant is not None:
            by_asset = by_asset + terms.constant
        if terms.linear is not None:
            by_asset = by_asset + terms.linear * x
        if terms.diagonal is not None:
            by_asset = by_asset + terms.diagonal * x.square() / 2
        total = by_asset.sum(-1, keepdim=True)
        for block in terms.loadings:
            total = total + (block.mT @ x.unsqueeze(-1)).squeeze(-1).square().sum(-1, keepdim=True) / 2
        return total

    def gradient(self, x: Tensor) -> Tensor:
        """Return the gradient (B, N) of the left side at weights `x` (B, N)."""
        terms = self.terms
        gradient = torch.zeros_like(x)
        if terms.linear is not None:
            gradient = gradient + terms.linear
        if terms.diagonal is not None:
            gradient = gradient + terms.diagonal * x
        for block in terms.loadings:
            gradient = gradient + (block @ (block.mT @ x.unsqueeze(-1))).squeeze(-1)
        return gradient

    def rows(self, index: Tensor) -> QuadraticLimit:
        """Return the limit of the rows `index` of the batch, whole numbers (n,) or bool (B,)."""
        terms = self.terms
        picked = replace(
            terms,
            constant=None if terms.constant is None else pick_rows(terms.constant, index),
            linear=None if terms.linear is None else pick_rows(terms.linear, index),
            diagonal=None if terms.diagonal is None else pick_rows(terms.diagonal, index),
            loadings=tuple(pick_rows(block, index) for block in terms.loadings),
        )
        return QuadraticLimit(picked, pick_rows(self.bound, index))

    def excess(self, x: Tensor) -> Tensor:
        """Return by how much the left side at weights `x` (B, N) is above the bound (B, 1), negative where kept."""
        return self.value(x) - self.bound


@dataclass(frozen=True)
class CostTerms:
    """The pieces that a cost adds to the canonical objective. A missing piece is None or empty.

    Attributes:
        constant: (B | 1, N), `o`: its sum over assets does not depend on the weights.
        linear: (B | 1, N), `l`.
        diagonal: (B | 1, N), `d`, not negative.
        loadings: each (B | 1, N, k), columns of `G`.
        ramps, bends, curves: the separable pieces `phi`.
        smooth: the pieces of `h`.
        soft: limits that may be broken at a price.
    """

    constant: Tensor | None = None
    linear: Tensor | None = None
    diagonal: Tensor | None = None
    loadings: tuple[Tensor, ...] = ()
    ramps: tuple[Ramp, ...] = ()
    bends: tuple[Bend, ...] = ()
    curves: tuple[Curve, ...] = ()
    smooth: tuple[SmoothFunction, ...] = ()
    soft: tuple[SoftLimit, ...] = ()

    def scaled(self, weight: float | Tensor) -> CostTerms:
        """Return the terms of `weight` times the cost; `weight` is not negative: a number or (B | 1, 1)."""
        root = torch.sqrt(weight) if isinstance(weight, Tensor) else weight**0.5
        return CostTerms(
            constant=None if self.constant is None else self.constant * weight,
            linear=None if self.linear is None else self.linear * weight,
            diagonal=None if self.diagonal is None else self.diagonal * weight,
            loadings=tuple(
                block * (root.unsqueeze(-1) if isinstance(root, Tensor) and root.ndim else root)
                for block in self.loadings
            ),
            ramps=tuple(ramp.scaled(weight) for ramp in self.ramps),
            bends=tuple(bend.scaled(weight) for bend in self.bends),
            curves=tuple(curve.scaled(weight) for curve in self.curves),
            smooth=tuple(function.scaled(weight) for function in self.smooth),
            soft=tuple(replace(soft, weight=soft.weight * weight) for soft in self.soft),
        )

    def __add__(self, other: CostTerms) -> CostTerms:
        """Return the terms of the sum of both costs."""
        return CostTerms(
            constant=_sum(self.constant, other.constant),
            linear=_sum(self.linear, other.linear),
            diagonal=_sum(self.diagonal, other.diagonal),
            loadings=(*self.loadings, *other.loadings),
            ramps=(*self.ramps, *other.ramps),
            bends=(*self.bends, *other.bends),
            curves=(*self.curves, *other.curves),
            smooth=(*self.smooth, *other.smooth),
            soft=(*self.soft, *other.soft),
        )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


@dataclass(frozen=True)
class LimitTerms:
    """The pieces that a constraint adds to the canonical problem. A missing piece is None or empty.

    Attributes:
        lower, upper: (B | 1, N) limits on each weight.
        equality: ((B | 1, m, N), (B | 1, m)): `A` and `b` of `A x = b`.
        inequality: ((B | 1, q, N), (B | 1, q)): `E` and `e` of `E x <= e`.
        leverage: (B | 1,) limit on `|x|_1`.
        turnover: (B | 1,) limit on `|x - held|_1`.
        quadratic: limits `Q_m(x) <= r_m`.
    """

    lower: Tensor | None = None
    upper: Tensor | None = None
    equality: tuple[Tensor, Tensor] | None = None
    inequality: tuple[Tensor, Tensor] | None = None
    leverage: Tensor | None = None
    turnover: Tensor | None = None
    quadratic: tuple[QuadraticLimit, ...] = ()
