"""The check of a constraint's contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Constraint, FactorRisk, LimitTerms
from backtest.errors import BacktestError, CostError, InfeasibleError
from backtest.market import MarketPanel, MarketSnapshot, simulate_market
from backtest.simulation.share_limits import read_limits
from backtest.solver import PositionSolver

__all__ = ["ConstraintReport", "check_constraint"]

RISK_AVERSION = 5.0
KEPT = 1e-6
"""Most that a limit may be exceeded by in a solution, as a weight."""


@dataclass(frozen=True)
class ConstraintReport:
    """What `check_constraint` found of a constraint that keeps its contract; `print` it for plain words.

    Attributes:
        name: class of the constraint.
        pieces: what it limits: "each weight", "sums of weights", "leverage", "turnover", "a quadratic".
        depends_on_held: whether it says so.
        binds: in how many of the problems tried it changes the positions.
        tried: how many problems were tried.
        worst: by how much it is exceeded in the worst solution.
    """

    name: str
    pieces: tuple[str, ...]
    depends_on_held: bool
    binds: int
    tried: int
    worst: float

    def __str__(self) -> str:
        lines = [
            f"{self.name} keeps its contract:",
            f"  limits {' and '.join(self.pieces)}; {'depends' if self.depends_on_held else 'does not depend'} on what "
            "was held",
            "  the same terms twice, rows that do not depend on each other, nothing of the future",
            f"  kept in all solutions of {self.tried} problems, to {self.worst:.1g}; changes {self.binds} of them",
        ]
        if not self.binds:
            lines.append("  note: it changed no positions: are its limits wide on purpose?")
        return "\n".join(lines)


def check_constraint(constraint: Constraint, *, panel: MarketPanel | None = None, seed: int = 0) -> ConstraintReport:
    """Check that a constraint keeps its contract; say in plain words what it breaks.

    It is tried on rows of a panel, with random forecasts and holdings. Checked are: shapes and finite numbers; a lower
    limit that is not above the upper one; convexity of quadratics; the same terms twice; inputs left alone; rows that
    do not depend on each other; whether it depends on `held` as it says; that no estimate looks ahead, by garbling the
    future; and that solutions under it keep it.

    Args:
        constraint: any, a user's own above all.
        panel: its market; None draws one of 12 names with returns, volumes and three features.
        seed: of forecasts and holdings.

    Raises:
        CostError: the constraint breaks its contract.
    """
    if not isinstance(constraint, Constraint):
        raise CostError(f"{constraint!r} is no Constraint: pass an object of a class derived from it")
    name = type(constraint).__name__
    panel = simulate_market(12, 160, 3, seed=seed).panel if panel is None else panel
    estimated = _tried(name, "estimate", lambda: constraint.estimate(panel))
    first = max(estimated.first_row, min(60, panel.n_periods // 2))
    if first > panel.n_periods - 3:
        raise CostError(f"{name}: its first row is {first}, and the panel has {panel.n_periods}: check on a longer one")
    rows = np.unique(np.linspace(first, panel.n_periods - 2, 5).astype(int))
    rng = np.random.default_rng(seed)
    held = torch.as_tensor(rng.normal(size=(len(rows), panel.n_assets)) * 0.1)
    market = panel.at(rows)
    terms = _terms(estimated, name, held, market)
    _compare(name, terms, _terms(estimated, name, held, market), "the same call gives other terms the second time")
    for number, row in enumerate(rows.tolist()):
        alone = _terms(estimated, name, held[number : number + 1], panel.at([row]))
        _compare(name, _row_of(terms, number), _row_of(alone, 0), f"row {number} is another in the company of others")
    moved = _terms(estimated, name, held + 0.3, market)
    if not constraint.depends_on_held:
        told = "its terms change with held: return True from depends_on_held, or leave held alone"
        _compare(name, terms, moved, told)
    cut = int(rows[len(rows) // 2])
    garbled = panel.garbled_after(cut)
    before = rows[rows <= cut]
    seen = _terms(constraint.estimate(garbled), name, held[: len(before)], garbled.at(before))
    for number in range(len(before)):
        told = f"it looks ahead: its terms on {panel.dates[before[number]]:%Y-%m-%d} change with what comes after"
        _compare(name, _row_of(terms, number), _row_of(seen, number), told)
    binds, tried, worst = _solved(constraint, name, panel, rows, held.numpy(), rng)
    return ConstraintReport(name, _pieces(terms), constraint.depends_on_held, binds, tried, worst)


def _tried(name: str, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BacktestError:
        raise
    except Exception as error:
        raise CostError(f"{name}: {what} raised {type(error).__name__}: {error}") from error


def _terms(constraint: Constraint, name: str, held: Tensor, market: MarketSnapshot) -> LimitTerms:
    given = held.clone()
    found = _tried(name, "terms", lambda: constraint.terms(given, market))
    if not isinstance(found, LimitTerms):
        raise CostError(f"{name}: terms returned {type(found).__name__}: return LimitTerms(...)")
    if not torch.equal(given, held):
        raise CostError(f"{name}: terms changes held: work on a copy")
    _check_shapes(found, name, held)
    return found


def _check_shapes(terms: LimitTerms, name: str, held: Tensor) -> None:
    n_rows, n_assets = held.shape

    def check(part: str, values: Any, *shape: int | None, infinite: bool = False) -> Tensor:
        if not isinstance(values, Tensor) or values.dtype != torch.float64:
            raise CostError(f"{name}: {part} must be a float64 tensor, got {getattr(values, 'dtype', type(values))}")
        fits = values.ndim == len(shape) + 1 and values.shape[0] in (1, n_rows)
        if not fits or any(want not in (None, got) for want, got in zip(shape, values.shape[1:], strict=True)):
            wanted = ", ".join(["B or 1", *("any" if size is None else str(size) for size in shape)])
            raise CostError(f"{name}: {part} has shape {tuple(values.shape)}, expected ({wanted})")
        if bool(torch.isnan(values).any()) or (not infinite and not bool(torch.isfinite(values).all())):
            raise CostError(f"{name}: {part} holds a number that is not finite: give no limit by leaving it out")
        return values

    bounds = {
        part: check(part, getattr(terms, part), n_assets, infinite=True)
        for part in ("lower", "upper")
        if getattr(terms, part) is not None
    }
    if len(bounds) == 2 and bool((bounds["lower"] > bounds["upper"]).any()):
        asset = int((bounds["lower"] > bounds["upper"]).any(0).float().argmax())
        raise CostError(f"{name}: lower is above upper in asset {asset}: no weight is allowed there")
    for part in ("equality", "inequality"):
        pair = getattr(terms, part)
        if pair is not None:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise CostError(f"{name}: {part} must be a pair of a matrix and its bounds")
            matrix = check(f"the matrix of {part}", pair[0], None, n_assets)
            check(f"the bounds of {part}", pair[1], matrix.shape[1], infinite=part == "inequality")
    for part in ("leverage", "turnover"):
        if getattr(terms, part) is not None:
            limit = check(part, getattr(terms, part), infinite=True)
            if bool((limit < 0).any()):
                raise CostError(f"{name}: {part} is {float(limit.min()):g}: a sum of absolute weights is never below 0")
    for quadratic in terms.quadratic:
        if quadratic.terms.diagonal is not None and bool((quadratic.terms.diagonal < 0).any()):
            raise CostError(f"{name}: a quadratic has a negative diagonal: it is not convex")


def _pieces(terms: LimitTerms) -> tuple[str, ...]:
    known = {
        "each weight": terms.lower is not None or terms.upper is not None,
        "sums of weights": terms.equality is not None or terms.inequality is not None,
        "leverage": terms.leverage is not None,
        "turnover": terms.turnover is not None,
        "a quadratic": bool(terms.quadratic),
    }
    return tuple(name for name, there in known.items() if there) or ("nothing",)


def _leaves(value: Any) -> list[Tensor]:
    """Return every tensor of some terms, in the order of their fields."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    if hasattr(value, "__dataclass_fields__"):
        return [leaf for each in fields(value) for leaf in _leaves(getattr(value, each.name))]
    return []


def _row_of(terms: LimitTerms, row: int) -> LimitTerms:
    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[row : row + 1] if value.ndim and len(value) > 1 else value
        if isinstance(value, tuple):
            return tuple(cut(part) for part in value)
        if hasattr(value, "__dataclass_fields__"):
            return replace(value, **{each.name: cut(getattr(value, each.name)) for each in fields(value)})
        return value

    found: LimitTerms = cut(terms)
    return found


def _compare(name: str, one: LimitTerms, other: LimitTerms, told: str) -> None:
    first, second = _leaves(one), _leaves(other)
    same = len(first) == len(second) and all(
        a.shape[1:] == b.shape[1:] and torch.equal(*torch.broadcast_tensors(a, b))
        for a, b in zip(first, second, strict=True)
    )
    if not same:
        raise CostError(f"{name}: {told}")


def _solved(
    constraint: Constraint,
    name: str,
    panel: MarketPanel,
    rows: np.ndarray,
    held: np.ndarray,
    rng: np.random.Generator,
) -> tuple[int, int, float]:
    """Solve problems with and without the constraint; return how many it changes, of how many, and the excess."""
    n = panel.n_assets
    loadings, specific = rng.normal(size=(n, 2)) * 0.01, rng.uniform(1e-4, 6e-4, n)
    risk = RISK_AVERSION * FactorRisk(loadings=loadings, specific_variance=specific)
    free, bound = PositionSolver(risk), PositionSolver(risk, [constraint]).estimate(panel)
    binds, tried, worst = 0, 0, 0.0
    for size in (1e-4, 1e-3, 1e-2):
        p = rng.normal(size=(len(rows), n)) * size
        market = panel.at(rows)
        try:
            q = np.asarray(bound.solve(p, held, market=market).q)
        except InfeasibleError as error:
            raise CostError(f"{name}: no weights keep it, after random holdings: {error}") from error
        unbound = np.asarray(free.solve(p, held).q)
        binds += int((np.abs(q - unbound).max(axis=1) > KEPT).sum())
        tried += len(rows)
        tradable = np.ones((1, n), dtype=bool)
        for number, row in enumerate(rows.tolist()):
            limits = read_limits(held[number : number + 1], bound.constraints, panel.at(row), tradable)[0]
            excess = max(limits.broken(q[number], np.zeros(len(limits.high))).values(), default=0.0)
            worst = max(worst, excess)
            if excess > KEPT * max(1.0, float(np.abs(q[number]).sum())):
                raise CostError(f"{name}: a solution exceeds it by {excess:.3g} on {panel.dates[row]:%Y-%m-%d}")
    return binds, tried, worst
