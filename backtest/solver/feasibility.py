"""Why a problem has no solution, found by linear programs: constraints that clash, or positions that nothing bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from backtest.costs import LimitTerms
from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem

__all__ = ["clashing_constraints", "endless_direction", "is_feasible"]

TOLERANCE = 1e-9
"""Violation, as a fraction of the largest bound, up to which constraints count as kept."""


def is_feasible(problem: CanonicalProblem) -> bool:
    """Return whether some weights keep every constraint of a problem of one row."""
    return _least_violation(problem, problem.limits) <= TOLERANCE


def clashing_constraints(problem: CanonicalProblem) -> tuple[str, ...]:
    """Return the names of a smallest set of constraints that cannot hold together; none when all can.

    A set is smallest in that dropping any one of its members leaves constraints that can hold. What cannot be traded
    counts as one constraint, the "tradable mask".

    Args:
        problem: one row.

    Source: Chinneck & Dravnieks (1991), "Locating minimal infeasible constraint sets in linear programs", the
    deletion filter.
    """
    if is_feasible(problem):
        return ()
    clash = list(problem.limits)
    for member in problem.limits:
        rest = [other for other in clash if other is not member]
        if _least_violation(problem, rest) > TOLERANCE:
            clash = rest
    return tuple(name for name, _ in clash)


def endless_direction(problem: CanonicalProblem) -> np.ndarray:
    """Return the assets (their numbers) of a direction in which the objective of one row falls without end; or none.

    Such a direction costs no risk, breaks no constraint however far it goes, and earns more than it costs.

    Args:
        problem: one row, feasible.
    """
    from scipy.optimize import linprog

    n = problem.c.shape[-1]
    nothing = np.array([], dtype=int)
    if problem.leverage is not None or problem.turnover is not None:
        return nothing
    left: np.ndarray = sum((_first(ramp.left, n) for ramp in problem.ramps), np.zeros(n))
    right: np.ndarray = sum((_first(ramp.right, n) for ramp in problem.ramps), np.zeros(n))
    earned = problem.c[0].cpu().numpy()
    price = max(float(np.abs(part).max()) for part in (earned, left, right))
    if price == 0:
        return nothing
    curved = _first(problem.diagonal, n) > 0
    # Up by u+ earns c - right a unit, down by u- earns left - c; a limit or a curved cost stops either.
    gain = np.concatenate([earned - right, left - earned]) / price
    free = np.concatenate(
        [~curved & np.isposinf(_first(problem.upper, n)), ~curved & np.isneginf(_first(problem.lower, n))]
    )
    still = np.vstack([problem.loadings[0].mT.cpu().numpy(), problem.equality[0][0].cpu().numpy()])
    falling = problem.inequality[0][0].cpu().numpy()

    def signed(matrix: np.ndarray) -> np.ndarray:
        size = np.abs(matrix).max(axis=1, keepdims=True, initial=0.0)
        return np.hstack([matrix, -matrix]) / np.where(size > 0, size, 1.0)

    result = linprog(
        -gain,
        A_ub=signed(falling) if len(falling) else None,
        b_ub=np.zeros(len(falling)) if len(falling) else None,
        A_eq=signed(still) if len(still) else None,
        b_eq=np.zeros(len(still)) if len(still) else None,
        bounds=np.stack([np.zeros(2 * n), free.astype(float)], axis=1),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise SolverError(f"the linear program that looks for an unbounded direction failed: {result.message}")
    if -result.fun <= 1e-7:
        return nothing
    move = np.abs(result.x[:n] - result.x[n:])
    return np.flatnonzero(move > 1e-7)


def _least_violation(problem: CanonicalProblem, limits: Sequence[tuple[str, LimitTerms]]) -> float:
    """Return the least `t`, relative to the largest bound, by which all limits must be loosened to hold together.

    The weights are split, `x = x+ - x-` and `x - held = u+ - u-`, so that their L1 norms are linear.
    """
    # Imported here: scipy's optimisers are slow to load, and most runs never meet an infeasible row.
    from scipy.optimize import linprog

    n = problem.c.shape[-1]
    held = problem.held[0].cpu().numpy()
    eye, nothing = sparse.eye_array(n), sparse.csr_array((n, n))
    weights, ones, zeros = sparse.hstack([eye, -eye]), np.ones((1, 2 * n)), np.zeros((1, 2 * n))
    matrices, bounds = [], []

    def add(matrix: object, bound: np.ndarray) -> None:
        matrices.append(sparse.csr_array(matrix))
        bounds.append(bound)

    for _, limit in limits:
        for sign, side in ((1.0, limit.upper), (-1.0, limit.lower)):
            if side is not None:
                value = sign * _first(side, n)
                known = np.isfinite(value)
                add(sparse.hstack([sign * weights, nothing, nothing]).tocsr()[known], value[known])
        for pair, signs in ((limit.equality, (1.0, -1.0)), (limit.inequality, (1.0,))):
            if pair is not None:
                matrix = pair[0][0].cpu().numpy()
                size = np.abs(matrix).max(axis=1)
                scale = np.where(size > 0, size, 1.0)
                row = np.hstack([matrix, -matrix]) / scale[:, None]
                for sign in signs:
                    add(np.hstack([sign * row, np.zeros_like(row)]), sign * pair[1][0].cpu().numpy() / scale)
        if limit.leverage is not None:
            add(np.hstack([ones, zeros]), limit.leverage[:1].cpu().numpy())
        if limit.turnover is not None:
            add(np.hstack([zeros, ones]), limit.turnover[:1].cpu().numpy())
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


def _first(side: Tensor, n: int) -> np.ndarray:
    return torch.as_tensor(side).expand(side.shape[0], n)[0].cpu().numpy()
