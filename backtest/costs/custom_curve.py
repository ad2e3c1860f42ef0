"""A user's separable cost as a curve of the canonical problem."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backtest.costs.convexity import proof_of_nonconvexity
from backtest.costs.curves import Curve
from backtest.costs.custom_rows import CustomRows
from backtest.errors import CostError

__all__ = ["CustomCurve"]

STEP = 16
"""Distance from a break, in units of rounding, at which its two sides are told apart: the user's own arithmetic may
put the break that far from where it is declared. Positions are off by no more than this distance."""

SMALLEST_STEP = 1e-30
"""The same distance at weight 0 after 0; its square is still a number."""

CLEAR_JUMP = 100.0
"""A climb over a break that is this many times what the curvature beside it explains is a jump. Below `u^1.01` a
vertical slope looks like a jump, which it is but for rounding."""

ROUNDING = 1e-12
DERIVATIVE = "the derivative of its value"
DIFFERENCE = 1e-6
"""Relative step of the difference that stands in for a second derivative which is NaN."""


@dataclass(frozen=True, eq=False)
class CustomCurve(Curve):
    """A user's `value(q, held, market)` as a function of `q`, one asset apart from the other.

    Derivatives are by automatic differentiation. `slope` has a graph to the tensors in the user's cost and to `held`
    where gradients are enabled; `curvature` and `sides` have none.

    Attributes:
        rows_of: the cost and the rows of its batch.
        kinks: (B | 1, N) each, in the batch of `rows_of.held`: places where the slope may jump or be vertical.
    """

    rows_of: CustomRows
    kinks: tuple[Tensor, ...]

    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""
        return self.rows_of.value(self.rows_of.unshifted(x))

    def slope(self, x: Tensor) -> Tensor:
        """Return its first derivative at `x` (B, N).

        Raises:
            CostError: it is NaN.
        """
        y = self.rows_of.unshifted(x)
        if torch.is_grad_enabled():
            # A vertical slope has an infinite derivative of its own, and its graph is NaN: one step aside it is finite.
            y = torch.where(self._on_a_break(y), y + self._step(y), y)
        return self._known(self.rows_of.slope(y), y)

    def curvature(self, x: Tensor) -> Tensor:
        """Return its second derivative at `x` (B, N); infinite on a break where the slope is vertical."""
        return self.slope_and_curvature(x)[1]

    def slope_and_curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both derivatives at `x` (B, N), from one evaluation of the user's cost."""
        y = self.rows_of.unshifted(x)
        near = self._on_a_break(y)
        on_break = bool(near.any())
        slope, curvature = self.rows_of.slope_and_curvature(y)
        slope = self.slope(x) if on_break and slope.requires_grad else self._known(slope, y)
        with torch.no_grad():
            if on_break:
                # On the break itself automatic differentiation may say anything: |u|^2 has curvature 0 there.
                step = self._step(y)
                sides = [self.rows_of.slope_and_curvature(y + side)[1].nan_to_num(nan=0.0) for side in (-step, step)]
                beside = torch.maximum(*sides)
                there = torch.where(torch.isfinite(curvature), torch.maximum(curvature, beside), torch.inf)
                curvature = torch.where(near, there, curvature)
            unknown = torch.isnan(curvature)
            if bool(unknown.any()):
                curvature = torch.where(unknown, self._difference(y), curvature)
        return slope, curvature

    def sides(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slope just below and just above `place` (B, N); one slope where it does not jump.

        Raises:
            CostError: the slope is NaN, or falls: the cost is not convex.
        """
        with torch.no_grad():
            held = self.rows_of.held_rows()
            # The same few places are asked for by whoever sorts breaks: an evaluation is dear, a comparison is not.
            for known_place, known_held, known in self._known_sides:
                if torch.equal(place, known_place) and torch.equal(held, known_held):
                    return known
            known = self._sides(place)
            self._known_sides.append((place.clone(), held.clone(), known))
            return known

    def _sides(self, place: Tensor) -> tuple[Tensor, Tensor]:
        y = self.rows_of.unshifted(place)
        step = self._step(y)
        below, steep_below = self.rows_of.slope_and_curvature(y - step)
        above, steep_above = self.rows_of.slope_and_curvature(y + step)
        for slope in (below, above):
            self.rows_of.refuse(slope, y, DERIVATIVE)
        explained = step * (steep_below.nan_to_num(nan=0.0).abs() + steep_above.nan_to_num(nan=0.0).abs())
        unclear = CLEAR_JUMP * explained + ROUNDING * torch.maximum(below.abs(), above.abs())
        if bool((below - above > unclear).any()):
            self._refuse_falling(place, step)
        jump = above - below > unclear
        middle = self._known(self.rows_of.slope(y), y)
        return torch.where(jump, below, middle), torch.where(jump, above, middle)

    def scaled(self, weight: float | Tensor) -> CustomCurve:
        """Return `weight` times this function."""
        return CustomCurve(self.rows_of.scaled(weight), self.kinks)

    def shifted(self, by: Tensor) -> CustomCurve:
        """Return the function of `x - by`."""
        return CustomCurve(self.rows_of.shifted(by), self.kinks)

    @property
    def breaks(self) -> tuple[Tensor, ...]:
        """The user's kinks, at their places (B | 1, N)."""
        shift = self.rows_of.shift
        places = self._places()
        return places if shift is None else tuple(place + shift for place in places)

    def rows(self, index: Tensor) -> CustomCurve:
        """Return the function of the rows `index` of the batch."""
        return CustomCurve(self.rows_of.rows(index), self.kinks)

    def _places(self) -> tuple[Tensor, ...]:
        index = self.rows_of.index
        return tuple(place if index is None or len(place) == 1 else place[index] for place in self.kinks)

    def _step(self, y: Tensor) -> Tensor:
        size = torch.maximum(y.detach().abs(), self.rows_of.held_rows().detach().abs())
        if self.rows_of.shift is not None:
            size = torch.maximum(size, self.rows_of.shift.detach().abs())
        return (STEP * torch.finfo(y.dtype).eps * size).clamp(min=SMALLEST_STEP)

    def _refuse_falling(self, place: Tensor, step: Tensor) -> None:
        """Raise `CostError` with two points that prove the curve not convex around `place`, if there are."""
        for reach in (step / (STEP * torch.finfo(step.dtype).eps) / 8, 1e3 * step):
            proof = proof_of_nonconvexity(self, place - reach, place + reach)
            if proof is not None:
                label = self.rows_of.label(proof.row, proof.asset)
                raise CostError(f"{type(self.rows_of.cost).__name__} is not convex: {proof.told(label)}")

    @cached_property
    def _known_sides(self) -> list[tuple[Tensor, Tensor, tuple[Tensor, Tensor]]]:
        return []

    @cached_property
    def _intervals(self) -> tuple[tuple[Tensor, Tensor], ...]:
        places = [place.detach() for place in self._places()]
        return tuple((place, self._step(self.rows_of.held_rows() * 0 + place) / 2) for place in places)

    def _on_a_break(self, y: Tensor) -> Tensor:
        near = torch.zeros_like(y, dtype=torch.bool)
        for place, reach in self._intervals:
            near |= (y.detach() - place).abs() <= reach
        return near

    def _known(self, slope: Tensor, y: Tensor) -> Tensor:
        """Return `slope` (B, N), with the mean of both sides where it is NaN on a break, as sqrt(u^2) has it at 0."""
        unknown = torch.isnan(slope)
        if not bool(unknown.any()):
            return slope
        with torch.no_grad():
            step = self._step(y)
            middle = (self.rows_of.slope(y - step) + self.rows_of.slope(y + step)) / 2
            slope = torch.where(unknown & self._on_a_break(y), middle, slope)
            self.rows_of.refuse(slope, y, DERIVATIVE)
        return slope

    def _difference(self, y: Tensor) -> Tensor:
        reach = torch.maximum(y.abs(), self.rows_of.held_rows().abs()).clamp(min=DIFFERENCE)
        for place in self._places():
            away = (y - place).abs()
            reach = torch.where(away > 0, torch.minimum(reach, away), reach)
        step = DIFFERENCE * reach
        below, above = self.rows_of.slope(y - step), self.rows_of.slope(y + step)
        return ((above - below) / (2 * step)).nan_to_num(nan=torch.inf).clamp(min=0)
