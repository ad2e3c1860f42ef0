"""The table of breaks of `backtest.solver.separable` where all breaks are kinks, compiled: no ramp, bend or curve.

This is the problem that a simulation solves day after day, with nothing new in it but the forecast and what is held.
Every number is worked out in the order in which `Separable.of` does it, so that both tables are the same to the bit.
"""

from __future__ import annotations

import numba
import numpy as np

from backtest.solver.compiled_response import row_of

__all__ = ["ELSEWHERE", "HELD", "ZERO", "tabulate_kinks"]

ELSEWHERE, ZERO, HELD = 0, 1, 2
"""Where a kink is: at a weight of its own, at 0, or at the weight held."""

# Not with the flags of the other compiled functions: these let sums be taken in any order.
compile_exactly = numba.njit(cache=True, nogil=True)


@compile_exactly
def tabulate_kinks(diagonal, held, kinks, norms, table):
    """Fill the table of breaks of B rows.

    Args:
        diagonal: (B | 1, N), above 0.
        held: (B, N).
        kinks: `(at, start, left, right)` of K kinks: where each is (K,), and (B | 1, K, N) its own place, which is read
            where it is elsewhere, and the slopes below and above it.
        norms: (break, has_limit) of leverage, then of turnover: the number of the break that carries the jump of the
            norm, or -1.
        table: `(place, below, above, sign_below, sign_above, trade_below, trade_above, scale)`, filled: the first
            three (B, M, N), M at least K; the signs the same, or one number where there is no such limit; (B, N).
    """
    at, starts, lefts, rights = kinks
    places, belows, aboves, signs_below, signs_above, trades_below, trades_above, scales = table
    n_rows, n_breaks, n_assets = places.shape
    n_kinks = at.shape[0]
    zero_break, held_break = norms
    kink, order = np.empty((n_breaks, n_assets)), np.empty((n_breaks, n_assets))
    # One pass over all assets at a time, without branches, so that the compiler takes several at once.
    for row in range(n_rows):
        own, before = row_of(diagonal, row), held[row]
        start, left, right = row_of(starts, row), row_of(lefts, row), row_of(rights, row)
        place, below, above = places[row], belows[row], aboves[row]
        for m in range(n_breaks):
            # Behind the kinks come the jumps of norms that no kink shares a place with.
            if m < n_kinks and at[m] == ELSEWHERE:
                kink[m, :] = start[m]
            elif (m < n_kinks and at[m] == HELD) or (m >= n_kinks and m == held_break):
                kink[m, :] = before
            else:
                kink[m, :] = 0.0
            place[m, :] = kink[m]
            order[m, :] = m
        _sort(place, order)
        for m in range(n_breaks):
            for i in range(n_assets):
                below[m, i] = own[i] * place[m, i]
                above[m, i] = below[m, i]
            for k in range(n_kinks):
                for i in range(n_assets):
                    low, high = left[k, i], right[k, i]
                    below[m, i] += high if place[m, i] > kink[k, i] else low
                    above[m, i] += high if place[m, i] >= kink[k, i] else low
        if zero_break >= 0:
            _sign(order, zero_break, signs_below[row], signs_above[row])
        if held_break >= 0:
            _sign(order, held_break, trades_below[row], trades_above[row])
        scale = scales[row]
        for i in range(n_assets):
            scale[i] = own[i] * abs(before[i])
        for k in range(n_kinks):
            for i in range(n_assets):
                scale[i] += max(abs(left[k, i]), abs(right[k, i]))


@compile_exactly
def _sort(place, order):
    """Sort the places of each asset, and what is at them along, by a stable exchange of neighbours."""
    n_breaks, n_assets = place.shape
    for last in range(n_breaks - 1, 0, -1):
        for m in range(last):
            for i in range(n_assets):
                one, other = place[m, i], place[m + 1, i]
                first, second = order[m, i], order[m + 1, i]
                swap = one > other
                place[m, i] = other if swap else one
                place[m + 1, i] = one if swap else other
                order[m, i] = second if swap else first
                order[m + 1, i] = first if swap else second


@compile_exactly
def _sign(order, number, below, above):
    """Fill the sign of what lies on each side of every break: it turns from -1 to 1 at the break of this number."""
    for m in range(order.shape[0]):
        for i in range(order.shape[1]):
            before = above[m - 1, i] if m else -1.0
            below[m, i] = before
            above[m, i] = 1.0 if order[m, i] == number else before
