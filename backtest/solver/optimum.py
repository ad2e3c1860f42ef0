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
        dual: the dual at its end; its `c` and separable part contain the proximal term, if there was one.
        point: multipliers, weights, flexibility, errors.
        proximal: (B | 1, N) curvature of the proximal term; None when the problem needed none.
        moving: (B,) how far the last proximal step moved, relative; 0 without proximal steps.
    """

    dual: Dual
    point: DualPoint
    proximal: Tensor | None
    moving: Tensor
