"""The check of a policy's contract."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backtest.errors import BacktestError, SettingsError, SimulationError
from backtest.market import MarketPanel
from backtest.simulation import Decision, Policy

__all__ = ["check_policy"]

BOOKS = 3


def check_policy(
    make: Callable[[MarketPanel], Policy], panel: MarketPanel, *, first_row: int | None = None, seed: int = 0
) -> None:
    """Check that a policy keeps its contract on `panel`; say in plain words what it breaks.

    It decides row by row for three books, with random forecasts and holdings, some names untradable and some without a
    forecast. Checked are: one finite weight a book and name; inputs left alone; the same bits from a second, fresh
    policy; books that do not depend on each other; and no look-ahead: after everything behind a row is replaced by
    noise, all decisions up to that row keep their bits.

    Args:
        make: makes a fresh policy for a panel, as `lambda panel: SolverPolicy(solver.estimate(panel))`; a policy that
            knows nothing of a panel is made by `lambda panel: EqualWeight()`.
        panel: the market.
        first_row: row of the first decision; None takes the policy's first fill, or 2.
        seed: of forecasts and holdings.

    Raises:
        SimulationError: the policy breaks its contract.
        SettingsError: the panel is too short.
    """
    policy = _made(make, panel)
    name = type(policy).__name__
    first = max(policy.first_fill, 2) if first_row is None else first_row
    last = panel.n_periods - 2
    if not 0 <= first <= last - 2:
        raise SettingsError(f"{name} decides from row {first} on: {panel.name} has {panel.n_periods} rows, too few")
    rows = np.unique(np.linspace(first, last, 12).astype(int))
    n_books = policy.n_books or BOOKS
    rng = np.random.default_rng(seed)
    shape = (len(rows), n_books, panel.n_assets)
    p, held = rng.normal(0, 1e-3, shape), rng.normal(0, 0.05, shape)
    p[:, :, -1] = np.nan  # no view of the last name
    stuck = np.zeros(panel.n_assets, dtype=bool)
    stuck[0] = panel.n_assets > 2  # the first cannot be traded

    def walk(shown: MarketPanel, count: int, books: slice = slice(None)) -> np.ndarray:
        fresh = _made(make, shown).prepare(shown.dates, shown.assets, lag=1)
        found = [
            _decide(fresh, name, shown, int(row), p[number, books], held[number, books], ~stuck)
            for number, row in enumerate(rows[:count])
        ]
        return np.array(found)

    whole = walk(panel, len(rows))
    _compare(name, whole, walk(panel, len(rows)), rows, panel, "is not deterministic: a second, fresh one decides")
    if policy.n_books is None and n_books > 1:
        alone = walk(panel, len(rows), slice(1, 2))
        _compare(name, whole[:, 1:2], alone, rows, panel, "decides for a book by its company: alone it decides")
    for cut in (len(rows) // 2, len(rows) - 1):
        row = int(rows[cut])
        garbled = walk(panel.garbled_after(row), cut + 1)
        told = f"looks ahead: with other prices after {panel.dates[row]:%Y-%m-%d} it decides"
        _compare(name, whole[: cut + 1], garbled, rows, panel, told)


def _made(make: Callable[[MarketPanel], Policy], panel: MarketPanel) -> Policy:
    policy = make(panel)
    if not isinstance(policy, Policy):
        raise SimulationError(f"the factory made {policy!r}, which is no Policy: return one for the panel it is given")
    return policy


def _decide(
    policy: Policy, name: str, panel: MarketPanel, row: int, p: np.ndarray, held: np.ndarray, free: np.ndarray
) -> np.ndarray:
    tradable = np.broadcast_to(free & panel.tradable[row], p.shape).copy()
    given = (p.copy(), held.copy(), tradable.copy())
    date = f"{panel.dates[row]:%Y-%m-%d}"
    try:
        decision = policy.decide(given[0], given[1], panel.at(row), given[2])
    except BacktestError:
        raise
    except Exception as error:
        raise SimulationError(f"{name}: {date}: decide raised {type(error).__name__}: {error}") from error
    for told, before, after in zip(("p", "held", "tradable"), (p, held, tradable), given, strict=True):
        if not np.array_equal(before, after, equal_nan=told == "p"):
            raise SimulationError(f"{name}: {date}: decide changes {told}: work on a copy")
    if not isinstance(decision, Decision):
        decision = Decision(decision)
    q = np.array(decision.q, dtype=np.float64)
    if q.shape != p.shape:
        raise SimulationError(f"{name}: {date}: decide returned shape {q.shape}, expected {p.shape}: (books, assets)")
    for book in decision.failures:
        q[book] = held[book]
    wrong = np.argwhere(~np.isfinite(q) & tradable)
    if len(wrong):
        book, column = wrong[0]
        raise SimulationError(
            f"{name}: {date}: the weight of {panel.assets[column]} is {q[book, column]}: return a finite weight, and "
            "`held` to keep a position"
        )
    return np.where(tradable, q, held)


def _compare(name: str, one: np.ndarray, other: np.ndarray, rows: np.ndarray, panel: MarketPanel, told: str) -> None:
    different = np.argwhere(one != other)
    if len(different):
        number, book, column = different[0]
        raise SimulationError(
            f"{name} {told} {other[number, book, column]!r} for {panel.assets[column]} on "
            f"{panel.dates[rows[number]]:%Y-%m-%d}, and {one[number, book, column]!r} before"
        )
