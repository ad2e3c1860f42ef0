"""The limits on one book's positions as rounding to whole shares sees them: arrays of one row.

A limit on a sum, on leverage or on turnover is a sum over names of what each adds at its weight, so what one more lot
of a name does to it is one column. A risk limit is a quadratic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Constraint, LimitTerms, QuadraticLimit, SumOfCosts
from backtest.market import MarketSnapshot
from backtest.solver.canonical import assemble

__all__ = ["KEPT", "QuadraticRow", "ShareLimits", "read_limits"]

KEPT = 1e-9
"""Violation up to which a limit counts as kept, against rounding of numbers: times the largest of its coefficients and
its bound, and of wealth for a limit on one position."""


@dataclass(frozen=True, eq=False)
class QuadraticRow:
    """`constant + linear'x + 1/2 |G'x|^2 + 1/2 sum d x^2 <= bound` of one row.

    Attributes:
        owner: number of the constraint it belongs to.
        linear, diagonal: (N,), `linear` and `d`.
        loadings: (N, k), `G`.
    """

    owner: int
    constant: float
    linear: np.ndarray
    diagonal: np.ndarray
    loadings: np.ndarray
    bound: float

    @property
    def slack(self) -> float:
        """Violation up to which the limit counts as kept."""
        return KEPT * max(abs(self.bound), abs(self.constant))

    @property
    def curvature(self) -> np.ndarray:
        """(N,) second derivative in each weight alone."""
        return self.diagonal + np.square(self.loadings).sum(axis=1)

    def by_name(self, x: np.ndarray, names: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return what each name adds by itself, without `G`, (C,) at weights `x` (C,), of all names or of some (C,)."""
        return self.linear[names] * x + self.diagonal[names] * np.square(x) / 2

    def value(self, x: np.ndarray) -> float:
        """Return the left side at weights `x` (N,)."""
        # Sums, not matrix products: those may differ in the last bit with where the numbers lie in memory.
        exposure = (self.loadings * x[:, None]).sum(axis=0)
        return float(self.constant + self.by_name(x).sum() + np.square(exposure).sum() / 2)

    def shared_gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient (N,) of `1/2 |G'x|^2`."""
        exposure = (self.loadings * x[:, None]).sum(axis=0)
        return (self.loadings * exposure).sum(axis=1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient (N,) of the left side."""
        return self.linear + self.diagonal * x + self.shared_gradient(x)

    def ordered(self, order: np.ndarray) -> QuadraticRow:
        """Return the limit with its names in another order."""
        return replace(
            self, linear=self.linear[order], diagonal=self.diagonal[order], loadings=np.take(self.loadings, order, 0)
        )


@dataclass(frozen=True, eq=False)
class ShareLimits:
    """What one book's weights must keep: `low_j <= sum_i f_ji(x_i) <= high_j`, quadratics, and bounds on each weight.

    The R sums are, in this order, those of a matrix, `f_ji(x) = matrix_ji x`; leverage, `|x|`; turnover,
    `|x - held|`.

    Attributes:
        names: of the constraints.
        held: (N,) weights before trading.
        matrix: (m, N).
        n_leverage, n_turnover: how many limits there are on each norm.
        low, high: (R,); equal in an equality, infinite for none.
        owner: (R,) number of the constraint that each sum belongs to.
        quadratics: the limits on quadratics.
        bounds: (owner, lower (N,), upper (N,)) of each constraint on single weights; infinite for none.
    """

    names: tuple[str, ...]
    held: np.ndarray
    matrix: np.ndarray
    n_leverage: int
    n_turnover: int
    low: np.ndarray
    high: np.ndarray
    owner: np.ndarray
    quadratics: tuple[QuadraticRow, ...]
    bounds: tuple[tuple[int, np.ndarray, np.ndarray], ...]

    @property
    def equal(self) -> np.ndarray:
        """(R,) which sums must equal their bound."""
        return self.low == self.high

    @cached_property
    def lower(self) -> np.ndarray:
        """(N,) the largest lower bound of each weight."""
        return np.max([np.full(len(self.held), -np.inf), *(lower for _, lower, _ in self.bounds)], axis=0)

    @cached_property
    def upper(self) -> np.ndarray:
        """(N,) the smallest upper bound of each weight."""
        return np.min([np.full(len(self.held), np.inf), *(upper for _, _, upper in self.bounds)], axis=0)

    @cached_property
    def slack(self) -> np.ndarray:
        """(R,) violation up to which a sum counts as kept."""
        largest = np.ones(len(self.high))
        largest[: len(self.matrix)] = np.abs(self.matrix).max(axis=1, initial=0.0)
        finite = np.where(np.isfinite(self.high), np.abs(self.high), 0.0)
        return KEPT * np.maximum(largest, np.maximum(finite, np.where(np.isfinite(self.low), np.abs(self.low), 0.0)))

    def by_name(self, x: np.ndarray, names: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return what each name adds to each sum, (R, C), at weights `x` (C,), of all names or of some (C,)."""
        return np.concatenate(
            [
                self.matrix[:, names] * x,
                np.broadcast_to(np.abs(x), (self.n_leverage, len(x))),
                np.broadcast_to(np.abs(x - self.held[names]), (self.n_turnover, len(x))),
            ]
        )

    def lots(self, lot: np.ndarray) -> np.ndarray:
        """Return what one lot of each name moves each sum by, (R, N), given its weight (N,)."""
        norms = self.n_leverage + self.n_turnover
        return np.concatenate([np.abs(self.matrix) * lot, np.broadcast_to(lot, (norms, len(lot)))])

    def broken(self, x: np.ndarray, tolerance: np.ndarray) -> dict[str, float]:
        """Return by how much weights `x` (N,) break each constraint that they do not keep, by its name.

        A sum counts within `tolerance` (R,) as kept; beyond, all of what it is off by counts.
        """
        worst = np.zeros(len(self.names))
        value = self.by_name(x).sum(axis=1)
        beyond = np.maximum(value - self.high, self.low - value)
        beyond = np.where(beyond > tolerance + self.slack, beyond, 0.0)
        np.maximum.at(worst, self.owner, beyond)
        for limit in self.quadratics:
            excess = limit.value(x) - limit.bound
            worst[limit.owner] = max(worst[limit.owner], excess if excess > limit.slack else 0.0)
        for owner, lower, upper in self.bounds:
            excess = float(np.maximum(lower - x, x - upper).max())
            worst[owner] = max(worst[owner], excess if excess > KEPT else 0.0)
        return {self.names[k]: float(worst[k]) for k in np.flatnonzero(worst)}

    def ordered(self, order: np.ndarray) -> ShareLimits:
        """Return the limits with the names in another order."""
        return replace(
            self,
            held=self.held[order],
            matrix=np.take(self.matrix, order, axis=1),
            quadratics=tuple(limit.ordered(order) for limit in self.quadratics),
            bounds=tuple((owner, lower[order], upper[order]) for owner, lower, upper in self.bounds),
        )

    def keys(self) -> np.ndarray:
        """Return what tells one name from another, a column a name."""
        quadratics = [np.vstack([limit.linear, limit.diagonal, limit.loadings.T]) for limit in self.quadratics]
        bounds = [np.vstack([lower, upper]) for _, lower, upper in self.bounds]
        return np.vstack([self.matrix, *quadratics, *bounds])


def read_limits(
    held: np.ndarray, constraints: Sequence[Constraint], market: MarketSnapshot | None, tradable: np.ndarray
) -> list[ShareLimits]:
    """Return the limits of each row of a batch.

    Args:
        held: (B, N) weights before trading.
        constraints: all of which must hold; an untradable name is exempt from limits on its own weight.
        market: one row that all share, or one a row; None where no constraint needs it.
        tradable: (B, N) bool.
    """
    weights = torch.from_numpy(np.array(held, dtype=np.float64))
    problem = assemble(
        torch.zeros_like(weights),
        weights,
        costs=SumOfCosts(()),
        constraints=constraints,
        market=market,
        tradable=torch.from_numpy(np.array(tradable, dtype=bool)),
        holding_periods=weights.new_ones(1, 1),
        smoothing=0.0,
    )
    # The mask of what cannot be traded comes last, after the constraints; rounding keeps it by itself.
    limits = problem.limits[: len(constraints)]
    return [_of_row(limits, np.asarray(held[row], dtype=np.float64), row) for row in range(len(held))]


def _of_row(limits: Sequence[tuple[str, LimitTerms]], held: np.ndarray, row: int) -> ShareLimits:
    sums: list[tuple[int, np.ndarray, float, float]] = []
    norms: dict[str, list[tuple[int, float]]] = {"leverage": [], "turnover": []}
    quadratics: list[QuadraticRow] = []
    bounds: list[tuple[int, np.ndarray, np.ndarray]] = []
    for owner, (_, terms) in enumerate(limits):
        sums.extend((owner, *each) for each in _sums_of(terms, row))
        for norm, bound in (("leverage", terms.leverage), ("turnover", terms.turnover)):
            if bound is not None:
                norms[norm].append((owner, float(_row(bound.reshape(-1, 1), row)[0])))
        quadratics.extend(_quadratic_of(limit, owner, row, len(held)) for limit in terms.quadratic)
        if terms.lower is not None or terms.upper is not None:
            lower = np.full(len(held), -np.inf) if terms.lower is None else _row(terms.lower, row)
            upper = np.full(len(held), np.inf) if terms.upper is None else _row(terms.upper, row)
            bounds.append((owner, lower, upper))
    both = [*norms["leverage"], *norms["turnover"]]
    return ShareLimits(
        names=tuple(name for name, _ in limits),
        held=held,
        matrix=np.array([coefficients for _, coefficients, _, _ in sums]).reshape(len(sums), len(held)),
        n_leverage=len(norms["leverage"]),
        n_turnover=len(norms["turnover"]),
        low=np.array([*(low for _, _, low, _ in sums), *(-np.inf for _ in both)]),
        high=np.array([*(high for _, _, _, high in sums), *(bound for _, bound in both)]),
        owner=np.array([*(owner for owner, _, _, _ in sums), *(owner for owner, _ in both)], dtype=int),
        quadratics=tuple(quadratics),
        bounds=tuple(bounds),
    )


def _sums_of(terms: LimitTerms, row: int) -> list[tuple[np.ndarray, float, float]]:
    """Return the limits on sums of one constraint as (coefficients, low, high), equalities first."""
    found: list[tuple[np.ndarray, float, float]] = []
    if terms.equality is not None:
        matrix, target = (_row(part, row) for part in terms.equality)
        found.extend((matrix[k], float(target[k]), float(target[k])) for k in range(len(target)))
    if terms.inequality is None:
        return found
    matrix, bound = (_row(part, row) for part in terms.inequality)
    single = list(range(len(bound)))
    # An equality that is one in some rows of a batch alone comes as two inequalities: here it is one again.
    for one in range(len(bound)):
        for other in range(one + 1, len(bound)):
            if bound[one] == -bound[other] and np.array_equal(matrix[one], -matrix[other]) and matrix[one].any():
                found.append((matrix[other], float(bound[other]), float(bound[other])))
                single = [k for k in single if k not in (one, other)]
    # A sum that has no limit in this row, but in others of the batch, comes as 0 <= 1.
    found.extend((matrix[k], -np.inf, float(bound[k])) for k in single if matrix[k].any() or bound[k] < 0)
    return found


def _quadratic_of(limit: QuadraticLimit, owner: int, row: int, n_assets: int) -> QuadraticRow:
    terms = limit.terms
    nothing = np.zeros(n_assets)
    loadings = [_row(block, row) for block in terms.loadings]
    return QuadraticRow(
        owner=owner,
        constant=0.0 if terms.constant is None else float(_row(terms.constant, row).sum()),
        linear=nothing if terms.linear is None else _row(terms.linear, row),
        diagonal=nothing if terms.diagonal is None else _row(terms.diagonal, row),
        loadings=np.concatenate([np.zeros((n_assets, 0)), *loadings], axis=1),
        bound=float(_row(limit.bound, row)[0]),
    )


def _row(values: Tensor, row: int) -> np.ndarray:
    """Return one row of a tensor (B | 1, ...) as an array of its own."""
    return np.array(values[row if len(values) > 1 else 0].detach().cpu().numpy(), dtype=np.float64, order="C")
