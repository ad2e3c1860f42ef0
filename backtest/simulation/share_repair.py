"""One book's rounding to whole shares as a problem, and a quick repair that solves most of them.

The quick repair starts from the nearest whole shares and moves names by one lot, one after another, until every limit
is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backtest.simulation.share_limits import QuadraticRow, ShareLimits

__all__ = ["Allowed", "SharesProblem", "quick_repair"]

MOVES = 1000
"""Most moves of a quick repair."""

PAIRED = 30
"""Moves that are tried with each other one where no single one helps: those that help most with what is broken."""

PROGRESS = 1e-9
"""Least excess that a move must remove, or distance, in lots."""


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

    @cached_property
    def largest_lot(self) -> float:
        """Weight of the largest lot of the names that can move; 1 where none can."""
        return float(self.lot[~self.fixed].max(initial=0.0)) or 1.0

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


def quick_repair(
    problem: SharesProblem, near: np.ndarray, bottom: np.ndarray, top: np.ndarray, allowed: Allowed
) -> np.ndarray:
    """Return numbers of lots (N,), most of them the nearest, that keep all limits, or break them less.

    Names are moved by one lot, one after another. Each time it is the move that removes the most excess for what it
    adds to the distance, or, once a single move can remove all excess, the cheapest of those; two names are moved at
    once where no single move removes any. Then those follow that come nearer to the target again.

    Args:
        problem: the row.
        near: (N,) the nearest numbers of lots.
        bottom, top: (N,) the fewest and the most.
        allowed: what must be kept.
    """
    count = near.copy()
    names = np.flatnonzero((top > bottom) & ~problem.fixed)
    moves = _Moves(np.tile(names, 2), np.repeat([1.0, -1.0], len(names)))
    used = allowed.unit > 0
    unit = np.where(used, allowed.unit, 1.0)[:, None]
    n_sums, no_floor = len(allowed.high), np.full(len(allowed.bound), -np.inf)
    low = np.where(used, np.concatenate([allowed.low, no_floor]), -np.inf)[:, None] / unit
    high = np.where(used, np.concatenate([allowed.high, allowed.bound]), np.inf)[:, None] / unit
    change, cost = np.zeros((len(unit), len(moves.name))), np.zeros(len(moves.name))
    stale = np.arange(len(moves.name))
    for _ in range(MOVES):
        x = problem.weights(count)
        value = np.concatenate([problem.limits.by_name(x).sum(axis=1), [q.value(x) for q in problem.limits.quadratics]])
        excess = float(_outside(value[:, None] / unit, low, high)[0])
        change[:n_sums, stale], cost[stale] = moves.of_sums(problem, count, stale, unit[:n_sums])
        for k, limit in enumerate(problem.limits.quadratics):
            change[n_sums + k] = moves.of_quadratic(problem, limit, x) / unit[n_sums + k]
        value = value[:, None] / unit
        after = _outside(value + change, low, high)
        there = count[moves.name] + moves.step
        inside = (there >= bottom[moves.name]) & (there <= top[moves.name])
        best = _best_of(excess, np.where(inside, after, np.inf), cost)
        chosen = [] if best is None else [best]
        if best is None and excess > 0:
            broken = ((value > high) | (value < low))[:, 0]
            relief = excess - _outside((value + change)[broken], low[broken], high[broken])
            one, other = moves.pairs(inside, relief)
            both = change[:, one] + change[:, other]
            for k, limit in enumerate(problem.limits.quadratics):
                both[n_sums + k] += moves.shared(problem, limit, one, other) / unit[n_sums + k]
            best = _best_of(excess, _outside(value + both, low, high), cost[one] + cost[other])
            chosen = [] if best is None else [int(one[best]), int(other[best])]
        if not chosen:
            break
        count[moves.name[chosen]] += moves.step[chosen]
        stale = np.flatnonzero(np.isin(moves.name, moves.name[chosen]))
    return count


def _best_of(excess: float, after: np.ndarray, cost: np.ndarray) -> int | None:
    """Return the best move, given the excess now and after each (C,) and what each adds to the distance (C,)."""
    ends = after == 0
    if excess == 0:
        useful, score = ends & (cost < -PROGRESS), -cost
    else:
        useful = excess - after > PROGRESS
        # At least a hundredth of a lot, so that moves that cost nothing are told apart by what they remove.
        score = (excess - after) / np.maximum(cost + 0.01, 0.01)
        if (useful & ends).any():
            useful, score = useful & ends, -cost
    return int(np.argmax(np.where(useful, score, -np.inf))) if useful.any() else None


@dataclass(frozen=True, eq=False)
class _Moves:
    """All moves of one name by one lot.

    Attributes:
        name: (C,) the name that is moved.
        step: (C,) 1 up, -1 down.
    """

    name: np.ndarray
    step: np.ndarray

    def of_sums(
        self, problem: SharesProblem, count: np.ndarray, some: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what some moves (S,) add to the sums (R, S), in units (R, 1), and to the distance (S,), in lots."""
        names = self.name[some]
        before = count[names] * problem.lot[names]
        after = (count[names] + self.step[some]) * problem.lot[names]
        added = problem.limits.by_name(after, names) - problem.limits.by_name(before, names)
        further = np.abs(after - problem.target[names]) - np.abs(before - problem.target[names])
        return added / unit, further / problem.largest_lot

    def of_quadratic(self, problem: SharesProblem, limit: QuadraticRow, x: np.ndarray) -> np.ndarray:
        """Return what each move adds to a quadratic (C,) at weights `x` (N,)."""
        moved = self.step * problem.lot[self.name]
        return limit.gradient(x)[self.name] * moved + limit.curvature[self.name] * np.square(moved) / 2

    def pairs(self, inside: np.ndarray, relief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both moves of pairs of two names (P,): those with the most relief (C,), each with all others."""
        some = np.argsort(np.where(inside, -relief, np.inf), kind="stable")[:PAIRED]
        some = some[inside[some] & (relief[some] > PROGRESS)]
        one, other = np.repeat(some, inside.sum()), np.tile(np.flatnonzero(inside), len(some))
        different = self.name[one] != self.name[other]
        return one[different], other[different]

    def shared(self, problem: SharesProblem, limit: QuadraticRow, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return what two moves together add to a quadratic beyond what each adds alone, (P,) for pairs of moves."""
        moved = self.step * problem.lot[self.name]
        loadings = limit.loadings
        shared = (loadings[self.name[one]] * loadings[self.name[other]]).sum(axis=1)
        return shared * moved[one] * moved[other]


def _outside(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the summed excess of each column of values (R, C) outside their ranges (R, 1)."""
    total = np.maximum(value - high, 0.0).sum(axis=0)
    # Most limits have no lower side.
    below = np.isfinite(low[:, 0])
    return total + np.maximum(low[below] - value[below], 0.0).sum(axis=0)
