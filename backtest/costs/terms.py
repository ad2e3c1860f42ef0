"""What a cost or a constraint is made of: the pieces of the canonical problem.

The canonical problem of one row of a batch (p, x, held in R^N) is

    minimise_x  -p'x + l'x + 1/2 |G'x|^2 + 1/2 sum_i d_i x_i^2 + sum_i phi_i(x_i)
    subject to  A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper

with `phi_i` convex, its derivative piecewise linear: a sum of ramps. Every cost lowers itself to `CostTerms`, every
constraint to `LimitTerms`; the solver adds them up. Shapes: `(B, ...)`, or `(1, ...)` for what all rows share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["CostTerms", "LimitTerms", "Ramp"]


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

    def scaled(self, weight: float | Tensor) -> Ramp:
        """Return the ramp of `weight` times this function."""
        return Ramp(self.start, self.left * weight, self.right * weight, self.end)

    def widened(self, width: float | Tensor) -> Ramp:
        """Return a kink smoothed over `width` weights on each side (Huber); a ramp that is smooth stays as it is."""
        if self.end is not None:
            return self
        return Ramp(self.start - width, self.left, self.right, self.start + width)


@dataclass(frozen=True)
class CostTerms:
    """The pieces that a cost adds to the canonical objective. A missing piece is None or empty.

    Attributes:
        linear: (B | 1, N), `l`.
        diagonal: (B | 1, N), `d`, not negative.
        loadings: each (B | 1, N, k), columns of `G`.
        ramps: the separable pieces `phi`.
    """

    linear: Tensor | None = None
    diagonal: Tensor | None = None
    loadings: tuple[Tensor, ...] = ()
    ramps: tuple[Ramp, ...] = ()

    def scaled(self, weight: float | Tensor) -> CostTerms:
        """Return the terms of `weight` times the cost; `weight` is not negative."""
        root = torch.sqrt(weight) if isinstance(weight, Tensor) else weight**0.5
        return CostTerms(
            linear=None if self.linear is None else self.linear * weight,
            diagonal=None if self.diagonal is None else self.diagonal * weight,
            loadings=tuple(
                block * (root.unsqueeze(-1) if isinstance(root, Tensor) and root.ndim else root)
                for block in self.loadings
            ),
            ramps=tuple(ramp.scaled(weight) for ramp in self.ramps),
        )


@dataclass(frozen=True)
class LimitTerms:
    """The pieces that a constraint adds to the canonical problem. A missing piece is None.

    Attributes:
        lower, upper: (B | 1, N) limits on each weight.
        equality: ((B | 1, m, N), (B | 1, m)): `A` and `b` of `A x = b`.
        inequality: ((B | 1, q, N), (B | 1, q)): `E` and `e` of `E x <= e`.
        leverage: (B | 1,) limit on `|x|_1`.
        turnover: (B | 1,) limit on `|x - held|_1`.
    """

    lower: Tensor | None = None
    upper: Tensor | None = None
    equality: tuple[Tensor, Tensor] | None = field(default=None)
    inequality: tuple[Tensor, Tensor] | None = field(default=None)
    leverage: Tensor | None = None
    turnover: Tensor | None = None
