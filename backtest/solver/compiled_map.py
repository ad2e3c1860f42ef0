"""The derivative of the solution map, compiled, one row at a time: only the assets that are not stuck count."""

from __future__ import annotations

import numpy as np

from backtest.solver.compiled_response import compile_function, row_of

__all__ = ["apply_map", "factorise_map"]


@compile_function
def _columns_of(row, i, x, kind, part):
    """Fill `part` with row i of M."""
    held, columns = row[0], row[1]
    n_linear = columns.shape[1]
    for j in range(n_linear):
        part[j] = columns[i, j]
    for j in range(n_linear, n_linear + kind[2]):
        part[j] = np.sign(x[i])
    for j in range(n_linear + kind[2], part.shape[0]):
        part[j] = np.sign(x[i] - held[i])


@compile_function
def factorise_map(held, columns, softness, kind, all_x, all_flexibility, binding, ridge, curvature, factor):
    """Fill `M'WM + diag(s)` on the binding multipliers and its Cholesky factor; return whether all rows factorised.

    Args:
        held, columns, softness: of the dual, the first size 1 where rows share them.
        kind: (n_factors, n_free, n_leverage, n_turnover).
        all_x, all_flexibility: (B, N).
        binding: (B, R) bool.
        ridge: (B | 1, R) added to the diagonal before factorising.
        curvature, factor: (B, R, R), filled.
    """
    n_rows, n_assets = all_x.shape
    size = binding.shape[1]
    packed = np.empty((n_assets, size))
    for number in range(n_rows):
        row = (row_of(held, number), row_of(columns, number))
        soft, extra = row_of(softness, number), row_of(ridge, number)
        x, flexibility = all_x[number], all_flexibility[number]
        count = 0
        for i in range(n_assets):
            if flexibility[i] > 0.0:
                _columns_of(row, i, x, kind, packed[count])
                root = np.sqrt(flexibility[i])
                for j in range(size):
                    packed[count, j] *= root if binding[number, j] else 0.0
                count += 1
        part = packed[:count]
        matrix, lower = curvature[number], factor[number]
        matrix[:] = np.dot(part.T, part)
        lower[:] = 0.0
        for j in range(size):
            matrix[j, j] = matrix[j, j] + soft[j] if binding[number, j] else 1.0
        for i in range(size):
            for j in range(i + 1):
                total = matrix[i, j]
                if i == j:
                    total += extra[j]
                for k in range(j):
                    total -= lower[i, k] * lower[j, k]
                if i == j:
                    if not total > 0.0:
                        return False
                    lower[i, i] = np.sqrt(total)
                else:
                    lower[i, j] = total / lower[j, j]
    return True


@compile_function
def _solve_factorised(lower, right, solution):
    n = right.shape[0]
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= lower[i, k] * solution[k]
        solution[i] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        total = solution[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * solution[k]
        solution[i] = total / lower[i, i]


@compile_function
def apply_map(held, columns, kind, all_x, all_flexibility, binding, curvature, factor, r, result):
    """Fill `J r = W r - W M (M'WM + diag(s))^-1 M'W r` (B, N); arguments as for `factorise_map`."""
    n_rows, n_assets = all_x.shape
    size = binding.shape[1]
    part, pulled, moved = np.empty(size), np.empty(size), np.empty(size)
    rest, refined = np.empty(size), np.empty(size)
    for number in range(n_rows):
        row = (row_of(held, number), row_of(columns, number))
        x, flexibility = all_x[number], all_flexibility[number]
        matrix, lower, bound = curvature[number], factor[number], binding[number]
        pulled[:] = 0.0
        for i in range(n_assets):
            if flexibility[i] > 0.0:
                _columns_of(row, i, x, kind, part)
                weighted = flexibility[i] * r[number, i]
                for j in range(size):
                    pulled[j] += weighted * part[j]
        for j in range(size):
            if not bound[j]:
                pulled[j] = 0.0
        _solve_factorised(lower, pulled, moved)
        # One refinement takes the ridge's trace out again.
        for j in range(size):
            total = pulled[j]
            for k in range(size):
                total -= matrix[j, k] * moved[k]
            rest[j] = total
        _solve_factorised(lower, rest, refined)
        for j in range(size):
            moved[j] = moved[j] + refined[j] if bound[j] else 0.0
        for i in range(n_assets):
            if flexibility[i] > 0.0:
                _columns_of(row, i, x, kind, part)
                total = r[number, i]
                for j in range(size):
                    total -= part[j] * moved[j]
                result[number, i] = flexibility[i] * total
            else:
                result[number, i] = 0.0
