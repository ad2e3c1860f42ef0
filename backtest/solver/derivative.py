"""The derivative of the solution map, and graphs attached to a solution.

At the solution, with `W` the flexibility of each asset, `M` the columns of the binding multipliers and `s` their
softness,

    dx/dc = J = W - W M (M'WM + diag(s))^-1 M'W,

symmetric, positive semidefinite, 0 on stuck assets and along binding constraints: `H^-1` of the design, read through
constraints and kinks. Exactly on a kink the stuck side is taken. A binding quadratic limit with normal `n` takes
`J n (n'J n)^-1 n'J` away from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.compiled_map import apply_map, factorise_map
from backtest.solver.dual import Dual
from backtest.solver.inner import inner_problem
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
        dual: the dual at its end.
        x: (B, N) weights.
        flexibility: (B, N), `W`.
        binding: (B, R) bool, multipliers that move.
        curvature, factor: (B, R, R) `M'WM + diag(s)` on the binding multipliers, and its Cholesky factor.
        proximal: (B, N), curvature to take away again (see `backtest.solver.proximal`); None for none.
        bent: (B, N, m) and (B, m, m): `J n` of each binding quadratic limit and the inverse of `n'J n`; None for none.
    """

    dual: Dual
    x: Tensor
    flexibility: Tensor
    binding: Tensor
    curvature: Tensor
    factor: Tensor
    proximal: Tensor | None
    bent: tuple[Tensor, Tensor] | None = None

    @staticmethod
    def of(optimum: Optimum, *, exact: bool = True, silent: Tensor | None = None) -> SolutionMap:
        """Factorise the derivative at an optimum.

        Args:
            optimum: where the solver ended.
            exact: False is about right also where the positions are no function of the forecast.
            silent: (B,) bool, rows whose derivative is 0 whatever it would be: those that failed.
        """
        dual, point = optimum.dual, optimum.point
        binding = torch.ones_like(point.z, dtype=torch.bool)
        binding[:, dual.n_free :] = point.z[:, dual.n_free :] > 0
        first = dual.n_factors
        flexibility = point.flexibility if silent is None else torch.where(silent.unsqueeze(-1), 0.0, point.flexibility)
        tiny = torch.finfo(point.z.dtype).tiny
        ridge = torch.nn.functional.pad(RIDGE * dual.looseness()[:, first:].clamp(min=tiny), (first, 0))
        curvature, factor = _factorise(dual, point.x, flexibility, binding, ridge)
        plain = SolutionMap(dual, point.x, flexibility, binding, curvature, factor, optimum.proximal)
        return plain if optimum.normals is None else plain._bent_by(optimum.normals, exact)

    def __call__(self, r: Tensor) -> Tensor:
        """Return `J r` (B, N) for `r` (B, N)."""
        return self._without_bent(self._free(r), r)

    def _without_bent(self, moved: Tensor, r: Tensor) -> Tensor:
        """Return `J r` given what it would be without the quadratic limits."""
        if self.bent is None:
            return moved
        directions, inverse = self.bent
        along = (directions.mT @ r.unsqueeze(-1)).squeeze(-1)
        return moved - (directions @ (inverse @ along.unsqueeze(-1))).squeeze(-1)

    def undo_proximal(self, first: Tensor) -> Tensor:
        """Return how far the positions move when one proximal solve about them moves by `first` (B, N).

        Raises:
            SolverError: the positions are not a function of the forecast.
        """
        # x = S(c + rho x), S with derivative J_rho: dx = first + J_rho w with w = rho dx.
        if self.proximal is None:
            return first
        pull = self.proximal_pull(first)
        if pull is None:
            raise SolverError(
                "the positions are not a function of the forecast here: some combination of assets has no risk and no "
                "cost that curves. Add Ridge or specific risk to have a derivative"
            )
        return first + self._apply(pull)

    def damped(self, r: Tensor) -> Tensor:
        """Return about `J r` of `r` (B, N), also where the positions are no function of the forecast."""
        moved = self._apply(r)
        if self.proximal is not None:
            pull = self.proximal_pull(moved, damping=1e-8)
            moved = moved if pull is None else moved + self._apply(pull)
        return self._without_bent(moved, r)

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
        columns = torch.cat([self.dual.columns.expand(len(self.x), -1, -1), self.dual.norm_signs(self.x)], dim=-1)
        columns = columns * self.binding.unsqueeze(-2)
        weighted = self.flexibility.unsqueeze(-1) * columns
        moved = torch.cholesky_solve(weighted.mT, self.factor)
        moved = moved + torch.cholesky_solve(weighted.mT - self.curvature @ moved, self.factor)
        return torch.diag_embed(self.flexibility) - weighted @ (moved * self.binding.unsqueeze(-1))

    def solve(self, gradient: Tensor) -> Tensor:
        """Return the multipliers' move (B, R) that cancels `gradient` (B, R)."""
        right = (gradient * self.binding).unsqueeze(-1)
        moved = torch.cholesky_solve(right, self.factor)
        # One refinement takes the ridge's trace out again.
        moved = moved + torch.cholesky_solve(right - self.curvature @ moved, self.factor)
        return moved.squeeze(-1) * self.binding

    def _free(self, r: Tensor) -> Tensor:
        """Return `J r` without the quadratic limits."""
        return self.undo_proximal(self._apply(r))

    def _apply(self, r: Tensor) -> Tensor:
        """Return the derivative of one dual solve times `r` (B, N)."""
        if _compiled(r) and not (torch.is_grad_enabled() and r.requires_grad):
            result = torch.empty_like(r, memory_format=torch.contiguous_format)
            arrays = (self.dual.held, self.dual.columns, _kind(self.dual), self.x, self.flexibility, self.binding)
            apply_map(*(_plain(part) for part in (*arrays, self.curvature, self.factor, r, result)))
            return result
        weighted = self.flexibility * r
        signs = self.dual.norm_signs(self.x)
        pulled = torch.cat([self.dual.gather(weighted), (weighted.unsqueeze(-2) @ signs).squeeze(-2)], dim=-1)
        moved = self.solve(pulled)
        spread = self.dual.spread(moved) + (signs @ moved[:, self.dual.n_linear :].unsqueeze(-1)).squeeze(-1)
        return weighted - self.flexibility * spread

    def _bent_by(self, normals: Tensor, exact: bool) -> SolutionMap:
        """Return the map with the quadratic limits of `normals` (B, N, m) binding; a normal of 0 is slack."""
        free = self._free if exact else self.damped
        columns = torch.stack([free(normals[..., number]) for number in range(normals.shape[-1])], dim=-1)
        inner = normals.mT @ columns
        slack = (normals == 0).all(-2) | (torch.diagonal(inner, dim1=-2, dim2=-1) <= 0)
        inner = inner * ~(slack.unsqueeze(-1) | slack.unsqueeze(-2)) + torch.diag_embed(slack.to(inner.dtype))
        size = torch.diagonal(inner, dim1=-2, dim2=-1).sqrt()
        scale = size.unsqueeze(-1) * size.unsqueeze(-2)
        # Two limits may bind along one direction: a small ridge shares the multiplier between them.
        factor = torch.linalg.cholesky(
            inner / scale + RIDGE * torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        )
        inverse = torch.cholesky_inverse(factor) / scale
        return replace(self, bent=(columns * ~slack.unsqueeze(-2), inverse * ~(slack.unsqueeze(-1))))


def attach(problem: CanonicalProblem, optimum: Optimum, solution_map: SolutionMap, *, steps: int = 2) -> Tensor:
    """Return the positions (B, N) with a graph to everything in `problem`.

    Newton steps from the solution, whose value is nil: `z + K^-1 gradient(z, theta)` with `K` fixed, then the assets'
    response there. The first makes first derivatives exact, the second the second ones.

    Args:
        problem: the problem with its graph.
        optimum: the solution of the same problem without gradients.
        solution_map: its derivative.
        steps: how many; one is enough for first derivatives.
    """
    x, z, multipliers = optimum.point.x, optimum.point.z, optimum.limit_multipliers
    plain = replace(solution_map, bent=None)
    for _ in range(steps):
        x, z, multipliers = _chord_step(problem, optimum, solution_map, plain, x, z, multipliers)
    return x


def _chord_step(
    problem: CanonicalProblem,
    optimum: Optimum,
    solution_map: SolutionMap,
    plain: SolutionMap,
    x: Tensor,
    z: Tensor,
    multipliers: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, dual multipliers and those of quadratic limits after a Newton step with fixed factors."""
    x, z = _inner_step(problem, optimum, plain, x, z, multipliers)
    if solution_map.bent is None:
        return x, z, multipliers
    _, inverse = solution_map.bent
    excess = torch.cat([limit.excess(x) for limit in problem.quadratic], dim=-1)
    multipliers = multipliers + (inverse @ excess.unsqueeze(-1)).squeeze(-1)
    return (*_inner_step(problem, optimum, plain, x, z, multipliers), multipliers)


def _inner_step(
    problem: CanonicalProblem, optimum: Optimum, plain: SolutionMap, x: Tensor, z: Tensor, multipliers: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weights and multipliers after a Newton step on the inner problem about weights `x`."""
    inner = inner_problem(problem, multipliers=multipliers, around=x, hessian=optimum.hessian)
    diagonal = inner.diagonal
    if optimum.proximal is not None:
        diagonal = diagonal + optimum.proximal
        inner = replace(inner, c=inner.c + optimum.proximal * x)
    dual = Dual.of(inner, diagonal)
    there, _ = dual.respond(dual.earned(z), z)
    z = z + plain.solve(dual.gradient(there, z))
    there, _ = dual.respond(dual.earned(z), z)
    return (there, z) if optimum.proximal is None else (x + plain.undo_proximal(there - x), z)


def _factorise(dual: Dual, x: Tensor, flexibility: Tensor, binding: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Return `M'WM + diag(s)` on the binding multipliers, and its Cholesky factor, both (B, R, R)."""
    if _compiled(x):
        curvature, factor = (x.new_empty(*binding.shape, binding.shape[-1]) for _ in range(2))
        arrays = (dual.held, dual.columns, dual.softness, _kind(dual), x, flexibility, binding, ridge)
        if factorise_map(*(_plain(part) for part in (*arrays, curvature, factor))):
            return curvature, factor
    curvature = dual.curvature(x, flexibility)
    curvature = torch.where(binding.unsqueeze(-1) & binding.unsqueeze(-2), curvature, torch.diag_embed(~binding * 1.0))
    factor, info = torch.linalg.cholesky_ex(curvature + torch.diag_embed(ridge.expand_as(binding)))
    if bool(info.any()):
        diagonal = torch.diagonal(curvature, dim1=-2, dim2=-1)
        factor = torch.linalg.cholesky(curvature + torch.diag_embed(ridge + 1e-10 * diagonal))
    return curvature, factor


def _compiled(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float64


def _kind(dual: Dual) -> tuple[int, int, int, int]:
    return dual.n_factors, dual.n_free, dual.n_leverage, dual.n_turnover


def _plain(part: Any) -> Any:
    return part.detach().contiguous().numpy() if isinstance(part, Tensor) else part
