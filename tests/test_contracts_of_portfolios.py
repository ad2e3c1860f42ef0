"""The checks that users run on their constraints and policies: shipped ones pass, each kind of fault is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from backtest import costs
from backtest.contracts import check_constraint, check_policy
from backtest.costs import (
    CashFloor,
    Constraint,
    DollarNeutral,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    GroupLimit,
    LeverageLimit,
    LimitTerms,
    LinearLimit,
    LongOnly,
    NoTrade,
    PositionBounds,
    PositionLimit,
    RiskLimit,
    TradeLimit,
    TurnoverLimit,
)
from backtest.errors import CostError, SettingsError, SimulationError
from backtest.market import simulate_market
from backtest.simulation import (
    EqualWeight,
    FixedWeights,
    Hold,
    PeriodicRebalance,
    Policy,
    ProportionalRebalance,
    RankLongShort,
    SolverPolicy,
    TargetWeights,
)
from backtest.solver import PositionSolver

PANEL = simulate_market(12, 160, 3, seed=0).panel
N = PANEL.n_assets
RNG = np.random.default_rng(1)
CONSTRAINTS = [
    DollarNeutral(),
    FullyInvested(),
    LeverageLimit(0.5),
    TurnoverLimit(0.3),
    LongOnly(),
    PositionLimit(0.1),
    PositionBounds(-0.02, 0.03),
    TradeLimit(0.05),
    NoTrade([str(PANEL.assets[2])]),
    CashFloor(0.1),
    LinearLimit(RNG.normal(size=(2, N)), upper=0.1),
    FactorLimit(RNG.normal(size=(N, 2)), lower=-0.1, upper=0.1),
    GroupLimit(np.repeat(["a", "b"], N // 2), upper=0.2),
    RiskLimit(FactorRisk(n_factors=2, lookback=40), volatility=0.002),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda each: type(each).__name__)
def test_every_shipped_constraint_keeps_its_contract_and_binds(constraint):
    report = check_constraint(constraint, panel=PANEL)

    assert report.binds > 0
    assert report.tried == 15
    assert f"{type(constraint).__name__} keeps its contract" in str(report)


def test_no_shipped_constraint_is_left_out():
    kinds = {
        name
        for name in costs.__all__
        if isinstance(kind := getattr(costs, name), type) and issubclass(kind, Constraint) and kind is not Constraint
    }

    assert {type(each).__name__ for each in CONSTRAINTS} == kinds


class Ours(Constraint):
    """A limit of a tenth of wealth on each weight."""

    def terms(self, held, market):
        return LimitTerms(upper=torch.full_like(held[:1], 0.1))


class ShiftsWithHoldings(Ours):
    def terms(self, held, market):
        return LimitTerms(upper=held.abs() + 0.1)


class Forgets(Ours):
    calls = 0

    def terms(self, held, market):
        self.calls += 1
        return LimitTerms(upper=torch.full_like(held[:1], 0.1 * self.calls))


class WritesOnHeld(Ours):
    def terms(self, held, market):
        held += 0.1
        return super().terms(held, market)


class WrongShape(Ours):
    def terms(self, held, market):
        return LimitTerms(upper=torch.full((1, 3), 0.1, dtype=held.dtype))


class NotANumber(Ours):
    def terms(self, held, market):
        return LimitTerms(upper=torch.full_like(held[:1], torch.nan))


class UpsideDown(Ours):
    def terms(self, held, market):
        return LimitTerms(lower=torch.full_like(held[:1], 0.2), upper=torch.full_like(held[:1], 0.1))


class MixesRows(Ours):
    def terms(self, held, market):
        return LimitTerms(leverage=held.new_full((len(held),), 1.0 + len(held)))


class Breaks(Ours):
    def terms(self, held, market):
        return LimitTerms(upper=held[:, :99] @ held)


class Nothing(Ours):
    def terms(self, held, market):
        return None


class Impossible(Ours):
    def terms(self, held, market):
        ones = torch.ones_like(held[:1]).unsqueeze(1)
        return LimitTerms(upper=torch.full_like(held[:1], 0.01), equality=(ones, held.new_full((1, 1), 1.0)))


@dataclass(frozen=True)
class LooksAhead(Ours):
    level: float = 0.1

    def estimate(self, panel):
        return LooksAhead(float(np.nanstd(panel.returns)))

    def terms(self, held, market):
        return LimitTerms(upper=torch.full_like(held[:1], self.level))


def test_a_users_constraint_is_checked_in_plain_words():
    report = check_constraint(Ours())

    assert report.pieces == ("each weight",)
    assert "limits each weight; does not depend on what was held" in str(report)
    assert "are its limits wide on purpose" in str(check_constraint(PositionLimit(1e6)))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ShiftsWithHoldings, "its terms change with held: return True from depends_on_held"),
        (Forgets, "the same call gives other terms the second time"),
        (WritesOnHeld, "terms changes held: work on a copy"),
        (WrongShape, r"upper has shape \(1, 3\), expected \(B or 1, 12\)"),
        (NotANumber, "upper holds a number that is not finite"),
        (UpsideDown, "lower is above upper in asset 0"),
        (MixesRows, "row 0 is another in the company of others"),
        (Breaks, "terms raised RuntimeError"),
        (Nothing, "terms returned NoneType"),
        (Impossible, "no weights keep it"),
        (LooksAhead, "it looks ahead: its terms on"),
    ],
)
def test_each_fault_of_a_constraint_is_named(kind, message):
    with pytest.raises(CostError, match=f"{kind.__name__}.*{message}"):
        check_constraint(kind(), panel=PANEL)


def test_what_is_no_constraint_is_refused():
    with pytest.raises(CostError, match="is no Constraint"):
        check_constraint(3)


def solver_policy(panel):
    risk = 5.0 * FactorRisk(n_factors=2, lookback=40)
    return SolverPolicy(PositionSolver(risk, [LeverageLimit(2.0)]).estimate(panel))


def targets(panel):
    dates = panel.dates[[30, 90]]
    return TargetWeights(pd.DataFrame(0.05, index=dates, columns=panel.assets))


POLICIES = {
    "solver": solver_policy,
    "equal weight": lambda panel: EqualWeight(),
    "fixed": lambda panel: FixedWeights(pd.Series(1 / N, index=panel.assets)),
    "hold": lambda panel: Hold(),
    "periodic": lambda panel: PeriodicRebalance(EqualWeight(), every="month"),
    "proportional": lambda panel: ProportionalRebalance(EqualWeight(), fraction=0.5),
    "rank": lambda panel: RankLongShort(long=3, short=3),
    "targets": targets,
}


@pytest.mark.parametrize("name", POLICIES)
def test_shipped_policies_keep_their_contract(name):
    check_policy(POLICIES[name], PANEL)


class Halves(Policy):
    """Half of what is held."""

    def decide(self, p, held, market, tradable):
        return held / 2


class Peeks(Policy):
    def __init__(self, panel):
        self.last = np.nan_to_num(panel.returns[-1])

    def decide(self, p, held, market, tradable):
        return np.broadcast_to(self.last, held.shape)


class Averages(Policy):
    def decide(self, p, held, market, tradable):
        return np.broadcast_to(held.mean(axis=0), held.shape)


class Draws(Policy):
    generator = np.random.default_rng(0)

    def decide(self, p, held, market, tradable):
        return self.generator.normal(size=held.shape)


class Writes(Policy):
    def decide(self, p, held, market, tradable):
        held *= 0.5
        return held


class Follows(Policy):
    """Forecasts as weights, NaN where there is no view."""

    def decide(self, p, held, market, tradable):
        return p


class OneBook(Policy):
    def decide(self, p, held, market, tradable):
        return held[0]


class Stops(Policy):
    def decide(self, p, held, market, tradable):
        raise KeyError("x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda panel: Peeks(panel), "Peeks looks ahead: with other prices after"),
        (lambda panel: Averages(), "Averages decides for a book by its company"),
        (lambda panel: Draws(), "Draws is not deterministic"),
        (lambda panel: Writes(), "Writes: .*decide changes held"),
        (lambda panel: Follows(), "Follows: .*the weight of .* is nan"),
        (lambda panel: OneBook(), r"OneBook: .*returned shape \(12,\), expected \(3, 12\)"),
        (lambda panel: Stops(), "Stops: .*decide raised KeyError"),
        (lambda panel: 3, "which is no Policy"),
    ],
)
def test_each_fault_of_a_policy_is_named(make, message):
    with pytest.raises(SimulationError, match=message):
        check_policy(make, PANEL)


def test_an_honest_policy_passes_and_a_short_panel_is_refused():
    check_policy(lambda panel: Halves(), PANEL)
    with pytest.raises(SettingsError, match="too few"):
        check_policy(solver_policy, PANEL.until(22))
