"""How far positions are from optimal, computed from the problem alone, whoever found them.

At an optimum some multipliers satisfy (Karush, Kuhn, Tucker)

    c - d x - G G'x - A'y - E'mu  in  phi'(x) + lambda_L d|x| + lambda_U d|x - held| + normal cone of the limits
    A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper
    mu, lambda >= 0, and 0 where their constraint is slack.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs import Ramp
from backtest.solver.canonical import CanonicalProblem

__all__ = ["Multipliers", "constraint_violation", "optimality_residual"]


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of a batch: `y` (B, m), `mu` (B, q), `leverage` (B, 1), `turnover` (B, 1); 0 where there is none."""

    equality: Tensor
    inequality: Tensor
    leverage: Tensor
    turnover: Tensor

    @staticmethod
    def of(problem: CanonicalProblem, z: Tensor) -> Multipliers:
        """Split the solver's multipliers (B, R) by what they belong to."""
        sizes = [problem.loadings.shape[-1], problem.equality[1].shape[-1], problem.inequality[1].shape[-1]]
        _, equality, inequality, norms = torch.split(z, [*sizes, z.shape[-1] - sum(sizes)], dim=-1)
        none = z.new_zeros(len(z), 1)
        leverage = norms[:, :1] if problem.leverage is not None else none
        turnover = norms[:, -1:] if problem.turnover is not None else none
        return Multipliers(equality, inequality, leverage, turnover)


def constraint_violation(problem: CanonicalProblem, x: Tensor) -> Tensor:
    """Return by how much weights `x` (B, N) break each row's worst constraint (B,), as a fraction of wealth."""
    (a, b), (e_matrix, e) = problem.equality, problem.inequality
    zero = x.new_zeros(len(x), 1)
    parts = [
        (problem.lower - x).clamp(min=0),
        (x - problem.upper).clamp(min=0),
        _times(a, x) - b,
        (_times(e_matrix, x) - e).clamp(min=0),
        zero if problem.leverage is None else (x.abs().sum(-1) - problem.leverage).clamp(min=0).unsqueeze(-1),
        zero
        if problem.turnover is None
        else ((x - problem.held).abs().sum(-1) - problem.turnover).clamp(min=0).unsqueeze(-1),
    ]
    return torch.cat([part.abs() for part in parts], dim=-1).amax(-1)


def optimality_residual(problem: CanonicalProblem, x: Tensor, multipliers: Multipliers) -> Tensor:
    """Return the largest violation of the conditions above (B,).

    Stationarity is measured against the largest marginal return or cost of the row, feasibility against the size of
    the weights, complementarity against both. A weight within 1e-9 of a kink or limit, relative, counts as on it.

    Args:
        problem: B problems.
        x: (B, N) weights.
        multipliers: of the constraints.
    """
    (a, b), (e_matrix, e) = problem.equality, problem.inequality
    exposure = torch.einsum("bnk,bn->bk", problem.loadings.expand(len(x), -1, -1), x)
    risk = problem.diagonal * x + (problem.loadings @ exposure.unsqueeze(-1)).squeeze(-1)
    shadow = (a.mT @ multipliers.equality.unsqueeze(-1)).squeeze(-1)
    shadow = shadow + (e_matrix.mT @ multipliers.inequality.unsqueeze(-1)).squeeze(-1)
    left_over = problem.c - risk - shadow

    curvature = (problem.diagonal + problem.loadings.square().sum(-1)).amax(-1, keepdim=True)
    # Where all weights are 0 the size of a weight is the least that a marginal return or cost could buy.
    rates = [ramp.left.abs() + ramp.right.abs() for ramp in problem.ramps]
    least = _ratio(sum(rates, problem.c.abs()).amax(-1, keepdim=True), curvature)
    size = torch.maximum(x.abs().amax(-1, keepdim=True), least).clamp(min=torch.finfo(x.dtype).tiny)
    slack = 1e-9 * torch.maximum(size, problem.held.abs().amax(-1, keepdim=True))
    zero = torch.zeros_like(x)
    norm_ramps = [
        Ramp(zero, -multipliers.leverage + zero, multipliers.leverage + zero),
        Ramp(problem.held + zero, -multipliers.turnover + zero, multipliers.turnover + zero),
    ]
    lowest = sum((_slope(ramp, x - slack) for ramp in (*problem.ramps, *norm_ramps)), zero)
    highest = sum((_slope(ramp, x + slack) for ramp in (*problem.ramps, *norm_ramps)), zero)
    lowest = torch.where(x <= problem.lower + slack, -torch.inf, lowest)
    highest = torch.where(x >= problem.upper - slack, torch.inf, highest)
    distance = (lowest - left_over).clamp(min=0) + (left_over - highest).clamp(min=0)
    price = torch.stack([part.abs().amax(-1) for part in (problem.c, risk, shadow)]).amax(0)
    for ramp in (*problem.ramps, *norm_ramps):
        price = torch.maximum(price, torch.maximum(ramp.left.abs(), ramp.right.abs()).amax(-1))
    stationarity = _ratio(distance.amax(-1), price)

    bounds = torch.cat([b.abs().expand(len(x), -1), e.abs().expand(len(x), -1), size], dim=-1).amax(-1)
    feasibility = _ratio(constraint_violation(problem, x), bounds)

    gaps = [(e - _times(e_matrix, x)) * multipliers.inequality]
    if problem.leverage is not None:
        gaps.append((problem.leverage - x.abs().sum(-1)).unsqueeze(-1) * multipliers.leverage)
    if problem.turnover is not None:
        gaps.append((problem.turnover - (x - problem.held).abs().sum(-1)).unsqueeze(-1) * multipliers.turnover)
    gap = torch.cat([part.abs() for part in gaps], dim=-1)
    complementarity = _ratio(gap.amax(-1) if gap.shape[-1] else size.squeeze(-1) * 0, price * bounds)
    negative = torch.cat([multipliers.inequality, multipliers.leverage, multipliers.turnover], dim=-1)
    wrong_sign = _ratio((-negative).clamp(min=0).amax(-1), price)
    return torch.stack([stationarity, feasibility, complementarity, wrong_sign]).amax(0)


def _slope(ramp: Ramp, x: Tensor) -> Tensor:
    """Return the derivative of a ramp; at its kink, that above."""
    if ramp.end is None:
        return torch.where(x < ramp.start, ramp.left, ramp.right)
    share = ((x - ramp.start) / (ramp.end - ramp.start)).clamp(0, 1)
    return ramp.left + (ramp.right - ramp.left) * share


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def _ratio(number: Tensor, size: Tensor) -> Tensor:
    return torch.where(number > 0, number / size.clamp(min=torch.finfo(number.dtype).tiny), 0.0)
