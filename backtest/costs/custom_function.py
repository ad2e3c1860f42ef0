"""A user's smooth cost of all weights together, as a function of the canonical problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs.convexity import proof_on_lines, shown
from backtest.costs.custom_rows import CustomRows
from backtest.costs.terms import SmoothFunction
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["CustomFunction"]

Curvature = Callable[[Tensor, Tensor, MarketSnapshot | None], tuple[Tensor, Tensor] | None]

CHUNK = 1 << 22
"""Numbers in one block of Hessian-vector products."""

NEGLIGIBLE = 1e-12
"""Eigenvalues below this share of the largest are left out of the loadings: an error of the quadratic model's Hessian
as small as that costs no step, and the gradient, which decides where the solution is, has none of it."""

NEGATIVE = 1e-9
"""An eigenvalue below minus this share of the largest is no rounding: errors of the eigenvalues are N times 1e-16 of
the largest, and those of a Hessian by automatic differentiation not much more."""

REACH = 1.0
"""Weight up to which two points are looked for that prove a function not convex."""


@dataclass(frozen=True, eq=False)
class CustomFunction(SmoothFunction):
    """A user's `value(q, held, market)` as a function of all weights `q` of a row.

    Attributes:
        rows_of: the cost and the rows of its batch.
        known_curvature: takes (q, held, market) of the whole batch and returns the Hessian in parts, or None.
    """

    rows_of: CustomRows
    known_curvature: Curvature

    def value(self, x: Tensor) -> Tensor:
        """Return the function (B,) at weights `x` (B, N)."""
        return self.rows_of.value(self.rows_of.unshifted(x)).sum(-1)

    def gradient(self, x: Tensor) -> Tensor:
        """Return its gradient (B, N) at `x`, with a graph to whatever it depends on where gradients are enabled.

        Raises:
            CostError: it is NaN.
        """
        y = self.rows_of.unshifted(x)
        gradient = self.rows_of.slope(y)
        self.rows_of.refuse(gradient.detach(), y.detach(), "the gradient of its value")
        return gradient

    def curvature(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return its Hessian at `x` as a diagonal (B, N), at least 0, and loadings (B, N, r): `diag + R R'`; no graph.

        Raises:
            CostError: it is not finite, or not positive semidefinite: the cost is not smooth, or not convex.
        """
        with torch.no_grad():
            y = self.rows_of.unshifted(x)
            known = self._known(y)
            if known is not None:
                return known
            hessian = self.rows_of.hessian(y, chunk=max(1, CHUNK // max(1, y.numel())))
            hessian = (hessian + hessian.mT) / 2
            bad = ~torch.isfinite(hessian).all(-1) & torch.isfinite(y)
            if bool(bad.any()):
                row, asset = (int(i) for i in torch.nonzero(bad)[0])
                raise CostError(
                    f"{self._name()}: its second derivative is not finite for {self.rows_of.label(row, asset)} at "
                    f"weight {float(y[row, asset])!r}: a SmoothCost has two derivatives everywhere; a SeparableCost "
                    "may have kinks"
                )
            diagonal = torch.diagonal(hessian, dim1=-2, dim2=-1)
            off = hessian - torch.diag_embed(diagonal)
            if not bool(off.any()):
                self._refuse_negative(diagonal.amin(-1), diagonal.abs().amax(-1), hessian, y)
                return diagonal.clamp(min=0), x.new_zeros(*y.shape, 0)
            values, vectors = torch.linalg.eigh(hessian)
            largest = values.abs().amax(-1, keepdim=True)
            self._refuse_negative(values[:, 0], largest.squeeze(-1), hessian, y)
            # What all directions share goes into the diagonal; what is left often has few.
            shared = values[:, :1].clamp(min=0)
            beyond = values - shared
            beyond = torch.where(beyond > NEGLIGIBLE * largest, beyond, 0.0)
            n_loadings = int((beyond > 0).sum(-1).max())
            loadings = vectors * torch.sqrt(beyond).unsqueeze(-2)
            return shared.expand(y.shape), loadings[:, :, len(values[0]) - n_loadings :]

    def scaled(self, weight: float | Tensor) -> CustomFunction:
        """Return `weight` times this function."""
        return CustomFunction(self.rows_of.scaled(weight), self.known_curvature)

    def shifted(self, by: Tensor) -> CustomFunction:
        """Return the function of `x - by`."""
        return CustomFunction(self.rows_of.shifted(by), self.known_curvature)

    def rows(self, index: Tensor) -> CustomFunction:
        """Return the function of the rows `index` of the batch."""
        return CustomFunction(self.rows_of.rows(index), self.known_curvature)

    def _known(self, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the curvature that the user worked out, or None."""
        of = self.rows_of
        everywhere = y if of.index is None else of.held.index_copy(0, of.index, y)
        known = self.known_curvature(everywhere, of.held, of.market)
        if known is None:
            return None
        diagonal, loadings = known
        if diagonal.shape != everywhere.shape or loadings.shape[:-1] != everywhere.shape:
            raise CostError(
                f"{self._name()}.curvature returned shapes {tuple(diagonal.shape)} and {tuple(loadings.shape)} for "
                f"weights {tuple(everywhere.shape)}: return a diagonal (B, N) and loadings (B, N, r)"
            )
        if of.index is not None:
            diagonal, loadings = diagonal[of.index], loadings[of.index]
        weight = torch.as_tensor(of.weight, dtype=y.dtype, device=y.device).reshape(-1, 1)
        return weight * diagonal, torch.sqrt(weight).unsqueeze(-1) * loadings

    def _refuse_negative(self, smallest: Tensor, largest: Tensor, hessian: Tensor, y: Tensor) -> None:
        negative = smallest < -NEGATIVE * largest
        if not bool(negative.any()):
            return
        row = int(torch.nonzero(negative)[0])
        one = self.rows_of.rows(torch.tensor([row], device=y.device))
        base, direction = y[row : row + 1], torch.linalg.eigh(hessian[row])[1][:, 0].unsqueeze(0)

        def value(t: Tensor) -> Tensor:
            return one.value(base + t * direction).sum(-1, keepdim=True)

        def slope(t: Tensor) -> Tensor:
            return (one.slope(base + t * direction) * direction).sum(-1, keepdim=True)

        end = y.new_full((1, 1), REACH)
        proof = proof_on_lines(value, slope, -end, end)
        told = (
            f"its Hessian at {shown(base[0])} has a negative eigenvalue"
            if proof is None
            else proof.along(base, direction)
        )
        raise CostError(f"{self._name()} is not convex (row {row}): {told}")

    def _name(self) -> str:
        return type(self.rows_of.cost).__name__
