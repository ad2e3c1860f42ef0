"""A user's cost at some rows of its batch, with its derivatives by automatic differentiation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["CustomRows"]


@dataclass(frozen=True, eq=False)
class CustomRows:
    """`weight * cost.value(x - shift, held, market)` at the rows `index` of a batch of B.

    A user's parameters may have a row for each of the B rows of `held`, so the cost is always evaluated on all of
    them, and the rows wanted are picked from the result.

    Attributes:
        cost: the user's; its `value` gives (B, N).
        held: (B, N) weights before trading.
        market: the market at the B rows, or None.
        index: (b,) rows wanted; None is all of them.
        weight: a number, or (b | 1, 1) or (b | 1, N).
        shift: (b | 1, N), or None.
    """

    cost: Cost
    held: Tensor
    market: MarketSnapshot | None
    index: Tensor | None = None
    weight: float | Tensor = 1.0
    shift: Tensor | None = None

    def scaled(self, weight: float | Tensor) -> CustomRows:
        """Return `weight` times this cost."""
        return replace(self, weight=self.weight * weight)

    def shifted(self, by: Tensor) -> CustomRows:
        """Return the cost of `x - by`."""
        return replace(self, shift=by if self.shift is None else self.shift + by)

    def rows(self, index: Tensor) -> CustomRows:
        """Return the cost of the rows `index` of these rows."""
        return replace(
            self,
            index=index if self.index is None else self.index[index],
            weight=_pick(self.weight, index),
            shift=_pick(self.shift, index),
        )

    def held_rows(self) -> Tensor:
        """Return the weights held in these rows (b, N)."""
        return self.held if self.index is None else self.held[self.index]

    def unshifted(self, x: Tensor) -> Tensor:
        """Return the argument of the user's cost (b, N) at weights `x` (b | 1, N)."""
        y = x if self.shift is None else x - self.shift
        n_rows = len(self.held) if self.index is None else len(self.index)
        return y.expand(n_rows, self.held.shape[-1])

    def value(self, y: Tensor) -> Tensor:
        """Return the cost by asset (b, N) at unshifted weights `y` (b, N)."""
        if self.index is None:
            by_asset = self.cost.value(y, self.held, self.market)
        else:
            everywhere = self.held.index_copy(0, self.index, y)
            by_asset = self.cost.value(everywhere, self.held, self.market)[self.index]
        return self.weight * by_asset

    def slope(self, y: Tensor) -> Tensor:
        """Return the derivative of the rows' total cost (b, N), with a graph where gradients are enabled."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf, keep = self._leaf(y, keep)
            slope = _derivative(self.value(leaf), leaf, keep=keep)
        return slope if keep else slope.detach()

    def slope_and_curvature(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative as `slope` does, and its own derivative asset by asset (b, N), without a graph."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf, keep = self._leaf(y, keep)
            slope = _derivative(self.value(leaf), leaf, keep=True)
            curvature = _derivative(slope, leaf, keep=False, retain=keep)
        return (slope if keep else slope.detach()), curvature.detach()

    def hessian(self, y: Tensor, *, chunk: int) -> Tensor:
        """Return the second derivative of each row's total cost (b, N, N), `chunk` columns at a time, no graph."""
        n_assets = y.shape[-1]
        with torch.enable_grad():
            leaf = y.detach().requires_grad_()
            slope = _derivative(self.value(leaf), leaf, keep=True)
            columns = []
            for first in range(0, n_assets, chunk):
                wanted = torch.arange(first, min(first + chunk, n_assets), device=y.device)
                directions = torch.nn.functional.one_hot(wanted, n_assets).to(y.dtype)
                columns.append(_products(slope, leaf, directions.unsqueeze(1).expand(-1, len(y), -1)))
        return torch.cat(columns).movedim(0, -1)

    def label(self, row: int, asset: int) -> str:
        """Return how messages name an entry of (b, N)."""
        name: Any = asset if self.market is None or self.market.assets is None else self.market.assets[asset]
        return f"asset {name!r} (row {row if self.index is None else int(self.index[row])})"

    def refuse(self, values: Tensor, y: Tensor, what: str) -> None:
        """Raise `CostError` where `values` (b, N), described by `what`, are NaN."""
        bad = torch.isnan(values) & ~torch.isnan(y)
        if bool(bad.any()):
            row, asset = (int(i) for i in torch.nonzero(bad)[0])
            raise CostError(
                f"{type(self.cost).__name__}: {what} is NaN for {self.label(row, asset)} at weight "
                f"{float(y[row, asset])!r} after {float(self.held_rows()[row, asset])!r}: keep powers, roots and "
                "logarithms from where they are not smooth, as in (q - held).abs().clamp(min=1e-30).pow(1.5); "
                "torch.where does not keep the branch that is not taken out of a derivative"
            )

    def _leaf(self, y: Tensor, keep: bool) -> tuple[Tensor, bool]:
        """Return what to differentiate in, and whether the result has a graph to anything but that."""
        if keep and y.requires_grad:
            return y, True
        if keep:
            keep = self.value(y).requires_grad
        return y.detach().requires_grad_(), keep


def _derivative(values: Tensor, at: Tensor, *, keep: bool, retain: bool = False) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(at)
    (result,) = torch.autograd.grad(values.sum(), at, create_graph=keep, retain_graph=keep or retain, allow_unused=True)
    return torch.zeros_like(at) if result is None else result


def _products(slope: Tensor, at: Tensor, directions: Tensor) -> Tensor:
    """Return Hessian-vector products (M, b, N) in `directions` (M, b, N)."""
    if not slope.requires_grad:
        return torch.zeros_like(directions)
    (result,) = torch.autograd.grad(
        slope, at, grad_outputs=directions, retain_graph=True, is_grads_batched=True, allow_unused=True
    )
    return torch.zeros_like(directions) if result is None else result.detach()


def _pick(part: Any, index: Tensor) -> Any:
    shared = not isinstance(part, Tensor) or part.ndim < 2 or part.shape[0] == 1
    return part if shared else part[index]
