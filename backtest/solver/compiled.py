"""The method of `backtest.solver.newton`, compiled, one row at a time: the CPU path.

A tensor library's overhead per call is many times the arithmetic of one small problem. Here each row runs to its own
end, and assets that are stuck cost nothing in the curvature. Tested against the batched tensor path, which serves
every other device.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from backtest.solver.dual import Dual
from backtest.solver.newton import MAX_ITERATIONS, OVERSHOOT, SMALLEST_DAMPING, TOLERANCE, DualPoint

__all__ = ["maximise_dual_compiled"]

TINY = 1e-300
EPSILON = 2.3e-16


def maximise_dual_compiled(dual: Dual, start: torch.Tensor | None = None) -> DualPoint:
    """Maximise the dual function of every row; like `maximise_dual`, for float64 tensors on the CPU."""
    n_rows, n_assets = dual.c.shape
    n_multipliers = dual.offset.shape[1]
    z = np.zeros((n_rows, n_multipliers)) if start is None else start.numpy().copy()
    np.maximum(z[:, dual.n_free :], 0.0, out=z[:, dual.n_free :])
    x, flexibility = np.empty((n_rows, n_assets)), np.empty((n_rows, n_assets))
    error, iterations = np.zeros(n_rows), np.zeros(n_rows, dtype=np.int64)
    unbounded = np.zeros(n_rows, dtype=np.bool_)
    breaks = dual.separable.breaks

    def by_asset(name: str) -> np.ndarray:
        parts = [getattr(point, name) for point in breaks]
        if parts[0] is None:
            return np.zeros((1, 1, len(breaks)))
        return torch.stack(torch.broadcast_tensors(*parts), dim=-1).numpy()

    _maximise(
        (
            dual.c.contiguous().numpy(),
            np.ascontiguousarray(dual.held.numpy()),
            np.ascontiguousarray(dual.columns.numpy()),
            np.ascontiguousarray(dual.offset.numpy()),
            by_asset("place"),
            by_asset("below"),
            by_asset("above"),
            by_asset("flexibility"),
            np.ascontiguousarray(dual.separable.first_flexibility.numpy()),
            by_asset("sign_below"),
            by_asset("sign_above"),
            by_asset("trade_below"),
            by_asset("trade_above"),
            np.ascontiguousarray(dual.separable.lower.numpy()),
            np.ascontiguousarray(dual.separable.upper.numpy()),
        ),
        (dual.n_factors, dual.n_free, dual.has_leverage, dual.has_turnover),
        z,
        x,
        flexibility,
        error,
        unbounded,
        iterations,
    )
    tensors = (torch.from_numpy(part) for part in (z, x, flexibility, error, unbounded, iterations))
    return DualPoint(*tensors)


# In what follows `data` is the tuple of arrays above and `kind` the tuple of counts; an array whose first size is 1
# is shared by all rows. Work arrays are allocated once a batch.


@numba.njit(cache=True, nogil=True)
def _row_of(array, row):
    return array[row] if array.shape[0] > 1 else array[0]


@numba.njit(cache=True, nogil=True)
def _respond(row_data, kind, earned, z, x, flexibility):
    """Fill weights and flexibility of one row: `Separable.response`."""
    _, _, place, below, above, bend, first, sign_below, sign_above, trade_below, trade_above, lower, upper = row_data
    has_leverage, has_turnover = kind[2], kind[3]
    last = z.shape[0] - 1
    leverage = z[last - (1 if has_turnover else 0)] if has_leverage else 0.0
    turnover = z[last] if has_turnover else 0.0
    for i in range(earned.shape[0]):
        c = earned[i]
        weight, slack = 0.0, 0.0
        for m in range(place.shape[1]):
            low, high = below[i, m], above[i, m]
            if has_leverage:
                low += leverage * sign_below[i, m]
                high += leverage * sign_above[i, m]
            if has_turnover:
                low += turnover * trade_below[i, m]
                high += turnover * trade_above[i, m]
            if m == 0:
                weight, slack = place[i, 0] + (c - low) * first[i], first[i]
            if c < low:
                break
            if c > high:
                weight, slack = place[i, m] + (c - high) * bend[i, m], bend[i, m]
            else:
                weight, slack = place[i, m], (bend[i, m] if high <= low else 0.0)
        if weight <= lower[i] or weight >= upper[i]:
            slack = 0.0
        x[i] = min(max(weight, lower[i]), upper[i])
        flexibility[i] = slack


@numba.njit(cache=True, nogil=True)
def _gradient(row_data, kind, offset, x, z, gradient):
    held, columns = row_data[0], row_data[1]
    n_linear = columns.shape[1]
    gradient[:] = -offset
    for j in range(kind[0]):
        gradient[j] -= z[j]
    gradient[:n_linear] += np.dot(x, columns)
    if kind[2]:
        gradient[n_linear] += np.abs(x).sum()
    if kind[3]:
        gradient[-1] += np.abs(x - held).sum()


@numba.njit(cache=True, nogil=True)
def _error(kind, offset, column_size, x, z, gradient):
    """Return the largest gradient entry relative to the terms it is a difference of (`Dual.scale`)."""
    n_linear = column_size.shape[0]
    length, total = np.sqrt((x * x).sum()), np.abs(x).sum()
    worst = 0.0
    for j in range(z.shape[0]):
        if j >= kind[1] and z[j] <= 0.0 and gradient[j] <= 0.0:
            continue
        size = (column_size[j] * length if j < n_linear else total) + abs(offset[j])
        if j < kind[0]:
            size += abs(z[j])
        if gradient[j] != 0.0:
            worst = max(worst, abs(gradient[j]) / max(size, TINY))
    return worst


@numba.njit(cache=True, nogil=True)
def _curvature(row_data, kind, x, flexibility, packed, curvature):
    """Fill `M'WM + diag(I, 0)`, from the assets that are not stuck."""
    held, columns = row_data[0], row_data[1]
    n_linear = columns.shape[1]
    count = 0
    for i in range(x.shape[0]):
        if flexibility[i] > 0.0:
            root = np.sqrt(flexibility[i])
            for j in range(n_linear):
                packed[count, j] = root * columns[i, j]
            j = n_linear
            if kind[2]:
                packed[count, j] = root * np.sign(x[i])
                j += 1
            if kind[3]:
                packed[count, j] = root * np.sign(x[i] - held[i])
            count += 1
    part = packed[:count]
    curvature[:] = np.dot(part.T, part)
    for j in range(kind[0]):
        curvature[j, j] += 1.0


@numba.njit(cache=True, nogil=True)
def _solve_positive(matrix, right, factor, solution):
    """Solve by Cholesky's method; return False when the matrix is not positive definite in floating point."""
    n = right.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if not total > EPSILON * matrix[i, i]:
                    return False
                factor[i, i] = np.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
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
    return True


@numba.njit(cache=True, nogil=True)
def _direction(kind, damping, looseness, z, gradient, curvature, factor, right, direction):
    """Fill the projected Newton direction; dependent constraints are damped until the system factorises."""
    n = z.shape[0]
    for j in range(n):
        right[j] = gradient[j]
        if j >= kind[0]:
            curvature[j, j] += damping * max(looseness[j], TINY)
        if j >= kind[1] and z[j] <= 0.0 and gradient[j] <= 0.0:
            curvature[j, :] = 0.0
            curvature[:, j] = 0.0
            curvature[j, j] = 1.0
            right[j] = 0.0
    ridge = 1e-12
    while not _solve_positive(curvature, right, factor, direction):
        for j in range(n):
            curvature[j, j] += ridge * max(curvature[j, j], max(looseness[j], TINY))
        ridge *= 100.0
    longest = np.inf
    for j in range(kind[1], n):
        if z[j] <= 0.0 and direction[j] < 0.0:
            direction[j] = 0.0
        elif direction[j] < 0.0:
            longest = min(longest, -z[j] / direction[j])
    return longest


@numba.njit(cache=True, nogil=True)
def _slope_at(row_data, kind, offset, earned, z, direction, spread, length, work, x, flexibility):
    """Return the slope of the dual along the ray at `length`, and the size of its terms; fills the weights there."""
    trial_earned, trial_z = work
    trial_earned[:] = earned - length * spread
    trial_z[:] = z + length * direction
    _respond(row_data, kind, trial_earned, trial_z, x, flexibility)
    constant = np.dot(direction, offset)
    for j in range(kind[0]):
        constant += direction[j] * trial_z[j]
    slope, size = -constant, abs(constant)
    for i in range(x.shape[0]):
        product = spread[i] * x[i]
        slope += product
        size += abs(product)
    n_linear = row_data[1].shape[1]
    if kind[2]:
        slope += direction[n_linear] * np.abs(x).sum()
    if kind[3]:
        slope += direction[-1] * np.abs(x - row_data[0]).sum()
    return slope, size


@numba.njit(cache=True, nogil=True)
def _search(row_data, kind, offset, earned, z, direction, spread, slope, high, high_slope, longest, work, x, flexibility):
    """Return a step length where the slope has nearly vanished, and whether it never does. See `_Ray.search`."""
    low, low_slope = 0.0, slope
    growths = 0
    while high_slope > 0.5 * slope and high < longest:
        if growths == 30:
            return high, True
        low, low_slope = high, high_slope
        high = min(16.0 * high, longest)
        high_slope, _ = _slope_at(
            row_data, kind, offset, earned, z, direction, spread, high, work, x, flexibility
        )
        growths += 1
    if high_slope >= -OVERSHOOT * slope:
        return high, False
    side = 0
    for count in range(100):
        trial = high - (high - low) * high_slope / (high_slope - low_slope)
        if high > 64.0 * low and count % 2 == 1:
            trial = np.sqrt(max(low, high * 1e-6) * high)
        trial_slope, _ = _slope_at(
            row_data, kind, offset, earned, z, direction, spread, trial, work, x, flexibility
        )
        if abs(trial_slope) <= OVERSHOOT * slope or high - low <= 1e-15 * high:
            return trial, False
        if trial_slope >= 0.0:
            low, low_slope = trial, trial_slope
            if side > 0:
                high_slope /= 2.0
            side = 1
        else:
            high, high_slope = trial, trial_slope
            if side < 0:
                low_slope /= 2.0
            side = -1
    return low, False


@numba.njit(cache=True, nogil=True)
def _maximise(data, kind, all_z, all_x, all_flexibility, all_error, all_unbounded, all_iterations):
    c, _, columns, offsets = data[0], data[1], data[2], data[3]
    n_rows, n_assets = c.shape
    n_multipliers = offsets.shape[1]
    n_linear = columns.shape[2]
    gradient, direction, right = np.empty(n_multipliers), np.empty(n_multipliers), np.empty(n_multipliers)
    looseness = np.empty(n_multipliers)
    curvature, factor = np.empty((n_multipliers, n_multipliers)), np.zeros((n_multipliers, n_multipliers))
    packed = np.empty((n_assets, n_multipliers))
    work = (np.empty(n_assets), np.empty(n_multipliers))
    trial_x, trial_flexibility = np.empty(n_assets), np.empty(n_assets)
    for row in range(n_rows):
        row_data = (
            _row_of(data[1], row),
            _row_of(columns, row),
            _row_of(data[4], row),
            _row_of(data[5], row),
            _row_of(data[6], row),
            _row_of(data[7], row),
            _row_of(data[8], row),
            _row_of(data[9], row),
            _row_of(data[10], row),
            _row_of(data[11], row),
            _row_of(data[12], row),
            _row_of(data[13], row),
            _row_of(data[14], row),
        )
        column, first = row_data[1], row_data[6]
        offset, z, x, flexibility = offsets[row], all_z[row], all_x[row], all_flexibility[row]
        column_size = np.zeros(n_linear)
        looseness[:] = first.sum()
        looseness[:n_linear] = 0.0
        for i in range(n_assets):
            for j in range(n_linear):
                square = column[i, j] * column[i, j]
                column_size[j] += square
                looseness[j] += square * first[i]
        column_size = np.sqrt(column_size)
        earned = c[row] - np.dot(column, z[:n_linear])
        _respond(row_data, kind, earned, z, x, flexibility)
        damping, best, stalled = SMALLEST_DAMPING, np.inf, 0
        for iteration in range(MAX_ITERATIONS + 1):
            all_iterations[row] = iteration
            _gradient(row_data, kind, offset, x, z, gradient)
            error = _error(kind, offset, column_size, x, z, gradient)
            stalled = 0 if error < 0.5 * best or error > 1e-10 else stalled + 1
            best = min(best, error)
            if error <= TOLERANCE or stalled >= 3 or all_unbounded[row] or iteration == MAX_ITERATIONS:
                break
            _curvature(row_data, kind, x, flexibility, packed, curvature)
            longest = _direction(kind, damping, looseness, z, gradient, curvature, factor, right, direction)
            slope = np.dot(gradient, direction)
            spread = np.dot(column, direction[:n_linear])
            length = min(1.0, longest)
            end_slope, size = _slope_at(
                row_data, kind, offset, earned, z, direction, spread, length, work, trial_x, trial_flexibility
            )
            rounding = 1e-15 * size
            too_far = end_slope < -OVERSHOOT * slope - rounding
            too_short = end_slope > 0.5 * slope and length < longest and slope > rounding
            if too_far or too_short:
                length, all_unbounded[row] = _search(
                    row_data,
                    kind,
                    offset,
                    earned,
                    z,
                    direction,
                    spread,
                    slope,
                    length,
                    end_slope,
                    longest,
                    work,
                    trial_x,
                    trial_flexibility,
                )
            damping = min(max(damping * (1e3 if length < 1e-2 else 1e-2), SMALLEST_DAMPING), 1.0)
            for j in range(n_multipliers):
                z[j] += length * direction[j]
                if j >= kind[1] and direction[j] < 0.0 and z[j] <= 1e-14 * abs(length * direction[j]):
                    z[j] = 0.0
            earned = c[row] - np.dot(column, z[:n_linear])
            _respond(row_data, kind, earned, z, x, flexibility)
        all_error[row] = error
