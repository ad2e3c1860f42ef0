"""Random problems over every cost and every limit, from a seed or drawn by hypothesis. Many are degenerate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from hypothesis import strategies as st

from backtest.costs import (
    L1,
    BorrowFee,
    CashFloor,
    Constraint,
    Cost,
    DenseRisk,
    DollarNeutral,
    Exposure,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    GroupLimit,
    HoldingFee,
    LeverageLimit,
    LimitTerms,
    LinearLimit,
    LongFee,
    LongOnly,
    NoTrade,
    PositionBounds,
    PositionLimit,
    RelativeTo,
    Ridge,
    RiskLimit,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.solver import CanonicalProblem, PositionSolver

Option = TypeVar("Option")


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
    return _Builder(Choices(np.random.default_rng(seed)), nasty=nasty, flat=flat, largest=largest, scale=scale).case()


@st.composite
def cases(draw: Any, *, largest: int = 12) -> Case:
    """Draw a case, degenerate or not: hypothesis chooses what it is made of, and shrinks that; numbers are seeded."""
    choices = DrawnChoices(np.random.default_rng(draw(st.integers(0, 2**16))), draw)
    nasty, flat = draw(st.booleans()), draw(st.booleans())
    return _Builder(choices, nasty=nasty, flat=flat, largest=largest, scale=1.0).case()


@dataclass
class Choices:
    """Chooses at random."""

    rng: np.random.Generator

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, options: Sequence[Option]) -> Option:
        return options[int(self.rng.integers(len(options)))]


@dataclass
class DrawnChoices(Choices):
    """Lets hypothesis choose."""

    draw: Any

    def chance(self, probability: float) -> bool:
        return self.draw(st.booleans())

    def one_of(self, options: Sequence[Option]) -> Option:
        return self.draw(st.sampled_from(list(options)))


@dataclass
class _Builder:
    choices: Choices
    nasty: bool
    flat: bool
    largest: int
    scale: float
    costs: list[Cost] = field(default_factory=list)
    limits: list[Constraint] = field(default_factory=list)

    def case(self) -> Case:
        chance, rng, nasty = self.choices.chance, self.choices.rng, self.nasty
        sizes = [1, 2, 3, 5, 8, 15, 25, self.largest] if nasty else [2, 4, 8, 12, 20, self.largest]
        self.n = n = min(self.choices.one_of(sizes), self.largest)
        p, held = rng.normal(size=n) * 1e-3, rng.normal(size=n) / n
        if nasty:
            p = np.round(p, 3) if chance(0.2) else p
            p = p * 0 if chance(0.05) else p
            held = np.round(held, 1) if chance(0.3) else held
            held = held * 0 if chance(0.1) else held
            self.scale *= 10.0 ** rng.uniform(-6, 6) if chance(0.3) else 1.0
            p = p * 10.0 ** rng.uniform(-3, 3) if chance(0.2) else p
        self.held = held
        self.limit = self.choices.one_of([0.05, 0.2, 1.0])
        self.add_risk()
        self.add_penalties()
        self.add_fees()
        self.add_trading()
        self.add_limits()
        self.add_soft_limits()
        if nasty and self.limits and chance(0.1):
            self.limits += [self.choices.one_of(self.limits)]
        if nasty and n > 1 and chance(0.2):
            held[rng.random(n) < 0.5] = self.limit  # held at a limit
        if nasty and chance(0.15):
            p[rng.random(n) < 0.5] = self.rate  # on a kink
        tradable = rng.random(n) < (0.8 if not nasty or chance(0.8) else 0.1) if chance(0.2) else None
        total = self.costs[0]
        for cost in self.costs[1:]:
            total = total + cost
        solver = PositionSolver(
            total,
            self.limits,
            holding_periods=self.choices.one_of([1.0, 5.0]),
            smoothing=0.01 if chance(0.15) else 0.0,
        )
        return Case(solver, p * self.scale, held, tradable)

    def add_risk(self) -> None:
        chance, rng, n = self.choices.chance, self.choices.rng, self.n
        k = int(rng.integers(0, min(n, 8) + 1))
        loadings = rng.normal(size=(n, k)) * 0.01
        specific = rng.uniform(1e-4, 9e-4, n)
        if self.nasty:
            if k >= 2 and chance(0.3):
                loadings[:, -1] = loadings[:, 0]
            specific = np.full(n, specific[0]) if chance(0.2) else specific
            specific = specific * 10.0 ** rng.uniform(-4, 4, n) if chance(0.15) else specific
        if self.flat:
            specific[rng.random(n) < self.choices.one_of([0.3, 1.0])] = 0.0
            if chance(0.2):  # a dense covariance of full rank
                loadings = rng.normal(size=(n, n)) * 0.01
                k = n
        covariance = _covariance(rng, k) if k and chance(0.3) else None
        self.risk: Cost = FactorRisk(loadings=loadings, specific_variance=specific, factor_covariance=covariance)
        if chance(0.2):
            rank = max(1, n // 2) if self.flat else 2 * n
            root = rng.normal(size=(n, rank)) * 0.03 / np.sqrt(rank)
            self.risk = DenseRisk(root @ root.T)
        aversion = float(rng.uniform(1, 20)) * self.scale
        if chance(0.15):
            self.costs.append(aversion * RelativeTo(self.risk, rng.normal(size=n) / n))
        else:
            self.costs.append(aversion * self.risk)

    def add_penalties(self) -> None:
        chance, rng, n, scale = self.choices.chance, self.choices.rng, self.n, self.scale
        self.rate = 1e-3 if not (self.nasty and chance(0.1)) else 1.0
        if chance(0.3) and not self.flat:
            self.costs.append(1e-3 * scale * Ridge(self.by_asset(1.0)))
        if chance(0.4):
            weight = self.by_asset(self.rate) if not (self.nasty and chance(0.3)) else self.rate
            self.costs.append(scale * L1(weight))
        for form in ("huber", "root"):
            if chance(0.2):
                width = self.choices.one_of([1e-3, 0.03])
                self.costs.append(scale * SoftL1(width=width, weight=self.by_asset(5e-4), form=form))
        if chance(0.25):
            self.costs.append(scale * Exposure(loadings=rng.normal(size=(n, int(rng.integers(1, 3)))) * 0.03))
        if chance(0.1):
            self.costs.append(RelativeTo(scale * L1(self.by_asset(5e-4)), rng.normal(size=n) / n))

    def add_fees(self) -> None:
        chance, scale = self.choices.chance, self.scale
        if chance(0.3):
            self.costs.append(scale * BorrowFee(self.by_asset(0.05), periods_per_year=252))
        if chance(0.15):
            self.costs.append(scale * LongFee(self.by_asset(0.02), periods_per_year=252))
        if chance(0.2):
            self.costs.append(scale * HoldingFee(self.by_asset(2e-4)))

    def add_trading(self) -> None:
        chance, rng, n, scale = self.choices.chance, self.choices.rng, self.n, self.scale
        if chance(0.5):
            self.costs.append(scale * TradingCost(half_spread=self.by_asset(1e-3)))
        if chance(0.25):
            fees = {"buy_fee": self.by_asset(1e-3), "sell_fee": self.by_asset(5e-4)}
            self.costs.append(scale * TradingCost(half_spread=self.by_asset(1e-3), **fees))
        if chance(0.15):
            self.costs.append(scale * TradingCost(quadratic=self.by_asset(0.01)))
        if chance(0.3):
            impact = TradingCost(
                half_spread=self.by_asset(1e-3) if chance(0.5) else 0.0,
                impact=self.by_asset(1.0) if not chance(0.2) else rng.random(n) * (rng.random(n) < 0.5),
                exponent=self.choices.one_of([1.5, 1.5, 1.5, 1.25, 1.6, 1.9, 2.0]),
                volatility=rng.uniform(0.005, 0.03, n),
                dollar_volume=10.0 ** rng.uniform(6, 9, n),
                wealth=10.0 ** rng.uniform(6, 8),
            )
            self.costs.append(scale * (RelativeTo(impact, rng.normal(size=n) / n) if chance(0.1) else impact))

    def add_limits(self) -> None:
        chance, rng, n, nasty = self.choices.chance, self.choices.rng, self.n, self.nasty
        limits, limit = self.limits, self.limit
        budget = self.choices.one_of([None, "neutral", "invested", "cash"])
        if budget == "neutral":
            limits.append(DollarNeutral())
        elif budget == "invested":
            limits.append(FullyInvested())
            limit = self.limit = max(limit, 1.0 / n if nasty and chance(0.3) else 1.5 / n)
        elif budget == "cash" and chance(0.5):
            limits.append(CashFloor(self.choices.one_of([0.0, 0.2, -0.5])))
        if chance(0.25):
            limits.append(LongOnly())
        if chance(0.45):
            limits.append(PositionLimit(limit if chance(0.5) else limit * rng.uniform(1, 2, n)))
        if chance(0.2):
            limits.append(self.bounds())
        if chance(0.15):
            limits.append(TradeLimit(limit, sell=limit * rng.uniform(0.5, 2, n) if chance(0.5) else None))
        if chance(0.1):
            limits.append(NoTrade(rng.random(n) < 0.2))
        if chance(0.35):
            most = self.choices.one_of([0.5, 1.0, 3.0] if budget != "invested" else [1.0, 1.5])
            limits.append(LeverageLimit(most))
        if chance(0.25):
            limits.append(TurnoverLimit(self.choices.one_of([0.1, 0.5, 2.0])))
        if chance(0.3):
            limits.append(self.linear_limit())
        if chance(0.2):
            benchmark = rng.normal(size=n) / n if chance(0.3) else None
            volatility = self.choices.one_of([0.003, 0.01, 0.03])
            limits.append(RiskLimit(self.risk, volatility=volatility, benchmark=benchmark))

    def bounds(self) -> PositionBounds:
        rng, n = self.choices.rng, self.n
        lower, upper = -self.limit * rng.uniform(0.5, 2, n), self.limit * rng.uniform(0.5, 2, n)
        lower[rng.random(n) < 0.2], upper[rng.random(n) < 0.2] = -np.inf, np.inf
        if self.nasty and self.choices.chance(0.5):
            fixed = rng.random(n) < 0.4
            lower[fixed] = upper[fixed] = np.where(rng.random(n) < 0.5, self.held, 0.0)[fixed]
        return PositionBounds(lower, upper)

    def linear_limit(self) -> Constraint:
        rng, n, nasty = self.choices.rng, self.n, self.nasty
        width = float(rng.uniform(0.0 if nasty else 0.05, 0.5))
        kind = self.choices.one_of(["group", "factor", "neutral", "linear", "own"])
        if kind == "group":
            return GroupLimit(rng.integers(0, 3, n), lower=-width, upper=float(rng.uniform(0.05, 0.5)))
        if kind == "factor":
            return FactorLimit(rng.normal(size=(n, 2)), lower=-width, upper=width)
        if kind == "neutral":
            return FactorLimit(rng.normal(size=(n, 1 if n < 4 else 2)), lower=0.0, upper=0.0)
        if kind == "linear":
            return LinearLimit(
                rng.normal(size=(2, n)), upper=np.array([width, np.inf]), lower=np.array([-np.inf, -0.3])
            )
        members = (rng.random((2, n)) < 0.5).astype(float) * rng.choice([-1.0, 1.0])
        return GroupLimits(members, rng.uniform(0.0 if nasty else 0.05, 0.5, 2))

    def add_soft_limits(self) -> None:
        rng = self.choices.rng
        for _ in range(2):
            if not self.choices.chance(0.25):
                continue
            kind = self.choices.one_of(
                ["neutral", "position", "leverage", "turnover", "linear", "trade", "long", "cash", "bounds", "risk"]
            )
            limit: Constraint = {
                "neutral": DollarNeutral(),
                "position": PositionLimit(self.limit / 2),
                "leverage": LeverageLimit(self.choices.one_of([0.0, 0.3, 1.0])),
                "turnover": TurnoverLimit(self.choices.one_of([0.0, 0.2])),
                "linear": self.linear_limit(),
                "trade": TradeLimit(0.02),
                "long": LongOnly(),
                "cash": CashFloor(0.1),
                "bounds": self.bounds(),
                "risk": RiskLimit(self.risk, volatility=0.003),
            }[kind]
            weight = 10.0 ** rng.uniform(-3, 1) * (1e3 if kind == "risk" else 1.0)
            self.costs.append(self.scale * Soft(limit, weight))

    def by_asset(self, size: float) -> Any:
        rng = self.choices.rng
        return size * float(rng.random()) if self.choices.chance(0.5) else size * rng.random(self.n)


def _covariance(rng: np.random.Generator, k: int) -> np.ndarray:
    root = rng.normal(size=(k, max(1, k - 1)))  # singular: rank k - 1
    return root @ root.T / k
