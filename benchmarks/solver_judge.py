"""What every solver is judged by: an exact solution of one row, with a proof, that shares no code with the solver.

CVXPY and Clarabel at tight tolerances say which names are free and which are stuck: at 0, at the
weight held, at a limit. On that active set the optimum is one dense linear system, solved by LU. The proof: no free
name has left its piece, and what holds each stuck name lies between the slopes of its kink. Names that fail it change
sides, and the system is solved again. The derivative of the weights in `p` is the inverse of the same system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg
from solver_peer_conic import cvxpy_program
from solver_problem import PRICE, Problem

__all__ = ["Exact", "Judgement", "exact_row", "finite_difference_error", "judge"]

NEAR = 1e-5
"""Share of the position limit within which Clarabel's weight counts as on a kink or limit, to begin with."""

PROOF = 1e-12
MAX_CHANGES = 50


@dataclass(frozen=True)
class Exact:
    """The optimum of one row.

    Attributes:
        x: (N,) weights.
        free: (N,) bool, names that move with the forecast.
        system: LU factors of the optimality system on the free names and binding constraints.
        margin: how far the nearest name is from changing sides: what holds it against its kink or limit, over PRICE,
            or its distance to the next one, over the limit; the smaller.
    """

    x: np.ndarray
    free: np.ndarray
    system: Any
    margin: float

    def same_sides(self, other: Exact) -> bool:
        """Whether the same names are stuck, at the same weights, and the same limits bind."""
        stuck = ~self.free
        same = (self.free == other.free).all() and (self.x[stuck] == other.x[stuck]).all()
        return bool(same) and len(self.system[1]) == len(other.system[1])

    def derivative(self, r: np.ndarray) -> np.ndarray:
        """Return `J r` (N,), `J` the derivative of the weights in the forecast."""
        right = np.zeros(len(self.system[1]))
        right[: self.free.sum()] = r[self.free]
        moved = np.zeros_like(self.x)
        moved[self.free] = linalg.lu_solve(self.system, right)[: self.free.sum()]
        return moved


class _Row:
    """One row, and its kinks in order: -limit, 0 and the weight held, limit."""

    def __init__(self, problem: Problem, row: int, p: np.ndarray) -> None:
        self.problem, self.p = problem, p
        self.held = problem.held[row].numpy()
        inner = np.clip(self.held, -problem.limit, problem.limit)
        limits = np.full((problem.n_assets, 1), problem.limit)
        zero = np.zeros((problem.n_assets, 1))
        self.kinks = np.sort(np.hstack([-limits, zero, inner[:, None], limits]), axis=1)

    @cached_property
    def middles(self) -> np.ndarray:
        return (self.kinks[:, 1:] + self.kinks[:, :-1]) / 2

    def slopes(self, piece: np.ndarray, leverage: float) -> np.ndarray:
        """Return the derivative of the kinked costs on each name's piece (N,); infinite beyond the limits."""
        problem = self.problem
        inside = np.take_along_axis(self.middles, np.clip(piece, 0, 2)[:, None], axis=1)[:, 0]
        slope = problem.spread * np.sign(inside - self.held) + (problem.l1 + leverage) * np.sign(inside)
        slope = slope - problem.fee * (inside < 0)
        return np.where(piece < 0, -np.inf, np.where(piece > 2, np.inf, slope))

    def signs(self, piece: np.ndarray) -> np.ndarray:
        inside = np.take_along_axis(self.middles, np.clip(piece, 0, 2)[:, None], axis=1)[:, 0]
        return np.sign(inside)


def exact_row(problem: Problem, row: int, *, p: np.ndarray | None = None, start: np.ndarray | None = None) -> Exact:
    """Return the optimum of one row, proved.

    Args:
        problem: the batch.
        row: which of its rows.
        p: (N,) another forecast; None is the row's.
        start: (N,) weights near the optimum; None asks Clarabel.

    Raises:
        RuntimeError: when no active set passes the proof.
    """
    if start is None:
        start = _clarabel(problem, row)
    state = _Row(problem, row, problem.p[row].numpy() if p is None else p)
    # A name is stuck at kink `at` (0..3), or free (-1) on the piece `piece` (0..2).
    distance = np.abs(start[:, None] - state.kinks)
    at = np.where(distance.min(1) < NEAR * problem.limit, distance.argmin(1), -1)
    piece = np.clip((start[:, None] > state.kinks).sum(1) - 1, 0, 2)
    binding = np.abs(start).sum() > problem.leverage * (1 - 1e-6)
    for _ in range(MAX_CHANGES):
        exact, leverage, price = _solve(state, at, piece, binding)
        # A kink held twice (two equal kinks) has an empty piece: step over it.
        last = np.where(at >= 0, (state.kinks <= np.take_along_axis(state.kinks, at[:, None], 1)).sum(1) - 1, 0)
        first = np.where(at >= 0, (state.kinks < np.take_along_axis(state.kinks, at[:, None], 1)).sum(1), 0)
        low, high = state.slopes(first - 1, leverage), state.slopes(last, leverage)
        pull = np.where(at >= 0, np.minimum(price - low, high - price) / PRICE, np.inf)
        left = np.take_along_axis(state.kinks, piece[:, None], 1)[:, 0]
        right = np.take_along_axis(state.kinks, piece[:, None] + 1, 1)[:, 0]
        room = np.where(at < 0, np.minimum(exact.x - left, right - exact.x) / problem.limit, np.inf)
        norm = problem.leverage - np.abs(exact.x).sum()
        slack = leverage / PRICE if binding else norm / problem.leverage
        if min(pull.min(), room.min(), slack) >= -PROOF:
            return replace(exact, margin=float(min(pull.min(), room.min(), slack)))
        release, stop = pull < -PROOF, room < -PROOF
        piece = np.where(release, np.where(price < low, first - 1, last), piece)
        at = np.where(release, -1, np.where(stop, np.where(exact.x < left, piece, piece + 1), at))
        binding = not binding if slack < -PROOF else binding
    raise RuntimeError(f"row {row}: no active set passes the proof after {MAX_CHANGES} changes")


def _clarabel(problem: Problem, row: int) -> np.ndarray:
    """Return weights (N,) near the optimum of one row."""
    part = problem.scaled()
    program, p, held, u = cvxpy_program(problem)
    p.value, held.value = problem.p[row].numpy() / part.price, problem.held[row].numpy() / part.size
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    program.solve(solver="CLARABEL", **tolerances)
    return u.value * part.size


def _solve(state: _Row, at: np.ndarray, piece: np.ndarray, binding: bool) -> tuple[Exact, float, np.ndarray]:
    """Return the optimum on an active set, the multiplier of the leverage limit, and what pulls at each name (N,)."""
    problem = state.problem
    free = at < 0
    x = np.where(free, 0.0, np.take_along_axis(state.kinks, np.clip(at, 0, 3)[:, None], 1)[:, 0])
    g, n_free = problem.loadings, int(free.sum())
    signs = state.signs(piece)
    columns = [np.ones(n_free)] + ([signs[free]] if binding else [])
    limits = np.array(columns)
    matrix = np.zeros((n_free + len(limits),) * 2)
    matrix[:n_free, :n_free] = g[free] @ g[free].T + np.diag(problem.diagonal[free])
    matrix[:n_free, n_free:], matrix[n_free:, :n_free] = limits.T, limits
    right = np.empty(len(matrix))
    right[:n_free] = state.p[free] - state.slopes(piece, 0.0)[free] - g[free] @ (g.T @ x)
    right[n_free] = -x.sum()
    if binding:
        right[n_free + 1] = problem.leverage - np.abs(x).sum()
    system = linalg.lu_factor(matrix)
    solved = linalg.lu_solve(system, right)
    solved = solved + linalg.lu_solve(system, right - matrix @ solved)
    x[free] = solved[:n_free]
    leverage = float(solved[n_free + 1]) if binding else 0.0
    price = state.p - g @ (g.T @ x) - problem.diagonal * x - solved[n_free]
    return Exact(x, free, system, np.nan), leverage, price


@dataclass(frozen=True)
class Judgement:
    """The worst over the judged rows.

    Attributes:
        objective_gap: relative to the size of the objective's terms.
        position_error: fraction of wealth.
        gradient_error: length of the error of `J (p - y)` over its length.
    """

    objective_gap: float
    position_error: float
    gradient_error: float


def judge(problem: Problem, exact: list[Exact], x: np.ndarray, gradient: np.ndarray) -> Judgement:
    """Judge weights and gradients (B, N), of which the first rows have exact solutions."""
    worst = np.zeros(3)
    for row, best in enumerate(exact[: len(x)]):
        p, y, held = (part[row].numpy() for part in (problem.p, problem.y, problem.held))
        right = best.derivative(p - y)
        size = problem.cost(best.x, held) + np.abs(p * best.x).sum()
        gap = (problem.cost(x[row], held) - p @ x[row]) - (problem.cost(best.x, held) - p @ best.x)
        errors = [abs(gap) / size, np.abs(x[row] - best.x).max()]
        errors.append(float(np.linalg.norm(gradient[row] - right) / np.linalg.norm(right)))
        worst = np.fmax(worst, errors) if np.isfinite(errors).all() else np.full(3, np.inf)
    return Judgement(*(float(value) for value in worst))


def finite_difference_error(problem: Problem, exact: Exact, *, row: int = 0, directions: int = 3) -> float:
    """Return the relative distance of the exact gradient from central differences of the aligned loss.

    Both ends of a difference are solved and proved on their own, and the step is halved until no name changes sides
    between them: away from kinks.
    """
    p, y, held = (part[row].numpy() for part in (problem.p, problem.y, problem.held))
    gradient = exact.derivative(p - y)
    rng = np.random.default_rng(row)
    worst = 0.0
    for _ in range(directions):
        direction = rng.normal(size=len(p))
        step = 1e-6
        while True:
            ends = [exact_row(problem, row, p=p + sign * step * direction, start=exact.x) for sign in (1, -1)]
            if all(end.same_sides(exact) for end in ends):
                break
            step /= 2
        up, down = (problem.cost(end.x, held) - y @ end.x for end in ends)
        slope = (up - down) / (2 * step)
        worst = max(worst, abs(slope - gradient @ direction) / float(np.linalg.norm(gradient)))
    return worst
