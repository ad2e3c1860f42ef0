"""The optimality system of a conic program: its residual, its refinement, and the derivative of its solution.

    minimise 1/2 x'P x + q'x  subject to  A x + s = b,  s in K,

with K a product of zero, nonnegative and second-order cones. With `v = s - z`, `s = Pi(v)` the projection on K and `z`
in the dual cone, a pair (x, v) is optimal where

    F(x, v) = (P x + q + A'(Pi(v) - v),  A x + Pi(v) - b) = 0,

and the derivative of the solution in `q` solves a linear system with the matrix `dF`.

Sources: Agrawal, Barratt, Boyd, Busseti & Moursi (2019), "Differentiating through a cone program"; Busseti, Moursi &
Boyd (2019), "Solution refinement at regular points of conic problems".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

__all__ = ["ConicSystem"]

REFINEMENTS = 15
TIGHT = 1e-15

SINGULAR = 1e-7
"""Relative residual from which the linear system counts as without a solution."""

LARGEST_DENSE = 3000
"""Size of a system up to which a singular one is solved by a dense decomposition."""


@dataclass(frozen=True, eq=False)
class ConicSystem:
    """A conic program.

    Attributes:
        quadratic: (n, n), `P`, symmetric.
        linear: (n,), `q`.
        matrix: (m, n), `A`.
        right: (m,), `b`.
        zero, nonnegative: number of rows in these cones.
        second_order: sizes of the second-order cones.
        others: number of rows in cones of other kinds, which have no derivative here.
    """

    quadratic: Any
    linear: np.ndarray
    matrix: Any
    right: np.ndarray
    zero: int
    nonnegative: int
    second_order: tuple[int, ...]
    others: int

    @staticmethod
    def of(data: dict[str, Any]) -> ConicSystem:
        """Return the program that CVXPY made for Clarabel (`get_problem_data`)."""
        count = len(data["c"])
        upper = sparse.triu(data.get("P", sparse.csc_array((count, count))))
        dims = data["dims"]
        second_order = tuple(int(size) for size in dims.soc)
        known = int(dims.zero) + int(dims.nonneg) + sum(second_order)
        return ConicSystem(
            sparse.csc_array(upper + sparse.triu(upper, 1).T),
            np.asarray(data["c"], dtype=float),
            sparse.csc_array(data["A"]),
            np.asarray(data["b"], dtype=float),
            int(dims.zero),
            int(dims.nonneg),
            second_order,
            len(data["b"]) - known,
        )

    def projected(self, v: np.ndarray) -> np.ndarray:
        """Return `Pi(v)`."""
        result = np.zeros_like(v)
        first = self.zero + self.nonnegative
        result[self.zero : first] = np.maximum(v[self.zero : first], 0.0)
        for size in self.second_order:
            top, rest = v[first], v[first + 1 : first + size]
            length = float(np.linalg.norm(rest))
            if length <= top:
                result[first : first + size] = v[first : first + size]
            elif length > -top:
                share = (top + length) / 2
                result[first] = share
                result[first + 1 : first + size] = share * rest / length
            first += size
        return result

    def error(self, x: np.ndarray, s: np.ndarray, z: np.ndarray) -> float:
        """Return the relative violation of stationarity and feasibility, and the relative duality gap."""
        force, bend = self.matrix.T @ z, self.quadratic @ x
        prices = max(_largest(bend), _largest(self.linear), _largest(force), 1e-300)
        # Not of A x, whose terms may cancel to nothing but rounding.
        sizes = max(_largest(abs(self.matrix) @ np.abs(x)), _largest(s), _largest(self.right), 1e-300)
        stationarity = _largest(bend + self.linear + force) / prices
        feasibility = _largest(self.matrix @ x + s - self.right) / sizes
        cost = max(abs(float(x @ bend)), abs(float(self.linear @ x)), 1e-300)
        return max(stationarity, feasibility, abs(float(s @ z)) / cost)

    def refined(self, x: np.ndarray, s: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `x` and `v` near an interior-point solution, with a smaller residual where Newton steps find one."""
        v = s - z
        residual = self._residual(x, v)
        for _ in range(REFINEMENTS):
            size = float(np.linalg.norm(residual))
            if size <= TIGHT * max(float(np.linalg.norm(self.linear)), float(np.linalg.norm(self.right))):
                break
            step, _ = _solve(self._jacobian(v), -residual[:, None])
            moved_x, moved_v = x + step[: len(x), 0], v + step[len(x) :, 0]
            after = self._residual(moved_x, moved_v)
            if not float(np.linalg.norm(after)) < size:
                break
            x, v, residual = moved_x, moved_v, after
        return x, v

    def derivative(self, v: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, float]:
        """Return `-dx/dq` on some of the variables (k, k), and how badly the system is violated, relative.

        Args:
            v: `s - z` at the solution.
            columns: (k,) the variables.
        """
        right = np.zeros((len(self.linear) + len(v), len(columns)))
        right[columns, np.arange(len(columns))] = 1.0
        moved, error = _solve(self._jacobian(v), right)
        return moved[columns], error

    def _residual(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        s = self.projected(v)
        return np.concatenate(
            [self.quadratic @ x + self.linear + self.matrix.T @ (s - v), self.matrix @ x + s - self.right]
        )

    def _jacobian(self, v: np.ndarray) -> Any:
        slope = self._projection_slope(v)
        eye = sparse.eye_array(len(v))
        return sparse.block_array([[self.quadratic, self.matrix.T @ (slope - eye)], [self.matrix, slope]], format="csc")

    def _projection_slope(self, v: np.ndarray) -> Any:
        """Return the derivative of the projection at `v`; on a kink that of the stuck side."""
        first = self.zero + self.nonnegative
        simple = np.zeros(first)
        simple[self.zero :] = v[self.zero : first] > 0
        blocks = [sparse.diags_array(simple)] if first else []
        for size in self.second_order:
            top, rest = v[first], v[first + 1 : first + size]
            length = float(np.linalg.norm(rest))
            if length <= top:
                block = np.eye(size)
            elif length <= -top:
                block = np.zeros((size, size))
            else:
                unit, tilt = rest / length, top / length
                block = np.empty((size, size))
                block[0, 0] = 1.0
                block[0, 1:] = block[1:, 0] = unit
                block[1:, 1:] = (1 + tilt) * np.eye(size - 1) - tilt * np.outer(unit, unit)
                block /= 2
            blocks.append(sparse.csc_array(block))
            first += size
        return sparse.block_diag(blocks, format="csc") if blocks else sparse.csc_array((0, 0))


def _solve(matrix: Any, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a solution of a linear system (n, k), the shortest where there are many, and its relative residual."""
    try:
        factor = linalg.splu(matrix)
        solution = factor.solve(right)
        solution = solution + factor.solve(right - matrix @ solution)
        error = _largest(matrix @ solution - right) / max(_largest(right), 1e-300)
        if error <= SINGULAR:
            return solution, error
    except RuntimeError:
        # The factorisation met a zero pivot; whether a solution exists all the same is settled below.
        solution, error = np.full_like(right, np.nan), np.inf
    if len(right) <= LARGEST_DENSE:
        dense = matrix.toarray()
        solution = np.linalg.lstsq(dense, right, rcond=1e-11)[0]
        error = _largest(dense @ solution - right) / max(_largest(right), 1e-300)
    return solution, error


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
