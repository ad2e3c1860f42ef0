"""Rounding one book to whole shares by integer programs: the exact way, for what the quick repair does not solve.

What a name adds to leverage, to turnover and to the distance from the target is convex in its number of lots, and
linear but for kinks at 0, at the holding and at the target. So its lots are counted in runs from kink to kink, each an
integer variable with what a lot of it adds as its coefficient: linear and exact, wherever in a lot the kink lies.
Quadratic limits enter by tangents: at the target, at the solutions in parts of lots, which are found fast, and then at
each solution that breaks one. Where all runs are single lots, the part of a quadratic that is a sum over names is exact
as well, and tangents stand for the other part alone.

Source: outer approximation; Duran & Grossmann (1986), "An outer-approximation algorithm for a class of mixed-integer
nonlinear programs". The programs are solved by HiGHS (Huangfu & Hall 2018, "Parallelizing the dual revised simplex
method").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from backtest.simulation.share_repair import Allowed, SharesProblem

__all__ = ["GAP", "least_excess", "nearest_kept"]

GAP = 1e-3
"""Fraction by which the distance that is found may be above the smallest."""

WORK = 3_000
"""Most branching nodes of one program times its variables: a count, not seconds, so that results repeat."""

ROUNDS = 8
"""Most programs in whole lots for one question, each with tangents at what the last broke; fewer with few nodes."""

BENDS = 30
"""Most programs in parts of lots for one question, each with tangents at what the last one broke."""

TIGHTENING = 1e-5
"""By how much, in lots, a limit on a sum is drawn in where the program's own tolerance, 1e-6, let it be broken."""

NEARLY = 0.01
"""Excess, in lots, up to which tangents stand for a quadratic."""

NEARNESS = 1e-3
"""How much distance from the target counts beside broken limits, where they cannot all be kept, lot for lot."""


def nearest_kept(problem: SharesProblem, bottom: np.ndarray, top: np.ndarray, allowed: Allowed) -> np.ndarray | None:
    """Return the numbers of lots (N,) from `bottom` to `top` (N,) nearest to the target that keep all limits.

    None where there are none, or where none is found with so many nodes and rounds.
    """
    start = _Program.start(problem, bottom, top, allowed)
    program = start.bent(nearness=1.0, elastic=False)
    for _ in range(start.rounds):
        solved = None if program is None else program.solve(nearness=1.0, elastic=False)
        if program is None or solved is None:
            return None
        count = bottom + np.rint(program.lots(solved[0]))
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
    start = _Program.start(problem, bottom, top, allowed)
    program = start.bent(nearness=NEARNESS, elastic=True)
    found: np.ndarray | None = None
    for _ in range(start.rounds):
        solved = None if program is None else program.solve(nearness=NEARNESS, elastic=True)
        if program is None or solved is None:
            break
        found = bottom + np.rint(program.lots(solved[0]))
        if program.is_bent_at(problem.weights(found), solved[1]):
            break
        program = program.with_tangents(problem.weights(found))
    return found


@dataclass(frozen=True, eq=False)
class _Program:
    """`low <= matrix z <= high` over whole numbers z (C,), each row in the largest lots of its limit.

    Attributes:
        problem: the row.
        allowed: what must be kept.
        bottom: (N,) the smallest number of lots of each name.
        name: (C,) which name each variable is a run of lots of.
        length: (C,) lots in the run, the most that the variable can be.
        below, above: (C,) weight of the name at both ends of the run.
        cost: (C,) what a lot of each adds to the distance, in the largest lot.
        offset: the distance at `bottom`, in the largest lot.
        matrix: (M, C).
        low, high: (M,).
        limit: (M,) number of the limit, of R + Q, that each row is of; all tangents of a quadratic are of one.
    """

    problem: SharesProblem
    allowed: Allowed
    bottom: np.ndarray
    name: np.ndarray
    length: np.ndarray
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
        name, first, last = _runs(problem, bottom, np.where(problem.fixed, bottom, top))
        length = last - first
        target = problem.target[name]
        below, above = first * problem.lot[name], last * problem.lot[name]
        added = (problem.limits.by_name(above, name) - problem.limits.by_name(below, name)) / length
        used = np.flatnonzero(allowed.unit[: len(allowed.high)] > 0)
        unit = allowed.unit[used]
        start = problem.limits.by_name(problem.weights(bottom)).sum(axis=1)
        program = cls(
            problem=problem,
            allowed=allowed,
            bottom=bottom,
            name=name,
            length=length,
            below=below,
            above=above,
            cost=(np.abs(above - target) - np.abs(below - target)) / length / problem.largest_lot,
            offset=problem.distance(bottom) / problem.largest_lot,
            matrix=added[used] / unit[:, None],
            low=(allowed.low - start)[used] / unit,
            high=(allowed.high - start)[used] / unit,
            limit=used,
        )
        return program.with_tangents(np.clip(problem.target, problem.weights(bottom), problem.weights(top)))

    @property
    def nodes(self) -> int:
        """Most branching nodes."""
        return max(WORK // max(len(self.name), 1), 1)

    @property
    def rounds(self) -> int:
        """Most programs in whole numbers."""
        return min(ROUNDS, max(self.nodes, 2))

    def lots(self, taken: np.ndarray) -> np.ndarray:
        """Return the lots above `bottom` (N,) of variables (C,)."""
        return np.bincount(self.name, weights=taken, minlength=len(self.bottom))

    def is_bent_at(self, x: np.ndarray, slack: np.ndarray) -> bool:
        """Whether tangents stand for all quadratics at weights `x` (N,), given the room (R + Q,) that limits get."""
        n_sums = len(self.allowed.high)
        return bool((self.allowed.excess(self.problem.limits, x) <= slack + NEARLY)[n_sums:].all())

    def bent(self, *, nearness: float, elastic: bool) -> _Program | None:
        """Return the program with the tangents at its solutions in parts of lots; None where it has none."""
        program = self
        for _ in range(BENDS if self.problem.limits.quadratics else 0):
            solved = program.solve(nearness=nearness, elastic=elastic, whole=False)
            if solved is None:
                return None
            x = self.problem.weights(self.bottom + self.lots(solved[0]))
            if program.is_bent_at(x, solved[1]):
                break
            program = program.with_tangents(x)
        return program

    def with_tangents(self, x: np.ndarray) -> _Program:
        """Return the program with the tangents of all quadratics at weights `x` (N,)."""
        problem, allowed, program = self.problem, self.allowed, self
        start, n_sums = problem.weights(self.bottom), len(allowed.high)
        single = bool((self.length == 1).all())
        for k, limit in enumerate(problem.limits.quadratics):
            unit = allowed.unit[n_sums + k]
            if unit > 0:
                # Of `s(z) + 1/2 |G'z|^2`, `s` a sum over names, either all or all but s is replaced by its tangent.
                slope = limit.shared_gradient(x) if single else limit.gradient(x)
                at_x, at_start = (limit.by_name(each).sum() if single else 0.0 for each in (x, start))
                room = allowed.bound[k] - at_start - (limit.value(x) - at_x) - (slope * (start - x)).sum()
                added = slope[self.name] * (self.above - self.below)
                if single:
                    added = added + limit.by_name(self.above, self.name) - limit.by_name(self.below, self.name)
                program = replace(
                    program,
                    matrix=np.vstack([program.matrix, added / self.length / unit]),
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

    def solve(self, *, nearness: float, elastic: bool, whole: bool = True) -> tuple[np.ndarray, np.ndarray] | None:
        """Minimise `nearness` times the distance, with all rows kept, or, `elastic`, plus how much they are broken.

        Returns:
            The variables (C,), whole numbers of lots or parts of them, and by how much each limit may be broken
            (R + Q,); None where nothing is found.
        """
        # Imported here: scipy's optimisers are slow to load, and most runs round without a program.
        from scipy.optimize import Bounds, LinearConstraint, milp

        n_runs, n_limits = len(self.name), len(self.allowed.unit)
        one = np.zeros((len(self.matrix), 1))
        slack = (self.limit[:, None] == np.arange(n_limits if elastic else 0)).astype(float)
        n_slacks = 2 * slack.shape[1]
        # The variable that is 1 carries the distance at `bottom`, so that the gap counts relative to all distance.
        result = milp(
            np.concatenate([nearness * self.cost, [nearness * self.offset], np.ones(n_slacks)]),
            integrality=np.append(np.full(n_runs, float(whole)), np.zeros(1 + n_slacks)),
            bounds=Bounds(
                np.concatenate([np.zeros(n_runs), [1.0], np.zeros(n_slacks)]),
                np.concatenate([self.length, [1.0], np.full(n_slacks, np.inf)]),
            ),
            constraints=LinearConstraint(
                sparse.csc_matrix(np.hstack([self.matrix, one, -slack, slack])), self.low, self.high
            ),
            options={"node_limit": self.nodes, "mip_rel_gap": GAP},
        )
        if result.x is None:
            return None
        above, below = result.x[n_runs + 1 :].reshape(2, -1)
        return result.x[:n_runs], above + below if elastic else np.zeros(n_limits)


def _runs(problem: SharesProblem, bottom: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (name, fewest lots, most lots) (C,) of each run of lots between kinks, the lots with a kink alone."""
    kinks = np.vstack([np.zeros(len(bottom)), problem.limits.held / problem.lot, problem.target / problem.lot])
    ends = np.sort(np.clip(np.vstack([np.floor(kinks), np.ceil(kinks), bottom, top]), bottom, top), axis=0)
    number, name = np.nonzero((ends[1:] > ends[:-1]).T)[::-1]
    return name, ends[number, name], ends[number + 1, name]
