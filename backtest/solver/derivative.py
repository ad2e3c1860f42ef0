"""The derivative of the solution map, and graphs attached to a solution.

At the solution, with `W` the flexibility of each asset and `M` the columns of the binding multipliers,

    dx/dc = J = W - W M (M'WM + diag(I, 0))^-1 M'W,

symmetric, positive semidefinite, 0 on stuck assets and along binding constraints: `H^-1` of the design, read through
constraints and kinks. Exactly on a kink the stuck side is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.dual import Dual
from backtest.solver.optimum import Optimum

__all__ = ["SolutionMap", "attach"]

RIDGE = 1e-13
"""Relative ridge on the constraint block: singular when all assets are stuck or constraints depend on each other."""

SMALLEST_PIVOT = 1e-9
"""Relative pivot below which a combination of assets counts as having no curvature at all."""


@dataclass(frozen=True)
class SolutionMap:
    """`J` of every row, factorised.

    Attributes:
        flexibility: (B, N), `W`.
        columns: (B | 1, N, r), loadings and constraints.
        signs: (B, N, s), columns of the norm limits.
        binding: (B, R) bool, multipliers that move.
        curvature, factor: (B, R, R) `M'WM + diag(I, 0)` on the binding multipliers, and its Cholesky factor.
        proximal: (B, N), curvature to take away again (see `backtest.solver.optimise`); None for none.
    """

    flexibility: Tensor
    columns: Tensor
    signs: Tensor
    binding: Tensor
    curvature: Tensor
    factor: Tensor
    proximal: Tensor | None

    @staticmethod
    def of(optimum: Optimum) -> SolutionMap:
        """Factorise the derivative at an optimum."""
        dual, point = optimum.dual, optimum.point
        curvature = dual.curvature(point.x, point.flexibility)
        binding = torch.ones_like(point.z, dtype=torch.bool)
        binding[:, dual.n_free :] = point.z[:, dual.n_free :] > 0
        curvature = curvature * (binding.unsqueeze(-1) & binding.unsqueeze(-2))
        diagonal = torch.diagonal(curvature, dim1=-2, dim2=-1)
        diagonal[~binding] = 1.0
        ridge = torch.zeros_like(point.z)
        first = dual.n_factors
        ridge[:, first:] = RIDGE * dual.looseness()[:, first:].clamp(min=torch.finfo(ridge.dtype).tiny)
        factor, info = torch.linalg.cholesky_ex(curvature + torch.diag_embed(ridge))
        if bool(info.any()):
            factor = torch.linalg.cholesky(curvature + torch.diag_embed(ridge + 1e-10 * diagonal))
        return SolutionMap(
            point.flexibility,
            dual.columns,
            dual.norm_signs(point.x),
            binding,
            curvature,
            factor,
            optimum.proximal,
        )

    def silenced(self, rows: Tensor) -> SolutionMap:
        """Return the map with a derivative of 0 in `rows` (B,) bool."""
        return replace(self, flexibility=torch.where(rows.unsqueeze(-1), 0.0, self.flexibility))

    def __call__(self, r: Tensor) -> Tensor:
        """Return `J r` (B, N) for `r` (B, N)."""
        if self.proximal is None:
            return self._apply(r)
        # x = S(c + rho x), S with derivative J_rho: dx = J_rho (r + w) with w = rho dx.
        first = self._apply(r)
        pull = self.proximal_pull(first)
        if pull is None:
            raise SolverError(
                "the positions are not a function of the forecast here: some combination of assets has no risk and no "
                "cost that curves. Add Ridge or specific risk to have a derivative"
            )
        return first + self._apply(pull)

    def proximal_pull(self, first: Tensor, *, damping: float = 0.0) -> Tensor | None:
        """Return `w` (B, N) with `(1 / rho - J_rho) w = first` on the weak assets, where rho > 0, and 0 on the others.

        The system is symmetric, and positive where positions are a function of the forecast; None where some row's
        is not.

        Args:
            first: (B, N).
            damping: share of 1 / rho added to the system; with some, there is always a solution.
        """
        assert self.proximal is not None
        weak = self.proximal > 0
        inverse = torch.where(weak, 1 / self.proximal.clamp(min=torch.finfo(first.dtype).tiny), 1.0)
        system = torch.diag_embed(inverse * (1 + damping)) - self.dense() * (weak.unsqueeze(-1) & weak.unsqueeze(-2))
        factor, info = torch.linalg.cholesky_ex(system)
        pivots = torch.diagonal(factor, dim1=-2, dim2=-1).square() / inverse
        if bool(info.any()) or bool((pivots < min(SMALLEST_PIVOT, damping or 1.0)).any()):
            return None
        return torch.cholesky_solve((first * weak).unsqueeze(-1), factor).squeeze(-1) * weak

    def dense(self) -> Tensor:
        """Return the derivative of one dual solve as a matrix (B, N, N): `J`, or `J_rho` with a proximal term."""
        columns = torch.cat([self.columns.expand(len(self.signs), -1, -1), self.signs], dim=-1)
        columns = columns * self.binding.unsqueeze(-2)
        weighted = self.flexibility.unsqueeze(-1) * columns
        moved = torch.cholesky_solve(weighted.mT, self.factor)
        moved = moved + torch.cholesky_solve(weighted.mT - self.curvature @ moved, self.factor)
        return torch.diag_embed(self.flexibility) - weighted @ (moved * self.binding.unsqueeze(-1))

    def _apply(self, r: Tensor) -> Tensor:
        weighted = self.flexibility * r
        pulled = self.pull(weighted)
        moved = self.solve(pulled)
        spread = self.columns @ moved[:, : self.columns.shape[-1]].unsqueeze(-1)
        if self.signs.shape[-1]:
            spread = spread + self.signs @ moved[:, self.columns.shape[-1] :].unsqueeze(-1)
        return weighted - self.flexibility * spread.squeeze(-1)

    def pull(self, x: Tensor) -> Tensor:
        """Return `M'x` (B, R), 0 where the multiplier does not move."""
        parts = [(x.unsqueeze(-2) @ self.columns).squeeze(-2)]
        if self.signs.shape[-1]:
            parts.append((x.unsqueeze(-2) @ self.signs).squeeze(-2))
        return torch.cat(parts, dim=-1) * self.binding

    def solve(self, gradient: Tensor) -> Tensor:
        """Return the multipliers' move (B, R) that cancels `gradient` (B, R)."""
        right = (gradient * self.binding).unsqueeze(-1)
        moved = torch.cholesky_solve(right, self.factor)
        # One refinement takes the ridge's trace out again.
        moved = moved + torch.cholesky_solve(right - self.curvature @ moved, self.factor)
        return moved.squeeze(-1) * self.binding


def attach(problem: CanonicalProblem, optimum: Optimum, solution_map: SolutionMap) -> Tensor:
    """Return the positions (B, N) with a graph to everything in `problem`.

    One more Newton step from the solution, whose value is nil and whose derivative is that of the solution map:
    `z + K^-1 gradient(z, theta)`, then the assets' response there. First derivatives are exact.

    Args:
        problem: the problem with its graph.
        optimum: the solution of the same problem without gradients.
        solution_map: its derivative.
    """
    if optimum.proximal is not None:
        raise SolverError(
            "derivatives in anything but the forecast need a cost with curvature in every asset: "
            "add Ridge, or specific risk"
        )
    dual = Dual.of(problem, problem.diagonal)
    z = optimum.point.z
    x, _ = dual.respond(dual.earned(z), z)
    z = z + solution_map.solve(dual.gradient(x, z))
    x, _ = dual.respond(dual.earned(z), z)
    return x
