"""Solve a batch of canonical problems: the dual Newton method, inside proximal steps where the cost does not curve."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.compiled import maximise_dual_compiled
from backtest.solver.derivative import SolutionMap
from backtest.solver.dual import Dual
from backtest.solver.newton import OVERSHOOT, DualPoint, maximise_dual
from backtest.solver.optimum import Optimum

__all__ = ["optimise"]

WEAK_CURVATURE = 1e-9
"""A diagonal entry below this times the asset's factor variance is too weak to divide by: proximal steps replace it."""

PROXIMAL_TOLERANCE = 1e-12
MAX_PROXIMAL_STEPS = 200
PROXIMAL_SHARE = 1e-2
"""Curvature that a proximal step adds to a weak asset, as a share of the row's typical one."""

PROXIMAL_DAMPING = 1e-6
RUNAWAY = 1e9
"""Weights this many times the size that prices and curvatures suggest: nothing bounds them, and steps may end."""


def optimise(problem: CanonicalProblem, start: Tensor | None = None) -> Optimum:
    """Minimise every row of the batch. See `Optimum`.

    Args:
        problem: without gradients.
        start: (B, R) multipliers to start from, as of an earlier `point.z`; None starts from 0.
    """
    factor_variance = problem.loadings.square().sum(-1)
    weak = problem.diagonal <= WEAK_CURVATURE * torch.maximum(factor_variance, problem.diagonal.amax(-1, keepdim=True))
    n_rows = len(problem.c)
    if not bool(weak.any()):
        dual = Dual.of(problem, problem.diagonal)
        point = _maximise(dual, start)
        still = problem.c.new_zeros(n_rows)
        return Optimum(dual, point, None, still)
    return _proximal(problem, weak, factor_variance, start)


def _proximal(problem: CanonicalProblem, weak: Tensor, factor_variance: Tensor, start: Tensor | None) -> Optimum:
    """Proximal point method: `S(y) = argmin f(x) + 1/2 sum rho (x - y)^2`, with rho > 0 on the weak assets alone.

    `y = S(y)` at the optimum, where the Moreau envelope of `f` is least. The envelope is convex and its gradient is
    `rho (y - S(y))`: Newton's method minimises it, with a root search on the slope along its direction.

    Sources: Rockafellar (1976), "Monotone operators and the proximal point algorithm"; Fukushima & Qi (1996), "A
    globally and superlinearly convergent algorithm for nonsmooth convex minimization".
    """
    everything = factor_variance + problem.diagonal
    price = sum((ramp.left.abs() + ramp.right.abs() for ramp in problem.ramps), problem.c.abs())
    price = price.amax(-1, keepdim=True).clamp(min=1e-300)
    typical = everything.mean(-1, keepdim=True)
    # Where nothing curves the cost at all, a proximal step should move a position by about one unit of wealth.
    stiffness = torch.where(typical > 0, PROXIMAL_SHARE * typical, price)
    rho = torch.where(weak, stiffness, torch.zeros_like(price)).expand(len(problem.c), -1)
    least = (price / stiffness).squeeze(-1) * PROXIMAL_SHARE
    dual = Dual.of(problem, problem.diagonal + rho)
    base = direction = torch.zeros_like(problem.c)
    slope = torch.zeros_like(least)
    low, low_slope, high, high_slope, length = slope, slope, slope, slope, torch.ones_like(least)
    z = start
    for _ in range(MAX_PROXIMAL_STEPS):
        centre = base + length.unsqueeze(-1) * direction
        shifted = replace(dual, c=problem.c + rho * centre)
        point = _maximise(shifted, z)
        z = point.z
        step = torch.where(rho > 0, point.x - centre, 0.0)
        size = point.x.abs().amax(-1)
        optimum = Optimum(shifted, point, rho, step.abs().amax(-1) / torch.maximum(size, least))
        runaway = size > RUNAWAY * torch.maximum(least, problem.held.abs().amax(-1))
        done = (optimum.moving <= PROXIMAL_TOLERANCE) | runaway | point.unbounded
        if bool(done.all()):
            break
        # The slope of the envelope falls along the direction: its root lies between a step too short and one too long.
        end_slope = (rho * step * direction).sum(-1)
        too_long = end_slope < -OVERSHOOT * slope
        too_short = (end_slope > 0.9 * slope) & (high > 0)
        high, high_slope = torch.where(too_long, length, high), torch.where(too_long, end_slope, high_slope)
        low, low_slope = torch.where(too_short, length, low), torch.where(too_short, end_slope, low_slope)
        share = (low_slope / (low_slope - high_slope).clamp(min=torch.finfo(slope.dtype).tiny)).clamp(0.05, 0.95)
        pull = SolutionMap.of(optimum).proximal_pull(step, damping=PROXIMAL_DAMPING)
        newton = step if pull is None else torch.where(rho > 0, pull / rho, 0.0)
        newton = torch.where(done.unsqueeze(-1), 0.0, newton)
        search = (too_long | too_short) & ~done
        length = torch.where(search, low + share * (high - low), 1.0)
        base = torch.where(search.unsqueeze(-1), base, centre)
        direction = torch.where(search.unsqueeze(-1), direction, newton)
        slope = torch.where(search, slope, (rho * step * newton).sum(-1))
        low, high = torch.where(search, low, 0.0), torch.where(search, high, 0.0)
        low_slope = torch.where(search, low_slope, slope)
    return optimum


def _maximise(dual: Dual, start: Tensor | None) -> DualPoint:
    """Maximise the dual: compiled row by row on the CPU, batched tensors elsewhere."""
    on_cpu = dual.c.device.type == "cpu" and dual.c.dtype == torch.float64
    return maximise_dual_compiled(dual, start) if on_cpu else maximise_dual(dual, start)
