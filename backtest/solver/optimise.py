"""Solve a batch of canonical problems."""

from __future__ import annotations

import torch
from torch import Tensor

from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.dual import Dual
from backtest.solver.inner import count_multipliers
from backtest.solver.maximise import maximise
from backtest.solver.optimum import Optimum
from backtest.solver.proximal import minimise_by_proximal_steps
from backtest.solver.quadratic_limits import minimise_within_quadratic_limits
from backtest.solver.quadratic_model import minimise_by_models

__all__ = ["optimise"]

WEAK_CURVATURE = 1e-9
"""A curvature below this times the asset's factor variance is too weak to divide by: proximal steps replace it."""


def optimise(problem: CanonicalProblem, start: Tensor | None = None) -> Optimum:
    """Minimise every row of the batch. See `Optimum`.

    Args:
        problem: without gradients.
        start: (B, R) multipliers to start from, as of an earlier `point.z`; None starts from 0.
    """
    if start is not None:
        if not isinstance(start, Tensor) or not bool(torch.isfinite(start).all()):
            raise SolverError("start must be a tensor of finite multipliers: pass the `start` of an earlier solution")
        start = start.to(problem.c)
        wanted = (len(problem.c), count_multipliers(problem))
        # A smooth function adds factors whose number can change from place to place.
        fits = start.shape == wanted or (problem.smooth and start.ndim == 2 and len(start) == wanted[0])
        if not fits:
            raise SolverError(
                f"start has shape {tuple(start.shape)}, this problem has {wanted} multipliers: "
                "pass those of a solution with the same costs and constraints"
            )
    if problem.quadratic:
        return minimise_within_quadratic_limits(problem, start, _with_models)
    return _with_models(problem, start)


def _with_models(problem: CanonicalProblem, start: Tensor | None) -> Optimum:
    return minimise_by_models(problem, start, _by_dual) if problem.smooth else _by_dual(problem, start)


def _by_dual(problem: CanonicalProblem, start: Tensor | None) -> Optimum:
    weak = weak_assets(problem)
    if bool(weak.any()):
        return minimise_by_proximal_steps(problem, weak, start)
    dual = Dual.of(problem, problem.diagonal)
    nothing = problem.c.new_zeros(len(problem.c))
    return Optimum(dual, maximise(dual, start), None, nothing, problem.c.new_zeros(len(problem.c), 0))


def weak_assets(problem: CanonicalProblem) -> Tensor:
    """Return the assets (B | 1, N) bool in which the cost has next to no curvature of its own."""
    own = problem.diagonal
    for bend in problem.bends:
        own = own + torch.minimum(bend.below, bend.above)
    factor_variance = problem.loadings.square().sum(-1)
    return own <= WEAK_CURVATURE * torch.maximum(factor_variance, own.amax(-1, keepdim=True))
