"""Which costs and limits are of positions, and which of trades: a plan has the weights held as variables.

A cost is asked for its pieces at weights held of 0; it is one of trades where it depends on `q - held` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Constraint, Cost, LimitTerms, SumOfCosts
from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver
from backtest.solver.canonical import CanonicalProblem

__all__ = ["SplitSolver"]

PROBES = 3
SAME = 1e-9
"""Relative difference up to which two values of a cost are the same."""


@dataclass(frozen=True)
class SplitSolver:
    """A solver in two: what its costs and limits say of positions, and what they say of trades.

    Attributes:
        position: costs and limits that do not depend on what was held.
        trade: those that depend on the trade alone.
    """

    position: PositionSolver
    trade: PositionSolver

    @staticmethod
    def of(solver: PositionSolver, held: np.ndarray, market: MarketSnapshot) -> SplitSolver:
        """Split a solver.

        Args:
            solver: its costs and limits.
            held: (B, N), for the shape and size of weights.
            market: the market at the B rows, or at one for all.

        Raises:
            SettingsError: a cost or limit depends on what was held, and not by the trade alone.
        """
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for name, cost in solver.costs.parts:
            is_trade = cost.depends_on_held and _is_of_trades(_value_of(cost, market), held, f"the cost {name}")
            costs[is_trade].append(cost)
        limits: tuple[list[Constraint], list[Constraint]] = ([], [])
        for limit in solver.constraints:
            is_trade = limit.depends_on_held and _is_of_trades(_violation_of(limit, market), held, f"{limit!r}")
            limits[is_trade].append(limit)
        position, trade = (
            replace(solver, costs=SumOfCosts(tuple(part)), constraints=tuple(kept))
            for part, kept in zip(costs, limits, strict=True)
        )
        return SplitSolver(position, trade)

    def problems(self, held: np.ndarray, market: MarketSnapshot) -> tuple[CanonicalProblem, CanonicalProblem]:
        """Return the problems of B rows, in positions and in trades; what is held counts as 0 in both."""
        nothing = torch.zeros(held.shape, dtype=torch.float64)
        with torch.no_grad():
            return (
                self.position.problem(nothing, nothing, market=market),
                self.trade.problem(nothing, nothing, market=market),
            )


Function = Callable[[Tensor, Tensor], Tensor]


def _value_of(cost: Cost, market: MarketSnapshot) -> Function:
    return lambda q, held: cost.value(q, held, market).sum(-1, keepdim=True)


def _violation_of(limit: Constraint, market: MarketSnapshot) -> Function:
    return lambda q, held: _violation(limit.terms(held, market), q, held)


def _violation(terms: LimitTerms, q: Tensor, held: Tensor) -> Tensor:
    """Return by how much each limit is broken (B, limits), negative where it is kept."""
    found = [q.new_zeros(len(q), 0)]
    found += [] if terms.lower is None else [terms.lower - q]
    found += [] if terms.upper is None else [q - terms.upper]
    for pair in (terms.equality, terms.inequality):
        found += [] if pair is None else [(pair[0] @ q.unsqueeze(-1)).squeeze(-1) - pair[1]]
    found += [] if terms.leverage is None else [(q.abs().sum(-1) - terms.leverage).unsqueeze(-1)]
    found += [] if terms.turnover is None else [((q - held).abs().sum(-1) - terms.turnover).unsqueeze(-1)]
    return torch.cat([*found, *(limit.excess(q) for limit in terms.quadratic)], dim=-1)


def _is_of_trades(function: Function, held: np.ndarray, what: str) -> bool:
    """Return whether a function of (q, held) is one of `q - held` alone; False for one of q alone."""
    generator = torch.Generator().manual_seed(0)
    size = max(float(np.abs(held).max(initial=0.0)), 1.0 / held.shape[1])
    of_position = of_trade = True
    for _ in range(PROBES):
        q, before = (size * torch.randn(held.shape, generator=generator, dtype=torch.float64) for _ in range(2))
        nothing = torch.zeros_like(q)
        with torch.no_grad():
            found = function(q, before)
            of_position &= _same(found, function(q, nothing))
            of_trade &= _same(found, function(q - before, nothing))
    if not (of_position or of_trade):
        raise SettingsError(
            f"MultiPeriod: {what} depends on what was held, and not by the trade q - held alone: a plan, in which the "
            "weights held are still open, cannot have it. Write it in terms of q - held, or use SolverPolicy"
        )
    return not of_position


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = torch.where(torch.isfinite(one), one, 0.0).abs().amax().item()
    return bool(torch.isclose(one, other, rtol=SAME, atol=SAME * scale, equal_nan=True).all())
