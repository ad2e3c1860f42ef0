"""The separable part of the canonical problem, one scalar problem an asset, solved in closed form.

For each asset, with `phi` the sum of its ramps (backtest.costs.terms), this is

    response(c) = argmin_x  1/2 d x^2 + phi(x) - c x    subject to  lower <= x <= upper,

the inverse of the increasing, piecewise linear function `x -> d x + phi'(x)`, clipped. The breaks of `phi'` do not
depend on `c`, so they are sorted once a solve. The multipliers of the two norm limits enter as extra jumps: `leverage`
at weight 0 and `turnover` at the weight held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs import Ramp

__all__ = ["Separable", "pick_rows"]


@dataclass(frozen=True)
class _Break:
    """One place where the derivative jumps or bends, in each asset and row; all (B | 1, N)."""

    place: Tensor
    below: Tensor  # derivative just below the place
    above: Tensor  # derivative just above it
    flexibility: Tensor  # dx/dc on the segment above it
    sign_below: Tensor | None  # sign of x just below, where a leverage limit needs it
    sign_above: Tensor | None
    trade_below: Tensor | None  # sign of x - held just below, where a turnover limit needs it
    trade_above: Tensor | None


@dataclass(frozen=True)
class Separable:
    """The sorted breaks of every scalar problem.

    Attributes:
        first_flexibility: (B | 1, N), dx/dc below the first break.
        breaks: from the lowest place to the highest.
        lower, upper: (B | 1, N) limits; infinite where there is none.
    """

    first_flexibility: Tensor
    breaks: tuple[_Break, ...]
    lower: Tensor
    upper: Tensor

    @staticmethod
    def of(
        diagonal: Tensor,
        ramps: Sequence[Ramp],
        *,
        lower: Tensor,
        upper: Tensor,
        held: Tensor,
        has_leverage: bool,
        has_turnover: bool,
    ) -> Separable:
        """Sort the breaks of `ramps` on top of `diagonal` (B | 1, N), which must be above 0."""
        places, jumps, bends, zeros, trades = [], [], [], [], []
        nothing = torch.zeros_like(diagonal)

        def add(place: Tensor, jump: Tensor, bend: Tensor, *, zero: bool = False, trade: bool = False) -> None:
            places.append(place)
            jumps.append(jump)
            bends.append(bend)
            zeros.append(nothing + float(zero))
            trades.append(nothing + float(trade))

        total_left = nothing
        zero_is_in, held_is_in = not has_leverage, not has_turnover
        for ramp in ramps:
            total_left = total_left + ramp.left
            climb = ramp.right - ramp.left
            if ramp.end is None:
                # The jumps of the norm limits share the place of a kink that is there already.
                at_held = not held_is_in and ramp.start is held
                at_zero = not zero_is_in and not at_held and not bool(ramp.start.any())
                zero_is_in, held_is_in = zero_is_in or at_zero, held_is_in or at_held
                add(ramp.start, climb, nothing, zero=at_zero, trade=at_held)
            else:
                bend = climb / (ramp.end - ramp.start)
                add(ramp.start, nothing, bend)
                add(ramp.end, nothing, -bend)
        if not zero_is_in or not places:
            add(nothing, nothing, nothing, zero=has_leverage)
        if not held_is_in:
            add(held, nothing, nothing, trade=True)
        places, jumps, bends, zeros, trades = _sorted_by_place(places, jumps, bends, zeros, trades)

        breaks = []
        slope, bent = diagonal, nothing
        below = diagonal * places[0] + total_left
        sign, trade_sign = nothing - 1.0, nothing - 1.0
        for number in range(len(places)):
            if number:
                below = below + slope * (places[number] - places[number - 1])
            above = below + jumps[number]
            # Bends are added up apart from the diagonal, which a narrow ramp would otherwise round away.
            bent = bent + bends[number]
            slope = diagonal + bent
            sign_above = sign + 2 * zeros[number]
            trade_above = trade_sign + 2 * trades[number]
            breaks.append(
                _Break(
                    places[number],
                    below,
                    above,
                    1 / slope,
                    sign if has_leverage else None,
                    sign_above if has_leverage else None,
                    trade_sign if has_turnover else None,
                    trade_above if has_turnover else None,
                )
            )
            below, sign, trade_sign = above, sign_above, trade_above
        return Separable(1 / diagonal, tuple(breaks), lower, upper)

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
        x = flexibility = None
        for point in self.breaks:
            below, above = point.below, point.above
            if point.sign_below is not None and point.sign_above is not None:
                assert leverage is not None
                below = below + leverage * point.sign_below
                above = above + leverage * point.sign_above
            if point.trade_below is not None and point.trade_above is not None:
                assert turnover is not None
                below = below + turnover * point.trade_below
                above = above + turnover * point.trade_above
            if x is None or flexibility is None:
                x = point.place + (c - below) * self.first_flexibility
                flexibility = self.first_flexibility
            reached = c >= below
            past = torch.relu(c - above)  # its derivative at 0 is 0: the stuck side
            # A place without a jump leaves an asset free, unless a jump at the same place has it stuck already.
            free = (past > 0) | ((above <= below) & (flexibility > 0))
            x = torch.where(reached, point.place + past * point.flexibility, x)
            flexibility = torch.where(reached, point.flexibility * free, flexibility)
        assert x is not None
        assert flexibility is not None
        inside = (x > self.lower) & (x < self.upper)
        x = torch.minimum(torch.maximum(x, self.lower), self.upper)
        return x, flexibility * inside

    def rows(self, index: Tensor) -> Separable:
        """Return the scalar problems of the rows `index`."""
        return Separable(
            pick_rows(self.first_flexibility, index),
            tuple(
                _Break(*(None if part is None else pick_rows(part, index) for part in vars(point).values()))  # type: ignore[arg-type]
                for point in self.breaks
            ),
            pick_rows(self.lower, index),
            pick_rows(self.upper, index),
        )


def pick_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` of a batch, or the tensor itself when all rows share it."""
    return tensor if tensor.shape[0] == 1 else tensor[index]


def _sorted_by_place(places: list[Tensor], *others: list[Tensor]) -> list[list[Tensor]]:
    """Return all lists with their entries, asset by asset, in the order of `places`; equal places keep theirs."""
    if len(places) == 1:
        return [places, *others]
    if len(places) == 2:
        swap = places[0] > places[1]
        return [
            [torch.where(swap, second, first), torch.where(swap, first, second)] for first, second in (places, *others)
        ]
    place, order = torch.sort(torch.stack(torch.broadcast_tensors(*places)), dim=0, stable=True)
    stacked = [torch.stack(torch.broadcast_tensors(*part)) for part in others]
    shape = torch.broadcast_shapes(order.shape, *(part.shape for part in stacked))
    order = order.expand(shape)
    return [list(place), *(list(part.expand(shape).gather(0, order)) for part in stacked)]
