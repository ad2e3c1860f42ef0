"""Costs of a user's own: one method, `value(q, held, market)`, written with torch.

    class StampDuty(SeparableCost):
        cash = True             # the simulator charges it
        paid_per_trade = True   # once, at the trade

        def value(self, q, held, market):
            return 0.005 * (q - held).clamp(min=0)

`backtest.contracts.check_cost(StampDuty())` says whether such a cost keeps its contract. It must be convex in `q`. The
other methods are optional.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.custom_curve import CustomCurve
from backtest.costs.custom_function import CustomFunction
from backtest.costs.custom_rows import CustomRows
from backtest.costs.parameters import aligned
from backtest.costs.terms import CostTerms
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["SeparableCost", "SmoothCost"]

Value = Callable[[Any, Tensor, Tensor, MarketSnapshot | None], Tensor]


class SeparableCost(Cost):
    """A cost of each asset's own weight alone: `sum_i f_i(q_i)`, each `f_i` convex.

    Derivatives are by automatic differentiation. The slope may jump or be vertical at the places that `kinks` names;
    a jump elsewhere is found too, at more evaluations.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "value" in cls.__dict__:
            cls.value = _checked(cls.value, spread=False)  # type: ignore[method-assign, assignment]

    @abstractmethod
    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost by asset (B, N), in torch operations on `q`.

        Args:
            q: (B, N) weights after trading.
            held: (B, N) weights before trading.
            market: the market at the B rows; None where the cost needs nothing of it.
        """

    def kinks(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Any, ...]:
        """Return the weights at which the slope may jump or be vertical; by default 0 and what is held.

        Each is a number, (N,), (B, N) or a Series by asset, infinite or NaN for none. One without a jump does no harm.

        Args:
            held: (B, N) weights before trading.
            market: the market at the B rows.
        """
        return (0.0, held)

    def expression(self, x: Any, held: np.ndarray, market: MarketSnapshot | None) -> Any:
        """Return the cost of one row in CVXPY, a convex scalar for `check_cost` to compare with; None is none.

        Args:
            x: (N,) weights after trading, a CVXPY expression.
            held: (N,) weights before trading.
            market: the market at that row, or None.
        """
        return None

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return one curve."""
        kinks = tuple(_place(kink, held, market, type(self).__name__) for kink in self.kinks(held, market))
        return CostTerms(curves=(CustomCurve(CustomRows(self, held, market), kinks),))


class SmoothCost(Cost):
    """A cost of all weights of a row together, convex and twice differentiable.

    The solver replaces it by quadratic models, so its Hessian should be diagonal, or of low rank but for a multiple
    of the identity; otherwise each model has as many factors as assets. `value` may return the cost by asset (B, N)
    or of the row (B,), which is then spread evenly over the assets.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "value" in cls.__dict__:
            cls.value = _checked(cls.value, spread=True)  # type: ignore[method-assign, assignment]

    @abstractmethod
    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost by asset (B, N) or by row (B,), in torch operations on `q`.

        Args:
            q: (B, N) weights after trading.
            held: (B, N) weights before trading.
            market: the market at the B rows; None where the cost needs nothing of it.
        """

    def curvature(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor] | None:
        """Return the Hessian at `q` as a diagonal (B, N) and loadings (B, N, r): `diag + R R'`.

        None, the default, works it out by automatic differentiation, at N derivatives and an eigenvalue problem of N
        for each model: write it where N is large and the factors are known.

        Args:
            q: (B, N) weights after trading.
            held: (B, N) weights before trading.
            market: the market at the B rows.
        """
        return None

    def expression(self, x: Any, held: np.ndarray, market: MarketSnapshot | None) -> Any:
        """Return the cost of one row in CVXPY, a convex scalar for `check_cost` to compare with; None is none.

        Args:
            x: (N,) weights after trading, a CVXPY expression.
            held: (N,) weights before trading.
            market: the market at that row, or None.
        """
        return None

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return one smooth function."""
        return CostTerms(smooth=(CustomFunction(CustomRows(self, held, market), self.curvature),))


def _checked(value: Value, *, spread: bool) -> Value:
    """Return a user's `value` with its shape checked; `spread` lets it be (B,)."""

    @wraps(value)
    def checked(self: Any, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        cost = value(self, q, held, market)
        if not isinstance(cost, Tensor):
            raise CostError(f"{type(self).__name__}.value returned {type(cost).__name__}: return a torch tensor (B, N)")
        if spread and cost.shape == q.shape[:1]:
            return (cost / q.shape[-1]).unsqueeze(-1).expand(q.shape)
        if cost.shape != q.shape:
            wanted = "(B, N) = one cost an asset" + (", or (B,) = one a row" if spread else ", not summed")
            raise CostError(
                f"{type(self).__name__}.value returned shape {tuple(cost.shape)} for weights {tuple(q.shape)}: "
                f"return {wanted}"
            )
        return cost

    return checked


def _place(kink: Any, held: Tensor, market: MarketSnapshot | None, name: str) -> Tensor:
    if kink is held:
        return held
    place = aligned(kink, held, market, f"{name} kinks")
    # Nowhere is 0, where a break without a jump does no harm.
    return torch.where(torch.isfinite(place), place, 0.0)
