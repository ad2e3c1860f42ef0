"""How far positions are from optimal, computed from the problem alone, whoever found them.

At an optimum some multipliers satisfy (Karush, Kuhn, Tucker)

    c - d x - G G'x - grad h(x) - A'y - E'mu - sum_m nu_m grad Q_m(x)
        in  phi'(x) + lambda_L d|x| + lambda_U d|x - held| + normal cone of the limits
    A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper,  Q_m(x) <= r_m
    mu, lambda, nu >= 0, and 0 where their constraint is slack

but for a soft limit, which may be broken, and whose multiplier is its violation divided by its softness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.costs import QuadraticLimit, Ramp
from backtest.solver.canonical import CanonicalProblem

__all__ = ["Multipliers", "constraint_violation", "optimality_residual"]

NEAR = 1e-9
"""A weight within this much of a kink or limit, relative to the size of the weights, counts as on it."""

Slope = Callable[[Tensor], Tensor]

ROUNDING = 1e-6
"""Share of the marginal risk of the largest weight below which marginal returns and costs count as none."""


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of a batch.

    Attributes:
        equality: (B, m), `y`.
        inequality: (B, q), `mu`.
        leverage, turnover: (B, l) and (B, t), `lambda`.
        quadratic: (B, M), `nu`, of the quadratic limits in their order.
    """

    equality: Tensor
    inequality: Tensor
    leverage: Tensor
    turnover: Tensor
    quadratic: Tensor

    @staticmethod
    def of(problem: CanonicalProblem, z: Tensor, quadratic: Tensor | None = None) -> Multipliers:
        """Split the solver's multipliers by what they belong to.

        Args:
            problem: B problems.
            z: (B, R), R = k + m + q + l + t, of factors, equalities, inequalities, leverage and turnover in this order.
            quadratic: (B, M) multipliers of the quadratic limits; None counts as 0.
        """
        blocks = (problem.loadings, problem.equality[1], problem.inequality[1], problem.leverage, problem.turnover)
        _, equality, inequality, leverage, turnover = torch.split(z, [block.shape[-1] for block in blocks], dim=-1)
        if quadratic is None:
            quadratic = z.new_zeros(len(z), len(problem.quadratic))
        return Multipliers(equality, inequality, leverage, turnover, quadratic)


def constraint_violation(problem: CanonicalProblem, x: Tensor) -> Tensor:
    """Return by how much weights `x` (B, N) break the worst hard constraint of each row of a `problem`.

    The result, (B,), is a fraction of wealth; 0 where all are kept.

    A constraint is broken by the total weight that must be moved to keep it: for linear rows the excess divided by the
    largest coefficient, for a quadratic limit the excess divided by the largest entry of its gradient (to first order),
    less what rounding explains.
    """
    with torch.no_grad():
        (a, b), (e_matrix, e) = problem.equality, problem.inequality
        excess = torch.where(problem.softness == 0, problem.violation(x), 0.0)
        n_rows = e.shape[-1]
        parts = [
            problem.lower - x,
            x - problem.upper,
            (_times(a, x) - b).abs() / _largest(a),
            excess[:, :n_rows] / _largest(e_matrix),
            excess[:, n_rows:],
            *(_ratio(_excess(limit, x), limit.gradient(x).abs().amax(-1, keepdim=True)) for limit in problem.quadratic),
        ]
        return torch.cat([part.clamp(min=0) for part in parts], dim=-1).amax(-1)


def optimality_residual(problem: CanonicalProblem, x: Tensor, multipliers: Multipliers) -> Tensor:
    """Return the largest violation of the conditions above (B,); NaN where weights or multipliers are.

    Stationarity is measured against the largest marginal return or cost of the row, feasibility against the size of
    the weights, complementarity against both. A weight within 1e-9 of a kink or limit, relative, counts as on it:
    every slope between those just below and just above will do, also where a curve is vertical.

    Args:
        problem: B problems.
        x: (B, N) weights.
        multipliers: of the constraints.
    """
    with torch.no_grad():
        zero = torch.zeros_like(x)
        exposure = torch.einsum("bnk,bn->bk", problem.loadings.expand(len(x), -1, -1), x)
        risk = problem.diagonal * x + (problem.loadings @ exposure.unsqueeze(-1)).squeeze(-1)
        shadow = _times(problem.equality[0].mT, multipliers.equality)
        shadow = shadow + _times(problem.inequality[0].mT, multipliers.inequality)
        smooth = sum((function.gradient(x) for function in problem.smooth), zero)
        for limit, multiplier in zip(problem.quadratic, multipliers.quadratic.unbind(-1), strict=True):
            shadow = shadow + multiplier.unsqueeze(-1) * limit.gradient(x)
        left_over = problem.c - risk - smooth - shadow

        size = _size_of_weights(problem, x)
        slack = NEAR * size
        slopes, rates = _slopes(problem, multipliers, zero)
        lowest = sum((slope(x - slack) for slope in slopes), zero)
        highest = sum((slope(x + slack) for slope in slopes), zero)
        lowest = torch.where(x <= problem.lower + slack, -torch.inf, lowest)
        highest = torch.where(x >= problem.upper - slack, torch.inf, highest)
        distance = (lowest - left_over).clamp(min=0) + (left_over - highest).clamp(min=0)
        # A multiplier that only presses weights against their own limits is no measure of anything.
        inside = torch.isfinite(lowest) & torch.isfinite(highest)
        pressing = torch.where(inside, shadow, 0.0)
        marginal = [problem.c, risk, smooth, pressing, *rates, *(slope(x) for slope in slopes)]
        price = torch.stack([part.abs().amax(-1).expand(len(x)) for part in marginal]).amax(0)
        # Where nothing is earned or paid, the rounding of weights that are differences of those held is no fault.
        price = torch.maximum(price, ROUNDING * (_curvature(problem).amax(-1, keepdim=True) * size).squeeze(-1))
        stationarity = _ratio(distance.amax(-1), price)

        b, e = _finite(problem.equality[1]), _finite(problem.inequality[1])
        parts = (b / _largest(problem.equality[0]), e / _largest(problem.inequality[0]), size)
        reach = torch.cat([part.abs().expand(len(x), -1) for part in parts], dim=-1).amax(-1)
        feasibility = _ratio(constraint_violation(problem, x), reach)
        signed = torch.cat([multipliers.inequality, multipliers.leverage, multipliers.turnover], dim=-1)
        complementarity = _complementarity(problem, x, signed, multipliers.quadratic, price, reach)
        every = torch.cat([signed, multipliers.quadratic, zero[:, :1]], dim=-1)
        wrong_sign = _ratio((-every).clamp(min=0).amax(-1), price)
        return torch.stack([stationarity, feasibility, complementarity, wrong_sign]).amax(0)


def _curvature(problem: CanonicalProblem) -> Tensor:
    """Return the curvature (B | 1, N) of each asset alone, curves and smooth functions left aside."""
    curvature = problem.diagonal + problem.loadings.square().sum(-1)
    for bend in problem.bends:
        curvature = curvature + torch.maximum(bend.below, bend.above)
    return curvature


def _size_of_weights(problem: CanonicalProblem, x: Tensor) -> Tensor:
    """Return the size (B, 1) that weights are measured against.

    It is that of the largest weight, held or wanted. Where all are 0, and rounding must not count, it is the least
    that a marginal return or cost could buy, as far as the limits allow it.
    """
    largest = torch.maximum(x.abs().amax(-1, keepdim=True), problem.held.abs().amax(-1, keepdim=True))
    curvature = _curvature(problem)
    rates = sum((ramp.left.abs() + ramp.right.abs() for ramp in problem.ramps), problem.c.abs())
    least = _ratio(rates.amax(-1, keepdim=True), curvature.amax(-1, keepdim=True))
    n_norms = problem.leverage.shape[-1] + problem.turnover.shape[-1]
    hard = problem.softness[:, problem.softness.shape[-1] - n_norms :] == 0
    moved = problem.turnover + problem.held.abs().sum(-1, keepdim=True)
    norms = torch.cat([problem.leverage.expand(len(x), -1), moved], dim=-1)
    widest = torch.maximum(problem.lower.abs(), problem.upper.abs()).amax(-1, keepdim=True).expand(len(x), 1)
    allowed = torch.cat([torch.where(hard, norms, torch.inf), widest], dim=-1).amin(-1, keepdim=True)
    floor = torch.minimum(least, allowed)
    # A flat cost without a limit says nothing of the size of a weight.
    floor = torch.where(floor < 1e100, floor, 0.0)
    return torch.maximum(largest, floor).clamp(min=torch.finfo(x.dtype).tiny)


def _slopes(problem: CanonicalProblem, multipliers: Multipliers, zero: Tensor) -> tuple[list[Slope], list[Tensor]]:
    """Return the slopes of the separable pieces, norm limits among them, and the largest rates of the linear ones."""
    leverage, turnover = (rates.sum(-1, keepdim=True) for rates in (multipliers.leverage, multipliers.turnover))
    ramps = (
        *problem.ramps,
        Ramp(zero, zero - leverage, zero + leverage),
        Ramp(zero + problem.held, zero - turnover, zero + turnover),
    )
    slopes: list[Slope] = [lambda x, ramp=ramp: ramp.slope(x, above=True) for ramp in ramps]  # type: ignore[misc]
    slopes += [bend.slope for bend in problem.bends]
    slopes += [curve.slope for curve in problem.curves]
    return slopes, [side for ramp in ramps for side in (ramp.left, ramp.right)]


def _complementarity(
    problem: CanonicalProblem, x: Tensor, signed: Tensor, quadratic: Tensor, price: Tensor, reach: Tensor
) -> Tensor:
    """Return by how much multipliers and violations disagree (B,), relative."""
    violation, softness = problem.violation(x), problem.softness.expand(len(x), -1)
    known = torch.isfinite(violation)
    gap = torch.where(known, violation, 0.0) * signed
    parts = [_ratio(gap.abs(), (price * reach).unsqueeze(-1))]
    # A limit without a bound has no multiplier.
    parts.append(_ratio(torch.where(known, 0.0, signed.abs()), price.unsqueeze(-1)))
    # Of a soft limit the violation or the multiplier may be off, each by its own measure.
    miss = (softness * signed - violation.clamp(min=0)).abs()
    parts[0] = torch.where(softness > 0, _ratio(miss, reach.unsqueeze(-1) + softness * price.unsqueeze(-1)), parts[0])
    for limit, multiplier in zip(problem.quadratic, quadratic.unbind(-1), strict=True):
        excess = limit.excess(x).squeeze(-1)
        parts.append(_ratio((excess * multiplier).abs(), price * reach).unsqueeze(-1))
    return torch.cat([*parts, torch.zeros_like(price).unsqueeze(-1)], dim=-1).amax(-1)


def _excess(limit: QuadraticLimit, x: Tensor) -> Tensor:
    """Return by how much a quadratic limit is broken (B, 1), less what rounding explains."""
    terms = limit.terms
    size = limit.bound.abs().expand(len(x), 1)
    for part, factor in ((terms.constant, torch.ones_like(x)), (terms.linear, x)):
        if part is not None:
            size = size + (part * factor).abs().sum(-1, keepdim=True)
    return (limit.excess(x) - 8 * torch.finfo(x.dtype).eps * size).clamp(min=0)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def _largest(matrix: Tensor) -> Tensor:
    """Return the largest coefficient of each row (B | 1, m) of (B | 1, m, N); 1 for a row of zeros."""
    largest = matrix.abs().amax(-1)
    return torch.where(largest > 0, largest, 1.0)


def _finite(bound: Tensor) -> Tensor:
    return torch.where(torch.isfinite(bound), bound, 0.0)


def _ratio(number: Tensor, size: Tensor) -> Tensor:
    """Return the quotient, 0 where the number is 0 whatever its size; what is not a number stays so."""
    return torch.where(number <= 0, 0.0, number / size.clamp(min=torch.finfo(number.dtype).tiny))
