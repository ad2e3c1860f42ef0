"""Random problems over every cost and every constraint, from a seed. Many are degenerate on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    Constraint,
    Cost,
    DollarNeutral,
    Exposure,
    FactorRisk,
    FullyInvested,
    HoldingFee,
    LeverageLimit,
    LimitTerms,
    LongOnly,
    PositionLimit,
    Ridge,
    SoftL1,
    TradingCost,
    TurnoverLimit,
)
from backtest.solver import CanonicalProblem, PositionSolver


@dataclass(frozen=True, eq=False)
class GroupLimits(Constraint):
    """`E q <= e`, a constraint of a user's own."""

    members: np.ndarray
    bound: np.ndarray

    def terms(self, held, market):
        return LimitTerms(inequality=(torch.as_tensor(self.members)[None], torch.as_tensor(self.bound)[None]))


@dataclass(frozen=True)
class Case:
    """One row: a solver and what it is asked."""

    solver: PositionSolver
    p: np.ndarray
    held: np.ndarray
    tradable: np.ndarray | None

    @property
    def problem(self) -> CanonicalProblem:
        mask = None if self.tradable is None else torch.as_tensor(self.tradable)[None]
        return self.solver.problem(torch.as_tensor(self.p)[None], torch.as_tensor(self.held)[None], tradable=mask)


def random_case(seed: int, *, nasty: bool = False, flat: bool = False, largest: int = 40, scale: float = 1.0) -> Case:
    """Return the case of a seed; `nasty` adds ties, zeros, all-stuck, dependent constraints and odd
    scales; `flat` takes the curvature of some or all assets away."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 8, 15, 25, largest] if nasty else [2, 4, 8, 12, 20, largest]))
    k = int(rng.integers(0, min(n, 8) + 1))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    def by_asset(size: float) -> float | np.ndarray:
        return size * float(rng.random()) if chance(0.5) else size * rng.random(n)

    loadings = rng.normal(size=(n, k)) * 0.01
    specific = rng.uniform(1e-4, 9e-4, n)
    p, held = rng.normal(size=n) * 1e-3, rng.normal(size=n) / n
    if nasty:
        if k >= 2 and chance(0.3):
            loadings[:, -1] = loadings[:, 0]
        if chance(0.2):
            specific[:] = specific[0]
        if chance(0.15):
            specific *= 10.0 ** rng.uniform(-4, 4, n)
        if chance(0.2):
            p = np.round(p, 3)
        if chance(0.05):
            p[:] = 0.0
        if chance(0.3):
            held = np.round(held, 1)
        if chance(0.1):
            held[:] = 0.0
        scale = 10.0 ** rng.uniform(-6, 6) if chance(0.3) else 1.0
        p = p * 10.0 ** rng.uniform(-3, 3) if chance(0.3) else p
    if flat:
        specific[rng.random(n) < rng.choice([0.3, 1.0])] = 0.0
        if chance(0.3):  # a dense covariance of full rank
            loadings = rng.normal(size=(n, n)) * 0.01
            k = n
    p = p * scale

    costs: list[Cost] = [
        float(rng.uniform(1, 20))
        * scale
        * FactorRisk(
            loadings=loadings,
            specific_variance=specific,
            factor_covariance=_covariance(rng, k) if k and chance(0.3) else None,
        )
    ]
    if chance(0.3) and not flat:
        costs.append(1e-3 * scale * Ridge(by_asset(1.0)))
    if chance(0.6):
        costs.append(scale * L1(by_asset(1e-3 if not (nasty and chance(0.1)) else 1.0)))
    if chance(0.3):
        costs.append(scale * SoftL1(width=float(rng.choice([1e-3, 0.03])), weight=by_asset(5e-4)))
    if chance(0.7):
        costs.append(scale * TradingCost(half_spread=by_asset(1e-3)))
    if chance(0.2):
        costs.append(scale * TradingCost(half_spread=by_asset(1e-3)))
    if chance(0.4):
        costs.append(scale * BorrowFee(by_asset(0.05), periods_per_year=252))
    if chance(0.3):
        costs.append(scale * HoldingFee(by_asset(2e-4)))
    if chance(0.3):
        costs.append(scale * Exposure(loadings=rng.normal(size=(n, int(rng.integers(1, 3)))) * 0.03))

    constraints: list[Constraint] = []
    limit = float(rng.choice([0.05, 0.2, 1.0]))
    budget = rng.integers(0, 4)
    if budget == 1:
        constraints.append(DollarNeutral())
    elif budget == 2:
        constraints.append(FullyInvested())
        limit = max(limit, 1.0 / n if nasty and chance(0.3) else 1.5 / n)
    if chance(0.3):
        constraints.append(LongOnly())
    if chance(0.6):
        size = limit if chance(0.5) else limit * rng.uniform(1, 2, n)
        constraints.append(PositionLimit(size))
    if chance(0.4):
        constraints.append(
            LeverageLimit(float(rng.choice([0.5, 1.0, 3.0])) if budget != 2 else float(rng.choice([1.0, 1.5])))
        )
    if chance(0.3):
        constraints.append(TurnoverLimit(float(rng.choice([0.1, 0.5, 2.0]))))
    if chance(0.25):
        members = (rng.random((2, n)) < 0.5).astype(float) * rng.choice([-1.0, 1.0])
        constraints.append(GroupLimits(members, rng.uniform(0.0 if nasty else 0.05, 0.5, 2)))
    if nasty and chance(0.1):
        constraints += [
            constraint for constraint in constraints if isinstance(constraint, DollarNeutral | FullyInvested)
        ]
    tradable = rng.random(n) < (0.8 if not nasty or chance(0.8) else 0.1) if chance(0.25) else None
    if nasty and chance(0.2) and n > 1:
        held[rng.random(n) < 0.5] = limit  # held at a limit

    total = costs[0]
    for cost in costs[1:]:
        total = total + cost
    solver = PositionSolver(
        total,
        constraints,
        holding_periods=float(rng.choice([1.0, 5.0])),
        smoothing=0.01 if chance(0.15) else 0.0,
    )
    return Case(solver, p, held, tradable)


def _covariance(rng: np.random.Generator, k: int) -> np.ndarray:
    root = rng.normal(size=(k, max(1, k - 1)))  # singular: rank k - 1
    return root @ root.T / k
