"""The slow reference of rounding to whole shares: all roundings of small books, each limit written down once more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backtest.costs import (
    CashFloor,
    Constraint,
    DenseRisk,
    FactorLimit,
    FactorRisk,
    GroupLimit,
    LeverageLimit,
    LinearLimit,
    LongOnly,
    PositionBounds,
    PositionLimit,
    RiskLimit,
    TradeLimit,
    TurnoverLimit,
)
from backtest.simulation.whole_shares import GAP, QUICK, WIDER, WholeShares, round_to_shares

NEAR = 1e-9


def round_row(q, *constraints, price, wealth=1000.0, held=None, tradable=None, lot=1.0, market=None) -> WholeShares:
    """Round one row."""
    q = np.asarray(q, dtype=float)
    return round_to_shares(
        q[None],
        np.zeros((1, len(q))) if held is None else np.asarray(held, dtype=float)[None],
        price=np.broadcast_to(np.asarray(price, dtype=float), q.shape),
        wealth=np.array([wealth]),
        constraints=constraints,
        market=market,
        tradable=np.ones((1, len(q)), dtype=bool) if tradable is None else np.asarray(tradable)[None],
        lot=lot,
    )


@dataclass(frozen=True)
class Rule:
    """A limit, and the same in NumPy.

    Attributes:
        constraint: the limit.
        outside: weights (K, N) -> (K, r), how far beyond each of its inequalities; None where it has none.
        weight: (r, N) most that a unit of each weight moves each inequality; None where that is no constant.
        equal: (m, N) and (m,), its equalities.
        own: (lower, upper) on single weights.
    """

    constraint: Constraint
    outside: Callable[[np.ndarray], np.ndarray] | None = None
    weight: np.ndarray | None = None
    equal: tuple[np.ndarray, np.ndarray] | None = None
    own: tuple[np.ndarray | float, np.ndarray | float] | None = None


@dataclass(frozen=True)
class Book:
    """A target with its limits; `keeps` is whether the target keeps them."""

    q: np.ndarray
    held: np.ndarray
    price: np.ndarray
    wealth: float
    tradable: np.ndarray
    rules: tuple[Rule, ...]

    @property
    def lot(self) -> np.ndarray:
        return self.price / self.wealth

    def rounded(self) -> WholeShares:
        constraints = [rule.constraint for rule in self.rules]
        return round_row(
            self.q, *constraints, price=self.price, wealth=self.wealth, held=self.held, tradable=self.tradable
        )


def rules_of(rng: np.random.Generator, q: np.ndarray, held: np.ndarray) -> dict[str, Rule]:
    """Return one limit of each kind, most of them with the target on its edge."""
    n = len(q)
    ones, groups = np.ones((1, n)), rng.integers(0, 2, n)
    members = np.array([groups == name for name in np.unique(groups)], dtype=float)
    loadings = rng.normal(size=(n, 2))
    root = rng.normal(size=(n, n)) * 0.02
    factor, specific = rng.normal(size=(n, 1)), rng.uniform(1e-4, 4e-4, n)
    dense, thin = root @ root.T, factor @ factor.T * 2e-4 + np.diag(specific)
    most, room = np.abs(q).max(), rng.uniform(0.0, 0.1)
    matrix = rng.normal(size=(2, n))

    def variance(sigma: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.einsum("ki,ij,kj->k", x, sigma, x)[:, None] / (q @ sigma @ q) - 1

    risk = {
        name: Rule(RiskLimit(cost, volatility=float(np.sqrt(q @ sigma @ q))), variance(sigma))
        for name, cost, sigma in (
            ("dense risk", DenseRisk(dense), dense),
            ("factor risk", FactorRisk(factor, np.array([[2e-4]]), specific), thin),
        )
        if q @ sigma @ q > 0
    }
    return risk | {
        "long only": Rule(LongOnly(), own=(0.0, np.inf)),
        "position limit": Rule(PositionLimit(most), own=(-most, most)),
        "position bounds": Rule(PositionBounds(q - room, q + 0.05), own=(q - room, q + 0.05)),
        "trade limit": Rule(
            TradeLimit(np.abs(q - held).max()),
            own=(held - np.abs(q - held).max(), held + np.abs(q - held).max()),
        ),
        "leverage": Rule(
            LeverageLimit(np.abs(q).sum()), lambda x: np.abs(x).sum(1, keepdims=True) - np.abs(q).sum(), ones
        ),
        "turnover": Rule(
            TurnoverLimit(np.abs(q - held).sum()),
            lambda x: np.abs(x - held).sum(1, keepdims=True) - np.abs(q - held).sum(),
            ones,
        ),
        "cash floor": Rule(CashFloor(1 - q.sum()), lambda x: x.sum(1, keepdims=True) - q.sum(), ones),
        "fully invested": Rule(LinearLimit(ones, q.sum(), q.sum()), equal=(ones, np.array([q.sum()]))),
        "groups": Rule(GroupLimit(groups, upper=members @ q), lambda x: x @ members.T - members @ q, members),
        "groups at a number": Rule(GroupLimit(groups, members @ q, members @ q), equal=(members, members @ q)),
        "factors": Rule(
            FactorLimit(loadings, lower=loadings.T @ q - 0.02, upper=loadings.T @ q),
            lambda x: np.hstack([x @ loadings - loadings.T @ q, loadings.T @ q - 0.02 - x @ loadings]),
            np.abs(np.vstack([loadings.T, loadings.T])),
        ),
        "factors at a number": Rule(
            FactorLimit(loadings, lower=loadings.T @ q, upper=loadings.T @ q), equal=(loadings.T, loadings.T @ q)
        ),
        "linear limit": Rule(
            LinearLimit(matrix, upper=matrix @ q), lambda x: x @ matrix.T - matrix @ q, np.abs(matrix)
        ),
    }


KINDS = tuple(rules_of(np.random.default_rng(0), np.array([0.1, -0.1, 0.2]), np.zeros(3)))


def random_book(seed: int, kinds: tuple[str, ...], *, n: int = 3, nasty: bool = False) -> Book:
    """Return a book whose target keeps the named limits; in a nasty one the limits were made for another target."""
    rng = np.random.default_rng(seed)
    price, wealth = np.exp(rng.normal(3.5, 1.0, n)), float(rng.choice([300.0, 1000.0, 5000.0]))
    q = rng.normal(size=n) * 0.2
    if "long only" in kinds:
        q = np.abs(q)
    held = rng.normal(size=n) * 0.1 * rng.integers(0, 2)
    tradable = rng.random(n) > 0.15
    q = np.where(tradable, q, held)
    rules = rules_of(rng, q, held)
    if nasty:
        q = np.where(tradable, q * rng.uniform(0.5, 1.5, n), held)
    return Book(q, held, price, wealth, tradable, tuple(rules[kind] for kind in kinds if kind in rules))


@dataclass(frozen=True)
class Reference:
    """All roundings of a book within one window, rated.

    Attributes:
        distance: (K,) from the target.
        strict, loose: (K,) bool, whether all limits are kept, equalities to their first or last tolerance.
    """

    distance: np.ndarray
    strict: np.ndarray
    loose: np.ndarray

    def best(self, kept: np.ndarray) -> float:
        return float(self.distance[kept].min(initial=np.inf))


def tolerances(book: Book, first: np.ndarray, last: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the two tolerances of each equality, rule by rule."""
    movable = book.tradable & (last > first)
    matrices = [rule.equal[0] for rule in book.rules if rule.equal]
    count = sum(len(matrix) for matrix in matrices)
    target = np.clip(book.q, first * book.lot, last * book.lot)
    strict, loose = [], []
    for matrix in matrices:
        lots = np.abs(matrix) * book.lot * movable
        rows = []
        for moves in lots:
            part = np.sort(moves[(moves > 0) & (target != 0)])
            part = part if len(part) else np.sort(moves[moves > 0])
            # The smallest move that at most a fraction 2^-m of them exceeds.
            at = next((m for m in part if (part > m).mean() <= 0.5**count), 0.0)
            rows.append((at / 2, part.max(initial=0.0) / 2))
        strict.append(np.array([row[0] for row in rows]))
        loose.append(np.array([row[1] for row in rows]))
    return strict, loose


def own_limits(book: Book) -> tuple[np.ndarray, np.ndarray]:
    """Return fewest and most lots of each name."""
    lower, upper = np.full(len(book.q), -np.inf), np.full(len(book.q), np.inf)
    for rule in book.rules:
        if rule.own:
            lower, upper = np.maximum(lower, rule.own[0]), np.minimum(upper, rule.own[1])
    return np.ceil((lower - NEAR) / book.lot), np.floor((upper + NEAR) / book.lot)


def rate(book: Book, x: np.ndarray) -> Reference:
    """Rate weights (K, N)."""
    strict_by, loose_by = tolerances(book, *own_limits(book))
    strict, loose = np.ones(len(x), dtype=bool), np.ones(len(x), dtype=bool)
    number = 0
    for rule in book.rules:
        if rule.outside is not None:
            kept = (rule.outside(x) <= 2 * NEAR).all(axis=1)
            strict, loose = strict & kept, loose & kept
        if rule.equal:
            off = np.abs(x @ rule.equal[0].T - rule.equal[1])
            strict &= (off <= strict_by[number] + 2 * NEAR).all(axis=1)
            loose &= (off <= loose_by[number] + 2 * NEAR).all(axis=1)
            number += 1
    return Reference(np.abs(x - book.q).sum(axis=1), strict, loose)


def every_rounding(book: Book, wider: int) -> np.ndarray:
    """Return the weights (K, N) of all roundings within a window around the target, and the holding in a wider one."""
    first, last = own_limits(book)
    choices = []
    for i, lot in enumerate(book.lot):
        if not book.tradable[i]:
            choices.append(np.array([book.held[i]]))
            continue
        exact = np.clip(book.q[i] / lot, first[i], last[i])
        exact = round(exact) if abs(exact - round(exact)) < NEAR else exact
        low, high = np.floor(exact), np.ceil(exact)
        if wider:
            low = min(low, np.floor(book.held[i] / lot)) - wider
            high = max(high, np.ceil(book.held[i] / lot)) + wider
        choices.append(np.arange(np.clip(low, first[i], last[i]), np.clip(high, first[i], last[i]) + 1) * lot)
    return np.array(list(itertools.product(*choices)))


def check_against_all(book: Book) -> str:
    """Check a rounding against all there are; return how it came about."""
    result = book.rounded()
    x = np.where(book.tradable, result.shares[0] * book.lot, book.held)
    mine = rate(book, x[None])
    held = book.held * book.wealth / book.price
    np.testing.assert_array_equal(result.untouched[0], ~book.tradable | result.held_back[0])
    np.testing.assert_array_equal(result.shares[0], np.where(result.untouched[0], held, np.rint(result.shares[0])))

    narrow, wide = (rate(book, every_rounding(book, wider)) for wider in (0, WIDER))
    nearest = float(narrow.distance.min())
    for stage, of_all, kept, slack in (
        ("strict", narrow, "strict", QUICK),
        ("loose", narrow, "loose", QUICK),
        ("wider", wide, "loose", 0.0),
    ):
        best = of_all.best(getattr(of_all, kept))
        if np.isfinite(best):
            assert getattr(mine, kept)[0], (stage, result)
            assert mine.distance[0] <= max((1 + slack) * nearest * (slack > 0), (1 + GAP) * best) + NEAR
            assert mine.distance[0] >= wide.best(wide.loose) - NEAR
            assert not result.broken
            assert not result.held_back.any()
            return stage
    assert result.held_back[0] or result.broken
    assert not mine.loose[0] or result.held_back[0]
    return "held" if result.held_back[0] else "broken"


def excess_in_lots(book: Book, x: np.ndarray) -> np.ndarray:
    """Return all excess (K,) of weights (K, N) outside the limits, each in its largest lot; of limits without risk."""
    first, last = own_limits(book)
    movable = book.tradable & (last > first)
    tolerance = iter(tolerances(book, first, last)[1])
    total = np.zeros(len(x))
    for rule in book.rules:
        beyond, weight = [], []
        if rule.outside is not None:
            beyond, weight = [rule.outside(x)], [rule.weight]
        if rule.equal:
            beyond, weight = [np.abs(x @ rule.equal[0].T - rule.equal[1]) - next(tolerance)], [np.abs(rule.equal[0])]
        if rule.own:
            outside = np.maximum(rule.own[0] - x, x - rule.own[1])
            total += np.where(book.tradable, np.maximum(outside - NEAR, 0) / book.lot, 0).sum(axis=1)
        for amount, coefficients in zip(beyond, weight, strict=True):
            unit = (coefficients * book.lot * movable).max(axis=1)
            total += np.where(unit > 0, np.maximum(amount - NEAR, 0) / np.where(unit > 0, unit, 1), 0).sum(axis=1)
    return total


def own_limits_leave_a_choice(book: Book) -> bool:
    """Whether each name's own limits leave it a whole number of lots."""
    first, last = own_limits(book)
    return bool((first <= last)[book.tradable].all())
