"""Limits on quadratics, such as a volatility target: Newton's method on their multipliers.

For a multiplier `mu >= 0` the limit is a cost `mu Q(x)`, and `Q(x(mu))` falls in `mu` with the slope `-n'J n`, `n` the
gradient of `Q` at `x(mu)`. The step is taken for `1 / sqrt(2 Q)` instead of `Q`, which is almost linear in `mu`, inside
a bracket. Several limits are searched for one inside the other.

Source: Moré & Sorensen (1983), "Computing a trust region step", for the form of the equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from backtest.costs import QuadraticLimit
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.derivative import SolutionMap
from backtest.solver.inner import inner_problem
from backtest.solver.optimum import Optimum

__all__ = ["minimise_within_quadratic_limits"]

TOLERANCE = 1e-12
"""Relative violation of a limit, or slack of one whose multiplier is above 0, at which a row is done."""

MAX_STEPS = 60
UNSOLVED = 1e-9
"""How far from its own minimum a problem without the limit may be left, relative to the weights, to count as solved."""

MAX_LOST = 8
"""Multipliers in a row for which the problem cannot be solved, after which the search is given up."""

SMALLEST = 1e-10
"""Share of its first guess below which a multiplier that falls is 0."""

LEAP = 100.0
"""A multiplier grows by no more than this times itself or its first guess in a step."""

LARGEST = 1e12
"""Multiple of its first guess beyond which a multiplier says that the limit cannot be kept."""


def minimise_within_quadratic_limits(
    problem: CanonicalProblem,
    start: Tensor | None,
    solve: Callable[[CanonicalProblem, Tensor | None], Optimum],
) -> Optimum:
    """Minimise a problem with quadratic limits: a search for the first one's multiplier, the others' inside it.

    Args:
        problem: without gradients.
        start: (B, R) multipliers of the inner problem to start from.
        solve: solves a batch without quadratic limits, whose cost may curve nowhere.
    """
    limit, others = problem.quadratic[0], problem.quadratic[1:]
    alone = replace(problem, quadratic=(limit,))
    bound = limit.bound.expand(len(problem.c), 1)
    guess = _first_guess(problem, limit)
    curved = (problem.diagonal > 0).all(-1, keepdim=True)
    # Without risk of its own the problem for a multiplier of 0 is a linear program: begin where it is not.
    multiplier = torch.where(curved, 0.0, guess)
    low, high = torch.full_like(guess, -1.0), torch.full_like(guess, torch.inf)
    best, stalled, z = torch.full_like(guess, torch.inf), torch.zeros_like(guess), start
    lost = torch.zeros_like(guess)
    for _ in range(MAX_STEPS):
        priced = replace(inner_problem(alone, multipliers=multiplier), quadratic=others)
        optimum = minimise_within_quadratic_limits(priced, z, solve) if others else solve(priced, z)
        # Where constraints depend on each other their multipliers can drift from start to start, and lose digits.
        z = torch.where((optimum.point.error > TOLERANCE / 10).unsqueeze(-1), 0.0, optimum.point.z)
        x = optimum.point.x
        excess = limit.excess(x)
        wrong = torch.where((multiplier > 0) | (excess > 0), excess.abs(), 0.0)
        error = wrong / torch.maximum((excess + bound).abs(), bound.abs()).clamp(min=torch.finfo(x.dtype).tiny)
        stalled = torch.where(error < 0.5 * best, 0.0, stalled + 1)
        best = torch.minimum(best, error)
        low = torch.where(excess > 0, torch.maximum(low, multiplier), low)
        high = torch.where(excess < 0, torch.minimum(high, multiplier), high)
        closed = (high - low <= 1e-15 * high) & torch.isfinite(high)
        hopeless = multiplier > LARGEST * guess
        lost = torch.where(optimum.moving.unsqueeze(-1) > UNSOLVED, lost + 1, 0.0)
        done = (error <= TOLERANCE) | hopeless | closed | ((stalled >= 6) & (best <= 1e-9)) | (lost >= MAX_LOST)
        normal = torch.where(multiplier > 0, limit.gradient(x), 0.0)
        if bool(done.all()):
            break
        target = multiplier + _newton_step(optimum, limit.gradient(x), excess, bound)
        # Few assets that are free say little of what happens once others let go.
        target = torch.minimum(target, LEAP * torch.maximum(multiplier, guess))
        # 0 is tried where the rest of the cost curves; elsewhere a multiplier falls by magnitudes before.
        fallen = torch.where(curved | (multiplier <= SMALLEST * guess), 0.0, 1e-2 * multiplier)
        target = torch.where((target <= 0) & (low < 0), fallen, target)
        outside = ~((target > low) & (target < high)) | torch.isnan(target)
        middle = torch.where(
            torch.isfinite(high),
            torch.sqrt(torch.maximum(low, 1e-4 * high) * high),
            torch.maximum(9 * multiplier, guess),
        )
        multiplier = torch.where(done, multiplier, torch.where(outside, middle, target))
    violation = torch.where(hopeless, torch.inf, torch.where(closed, 0.0, error)).squeeze(-1)
    normals = normal.unsqueeze(-1)
    return replace(
        optimum,
        moving=torch.maximum(optimum.moving, violation),
        limit_multipliers=torch.cat([multiplier, optimum.limit_multipliers], dim=-1),
        normals=normals if optimum.normals is None else torch.cat([normals, optimum.normals], dim=-1),
    )


def _newton_step(optimum: Optimum, normal: Tensor, excess: Tensor, bound: Tensor) -> Tensor:
    """Return the step (B, 1) of the multiplier for `1 / sqrt(2 Q)`, infinite where nothing moves with it."""
    moved = SolutionMap.of(optimum, exact=False).damped(normal)
    inner = (normal * moved).sum(-1, keepdim=True).clamp(min=0)
    value = excess + bound
    homogeneous = (bound > 0) & (value > 0)
    value, bound = torch.where(homogeneous, value, 1.0), torch.where(homogeneous, bound, 1.0)
    return torch.where(homogeneous, 2 * value * ((value / bound).sqrt() - 1), excess) / inner


def _first_guess(problem: CanonicalProblem, limit: QuadraticLimit) -> Tensor:
    """Return the size (B, 1) of the multiplier that a diagonal risk alone would have."""
    variance = torch.zeros_like(problem.c)
    if limit.terms.diagonal is not None:
        variance = variance + limit.terms.diagonal
    for block in limit.terms.loadings:
        variance = variance + block.square().sum(-1)
    risky = variance > 1e-12 * variance.amax(-1, keepdim=True)
    reward = torch.where(risky, problem.c.square() / torch.where(risky, variance, 1.0), 0.0).sum(-1, keepdim=True)
    tiny = torch.finfo(problem.c.dtype).tiny
    guess = reward.sqrt() / (2 * limit.bound.clamp(min=tiny)).sqrt()
    return torch.where(torch.isfinite(guess) & (guess > 0), guess, 1.0)
