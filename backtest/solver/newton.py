"""Semismooth Newton ascent on the dual of the canonical problem, batched.

Each step solves one system in the multipliers, projected for those that have a sign, and follows it to a point where
the dual function has risen: the full step almost always, a root search on the slope along the ray otherwise. Along
the ray the assets' response needs no product with the loadings, so the search is cheap.

Sources: Qi & Sun (1993), "A nonsmooth version of Newton's method"; Bertsekas (1982), "Projected Newton methods for
optimization problems with simple constraints".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.solver.dual import Dual

__all__ = ["DualPoint", "maximise_dual"]

TOLERANCE = 1e-13
"""Gradient of the dual over the size of the terms it is a difference of, at which a row is done."""

OVERSHOOT = 0.1
"""A full step is taken when the slope at its end is above minus this times the slope at its start."""

LEAP = 100.0
"""A step that moves what some weight earns by more than this times the largest price of the row is tried shorter: the
dual can be flat far out, where its multipliers lose all digits."""

SMALLEST_DAMPING = 1e-12
MAX_ITERATIONS = 100


@dataclass(frozen=True)
class DualPoint:
    """Multipliers and what follows from them.

    Attributes:
        z: (B, R) multipliers.
        x: (B, N) weights.
        flexibility: (B, N) `W`, dx/dc of each asset alone.
        error: (B,) largest gradient entry of the dual, relative (see `TOLERANCE`).
        unbounded: (B,) bool, the dual rises without end: the constraints contradict each other.
        iterations: (B,) Newton steps taken.
    """

    z: Tensor
    x: Tensor
    flexibility: Tensor
    error: Tensor
    unbounded: Tensor
    iterations: Tensor


def maximise_dual(dual: Dual, start: Tensor | None = None) -> DualPoint:
    """Maximise the dual function of every row.

    Args:
        dual: the problem.
        start: (B, R) multipliers to start from; None is 0.
    """
    n_rows, n_multipliers = dual.offset.shape
    z = torch.zeros_like(dual.offset) if start is None else start.clone()
    z[:, dual.n_free :].clamp_(min=0)
    x, flexibility = dual.respond(dual.earned(z), z)
    result = DualPoint(
        z,
        x,
        flexibility,
        z.new_zeros(n_rows),
        torch.zeros(n_rows, dtype=torch.bool, device=z.device),
        torch.zeros(n_rows, dtype=torch.long, device=z.device),
    )
    if n_multipliers == 0:
        return result
    index = torch.arange(n_rows, device=z.device)
    ascent = _Ascent(dual, z, x, flexibility, z.new_full((n_rows, 1), SMALLEST_DAMPING))
    for iteration in range(MAX_ITERATIONS + 1):
        error = ascent.error()
        done = (error <= TOLERANCE) | ascent.unbounded | (ascent.stalled >= 3)
        if iteration == MAX_ITERATIONS:
            done = torch.ones_like(done)
        if bool(done.any()):
            rows = index[done]
            result.z[rows], result.x[rows], result.flexibility[rows] = (
                part[done] for part in (ascent.z, ascent.x, ascent.flexibility)
            )
            result.error[rows], result.unbounded[rows] = error[done], ascent.unbounded[done]
            result.iterations[rows] = iteration
            if bool(done.all()):
                break
            keep = ~done
            index = index[keep]
            ascent = ascent.rows(torch.nonzero(keep).squeeze(-1))
        ascent.step()
    return _fresh(dual, result)


def _fresh(dual: Dual, point: DualPoint) -> DualPoint:
    """Recompute weights and error from the multipliers, so that no rounding of the steps is left in them."""
    # Without a step there is none.
    stepped = bool((point.iterations > 0).any())
    x, flexibility = dual.respond(dual.earned(point.z), point.z) if stepped else (point.x, point.flexibility)
    gradient = dual.gradient(x, point.z)
    free = dual.n_free
    signed = gradient[:, free:]
    signed[(point.z[:, free:] <= 0) & (signed <= 0)] = 0
    error = _relative(gradient.abs(), dual.scale(x, point.z, flexibility))
    worst = error.amax(-1) if error.shape[-1] else x.new_zeros(len(x))
    return DualPoint(point.z, x, flexibility, worst, point.unbounded, point.iterations)


def _relative(size: Tensor, scale: Tensor) -> Tensor:
    """Return `size / scale` (B, R), 0 where the size is; infinite where the scale overflows and measures nothing."""
    ratio = torch.where(size > 0, size / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)
    return torch.where(torch.isfinite(scale), ratio, torch.inf)


class _Ascent:
    """The rows still being solved, and where each stands."""

    def __init__(self, dual: Dual, z: Tensor, x: Tensor, flexibility: Tensor, damping: Tensor) -> None:
        self.dual, self.z, self.x, self.flexibility, self.damping = dual, z, x, flexibility, damping
        self.earned = dual.earned(z)
        self.gradient = dual.gradient(x, z)
        self.looseness = dual.looseness()
        self.unbounded = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        self.best = z.new_full((len(z),), torch.inf)
        self.stalled = torch.zeros(len(z), dtype=torch.long, device=z.device)

    def rows(self, index: Tensor) -> _Ascent:
        part = _Ascent(
            self.dual.rows(index), self.z[index], self.x[index], self.flexibility[index], self.damping[index]
        )
        part.best, part.stalled = self.best[index], self.stalled[index]
        return part

    def error(self) -> Tensor:
        """Return the largest relative gradient entry (B,); a multiplier at 0 that wants to fall has none."""
        wanted = torch.where(self._fixed(), 0.0, self.gradient.abs())
        scale = self.dual.scale(self.x, self.z, self.flexibility)
        error = _relative(wanted, scale).amax(-1)
        # Rounding can keep a row just above the tolerance: three steps without progress from a tiny error end it.
        progress = error < 0.5 * self.best
        self.stalled = torch.where(progress | (error > 1e-10), 0, self.stalled + 1)
        self.best = torch.minimum(self.best, error)
        return error

    def _fixed(self) -> Tensor:
        fixed = torch.zeros_like(self.gradient, dtype=torch.bool)
        free = self.dual.n_free
        fixed[:, free:] = (self.z[:, free:] <= 0) & (self.gradient[:, free:] <= 0)
        return fixed

    def step(self) -> None:
        direction = self._direction()
        signed = direction[:, self.dual.n_free :]
        at_zero = self.z[:, self.dual.n_free :] <= 0
        # A multiplier at 0 that the joint step would push below stays: dropping it only makes the ascent steeper.
        signed[at_zero & (signed < 0)] = 0
        longest = torch.where(signed < 0, -self.z[:, self.dual.n_free :] / signed, torch.inf)
        longest = longest.amin(-1, keepdim=True) if longest.shape[-1] else self.z.new_full((len(self.z), 1), torch.inf)
        ray = _Ray(self.dual, self.z, self.earned, direction)
        slope = (self.gradient * direction).sum(-1, keepdim=True)
        length = longest.clamp(max=1.0)
        x, flexibility, end_slope = ray.at(length)
        rounding = 1e-15 * ray.size
        too_far = end_slope < -OVERSHOOT * slope - rounding
        too_short = (end_slope > 0.5 * slope) & (length < longest) & (slope > rounding)
        search = (too_far | too_short).squeeze(-1)
        if bool(search.any()):
            rows = torch.nonzero(search).squeeze(-1)
            found, endless = ray.rows(rows).search(slope[rows], length[rows], longest[rows])
            length = length.clone()
            length[rows] = found
            self.unbounded[rows] = endless
        leap = ~search & ((length * ray.steepness()).squeeze(-1) > LEAP * self.dual.price().amax(-1))
        if bool(leap.any()):
            rows = torch.nonzero(leap).squeeze(-1)
            length = length.clone()
            length[rows] = ray.rows(rows).shorten(slope[rows], length[rows])
        if bool((search | leap).any()):
            x, flexibility, _ = ray.at(length)
        self.damping = torch.where(length < 1e-2, self.damping * 1e3, self.damping * 1e-2).clamp(SMALLEST_DAMPING, 1.0)
        self.z = self.z + length * direction
        signed_z = self.z[:, self.dual.n_free :]
        # The multiplier that ended the step is 0 now, not a rounding error above it.
        signed_z[(signed < 0) & (signed_z <= 1e-14 * (length * signed).abs())] = 0
        self.earned = self.earned - length * ray.spread
        self.x, self.flexibility = x, flexibility
        self.gradient = self.dual.gradient(x, self.z)

    def _direction(self) -> Tensor:
        curvature = self.dual.curvature(self.x, self.flexibility)
        diagonal = torch.diagonal(curvature, dim1=-2, dim2=-1)
        first = self.dual.n_factors
        diagonal[:, first:] += self.damping * self.looseness[:, first:].clamp(min=torch.finfo(curvature.dtype).tiny)
        fixed = self._fixed()
        if bool(fixed.any()):
            free = ~fixed
            curvature = curvature * (free.unsqueeze(-1) & free.unsqueeze(-2))
            torch.diagonal(curvature, dim1=-2, dim2=-1)[fixed] = 1.0
        gradient = torch.where(fixed, 0.0, self.gradient)
        factor, info = torch.linalg.cholesky_ex(curvature)
        if bool(info.any()):
            # Dependent constraints: damp those rows until they factorise.
            bad = torch.nonzero(info).squeeze(-1)
            ridge = 1e-10 * torch.diagonal(curvature[bad], dim1=-2, dim2=-1)
            factor[bad] = torch.linalg.cholesky(curvature[bad] + torch.diag_embed(ridge))
        return torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)


class _Ray:
    """The dual function along `z + t direction`, t >= 0: concave in t, its slope continuous and falling."""

    def __init__(self, dual: Dual, z: Tensor, earned: Tensor, direction: Tensor) -> None:
        self.dual, self.z, self.earned, self.direction = dual, z, earned, direction
        self.spread = dual.spread(direction)
        soft = dual.softness * direction
        self._square = (soft * direction).sum(-1, keepdim=True)
        self._constant = (soft * z).sum(-1, keepdim=True) + (direction * dual.offset).sum(-1, keepdim=True)
        norms = direction[:, dual.n_linear :]
        self._leverage = norms[:, : dual.n_leverage].sum(-1, keepdim=True)
        self._turnover = norms[:, dual.n_leverage :].sum(-1, keepdim=True)
        self.size = self._constant.abs()

    def rows(self, index: Tensor) -> _Ray:
        return _Ray(self.dual.rows(index), self.z[index], self.earned[index], self.direction[index])

    def at(self, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights, flexibility (B, N) and the slope (B, 1) at step length (B, 1)."""
        x, flexibility = self.dual.respond(self.earned - length * self.spread, self.z + length * self.direction)
        products = self.spread * x
        slope = products.sum(-1, keepdim=True) - self._constant - length * self._square
        self.size = self._constant.abs() + products.abs().sum(-1, keepdim=True)
        if self.dual.n_leverage:
            slope = slope + self._leverage * x.abs().sum(-1, keepdim=True)
        if self.dual.n_turnover:
            slope = slope + self._turnover * (x - self.dual.held).abs().sum(-1, keepdim=True)
        return x, flexibility, slope

    def steepness(self) -> Tensor:
        """Return how fast a step moves what a unit of some weight earns (B, 1)."""
        return self.spread.abs().amax(-1, keepdim=True) + self._leverage.abs() + self._turnover.abs()

    def shorten(self, slope: Tensor, length: Tensor) -> Tensor:
        """Return about the shortest step lengths (B, 1) that halve the slope, given ones that do."""
        low, high = torch.zeros_like(length), length
        for _ in range(100):
            open_ = high > 4 * low
            if not bool(open_.any()):
                break
            trial = torch.sqrt(torch.maximum(low, high * 1e-6) * high)
            short = self.at(trial)[2] > 0.5 * slope
            low, high = torch.where(open_ & short, trial, low), torch.where(open_ & ~short, trial, high)
        return high

    def search(self, slope: Tensor, length: Tensor, longest: Tensor) -> tuple[Tensor, Tensor]:
        """Return step lengths (B, 1) where the slope has nearly vanished, and rows where it never does (B,).

        First grow the step while the slope stays above half of where it started, then close the bracket around its
        root by the Illinois method, in the logarithm of the length while the bracket spans magnitudes.
        """
        low, low_slope = torch.zeros_like(length), slope.clone()
        high, high_slope = length.clone(), self.at(length)[2]
        for _ in range(30):
            grow = (high_slope > 0.5 * slope) & (high < longest)
            if not bool(grow.any()):
                break
            low, low_slope = torch.where(grow, high, low), torch.where(grow, high_slope, low_slope)
            high = torch.where(grow, torch.minimum(high * 16, longest), high)
            high_slope = torch.where(grow, self.at(high)[2], high_slope)
        endless = ((high_slope > 0.5 * slope) & (high < longest)).squeeze(-1)
        best = torch.where(high_slope >= 0, high, low)
        open_ = high_slope < -OVERSHOOT * slope
        side = torch.zeros_like(length)
        for count in range(80):
            if not bool(open_.any()):
                break
            inner = high - (high - low) * high_slope / (high_slope - low_slope)
            wide = (high > 64 * low) & (count % 2 == 1)
            geometric = torch.sqrt(torch.maximum(low, high * 1e-6) * high)
            trial = torch.where(wide, geometric, inner)
            trial_slope = self.at(trial)[2]
            rising = trial_slope >= 0
            # Illinois: an end kept twice counts half, so that both ends move.
            high_slope = torch.where(open_ & rising & (side > 0), high_slope / 2, high_slope)
            low_slope = torch.where(open_ & ~rising & (side < 0), low_slope / 2, low_slope)
            side = torch.where(rising, 1.0, -1.0)
            low, low_slope = (
                torch.where(open_ & rising, trial, low),
                torch.where(open_ & rising, trial_slope, low_slope),
            )
            high = torch.where(open_ & ~rising, trial, high)
            high_slope = torch.where(open_ & ~rising, trial_slope, high_slope)
            good = (trial_slope.abs() <= OVERSHOOT * slope) | (high - low <= 1e-15 * high)
            best = torch.where(open_, torch.where(good, trial, low), best)
            open_ = open_ & ~good
        return best, endless
