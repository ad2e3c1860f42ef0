"""The response of `backtest.solver.separable`, compiled, for the assets of one row.

Numba's cache of a compiled caller looks at the caller's own file alone: after a change here delete `__pycache__`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from backtest.costs import Curve, Power, Root
from backtest.solver.dual import Dual
from backtest.solver.scalar_root import CLOSE, ITERATIONS

__all__ = ["Arrays", "compile_function", "known_curves", "norm_multipliers", "respond", "row_of"]

compile_function = numba.njit(cache=True, nogil=True, fastmath={"nsz", "arcp", "contract", "reassoc"})
"""Sums may be taken in any order; infinite limits stay what they are."""

POWER, ROOT = 0, 1
TINY = 1e-300


class Arrays(NamedTuple):
    """A dual problem as arrays; one whose first size is 1 is shared by all rows. M breaks, Q curves."""

    c: np.ndarray  # (B, N)
    held: np.ndarray  # (B | 1, N)
    columns: np.ndarray  # (B | 1, N, r)
    offset: np.ndarray  # (B, R)
    softness: np.ndarray  # (B | 1, R)
    place: np.ndarray  # (B | 1, M, N), and so to `trade_above`
    below: np.ndarray
    above: np.ndarray
    flexibility: np.ndarray
    sign_below: np.ndarray
    sign_above: np.ndarray
    trade_below: np.ndarray
    trade_above: np.ndarray
    first: np.ndarray  # (B | 1, N)
    lower: np.ndarray
    upper: np.ndarray
    kinds: np.ndarray  # (1, Q)
    centre: np.ndarray  # (B | 1, Q, N), and so to `extra`
    weight: np.ndarray
    extra: np.ndarray
    scale: np.ndarray  # (B | 1, N)
    anchor: np.ndarray  # (B | 1, M, N), and `level`
    level: np.ndarray

    @staticmethod
    def of(dual: Dual) -> Arrays:
        """Return the arrays of a dual on the CPU whose curves are all known."""
        separable = dual.separable

        def plain(tensor: Tensor) -> np.ndarray:
            return np.ascontiguousarray(tensor.numpy())

        def by_break(tensor: Tensor | None) -> np.ndarray:
            return np.zeros((1, 1, 1)) if tensor is None else plain(tensor.transpose(0, 1))

        curves = separable.curves
        parts = [_parameters(curve) for curve in curves]

        def by_curve(number: int) -> np.ndarray:
            if not parts:
                return np.zeros((1, 0, dual.c.shape[-1]))
            return plain(torch.stack(torch.broadcast_tensors(*(part[number] for part in parts)), dim=1))

        return Arrays(
            plain(dual.c),
            plain(dual.held),
            plain(dual.columns),
            plain(dual.offset),
            plain(dual.softness),
            by_break(separable.place),
            by_break(separable.below),
            by_break(separable.above),
            by_break(separable.flexibility),
            by_break(separable.sign_below),
            by_break(separable.sign_above),
            by_break(separable.trade_below),
            by_break(separable.trade_above),
            plain(separable.first_flexibility),
            plain(separable.lower),
            plain(separable.upper),
            np.array([[POWER if isinstance(curve, Power) else ROOT for curve in curves]], dtype=np.int64),
            by_curve(0),
            by_curve(1),
            by_curve(2),
            plain(separable.scale),
            by_break(separable.anchor),
            by_break(separable.level),
        )


def known_curves(curves: tuple[Curve, ...]) -> bool:
    """Return whether the compiled response knows all curves; others need their own Python code."""
    return all(isinstance(curve, Power | Root) for curve in curves)


def _parameters(curve: Curve) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(curve, Power):
        return curve.centre, curve.weight, torch.full_like(curve.weight, curve.exponent)
    assert isinstance(curve, Root)
    return curve.centre, curve.weight, curve.width


# In what follows `row` is the tuple of one row's arrays, in the order of `Arrays`, and `kind` the tuple
# (n_factors, n_free, n_leverage, n_turnover).


@compile_function
def row_of(array: Any, row: Any) -> Any:
    """Return the part of `array` for a row of the batch."""
    return array[row] if array.shape[0] > 1 else array[0]


@compile_function
def norm_multipliers(kind, z):
    """Return the summed multipliers of leverage limits and of turnover limits."""
    leverage, turnover = 0.0, 0.0
    end = z.shape[0]
    for j in range(end - kind[3] - kind[2], end - kind[3]):
        leverage += z[j]
    for j in range(end - kind[3], end):
        turnover += z[j]
    return leverage, turnover


@compile_function
def respond(row, kind, earned, z, x, flexibility):
    """Fill weights and flexibility of one row: `Separable.response`."""
    place, below, above, bend = row[5], row[6], row[7], row[8]
    sign_below, sign_above, trade_below, trade_above = row[9], row[10], row[11], row[12]
    first, lower, upper = row[13], row[14], row[15]
    anchor, level = row[21], row[22]
    leverage, turnover = norm_multipliers(kind, z)
    n = earned.shape[0]
    for i in range(n):
        low = below[0, i]
        if kind[2]:
            low += leverage * sign_below[0, i]
        if kind[3]:
            low += turnover * trade_below[0, i]
        x[i] = place[0, i] + (earned[i] - low) * first[i]
        flexibility[i] = first[i]
    # One pass a break, without branches an asset: the compiler takes several assets at once.
    for m in range(place.shape[0]):
        for i in range(n):
            low, high, start = below[m, i], above[m, i], level[m, i]
            if kind[2]:
                low += leverage * sign_below[m, i]
                high += leverage * sign_above[m, i]
                start += leverage * sign_above[m, i]
            if kind[3]:
                low += turnover * trade_below[m, i]
                high += turnover * trade_above[m, i]
                start += turnover * trade_above[m, i]
            # Read first and chosen later: what is read in a branch keeps the compiler from taking several at once.
            here, limp, old_x, old_slack = place[m, i], bend[m, i], x[i], flexibility[i]
            beyond = anchor[m, i] + (earned[i] - start) * limp
            moves = (earned[i] > high) | ((high <= low) & (old_slack > 0.0))
            reached = earned[i] >= low
            weight = beyond if moves else here
            slack = limp if moves else 0.0
            x[i] = weight if reached else old_x
            flexibility[i] = slack if reached else old_slack
    if row[16].shape[0]:
        _follow_curves(row, kind, earned, leverage, turnover, x, flexibility)
    for i in range(n):
        inside = x[i] > lower[i] and x[i] < upper[i]
        flexibility[i] = flexibility[i] if inside else 0.0
        x[i] = min(max(x[i], lower[i]), upper[i])


@compile_function
def _follow_curves(row, kind, earned, leverage, turnover, x, flexibility):
    """Mend the response where curves bend the segment that it lies on."""
    place, below, above, bend = row[5], row[6], row[7], row[8]
    sign_below, sign_above, trade_below, trade_above = row[9], row[10], row[11], row[12]
    first, anchors, levels = row[13], row[21], row[22]
    for i in range(earned.shape[0]):
        segment, first_low, last_high, shift = 0, 0.0, 0.0, 0.0
        for m in range(place.shape[0]):
            low, high, norms = below[m, i], above[m, i], 0.0
            if kind[2]:
                low += leverage * sign_below[m, i]
                norms += leverage * sign_above[m, i]
            if kind[3]:
                low += turnover * trade_below[m, i]
                norms += turnover * trade_above[m, i]
            if m == 0:
                first_low = low
            if earned[i] < low:
                break
            segment, last_high, shift = m + 1, high + norms, norms
        if segment == 0:
            need, anchor, slope, longest = earned[i] - first_low, place[0, i], 1.0 / first[i], np.inf
        else:
            last = segment - 1
            if earned[i] <= last_high:
                if flexibility[i] > 0.0:
                    _, curved = _curves_beyond(row, i, place[last, i], 0.0)
                    flexibility[i] = 1.0 / (1.0 / flexibility[i] + curved)
                continue
            need, anchor = earned[i] - (levels[last, i] + shift), anchors[last, i]
            slope = 1.0 / bend[last, i]
            longest = place[segment, i] - place[last, i] if segment < place.shape[0] else np.inf
        if row[16].shape[0] == 1 and row[16][0] == POWER and row[18][0, i] > 0.0:
            distance, flexibility[i] = _beyond_one_power(row, i, anchor, need, slope)
        else:
            distance, flexibility[i] = _root_beyond(row, i, anchor, need, slope, longest)
        x[i] = anchor + distance


@compile_function
def _curves_beyond(row, i, anchor, move):
    """Return slope and curvature of the curves of asset i at `anchor + move`."""
    kinds, centre, weight, extra = row[16], row[17], row[18], row[19]
    slope, curvature = 0.0, 0.0
    for q in range(kinds.shape[0]):
        scale = weight[q, i]
        if scale == 0.0:
            continue
        # The distance from the centre is exact where the anchor is the centre, however short the move.
        away = (anchor - centre[q, i]) + move
        if kinds[q] == POWER:
            exponent = extra[q, i]
            if away == 0.0:
                curvature = np.inf
            else:
                size = abs(away)
                part = exponent * scale * (np.sqrt(size) if exponent == 1.5 else size ** (exponent - 1.0))
                slope += part if away > 0.0 else -part
                curvature += (exponent - 1.0) * part / size
        else:
            reach = np.sqrt(away * away + extra[q, i] * extra[q, i])
            slope += scale * away / reach
            curvature += scale * extra[q, i] * extra[q, i] / (reach * reach * reach)
    return slope, curvature


@compile_function
def _power_root(slope, rate, exponent, need):
    """Return `y > 0` with `slope y + rate y^(exponent - 1) = need`, for `need > 0`."""
    if exponent == 1.5:
        root = 2.0 * need / (rate + np.sqrt(rate * rate + 4.0 * slope * need))
        return root * root
    # The left side is concave: from below the root Newton's steps climb to it without passing it.
    y = min(0.5 * need / slope, (0.5 * need / rate) ** (1.0 / (exponent - 1.0)))
    if y < TINY:
        return 0.0
    for _ in range(ITERATIONS):
        part = rate * y ** (exponent - 1.0)
        step = (need - slope * y - part) / (slope + (exponent - 1.0) * part / y)
        y += step
        if step <= CLOSE * y:
            break
    return y


@compile_function
def _beyond_one_power(row, i, anchor, need, slope):
    """Return the distance where the segment earns `need`, and its derivative, for one power and nothing else."""
    centre, weight, exponent = row[17][0, i], row[18][0, i], row[19][0, i]
    away = anchor - centre
    # The centre is a break, so the segment lies on one side of it: that of the anchor, or that of the need.
    side = np.sign(away) if away != 0.0 else np.sign(need)
    origin, _ = _curves_beyond(row, i, anchor, 0.0)
    rate = exponent * weight
    total = side * (need + origin + slope * away)
    if total <= 0.0:
        return -away, 0.0
    y = _power_root(slope, rate, exponent, total)
    if y == 0.0:
        return -away, 0.0
    bent = (exponent - 1.0) * rate * y ** (exponent - 2.0)
    return side * y - away, 1.0 / (slope + bent)


@compile_function
def _root_beyond(row, i, anchor, need, slope, longest):
    """Return the distance where the segment earns `need`, and its derivative: `root_beyond`."""
    size, sign = abs(need), (1.0 if need > 0.0 else -1.0)
    origin, _ = _curves_beyond(row, i, anchor, 0.0)
    low, high = 0.0, min(size / slope, longest)
    t = high
    last = np.inf
    for count in range(ITERATIONS):
        at, bent = _curves_beyond(row, i, anchor, sign * t)
        value = slope * t - size + sign * (at - origin)
        if abs(value) <= CLOSE * size or high - low <= CLOSE * high:
            break
        if value < 0.0:
            low = t
        else:
            high = t
        newton = t - value / (slope + bent)
        slow = abs(value) > 0.5 * last
        bisect = slow or not (newton > low and newton < high)
        last = np.inf if slow else abs(value)
        if bisect:
            if high > 4.0 * low:
                t = np.sqrt(low * high) if low > 0.0 else high * (0.5 if count % 4 else 1e-3)
            else:
                t = 0.5 * (low + high)
        elif newton == t:
            break
        else:
            t = newton
    _, bent = _curves_beyond(row, i, anchor, sign * t)
    return sign * t, 1.0 / (slope + bent)
