"""A search along lines through weight space for what a cost must not do, and for its kinks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.convexity import NotConvex, proof_on_lines
from backtest.market import MarketSnapshot

__all__ = ["Break", "Lines", "Scan"]

SMALLEST, LARGEST, FINENESS = 1e-6, 8.0, 36
"""Distances from each centre: so many, in a geometric row."""

EVEN = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)

UNEXPLAINED = 0.01
"""Share of a slope's climb that the curvature at both ends does not explain, from which on a kink is looked for."""

SUSPICIOUS = 1e-12
"""Relative fall of a slope, or rise above a chord, that is worth looking into."""

STRIDES = (1, 2, 3)
"""Steps between three neighbours: places coincide where two centres do, and three that coincide show nothing."""

REACHES = (1e-2, 1e-4, 1e-6, 1e-9)
"""Distances from a break where the slope falls at which two points are looked for that prove it."""

MOST_BREAKS = 6
BISECTIONS = 70
EARLY, SMOOTH = 12, 2.0**-11.5
"""After so many bisections what is unexplained has fallen below this share of what it was, unless there is a break: a
bend of the slope leaves 2^-12."""

CLEAR = 1e-6
"""A jump of the slope, relative to the largest slope on the line, that is no rounding."""

NARROW, WIDE = 1e-12, 1e-9
"""Distances on both sides of a place; over the second a smooth slope climbs 1000 times as much as over the first."""

VERTICAL = 500.0
"""The same number where the slope counts as vertical: below the power 1.9."""


@dataclass(frozen=True)
class Break:
    """A place where the slope of a line jumps, or is vertical.

    Attributes:
        row, line: which of the (B, M) lines.
        place: how far along it.
        jump: of the slope, negative where it falls; None where it does not jump but is vertical.
    """

    row: int
    line: int
    place: float
    jump: float | None


@dataclass(frozen=True, eq=False)
class Lines:
    """A cost along lines `base + t direction`, `t` a number for each of (B, M) lines.

    Attributes:
        cost: in every asset apart when `apart`: then each asset is a line of its own and M = N. Otherwise the whole
            row is one line and M = 1.
        held: (B, N).
        market: the market at the B rows, or None.
        base, direction: (B, N).
        apart: see `cost`.
    """

    cost: Cost
    held: Tensor
    market: MarketSnapshot | None
    base: Tensor
    direction: Tensor
    apart: bool

    def value(self, t: Tensor) -> Tensor:
        """Return the cost (B, M) at `t` (B, M)."""
        by_asset = self.cost.value(self.base + t * self.direction, self.held, self.market)
        by_asset = by_asset.expand(self.base.shape)
        return by_asset if self.apart else by_asset.sum(-1, keepdim=True)

    def slope(self, t: Tensor) -> Tensor:
        """Return its derivative (B, M) in `t`."""
        return self.derivatives(t)[1]

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cost and its first two derivatives (B, M) in `t` (B, M)."""
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            value = self.value(t)
            slope = _derivative(value, t, graph=True)
            curvature = _derivative(slope, t, graph=False)
        return value.detach(), slope.detach(), curvature.detach()


@dataclass(frozen=True, eq=False)
class Scan:
    """Costs and derivatives on a grid of places along lines, fine around `centres` at all scales.

    Attributes:
        lines: M of them in each of B rows.
        centres: (B, M) each.
    """

    lines: Lines
    centres: tuple[Tensor, ...]

    @cached_property
    def places(self) -> Tensor:
        """(P, B, M), from the lowest to the highest."""
        shape = self.centres[0].shape
        away = torch.logspace(0, 1, FINENESS, base=LARGEST / SMALLEST, dtype=torch.float64) * SMALLEST
        offsets = torch.cat([-away, away.new_zeros(1), away]).reshape(-1, 1, 1)
        even = EVEN.reshape(-1, 1, 1).expand(-1, *shape)
        return torch.sort(torch.cat([even, *(centre + offsets for centre in self.centres)]), dim=0)[0]

    @cached_property
    def values(self) -> Tensor:
        """(P, B, M) costs."""
        return self._samples[0]

    @cached_property
    def slopes(self) -> Tensor:
        """(P, B, M); NaN where automatic differentiation gives none."""
        return self._samples[1]

    @cached_property
    def curvatures(self) -> Tensor:
        """(P, B, M); NaN where automatic differentiation gives none."""
        return self._samples[2]

    @cached_property
    def off_centre(self) -> Tensor:
        """(P, B, M) bool, places that are not a centre to within rounding."""
        apart = torch.ones_like(self.places, dtype=torch.bool)
        for centre in self.centres:
            apart &= (self.places - centre).abs() > SMALLEST / 2
        return apart

    @cached_property
    def _samples(self) -> tuple[Tensor, Tensor, Tensor]:
        value, slope, curvature = zip(*(self.lines.derivatives(place) for place in self.places), strict=True)
        return torch.stack(value), torch.stack(slope), torch.stack(curvature)

    def proof_of_nonconvexity(self) -> NotConvex | None:
        """Return two places that prove a line not convex, or None."""
        for stride in STRIDES:
            places, values = self.places, self.values
            left, middle, right = places[: -2 * stride], places[stride:-stride], places[2 * stride :]
            before, at, after = values[: -2 * stride], values[stride:-stride], values[2 * stride :]
            rising, risen = self.slopes[: -2 * stride], self.slopes[2 * stride :]
            known = ~torch.isnan(rising) & ~torch.isnan(risen)
            fall = torch.where(known, rising - risen, 0.0)
            largest = torch.where(known, torch.maximum(rising.abs(), risen.abs()), 0.0)
            share = (middle - left) / (right - left).clamp(min=1e-300)
            above = at - (before + share * (after - before))
            size = torch.stack([before.abs(), at.abs(), after.abs()]).amax(0)
            suspicion = torch.maximum(fall / largest.clamp(min=1e-300), above / size.clamp(min=1e-300))
            if bool((suspicion > SUSPICIOUS).any()):
                worst = suspicion.argmax(0, keepdim=True)
                low, high = left.gather(0, worst)[0], right.gather(0, worst)[0]
                proof = proof_on_lines(self.lines.value, self.lines.slope, low, high)
                if proof is not None:
                    return proof
        return self._proof_at_a_fall()

    def _proof_at_a_fall(self) -> NotConvex | None:
        """Return a proof at a break where the slope falls, too little to be seen between places of the grid."""
        for each in self.breaks:
            for reach in REACHES if each.jump is not None and each.jump < 0 else ():
                low = torch.full_like(self.centres[0], each.place)
                high = low.clone()
                low[each.row, each.line] -= reach
                high[each.row, each.line] += reach
                proof = proof_on_lines(self.lines.value, self.lines.slope, low, high)
                if proof is not None:
                    return proof
        return None

    @cached_property
    def breaks(self) -> list[Break]:
        """Places where the slope jumps or is vertical, those with the largest jumps of each line."""
        places = self.places
        slopes, curvatures = (part.nan_to_num(nan=0.0, posinf=0.0) for part in (self.slopes, self.curvatures))
        width, climb = places.diff(dim=0), slopes.diff(dim=0)
        missing = _unexplained(climb, curvatures[:-1], curvatures[1:], width)
        largest = slopes.abs().amax(0)
        suspicious = (missing > UNEXPLAINED * climb.abs()) & (missing > CLEAR * largest / 10) & (width > 0)
        order = torch.where(suspicious, missing, 0.0).argsort(dim=0, descending=True)
        found: dict[tuple[int, int, str], Break] = {}
        for rank in range(min(MOST_BREAKS, len(order))):
            piece = order[rank : rank + 1]
            wanted = suspicious.gather(0, piece)[0]
            if not bool(wanted.any()):
                break
            ends = places[:-1].gather(0, piece)[0], places[1:].gather(0, piece)[0]
            for each in self._narrowed(*ends, wanted, largest):
                # A break at a place of the grid is found from both of its sides.
                found[each.row, each.line, f"{each.place:.9e}"] = each
        return list(found.values())

    def _narrowed(self, low: Tensor, high: Tensor, wanted: Tensor, largest: Tensor) -> list[Break]:
        """Return the breaks inside the pieces (B, M) that are `wanted`."""
        margin = 1e-3 * (high - low)  # so that a break at an end is inside
        low, high = low - margin, high + margin

        def ends(t: Tensor) -> tuple[Tensor, Tensor]:
            _, slope, curvature = self.lines.derivatives(t)
            return slope.nan_to_num(nan=0.0), curvature.nan_to_num(nan=0.0, posinf=0.0)

        at_low, at_high = ends(low), ends(high)
        first = _unexplained(at_high[0] - at_low[0], at_low[1], at_high[1], high - low)
        for count in range(BISECTIONS):
            middle = (low + high) / 2
            if count == EARLY:
                left = _unexplained(at_high[0] - at_low[0], at_low[1], at_high[1], high - low)
                wanted = wanted & (left > SMOOTH * first)
            open_ = wanted & (middle > low) & (middle < high)
            if not bool(open_.any()):
                break
            at = ends(middle)
            half = (high - low) / 2
            left = _unexplained(at[0] - at_low[0], at_low[1], at[1], half)
            right = _unexplained(at_high[0] - at[0], at[1], at_high[1], half)
            go_left = open_ & (left >= right)
            go_right = open_ & (left < right)
            high = torch.where(go_left, middle, high)
            at_high = (torch.where(go_left, at[0], at_high[0]), torch.where(go_left, at[1], at_high[1]))
            low = torch.where(go_right, middle, low)
            at_low = (torch.where(go_right, at[0], at_low[0]), torch.where(go_right, at[1], at_low[1]))
        place, width = (low + high) / 2, (high - low).clamp(min=1e-30)

        def climb(reach: Tensor | float) -> Tensor:
            return ends(place + reach)[0] - ends(place - reach)[0]

        jump, narrow, wide = climb(2 * width), climb(NARROW), climb(WIDE)
        # A jump hardly grows with the distance that it is seen from.
        jumps = wanted & (jump.abs() > CLEAR * largest) & ((jump > 0.8 * narrow) | (jump < 0.8 * narrow.clamp(max=0)))
        vertical = wanted & ~jumps & (narrow > CLEAR * largest / 1e3) & (VERTICAL * narrow > wide)
        result = []
        for row, line in torch.nonzero(jumps | vertical).tolist():
            size = float(jump[row, line]) if bool(jumps[row, line]) else None
            result.append(Break(row, line, float(place[row, line]), size))
        return result


def _unexplained(climb: Tensor, before: Tensor, after: Tensor, width: Tensor) -> Tensor:
    """Return how much of a slope's climb the curvature at both ends leaves unexplained, by the trapezoid rule."""
    return (climb - (before + after) / 2 * width).abs()


def _derivative(values: Tensor, at: Tensor, *, graph: bool) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(at)
    (result,) = torch.autograd.grad(values.sum(), at, create_graph=graph, retain_graph=graph, allow_unused=True)
    return torch.zeros_like(at) if result is None else result
