"""The method of `backtest.solver.newton`, compiled, one row at a time: the CPU path.

A tensor library's overhead per call is many times the arithmetic of one small problem. Here each row runs to its own
end, and assets that are stuck cost nothing in the curvature. Tested against the batched tensor path, which serves
every other device.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from backtest.solver.dual import ROUNDING, Dual
from backtest.solver.newton import LEAP, MAX_ITERATIONS, OVERSHOOT, SMALLEST_DAMPING, TOLERANCE, DualPoint

__all__ = ["maximise_dual_compiled"]

_compile = numba.njit(cache=True, nogil=True, fastmath={"nsz", "arcp", "contract", "reassoc"})
"""Sums may be taken in any order; infinite limits stay what they are."""

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


@_compile
def _row_of(array, row):
    return array[row] if array.shape[0] > 1 else array[0]


@_compile
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
                weight, slack = place[i, m], (bend[i, m] if high <= low and slack > 0.0 else 0.0)
        if weight <= lower[i] or weight >= upper[i]:
            slack = 0.0
        x[i] = min(max(weight, lower[i]), upper[i])
        flexibility[i] = slack


@_compile
def _times_columns(columns, z, product):
    """Fill `columns z`; `z` may be longer."""
    for i in range(columns.shape[0]):
        total = 0.0
        for j in range(columns.shape[1]):
            total += columns[i, j] * z[j]
        product[i] = total


@_compile
def _gradient(row_data, kind, offset, x, z, gradient):
    held, columns = row_data[0], row_data[1]
    n_linear = columns.shape[1]
    for j in range(z.shape[0]):
        gradient[j] = -offset[j] - (z[j] if j < kind[0] else 0.0)
    total, traded = 0.0, 0.0
    for i in range(x.shape[0]):
        if x[i] != 0.0:
            for j in range(n_linear):
                gradient[j] += x[i] * columns[i, j]
            total += abs(x[i])
        traded += abs(x[i] - held[i])
    if kind[2]:
        gradient[n_linear] += total
    if kind[3]:
        gradient[-1] += traded


@_compile
def _error(kind, offset, column_size, price, x, flexibility, z, gradient):
    """Return the largest gradient entry relative to the terms it is a difference of (`Dual.scale`)."""
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
        size = (column_size[j] * length if j < n_linear else total) + abs(offset[j])
        if j < kind[0]:
            size += abs(z[j]) + ROUNDING * highest / max(column_size[j], TINY)
        if gradient[j] != 0.0:
            worst = max(worst, abs(gradient[j]) / max(size, TINY))
    return worst


@_compile
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


@_compile
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


@_compile
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


@_compile
def _slope_at(row_data, kind, offset, earned, z, direction, spread, length, work, x, flexibility):
    """Return the slope of the dual along the ray at `length`, and the size of its terms; fills the weights there."""
    trial_earned, trial_z = work
    for j in range(z.shape[0]):
        trial_z[j] = z[j] + length * direction[j]
    for i in range(x.shape[0]):
        trial_earned[i] = earned[i] - length * spread[i]
    _respond(row_data, kind, trial_earned, trial_z, x, flexibility)
    constant = 0.0
    for j in range(z.shape[0]):
        constant += direction[j] * offset[j]
    for j in range(kind[0]):
        constant += direction[j] * trial_z[j]
    slope, size, total, traded = -constant, abs(constant), 0.0, 0.0
    for i in range(x.shape[0]):
        product = spread[i] * x[i]
        slope += product
        size += abs(product)
        total += abs(x[i])
    if kind[3]:
        held = row_data[0]
        for i in range(x.shape[0]):
            traded += abs(x[i] - held[i])
        slope += direction[-1] * traded
    if kind[2]:
        slope += direction[row_data[1].shape[1]] * total
    return slope, size


@_compile
def _search(
    row_data, kind, offset, earned, z, direction, spread, slope, high, high_slope, longest, work, x, flexibility
):
    """Return a step length where the slope has nearly vanished, and whether it never does. See `_Ray.search`."""
    low, low_slope = 0.0, slope
    growths = 0
    while high_slope > 0.5 * slope and high < longest:
        if growths == 30:
            return high, True
        low, low_slope = high, high_slope
        high = min(16.0 * high, longest)
        high_slope, _ = _slope_at(row_data, kind, offset, earned, z, direction, spread, high, work, x, flexibility)
        growths += 1
    if high_slope >= -OVERSHOOT * slope:
        return high, False
    side = 0
    for count in range(100):
        trial = high - (high - low) * high_slope / (high_slope - low_slope)
        if high > 64.0 * low and count % 2 == 1:
            trial = np.sqrt(max(low, high * 1e-6) * high)
        trial_slope, _ = _slope_at(row_data, kind, offset, earned, z, direction, spread, trial, work, x, flexibility)
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


@_compile
def _steepness(kind, direction, spread):
    """Return how fast a step along `direction` moves what a unit of some weight earns."""
    steepness = np.abs(spread).max()
    if kind[2]:
        steepness += abs(direction[-2 if kind[3] else -1])
    if kind[3]:
        steepness += abs(direction[-1])
    return steepness


@_compile
def _shorten(row_data, kind, offset, earned, z, direction, spread, slope, high, work, x, flexibility):
    """Return about the shortest step that halves the slope. See `_Ray.shorten`."""
    low = 0.0
    for _ in range(100):
        if high <= 4.0 * low:
            break
        trial = np.sqrt(max(low, high * 1e-6) * high)
        trial_slope, _ = _slope_at(row_data, kind, offset, earned, z, direction, spread, trial, work, x, flexibility)
        if trial_slope > 0.5 * slope:
            low = trial
        else:
            high = trial
    return high


@_compile
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
    earned, spread = np.empty(n_assets), np.empty(n_assets)
    trial_x, trial_flexibility, price = np.empty(n_assets), np.empty(n_assets), np.empty(n_assets)
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
        for i in range(n_assets):
            largest = 0.0
            for m in range(row_data[2].shape[1]):
                largest = max(largest, abs(row_data[3][i, m]), abs(row_data[4][i, m]))
            price[i] = abs(c[row, i]) + largest
        highest = price.max()
        _times_columns(column, z, spread)
        earned[:] = c[row] - spread
        _respond(row_data, kind, earned, z, x, flexibility)
        for j in range(n_linear, n_multipliers):
            # A norm limit far exceeded: raise its multiplier alone first, which needs no product with the columns.
            if z[j] > 0.0:
                continue
            _gradient(row_data, kind, offset, x, z, gradient)
            if gradient[j] > 0.0:
                direction[:] = 0.0
                direction[j] = 1.0
                spread[:] = 0.0
                length, slope = 0.01 * highest, gradient[j]
                end_slope, _ = _slope_at(
                    row_data, kind, offset, earned, z, direction, spread, length, work, trial_x, trial_flexibility
                )
                length, _ = _search(
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
                    np.inf,
                    work,
                    trial_x,
                    trial_flexibility,
                )
                z[j] = min(length, highest)
                _respond(row_data, kind, earned, z, x, flexibility)
        damping, best, stalled = SMALLEST_DAMPING, np.inf, 0
        for iteration in range(MAX_ITERATIONS + 1):
            all_iterations[row] = iteration
            _gradient(row_data, kind, offset, x, z, gradient)
            error = _error(kind, offset, column_size, price, x, flexibility, z, gradient)
            stalled = 0 if error < 0.5 * best or error > 1e-10 else stalled + 1
            best = min(best, error)
            if error <= TOLERANCE or stalled >= 3 or all_unbounded[row] or iteration == MAX_ITERATIONS:
                break
            _curvature(row_data, kind, x, flexibility, packed, curvature)
            longest = _direction(kind, damping, looseness, z, gradient, curvature, factor, right, direction)
            slope = np.dot(gradient, direction)
            _times_columns(column, direction, spread)
            length = min(1.0, longest)
            end_slope, size = _slope_at(
                row_data, kind, offset, earned, z, direction, spread, length, work, trial_x, trial_flexibility
            )
            tried = length
            rounding = 1e-15 * size
            too_far = end_slope < -OVERSHOOT * slope - rounding
            too_short = end_slope > 0.5 * slope and length < longest and slope > rounding
            if too_far or too_short:
                tried = -1.0
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
            elif length * _steepness(kind, direction, spread) > LEAP * highest:
                tried = -1.0
                length = _shorten(
                    row_data,
                    kind,
                    offset,
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
            # Where the step ends the response is known: of the last length tried, unless a search ended elsewhere.
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
                earned[:] = c[row] - spread
                _respond(row_data, kind, earned, z, x, flexibility)
        # Once more from the multipliers alone, so that no rounding of the steps is left in the weights.
        _times_columns(column, z, spread)
        earned[:] = c[row] - spread
        _respond(row_data, kind, earned, z, x, flexibility)
        _gradient(row_data, kind, offset, x, z, gradient)
        all_error[row] = _error(kind, offset, column_size, price, x, flexibility, z, gradient)
