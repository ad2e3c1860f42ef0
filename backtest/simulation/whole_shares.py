"""Target weights rounded to whole shares, and repaired so that every limit still holds.

Each row gets the first of these that exists. Of several it is the one nearest to the target: the least value between
them, `sum_i |x_i - q_i|` with `x` the weights of the whole shares. So it is the nearest whole shares where they do.

1. Each name rounded down or up, all limits kept, equalities to their first tolerance.
2. The same, equalities to their last tolerance.
3. The same with each name from `WIDER` lots below its target and its holding to `WIDER` lots above them.
4. With those, what breaks the limits least: the excess of all of them added up, each in the largest lots of its limit,
   and a thousandth of the distance in the largest lots. But where what is held breaks the limits no more than that,
   nothing is traded.

They are found by integer programs, each to within `GAP` of the smallest distance. A quick repair comes first: what it
finds is taken where it is within `QUICK` of the distance of the nearest whole shares, which nothing can beat. With more
than `MANY` names that can move programs could take seconds: there what the quick repair finds is taken wherever it
keeps all limits, and in place of 4 as well. A program ends after a number of nodes, not seconds: beyond it a choice can
be missed or further away, but it is the same each time.

A row whose target is what is held, if that is whole, trades nothing, whatever it breaks.

**Equalities** (dollar neutral, fully invested, a factor or a group at a number) hold with whole shares only by chance.
One lot of a name moves `a'x` by `|a_i| lot price_i / wealth`. Of the names that take part - `a_i` is not 0, their own
limits leave them more than one number of lots, and their target is not 0, unless all are - the largest such move
is the measure: `|a'x - b|` is at most half of it, the last tolerance. That is coarse where one share is very dear, so
half of a smaller move is tried before, the first tolerance: of the move that a fraction `2^-m` of the names exceeds,
with `m` equalities in all; the median for one. An equality within the last tolerance counts as kept, and one that no
name takes part in cannot be moved: it is reported, and does not count in what is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backtest.costs import Constraint
from backtest.errors import SimulationError
from backtest.market import MarketSnapshot
from backtest.simulation.share_limits import KEPT, ShareLimits, read_limits
from backtest.simulation.share_program import GAP, least_excess, nearest_kept
from backtest.simulation.share_repair import Allowed, SharesProblem, quick_repair

__all__ = ["GAP", "MANY", "QUICK", "WIDER", "WholeShares", "round_to_shares"]

QUICK = 0.05
"""Most that a quick repair may add to the distance of the nearest whole shares, as a fraction of it."""

MANY = 20
"""Names that can move up to which the best choice is looked for, however long a program takes."""

WIDER = 10
"""Lots around the target and the holding that are tried when rounding the target down or up does not suffice."""

WHOLE = 1e-9
"""A number of lots this near to a whole one, relative, is that one: what was computed from whole shares."""


@dataclass(frozen=True, eq=False)
class WholeShares:
    """Whole shares to hold, and what they do not keep.

    Attributes:
        shares: (B, N) number of shares, negative when short.
        untouched: (B, N) bool, names that keep what is held, to the last share and fraction: what cannot be traded,
            what its own limits leave no whole number of lots but do leave as it is (a fraction on a no-trade list),
            and every name of a row that is `held_back` or whose target is what is held, if that is whole.
        held_back: (B,) bool, rows that trade nothing because no whole shares were found that break the limits less
            than what is held does.
        broken: row -> name of a constraint that `shares` do not keep, as "PositionLimit(0.05)" -> how far it is from
            being met, by the worst of its limits: a weight, or in the unit of a limit that is none on weights, as
            weight times loading of a factor, or half the variance of one period. Rows without any are left out.
        refused: the same for the rows that are held back, of the best whole shares that were found.
    """

    shares: np.ndarray
    untouched: np.ndarray
    held_back: np.ndarray
    broken: Mapping[int, Mapping[str, float]]
    refused: Mapping[int, Mapping[str, float]]


def round_to_shares(
    q: np.ndarray,
    held: np.ndarray,
    *,
    price: np.ndarray,
    wealth: np.ndarray,
    constraints: Sequence[Constraint],
    market: MarketSnapshot | None,
    tradable: np.ndarray,
    lot: float = 1.0,
) -> WholeShares:
    """Round target weights to whole lots of shares that keep every constraint.

    How one is chosen, and what an equality means for whole shares, stands at the top of this module. Any row is rounded
    as if it were alone, to the last bit, and so is any order of the names. Soft constraints are costs, not limits, and
    are not among `constraints`.

    Args:
        q: (B, N) target weights, fractions of wealth just before the trade; finite where tradable.
        held: (B, N) weights before the trade; need not be whole shares.
        price: (N,) currency per share; above 0 for names that are held or tradable.
        wealth: (B,) currency.
        constraints: the limits; each is read with `held` and `market`, as the solver does.
        market: the market at the decision, one row that all books share; None where no constraint needs it.
        tradable: (B, N) bool. Other names stay as held, and limits on their own weight do not count.
        lot: shares per lot; whole multiples of it are held.

    A row whose wealth is not above 0 and finite trades nothing and reports nothing.

    Raises:
        SimulationError: the shapes disagree, the lot is not above 0, or a price, target or holding that is needed is
            not a number.
        CostError, LabelError: a constraint does not fit the positions.
    """
    q, held, tradable = np.asarray(q, dtype=float), np.asarray(held, dtype=float), np.asarray(tradable, dtype=bool)
    price, wealth = np.asarray(price, dtype=float), np.asarray(wealth, dtype=float)
    alive = np.isfinite(wealth) & (wealth > 0)
    _check(q, held, price, wealth, tradable, alive, lot)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(held == 0, 0.0, held * wealth[:, None] / price)
    untouched = np.ones(q.shape, dtype=bool)
    held_back = np.zeros(len(q), dtype=bool)
    broken: dict[int, Mapping[str, float]] = {}
    refused: dict[int, Mapping[str, float]] = {}
    q = np.where(tradable, q, held)
    limits = read_limits(np.where(alive[:, None], held, 0.0), constraints, market, tradable)
    for row in np.flatnonzero(alive).tolist():
        order = _order(q[row], held[row], price, tradable[row], limits[row])
        row_lot = np.where(tradable[row], lot * price / wealth[row], 1.0)[order]
        result = _round_row(q[row][order], row_lot, tradable[row][order], limits[row].ordered(order))
        shares[row, order] = np.where(result.untouched, shares[row, order], result.count * lot)
        untouched[row, order] = result.untouched
        held_back[row] = result.held_back
        if result.broken:
            broken[row] = result.broken
        if result.held_back:
            refused[row] = result.refused
    return WholeShares(shares, untouched, held_back, broken, refused)


def _check(
    q: np.ndarray,
    held: np.ndarray,
    price: np.ndarray,
    wealth: np.ndarray,
    tradable: np.ndarray,
    alive: np.ndarray,
    lot: float,
) -> None:
    shapes = [array.shape for array in (q, held, tradable, wealth, price)]
    if q.ndim != 2 or shapes != [q.shape, q.shape, q.shape, q.shape[:1], q.shape[1:]]:
        raise SimulationError(
            f"q, held, tradable, wealth and price have shapes {', '.join(map(str, shapes))}: "
            "give (B, N), (B, N), (B, N), (B,) and (N,)"
        )
    if not 0 < lot < np.inf:
        raise SimulationError(f"lot is {lot!r}: give a number of shares above 0")
    free = tradable & alive[:, None]
    owned = (held != 0) & alive[:, None]
    wanted = (
        ("price", np.broadcast_to(price, q.shape), (free | owned) & ~(np.isfinite(price) & (price > 0)), "a price"),
        ("the target weight", q, free & ~np.isfinite(q), "a weight"),
        ("the weight held", held, alive[:, None] & ~np.isfinite(held), "a weight"),
    )
    for what, values, bad, cure in wanted:
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise SimulationError(
                f"row {row}, asset {column}: {what} is {float(values[row, column])!r}, but rounding to whole shares "
                f"needs {cure} for what is held or can be traded"
            )


def _order(q: np.ndarray, held: np.ndarray, price: np.ndarray, tradable: np.ndarray, limits: ShareLimits) -> np.ndarray:
    """Return an order of the names that depends on what they are, not on where they stand."""
    keys = np.vstack([tradable, held, price, q])
    order = np.lexsort(keys)
    sorted_keys = keys[:, order]
    if (sorted_keys[:, 1:] == sorted_keys[:, :-1]).all(axis=0).any():
        order = np.lexsort(np.vstack([limits.keys(), keys]))
    return order


@dataclass(frozen=True, eq=False)
class _RowResult:
    """As `WholeShares`, of one row: `count` (N,) lots."""

    count: np.ndarray
    untouched: np.ndarray
    held_back: bool
    broken: Mapping[str, float]
    refused: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _Choices:
    """The numbers of lots that a name may have: those its own limits allow, and those next to its target.

    Attributes:
        fixed: (N,) bool, the name stays at the weight held.
        first, last: (N,) fewest and most lots that its own limits allow.
        below, above: (N,) the numbers of lots next to the target; equal where the target is a whole number.
        near, other: (N,) the nearer of the two, and the one further away; of two that are as near the smaller
            position.
        clipped: (N,) the target within its own limits, a weight.
    """

    fixed: np.ndarray
    first: np.ndarray
    last: np.ndarray
    below: np.ndarray
    above: np.ndarray
    near: np.ndarray
    other: np.ndarray
    clipped: np.ndarray


def _choices(q: np.ndarray, lot: np.ndarray, tradable: np.ndarray, limits: ShareLimits) -> _Choices:
    lower, upper, held = limits.lower, limits.upper, limits.held
    first, last = np.ceil((lower - KEPT) / lot), np.floor((upper + KEPT) / lot)
    nothing = first > last
    fixed = ~tradable | (nothing & (held >= lower - KEPT) & (held <= upper + KEPT))
    # Where its own limits leave a name neither a whole number nor what is held, it comes as near as it can.
    nearest = np.rint(np.clip(q, np.minimum(lower, upper), upper) / lot)
    first, last = np.where(nothing, nearest, first), np.where(nothing, nearest, last)
    exact = np.clip(q / lot, first, last)
    whole = np.rint(exact)
    exact = np.where(np.abs(exact - whole) <= WHOLE * np.maximum(np.abs(whole), 1.0), whole, exact)
    exact = np.where(fixed, 0.0, exact)
    below, above = np.floor(exact), np.ceil(exact)
    down, up = exact - below, above - exact
    nearer_down = (down < up) | ((down == up) & (np.abs(below) <= np.abs(above)))
    return _Choices(
        fixed=fixed,
        first=np.where(fixed, 0.0, first),
        last=np.where(fixed, 0.0, last),
        below=below,
        above=above,
        near=np.where(nearer_down, below, above),
        other=np.where(nearer_down, above, below),
        clipped=np.where(fixed, held, exact * lot),
    )


def _ranges(lot: np.ndarray, choices: _Choices, limits: ShareLimits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how far off each equality may be, at first and at most (R,), and what a lot moves limits by (R + Q,)."""
    movable = ~choices.fixed & (choices.last > choices.first)
    moves = np.where(movable, limits.lots(lot), 0.0)
    part = movable & (choices.clipped != 0)
    aim, most = np.zeros(len(moves)), np.zeros(len(moves))
    share = 0.5 ** int(limits.equal.sum())
    for k in np.flatnonzero(limits.equal):
        sizes = moves[k, part & (moves[k] > 0)]
        sizes = np.sort(sizes if len(sizes) else moves[k, moves[k] > 0])
        if len(sizes):
            aim[k], most[k] = sizes[math.ceil(len(sizes) * (1 - share)) - 1] / 2, sizes[-1] / 2
    curved = [
        np.where(movable, np.abs(limit.gradient(choices.clipped)) * lot + limit.curvature * lot**2 / 2, 0.0)
        for limit in limits.quadratics
    ]
    return aim, most, np.concatenate([moves.max(axis=1), [each.max() for each in curved]])


def _allowed(limits: ShareLimits, tolerance: np.ndarray, unit: np.ndarray) -> Allowed:
    room = tolerance + limits.slack
    bound = np.array([limit.bound + limit.slack for limit in limits.quadratics])
    return Allowed(limits.low - room, limits.high + room, bound, unit)


def _round_row(q: np.ndarray, lot: np.ndarray, tradable: np.ndarray, limits: ShareLimits) -> _RowResult:
    choices = _choices(q, lot, tradable, limits)
    problem = SharesProblem(q, lot, choices.fixed, limits)
    aim, most, unit = _ranges(lot, choices, limits)
    everything = np.ones(len(q), dtype=bool)
    whole = np.abs(q / lot - np.rint(q / lot)) <= WHOLE * np.maximum(np.abs(q / lot), 1.0)
    if ((q == limits.held) & (whole | ~tradable)).all():
        # Told to stay, as a row is that could not be solved: nothing is to be rounded, and so nothing repaired.
        return _RowResult(choices.near, everything, False, limits.broken(limits.held, most), {})
    strict, loose = _allowed(limits, aim, unit), _allowed(limits, most, unit)
    bottom, top = _window(choices, lot, limits.held)
    count, kept = _found(problem, choices, bottom, top, strict, loose)
    if kept:
        return _RowResult(count, choices.fixed, False, limits.broken(problem.weights(count), most), {})
    x = problem.weights(count)
    broken = limits.broken(x, most)
    if _total(limits, loose, limits.held, lot, choices) <= _total(limits, loose, x, lot, choices):
        return _RowResult(count, everything, True, limits.broken(limits.held, most), broken)
    return _RowResult(count, choices.fixed, False, broken, {})


def _found(
    problem: SharesProblem, choices: _Choices, bottom: np.ndarray, top: np.ndarray, strict: Allowed, loose: Allowed
) -> tuple[np.ndarray, bool]:
    """Return numbers of lots (N,), and whether they keep all limits; if not, those that break them least."""
    many = int((top > bottom).sum()) > MANY
    quick, quick_keeps = choices.near, False
    near_enough = (1 + QUICK) * problem.distance(choices.near)
    for allowed in (strict, loose):
        quick = quick_repair(problem, choices.near, bottom, top, allowed)
        quick_keeps = not allowed.excess(problem.limits, problem.weights(quick)).any()
        if quick_keeps and (many or problem.distance(quick) <= near_enough):
            return quick, True
        if many and allowed is strict:
            continue
        exact = nearest_kept(problem, choices.below, choices.above, allowed)
        if exact is not None:
            return exact, True
    exact = nearest_kept(problem, bottom, top, loose)
    found = [count for count in (exact, quick if quick_keeps else None) if count is not None]
    if found:
        return min(found, key=problem.distance), True
    least = None if many else least_excess(problem, bottom, top, loose)
    return quick if least is None else least, False


def _window(choices: _Choices, lot: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return fewest and most lots (N,) that are tried: around target and holding, within the names' own limits."""
    before = np.where(choices.fixed, 0.0, held / lot)
    bottom = np.minimum(choices.below, np.floor(before)) - WIDER
    top = np.maximum(choices.above, np.ceil(before)) + WIDER
    return np.clip(bottom, choices.first, choices.last), np.clip(top, choices.first, choices.last)


def _total(limits: ShareLimits, allowed: Allowed, x: np.ndarray, lot: np.ndarray, choices: _Choices) -> float:
    """Return all excess of weights `x` (N,), each in the largest lots of its limit, limits of single names included."""
    beyond = np.maximum(np.maximum(limits.lower - x, x - limits.upper) - KEPT, 0.0)
    return float(allowed.excess(limits, x).sum() + np.where(choices.fixed, 0.0, beyond / lot).sum())
