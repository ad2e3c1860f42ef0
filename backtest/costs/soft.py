"""Limits that may be broken at a price."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs.base import Cost, snake_case
from backtest.costs.curves import pick_rows
from backtest.costs.limits import Constraint
from backtest.costs.parameters import Parameter, check_parameter, one_a_row
from backtest.costs.terms import Bend, CostTerms, LimitTerms, QuadraticLimit, SmoothFunction, SoftLimit
from backtest.costs.terms_key import believed_key
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["Soft"]


@dataclass(frozen=True, eq=False)
class Soft(Cost):
    """`weight / 2 violation^2` of every limit in a constraint: an opinion, never charged.

    The violation of `a <= b` is `max(a - b, 0)`, that of `a = b` is `a - b`, in the unit of the limit: weight for
    positions, trades, cash, groups and norms; half a variance for `RiskLimit`.

    Attributes:
        constraint: what may be broken.
        weight: scalar, or (B, 1) with one a row, above 0; return per squared unit of violation.

    Raises:
        CostError: what is softened is no `Constraint`, or the weight is not above 0.
    """

    constraint: Constraint
    weight: Parameter

    def __post_init__(self) -> None:
        if not isinstance(self.constraint, Constraint):
            raise CostError(f"Soft takes a Constraint, got {self.constraint!r}")
        check_parameter(self.weight, "Soft", "weight", minimum=1e-12)

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N); that of a limit on all assets together is spread evenly over them."""
        limit = self.constraint.terms(held, market)
        squares = torch.zeros_like(q)
        if limit.lower is not None:
            squares = squares + (limit.lower - q).clamp(min=0).square()
        if limit.upper is not None:
            squares = squares + (q - limit.upper).clamp(min=0).square()
        of_rows: list[Tensor] = []
        if limit.equality is not None:
            matrix, bound = limit.equality
            of_rows.append((matrix @ q.unsqueeze(-1)).squeeze(-1) - bound)
        if limit.inequality is not None:
            matrix, bound = limit.inequality
            of_rows.append(((matrix @ q.unsqueeze(-1)).squeeze(-1) - bound).clamp(min=0))
        if limit.leverage is not None:
            of_rows.append((q.abs().sum(-1) - limit.leverage).clamp(min=0).unsqueeze(-1))
        if limit.turnover is not None:
            of_rows.append(((q - held).abs().sum(-1) - limit.turnover).clamp(min=0).unsqueeze(-1))
        for quadratic in limit.quadratic:
            of_rows.append(quadratic.excess(q).clamp(min=0))
        for violation in of_rows:
            squares = squares + violation.square().sum(-1, keepdim=True) / q.shape[-1]
        return one_a_row(self.weight, held, "Soft weight") * squares / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return parabolas beyond limits on weights, a quadratic for equalities, and soft limits for the others."""
        weight = one_a_row(self.weight, held, "Soft weight")
        limit = self.constraint.terms(held, market)
        terms = _beyond(limit, weight)
        if limit.equality is not None:
            terms = terms + _squared(*limit.equality, weight)
        for part in ("inequality", "leverage", "turnover"):
            if getattr(limit, part) is not None:
                alone = LimitTerms(**{part: getattr(limit, part)})
                terms = terms + CostTerms(soft=(SoftLimit(alone, weight),))
        return terms + CostTerms(smooth=tuple(_SoftQuadratic(quadratic, weight) for quadratic in limit.quadratic))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """That of the constraint."""
        return believed_key(self.constraint, market)

    def estimate(self, panel: MarketPanel) -> Soft:
        """Return this penalty with the limit's estimates fitted."""
        return replace(self, constraint=self.constraint.estimate(panel))

    @property
    def first_row(self) -> int:
        """That of the constraint."""
        return self.constraint.first_row

    @property
    def depends_on_held(self) -> bool:
        """Whether the limit depends on what was held before."""
        return self.constraint.depends_on_held

    @property
    def parts(self) -> tuple[tuple[str, Cost], ...]:
        """This penalty, under the name of its limit."""
        return ((f"soft_{snake_case(type(self.constraint).__name__)}", self),)


def _beyond(limit: LimitTerms, weight: Tensor) -> CostTerms:
    bends: list[Bend] = []
    for place, is_lower in ((limit.lower, True), (limit.upper, False)):
        if place is None or not bool(torch.isfinite(place).any()):
            continue
        limited = torch.isfinite(place)
        curvature = torch.where(limited, weight, 0.0)
        nothing = torch.zeros_like(curvature)
        bends.append(
            Bend(
                place=torch.where(limited, place, 0.0),
                below=curvature if is_lower else nothing,
                above=nothing if is_lower else curvature,
            )
        )
    return CostTerms(bends=tuple(bends))


def _squared(matrix: Tensor, bound: Tensor, weight: Tensor) -> CostTerms:
    """Return `weight / 2 |A x - b|^2`."""
    n_assets = matrix.shape[-1]
    of_rows = (weight * bound.square()).sum(-1, keepdim=True) / 2
    return CostTerms(
        constant=(of_rows / n_assets).expand(-1, n_assets),
        linear=-weight * (matrix.mT @ bound.unsqueeze(-1)).squeeze(-1),
        loadings=(weight.sqrt().unsqueeze(-1) * matrix.mT,),
    )


@dataclass(frozen=True, eq=False)
class _SoftQuadratic(SmoothFunction):
    """`weight / 2 max(Q(x - centre) - bound, 0)^2`: convex, its curvature jumping where `Q` is at the bound.

    Attributes:
        limit: `Q` and its bound.
        weight: (B | 1, 1).
        centre: (B | 1, N); None is 0.
    """

    limit: QuadraticLimit
    weight: Tensor
    centre: Tensor | None = None

    def value(self, x: Tensor) -> Tensor:
        """Return the penalty (B,)."""
        return (self.weight * self._excess(x).square()).squeeze(-1) / 2

    def gradient(self, x: Tensor) -> Tensor:
        """Return `weight max(Q - bound, 0) grad Q` (B, N)."""
        return self.weight * self._excess(x) * self.limit.gradient(self._away(x))

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Hessian `weight (max(Q - bound, 0) hess Q + 1[Q > bound] grad Q grad Q')`."""
        terms, excess = self.limit.terms, self._excess(x)
        share = self.weight * excess
        diagonal = torch.zeros_like(x) if terms.diagonal is None else share * terms.diagonal
        steep = torch.where(excess > 0, self.weight.sqrt() * self.limit.gradient(self._away(x)), 0.0)
        blocks = [share.sqrt().unsqueeze(-1) * block for block in terms.loadings]
        return diagonal, torch.cat([steep.unsqueeze(-1), *blocks], dim=-1)

    def scaled(self, weight: float | Tensor) -> _SoftQuadratic:
        """Return `weight` times this penalty."""
        return replace(self, weight=self.weight * weight)

    def shifted(self, by: Tensor) -> _SoftQuadratic:
        """Return the penalty of `x - by`."""
        return replace(self, centre=by if self.centre is None else self.centre + by)

    def rows(self, index: Tensor) -> _SoftQuadratic:
        """Return the penalty of the rows `index` of the batch."""
        return _SoftQuadratic(
            self.limit.rows(index),
            pick_rows(self.weight, index),
            None if self.centre is None else pick_rows(self.centre, index),
        )

    def expression(self, x: Any) -> Any:
        """Return the penalty of one row as a CVXPY expression, for the reference."""
        import cvxpy as cp

        terms = self.limit.terms
        of_row = [
            None if part is None else part[0].detach().cpu().numpy()
            for part in (terms.constant, terms.linear, terms.diagonal, self.centre)
        ]
        constant, linear, diagonal, centre = of_row
        away = x if centre is None else x - centre
        value: Any = 0.0 if constant is None else constant.sum()
        if linear is not None:
            value = value + linear @ away
        if diagonal is not None:
            value = value + cp.sum_squares(cp.multiply(np.sqrt(diagonal / 2), away))
        for block in terms.loadings:
            value = value + cp.sum_squares(block[0].detach().cpu().numpy().T @ away) / 2
        excess = cp.pos(value - float(self.limit.bound[0, 0]))
        return float(self.weight[0, 0]) / 2 * cp.square(excess)

    def _excess(self, x: Tensor) -> Tensor:
        """Return by how much the limit is broken (B, 1)."""
        return self.limit.excess(self._away(x)).clamp(min=0)

    def _away(self, x: Tensor) -> Tensor:
        return x if self.centre is None else x - self.centre
