"""Proximal steps, for costs that do not curve in every asset."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.derivative import SolutionMap
from backtest.solver.dual import Dual
from backtest.solver.maximise import maximise
from backtest.solver.newton import OVERSHOOT
from backtest.solver.optimum import Optimum

__all__ = ["minimise_by_proximal_steps"]

TOLERANCE = 1e-12
MAX_STEPS = 200
UNSOLVED = 1e-6
"""Error of a step's own problem at which it counts as not solved."""

MAX_LOST = 10
SMALL = 1e-6
"""Relative move up to which a step counts as small."""

MAX_STALLED = 40
"""Small steps in a row, none half as large as the smallest before: rounding, or a walk without end."""

SHARE = 1e-2
"""Curvature that a step adds to a weak asset, as a share of the row's typical one."""

DAMPING = 1e-6
RUNAWAY = 1e9
"""Weights this many times the size that prices and curvatures suggest: nothing bounds them, and steps may end."""


def minimise_by_proximal_steps(problem: CanonicalProblem, weak: Tensor, start: Tensor | None) -> Optimum:
    """Proximal point method: `S(y) = argmin f(x) + 1/2 sum rho (x - y)^2`, with rho > 0 on the weak assets alone.

    `y = S(y)` at the optimum, where the Moreau envelope of `f` is least. The envelope is convex and its gradient is
    `rho (y - S(y))`: Newton's method minimises it, with a root search on the slope along its direction.

    Sources: Rockafellar (1976), "Monotone operators and the proximal point algorithm"; Fukushima & Qi (1996), "A
    globally and superlinearly convergent algorithm for nonsmooth convex minimization".
    """
    everything = problem.loadings.square().sum(-1) + problem.diagonal
    price = sum((ramp.left.abs() + ramp.right.abs() for ramp in problem.ramps), problem.c.abs())
    price = price.amax(-1, keepdim=True).clamp(min=1e-300)
    typical = everything.mean(-1, keepdim=True)
    # Where nothing curves the cost at all, a proximal step should move a position by about one unit of wealth.
    stiffness = torch.where(typical > 0, SHARE * typical, price)
    rho = torch.where(weak, stiffness, torch.zeros_like(price)).expand(len(problem.c), -1)
    least = (price / stiffness).squeeze(-1) * SHARE
    dual = Dual.of(problem, problem.diagonal + rho)
    base = direction = torch.zeros_like(problem.c)
    slope = torch.zeros_like(least)
    low, low_slope, high, high_slope, length = slope, slope, slope, slope, torch.ones_like(least)
    z = start
    lost = stalled = torch.zeros_like(least)
    best, runaway = torch.full_like(least, torch.inf), torch.zeros_like(least, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        centre = base + length.unsqueeze(-1) * direction
        shifted = replace(dual, c=problem.c + rho * centre)
        point = maximise(shifted, z)
        z = point.z
        step = torch.where(rho > 0, point.x - centre, 0.0)
        # Weights are sums and differences of those held: their rounding is no move.
        size = torch.maximum(point.x.abs().amax(-1), 1e-3 * problem.held.abs().amax(-1))
        moving = step.abs().amax(-1) / torch.maximum(size, least)
        optimum = Optimum(shifted, point, rho, moving, problem.c.new_zeros(len(problem.c), 0))
        runaway = size > RUNAWAY * torch.maximum(least, problem.held.abs().amax(-1))
        # Steps whose own problem cannot be solved lead nowhere: constraints that clash, mostly.
        lost = torch.where(point.error > UNSOLVED, lost + 1, 0.0)
        stalled = torch.where((moving < 0.5 * best) | (moving > SMALL), 0.0, stalled + 1)
        best = torch.minimum(best, moving)
        done = (optimum.moving <= TOLERANCE) | runaway | point.unbounded | (lost >= MAX_LOST) | (stalled >= MAX_STALLED)
        if bool(done.all()):
            break
        # The slope of the envelope falls along the direction: its root lies between a step too short and one too long.
        end_slope = (rho * step * direction).sum(-1)
        too_long = end_slope < -OVERSHOOT * slope
        too_short = (end_slope > 0.9 * slope) & (high > 0)
        high, high_slope = torch.where(too_long, length, high), torch.where(too_long, end_slope, high_slope)
        low, low_slope = torch.where(too_short, length, low), torch.where(too_short, end_slope, low_slope)
        share = (low_slope / (low_slope - high_slope).clamp(min=torch.finfo(slope.dtype).tiny)).clamp(0.05, 0.95)
        pull = SolutionMap.of(optimum).proximal_pull(step, damping=DAMPING)
        newton = step if pull is None else torch.where(rho > 0, pull / rho, 0.0)
        newton = torch.where(done.unsqueeze(-1), 0.0, newton)
        search = (too_long | too_short) & ~done
        length = torch.where(search, low + share * (high - low), 1.0)
        base = torch.where(search.unsqueeze(-1), base, centre)
        direction = torch.where(search.unsqueeze(-1), direction, newton)
        slope = torch.where(search, slope, (rho * step * newton).sum(-1))
        low, high = torch.where(search, low, 0.0), torch.where(search, high, 0.0)
        low_slope = torch.where(search, low_slope, slope)
    return replace(optimum, moving=torch.where(runaway, torch.inf, optimum.moving))
