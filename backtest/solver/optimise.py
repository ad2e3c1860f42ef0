"""Solve a batch of canonical problems: the dual Newton method, inside proximal steps where the cost is not strongly convex."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.compiled import maximise_dual_compiled
from backtest.solver.dual import Dual
from backtest.solver.newton import DualPoint, maximise_dual

__all__ = ["Optimum", "optimise"]

WEAK_CURVATURE = 1e-9
"""A diagonal entry below this times the asset's factor variance is too weak to divide by: proximal steps replace it."""

PROXIMAL_TOLERANCE = 1e-12
MAX_PROXIMAL_STEPS = 500
RUNAWAY = 1e7
"""Weights this many times the first proximal step's show that nothing bounds them."""


@dataclass(frozen=True)
class Optimum:
    """Where the solver ended.

    Attributes:
        dual: the dual at its end; its `c` and separable part contain the proximal term, if there was one.
        point: multipliers, weights, flexibility, errors.
        proximal: (B | 1, N) curvature of the proximal term; None when the problem needed none.
        moving: (B,) how far the last proximal step moved, relative; 0 without proximal steps.
        unbounded: (B,) bool, positions grow without end: no cost or limit bounds them.
    """

    dual: Dual
    point: DualPoint
    proximal: Tensor | None
    moving: Tensor
    unbounded: Tensor


def optimise(problem: CanonicalProblem, start: Tensor | None = None) -> Optimum:
    """Minimise every row of the batch. See `Optimum`.

    Args:
        problem: without gradients.
        start: (B, R) multipliers to start from, as of an earlier `point.z`; None starts from 0.
    """
    factor_variance = problem.loadings.square().sum(-1)
    weak = problem.diagonal <= WEAK_CURVATURE * torch.maximum(
        factor_variance, problem.diagonal.amax(-1, keepdim=True)
    )
    n_rows = len(problem.c)
    if not bool(weak.any()):
        dual = Dual.of(problem, problem.diagonal)
        point = _fresh(dual, _maximise(dual, start))
        still = problem.c.new_zeros(n_rows)
        return Optimum(dual, point, None, still, torch.zeros_like(point.unbounded))
    return _proximal(problem, weak, factor_variance, start)


def _proximal(problem: CanonicalProblem, weak: Tensor, factor_variance: Tensor, start: Tensor | None) -> Optimum:
    """Proximal point steps: `x <- argmin f(x') + 1/2 sum rho (x' - x)^2`, with rho > 0 on the weak assets alone.

    Source: Rockafellar (1976), "Monotone operators and the proximal point algorithm".
    """
    everything = factor_variance + problem.diagonal
    # Where nothing curves the cost at all, a proximal step should move a position by about one unit of wealth.
    price = problem.c.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    typical = everything.mean(-1, keepdim=True)
    rho = torch.where(weak, torch.where(typical > 0, 1e-2 * typical, price), torch.zeros_like(price))
    rho = rho.expand(len(problem.c), -1)
    centre = torch.zeros_like(problem.c)
    dual = Dual.of(problem, problem.diagonal + rho)
    first_size: Tensor | None = None
    z = start
    for count in range(1, MAX_PROXIMAL_STEPS + 1):
        shifted = replace(dual, c=problem.c + rho * centre)
        point = _maximise(shifted, z)
        z = point.z
        size = point.x.abs().amax(-1)
        moving = ((point.x - centre).abs() * (rho > 0)).amax(-1) / size.clamp(min=1e-300)
        centre = point.x
        if first_size is None:
            first_size = size
        runaway = size > RUNAWAY * first_size.clamp(min=1.0)
        if bool(((moving <= PROXIMAL_TOLERANCE) | runaway | point.unbounded).all()):
            break
        if count % 20 == 0:
            # Far from the end: longer steps, superlinear as rho falls towards 0.
            rho = rho * 0.5
            dual = Dual.of(problem, problem.diagonal + rho)
    return Optimum(shifted, _fresh(shifted, point), rho, moving, runaway)


def _maximise(dual: Dual, start: Tensor | None) -> DualPoint:
    """Maximise the dual: compiled row by row on the CPU, batched tensors elsewhere."""
    on_cpu = dual.c.device.type == "cpu" and dual.c.dtype == torch.float64
    return maximise_dual_compiled(dual, start) if on_cpu else maximise_dual(dual, start)


def _fresh(dual: Dual, point: DualPoint) -> DualPoint:
    """Recompute weights and error from the multipliers, so that no rounding of the steps is left in them."""
    x, flexibility = dual.respond(dual.earned(point.z), point.z)
    gradient = dual.gradient(x, point.z)
    free = dual.n_free
    signed = gradient[:, free:]
    signed[(point.z[:, free:] <= 0) & (signed <= 0)] = 0
    relative = gradient.abs() / dual.scale(x, point.z).clamp(min=torch.finfo(x.dtype).tiny)
    error = torch.where(gradient == 0, 0.0, relative)
    worst = error.amax(-1) if error.shape[-1] else x.new_zeros(len(x))
    return DualPoint(point.z, x, flexibility, worst, point.unbounded, point.iterations)
