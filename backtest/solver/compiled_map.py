"""The derivative of the solution map, compiled, one row at a time: only the assets that are not stuck count."""

from __future__ import annotations

import numpy as np

from backtest.solver.compiled_algebra import curvature_of, factorise, fill_column, solve_factorised
from backtest.solver.compiled_response import compile_function, row_of

__all__ = ["apply_map", "factorise_map"]


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
    packed, ridged = np.empty((n_assets, size)), np.empty((size, size))
    for number in range(n_rows):
        matrix, extra = curvature[number], row_of(ridge, number)
        curvature_of(
            row_of(held, number),
            row_of(columns, number),
            row_of(softness, number),
            kind,
            all_x[number],
            all_flexibility[number],
            packed,
            matrix,
        )
        for j in range(size):
            if not binding[number, j]:
                matrix[j, :] = 0.0
                matrix[:, j] = 0.0
                matrix[j, j] = 1.0
        ridged[:] = matrix
        for j in range(size):
            ridged[j, j] += extra[j]
        factor[number] = 0.0
        if not factorise(ridged, 0.0, factor[number]):
            return False
    return True


@compile_function
def apply_map(held, columns, kind, all_x, all_flexibility, binding, curvature, factor, r, result):
    """Fill `J r = W r - W M (M'WM + diag(s))^-1 M'W r` (B, N); arguments as for `factorise_map`."""
    n_rows, n_assets = all_x.shape
    size = binding.shape[1]
    part, pulled, moved = np.empty(size), np.empty(size), np.empty(size)
    rest, refined = np.empty(size), np.empty(size)
    for number in range(n_rows):
        before, column = row_of(held, number), row_of(columns, number)
        x, flexibility = all_x[number], all_flexibility[number]
        matrix, lower, bound = curvature[number], factor[number], binding[number]
        pulled[:] = 0.0
        for i in range(n_assets):
            if flexibility[i] > 0.0:
                fill_column(before, column, kind, i, x, part)
                weighted = flexibility[i] * r[number, i]
                for j in range(size):
                    pulled[j] += weighted * part[j]
        for j in range(size):
            if not bound[j]:
                pulled[j] = 0.0
        solve_factorised(lower, pulled, moved)
        # One refinement takes the ridge's trace out again.
        for j in range(size):
            total = pulled[j]
            for k in range(size):
                total -= matrix[j, k] * moved[k]
            rest[j] = total
        solve_factorised(lower, rest, refined)
        for j in range(size):
            moved[j] = moved[j] + refined[j] if bound[j] else 0.0
        for i in range(n_assets):
            if flexibility[i] > 0.0:
                fill_column(before, column, kind, i, x, part)
                total = r[number, i]
                for j in range(size):
                    total -= part[j] * moved[j]
                result[number, i] = flexibility[i] * total
            else:
                result[number, i] = 0.0
