"""Costs and limits of a plan as CVXPY expressions of its weights, or its trades, in every step; numbers are parameters.

A parameter comes with the function that reads its value from a plan, so that a program is filled by the code it was
built by. Weights are in units of `plan.size`, costs in units of `plan.price plan.size`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from backtest.costs import Bend, Curve, Power, QuadraticLimit, Ramp, Root
from backtest.simulation.policies.plan import Plan
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic_program import NO_PENALTY, SIMPLE_POWER, expression_of, first_row

__all__ = ["KINDS", "PlanParts", "kept_limits"]

Kind = Literal["inequality", "leverage", "turnover"]
KINDS: tuple[Kind, ...] = ("inequality", "leverage", "turnover")
Read = Callable[[Plan], np.ndarray]
Side = Callable[[Plan], CanonicalProblem]


class PlanParts:
    """Cost and constraints of a program collected so far.

    Attributes:
        reads: parameters, each with what reads its value.
        cost: the objective.
        sides: the constraints.
    """

    def __init__(self, cp: Any, plan: Plan) -> None:
        self.cp, self.plan = cp, plan
        self.horizon, self.n = plan.shape
        self.reads: list[tuple[Any, Read]] = []
        self.cost: Any = 0.0
        self.sides: list[Any] = []

    def given(self, shape: tuple[int, ...], read: Read, *, nonneg: bool = False) -> Any:
        """Return a parameter whose value is read from each plan."""
        parameter = self.cp.Parameter(shape, nonneg=nonneg)
        self.reads.append((parameter, read))
        return parameter

    def every_step(self, count: int, read: Read) -> Any:
        """Return a row (count,) read from each plan as (H, count), the same in every step."""
        return np.ones((self.horizon, 1)) @ self.given((1, count), lambda plan: read(plan)[None])

    def add_costs(self, side: Side, at: Any, weight: np.ndarray) -> None:
        """Add the costs of a problem.

        Args:
            side: takes the problem from a plan.
            at: (H, N) expression of what the costs are taken of.
            weight: (H,) what each step counts.
        """
        cp, n, problem = self.cp, self.n, side(self.plan)
        earned = self.given((n,), lambda plan: first_row(side(plan).c, n) / plan.price)
        self.cost = self.cost - (weight @ at) @ earned
        count = problem.loadings.shape[-1]
        if count:
            loadings = self.given(
                (n, count), lambda plan: np.sqrt(_curvature(plan) / 2) * first_row(side(plan).loadings)
            )
            self.cost = self.cost + cp.sum_squares(
                cp.multiply(np.sqrt(weight)[:, None] * np.ones((1, count)), at @ loadings)
            )
        if bool(problem.diagonal.any()):
            self._squares(at, weight, lambda plan: _curvature(plan) * first_row(side(plan).diagonal, n))
        for place, ramp in enumerate(problem.ramps):
            self._add_ramp(lambda plan, place=place: side(plan).ramps[place], ramp.end is None, at, weight)  # type: ignore[misc]
        for place in range(len(problem.bends)):
            self._add_bend(lambda plan, place=place: side(plan).bends[place], at, weight)  # type: ignore[misc]
        for place, curve in enumerate(problem.curves):
            self._add_curve(lambda plan, place=place: side(plan).curves[place], curve, at, weight)  # type: ignore[misc]
        for function in problem.smooth:
            self._add_own(function, at, weight)

    def add_limits(self, side: Side, at: Any, weight: np.ndarray, *, stays: Read) -> None:
        """Add the limits of a problem, hard and soft.

        Args:
            side, at, weight: as of `add_costs`; a step's soft limits count its weight.
            stays: reads (N,), what a stuck name is at; its own limits give way to that.
        """
        n, problem = self.n, side(self.plan)
        for sign, bound in ((1.0, "upper"), (-1.0, "lower")):
            known = np.isfinite(first_row(getattr(problem, bound), n))
            if not known.any():
                continue

            def most(plan: Plan, sign: float = sign, bound: str = bound, known: np.ndarray = known) -> np.ndarray:
                limit = sign * first_row(getattr(side(plan), bound), n)
                waived = np.where(plan.stuck, np.maximum(limit, sign * stays(plan)), limit)
                return waived[known] / plan.size

            self.sides.append(sign * at[:, known] <= self.every_step(int(known.sum()), most))
        if problem.equality[1].shape[-1]:
            self._add_equalities(side, at)
        for kind in KINDS:
            used, hard = kept_limits(problem, kind)
            for place in (used[hard], used[~hard]):
                if len(place):
                    self._add_limit(side, kind, place, at, weight, hard=bool(hard[used == place[0]][0]))
        for place in range(len(problem.quadratic)):
            self._add_quadratic(lambda plan, place=place: side(plan).quadratic[place], at)  # type: ignore[misc]

    def _squares(self, at: Any, weight: np.ndarray, read: Read) -> None:
        """Add `1/2 sum weight_s value_i at_si^2`."""
        root = self.given((self.horizon, self.n), lambda plan: np.sqrt(weight[:, None] * read(plan) / 2))
        self.cost = self.cost + self.cp.sum_squares(self.cp.multiply(root, at))

    def _beyond(self, excess: Any) -> Any:
        """Return a variable (H, N) that is at least `max(excess, 0)`."""
        beyond = self.cp.Variable((self.horizon, self.n), nonneg=True)
        self.sides.append(beyond >= excess)
        return beyond

    def _add_ramp(self, ramp: Callable[[Plan], Ramp], is_kink: bool, at: Any, weight: np.ndarray) -> None:
        n = self.n
        left = self.given((n,), lambda plan: first_row(ramp(plan).left, n) / plan.price)
        start = self.every_step(n, lambda plan: first_row(ramp(plan).start, n) / plan.size)

        def climb(plan: Plan) -> np.ndarray:
            return first_row(ramp(plan).right - ramp(plan).left, n) / plan.price

        # What does not depend on the weights, as left'start, is left out.
        steep = self.given((n,), climb, nonneg=True)
        self.cost = self.cost + (weight @ at) @ left
        if is_kink:
            self.cost = self.cost + (weight @ self._beyond(at - start)) @ steep
            return

        def width(plan: Plan) -> np.ndarray:
            end = ramp(plan).end
            assert end is not None
            return first_row(end - ramp(plan).start, n) / plan.size

        # With t = x - start the climb is min s^2 / 2 width + r over s, r >= 0, s + r >= t.
        bent = self.cp.Variable((self.horizon, n), nonneg=True)
        self._squares(bent, weight, lambda plan: climb(plan) / width(plan))
        self.cost = self.cost + (weight @ self._beyond(at - start - bent)) @ steep

    def _add_bend(self, bend: Callable[[Plan], Bend], at: Any, weight: np.ndarray) -> None:
        n = self.n
        place = self.every_step(n, lambda plan: first_row(bend(plan).place, n) / plan.size)
        for sign, part in ((1.0, "above"), (-1.0, "below")):
            self._squares(
                self._beyond(sign * (at - place)),
                weight,
                lambda plan, part=part: _curvature(plan) * first_row(getattr(bend(plan), part), n),  # type: ignore[misc]
            )

    def _add_curve(self, read: Callable[[Plan], Any], curve: Curve, at: Any, weight: np.ndarray) -> None:
        cp, n, shape = self.cp, self.n, (self.horizon, self.n)
        if not isinstance(curve, Power | Root):
            self._add_own(curve, at, weight)
            return
        # Variables, and not expressions of parameters, so that the rates may multiply them.
        away = cp.Variable(shape)
        self.sides.append(away == at - self.every_step(n, lambda plan: first_row(read(plan).centre, n) / plan.size))
        if isinstance(curve, Power):

            def rate(plan: Plan) -> np.ndarray:
                unit = plan.size ** (curve.exponent - 1) / plan.price
                return weight[:, None] * first_row(read(plan).weight, n) * unit

            power = self._power(away, curve.exponent)
            self.cost = self.cost + cp.sum(cp.multiply(self.given(shape, rate, nonneg=True), power))
            return
        width = self.every_step(n, lambda plan: first_row(read(plan).width, n) / plan.size)
        length = cp.Variable(shape[0] * n)
        self.sides.append(cp.norm(cp.vstack([cp.vec(away, order="C"), cp.vec(width, order="C")]), axis=0) <= length)
        rates = self.given(
            (shape[0] * n,),
            lambda plan: (weight[:, None] * first_row(read(plan).weight, n) / plan.price).reshape(-1),
            nonneg=True,
        )
        self.cost = self.cost + rates @ length

    def _power(self, away: Any, exponent: float) -> Any:
        """Return `|away|^exponent` (H, N)."""
        cp = self.cp
        simple = Fraction(exponent).limit_denominator(SIMPLE_POWER)
        if abs(float(simple) - exponent) < 1e-15:
            return cp.power(cp.abs(away), float(simple), max_denom=SIMPLE_POWER)
        above = cp.Variable(away.shape)
        flat = [cp.vec(part, order="C") for part in (above, cp.Constant(np.ones(away.shape)), away)]
        self.sides.append(cp.PowCone3D(*flat, 1 / exponent))
        return above

    def _add_own(self, piece: Any, at: Any, weight: np.ndarray) -> None:
        """Add a piece of the user's, whose expression holds the numbers of the plan it was built for."""
        size, price = self.plan.size, self.plan.price
        for step in range(self.horizon):
            of_step = self.cp.sum(expression_of(piece, size * at[step]))
            self.cost = self.cost + weight[step] / (price * size) * of_step

    def _add_equalities(self, side: Side, at: Any) -> None:
        count = side(self.plan).equality[1].shape[-1]

        def rows(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
            matrix, bound = (first_row(part) for part in side(plan).equality)
            scale = _row_scale(matrix)
            return (matrix / scale[:, None]).T, bound / (scale * plan.size)

        matrix = self.given((self.n, count), lambda plan: rows(plan)[0])
        self.sides.append(at @ matrix == self.every_step(count, lambda plan: rows(plan)[1]))

    def _add_limit(self, side: Side, kind: Kind, place: np.ndarray, at: Any, weight: np.ndarray, *, hard: bool) -> None:
        """Add inequalities, or limits on the L1 norm, of one kind that are all hard or all soft."""
        cp, count = self.cp, len(place)

        def scale(plan: Plan) -> np.ndarray:
            return _row_scale(first_row(side(plan).inequality[0])[place]) if kind == "inequality" else np.ones(count)

        def bound(plan: Plan) -> np.ndarray:
            limit = side(plan).inequality[1] if kind == "inequality" else getattr(side(plan), kind)
            return first_row(limit)[place] / (scale(plan) * plan.size)

        if kind == "inequality":
            rows = self.given(
                (self.n, count), lambda plan: (first_row(side(plan).inequality[0])[place] / scale(plan)[:, None]).T
            )
            left = at @ rows
        else:
            left = cp.reshape(cp.sum(cp.abs(at), axis=1), (self.horizon, 1), order="C") @ np.ones((1, count))
        right = self.every_step(count, bound)
        if not hard:
            excess = cp.Variable((self.horizon, count), nonneg=True)
            root = self.given(
                (self.horizon, count),
                lambda plan: np.sqrt(
                    weight[:, None] * _curvature(plan) * scale(plan) ** 2 / (2 * _softness(side(plan), kind)[place])
                ),
            )
            self.cost = self.cost + cp.sum_squares(cp.multiply(root, excess))
            right = right + excess
        self.sides.append(left <= right)

    def _add_quadratic(self, limit: Callable[[Plan], QuadraticLimit], at: Any) -> None:
        """Add a limit on a quadratic, as a norm where it has no linear part."""
        cp, n, terms = self.cp, self.n, limit(self.plan).terms

        def room(plan: Plan) -> float:
            constant = limit(plan).terms.constant
            return float(first_row(limit(plan).bound)[0]) - (
                0.0 if constant is None else float(first_row(constant, n).sum())
            )

        def slope(plan: Plan) -> np.ndarray:
            linear = limit(plan).terms.linear
            return np.zeros(n) if linear is None else plan.size * first_row(linear, n)

        def unit(plan: Plan) -> float:
            if terms.linear is None:
                return abs(room(plan)) or 1.0
            return max(abs(room(plan)), float(np.abs(slope(plan)).max())) or 1.0

        def root_of(read: Read) -> Read:
            return lambda plan: plan.size * read(plan) / np.sqrt(2 * unit(plan))

        blocks = []
        if terms.diagonal is not None:
            diagonal = self.given((n,), root_of(lambda plan: np.sqrt(first_row(limit(plan).terms.diagonal, n))))  # type: ignore[arg-type]
            blocks.append(lambda weights: cp.multiply(diagonal, weights))
        for place, block in enumerate(terms.loadings):
            matrix = self.given(
                (n, block.shape[-1]),
                root_of(lambda plan, place=place: first_row(limit(plan).terms.loadings[place])),  # type: ignore[misc]
            )
            blocks.append(lambda weights, matrix=matrix: weights @ matrix)  # type: ignore[misc]
        if terms.linear is None:
            # Below 0 nothing keeps the limit: the contradiction goes to the solver as one.
            most = self.given((), lambda plan: np.array(np.sign(room(plan))))
            self.sides += [
                cp.norm(cp.hstack([block(at[step]) for block in blocks])) <= most for step in range(self.horizon)
            ]
            return
        linear = self.given((n,), lambda plan: slope(plan) / unit(plan))
        most = self.given((), lambda plan: np.array(room(plan) / unit(plan)))
        self.sides += [
            cp.sum_squares(cp.hstack([block(at[step]) for block in blocks])) + linear @ at[step] <= most
            for step in range(self.horizon)
        ]


def kept_limits(problem: CanonicalProblem, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return which limits of a kind bound anything, by number, and which of these are hard."""
    bound = problem.inequality[1] if kind == "inequality" else getattr(problem, kind)
    softness = _softness(problem, kind)
    used = np.flatnonzero(np.isfinite(first_row(bound)) & (softness < NO_PENALTY))
    return used, softness[used] == 0


def _softness(problem: CanonicalProblem, kind: Kind) -> np.ndarray:
    counts = [problem.inequality[1].shape[-1], problem.leverage.shape[-1]]
    return np.split(first_row(problem.softness), np.cumsum(counts))[KINDS.index(kind)]


def _curvature(plan: Plan) -> float:
    return plan.size / plan.price


def _row_scale(matrix: np.ndarray) -> np.ndarray:
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    return np.where(largest > 0, largest, 1.0)
