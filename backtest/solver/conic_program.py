"""One row of the canonical problem as a CVXPY program, in scaled units.

Weights are `x = size u` and the objective is counted in units of `price size`, so that a conic solver, whose tolerances
are absolute, meets numbers around 1 whatever the units of the problem.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Curve, Power, QuadraticLimit, Ramp, Root, SmoothFunction
from backtest.costs.custom_curve import CustomCurve
from backtest.costs.custom_function import CustomFunction
from backtest.costs.custom_rows import CustomRows
from backtest.costs.cvxpy_cost import market_rows
from backtest.errors import CostError, SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.residuals import Multipliers

__all__ = ["ATTEMPTS", "SHARP", "ConicProgram", "clarabel_options", "conic_program", "first_row", "limit_expressions"]

NO_PENALTY = 1e100
"""Softness from which a soft limit's penalty weighs nothing."""

FAR = 1e12
"""Units of wealth that stand for infinity: a cost that stops a position only there does not stop it."""

SHARP = 1e-12
"""Residual at which no further attempt is worth it."""

ATTEMPTS = ((1e-13, 1e-12), (1e-11, 1e-10), (1e-11, 1e-8), (1e-9, 1e-8))
"""(tolerance, static regularisation) in the order they are tried, until a solution is sharp. Clarabel's default
regularisation, 1e-8, keeps it from the tightest tolerance."""

SIMPLE_POWER = 64
"""Largest denominator of an exponent that second-order cones represent exactly; others take power cones."""


@dataclass
class ConicProgram:
    """A program, and how to read its solution.

    Attributes:
        program: the CVXPY problem.
        u: (N,) its variable: weights in units of `size`.
        size, price: the units of weights and of returns.
        limits: for each kind of multiplier, its (constraint, place, factor): `dual factor` are the multipliers of the
            places.
        counts: number of multipliers of each kind.
    """

    program: Any
    u: Any
    size: float
    price: float
    limits: dict[str, list[tuple[Any, np.ndarray, np.ndarray]]]
    counts: dict[str, int]

    def weights(self) -> np.ndarray:
        """Return the weights (N,) of the solution; NaN without one."""
        value = self.u.value
        return np.full(self.u.shape[0], np.nan) if value is None else np.asarray(value, dtype=float) * self.size

    def multipliers(self, like: Tensor) -> Multipliers:
        """Return the multipliers (1, .) of the solution; NaN without one."""
        values = {}
        for name, count in self.counts.items():
            value = np.zeros((1, count))
            for constraint, place, factor in self.limits[name]:
                dual = constraint.dual_value
                value[0, place] = np.nan if dual is None else np.reshape(np.asarray(dual, dtype=float), -1) * factor
            values[name] = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        return Multipliers(**values)


@dataclass
class _Parts:
    """Cost and constraints collected so far."""

    cp: Any
    u: Any
    size: float
    price: float
    cost: Any = 0.0
    sides: list[Any] = field(default_factory=list)

    def squares(self, expression: Any, weight: np.ndarray) -> None:
        """Add `1/2 sum weight expression^2`; a weight of 0 leaves no trace in the program."""
        used = weight > 0
        if used.any():
            self.cost = self.cost + self.cp.sum_squares(self.cp.multiply(np.sqrt(weight[used] / 2), expression[used]))

    def beyond(self, expression: Any, count: int) -> Any:
        """Return a variable that is at least `max(expression, 0)`."""
        beyond = self.cp.Variable(count, nonneg=True)
        self.sides.append(beyond >= expression)
        return beyond


def conic_program(problem: CanonicalProblem) -> ConicProgram:
    """Return the CVXPY program of a canonical problem of one row.

    Raises:
        SolverError: a piece of the problem has no CVXPY form.
        CostError: an expression given by the user breaks the rules of convex programming.
    """
    import cvxpy as cp

    n = problem.c.shape[-1]
    price = _price(problem, n)
    size = _size(problem, n, price)
    parts = _Parts(cp, cp.Variable(n), size, price)
    _add_costs(parts, problem, n)
    limits, counts = _add_limits(parts, problem, n)
    constraints = [constraint for rows in limits.values() for constraint, _, _ in rows]
    program = cp.Problem(cp.Minimize(parts.cost), [*constraints, *parts.sides])
    return ConicProgram(program, parts.u, size, price, limits, counts)


def clarabel_options(tolerance: float, regularisation: float) -> dict[str, Any]:
    """Return Clarabel's settings for an attempt."""
    return {
        "tol_gap_abs": tolerance,
        "tol_gap_rel": tolerance,
        "tol_feas": tolerance,
        "tol_ktratio": tolerance,
        "tol_infeas_abs": 1e-10,
        "tol_infeas_rel": 1e-10,
        "static_regularization_constant": regularisation,
        "max_iter": 200,
    }


def first_row(part: Tensor, n: int | None = None) -> np.ndarray:
    """Return the first row of a tensor as float64, its last size widened to `n`."""
    row = part[0] if n is None else part.expand(part.shape[0], n)[0]
    return row.detach().cpu().numpy().astype(float)


def limit_expressions(limit: QuadraticLimit, u: Any, size: float) -> tuple[Any, float, float]:
    """Return a quadratic limit as `expression <= right`, and the factor from its dual to the limit's multiplier.

    Without a linear part it is a norm, whose dual is tame where the quadratic's grows without end; the factor, times
    `price size`, holds at a solution where the limit binds.

    Args:
        limit: of one row.
        u: CVXPY variable, weights in units of `size`.
        size: a weight.
    """
    import cvxpy as cp

    root, linear, constant = _quadratic(limit, u, size)
    right = float(first_row(limit.bound)[0]) - constant
    if not linear.any():
        if right < 0:
            # A quadratic is never negative: the contradiction goes to the solver as one.
            return cp.norm(root), -1.0, 0.0
        radius = np.sqrt(2 * right)
        scale = radius if radius > 0 else 1.0
        return cp.norm(root) / scale, radius / scale, 1 / scale**2
    scale = max(abs(right), float(np.abs(linear).max()))
    return cp.sum_squares(root / np.sqrt(2 * scale)) + (linear / scale) @ u, right / scale, 1 / scale


def _quadratic(limit: QuadraticLimit, u: Any, size: float) -> tuple[Any, np.ndarray, float]:
    """Return the left side of a quadratic limit as `root, l, o` of `1/2 |root|^2 + l'u + o`."""
    import cvxpy as cp

    n = u.shape[0]
    terms = limit.terms
    blocks = [np.zeros((1, n)) @ u]
    if terms.diagonal is not None and bool(terms.diagonal.any()):
        blocks.append(cp.multiply(size * np.sqrt(first_row(terms.diagonal, n)), u))
    for block in terms.loadings:
        blocks.append(size * first_row(block).T @ u)
    linear = np.zeros(n) if terms.linear is None else size * first_row(terms.linear, n)
    constant = 0.0 if terms.constant is None else float(first_row(terms.constant, n).sum())
    return cp.hstack(blocks), linear, constant


def _add_costs(parts: _Parts, problem: CanonicalProblem, n: int) -> None:
    cp, u, size, price = parts.cp, parts.u, parts.size, parts.price
    curvature = size / price
    parts.cost = -(first_row(problem.c) / price) @ u
    loadings = first_row(problem.loadings)
    if loadings.any():
        parts.squares((np.sqrt(curvature) * loadings).T @ u, np.ones(loadings.shape[1]))
    parts.squares(u, curvature * first_row(problem.diagonal, n))
    for ramp in problem.ramps:
        _add_ramp(parts, ramp, n)
    for bend in problem.bends:
        place = first_row(bend.place, n) / size
        for sign, side in ((1.0, bend.above), (-1.0, bend.below)):
            weight = curvature * first_row(side, n)
            if weight.any():
                parts.squares(parts.beyond(sign * (u - place), n), weight)
    for curve in problem.curves:
        parts.cost = parts.cost + _curve(parts, curve, n)
    for function in problem.smooth:
        parts.cost = parts.cost + cp.sum(expression_of(function, size * u)) / (price * size)


def _add_ramp(parts: _Parts, ramp: Ramp, n: int) -> None:
    u, size = parts.u, parts.size
    left, climb = first_row(ramp.left, n) / parts.price, first_row(ramp.right - ramp.left, n) / parts.price
    start = first_row(ramp.start, n) / size
    if ramp.end is None:
        parts.cost = parts.cost + left @ (u - start)
        if climb.any():
            parts.cost = parts.cost + climb @ parts.beyond(u - start, n)
        return
    width = first_row(ramp.end, n) / size - start
    # With t = x - start the climb is min s^2 / 2 width + r over s, r >= 0, s + r >= t.
    bent, beyond = parts.cp.Variable(n, nonneg=True), parts.cp.Variable(n, nonneg=True)
    parts.sides.append(bent + beyond >= u - start)
    parts.squares(bent, climb / width)
    # A ramp is 0 at its middle, where the climb is width / 8 and the left side width / 2.
    zero = left @ (width / 2) + climb @ (width / 8)
    parts.cost = parts.cost + left @ (u - start) + climb @ beyond - zero


def _curve(parts: _Parts, curve: Curve, n: int) -> Any:
    """Return a curve as a CVXPY expression in scaled units."""
    cp, u, size, price = parts.cp, parts.u, parts.size, parts.price
    if isinstance(curve, Power):
        used = first_row(curve.weight, n) > 0
        if not used.any():
            return 0.0
        weight = first_row(curve.weight, n)[used] * size ** (curve.exponent - 1) / price
        return weight @ _power(parts, (u - first_row(curve.centre, n) / size)[used], curve.exponent)
    if isinstance(curve, Root):
        weight, width = first_row(curve.weight, n) / price, first_row(curve.width, n) / size
        away = u - first_row(curve.centre, n) / size
        return weight @ cp.norm(cp.vstack([away, width]), axis=0) - weight @ width
    return cp.sum(expression_of(curve, size * u)) / (price * size)


def _power(parts: _Parts, away: Any, exponent: float) -> Any:
    """Return `|away|^exponent` by asset."""
    cp = parts.cp
    simple = Fraction(exponent).limit_denominator(SIMPLE_POWER)
    if abs(float(simple) - exponent) < 1e-15:
        return cp.power(cp.abs(away), float(simple), max_denom=SIMPLE_POWER)
    above = cp.Variable(away.shape[0])
    parts.sides.append(cp.PowCone3D(above, cp.Constant(np.ones(away.shape[0])), away, 1 / exponent))
    return above


def expression_of(piece: Curve | SmoothFunction, x: Any) -> Any:
    """Return the CVXPY expression of a piece of one row, which says it by a method `expression(x)`.

    Args:
        piece: of a user's own, of one row.
        x: CVXPY expression of the weights (N,).

    Raises:
        SolverError: it has no such method.
        CostError: what it returns is not convex by the rules of CVXPY.
    """
    expression = None
    if isinstance(piece, CustomCurve | CustomFunction):
        expression = _of_rows(piece.rows_of, x)
    elif hasattr(piece, "expression"):
        expression = piece.expression(x)
    if expression is None:
        raise SolverError(
            f"{type(piece).__name__} has no CVXPY form, so the reference cannot solve a problem that contains it: give "
            "the cost a method expression(x, held, market) that returns a CVXPY expression"
        )
    if not expression.is_convex():
        raise CostError(
            f"{type(piece).__name__}: its CVXPY expression is not convex by the rules of disciplined convex "
            f"programming (DCP): {expression}"
        )
    return expression


def _of_rows(rows_of: CustomRows, x: Any) -> Any | None:
    """Return the CVXPY expression of a user's cost of one row; None when it has none."""
    form = getattr(rows_of.cost, "expression", None)
    if form is None:
        return None
    place = 0 if rows_of.index is None else int(rows_of.index[0])
    away = x if rows_of.shift is None else x - first_row(rows_of.shift, x.shape[0])
    held = rows_of.held[place].detach().cpu().numpy().astype(float)
    weight = rows_of.weight
    scale = first_row(weight, 1)[0] if isinstance(weight, Tensor) else weight
    expression = form(away, held, market_rows(rows_of.market, np.array([place])))
    return None if expression is None else float(scale) * expression


def _add_limits(
    parts: _Parts, problem: CanonicalProblem, n: int
) -> tuple[dict[str, list[tuple[Any, np.ndarray, np.ndarray]]], dict[str, int]]:
    """Add the limits on weights to the parts, and return those with a multiplier by kind, and their number."""
    cp, u, size, price = parts.cp, parts.u, parts.size, parts.price
    for sign, bound in ((1.0, first_row(problem.upper, n)), (-1.0, first_row(problem.lower, n))):
        known = np.isfinite(bound)
        if known.any():
            parts.sides.append(sign * u[known] <= sign * bound[known] / size)
    (a, b), (e_matrix, e) = (
        (first_row(matrix), first_row(bound)) for matrix, bound in (problem.equality, problem.inequality)
    )
    leverage, turnover = first_row(problem.leverage), first_row(problem.turnover)
    softness = np.split(first_row(problem.softness), [len(e), len(e) + len(leverage)])
    counts = {
        "equality": len(b),
        "inequality": len(e),
        "leverage": len(leverage),
        "turnover": len(turnover),
        "quadratic": len(problem.quadratic),
    }
    limits: dict[str, list[tuple[Any, np.ndarray, np.ndarray]]] = {name: [] for name in counts}
    if len(b):
        scale = _row_scale(a)
        limits["equality"].append((a / scale[:, None] @ u == b / (scale * size), np.arange(len(b)), price / scale))
    scale = _row_scale(e_matrix)
    rows = e_matrix / scale[:, None]
    trade = u - first_row(problem.held) / size
    norms = {"leverage": cp.norm1(u), "turnover": cp.norm1(trade)}
    for name, bound, soft, unit in (
        ("inequality", e, softness[0], scale),
        ("leverage", leverage, softness[1], np.ones(len(leverage))),
        ("turnover", turnover, softness[2], np.ones(len(turnover))),
    ):
        used = np.flatnonzero(np.isfinite(bound) & (soft < NO_PENALTY))
        right = bound / (unit * size)
        for hard in (True, False):
            place = used[(soft[used] == 0) == hard]
            if not len(place):
                continue
            left = rows[place] @ u if name == "inequality" else norms[name] * np.ones(len(place))
            excess: Any = 0.0
            if not hard:
                excess = cp.Variable(len(place), nonneg=True)
                parts.squares(excess, unit[place] ** 2 * size / (soft[place] * price))
            limits[name].append((left <= right[place] + excess, place, price / unit[place]))
    for place, limit in enumerate(problem.quadratic):
        left, most, factor = limit_expressions(limit, u, size)
        limits["quadratic"].append((left <= most, np.array([place]), np.array([factor * price * size])))
    return limits, counts


def _row_scale(matrix: np.ndarray) -> np.ndarray:
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    return np.where(largest > 0, largest, 1.0)


def _price(problem: CanonicalProblem, n: int) -> float:
    """Return the size of what a unit of weight earns or costs."""
    rates = [first_row(problem.c)]
    for ramp in problem.ramps:
        rates += [first_row(ramp.left, n), first_row(ramp.right, n)]
    rates += [first_row(curve.weight, n) for curve in problem.curves if isinstance(curve, Root)]
    price = max(float(np.abs(rate).max()) for rate in rates)
    return price if price > 0 else 1.0


def _size(problem: CanonicalProblem, n: int, price: float) -> float:
    """Return the size of a weight: that of the unconstrained optimum, or less where a limit says so."""
    curvature = first_row(problem.diagonal, n) + (first_row(problem.loadings) ** 2).sum(axis=1)
    for bend in problem.bends:
        curvature = curvature + (first_row(bend.below, n) + first_row(bend.above, n)) / 2
    typical = price / np.median(curvature) if np.median(curvature) > 0 else np.inf
    for curve in problem.curves:
        if isinstance(curve, Power) and np.median(first_row(curve.weight, n)) > 0:
            rate = curve.exponent * float(np.median(first_row(curve.weight, n)))
            typical = min(typical, (price / rate) ** (1 / (curve.exponent - 1)))
    bounds = [first_row(problem.lower, n), first_row(problem.upper, n)]
    bounds += [first_row(bound) / _row_scale(first_row(matrix)) for matrix, bound in (problem.equality,)]
    hard = first_row(problem.softness) == 0
    others = np.concatenate(
        [
            first_row(problem.inequality[1]) / _row_scale(first_row(problem.inequality[0])),
            first_row(problem.leverage),
            first_row(problem.turnover),
        ]
    )
    bounds.append(others[hard])
    known = [float(np.abs(bound[np.isfinite(bound)]).max(initial=0.0)) for bound in bounds]
    reach = max(max([bound for bound in known if bound > 0], default=np.inf), float(problem.held[0].abs().max()))
    size = min(typical, reach)
    return float(size) if 0 < size < np.inf else 1.0
