"""The inner problem: a canonical problem with its quadratic limits priced and its smooth function modelled.

With multipliers `mu` the limits `Q_m(x) <= r_m` become costs `mu_m Q_m(x)`; around weights `y` the smooth function `h`
becomes the quadratic `h(y) + grad h(y)'(x - y) + 1/2 (x - y)'H (x - y)`. What is left has no parts but those that the
dual Newton method takes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem

__all__ = ["count_multipliers", "inner_problem", "outer_multipliers", "smooth_gradient", "smooth_hessian"]


def smooth_gradient(problem: CanonicalProblem, x: Tensor) -> Tensor:
    """Return the gradient of `h` (B, N) at weights `x` (B, N)."""
    return sum((function.gradient(x) for function in problem.smooth), torch.zeros_like(x))


def smooth_hessian(problem: CanonicalProblem, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Hessian of `h` at weights `x` as a diagonal (B, N) and loadings (B, N, r)."""
    parts = [function.curvature(x) for function in problem.smooth]
    diagonal = sum((part[0] for part in parts), torch.zeros_like(x))
    return diagonal, torch.cat([part[1].expand(len(x), -1, -1) for part in parts], dim=-1)


def inner_problem(
    problem: CanonicalProblem,
    *,
    multipliers: Tensor | None = None,
    around: Tensor | None = None,
    hessian: tuple[Tensor, Tensor] | None = None,
) -> CanonicalProblem:
    """Return the inner problem.

    Args:
        problem: B rows.
        multipliers: (B, m) of the quadratic limits; None leaves them as they are.
        around: (B, N) weights that the smooth function is modelled around; None leaves it as it is.
        hessian: of the smooth function, as of `smooth_hessian`.
    """
    n_rows = len(problem.c)
    earned, diagonal, blocks = problem.c, problem.diagonal, [problem.loadings]
    if multipliers is not None:
        for number, limit in enumerate(problem.quadratic):
            weight = multipliers[:, number : number + 1]
            binds = weight > 0
            # The root of a multiplier that is 0 has no derivative, and needs none.
            root = torch.where(binds, torch.where(binds, weight, 1.0).sqrt(), 0.0).unsqueeze(-1)
            if limit.terms.linear is not None:
                earned = earned - weight * limit.terms.linear
            if limit.terms.diagonal is not None:
                diagonal = diagonal + weight * limit.terms.diagonal
            blocks.extend(root * block for block in limit.terms.loadings)
    if around is not None and hessian is not None:
        own, loadings = hessian
        exposure = (loadings.mT @ around.unsqueeze(-1)).squeeze(-1)
        pull = own * around + (loadings @ exposure.unsqueeze(-1)).squeeze(-1)
        earned = earned - smooth_gradient(problem, around) + pull
        diagonal = diagonal + own
        blocks.append(loadings)
    if len(blocks) > 1:
        blocks = [block.expand(n_rows, -1, -1) for block in blocks]
    return replace(
        problem,
        c=earned,
        diagonal=diagonal,
        loadings=torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0],
        smooth=problem.smooth if around is None else (),
        quadratic=() if multipliers is not None else problem.quadratic,
    )


def outer_multipliers(problem: CanonicalProblem, z: Tensor, n_factors: int) -> Tensor:
    """Return the inner problem's multipliers `z` (B, R) without those of the factors that `problem` does not have."""
    own = problem.loadings.shape[-1]
    return torch.cat([z[:, :own], z[:, n_factors:]], dim=-1)


def count_multipliers(problem: CanonicalProblem) -> int:
    """Return how many multipliers the dual of a problem has, those of its inner problem's factors included.

    The smooth function's factors are not counted: their number can change from place to place.
    """
    quadratic = sum(block.shape[-1] for limit in problem.quadratic for block in limit.terms.loadings)
    limits = (problem.equality[1], problem.inequality[1], problem.leverage, problem.turnover)
    return problem.loadings.shape[-1] + quadratic + sum(part.shape[-1] for part in limits)
