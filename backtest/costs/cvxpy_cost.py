"""Costs given as a CVXPY expression: any convex function of the weights, solved slowly by a cone solver.

    class WorstOfFive(CvxpyCost):
        def expression(self, x, held, market):
            return 0.1 * cp.max(-SCENARIOS @ x)

CVXPY is imported only when such a cost is used.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.terms import CostTerms, SmoothFunction
from backtest.errors import CostError, SolverError
from backtest.market import MarketSnapshot

if TYPE_CHECKING:
    import cvxpy as cp

__all__ = ["CvxpyCost", "CvxpyFunction", "market_rows"]


class CvxpyCost(Cost):
    """A convex cost as a CVXPY expression of the weights of one row.

    A problem that contains one is solved by CVXPY and Clarabel, one row at a time, with derivatives in the forecast
    alone: slow, and exact.
    """

    @abstractmethod
    def expression(self, x: cp.Expression, held: np.ndarray, market: MarketSnapshot | None) -> cp.Expression:
        """Return the cost of one row, a scalar that is convex by the rules of CVXPY (DCP).

        Args:
            x: (N,) weights after trading.
            held: (N,) weights before trading.
            market: the market at this one row; None where the cost needs nothing of it.
        """

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost of each row spread evenly over its assets (B, N), differentiable once in `q` alone.

        Raises:
            CostError: `held` needs a gradient, which an expression does not have; or the expression is not convex.
        """
        if held.requires_grad and torch.is_grad_enabled():
            raise CostError(
                f"{type(self).__name__} is a CVXPY expression and has no derivative in the weights held: "
                "override value(q, held, market) in torch, or detach held"
            )
        of_rows: Tensor = _Evaluated.apply(q, self, held, market)
        return (of_rows / q.shape[-1]).unsqueeze(-1).expand(q.shape)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return one function that the cone solver reads, and that nothing else can."""
        return CostTerms(smooth=(CvxpyFunction(self, held, market),))

    @property
    def depends_on_held(self) -> bool:
        """True: an expression may use what was held."""
        return True

    def checked(self, x: cp.Expression, held: np.ndarray, market: MarketSnapshot | None) -> cp.Expression:
        """Return the expression after a look at it, so that what is wrong is said in the user's words.

        Args:
            x: (N,) weights after trading, a CVXPY expression.
            held: (N,) weights before trading.
            market: the market at this one row, or None.

        Raises:
            CostError: it is no expression, no scalar, or not convex by the rules of CVXPY (DCP).
        """
        import cvxpy as cp

        name = type(self).__name__
        expression = self.expression(x, held, market)
        if not isinstance(expression, cp.Expression):
            raise CostError(
                f"{name}.expression returned {type(expression).__name__}: return a CVXPY expression of x, a scalar"
            )
        if not expression.is_scalar():
            raise CostError(
                f"{name}.expression has shape {expression.shape}: return the cost of the row, as cp.sum(...)"
            )
        if not expression.is_convex():
            shown = self.expression(cp.Variable(x.shape, name="x"), held, market)
            raise CostError(
                f"{name}.expression is not convex by the rules of disciplined convex programming (DCP): {shown}"
            )
        return expression


@dataclass(frozen=True, eq=False)
class CvxpyFunction(SmoothFunction):
    """A `CvxpyCost` among the pieces of the canonical problem. It need not be smooth: only a cone solver may meet it.

    Attributes:
        cost: the user's.
        held: (B, N) weights before trading.
        market: the market at the B rows, or at one for all.
        weight: a number, or (B | 1, 1).
        shift: (B | 1, N); the function is that of `x - shift`. None is 0.
    """

    cost: CvxpyCost
    held: Tensor
    market: MarketSnapshot | None
    weight: float | Tensor = 1.0
    shift: Tensor | None = None

    def value(self, x: Tensor) -> Tensor:
        """Return the function (B,) at weights `x` (B, N)."""
        by_asset = self.cost.value(self._unshifted(x), self.held, self.market)
        return (self.weight * by_asset).sum(-1)

    def subgradient(self, x: Tensor) -> Tensor:
        """Return one of its subgradients (B, N) at `x`; without a graph."""
        y = self._unshifted(x).detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.cost.value(y, self.held.detach(), self.market).sum(), y)
        weight = self.weight.detach() if isinstance(self.weight, Tensor) else self.weight
        return weight * slope

    def expression(self, x: cp.Expression) -> cp.Expression:
        """Return the function of one row as a CVXPY expression of its weights `x` (N,)."""
        away = x if self.shift is None else x - self.shift[0].detach().cpu().numpy()
        held = self.held[0].detach().cpu().numpy().astype(float)
        return float(torch.as_tensor(self.weight).reshape(-1)[0]) * self.cost.checked(away, held, self.market)

    def gradient(self, x: Tensor) -> Tensor:
        """Raise `SolverError`: it may have kinks anywhere."""
        raise SolverError(self._unfit("gradient"))

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raise `SolverError`: it may have kinks anywhere."""
        raise SolverError(self._unfit("Hessian"))

    def scaled(self, weight: float | Tensor) -> CvxpyFunction:
        """Return `weight` times this function."""
        return replace(self, weight=self.weight * weight)

    def shifted(self, by: Tensor) -> CvxpyFunction:
        """Return the function of `x - by`."""
        return replace(self, shift=by if self.shift is None else self.shift + by)

    def rows(self, index: Tensor) -> CvxpyFunction:
        """Return the function of the rows `index` of the batch."""

        def pick(part: Any) -> Any:
            return part if not isinstance(part, Tensor) or part.ndim < 2 or len(part) == 1 else part[index]

        market = market_rows(self.market, index.cpu().numpy())
        return replace(self, held=self.held[index], market=market, weight=pick(self.weight), shift=pick(self.shift))

    def _unshifted(self, x: Tensor) -> Tensor:
        return x if self.shift is None else x - self.shift

    def _unfit(self, what: str) -> str:
        return (
            f"{type(self.cost).__name__} is a CVXPY expression, whose {what} only the cone solver knows: "
            "solve this problem by backtest.solver.conic.solve_conic"
        )


def market_rows(market: MarketSnapshot | None, index: np.ndarray) -> MarketSnapshot | None:
    """Return the market at the rows `index` of its batch; a market of one row serves all rows."""
    if market is None:
        return None
    shared = ("assets", "calendar", "feature_names", "periods_per_year")
    picked = {}
    for part in fields(market):
        value = getattr(market, part.name)
        if part.name not in shared and value is not None and len(value) > 1:
            picked[part.name] = value[index]
    return replace(market, **picked)


class _Evaluated(torch.autograd.Function):
    """The value of a CVXPY expression by row (B,), with its subgradient in the weights."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, cost: CvxpyCost, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        import cvxpy as cp

        weights = q.detach().cpu().numpy().astype(float)
        before = held.detach().cpu().numpy().astype(float)
        values, slopes = np.zeros(len(weights)), np.zeros_like(weights)
        for row, point in enumerate(weights):
            if not (np.isfinite(point).all() and np.isfinite(before[row]).all()):
                # A book that is ruined has no weights; CVXPY takes no NaN.
                values[row] = slopes[row] = np.nan
                continue
            x = cp.Variable(len(point))
            expression = cost.checked(x, before[row], market_rows(market, np.array([row])))
            x.value = point
            values[row] = expression.value
            if ctx.needs_input_grad[0]:
                slope = expression.grad.get(x, 0.0)
                if slope is None:
                    raise CostError(
                        f"{type(cost).__name__} has no derivative at row {row}, weights {point.tolist()}: "
                        "they are outside of its domain"
                    )
                slopes[row] = slope.toarray().reshape(-1) if hasattr(slope, "toarray") else slope
        ctx.save_for_backward(torch.as_tensor(slopes, dtype=q.dtype, device=q.device))
        return torch.as_tensor(values, dtype=q.dtype, device=q.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradients[0].unsqueeze(-1) * slopes, None, None, None
