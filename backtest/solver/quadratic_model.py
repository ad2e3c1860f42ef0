"""Smooth functions of all weights together: Newton's method on them, the rest of the problem taken as it is.

Each step replaces the smooth function by its quadratic model around the weights at hand, solves the canonical problem
that is left, and moves there, or part of the way when the objective says so.

Source: Lee, Sun & Saunders (2014), "Proximal Newton-type methods for minimizing composite functions".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.inner import count_multipliers, inner_problem, smooth_hessian
from backtest.solver.optimum import Optimum

__all__ = ["minimise_by_models"]

TOLERANCE = 1e-12
MAX_STEPS = 100
UNSOLVED = 1e-9
"""How far from its own minimum a model may be left, relative to the weights, to count as solved."""

MAX_LOST = 5
"""Models in a row that cannot be solved, after which there is nothing to follow."""

DECREASE = 1e-4
HALVINGS = 40


def minimise_by_models(
    problem: CanonicalProblem,
    start: Tensor | None,
    solve: Callable[[CanonicalProblem, Tensor | None], Optimum],
) -> Optimum:
    """Minimise a problem with a smooth function in it.

    Args:
        problem: without gradients and without quadratic limits.
        start: (B, R) multipliers of the inner problem to start from.
        solve: solves a batch without smooth functions.
    """
    x = torch.minimum(torch.maximum(problem.held, problem.lower), problem.upper).expand_as(problem.c)
    z = start
    lost = problem.c.new_zeros(len(problem.c))
    for count in range(MAX_STEPS):
        hessian = smooth_hessian(problem, x)
        inner = inner_problem(problem, around=x, hessian=hessian)
        # The number of loadings may change from step to step, and with it the multipliers.
        fits = z is not None and z.shape[-1] == count_multipliers(inner)
        optimum = solve(inner, z if fits else None)
        z = optimum.point.z
        step = optimum.point.x - x
        size = torch.maximum(optimum.point.x.abs().amax(-1), x.abs().amax(-1)).clamp(min=torch.finfo(x.dtype).tiny)
        moving = step.abs().amax(-1) / size
        # A row whose model has no minimum of its own is not going to have one: nothing bounds it.
        endless = (optimum.moving > 1e-3) | ~torch.isfinite(moving)
        lost = torch.where(optimum.moving > UNSOLVED, lost + 1, 0.0)
        if bool(((moving <= TOLERANCE) | endless | (lost >= MAX_LOST)).all()):
            break
        # The first step leads from anywhere to weights that keep the constraints: it has nothing to compare with.
        length = _step_length(problem, inner, x, step) if count else torch.ones_like(moving)
        x = torch.where((length == 1.0).unsqueeze(-1), optimum.point.x, x + length.unsqueeze(-1) * step)
    return replace(optimum, moving=torch.maximum(optimum.moving, moving), hessian=hessian)


def _step_length(problem: CanonicalProblem, inner: CanonicalProblem, x: Tensor, step: Tensor) -> Tensor:
    """Return the longest of 1, 1/2, 1/4, ... (B,) at which the objective falls by a share of what the model says."""
    now = problem.objective(x)
    promised = (inner.objective(x + step) - inner.objective(x)).clamp(max=0)
    # The model's objective and the true one differ by a constant; rounding of either is no rise.
    rounding = 1e-13 * (problem.cost(x).abs() + (problem.c * x).abs().sum(-1))
    length = torch.ones_like(now)
    for _ in range(HALVINGS):
        there = problem.objective(x + length.unsqueeze(-1) * step)
        short = ~(there <= now + DECREASE * length * promised + rounding)
        if not bool(short.any()):
            break
        length = torch.where(short, length / 2, length)
    return length
