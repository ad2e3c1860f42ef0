"""One book's rounding to whole shares as a problem, and a quick repair that solves most of them.

The quick repair starts from the nearest whole shares and rounds names the other way, one after another, until every
limit is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.simulation.share_limits import ShareLimits

__all__ = ["Allowed", "SharesProblem", "quick_repair"]

FLIPS = 200
"""Most names that a quick repair rounds the other way."""

PROGRESS = 1e-9
"""Least excess, in lots, that rounding a name the other way must remove."""


@dataclass(frozen=True, eq=False)
class SharesProblem:
    """One row.

    Attributes:
        target: (N,) weights to come near to.
        lot: (N,) weight of one lot.
        fixed: (N,) bool, names that stay at the weight held.
        limits: what must be kept.
    """

    target: np.ndarray
    lot: np.ndarray
    fixed: np.ndarray
    limits: ShareLimits

    def weights(self, count: np.ndarray) -> np.ndarray:
        """Return the weights (N,) of numbers of lots (N,)."""
        return np.where(self.fixed, self.limits.held, count * self.lot)

    def distance(self, count: np.ndarray) -> float:
        """Return the value that lies between numbers of lots (N,) and the target, a fraction of wealth."""
        return float(np.abs(self.weights(count) - self.target).sum())


@dataclass(frozen=True, eq=False)
class Allowed:
    """The range in which each limit of a row counts as kept.

    Attributes:
        low, high: (R,) of the sums.
        bound: (Q,) of the quadratics.
        unit: (R + Q,) what the largest lot moves each by; 0 where rounding cannot move it, and it is left out.
    """

    low: np.ndarray
    high: np.ndarray
    bound: np.ndarray
    unit: np.ndarray

    def excess(self, limits: ShareLimits, x: np.ndarray) -> np.ndarray:
        """Return by how much weights `x` (N,) are outside each range (R + Q,), in the largest lots of its limit."""
        value = limits.by_name(x).sum(axis=1)
        sums = np.maximum(value - self.high, self.low - value)
        curved = [limit.value(x) - bound for limit, bound in zip(limits.quadratics, self.bound, strict=True)]
        beyond = np.maximum(np.concatenate([sums, curved]), 0.0)
        return np.where(self.unit > 0, beyond, 0.0) / np.where(self.unit > 0, self.unit, 1.0)


def quick_repair(problem: SharesProblem, near: np.ndarray, other: np.ndarray, allowed: Allowed) -> np.ndarray | None:
    """Return numbers of lots (N,) that keep all limits, most of them the nearer ones; None where it finds none.

    Of all names, the one is rounded the other way that removes the most excess for what it adds to the distance, or,
    once a single name can remove all excess, the cheapest of those; and so on.

    Args:
        problem: the row.
        near, other: (N,) the two numbers of lots between which each name can choose, the nearer first.
        allowed: what must be kept.
    """
    limits = problem.limits
    if not allowed.excess(limits, problem.weights(near)).any():
        return near
    free = np.flatnonzero((near != other) & ~problem.fixed)
    if not len(free):
        return None
    x = problem.weights(near)
    moved = problem.weights(other)[free] - x[free]
    cost = np.abs(x[free] + moved - problem.target[free]) - np.abs(x[free] - problem.target[free])
    cost = cost / problem.lot[free].max()

    n_sums, used = len(allowed.high), allowed.unit > 0
    unit = np.where(used, allowed.unit, 1.0)[:, None]
    low = np.where(used, np.concatenate([allowed.low, np.full(len(allowed.bound), -np.inf)]), -np.inf)[:, None] / unit
    high = np.where(used, np.concatenate([allowed.high, allowed.bound]), np.inf)[:, None] / unit
    before = limits.by_name(x)
    value = np.concatenate([before.sum(axis=1), [limit.value(x) for limit in limits.quadratics]])[:, None] / unit
    change = np.zeros((len(unit), len(free)))
    change[:n_sums] = (limits.by_name(x[free] + moved, free) - before[:, free]) / unit[:n_sums]
    flipped = np.zeros(len(free), dtype=bool)

    for _ in range(FLIPS):
        excess = float(_outside(value, low, high)[0])
        if excess == 0:
            return np.where(np.isin(np.arange(len(near)), free[flipped]), other, near)
        for k, limit in enumerate(limits.quadratics):
            slope = limit.gradient(x)[free] + limit.curvature[free] * moved / 2
            change[n_sums + k] = slope * moved / unit[n_sums + k]
        after = _outside(value + change, low, high)
        gain = excess - after
        if not (gain > PROGRESS).any():
            return None
        ends = after == 0
        # At least a hundredth of a lot, so that names that cost nothing are told apart by what they remove.
        score = np.where(ends, -cost, -np.inf) if ends.any() else gain / np.maximum(cost + 0.01, 0.01)
        best = int(np.argmax(np.where(gain > PROGRESS, score, -np.inf)))
        value = value + change[:, [best]]
        x[free[best]] += moved[best]
        moved[best], cost[best], flipped[best] = -moved[best], -cost[best], not flipped[best]
        change[:, best] = -change[:, best]
    return None


def _outside(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the summed excess of each column of values (R, C) outside their ranges (R, 1)."""
    return (np.maximum(value - high, 0.0) + np.maximum(low - value, 0.0)).sum(axis=0)
