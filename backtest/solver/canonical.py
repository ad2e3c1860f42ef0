"""The canonical problem, assembled from costs and constraints.

    minimise_x  -c'x + 1/2 |G'x|^2 + 1/2 sum_i d_i x_i^2 + sum_i phi_i(x_i) + h(x) + soft limits + constant
    subject to  A x = b,  E x <= e,  |x|_1 <= L,  |x - held|_1 <= U,  lower <= x <= upper,  Q_m(x) <= r_m

with `c = p - l`. B rows at once; a tensor whose first size is 1 is shared by all rows. A soft inequality or norm limit
stands among the hard ones with a softness above 0, the inverse of its penalty's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Real
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from backtest.costs import Bend, Constraint, Cost, CostTerms, Curve, LimitTerms, QuadraticLimit, Ramp, SmoothFunction
from backtest.costs.curves import Root, pick_rows
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = [
    "CanonicalProblem",
    "SmoothingForm",
    "add_up",
    "assemble",
    "lower_cost",
    "mask_untradable",
    "named_limits",
]

SmoothingForm = Literal["huber", "sqrt"]
"""What takes the place of a kink: a parabola as wide as the smoothing on each side, or a hyperbola that wide."""

MAXIMUM_SOFTNESS = 1e200
"""Softness of a limit whose penalty weighs nothing."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class CanonicalProblem:
    """One batch of canonical problems.

    Attributes:
        c: (B, N) what a unit of weight earns: the prediction less linear costs.
        held: (B, N) weights before trading.
        constant: (B | 1, N) cost that does not depend on the weights; counts by its sum.
        linear: (B | 1, N), `l`, the linear costs that `c` has taken off already.
        loadings: (B | 1, N, k), `G`.
        diagonal: (B | 1, N), `d`, at least 0.
        ramps, bends, curves: the pieces of `phi`.
        smooth: the pieces of `h`.
        lower, upper: (B | 1, N); infinite where there is no limit.
        equality: (B | 1, m, N) and (B | 1, m), `A` and `b`.
        inequality: (B | 1, q, N) and (B | 1, q), `E` and `e`.
        leverage, turnover: (B | 1, l) and (B | 1, t) limits on the norms.
        softness: (B | 1, n), n = q + l + t, of the inequalities and norm limits in this order; 0 where the limit is
            hard.
        quadratic: limits on quadratics.
        limits: the constraints that the fields above add up, each under its name; names are unique.
    """

    c: Tensor
    held: Tensor
    constant: Tensor
    linear: Tensor
    loadings: Tensor
    diagonal: Tensor
    ramps: tuple[Ramp, ...]
    bends: tuple[Bend, ...]
    curves: tuple[Curve, ...]
    smooth: tuple[SmoothFunction, ...]
    lower: Tensor
    upper: Tensor
    equality: tuple[Tensor, Tensor]
    inequality: tuple[Tensor, Tensor]
    leverage: Tensor
    turnover: Tensor
    softness: Tensor
    quadratic: tuple[QuadraticLimit, ...] = ()
    limits: tuple[tuple[str, LimitTerms], ...] = ()

    def objective(self, x: Tensor) -> Tensor:
        """Return what is minimised (B,) at weights `x` (B, N)."""
        return self.cost(x) - ((self.c + self.linear) * x).sum(-1)

    def cost(self, x: Tensor) -> Tensor:
        """Return `C(x)` (B,) at weights `x` (B, N): linear and constant costs and soft limits included."""
        exposure = torch.einsum("bnk,bn->bk", self.loadings.expand(len(x), -1, -1), x)
        separable = self.constant + self.linear * x + self.diagonal * x.square() / 2
        pieces: tuple[Ramp | Bend | Curve, ...] = (*self.ramps, *self.bends, *self.curves)
        for piece in pieces:
            separable = separable + piece.value(x)
        total = separable.sum(-1) + exposure.square().sum(-1) / 2
        for function in self.smooth:
            total = total + function.value(x)
        if self.softness.shape[-1]:
            soft = self.softness > 0
            beyond = torch.where(soft, self.violation(x).clamp(min=0), 0.0)
            total = total + (beyond.square() / torch.where(soft, 2 * self.softness, 1.0)).sum(-1)
        return total

    def violation(self, x: Tensor) -> Tensor:
        """Return `(E x - e, |x|_1 - L, |x - held|_1 - U)` (B, n), n = q + l + t, at weights `x` (B, N).

        Negative where a limit is kept.
        """
        matrix, bound = self.inequality
        return torch.cat(
            [
                (matrix @ x.unsqueeze(-1)).squeeze(-1) - bound,
                x.abs().sum(-1, keepdim=True) - self.leverage.expand(len(x), -1),
                (x - self.held).abs().sum(-1, keepdim=True) - self.turnover.expand(len(x), -1),
            ],
            dim=-1,
        )

    def rows(self, index: Tensor) -> CanonicalProblem:
        """Return the problems of the rows `index`."""
        return _pick(self, index)


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
    smoothing_form: SmoothingForm = "huber",
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
        smoothing: weight over which every kink is smoothed; 0 leaves kinks as they are.
        smoothing_form: what takes the place of a kink; see `add_up`.
    """
    parts = [lower_cost(cost, held, market, holding_periods) for _, cost in costs.parts]
    limits = [constraint.terms(held, market) for constraint in constraints]
    named = named_limits(constraints, limits)
    problem = add_up(p, held, parts, named, smoothing=smoothing, smoothing_form=smoothing_form)
    return problem if tradable is None else mask_untradable(problem, tradable)


def lower_cost(cost: Cost, held: Tensor, market: MarketSnapshot | None, holding_periods: Tensor) -> CostTerms:
    """Return the pieces of one part of the costs, divided by the holding periods where it is paid per trade."""
    terms = cost.terms(held, market)
    return terms.scaled(1 / holding_periods) if cost.paid_per_trade else terms


def add_up(
    p: Tensor,
    held: Tensor,
    parts: Sequence[CostTerms],
    limits: tuple[tuple[str, LimitTerms], ...],
    *,
    smoothing: float,
    smoothing_form: SmoothingForm = "huber",
) -> CanonicalProblem:
    """Return the problem whose costs and limits are `parts` and `limits`; all assets can be traded.

    A kink of `|x|` smoothed over the weight `w` becomes, with the same slopes far away and 0 at its place,

        huber   x^2 / 2w within w of it, |x| - w/2 beyond
        sqrt    sqrt(x^2 + w^2) - w

    The first is smooth once and is the kink itself but for a constant beyond `w`, so a name there has the derivative it
    would have; the second is smooth everywhere, and no name is quite without a derivative.
    """
    n_assets = p.shape[-1]
    terms = sum(parts, CostTerms())
    ramps = _merge_kinks(list(terms.ramps), held)
    if smoothing > 0 and smoothing_form == "huber":
        ramps = [ramp.widened(smoothing) for ramp in ramps]
    elif smoothing > 0:
        terms = sum((_rounded(ramp, smoothing) for ramp in ramps if ramp.end is None), terms)
        ramps = [ramp for ramp in ramps if ramp.end is not None]

    lower, upper = p.new_full((1, n_assets), -torch.inf), p.new_full((1, n_assets), torch.inf)
    equalities: list[tuple[Tensor, Tensor]] = []
    inequalities: list[tuple[Tensor, Tensor]] = []
    leverage: list[Tensor] = []
    turnover: list[Tensor] = []
    quadratic: list[QuadraticLimit] = []
    for _, limit in limits:
        lower = lower if limit.lower is None else torch.maximum(lower, limit.lower)
        upper = upper if limit.upper is None else torch.minimum(upper, limit.upper)
        if limit.equality is not None and not _is_among(limit.equality, equalities):
            equalities.append(limit.equality)
        if limit.inequality is not None:
            inequalities.append(limit.inequality)
        if limit.leverage is not None:
            leverage = [_smallest(leverage, limit.leverage.reshape(-1, 1))]
        if limit.turnover is not None:
            turnover = [_smallest(turnover, limit.turnover.reshape(-1, 1))]
        quadratic.extend(limit.quadratic)
    softness: list[list[Tensor]] = [
        [bound.new_zeros(1, bound.shape[-1]) for _, bound in inequalities],
        [bound.new_zeros(1, 1) for bound in leverage],
        [bound.new_zeros(1, 1) for bound in turnover],
    ]
    for soft in terms.soft:
        share = (1 / soft.weight).clamp(max=MAXIMUM_SOFTNESS)
        if soft.limit.inequality is not None:
            inequalities.append(soft.limit.inequality)
            softness[0].append(share.expand(-1, soft.limit.inequality[1].shape[-1]))
        if soft.limit.leverage is not None:
            leverage.append(soft.limit.leverage.reshape(-1, 1))
            softness[1].append(share)
        if soft.limit.turnover is not None:
            turnover.append(soft.limit.turnover.reshape(-1, 1))
            softness[2].append(share)

    nothing = p.new_zeros(1, 0)
    return CanonicalProblem(
        c=p if terms.linear is None else p - terms.linear,
        held=held,
        constant=p.new_zeros(1, n_assets) if terms.constant is None else terms.constant,
        linear=p.new_zeros(1, n_assets) if terms.linear is None else terms.linear,
        loadings=_joined(list(terms.loadings), p.new_zeros(1, n_assets, 0), dim=2),
        diagonal=p.new_zeros(1, n_assets) if terms.diagonal is None else terms.diagonal,
        ramps=tuple(ramps),
        bends=terms.bends,
        curves=terms.curves,
        smooth=terms.smooth,
        lower=lower,
        upper=upper,
        equality=_stacked(equalities, p),
        inequality=_stacked(inequalities, p),
        leverage=_joined(leverage, nothing, dim=1),
        turnover=_joined(turnover, nothing, dim=1),
        softness=_joined([part for parts in softness for part in parts], nothing, dim=1),
        quadratic=tuple(_checked(limit) for limit in quadratic),
        limits=limits,
    )


def _checked(limit: QuadraticLimit) -> QuadraticLimit:
    terms = limit.terms
    if terms.ramps or terms.bends or terms.curves or terms.smooth or terms.soft:
        raise CostError("a limit on a cost needs a quadratic one, such as FactorRisk: others have no such limit")
    return limit


def _pick(part: Part, index: Tensor) -> Part:
    """Return any part of a problem with the rows `index` of its batch."""
    result: Any = part
    if isinstance(part, Tensor):
        result = pick_rows(part, index)
    elif isinstance(part, tuple):
        result = tuple(_pick(member, index) for member in part)
    elif isinstance(part, Curve | SmoothFunction):
        result = part.rows(index)
    elif is_dataclass(part) and not isinstance(part, type):
        result = replace(part, **{each.name: _pick(getattr(part, each.name), index) for each in fields(part)})
    return result


def named_limits(constraints: Sequence[Constraint], limits: Sequence[LimitTerms]) -> tuple[tuple[str, LimitTerms], ...]:
    """Return the terms of every constraint under its name, unique."""
    named: dict[str, LimitTerms] = {}
    for constraint, terms in zip(constraints, limits, strict=True):
        name = _name_of(constraint)
        repeats = sum(known == name or known.startswith(f"{name} #") for known in named)
        named[f"{name} #{repeats + 1}" if repeats else name] = terms
    return tuple(named.items())


def mask_untradable(problem: CanonicalProblem, tradable: Tensor) -> CanonicalProblem:
    """Return the problem in which assets that are not `tradable` (B, N) keep their weight.

    They do even where their own limits would not allow it.
    """
    if bool(tradable.all()):
        return problem

    def freed(terms: LimitTerms) -> LimitTerms:
        return replace(
            terms,
            lower=None if terms.lower is None else torch.where(tradable, terms.lower, -torch.inf),
            upper=None if terms.upper is None else torch.where(tradable, terms.upper, torch.inf),
        )

    held = problem.held
    mask = LimitTerms(lower=torch.where(tradable, -torch.inf, held), upper=torch.where(tradable, torch.inf, held))
    return replace(
        problem,
        lower=torch.where(tradable, problem.lower, held),
        upper=torch.where(tradable, problem.upper, held),
        limits=(*((name, freed(terms)) for name, terms in problem.limits), ("tradable mask", mask)),
    )


def _name_of(constraint: Constraint) -> str:
    """Return the class of a constraint, with its parameters where they are numbers: "PositionLimit(0.05)"."""
    values: list[object] = (
        [getattr(constraint, part.name) for part in fields(constraint)] if is_dataclass(constraint) else []
    )
    numbers = [f"{value:g}" for value in values if isinstance(value, Real)]
    return type(constraint).__name__ + (f"({', '.join(numbers)})" if numbers else "")


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


def _rounded(kink: Ramp, width: float) -> CostTerms:
    """Return a kink as a straight line of its middle slope, and a hyperbola of half of its jump."""
    middle, half = (kink.left + kink.right) / 2, (kink.right - kink.left) / 2
    curve = Root(kink.start, half, torch.full_like(kink.start[:1], width))
    return CostTerms(linear=middle, constant=-middle * kink.start, curves=(curve,))


def _smallest(limits: list[Tensor], other: Tensor) -> Tensor:
    return torch.minimum(limits[0], other) if limits else other


def _is_among(pair: tuple[Tensor, Tensor], others: list[tuple[Tensor, Tensor]]) -> bool:
    """Return whether the same equalities are there already; twice the same leave their multipliers undetermined."""
    return any(torch.equal(pair[0], matrix) and torch.equal(pair[1], bound) for matrix, bound in others)


def _joined(blocks: list[Tensor], empty: Tensor, *, dim: int) -> Tensor:
    """Return blocks side by side, shared ones repeated for each row where some are not shared."""
    if not blocks:
        return empty
    if len(blocks) == 1:
        return blocks[0]
    size = max(block.shape[0] for block in blocks)
    return torch.cat([block.expand(size, *block.shape[1:]) for block in blocks], dim=dim)


def _stacked(rows: list[tuple[Tensor, Tensor]], p: Tensor) -> tuple[Tensor, Tensor]:
    matrix = _joined([matrix for matrix, _ in rows], p.new_zeros(1, 0, p.shape[-1]), dim=1)
    return matrix, _joined([bound for _, bound in rows], p.new_zeros(1, 0), dim=1)
