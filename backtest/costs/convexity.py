"""Proof that a function is not convex: two points between which it rises above their mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.curves import Curve

__all__ = ["NotConvex", "proof_of_nonconvexity", "proof_on_lines", "shown"]

PIECES = 32
"""Equal pieces that an interval is cut into, at each of so many rounds."""

ROUNDS = 8

PLAIN = 1e-6
"""Share of the cost by which the middle is above the mean, from which on no more proof is needed."""

FAINT = 1e-12
"""The least such share, where the slope falls as well."""

MOST_SHOWN = 20

FALL = 1e-9
"""A slope falls when it does so by more than this share of its size."""


@dataclass(frozen=True)
class NotConvex:
    """Two weights `low < high` of one asset, and the weight half-way, whose cost is above the mean of the two.

    Attributes:
        row, asset: which of the (B, N) functions.
        low, high: weights.
        cost_low, cost_middle, cost_high: costs at `low`, `(low + high) / 2` and `high`.
    """

    row: int
    asset: int
    low: float
    high: float
    cost_low: float
    cost_middle: float
    cost_high: float

    @property
    def middle(self) -> float:
        """The weight half-way."""
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return self.told(f"asset {self.asset} (row {self.row})")

    def told(self, name: str) -> str:
        """Return the proof in words, with the function under `name`."""
        mean = (self.cost_low + self.cost_high) / 2
        return (
            f"{name} costs {self.cost_low!r} at weight {self.low!r} and "
            f"{self.cost_high!r} at {self.high!r}, but {self.cost_middle!r} at {self.middle!r} half-way, above their "
            f"mean {mean!r}"
        )

    def along(self, base: Tensor, direction: Tensor) -> str:
        """Return the proof in words, where a weight `t` stands for the weights `base + t direction`, both (1, N)."""
        low, high = (shown((base + t * direction)[0]) for t in (self.low, self.high))
        mean = (self.cost_low + self.cost_high) / 2
        return (
            f"it costs {self.cost_low!r} at weights {low} and {self.cost_high!r} at {high}, but {self.cost_middle!r} "
            f"half-way, above their mean {mean!r}"
        )


def shown(point: Tensor) -> str:
    """Return weights (N,) as text, the first few of many."""
    numbers = [f"{weight:.9g}" for weight in point[:MOST_SHOWN].tolist()]
    return f"({', '.join(numbers)}{', ...' if len(point) > MOST_SHOWN else ''})"


def proof_of_nonconvexity(curve: Curve, low: Tensor, high: Tensor) -> NotConvex | None:
    """Return two weights that prove a curve not convex between `low` and `high`, or None where none were found.

    Args:
        curve: of (B, N) functions.
        low, high: (B, N) ends of the intervals to search, `low <= high`; elsewhere than at a falling slope equal.
    """
    return proof_on_lines(curve.value, curve.slope, low, high)


def proof_on_lines(
    value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> NotConvex | None:
    """Return two places that prove one of (B, N) scalar functions not convex, or None where none were found.

    Each interval is cut into equal pieces, all triples of evenly spaced ends are tried, and the piece over which the
    slope falls most is cut again.

    Args:
        value, slope: take places (B, N) and return the functions and their derivatives there.
        low, high: (B, N) ends of the intervals to search.
    """
    with torch.no_grad():
        for _ in range(ROUNDS):
            share = torch.linspace(0, 1, PIECES + 1, dtype=low.dtype, device=low.device)
            places = torch.stack([low + (high - low) * float(part) for part in share])
            values = torch.stack([value(place) for place in places])
            slopes = torch.stack([slope(place) for place in places])
            proof = _proof_on_grid(places, values, slopes)
            if proof is not None:
                return proof
            falls = (slopes[:-1] - slopes[1:]).argmax(0, keepdim=True)
            low, high = places[:-1].gather(0, falls)[0], places[1:].gather(0, falls)[0]
    return None


def _proof_on_grid(places: Tensor, values: Tensor, slopes: Tensor) -> NotConvex | None:
    """Return the clearest proof among evenly spaced places (P + 1, B, N)."""
    best, proof = 0.0, None
    stride = 1
    while 2 * stride < len(places):
        low, middle, high = values[: -2 * stride], values[stride:-stride], values[2 * stride :]
        size = torch.stack([low.abs(), middle.abs(), high.abs()]).amax(0)
        share = torch.where(size > 0, (middle - (low + high) / 2) / size, 0.0)
        left, right = slopes[: -2 * stride], slopes[2 * stride :]
        falls = left - right > FALL * torch.maximum(left.abs(), right.abs())
        ends, far = places[: -2 * stride], places[2 * stride :]
        proven = (far > ends) & ((share > PLAIN) | ((share > FAINT) & falls))
        share = torch.where(proven, share, 0.0)
        if bool(proven.any()) and float(share.max()) > best:
            best = float(share.max())
            at = tuple(int(i) for i in torch.nonzero(share == best)[0])
            numbers = (float(part[at]) for part in (ends, far, low, middle, high))
            proof = NotConvex(at[1], at[2], *numbers)
        stride *= 2
    return proof
