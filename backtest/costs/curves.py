"""Smooth separable pieces of a cost whose curvature varies: powers, rounded absolute values, a user's own function.

Each is a convex scalar function an asset, its slope continuous and rising. Shapes are (B | 1, N); `x` is (B, N).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Curve", "Power", "Root", "pick_rows"]


class Curve(ABC):
    """A convex scalar function of each weight, with its first two derivatives."""

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """Return its first derivative at `x` (B, N)."""

    @abstractmethod
    def curvature(self, x: Tensor) -> Tensor:
        """Return its second derivative at `x` (B, N); may be infinite where the slope is vertical."""

    def slope_and_curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both derivatives at `x` (B, N); one pass where that is cheaper."""
        return self.slope(x), self.curvature(x)

    def sides(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slope just below and just above `place` (B, N)."""
        slope = self.slope(place)
        return slope, slope

    @abstractmethod
    def scaled(self, weight: float | Tensor) -> Curve:
        """Return `weight`, a number of at least 0 or (B | 1, N), times this function."""

    @abstractmethod
    def shifted(self, by: Tensor) -> Curve:
        """Return the function of `x - by`, with `by` (B | 1, N) a weight by asset."""

    @property
    def breaks(self) -> tuple[Tensor, ...]:
        """Places (B | 1, N) where the slope may jump or be vertical; between them the function is smooth."""
        return ()

    @abstractmethod
    def rows(self, index: Tensor) -> Curve:
        """Return the function of the rows `index` of the batch, whole numbers (n,) or bool (B,)."""


@dataclass(frozen=True)
class Power(Curve):
    """`weight |x - centre|^exponent`, `1 < exponent < 2`: market impact.

    Attributes:
        centre: (B | 1, N).
        weight: (B | 1, N), at least 0.
        exponent: one for all assets.
    """

    centre: Tensor
    weight: Tensor
    exponent: float

    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""
        return self.weight * (x - self.centre).abs().pow(self.exponent)

    def slope(self, x: Tensor) -> Tensor:
        """Return its first derivative at `x` (B, N)."""
        away = x - self.centre
        # The distance is kept from 0, where the power has no finite derivative of its own for a graph.
        distance = away.abs().clamp(min=torch.finfo(x.dtype).tiny)
        return self.exponent * self.weight * torch.sign(away) * distance.pow(self.exponent - 1)

    def curvature(self, x: Tensor) -> Tensor:
        """Return its second derivative at `x` (B, N): infinite at the centre, unless the weight is 0."""
        away = (x - self.centre).abs()
        curvature = self.exponent * (self.exponent - 1) * self.weight * away.pow(self.exponent - 2)
        return torch.where(self.weight > 0, curvature, 0.0)

    def scaled(self, weight: float | Tensor) -> Power:
        """Return `weight`, a number of at least 0 or (B | 1, N), times this function."""
        return replace(self, weight=self.weight * weight)

    def shifted(self, by: Tensor) -> Power:
        """Return the function of `x - by`, with `by` (B | 1, N) a weight by asset."""
        return replace(self, centre=self.centre + by)

    @property
    def breaks(self) -> tuple[Tensor, ...]:
        """The centre, where the slope is vertical."""
        return (self.centre,)

    def rows(self, index: Tensor) -> Power:
        """Return the function of the rows `index` of the batch, whole numbers (n,) or bool (B,)."""
        return replace(self, centre=pick_rows(self.centre, index), weight=pick_rows(self.weight, index))


@dataclass(frozen=True)
class Root(Curve):
    """`weight (sqrt((x - centre)^2 + width^2) - width)`: an absolute value without its kink.

    Attributes:
        centre: (B | 1, N).
        weight: (B | 1, N), at least 0.
        width: (B | 1, N), more than 0.
    """

    centre: Tensor
    weight: Tensor
    width: Tensor

    def value(self, x: Tensor) -> Tensor:
        """Return the function at weights `x` (B, N)."""
        away = x - self.centre
        # Not sqrt(.) - width, which near the centre is a difference of almost equal numbers.
        return self.weight * away.square() / (torch.sqrt(away.square() + self.width.square()) + self.width)

    def slope(self, x: Tensor) -> Tensor:
        """Return its first derivative at `x` (B, N)."""
        away = x - self.centre
        return self.weight * away / torch.sqrt(away.square() + self.width.square())

    def curvature(self, x: Tensor) -> Tensor:
        """Return its second derivative at `x` (B, N)."""
        reach = torch.sqrt((x - self.centre).square() + self.width.square())
        return self.weight * self.width.square() / (reach * reach * reach)

    def scaled(self, weight: float | Tensor) -> Root:
        """Return `weight`, a number of at least 0 or (B | 1, N), times this function."""
        return replace(self, weight=self.weight * weight)

    def shifted(self, by: Tensor) -> Root:
        """Return the function of `x - by`, with `by` (B | 1, N) a weight by asset."""
        return replace(self, centre=self.centre + by)

    def rows(self, index: Tensor) -> Root:
        """Return the function of the rows `index` of the batch, whole numbers (n,) or bool (B,)."""
        return replace(
            self,
            centre=pick_rows(self.centre, index),
            weight=pick_rows(self.weight, index),
            width=pick_rows(self.width, index),
        )


def pick_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` of a batch, or the tensor itself when all rows share it."""
    return tensor if tensor.shape[0] == 1 else tensor[index]
