"""The separable part of the canonical problem: one scalar problem an asset.

For each asset, with `phi` the sum of its ramps, bends and curves (backtest.costs.terms), this is

    response(c) = argmin_x  1/2 d x^2 + phi(x) - c x    subject to  lower <= x <= upper,

the inverse of the increasing function `x -> d x + phi'(x)`, clipped. Between its breaks that function is linear, plus
the slopes of the curves. The breaks do not depend on `c`, so they are sorted once a solve. The multipliers of the norm
limits enter as extra jumps: `leverage` at weight 0 and `turnover` at the weight held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs import Bend, Curve, Ramp
from backtest.costs.curves import pick_rows
from backtest.solver.scalar_root import root_beyond

__all__ = ["Separable"]

FEW = 5
"""Up to so many breaks, exchanging neighbours is quicker than a sort along the first axis."""


@dataclass(frozen=True)
class Separable:
    """The sorted breaks of every scalar problem, M of them, from the lowest place to the highest.

    Attributes:
        first_flexibility: (B | 1, N), dx/dc below the first break, the curves left aside.
        place: (M, B | 1, N) where the derivative jumps or bends.
        below, above: (M, B | 1, N) derivative on each side of the place, curves included.
        flexibility: (M, B | 1, N) dx/dc on the segment above it, the curves left aside.
        anchor, level: (M, B | 1, N) that end of the segment above it which is nearer to 0, and the derivative there.
        sign_below, sign_above: (M, B | 1, N) sign of x on each side; None without a leverage limit.
        trade_below, trade_above: the same of x - held; None without a turnover limit.
        curves: smooth pieces whose curvature varies.
        scale: (B | 1, N) size of what a unit of weight costs, by which errors are judged.
        lower, upper: (B | 1, N) limits; infinite where there is none.
    """

    first_flexibility: Tensor
    place: Tensor
    below: Tensor
    above: Tensor
    flexibility: Tensor
    anchor: Tensor
    level: Tensor
    sign_below: Tensor | None
    sign_above: Tensor | None
    trade_below: Tensor | None
    trade_above: Tensor | None
    curves: tuple[Curve, ...]
    scale: Tensor
    lower: Tensor
    upper: Tensor

    @staticmethod
    def of(
        diagonal: Tensor,
        *,
        ramps: Sequence[Ramp],
        bends: Sequence[Bend],
        curves: Sequence[Curve],
        lower: Tensor,
        upper: Tensor,
        held: Tensor,
        has_leverage: bool,
        has_turnover: bool,
    ) -> Separable:
        """Sort the breaks of all pieces on top of `diagonal` (B | 1, N), which must be above 0."""
        breaks = _Breaks(torch.zeros_like(diagonal), held, has_leverage, has_turnover)
        first_slope = diagonal
        # What errors are judged by: the size of marginal costs at the weights held and about 0.
        scale = diagonal * held.abs()
        for ramp in ramps:
            scale = scale + torch.maximum(ramp.left.abs(), ramp.right.abs())
            if ramp.end is None:
                breaks.add(ramp.start, kink=True)
            else:
                climb = (ramp.right - ramp.left) / (ramp.end - ramp.start)
                breaks.add(ramp.start, bend=climb)
                breaks.add(ramp.end, bend=-climb)
        pieces: tuple[Bend | Curve, ...] = (*bends, *curves)
        for piece in pieces:
            at_held, at_zero = piece.slope(held), piece.slope(torch.zeros_like(held))
            scale = scale + torch.maximum(at_held.abs(), at_zero.abs())
        for bend in bends:
            first_slope = first_slope + bend.below
            breaks.add(bend.place, bend=bend.above - bend.below)
        for curve in curves:
            for each in curve.breaks:
                breaks.add(each)
        breaks.add_norms()
        place, bent, zero, trade = breaks.sorted()

        # Bends are added up apart from the diagonal, which a narrow ramp would otherwise round away.
        slope = first_slope + torch.cumsum(bent, 0) if len(bent) > 1 else first_slope + bent
        # Each derivative is taken at its own place. Added up from the lowest it would lose its digits to a break far
        # away, as a limit that is never reached can have.
        smooth = diagonal * place
        for bend in bends:
            smooth = smooth + bend.slope(place)
        below = above = smooth
        for ramp in ramps:
            below, above = below + ramp.slope(place, above=False), above + ramp.slope(place, above=True)
        for curve in curves:
            sides = [curve.sides(each) for each in place]
            below = below + torch.stack([side[0] for side in sides])
            above = above + torch.stack([side[1] for side in sides])
        anchor, level = place, above
        if bends or curves or any(ramp.end is not None for ramp in ramps):
            # For the same reason a segment is followed from that end of it which is nearer to 0.
            from_right = torch.cat([place[1:].abs() < place[:-1].abs(), torch.zeros_like(place[:1], dtype=torch.bool)])
            anchor = torch.where(from_right, place.roll(-1, 0), place)
            level = torch.where(from_right, below.roll(-1, 0), above)
        sign = 2 * torch.cumsum(zero, 0) - 1 if has_leverage else None
        traded = 2 * torch.cumsum(trade, 0) - 1 if has_turnover else None
        return Separable(
            first_flexibility=1 / first_slope,
            place=place,
            below=below,
            above=above,
            flexibility=1 / slope,
            anchor=anchor,
            level=level,
            sign_below=None if sign is None else sign - 2 * zero,
            sign_above=sign,
            trade_below=None if traded is None else traded - 2 * trade,
            trade_above=traded,
            curves=tuple(curves),
            scale=scale,
            lower=lower,
            upper=upper,
        )

    def response(
        self, c: Tensor, leverage: Tensor | None = None, turnover: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the minimisers and their derivatives in `c`, both (B, N).

        The derivative is 0 on a stuck asset: at a kink or at a limit, its edges included.

        Args:
            c: (B, N) what a unit of weight earns.
            leverage: (B, 1) multiplier of `|x|_1`; needed when there is such a limit.
            turnover: (B, 1) multiplier of `|x - held|_1`; needed when there is such a limit.
        """
        low, high, level = self.below, self.above, self.level
        if self.sign_below is not None and self.sign_above is not None:
            assert leverage is not None
            low, high = low + leverage * self.sign_below, high + leverage * self.sign_above
            level = level + leverage * self.sign_above
        if self.trade_below is not None and self.trade_above is not None:
            assert turnover is not None
            low, high = low + turnover * self.trade_below, high + turnover * self.trade_above
            level = level + turnover * self.trade_above
        x = self.place[0] + (c - low[0]) * self.first_flexibility
        flexibility = self.first_flexibility
        for number in range(len(self.place)):
            reached = c >= low[number]
            past = c > high[number]  # exactly at its end a jump holds the asset still: the stuck side
            # A place without a jump leaves an asset free, unless a jump at the same place has it stuck already.
            free = past | ((high[number] <= low[number]) & (flexibility > 0))
            beyond = self.anchor[number] + (c - level[number]) * self.flexibility[number]
            x = torch.where(reached, torch.where(free, beyond, self.place[number]), x)
            flexibility = torch.where(reached, self.flexibility[number] * free, flexibility)
        if self.curves:
            x, flexibility = self._follow_curves(c, low, high, level, x, flexibility)
        inside = (x > self.lower) & (x < self.upper)
        # Exactly on a limit the weight moves with the limit, not half with each, as minimum and maximum would have it.
        x = torch.where(x <= self.lower, self.lower, x)
        x = torch.where(x >= self.upper, self.upper, x)
        return x, flexibility * inside

    def rows(self, index: Tensor) -> Separable:
        """Return the scalar problems of the rows `index`."""

        def pick(part: Tensor) -> Tensor:
            return part if part.shape[1] == 1 else part[:, index]

        def pick_signs(part: Tensor | None) -> Tensor | None:
            return None if part is None else pick(part)

        return Separable(
            first_flexibility=pick_rows(self.first_flexibility, index),
            place=pick(self.place),
            below=pick(self.below),
            above=pick(self.above),
            flexibility=pick(self.flexibility),
            anchor=pick(self.anchor),
            level=pick(self.level),
            sign_below=pick_signs(self.sign_below),
            sign_above=pick_signs(self.sign_above),
            trade_below=pick_signs(self.trade_below),
            trade_above=pick_signs(self.trade_above),
            curves=tuple(curve.rows(index) for curve in self.curves),
            scale=pick_rows(self.scale, index),
            lower=pick_rows(self.lower, index),
            upper=pick_rows(self.upper, index),
        )

    def _follow_curves(
        self, c: Tensor, low: Tensor, high: Tensor, level: Tensor, x: Tensor, flexibility: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the response where curves bend the segment that it lies on."""
        shape = torch.broadcast_shapes(c.shape, x.shape, low.shape[1:])
        segment = (c >= low).sum(0).expand(shape)  # 0: below the first break
        last = len(self.place) - 1

        def at(part: Tensor, number: Tensor) -> Tensor:
            wide = part.expand(len(part), *shape)
            return wide.gather(0, number.clamp(0, last).unsqueeze(0)).squeeze(0)

        first = segment == 0
        place = at(self.place, segment - 1)
        anchor = torch.where(first, place, at(self.anchor, segment - 1))
        need = torch.where(first, c - low[0], c - at(level, segment - 1))
        limp = torch.where(first, self.first_flexibility, at(self.flexibility, segment - 1))
        far = torch.where(segment > last, torch.inf, at(self.place, segment) - place)
        moving = torch.where(first, need < 0, c > at(high, segment - 1))
        distance, free = root_beyond(
            self.curves,
            anchor=anchor,
            need=torch.where(moving, need, 0.0),
            slope=1 / limp,
            longest=torch.where(first, torch.inf, far),
        )
        return torch.where(moving, anchor + distance, x), torch.where(moving, free, self._free(place, flexibility))

    def _free(self, place: Tensor, flexibility: Tensor) -> Tensor:
        """Return the flexibility at a place without a jump: what the curves leave of the segment's."""
        curved = torch.zeros_like(place)
        for curve in self.curves:
            curved = curved + curve.curvature(place)
        return torch.where(flexibility > 0, 1 / (1 / flexibility + curved), 0.0)


class _Breaks:
    """Collects breaks; all parts (B | 1, N)."""

    def __init__(self, nothing: Tensor, held: Tensor, has_leverage: bool, has_turnover: bool) -> None:
        self.nothing, self.held = nothing, held
        self.zero_is_in, self.held_is_in = not has_leverage, not has_turnover
        self.has_leverage = has_leverage
        self.parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, place: Tensor, *, kink: bool = False, bend: Tensor | None = None) -> None:
        at_held = not self.held_is_in and place is self.held
        # The jumps of the norm limits share the place of a kink that is there already. Whether nothing is held is not
        # asked: the table of one row must not depend on what the other rows of its batch hold.
        at_zero = not self.zero_is_in and kink and place is not self.held and not bool(place.any())
        self.zero_is_in, self.held_is_in = self.zero_is_in or at_zero, self.held_is_in or at_held
        self._put(place, bend, zero=at_zero, trade=at_held)

    def add_norms(self) -> None:
        """Add what the norm limits need, and one break at least."""
        if not self.zero_is_in or not (self.parts or not self.held_is_in):
            self._put(self.nothing, None, zero=self.has_leverage, trade=False)
        if not self.held_is_in:
            self._put(self.held, None, zero=False, trade=True)

    def sorted(self) -> list[Tensor]:
        """Return (M, B | 1, N) places, bends and the two flags, asset by asset in the order of places."""
        if len(self.parts) <= FEW:
            return [torch.stack(torch.broadcast_tensors(*column)) for column in zip(*self._exchanged(), strict=True)]
        columns = list(zip(*self.parts, strict=True))
        place, order = torch.sort(torch.stack(torch.broadcast_tensors(*columns[0])), dim=0, stable=True)
        stacked = [torch.stack(torch.broadcast_tensors(*column)) for column in columns[1:]]
        shape = torch.broadcast_shapes(order.shape, *(part.shape for part in stacked))
        order = order.expand(shape)
        return [place, *(part.expand(shape).gather(0, order) for part in stacked)]

    def _exchanged(self) -> list[tuple[Tensor, ...]]:
        """Return the parts in the order of places: neighbours are exchanged until they are, which keeps equal ones."""
        parts: list[tuple[Tensor, ...]] = list(self.parts)
        for last in range(len(parts) - 1, 0, -1):
            for number in range(last):
                first, second = parts[number], parts[number + 1]
                swap = first[0] > second[0]
                pairs = list(zip(first, second, strict=True))
                # What is the same in both, as no flag at all, stays as it is.
                parts[number] = tuple(a if a is b else torch.where(swap, b, a) for a, b in pairs)
                parts[number + 1] = tuple(b if a is b else torch.where(swap, a, b) for a, b in pairs)
        return parts

    def _put(self, place: Tensor, bend: Tensor | None, *, zero: bool, trade: bool) -> None:
        nothing, one = self.nothing, self.nothing + 1 if zero or trade else self.nothing
        self.parts.append(
            (place, nothing if bend is None else bend, one if zero else nothing, one if trade else nothing)
        )
