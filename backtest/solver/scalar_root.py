"""Roots of increasing scalar functions, batched: where a curved segment earns what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from backtest.costs import Curve

__all__ = ["root_beyond"]

ITERATIONS = 200
CLOSE = 9e-16
"""Residual at which a root is found, relative to what it must make up and to the slope at its anchor, from which it
is counted: a few units of rounding."""


def root_beyond(
    curves: Sequence[Curve], *, anchor: Tensor, need: Tensor, slope: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `t` with `slope t + sum of curve'(anchor + t) - curve'(anchor) = need`, and dt/dneed, both (B, N).

    `t` has the sign of `need`. Newton's method inside a bracket: a step that leaves the bracket, or follows one that
    did not halve the residual, is replaced by a bisection. Where the function jumps over `need` inside the bracket, at
    a kink that the curve does not declare, the root is the place of the jump, and dt/dneed is 0.

    Args:
        curves: convex; smooth on the segment.
        anchor: (B, N) end of the segment.
        need: (B, N); 0 where there is nothing to find.
        slope: (B, N), above 0.
        longest: (B, N) length of the segment, or infinite.
    """
    sign = torch.sign(need)
    size = need.abs()
    start = anchor - torch.zeros_like(need)
    at_anchor = [curve.sides(start) for curve in curves]
    origin = sum((torch.where(sign < 0, below, above) for below, above in at_anchor), torch.zeros_like(size))

    def excess(distance: Tensor) -> tuple[Tensor, Tensor]:
        total, bent = slope * distance - size, slope + torch.zeros_like(distance)
        at, bend = -origin, torch.zeros_like(distance)
        for curve in curves:
            value, curvature = curve.slope_and_curvature(anchor + sign * distance)
            at, bend = at + value, bend + curvature
        return total + sign * at, bent + bend

    with torch.no_grad():
        t, gap = _bracketed(excess, CLOSE * (size + origin.abs()), torch.minimum(size / slope, longest))
        value, steep = excess(t)
        free = torch.where(torch.isfinite(steep), 1 / steep, 0.0)
        free = torch.where((gap <= 1e-12 * t) & (value.abs() > 1e-9 * size), 0.0, free)
    if torch.is_grad_enabled():
        # Steps whose value is nil carry the graph: after two of them derivatives are exact to the second order.
        for _ in range(2):
            t = t - free * excess(t)[0]
    return sign * t, free


def _bracketed(
    excess: Callable[[Tensor], tuple[Tensor, Tensor]], close: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the root of `excess` in [0, longest], up to a value of `close`, and the length of its bracket, (B, N)."""
    low, high = torch.zeros_like(close), longest
    t, last = high, torch.full_like(close, torch.inf)
    for count in range(ITERATIONS):
        value, steep = excess(t)
        done = (value.abs() <= close) | (high - low <= CLOSE * high)
        if bool(done.all()):
            break
        low, high = torch.where(value < 0, t, low), torch.where(value >= 0, t, high)
        newton = t - value / steep
        slow = value.abs() > 0.5 * last
        bisect = slow | (newton <= low) | (newton >= high) | torch.isnan(newton)
        last = torch.where(slow, torch.inf, value.abs())
        # The bracket may span magnitudes: then its geometric mean, or a step towards 0.
        middle = torch.where(low > 0, torch.sqrt(low * high), 0.5 * high if count % 4 else 1e-3 * high)
        middle = torch.where(high > 4 * low, middle, 0.5 * (low + high))
        t = torch.where(done, t, torch.where(bisect, middle, newton))
    return t, high - low
