"""Sharpen an interior-point solution: guess what is active, and solve the optimality conditions of that guess.

An interior-point method ends a little inside of everything: a weight that belongs on a kink is a billionth beside it.
Here such weights are put there, and Newton's method solves the conditions that are then smooth equations.

Source: Stellato et al. (2020), "OSQP: an operator splitting solver for quadratic programs", section 4, solution polish.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Ramp
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic_program import NO_PENALTY
from backtest.solver.residuals import Multipliers, optimality_residual

__all__ = ["polished"]

NEAR = 1e-5
"""A weight this close to a kink, relative to the size of the weights, may belong on it."""

ACTIVE = 1e-7
"""A multiplier above this share of the largest marginal return or cost belongs to a constraint that binds."""

MAX_STEPS = 12
MAX_GUESSES = 5
ENOUGH = 1e-13


def polished(problem: CanonicalProblem, x: Tensor, multipliers: Multipliers) -> tuple[Tensor, Multipliers]:
    """Return weights and multipliers of one row with a smaller residual than those given, or these.

    Args:
        problem: one row.
        x: (1, N) weights near the optimum.
        multipliers: near those of the optimum.
    """
    best = (x, multipliers, float(optimality_residual(problem, x, multipliers)))
    for _ in range(MAX_GUESSES):
        before = best[2]
        guess = _Guess(problem, best[0], best[1])
        x, multipliers = guess.x, best[1]
        for _ in range(MAX_STEPS):
            residual = float(optimality_residual(problem, x, multipliers))
            if residual < best[2]:
                best = (x, multipliers, residual)
            x, multipliers = guess.step(x, multipliers)
            if not bool(torch.isfinite(x).all()):
                break
        if best[2] > before / 2 or best[2] <= ENOUGH:
            break
    return best[0], best[1]


class _Guess:
    """What is active at the optimum, as an interior-point solution suggests it."""

    def __init__(self, problem: CanonicalProblem, x: Tensor, multipliers: Multipliers) -> None:
        self.problem = problem
        self.size = float(torch.maximum(x.abs().max(), problem.held.abs().max()).clamp(min=1e-300))
        pull = self.pull(x, multipliers)
        self.price = float(torch.maximum(pull.abs().max(), problem.c.abs().max()).clamp(min=1e-300))
        self.kinks = [ramp for ramp in problem.ramps if ramp.end is None]
        self.x, self.free = self._put_on_kinks(x, pull, multipliers)
        above = ACTIVE * self.price
        soft = (problem.softness[0] > 0) & (problem.softness[0] < NO_PENALTY)
        signed = torch.cat([multipliers.inequality, multipliers.leverage, multipliers.turnover], dim=-1)[0]
        self.binding = (signed > above) | soft & (problem.violation(x)[0] > 0)
        steep = [limit.gradient(x).abs().max() for limit in problem.quadratic]
        self.quadratic = [
            place for place, nu in enumerate(multipliers.quadratic[0]) if float(nu * steep[place]) > above
        ]

    def pull(self, x: Tensor, multipliers: Multipliers) -> Tensor:
        """Return what is left of the marginal return (1, N) for the separable pieces."""
        problem = self.problem
        exposure = problem.loadings.mT @ x.unsqueeze(-1)
        left = problem.c - problem.diagonal * x - (problem.loadings @ exposure).squeeze(-1)
        left = left - (multipliers.equality @ problem.equality[0][0])
        left = left - (multipliers.inequality @ problem.inequality[0][0])
        for function in problem.smooth:
            left = left - function.gradient(x)
        for place, limit in enumerate(problem.quadratic):
            left = left - multipliers.quadratic[:, place] * limit.gradient(x)
        return left

    def _norms(self, multipliers: Multipliers) -> list[Ramp]:
        zero = torch.zeros_like(self.problem.c)
        rates = zero + multipliers.leverage.sum(), zero + multipliers.turnover.sum()
        return [Ramp(zero, -rates[0], rates[0]), Ramp(self.problem.held, -rates[1], rates[1])]

    def _put_on_kinks(self, x: Tensor, pull: Tensor, multipliers: Multipliers) -> tuple[Tensor, Tensor]:
        problem = self.problem
        kinks = [*self.kinks, *self._norms(multipliers)]
        places = [ramp.start.expand_as(x) for ramp in kinks]
        # A curve whose slope is vertical holds a weight like a kink does.
        places += [place.expand_as(x) for curve in problem.curves for place in curve.breaks]
        places += [problem.lower.expand_as(x), problem.upper.expand_as(x)]
        slack, tolerance = 1e-10 * self.size, ACTIVE * self.price
        moved, free = x.clone(), torch.ones_like(x, dtype=torch.bool)
        nearest = torch.full_like(x, NEAR * self.size)
        for wanted in places:
            place = torch.where(torch.isfinite(wanted), wanted, x)
            low = sum((ramp.slope(place - slack, above=True) for ramp in kinks), self.slope(place - slack))
            high = sum((ramp.slope(place + slack, above=True) for ramp in kinks), self.slope(place + slack))
            low = torch.where(place <= problem.lower, -torch.inf, low)
            high = torch.where(place >= problem.upper, torch.inf, high)
            stuck = (low - tolerance <= pull) & (pull <= high + tolerance) & (high > low)
            stuck = stuck & torch.isfinite(wanted) & ((x - place).abs() <= nearest)
            nearest = torch.where(stuck, (x - place).abs(), nearest)
            moved, free = torch.where(stuck, place, moved), free & ~stuck
        return moved, free

    def slope(self, x: Tensor) -> Tensor:
        """Return the slopes of the smooth separable pieces (1, N)."""
        total = torch.zeros_like(x)
        for ramp in self.problem.ramps:
            if ramp.end is not None:
                total = total + ramp.slope(x, above=True)
        for bend in self.problem.bends:
            total = total + bend.slope(x)
        for curve in self.problem.curves:
            total = total + curve.slope(x)
        return total

    def _hessian(self, x: Tensor, multipliers: Multipliers) -> Tensor:
        """Return the Hessian (N, N) of all that is smooth, quadratic limits with their multipliers included."""
        problem = self.problem
        diagonal = problem.diagonal.expand_as(x).clone()
        blocks = [problem.loadings[0]]
        for ramp in problem.ramps:
            if ramp.end is not None:
                inside = (x > ramp.start) & (x < ramp.end)
                diagonal = diagonal + inside * (ramp.right - ramp.left) / (ramp.end - ramp.start)
        for bend in problem.bends:
            diagonal = diagonal + torch.where(x < bend.place, bend.below, bend.above)
        for curve in problem.curves:
            diagonal = diagonal + curve.curvature(x)
        for function in problem.smooth:
            bent, columns = function.curvature(x)
            diagonal, blocks = diagonal + bent, [*blocks, columns[0]]
        for place in self.quadratic:
            nu, terms = multipliers.quadratic[0, place].clamp(min=0), problem.quadratic[place].terms
            if terms.diagonal is not None:
                diagonal = diagonal + nu * terms.diagonal
            blocks += [nu.sqrt() * block[0] for block in terms.loadings]
        columns = torch.cat(blocks, dim=-1)
        return torch.diag(diagonal[0]) + columns @ columns.mT

    def step(self, x: Tensor, multipliers: Multipliers) -> tuple[Tensor, Multipliers]:
        """Return weights and multipliers after one Newton step on the equations of this guess."""
        problem, free = self.problem, self.free[0]
        kinks = [*self.kinks, *self._norms(multipliers)]
        missing = self.pull(x, multipliers) - sum((ramp.slope(x, above=True) for ramp in kinks), self.slope(x))
        n_norms = (problem.leverage.shape[-1], problem.turnover.shape[-1])
        # In a norm, a weight on the kink does not count: its sign is 0.
        signs = [torch.sign(away).expand(n, -1) for away, n in zip((x, x - problem.held), n_norms, strict=True)]
        signed = torch.cat([problem.inequality[0][0], *signs])[self.binding]
        curved = [problem.quadratic[place].gradient(x) for place in self.quadratic]
        rows = torch.cat([problem.equality[0][0], signed, *curved])
        values = torch.cat([multipliers.inequality, multipliers.leverage, multipliers.turnover], dim=-1)[0]
        softness = problem.softness[0]
        excess = problem.violation(x)[0] - softness * values
        over = [problem.quadratic[place].excess(x)[0] for place in self.quadratic]
        broken = torch.cat([(problem.equality[0][0] @ x[0]) - problem.equality[1][0], excess[self.binding], *over])
        give = torch.cat([torch.zeros_like(problem.equality[1][0]), softness[self.binding], x.new_zeros(len(over))])
        system = torch.cat(
            [
                torch.cat([self._hessian(x, multipliers)[free][:, free], rows[:, free].mT], dim=1),
                torch.cat([rows[:, free], -torch.diag(give)], dim=1),
            ]
        )
        right = torch.cat([missing[0][free], -broken])
        move = torch.as_tensor(_solved(system.cpu().numpy(), right.cpu().numpy()), dtype=x.dtype, device=x.device)
        count = int(free.sum())
        x = x.clone()
        x[0, free] += move[:count]
        moves = torch.split(move[count:], [len(problem.equality[1][0]), int(self.binding.sum()), len(over)])
        values = torch.where(self.binding, values, 0.0)
        values[self.binding] += moves[1]
        quadratic = torch.zeros_like(multipliers.quadratic)
        quadratic[0, self.quadratic] = multipliers.quadratic[0, self.quadratic] + moves[2]
        inequality, leverage, turnover = torch.split(values[None], [problem.inequality[1].shape[-1], *n_norms], dim=-1)
        return x, Multipliers(multipliers.equality + moves[0], inequality, leverage, turnover, quadratic)


def _solved(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric system in balanced units; of many solutions, take the shortest."""
    if not np.isfinite(system).all():
        return np.full_like(right, np.nan)
    scale = np.ones(len(system))
    for _ in range(5):
        largest = np.abs(system * scale * scale[:, None]).max(axis=1, initial=0.0)
        scale /= np.sqrt(np.where(largest > 0, largest, 1.0))
    balanced, target = system * scale * scale[:, None], right * scale
    try:
        solution = np.linalg.solve(balanced, target)
        known = np.abs(balanced @ solution - target).max(initial=0.0) <= 1e-9 * np.abs(target).max(initial=0.0)
    except np.linalg.LinAlgError:
        known = False
    if not known:
        solution = np.linalg.lstsq(balanced, target, rcond=1e-13)[0]
    return solution * scale
