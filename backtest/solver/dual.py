"""The dual of the canonical problem: one multiplier for each factor, constraint and norm limit.

Write `1/2 |G'x|^2 = max_v v'G'x - 1/2 |v|^2`. For fixed multipliers `z = (v, y, mu, lambda_L, lambda_U)` the problem
splits into scalar problems, whose minimisers are `x(z) = response(c - G v - A'y - E'mu)`; the dual function
is concave, once differentiable, and with `s` the softness of each multiplier (1 for a factor, 0 for a hard limit,
1 / weight for a soft one)

    gradient  = (G'x, A x - b, E x - e, |x|_1 - L, |x - held|_1 - U) - s z
    - Hessian = M' W M + diag(s),   W = diag(dx/dc),   M = [G, A', E', sign(x), sign(x - held)].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.costs.curves import pick_rows
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.separable import Separable

__all__ = ["ROUNDING", "Dual", "multiplier_parts"]

ROUNDING = 1e-2
"""Share of an asset's unconstrained weight that its weight is exact to, in units of the solver's tolerance."""


def multiplier_parts(problem: CanonicalProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Return what belongs to the multipliers of a problem: the columns, offset and softness of its `Dual`."""
    n_rows = len(problem.c)
    (a, b), (e_matrix, e) = problem.equality, problem.inequality
    blocks = [block for block in (problem.loadings, a.mT, e_matrix.mT) if block.shape[-1]]
    size = max((block.shape[0] for block in blocks), default=1)
    columns = torch.cat([block.expand(size, -1, -1) for block in blocks], dim=-1) if blocks else problem.loadings
    offset = torch.cat(
        [
            problem.c.new_zeros(n_rows, problem.loadings.shape[-1]),
            *(part.expand(n_rows, -1) for part in (b, e, problem.leverage, problem.turnover)),
        ],
        dim=-1,
    )
    hard = [torch.ones_like(problem.loadings[:1, 0, :]), torch.zeros_like(b[:1])]
    softness = torch.cat([part.expand(len(problem.softness), -1) for part in (*hard, problem.softness)], dim=-1)
    return columns, offset, softness


@dataclass(frozen=True)
class Dual:
    """The parts of the dual function that do not change while its multipliers are sought.

    Attributes:
        c: (B, N).
        held: (B, N).
        columns: (B | 1, N, r), `[G, A', E']`.
        offset: (B, R), `(0, b, e, L, U)`; R counts all multipliers.
        softness: (B | 1, R), `s`.
        n_factors, n_equalities: how many multipliers are factors and equalities; the rest have a sign.
        n_leverage, n_turnover: number of limits on each norm, the last of the multipliers.
        separable: the scalar problems.
    """

    c: Tensor
    held: Tensor
    columns: Tensor
    offset: Tensor
    softness: Tensor
    n_factors: int
    n_equalities: int
    n_leverage: int
    n_turnover: int
    separable: Separable

    @staticmethod
    def of(problem: CanonicalProblem, diagonal: Tensor) -> Dual:
        """Set up the dual of `problem` with its diagonal replaced by `diagonal` (B | 1, N), above 0 everywhere."""
        columns, offset, softness = multiplier_parts(problem)
        n_leverage, n_turnover = problem.leverage.shape[-1], problem.turnover.shape[-1]
        separable = Separable.of(
            diagonal,
            ramps=problem.ramps,
            bends=problem.bends,
            curves=problem.curves,
            lower=problem.lower,
            upper=problem.upper,
            held=problem.held,
            has_leverage=n_leverage > 0,
            has_turnover=n_turnover > 0,
        )
        return Dual(
            c=problem.c,
            held=problem.held,
            columns=columns,
            offset=offset,
            softness=softness,
            n_factors=problem.loadings.shape[-1],
            n_equalities=problem.equality[1].shape[-1],
            n_leverage=n_leverage,
            n_turnover=n_turnover,
            separable=separable,
        )

    @property
    def n_linear(self) -> int:
        """Number of multipliers that act through `columns`."""
        return self.columns.shape[-1]

    @property
    def n_free(self) -> int:
        """Number of leading multipliers that may have either sign."""
        return self.n_factors + self.n_equalities

    def rows(self, index: Tensor) -> Dual:
        """Return the dual of the rows `index`."""
        return replace(
            self,
            c=self.c[index],
            held=pick_rows(self.held, index),
            columns=pick_rows(self.columns, index),
            offset=self.offset[index],
            softness=pick_rows(self.softness, index),
            separable=self.separable.rows(index),
        )

    def earned(self, z: Tensor) -> Tensor:
        """Return `c - G v - A'y - E'mu` (B, N)."""
        return self.c - self.spread(z)

    def spread(self, z: Tensor) -> Tensor:
        """Return `G v + A'y + E'mu` (B, N)."""
        linear = z[:, : self.n_linear]
        if self.columns.shape[0] == 1:
            return linear @ self.columns[0].mT
        return torch.bmm(self.columns, linear.unsqueeze(-1)).squeeze(-1)

    def gather(self, x: Tensor) -> Tensor:
        """Return `(G'x, A x, E x)` (B, r)."""
        if self.columns.shape[0] == 1:
            return x @ self.columns[0]
        return torch.bmm(x.unsqueeze(-2), self.columns).squeeze(-2)

    def respond(self, earned: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` and `W` (B, N) at what a unit of weight earns after the linear multipliers."""
        norms = z[:, self.n_linear :]
        leverage = norms[:, : self.n_leverage].sum(-1, keepdim=True) if self.n_leverage else None
        turnover = norms[:, self.n_leverage :].sum(-1, keepdim=True) if self.n_turnover else None
        return self.separable.response(earned, leverage, turnover)

    def gradient(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the gradient (B, R) of the dual function at multipliers `z`, where the weights are `x`."""
        parts = [self.gather(x)]
        if self.n_leverage:
            parts.append(x.abs().sum(-1, keepdim=True).expand(-1, self.n_leverage))
        if self.n_turnover:
            parts.append((x - self.held).abs().sum(-1, keepdim=True).expand(-1, self.n_turnover))
        return torch.cat(parts, dim=-1) - self.offset - self.softness * z

    def norm_signs(self, x: Tensor) -> Tensor:
        """Return the columns of M for the norm limits (B, N, l + t)."""
        signs = [torch.sign(x)] * self.n_leverage
        if self.n_turnover:
            signs += [torch.sign(x - self.held)] * self.n_turnover
        return torch.stack(signs, dim=-1) if signs else x.new_zeros(*x.shape, 0)

    def curvature(self, x: Tensor, flexibility: Tensor) -> Tensor:
        """Return minus the generalised Hessian (B, R, R)."""
        signs = self.norm_signs(x)
        if self.columns.shape[0] == 1:
            weighted = self.columns[0].mT.unsqueeze(0) * flexibility.unsqueeze(-2)  # (B, r, N)
            linear = weighted @ self.columns[0]
        else:
            weighted = (self.columns * flexibility.unsqueeze(-1)).mT
            linear = torch.bmm(weighted, self.columns)
        if signs.shape[-1]:
            cross = torch.bmm(weighted, signs)
            norms = torch.bmm((signs * flexibility.unsqueeze(-1)).mT, signs)
            linear = torch.cat([torch.cat([linear, cross], dim=-1), torch.cat([cross.mT, norms], dim=-1)], dim=-2)
        return linear + torch.diag_embed(self.softness)

    def scale(self, x: Tensor, z: Tensor, flexibility: Tensor) -> Tensor:
        """Return the size (B, R) that each gradient entry is measured against: that of the terms it is a difference of.

        A weight of nearly 0 is itself a difference, of what it earns and what it costs: `ROUNDING` times that counts.
        """
        price = self.price()
        # At the edge of a kink an asset is stuck or free by a rounding error, so the stuck count like the free.
        reach = ROUNDING * torch.where(flexibility > 0, flexibility, self.separable.first_flexibility) * price
        length = x.square().sum(-1, keepdim=True).sqrt() + reach.square().sum(-1, keepdim=True).sqrt()
        column_size = self.columns.square().sum(-2).sqrt()
        total = (x.abs() + reach).sum(-1, keepdim=True).expand(-1, self.n_leverage + self.n_turnover)
        size = torch.cat([(column_size * length).expand(len(x), -1), total], dim=-1)
        # A soft multiplier matters by what it adds to the prices of weights.
        tiny = torch.finfo(x.dtype).tiny
        steepness = torch.nn.functional.pad(column_size, (0, z.shape[-1] - self.n_linear), value=1.0).clamp(min=tiny)
        meant = z.abs() + ROUNDING * price.amax(-1, keepdim=True) / steepness
        return size + self.softness * meant + self.offset.abs()

    def price(self) -> Tensor:
        """Return the size (B, N) of what a unit of each asset's weight earns or costs."""
        return self.c.abs() + self.separable.scale

    def looseness(self) -> Tensor:
        """Return `M' D^-1 M` on its diagonal (B | 1, R): the curvature of each multiplier were no asset stuck."""
        free = self.separable.first_flexibility
        linear = (self.columns.square() * free.unsqueeze(-1)).sum(-2)
        total = free.sum(-1, keepdim=True).expand(-1, self.n_leverage + self.n_turnover)
        size = max(linear.shape[0], total.shape[0])
        return torch.cat([linear.expand(size, -1), total.expand(size, -1)], dim=-1)
