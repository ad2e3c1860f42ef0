"""The canonical problem, assembled from costs and constraints.

    minimise_x  -c'x + 1/2 |G'x|^2 + 1/2 sum_i d_i x_i^2 + sum_i phi_i(x_i)
    subject to  A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper

with `c = p - l`. B rows at once; a tensor whose first size is 1 is shared by all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from backtest.costs import Constraint, Cost, CostTerms, LimitTerms, Ramp
from backtest.market import MarketSnapshot
from backtest.solver.separable import pick_rows

__all__ = ["CanonicalProblem", "assemble"]


@dataclass(frozen=True)
class CanonicalProblem:
    """One batch of canonical problems.

    Attributes:
        c: (B, N) what a unit of weight earns: the prediction less linear costs.
        held: (B, N) weights before trading.
        loadings: (B | 1, N, k), `G`.
        diagonal: (B | 1, N), `d`, at least 0.
        ramps: the pieces of `phi`.
        lower, upper: (B | 1, N); infinite where there is no limit.
        equality: (B | 1, m, N) and (B | 1, m), `A` and `b`.
        inequality: (B | 1, q, N) and (B | 1, q), `E` and `e`.
        leverage, turnover: (B | 1,) limits on the norms; None where there is none.
        limits: the constraints that the fields above add up, each under its name; names are unique.
    """

    c: Tensor
    held: Tensor
    loadings: Tensor
    diagonal: Tensor
    ramps: tuple[Ramp, ...]
    lower: Tensor
    upper: Tensor
    equality: tuple[Tensor, Tensor]
    inequality: tuple[Tensor, Tensor]
    leverage: Tensor | None
    turnover: Tensor | None
    limits: tuple[tuple[str, LimitTerms], ...] = ()

    def objective(self, x: Tensor) -> Tensor:
        """Return the objective (B,) at weights `x` (B, N)."""
        return self.cost(x) - (self.c * x).sum(-1)

    def cost(self, x: Tensor) -> Tensor:
        """Return `1/2 |G'x|^2 + 1/2 sum d x^2 + sum phi(x)` (B,) at weights `x` (B, N)."""
        exposure = torch.einsum("bnk,bn->bk", self.loadings.expand(len(x), -1, -1), x)
        separable = self.diagonal * x.square() / 2
        for ramp in self.ramps:
            separable = separable + ramp.value(x)
        return separable.sum(-1) + exposure.square().sum(-1) / 2

    def rows(self, index: Tensor) -> CanonicalProblem:
        """Return the problems of the rows `index`."""
        return replace(
            self,
            c=self.c[index],
            held=pick_rows(self.held, index),
            loadings=pick_rows(self.loadings, index),
            diagonal=pick_rows(self.diagonal, index),
            ramps=tuple(
                Ramp(
                    pick_rows(ramp.start, index),
                    pick_rows(ramp.left, index),
                    pick_rows(ramp.right, index),
                    None if ramp.end is None else pick_rows(ramp.end, index),
                )
                for ramp in self.ramps
            ),
            lower=pick_rows(self.lower, index),
            upper=pick_rows(self.upper, index),
            equality=(pick_rows(self.equality[0], index), pick_rows(self.equality[1], index)),
            inequality=(pick_rows(self.inequality[0], index), pick_rows(self.inequality[1], index)),
            leverage=None if self.leverage is None else pick_rows(self.leverage, index),
            turnover=None if self.turnover is None else pick_rows(self.turnover, index),
            limits=tuple((name, _limit_rows(limit, index)) for name, limit in self.limits),
        )


def assemble(
    p: Tensor,
    held: Tensor,
    *,
    costs: Cost,
    constraints: Sequence[Constraint],
    market: MarketSnapshot | None,
    tradable: Tensor | None,
    holding_periods: Tensor,
    smoothing: float,
) -> CanonicalProblem:
    """Lower costs and constraints to one canonical problem.

    Args:
        p: (B, N) predicted return per period.
        held: (B, N) weights before trading.
        costs: `C`.
        constraints: limits, all of which must hold.
        market: the market at the B rows, for costs that need it.
        tradable: (B, N) bool; an asset that cannot be traded keeps its weight. None means all can.
        holding_periods: (1, 1) or (B, 1); costs paid per trade are divided by it.
        smoothing: weight over which every kink is smoothed (Huber); 0 leaves kinks as they are.
    """
    n_assets = p.shape[-1]
    linear, diagonal = torch.zeros_like(p[:1]), torch.zeros_like(p[:1])
    blocks: list[Tensor] = []
    ramps: list[Ramp] = []
    for _, cost in costs.parts:
        terms: CostTerms = cost.terms(held, market)
        if cost.paid_per_trade:
            terms = terms.scaled(1 / holding_periods)
        linear = linear if terms.linear is None else linear + terms.linear
        diagonal = diagonal if terms.diagonal is None else diagonal + terms.diagonal
        blocks.extend(terms.loadings)
        ramps.extend(terms.ramps)
    ramps = _merge_kinks(ramps, held)
    if smoothing > 0:
        ramps = [ramp.widened(smoothing) for ramp in ramps]

    lower, upper = p.new_full((1, n_assets), -torch.inf), p.new_full((1, n_assets), torch.inf)
    equalities: list[tuple[Tensor, Tensor]] = []
    inequalities: list[tuple[Tensor, Tensor]] = []
    leverage = turnover = None
    limits = _named_limits(constraints, held, market, tradable)
    for _, limit in limits:
        lower = lower if limit.lower is None else torch.maximum(lower, limit.lower)
        upper = upper if limit.upper is None else torch.minimum(upper, limit.upper)
        if limit.equality is not None:
            equalities.append(limit.equality)
        if limit.inequality is not None:
            inequalities.append(limit.inequality)
        leverage = _smaller(leverage, limit.leverage)
        turnover = _smaller(turnover, limit.turnover)

    return CanonicalProblem(
        c=p - linear,
        held=held,
        loadings=_stack(blocks, p.new_zeros(1, n_assets, 0), dim=2),
        diagonal=diagonal,
        ramps=tuple(ramps),
        lower=lower,
        upper=upper,
        equality=_stack_rows(equalities, p),
        inequality=_stack_rows(inequalities, p),
        leverage=leverage,
        turnover=turnover,
        limits=limits,
    )


def _named_limits(
    constraints: Sequence[Constraint], held: Tensor, market: MarketSnapshot | None, tradable: Tensor | None
) -> tuple[tuple[str, LimitTerms], ...]:
    """Return the terms of every constraint, the tradable mask the last of them."""
    named: dict[str, LimitTerms] = {}
    for constraint in constraints:
        name = _name_of(constraint)
        repeats = sum(known == name or known.startswith(f"{name} #") for known in named)
        terms = constraint.terms(held, market)
        if tradable is not None:
            # An asset that cannot be traded keeps its weight, even one that its own limits would not allow.
            terms = replace(
                terms,
                lower=None if terms.lower is None else torch.where(tradable, terms.lower, -torch.inf),
                upper=None if terms.upper is None else torch.where(tradable, terms.upper, torch.inf),
            )
        named[f"{name} #{repeats + 1}" if repeats else name] = terms
    if tradable is not None and not bool(tradable.all()):
        named["tradable mask"] = LimitTerms(
            lower=torch.where(tradable, -torch.inf, held), upper=torch.where(tradable, torch.inf, held)
        )
    return tuple(named.items())


def _name_of(constraint: Constraint) -> str:
    """Return the class of a constraint, with its parameters where they are numbers: "PositionLimit(0.05)"."""
    values: list[object] = (
        [getattr(constraint, part.name) for part in fields(constraint)] if is_dataclass(constraint) else []
    )
    numbers = [f"{value:g}" for value in values if isinstance(value, Real)]
    return type(constraint).__name__ + (f"({', '.join(numbers)})" if numbers else "")


def _limit_rows(limit: LimitTerms, index: Tensor) -> LimitTerms:
    def pick(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else pick_rows(tensor, index)

    def pick_both(pair: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
        return None if pair is None else (pick_rows(pair[0], index), pick_rows(pair[1], index))

    return LimitTerms(
        lower=pick(limit.lower),
        upper=pick(limit.upper),
        equality=pick_both(limit.equality),
        inequality=pick_both(limit.inequality),
        leverage=pick(limit.leverage),
        turnover=pick(limit.turnover),
    )


def _merge_kinks(ramps: list[Ramp], held: Tensor) -> list[Ramp]:
    """Add up the kinks at 0, and those at the weight held: fewer breaks to sort."""
    merged: dict[str, Ramp] = {}
    others: list[Ramp] = []
    for ramp in ramps:
        if ramp.end is not None:
            others.append(ramp)
            continue
        if ramp.start is held:
            name = "held"
        elif not bool(ramp.start.any()):
            name = "zero"
        else:
            others.append(ramp)
            continue
        old = merged.get(name)
        merged[name] = ramp if old is None else Ramp(ramp.start, old.left + ramp.left, old.right + ramp.right)
    return [*merged.values(), *others]


def _smaller(limit: Tensor | None, other: Tensor | None) -> Tensor | None:
    if limit is None or other is None:
        return other if limit is None else limit
    return torch.minimum(limit, other)


def _stack(blocks: list[Tensor], empty: Tensor, *, dim: int) -> Tensor:
    if not blocks:
        return empty
    if len(blocks) == 1:
        return blocks[0]
    size = max(block.shape[0] for block in blocks)
    return torch.cat([block.expand(size, -1, -1) for block in blocks], dim=dim)


def _stack_rows(rows: list[tuple[Tensor, Tensor]], p: Tensor) -> tuple[Tensor, Tensor]:
    matrix = _stack([matrix for matrix, _ in rows], p.new_zeros(1, 0, p.shape[-1]), dim=1)
    bounds = [bound for _, bound in rows]
    size = max((bound.shape[0] for bound in bounds), default=1)
    bound = torch.cat([bound.expand(size, -1) for bound in bounds], dim=1) if bounds else p.new_zeros(1, 0)
    return matrix, bound
