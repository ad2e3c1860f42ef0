"""Where the solver ended: what statuses, residuals and derivatives are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from backtest.solver.dual import Dual
from backtest.solver.newton import DualPoint

__all__ = ["Optimum"]


@dataclass(frozen=True)
class Optimum:
    """Where the solver ended.

    Attributes:
        dual: the dual of the inner problem (see `backtest.solver.inner`) at its end; its `c` and separable part contain
            the proximal term, if there was one.
        point: multipliers of the inner problem, weights, flexibility, errors.
        proximal: (B | 1, N) curvature of the proximal term; None when the problem needed none.
        moving: (B,) relative size of the last outer step: of a proximal step, of a quadratic model's, of a quadratic
            limit's multiplier; 0 without any.
        limit_multipliers: (B, m) of the quadratic limits.
        normals: (B, N, m) gradients of the quadratic limits that bind, 0 for those that do not; None without limits.
        hessian: diagonal (B, N) and loadings (B, N, r) of the smooth function at the end; None without one.
    """

    dual: Dual
    point: DualPoint
    proximal: Tensor | None
    moving: Tensor
    limit_multipliers: Tensor
    normals: Tensor | None = None
    hessian: tuple[Tensor, Tensor] | None = None

    @property
    def x(self) -> Tensor:
        """Weights (B, N)."""
        return self.point.x

    @property
    def iterations(self) -> Tensor:
        """Newton steps (B,)."""
        return self.point.iterations
