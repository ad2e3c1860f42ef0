"""The dual of the canonical problem: one multiplier for each factor, constraint and norm limit.

Write `1/2 |G'x|^2 = max_v v'G'x - 1/2 |v|^2`. For fixed multipliers `z = (v, y, mu, lambda_L, lambda_U)` the problem
splits into scalar problems, whose minimisers are `x(z) = response(c - G v - A'y - E'mu)`; the dual function
is concave, once differentiable, and

    gradient  = (G'x - v, A x - b, E x - e, |x|_1 - L, |x - held|_1 - U)
    - Hessian = M' W M + diag(I, 0, 0, 0, 0),   W = diag(dx/dc),   M = [G, A', E', sign(x), sign(x - held)].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.separable import Separable, pick_rows

__all__ = ["ROUNDING", "Dual"]

ROUNDING = 1e-2
"""Share of an asset's unconstrained weight that its weight is exact to, in units of the solver's tolerance."""


@dataclass(frozen=True)
class Dual:
    """The parts of the dual function that do not change while its multipliers are sought.

    Attributes:
        c: (B, N).
        held: (B, N).
        columns: (B | 1, N, r), `[G, A', E']`.
        offset: (B, R), `(0, b, e, L, U)`; R counts all multipliers.
        n_factors, n_equalities: how many multipliers are factors and equalities; the rest have a sign.
        has_leverage, has_turnover: whether there is a limit on each norm.
        separable: the scalar problems.
    """

    c: Tensor
    held: Tensor
    columns: Tensor
    offset: Tensor
    n_factors: int
    n_equalities: int
    has_leverage: bool
    has_turnover: bool
    separable: Separable

    @staticmethod
    def of(problem: CanonicalProblem, diagonal: Tensor) -> Dual:
        """Set up the dual of `problem` with its diagonal replaced by `diagonal` (B | 1, N), above 0 everywhere."""
        n_rows = len(problem.c)
        (a, b), (e_matrix, e) = problem.equality, problem.inequality
        blocks = [block for block in (problem.loadings, a.mT, e_matrix.mT) if block.shape[-1]]
        size = max((block.shape[0] for block in blocks), default=1)
        columns = torch.cat([block.expand(size, -1, -1) for block in blocks], dim=-1) if blocks else problem.loadings
        norms = [limit for limit in (problem.leverage, problem.turnover) if limit is not None]
        offset = torch.cat(
            [
                problem.c.new_zeros(n_rows, problem.loadings.shape[-1]),
                b.expand(n_rows, -1),
                e.expand(n_rows, -1),
                *(limit.unsqueeze(-1).expand(n_rows, 1) for limit in norms),
            ],
            dim=-1,
        )
        separable = Separable.of(
            diagonal,
            problem.ramps,
            lower=problem.lower,
            upper=problem.upper,
            held=problem.held,
            has_leverage=problem.leverage is not None,
            has_turnover=problem.turnover is not None,
        )
        return Dual(
            problem.c,
            problem.held,
            columns,
            offset,
            problem.loadings.shape[-1],
            b.shape[-1],
            problem.leverage is not None,
            problem.turnover is not None,
            separable,
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
        return Dual(
            self.c[index],
            pick_rows(self.held, index),
            pick_rows(self.columns, index),
            self.offset[index],
            self.n_factors,
            self.n_equalities,
            self.has_leverage,
            self.has_turnover,
            self.separable.rows(index),
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
        leverage = z[:, self.n_linear : self.n_linear + 1] if self.has_leverage else None
        turnover = z[:, -1:] if self.has_turnover else None
        return self.separable.response(earned, leverage, turnover)

    def gradient(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the gradient (B, R) of the dual function at multipliers `z`, where the weights are `x`."""
        parts = [self.gather(x)]
        if self.has_leverage:
            parts.append(x.abs().sum(-1, keepdim=True))
        if self.has_turnover:
            parts.append((x - self.held).abs().sum(-1, keepdim=True))
        gradient = torch.cat(parts, dim=-1) - self.offset
        gradient[:, : self.n_factors] -= z[:, : self.n_factors]
        return gradient

    def norm_signs(self, x: Tensor) -> Tensor:
        """Return the columns of M for the norm limits (B, N, 0 | 1 | 2)."""
        signs = []
        if self.has_leverage:
            signs.append(torch.sign(x))
        if self.has_turnover:
            signs.append(torch.sign(x - self.held))
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
        diagonal = torch.diagonal(linear, dim1=-2, dim2=-1)
        diagonal[:, : self.n_factors] += 1
        return linear

    def scale(self, x: Tensor, z: Tensor, flexibility: Tensor) -> Tensor:
        """Return the size (B, R) that each gradient entry is measured against: that of the terms it is a difference of.

        A weight of nearly 0 is itself a difference, of what it earns and what it costs: `ROUNDING` times that counts.
        """
        price = self.price()
        reach = ROUNDING * flexibility * price
        length = x.square().sum(-1, keepdim=True).sqrt() + reach.square().sum(-1, keepdim=True).sqrt()
        column_size = self.columns.square().sum(-2).sqrt()
        size = column_size * length
        total = (x.abs() + reach).sum(-1, keepdim=True)
        norms = [total] * (int(self.has_leverage) + int(self.has_turnover))
        # A factor's multiplier matters by what it adds to the prices of weights.
        column_size = column_size[:, : self.n_factors].clamp(min=torch.finfo(x.dtype).tiny)
        factors = z[:, : self.n_factors].abs() + ROUNDING * price.amax(-1, keepdim=True) / column_size
        factors = torch.nn.functional.pad(factors, (0, z.shape[-1] - self.n_factors))
        return torch.cat([size.expand(len(x), -1), *norms], dim=-1) + factors + self.offset.abs()

    def price(self) -> Tensor:
        """Return the size (B, N) of what a unit of each asset's weight earns or costs."""
        slopes = [side.abs() for point in self.separable.breaks for side in (point.below, point.above)]
        return self.c.abs() + torch.stack(torch.broadcast_tensors(*slopes)).amax(0)

    def looseness(self) -> Tensor:
        """Return `M' D^-1 M` on its diagonal (B | 1, R): the curvature of each multiplier were no asset stuck."""
        free = self.separable.first_flexibility
        linear = (self.columns.square() * free.unsqueeze(-1)).sum(-2)
        n_norms = int(self.has_leverage) + int(self.has_turnover)
        total = free.sum(-1, keepdim=True).expand(-1, n_norms)
        size = max(linear.shape[0], total.shape[0])
        return torch.cat([linear.expand(size, -1), total.expand(size, -1)], dim=-1)
