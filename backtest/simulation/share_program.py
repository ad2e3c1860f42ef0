"""Rounding one book to whole shares by integer programs: the exact way, for what the quick repair does not solve.

What a name adds to leverage, to turnover and to the distance from the target is convex in its number of lots. So each
lot above its smallest number is a binary variable of its own, with what that lot adds as its coefficient: linear and
exact, whatever lies between the lots; so is the part of a quadratic limit that is a sum over names. Its other part
enters by its tangents: at the target, and then at each solution that breaks the limit.

Source: outer approximation; Duran & Grossmann (1986), "An outer-approximation algorithm for a class of mixed-integer
nonlinear programs". The programs are solved by HiGHS (Huangfu & Hall 2018, "Parallelizing the dual revised simplex
method").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from backtest.simulation.share_repair import Allowed, SharesProblem

__all__ = ["GAP", "least_excess", "nearest_kept"]

GAP = 1e-3
"""Fraction by which the distance that is found may be above the smallest."""

WORK = 20_000
"""Most branching nodes of one integer program times its variables: a count, not seconds, so that results repeat."""

NEARLY = 0.01
"""Excess, in lots, up to which a tangent stands for its quadratic where limits cannot all be kept."""

NEARNESS = 1e-3
"""How much distance from the target counts beside broken limits, where they cannot all be kept, lot for lot."""

ROUNDS = 20
"""Most integer programs for one question, each with tangents at what the last one broke."""

TIGHTENING = 1e-5
"""By how much, in lots, a limit on a sum is drawn in where the program's own tolerance, 1e-6, let it be broken."""


def nearest_kept(problem: SharesProblem, bottom: np.ndarray, top: np.ndarray, allowed: Allowed) -> np.ndarray | None:
    """Return the numbers of lots (N,) from `bottom` to `top` (N,) nearest to the target that keep all limits.

    None where there are none, or where none is found with so many nodes and rounds.
    """
    program = _Program.start(problem, bottom, top, allowed)
    for _ in range(ROUNDS):
        taken = program.nearest()
        if taken is None:
            return None
        count = program.count(taken)
        excess = allowed.excess(problem.limits, problem.weights(count))
        if not excess.any():
            return count
        program = program.tightened(excess).with_tangents(problem.weights(count))
    return None


def least_excess(problem: SharesProblem, bottom: np.ndarray, top: np.ndarray, allowed: Allowed) -> np.ndarray | None:
    """Return the numbers of lots (N,) that break the limits least; None where none are found.

    What is minimised is the excess of all limits added up, each in the largest lots of its limit, and `NEARNESS` times
    the distance from the target in the largest lots of all names.
    """
    program = _Program.start(problem, bottom, top, allowed)
    found: np.ndarray | None = None
    n_sums = len(allowed.high)
    for _ in range(ROUNDS):
        solved = program.least_broken()
        if solved is None:
            break
        taken, slack = solved
        found = program.count(taken)
        excess = allowed.excess(problem.limits, problem.weights(found))
        if (excess[n_sums:] <= slack[n_sums:] + NEARLY).all():
            break
        program = program.with_tangents(problem.weights(found))
    return found


@dataclass(frozen=True, eq=False)
class _Program:
    """`low <= matrix z <= high` over binary z (C,), each row in the largest lots of its limit.

    Attributes:
        problem: the row.
        allowed: what must be kept.
        bottom: (N,) the smallest number of lots of each name.
        name: (C,) which name each variable is one more lot of.
        below, above: (C,) weight of the name without and with that lot.
        cost: (C,) what each adds to the distance, in the largest lot.
        offset: the distance at `bottom`, in the largest lot.
        matrix: (M, C).
        low, high: (M,).
        limit: (M,) number of the limit, of R + Q, that each row is of; all tangents of a quadratic are of one.
    """

    problem: SharesProblem
    allowed: Allowed
    bottom: np.ndarray
    name: np.ndarray
    below: np.ndarray
    above: np.ndarray
    cost: np.ndarray
    offset: float
    matrix: np.ndarray
    low: np.ndarray
    high: np.ndarray
    limit: np.ndarray

    @classmethod
    def start(cls, problem: SharesProblem, bottom: np.ndarray, top: np.ndarray, allowed: Allowed) -> _Program:
        """Return the program with the sums and the tangents at the target."""
        many = np.where(problem.fixed, 0, top - bottom).astype(int)
        name = np.repeat(np.arange(len(many)), many)
        number = bottom[name] + np.arange(len(name)) - np.repeat(np.cumsum(many) - many, many)
        lot, target = problem.lot[name], problem.target[name]
        below, above = number * lot, (number + 1) * lot
        added = problem.limits.by_name(above, name) - problem.limits.by_name(below, name)
        size = problem.lot[~problem.fixed].max(initial=0.0) or 1.0
        used = np.flatnonzero(allowed.unit[: len(allowed.high)] > 0)
        unit = allowed.unit[used]
        start = problem.limits.by_name(problem.weights(bottom)).sum(axis=1)
        program = cls(
            problem=problem,
            allowed=allowed,
            bottom=bottom,
            name=name,
            below=below,
            above=above,
            cost=(np.abs(above - target) - np.abs(below - target)) / size,
            offset=problem.distance(bottom) / size,
            matrix=added[used] / unit[:, None],
            low=(allowed.low - start)[used] / unit,
            high=(allowed.high - start)[used] / unit,
            limit=used,
        )
        return program.with_tangents(np.clip(problem.target, problem.weights(bottom), problem.weights(top)))

    def count(self, taken: np.ndarray) -> np.ndarray:
        """Return the numbers of lots (N,) of the variables (C,)."""
        return self.bottom + np.bincount(self.name, weights=taken, minlength=len(self.bottom))

    def with_tangents(self, x: np.ndarray) -> _Program:
        """Return the program with the tangents of all quadratics at weights `x` (N,)."""
        problem, allowed, program = self.problem, self.allowed, self
        start, n_sums = problem.weights(self.bottom), len(allowed.high)
        for k, limit in enumerate(problem.limits.quadratics):
            unit = allowed.unit[n_sums + k]
            if unit > 0:
                # Of `s(z) + 1/2 |G'z|^2`, `s` a sum over names: s stays, the rest is replaced by its tangent at x.
                slope = limit.shared_gradient(x)
                curved = limit.value(x) - limit.by_name(x).sum()
                room = allowed.bound[k] - limit.by_name(start).sum() - curved - (slope * (start - x)).sum()
                added = limit.by_name(self.above, self.name) - limit.by_name(self.below, self.name)
                program = replace(
                    program,
                    matrix=np.vstack([program.matrix, (added + slope[self.name] * (self.above - self.below)) / unit]),
                    low=np.append(program.low, -np.inf),
                    high=np.append(program.high, room / unit),
                    limit=np.append(program.limit, n_sums + k),
                )
        return program

    def tightened(self, excess: np.ndarray) -> _Program:
        """Return the program with less room on the sums that were broken, given the excess of all limits (R + Q,)."""
        broken = (excess > 0) & (np.arange(len(excess)) < len(self.allowed.high))
        by = np.where(broken, excess + TIGHTENING, 0.0)[self.limit]
        return replace(self, low=self.low + by, high=self.high - by)

    def nearest(self) -> np.ndarray | None:
        """Return the variables (C,) of the smallest distance with all rows kept."""
        solved = self._solve(1.0, np.zeros((len(self.matrix), 0)))
        return None if solved is None else np.rint(solved[: len(self.name)])

    def least_broken(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the variables (C,) that break the rows least, and by how much each limit is broken (R + Q,)."""
        n_limits, n_steps = len(self.allowed.unit), len(self.name)
        slack = (self.limit[:, None] == np.arange(n_limits)).astype(float)
        solved = self._solve(NEARNESS, np.hstack([-slack, slack]))
        if solved is None:
            return None
        above, below = solved[n_steps + 1 :].reshape(2, n_limits)
        return np.rint(solved[:n_steps]), above + below

    def _solve(self, nearness: float, slack: np.ndarray) -> np.ndarray | None:
        """Minimise `nearness` times the distance plus the sum of slacks, which add `slack` (M, S) to the rows.

        Returns:
            (C + 1 + S,) the variables, a 1, and the slacks; None where nothing is found.
        """
        n_steps, n_slacks = len(self.name), slack.shape[1]
        # The variable that is 1 carries the distance at `bottom`, so that the gap counts relative to all distance.
        result = milp(
            np.concatenate([nearness * self.cost, [nearness * self.offset], np.ones(n_slacks)]),
            integrality=np.append(np.ones(n_steps), np.zeros(1 + n_slacks)),
            bounds=Bounds(
                np.concatenate([np.zeros(n_steps), [1.0], np.zeros(n_slacks)]),
                np.append(np.ones(n_steps + 1), np.full(n_slacks, np.inf)),
            ),
            constraints=LinearConstraint(
                sparse.csc_matrix(np.hstack([self.matrix, np.zeros((len(self.matrix), 1)), slack])), self.low, self.high
            ),
            options={"node_limit": max(WORK // max(n_steps, 1), 1), "mip_rel_gap": GAP},
        )
        return result.x
