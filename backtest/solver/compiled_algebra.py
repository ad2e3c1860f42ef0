"""Small linear algebra of one row, compiled: `M'WM`, Cholesky's factor and solves with it."""

from __future__ import annotations

import numpy as np

from backtest.solver.compiled_response import compile_function

__all__ = ["curvature_of", "factorise", "fill_column", "solve_factorised"]


@compile_function
def fill_column(held, columns, kind, i, x, part):
    """Fill `part` with row i of `M = [columns, sign(x), sign(x - held)]`."""
    n_linear = columns.shape[1]
    for j in range(n_linear):
        part[j] = columns[i, j]
    for j in range(n_linear, n_linear + kind[2]):
        part[j] = np.sign(x[i])
    for j in range(n_linear + kind[2], part.shape[0]):
        part[j] = np.sign(x[i] - held[i])


@compile_function
def curvature_of(held, columns, softness, kind, x, flexibility, packed, curvature):
    """Fill `M'WM + diag(s)`, from the assets that are not stuck; `packed` (N, R) is work space."""
    count = 0
    for i in range(x.shape[0]):
        if flexibility[i] > 0.0:
            part = packed[count]
            fill_column(held, columns, kind, i, x, part)
            root = np.sqrt(flexibility[i])
            for j in range(part.shape[0]):
                part[j] *= root
            count += 1
    free = packed[:count]
    curvature[:] = np.dot(free.T, free)
    for j in range(softness.shape[0]):
        curvature[j, j] += softness[j]


@compile_function
def factorise(matrix, smallest, factor):
    """Fill Cholesky's lower factor; return False when a pivot is not above `smallest` times its diagonal entry."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if not total > smallest * matrix[i, i]:
                    return False
                factor[i, i] = np.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    return True


@compile_function
def solve_factorised(factor, right, solution):
    """Fill the solution of a system by its lower factor."""
    n = right.shape[0]
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= factor[i, k] * solution[k]
        solution[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = solution[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * solution[k]
        solution[i] = total / factor[i, i]
