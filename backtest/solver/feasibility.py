"""Why a problem has no solution: constraints that clash, or positions that nothing bounds.

Found by linear programs, and by second-order cone programs where there are quadratic limits.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse

from backtest.costs import LimitTerms, Power, QuadraticLimit, Root
from backtest.costs.cvxpy_cost import CvxpyFunction
from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic_program import FAR, NO_PENALTY, first_row, limit_expressions

__all__ = ["clashing_constraints", "endless_direction", "is_feasible"]

TOLERANCE = 1e-9
"""Violation, as a fraction of the largest bound, up to which constraints count as kept."""

CONIC_TOLERANCE = 1e-8
"""The same where a second-order cone program finds it, which is less exact."""

STEEP = 1e6
"""A curve whose slope out there is this many times any marginal return stops a direction."""

MAX_CUTS = 50


def is_feasible(problem: CanonicalProblem) -> bool:
    """Return whether some weights keep every hard constraint of a problem of one row."""
    return _can_hold(problem, problem.limits)


def clashing_constraints(problem: CanonicalProblem) -> tuple[str, ...]:
    """Return the names of a smallest set of constraints that cannot hold together; none when all can.

    A set is smallest in that dropping any one of its members leaves constraints that can hold. What cannot be traded
    counts as one constraint, the "tradable mask".

    Args:
        problem: one row.

    Raises:
        SolverError: the linear programs that decide it could not be solved.

    Source: Chinneck & Dravnieks (1991), "Locating minimal infeasible constraint sets in linear programs", the deletion
    filter.
    """
    if is_feasible(problem):
        return ()
    clash = list(problem.limits)
    for member in problem.limits:
        rest = [other for other in clash if other is not member]
        if not _can_hold(problem, rest):
            clash = rest
    return tuple(name for name, _ in clash)


def endless_direction(problem: CanonicalProblem) -> np.ndarray:
    """Return the assets (their numbers) of a direction in which the objective of one row falls without end; or none.

    Such a direction costs no risk, breaks no constraint however far it goes, soft ones included, and earns more than
    it costs. A power above 1 stops every direction; a rounded absolute value costs its weight; any other curve, and a
    smooth function, what it costs a unit at 1e12 times wealth. Smooth functions are followed by cutting planes: their
    slope at infinity along `d` is the largest of `gradient(x)'d` over all x.

    Args:
        problem: one row, feasible.
    """
    n = problem.c.shape[-1]
    nothing = np.array([], dtype=int)
    softness = first_row(problem.softness)
    n_rows = problem.inequality[1].shape[-1]
    norms = np.concatenate([first_row(problem.leverage), first_row(problem.turnover)])
    if (np.isfinite(norms) & (softness[n_rows:] < NO_PENALTY)).any():
        return nothing
    earned = first_row(problem.c)
    left, right, price, stopped = _slopes_at_infinity(problem)
    if price == 0:
        return nothing
    # Up by u+ earns c - right a unit, down by u- earns left - c; a limit or a curved cost stops either.
    gain = np.concatenate([earned - right, left - earned]) / price
    curved = first_row(problem.diagonal, n) > 0
    still = [first_row(problem.loadings).T, first_row(problem.equality[0])]
    used = np.isfinite(first_row(problem.inequality[1])) & (softness[:n_rows] < NO_PENALTY)
    falling = [first_row(problem.inequality[0])[used]]
    for limit in problem.quadratic:
        terms = limit.terms
        curved = curved if terms.diagonal is None else curved | (first_row(terms.diagonal, n) > 0)
        still += [first_row(block).T for block in terms.loadings]
        falling += [] if terms.linear is None else [first_row(terms.linear, n)[None]]
    stopped = stopped | np.concatenate(
        [
            curved | np.isfinite(first_row(problem.upper, n)),
            curved | np.isfinite(first_row(problem.lower, n)),
        ]
    )
    direction = _steepest(problem, gain, ~stopped, np.vstack(still), np.vstack(falling), price)
    return nothing if direction is None else np.flatnonzero(np.abs(direction) > 1e-7)


def _slopes_at_infinity(problem: CanonicalProblem) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return what a unit costs far below and far above (N,), the price scale, and which sides a curve stops (2N,)."""
    n = problem.c.shape[-1]
    left, right = np.zeros(n), np.zeros(n)
    stopped = np.zeros(2 * n, dtype=bool)
    for ramp in problem.ramps:
        left, right = left + first_row(ramp.left, n), right + first_row(ramp.right, n)
    for bend in problem.bends:
        stopped |= np.concatenate([first_row(bend.above, n) > 0, first_row(bend.below, n) > 0])
    others = []
    for curve in problem.curves:
        if isinstance(curve, Power):
            stopped |= np.tile(first_row(curve.weight, n) > 0, 2)
        elif isinstance(curve, Root):
            left, right = left - first_row(curve.weight, n), right + first_row(curve.weight, n)
        else:
            others.append(curve)
    price = max(float(np.abs(part).max()) for part in (first_row(problem.c), left, right))
    far = torch.full_like(problem.c, FAR)
    for curve in others:
        below, above = (
            # A slope that overflows is a wall all the same.
            np.clip(np.nan_to_num(first_row(curve.slope(side), n)), -2 * STEEP * price, 2 * STEEP * price)
            for side in (-far, far)
        )
        stopped |= np.concatenate([above > STEEP * price, below < -STEEP * price])
        left, right = left + below, right + above
    return left, right, price, stopped


def _steepest(
    problem: CanonicalProblem, gain: np.ndarray, free: np.ndarray, still: np.ndarray, falling: np.ndarray, price: float
) -> np.ndarray | None:
    """Return a direction (N,) that gains without end; None when there is none.

    Args:
        problem: one row.
        gain: (2N,) gain of a unit up, and down, without the smooth functions.
        free: (2N,) which of these nothing stops.
        still: (m, N) what must not move along the direction.
        falling: (q, N) what must not rise.
        price: unit of `gain`.
    """
    # Imported here: scipy's optimisers are slow to load, and most runs never meet an unbounded row.
    from scipy.optimize import linprog

    n = len(gain) // 2

    def signed(matrix: np.ndarray, last: float) -> np.ndarray:
        size = np.abs(matrix).max(axis=1, keepdims=True, initial=abs(last))
        scale = np.where(size > 0, size, 1.0)
        return np.hstack([matrix, -matrix, np.full((len(matrix), 1), last)]) / scale

    def slope(direction: np.ndarray) -> np.ndarray:
        x = torch.as_tensor(direction, dtype=problem.c.dtype, device=problem.c.device)[None]
        gradient = torch.zeros_like(x)
        for function in problem.smooth:
            slope = function.subgradient if isinstance(function, CvxpyFunction) else function.gradient
            gradient = gradient + slope(x)
        # So steep is a wall, also where it overflows.
        return np.clip(np.nan_to_num(first_row(gradient)) / price, -STEEP, STEEP)

    equal, below = signed(still, 0.0), signed(falling, 0.0)
    cuts = [slope(np.zeros(n))] if problem.smooth else []
    span = (None, None) if cuts else (0.0, 0.0)
    for _ in range(MAX_CUTS):
        rows = np.vstack([below, signed(np.array(cuts), -1.0)]) if cuts else below
        result = linprog(
            np.append(-gain, 1.0),
            A_ub=rows if len(rows) else None,
            b_ub=np.zeros(len(rows)) if len(rows) else None,
            A_eq=equal if len(equal) else None,
            b_eq=np.zeros(len(equal)) if len(equal) else None,
            bounds=[*((0.0, float(side)) for side in free), span],
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if result.status != 0:
            raise SolverError(f"the linear program that looks for an unbounded direction failed: {result.message}")
        if -result.fun <= 1e-7:
            return None
        direction = result.x[:n] - result.x[n : 2 * n]
        if not cuts:
            return direction
        cut = slope(FAR * direction)
        if float(gain @ result.x[: 2 * n] - cut @ direction) > 1e-7:
            return direction
        cuts.append(cut)
    return None


def _can_hold(problem: CanonicalProblem, limits: Sequence[tuple[str, LimitTerms]]) -> bool:
    if any(limit.quadratic for _, limit in limits):
        return _least_conic_violation(problem, limits) <= CONIC_TOLERANCE
    return _least_violation(problem, limits) <= TOLERANCE


def _least_violation(problem: CanonicalProblem, limits: Sequence[tuple[str, LimitTerms]]) -> float:
    """Return the least `t`, relative to the largest bound, by which all limits must be loosened to hold together.

    The weights are split, `x = x+ - x-` and `x - held = u+ - u-`, so that their L1 norms are linear.
    """
    # Imported here: scipy's optimisers are slow to load, and most runs never meet an infeasible row.
    from scipy.optimize import linprog

    n = problem.c.shape[-1]
    held = first_row(problem.held)
    eye = sparse.eye_array(n)
    weights, ones, zeros = sparse.hstack([eye, -eye]), np.ones((1, 2 * n)), np.zeros((1, 2 * n))
    matrices, bounds = [], []
    for matrix, bound in _linear(problem, limits):
        row = sparse.csr_array(matrix)
        matrices.append(sparse.hstack([row, -row, sparse.csr_array((len(bound), 2 * n))]))
        bounds.append(bound)
    for row, limit in zip((np.hstack([ones, zeros]), np.hstack([zeros, ones])), _norms(limits), strict=True):
        if np.isfinite(limit):
            matrices.append(sparse.csr_array(row))
            bounds.append(np.array([limit]))
    if not bounds:
        return 0.0
    bound = np.concatenate(bounds)
    largest = max(float(np.abs(bound).max(initial=0.0)), float(np.abs(held).max()), 1e-300)
    matrix = sparse.vstack(matrices)
    loosened = sparse.hstack([matrix, -np.ones((matrix.shape[0], 1))])
    trades = sparse.hstack([weights, -weights, np.zeros((n, 1))])
    result = linprog(
        np.append(np.zeros(4 * n), 1.0),
        A_ub=loosened,
        b_ub=bound / largest,
        A_eq=trades,
        b_eq=held / largest,
        bounds=(0, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise SolverError(f"the linear program that looks for clashing constraints failed: {result.message}")
    return float(result.fun)


def _least_conic_violation(problem: CanonicalProblem, limits: Sequence[tuple[str, LimitTerms]]) -> float:
    """Return what `_least_violation` does, for limits among which some are quadratic."""
    import cvxpy as cp

    n = problem.c.shape[-1]
    held = first_row(problem.held)
    linear, (leverage, turnover) = _linear(problem, limits), _norms(limits)
    known = [*(bound for _, bound in linear), np.array([b for b in (leverage, turnover) if np.isfinite(b)]), held]
    largest = max(float(np.abs(bound).max(initial=0.0)) for bound in known)
    quadratic = [each for _, limit in limits for each in limit.quadratic]
    largest = largest if largest > 0 else min((_reach(limit, n) for limit in quadratic), default=1.0)
    u, t = cp.Variable(n), cp.Variable(nonneg=True)
    constraints = [matrix @ u <= bound / largest + t for matrix, bound in linear]
    for expression, limit in ((u, leverage), (u - held / largest, turnover)):
        if np.isfinite(limit):
            constraints.append(cp.norm1(expression) <= limit / largest + t)
    for curved in quadratic:
        left, right, _ = limit_expressions(curved, u, largest)
        constraints.append(left <= right + t)
    program = cp.Problem(cp.Minimize(t), constraints)
    tight = {f"tol_{name}": 1e-11 for name in ("gap_abs", "gap_rel", "feas", "ktratio")}
    with warnings.catch_warnings():
        # CVXPY warns of an inaccurate solution; how accurate it is is judged below.
        warnings.simplefilter("ignore", UserWarning)
        try:
            program.solve(solver=cp.CLARABEL, static_regularization_constant=1e-11, max_iter=200, **tight)
        except cp.SolverError:
            program.solve(solver=cp.CLARABEL, max_iter=200)
    if t.value is None:
        raise SolverError(f"the cone program that looks for clashing constraints ended {program.status}")
    return float(t.value)


def _linear(problem: CanonicalProblem, limits: Sequence[tuple[str, LimitTerms]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return all linear limits as (matrix, bound) of `matrix x <= bound`, each row's largest coefficient 1."""
    n = problem.c.shape[-1]
    rows = []
    for _, limit in limits:
        for sign, side in ((1.0, limit.upper), (-1.0, limit.lower)):
            if side is not None:
                value = sign * first_row(side, n)
                known = np.isfinite(value)
                rows.append((sign * np.eye(n)[known], value[known]))
        for pair, signs in ((limit.equality, (1.0, -1.0)), (limit.inequality, (1.0,))):
            if pair is not None:
                matrix, bound = first_row(pair[0]), first_row(pair[1])
                matrix, bound = matrix[np.isfinite(bound)], bound[np.isfinite(bound)]
                size = np.abs(matrix).max(axis=1, initial=0.0)
                scale = np.where(size > 0, size, 1.0)
                rows += [(sign * matrix / scale[:, None], sign * bound / scale) for sign in signs]
    return [(matrix, bound) for matrix, bound in rows if len(bound)]


def _norms(limits: Sequence[tuple[str, LimitTerms]]) -> tuple[float, float]:
    """Return the smallest limit on leverage, and on turnover; infinite without one."""
    leverage = [float(first_row(limit.leverage.reshape(-1, 1))[0]) for _, limit in limits if limit.leverage is not None]
    turnover = [float(first_row(limit.turnover.reshape(-1, 1))[0]) for _, limit in limits if limit.turnover is not None]
    return min(leverage, default=np.inf), min(turnover, default=np.inf)


def _reach(limit: QuadraticLimit, n: int) -> float:
    """Return a weight at which a quadratic limit is about used up."""
    variance = np.zeros(n)
    if limit.terms.diagonal is not None:
        variance = variance + first_row(limit.terms.diagonal, n)
    for block in limit.terms.loadings:
        variance = variance + (first_row(block) ** 2).sum(axis=1)
    bound = abs(float(first_row(limit.bound)[0]))
    return float(np.sqrt(2 * bound / variance.max())) if bound > 0 and variance.max() > 0 else 1.0
