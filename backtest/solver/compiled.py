"""The method of `backtest.solver.newton`, compiled, one row at a time: the CPU path.

A tensor library's overhead per call is many times the arithmetic of one small problem. Here each row runs to its own
end, and assets that are stuck cost nothing in the curvature. Tested against the batched tensor path, which serves
every other device.
"""

from __future__ import annotations

import numpy as np
import torch

from backtest.solver.compiled_algebra import curvature_of, factorise, solve_factorised
from backtest.solver.compiled_response import Arrays, compile_function, norm_multipliers, respond, row_of
from backtest.solver.dual import ROUNDING, Dual
from backtest.solver.newton import LEAP, MAX_ITERATIONS, OVERSHOOT, SMALLEST_DAMPING, TOLERANCE, DualPoint

__all__ = ["maximise_arrays", "maximise_dual_compiled"]

TINY = 1e-300
EPSILON = 2.3e-16


def maximise_dual_compiled(dual: Dual, start: torch.Tensor | None = None) -> DualPoint:
    """Maximise the dual function of every row; like `maximise_dual`, for float64 tensors on the CPU."""
    kind = (dual.n_factors, dual.n_free, dual.n_leverage, dual.n_turnover)
    found = maximise_arrays(Arrays.of(dual), kind, None if start is None else start.numpy())
    return DualPoint(*(torch.from_numpy(part) for part in found))


def maximise_arrays(
    arrays: Arrays, kind: tuple[int, int, int, int], start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maximise the dual function of every row of a problem given as arrays.

    Args:
        arrays: B rows.
        kind: (n_factors, n_free, n_leverage, n_turnover).
        start: (B, R) multipliers to start from; None is 0.

    Returns:
        What `DualPoint` has, in its order, as arrays.
    """
    n_rows, n_assets = arrays.c.shape
    z = np.zeros((n_rows, arrays.offset.shape[1])) if start is None else start.copy()
    if start is not None:
        np.maximum(z[:, kind[1] :], 0.0, out=z[:, kind[1] :])
    x, flexibility = np.empty((n_rows, n_assets)), np.empty((n_rows, n_assets))
    error, iterations = np.zeros(n_rows), np.zeros(n_rows, dtype=np.int64)
    unbounded = np.zeros(n_rows, dtype=np.bool_)
    _maximise(tuple(arrays), kind, z, x, flexibility, error, unbounded, iterations)
    return z, x, flexibility, error, unbounded, iterations


# In what follows `row` is the tuple of one row's arrays, in the order of `Arrays`, and `kind` the tuple
# (n_factors, n_free, n_leverage, n_turnover). Work arrays are allocated once a batch.


@compile_function
def _times_columns(columns, z, product):
    """Fill `columns z`; `z` may be longer."""
    for i in range(columns.shape[0]):
        total = 0.0
        for j in range(columns.shape[1]):
            total += columns[i, j] * z[j]
        product[i] = total


@compile_function
def _gradient(row, kind, x, z, gradient):
    held, columns, offset, softness = row[1], row[2], row[3], row[4]
    n_linear = columns.shape[1]
    for j in range(z.shape[0]):
        gradient[j] = -offset[j] - softness[j] * z[j]
    total, traded = 0.0, 0.0
    for i in range(x.shape[0]):
        if x[i] != 0.0:
            for j in range(n_linear):
                gradient[j] += x[i] * columns[i, j]
            total += abs(x[i])
        traded += abs(x[i] - held[i])
    for j in range(n_linear, n_linear + kind[2]):
        gradient[j] += total
    for j in range(n_linear + kind[2], z.shape[0]):
        gradient[j] += traded


@compile_function
def _error(row, kind, column_size, price, x, flexibility, z, gradient):
    """Return the largest gradient entry relative to the terms it is a difference of (`Dual.scale`)."""
    offset, softness = row[3], row[4]
    n_linear = column_size.shape[0]
    square, reach_square, total, highest = 0.0, 0.0, 0.0, price.max()
    for i in range(x.shape[0]):
        reach = ROUNDING * flexibility[i] * price[i]
        square += x[i] * x[i]
        reach_square += reach * reach
        total += abs(x[i]) + reach
    length = np.sqrt(square) + np.sqrt(reach_square)
    worst = 0.0
    for j in range(z.shape[0]):
        if j >= kind[1] and z[j] <= 0.0 and gradient[j] <= 0.0:
            continue
        steepness = max(column_size[j], TINY) if j < n_linear else 1.0
        size = (column_size[j] * length if j < n_linear else total) + abs(offset[j])
        size += softness[j] * (abs(z[j]) + ROUNDING * highest / steepness)
        if not size < np.inf:
            return np.inf
        if gradient[j] != 0.0:
            worst = max(worst, abs(gradient[j]) / max(size, TINY))
    return worst


@compile_function
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
    while not factorise(curvature, EPSILON, factor):
        for j in range(n):
            curvature[j, j] += ridge * max(curvature[j, j], max(looseness[j], TINY))
        ridge *= 100.0
    solve_factorised(factor, right, direction)
    longest = np.inf
    for j in range(kind[1], n):
        if z[j] <= 0.0 and direction[j] < 0.0:
            direction[j] = 0.0
        elif direction[j] < 0.0:
            longest = min(longest, -z[j] / direction[j])
    return longest


@compile_function
def _slope_at(row, kind, earned, z, direction, spread, length, work, x, flexibility):
    """Return the slope of the dual along the ray at `length`, and the size of its terms; fills the weights there."""
    trial_earned, trial_z = work
    offset, softness = row[3], row[4]
    constant = 0.0
    for j in range(z.shape[0]):
        trial_z[j] = z[j] + length * direction[j]
        constant += direction[j] * (offset[j] + softness[j] * trial_z[j])
    for i in range(x.shape[0]):
        trial_earned[i] = earned[i] - length * spread[i]
    respond(row, kind, trial_earned, trial_z, x, flexibility)
    slope, size, total, traded = -constant, abs(constant), 0.0, 0.0
    for i in range(x.shape[0]):
        product = spread[i] * x[i]
        slope += product
        size += abs(product)
        total += abs(x[i])
    leverage, turnover = norm_multipliers(kind, direction)
    if kind[3]:
        held = row[1]
        for i in range(x.shape[0]):
            traded += abs(x[i] - held[i])
        slope += turnover * traded
    return slope + leverage * total, size


@compile_function
def _search(row, kind, earned, z, direction, spread, slope, high, high_slope, longest, work, x, flexibility):
    """Return a step length where the slope has nearly vanished, and whether it never does. See `_Ray.search`.

    The weights left in `x` are those at the length returned.
    """
    low, low_slope = 0.0, slope
    growths = 0
    while high_slope > 0.5 * slope and high < longest:
        if growths == 30:
            return high, True
        low, low_slope = high, high_slope
        high = min(16.0 * high, longest)
        high_slope, _ = _slope_at(row, kind, earned, z, direction, spread, high, work, x, flexibility)
        growths += 1
    if high_slope >= -OVERSHOOT * slope:
        return high, False
    side = 0
    for count in range(100):
        trial = high - (high - low) * high_slope / (high_slope - low_slope)
        if high > 64.0 * low and count % 2 == 1:
            trial = np.sqrt(max(low, high * 1e-6) * high)
        trial_slope, _ = _slope_at(row, kind, earned, z, direction, spread, trial, work, x, flexibility)
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
    _slope_at(row, kind, earned, z, direction, spread, low, work, x, flexibility)
    return low, False


@compile_function
def _steepness(kind, direction, spread):
    """Return how fast a step along `direction` moves what a unit of some weight earns."""
    leverage, turnover = norm_multipliers(kind, direction)
    return np.abs(spread).max() + abs(leverage) + abs(turnover)


@compile_function
def _shorten(row, kind, earned, z, direction, spread, slope, high, work, x, flexibility):
    """Return about the shortest step that halves the slope. See `_Ray.shorten`."""
    low = 0.0
    for _ in range(100):
        if high <= 4.0 * low:
            break
        trial = np.sqrt(max(low, high * 1e-6) * high)
        trial_slope, _ = _slope_at(row, kind, earned, z, direction, spread, trial, work, x, flexibility)
        if trial_slope > 0.5 * slope:
            low = trial
        else:
            high = trial
    return high


@compile_function
def _maximise(data, kind, all_z, all_x, all_flexibility, all_error, all_unbounded, all_iterations):
    columns, offsets = data[2], data[3]
    n_rows, n_assets = data[0].shape
    n_multipliers = offsets.shape[1]
    n_linear = columns.shape[2]
    gradient, direction, right = np.empty(n_multipliers), np.empty(n_multipliers), np.empty(n_multipliers)
    looseness = np.empty(n_multipliers)
    curvature, factor = np.empty((n_multipliers, n_multipliers)), np.zeros((n_multipliers, n_multipliers))
    packed = np.empty((n_assets, n_multipliers))
    work = (np.empty(n_assets), np.empty(n_multipliers))
    earned, spread = np.empty(n_assets), np.empty(n_assets)
    trial_x, trial_flexibility, price = np.empty(n_assets), np.empty(n_assets), np.empty(n_assets)
    for number in range(n_rows):
        row = (
            row_of(data[0], number),
            row_of(data[1], number),
            row_of(data[2], number),
            row_of(data[3], number),
            row_of(data[4], number),
            row_of(data[5], number),
            row_of(data[6], number),
            row_of(data[7], number),
            row_of(data[8], number),
            row_of(data[9], number),
            row_of(data[10], number),
            row_of(data[11], number),
            row_of(data[12], number),
            row_of(data[13], number),
            row_of(data[14], number),
            row_of(data[15], number),
            row_of(data[16], number),
            row_of(data[17], number),
            row_of(data[18], number),
            row_of(data[19], number),
            row_of(data[20], number),
            row_of(data[21], number),
            row_of(data[22], number),
        )
        c, column, first = row[0], row[2], row[13]
        z, x, flexibility = all_z[number], all_x[number], all_flexibility[number]
        column_size = np.zeros(n_linear)
        looseness[:] = first.sum()
        looseness[:n_linear] = 0.0
        for i in range(n_assets):
            for j in range(n_linear):
                square = column[i, j] * column[i, j]
                column_size[j] += square
                looseness[j] += square * first[i]
        column_size = np.sqrt(column_size)
        for i in range(n_assets):
            price[i] = abs(c[i]) + row[20][i]
        highest = price.max()
        _times_columns(column, z, spread)
        earned[:] = c - spread
        respond(row, kind, earned, z, x, flexibility)
        for j in range(n_linear, n_multipliers):
            # A norm limit far exceeded: raise its multiplier alone first, which needs no product with the columns.
            if z[j] > 0.0:
                continue
            _gradient(row, kind, x, z, gradient)
            if gradient[j] > 0.0:
                direction[:] = 0.0
                direction[j] = 1.0
                spread[:] = 0.0
                length, slope = 0.01 * highest, gradient[j]
                end_slope, _ = _slope_at(
                    row, kind, earned, z, direction, spread, length, work, trial_x, trial_flexibility
                )
                length, _ = _search(
                    row,
                    kind,
                    earned,
                    z,
                    direction,
                    spread,
                    slope,
                    length,
                    end_slope,
                    np.inf,
                    work,
                    trial_x,
                    trial_flexibility,
                )
                z[j] = min(length, highest)
                respond(row, kind, earned, z, x, flexibility)
        damping, best, stalled = SMALLEST_DAMPING, np.inf, 0
        for iteration in range(MAX_ITERATIONS + 1):
            all_iterations[number] = iteration
            _gradient(row, kind, x, z, gradient)
            error = _error(row, kind, column_size, price, x, flexibility, z, gradient)
            stalled = 0 if error < 0.5 * best or error > 1e-10 else stalled + 1
            best = min(best, error)
            if error <= TOLERANCE or stalled >= 3 or all_unbounded[number] or iteration == MAX_ITERATIONS:
                break
            curvature_of(row[1], row[2], row[4], kind, x, flexibility, packed, curvature)
            longest = _direction(kind, damping, looseness, z, gradient, curvature, factor, right, direction)
            slope = np.dot(gradient, direction)
            _times_columns(column, direction, spread)
            length = min(1.0, longest)
            end_slope, size = _slope_at(
                row, kind, earned, z, direction, spread, length, work, trial_x, trial_flexibility
            )
            tried = length
            rounding = 1e-15 * size
            too_far = end_slope < -OVERSHOOT * slope - rounding
            too_short = end_slope > 0.5 * slope and length < longest and slope > rounding
            if too_far or too_short:
                length, all_unbounded[number] = _search(
                    row,
                    kind,
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
                tried = length
            elif length * _steepness(kind, direction, spread) > LEAP * highest:
                tried = -1.0
                length = _shorten(
                    row,
                    kind,
                    earned,
                    z,
                    direction,
                    spread,
                    slope,
                    length,
                    work,
                    trial_x,
                    trial_flexibility,
                )
            # Where the step ends the response is known: of the last length tried, unless it was shortened since.
            known = length == tried
            damping = min(max(damping * (1e3 if length < 1e-2 else 1e-2), SMALLEST_DAMPING), 1.0)
            for j in range(n_multipliers):
                z[j] += length * direction[j]
                if j >= kind[1] and direction[j] < 0.0 and z[j] <= 1e-14 * abs(length * direction[j]):
                    z[j] = 0.0
                    known = False
            if known:
                earned[:] = work[0]
                x[:] = trial_x
                flexibility[:] = trial_flexibility
            else:
                _times_columns(column, z, spread)
                earned[:] = c - spread
                respond(row, kind, earned, z, x, flexibility)
        # Once more from the multipliers alone, so that no rounding of the steps is left in the weights.
        _times_columns(column, z, spread)
        earned[:] = c - spread
        respond(row, kind, earned, z, x, flexibility)
        _gradient(row, kind, x, z, gradient)
        all_error[number] = _error(row, kind, column_size, price, x, flexibility, z, gradient)
