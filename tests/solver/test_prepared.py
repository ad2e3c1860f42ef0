"""A solver prepared for many like problems: the same answers, each row to the bit what it is alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from random_problems import random_case

from backtest.costs import (
    L1,
    BorrowFee,
    Constraint,
    DenseRisk,
    DollarNeutral,
    FactorRisk,
    GroupLimit,
    LeverageLimit,
    LimitTerms,
    NoTrade,
    PositionLimit,
    RelativeTo,
    Ridge,
    RiskLimit,
    SeparableCost,
    Soft,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.solver.dual import Dual
from backtest.solver.prepared import PreparedSolver
from backtest.solver.prepared_arrays import PreparedArrays
from backtest.solver.solution import Status

N = 12
RNG = np.random.default_rng(4)
RISK = FactorRisk(RNG.normal(size=(N, 3)) * 0.01, specific_variance=np.full(N, 2e-4))
LINEAR = 5.0 * RISK + TradingCost(half_spread=2e-4, sell_fee=1e-4) + BorrowFee(0.02, periods_per_year=252)
LIQUIDITY = {"volatility": 0.01, "dollar_volume": 1e6, "wealth": 1e6}


class Tilt(SeparableCost):
    """A user's cost."""

    cash = True

    def value(self, q, held, market):
        return 1e-3 * (q - held) ** 2 + 1e-4 * q**4


PROBLEMS = {
    "linear costs": PositionSolver(LINEAR, (LeverageLimit(2.0), PositionLimit(0.3))),
    "no limit": PositionSolver(LINEAR),
    "no kink": PositionSolver(5.0 * RISK, (LeverageLimit(1.0), TurnoverLimit(0.4))),
    "norms that share kinks": PositionSolver(LINEAR + L1(1e-5), (LeverageLimit(1.5), TurnoverLimit(0.3))),
    "held for some periods": PositionSolver(LINEAR, (DollarNeutral(), TradeLimit(0.1)), holding_periods=4.0),
    "smoothed": PositionSolver(LINEAR, (PositionLimit(0.3),), smoothing=1e-3),
    "rounded": PositionSolver(LINEAR, (LeverageLimit(1.5), DollarNeutral()), smoothing=1e-3, smoothing_form="sqrt"),
    "impact": PositionSolver(LINEAR + TradingCost(impact=1.0, **LIQUIDITY), (LeverageLimit(2.0),)),
    "other impact": PositionSolver(5.0 * RISK + TradingCost(impact=1.0, exponent=1.6, **LIQUIDITY)),
    "quadratic trading": PositionSolver(
        LINEAR + TradingCost(quadratic=1e-3), (GroupLimit(list("aabbccddeeff"), 0, 0),)
    ),
    "singular risk": PositionSolver(
        DenseRisk(RISK.loadings @ RISK.loadings.T) + TradingCost(half_spread=1e-4), (LeverageLimit(1.0),)
    ),
    "risk limit": PositionSolver(
        TradingCost(half_spread=1e-4) + Ridge(1e-3), (RiskLimit(RISK, volatility=0.005), DollarNeutral())
    ),
    "a user's cost": PositionSolver(5.0 * RISK + Tilt()),
}


def days(seed: int, n_books: int = 4, n_days: int = 3):
    """Forecasts, weights held and masks of some days."""
    rng = np.random.default_rng(seed)
    for _ in range(n_days):
        tradable = rng.random((n_books, N)) > (0.2 if rng.random() < 0.5 else -1)
        p = np.where(tradable | (rng.random((n_books, N)) < 0.5), rng.normal(size=(n_books, N)) * 2e-3, np.nan)
        yield p, rng.normal(size=(n_books, N)) * rng.choice([0.0, 0.05], size=(n_books, N)), tradable


@pytest.mark.parametrize("solver", PROBLEMS.values(), ids=PROBLEMS)
def test_a_prepared_solver_gives_what_the_solver_gives(solver):
    prepared = PreparedSolver(solver)
    for p, held, tradable in days(1):
        found = prepared.solve(p, held, market=None, tradable=tradable)
        expected = solver.solve(p, held, tradable=tradable, on_failure="hold")

        assert found.statuses.tolist() == expected.statuses.tolist()
        np.testing.assert_allclose(found.q, expected.q, rtol=0, atol=1e-11)


@pytest.mark.parametrize("solver", PROBLEMS.values(), ids=PROBLEMS)
def test_a_row_is_what_it_is_alone_and_without_a_past_to_the_last_bit(solver):
    together = PreparedSolver(solver)
    for p, held, tradable in days(2):
        q = together.solve(p, held, market=None, tradable=tradable).q
        for row in range(len(p)):
            one = slice(row, row + 1)
            alone = PreparedSolver(solver).solve(p[one], held[one], market=None, tradable=tradable[one]).q
            assert alone.tobytes() == q[one].tobytes(), row


@pytest.mark.parametrize("nasty", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_on_random_problems_a_row_is_what_it_is_alone_to_the_last_bit(nasty, flat):
    compared = 0
    for seed in range(25):
        case = random_case(seed, nasty=nasty, flat=flat, largest=12)
        rng = np.random.default_rng(seed)
        n = len(case.p)
        p = case.p * 10.0 ** rng.uniform(-1, 1, size=(3, 1))
        held = case.held * rng.choice([0.0, 1.0, 2.0], size=(3, 1))
        tradable = np.ones((3, n), dtype=bool) if case.tradable is None else np.tile(case.tradable, (3, 1))
        if not all(np.isfinite(part).all() for part in (p, held)):
            continue
        found = PreparedSolver(case.solver).solve(p, held, market=None, tradable=tradable)
        for row in range(3):
            one = slice(row, row + 1)
            alone = PreparedSolver(case.solver).solve(p[one], held[one], market=None, tradable=tradable[one])
            assert alone.statuses[0] == found.statuses[row], seed
            assert alone.q.tobytes() == found.q[one].tobytes(), seed
            compared += 1
    assert compared > 60


def test_a_grid_of_weights_is_its_settings_alone_to_the_last_bit():
    aversion, trading = torch.tensor([1.0, 3.0, 7.7])[:, None].double(), torch.tensor([0.3, 1.0, 2.9])[:, None].double()
    limits = (LeverageLimit(2.0), PositionLimit(0.3))

    def solver(a, t):
        return PositionSolver(
            a * RISK + t * TradingCost(half_spread=2e-4) + BorrowFee(0.02, periods_per_year=252), limits
        )

    grid = PreparedSolver(solver(aversion, trading))
    for p, held, tradable in days(3, n_books=3):
        q = grid.solve(p, held, market=None, tradable=tradable).q
        for row in range(3):
            one = slice(row, row + 1)
            alone = PreparedSolver(solver(aversion[row, 0].item(), trading[row, 0].item()))
            assert alone.solve(p[one], held[one], market=None, tradable=tradable[one]).q.tobytes() == q[one].tobytes()


@pytest.mark.parametrize("leverage", [False, True])
@pytest.mark.parametrize("turnover", [False, True])
@pytest.mark.parametrize("costs", ["none", "held", "zero", "both", "elsewhere"])
def test_the_compiled_table_of_kinks_is_that_of_the_tensors_to_the_last_bit(leverage, turnover, costs):
    own = {
        "none": 5.0 * RISK,
        "held": 5.0 * RISK + TradingCost(half_spread=2e-4),
        "zero": 5.0 * RISK + L1(1e-4) + BorrowFee(0.02, periods_per_year=252),
        "both": LINEAR + L1(1e-5),
        "elsewhere": LINEAR + _kink_at(RNG.normal(size=(3, N)) * 0.1) + _kink_at(RNG.normal(size=N) * 0.1),
    }[costs]
    limits = [LeverageLimit(1.0)] * leverage + [TurnoverLimit(0.5)] * turnover
    held = RNG.normal(size=(3, N)) * RNG.choice([0.0, 0.1], size=(3, N))
    problem = PositionSolver(own, limits).problem(torch.zeros(3, N).double(), torch.from_numpy(held))
    expected = Dual.of(problem, problem.diagonal).separable
    arrays = PreparedArrays.of(problem)
    assert arrays is not None
    assert arrays.kinks is not None
    found, _ = arrays.rows(np.zeros((3, N)), held, np.ones((3, N), dtype=bool))

    def same(array, tensor, *, by_break=True):
        wanted = (tensor.transpose(0, 1) if by_break else tensor).numpy()
        np.testing.assert_array_equal(*np.broadcast_arrays(array, wanted))

    same(found.place, expected.place)
    same(found.below, expected.below)
    same(found.above, expected.above)
    same(found.anchor, expected.anchor)
    same(found.level, expected.level)
    same(found.flexibility, expected.flexibility)
    same(found.first, expected.first_flexibility, by_break=False)
    same(found.scale, expected.scale, by_break=False)
    if leverage:
        same(found.sign_below, expected.sign_below)
        same(found.sign_above, expected.sign_above)
    if turnover:
        same(found.trade_below, expected.trade_below)
        same(found.trade_above, expected.trade_above)


def _kink_at(place):
    return RelativeTo(L1(1e-4), place)


def test_parts_are_lowered_again_when_what_they_depend_on_has_changed():
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2020-01-01", periods=80)
    frame = pd.DataFrame(np.exp(np.cumsum(rng.normal(0, 0.02, (80, N)), axis=0)), index=dates).add_prefix("N")
    panel = MarketPanel.from_prices(frame, periods_per_year=252)
    fee = BorrowFee(0.5, day_count="actual/365")
    risk = FactorRisk(n_factors=2, lookback=20, refit_every=5).estimate(panel)
    solver = PositionSolver(5.0 * risk + fee + TradingCost(half_spread=1e-4), (PositionLimit(0.5),))
    prepared = PreparedSolver(solver)
    for row in range(risk.first_row, 60):
        p, held = rng.normal(size=(2, N)) * 2e-3, rng.normal(size=(2, N)) * 0.1
        market = panel.at(row)
        found = prepared.solve(p, held, market=market, tradable=np.ones((2, N), dtype=bool)).q
        # A new one has nothing to remember.
        anew = PreparedSolver(solver).solve(p, held, market=market, tradable=np.ones((2, N), dtype=bool)).q
        assert found.tobytes() == anew.tobytes()
        np.testing.assert_allclose(found, solver.solve(p, held, market=market).q, rtol=0, atol=1e-11)


@dataclass(frozen=True, eq=False)
class Counted(Constraint):
    """Counts how often it is lowered."""

    calls: list[int]
    key: tuple[int, ...] | None

    def terms(self, held, market):
        self.calls.append(1)
        return LimitTerms(lower=torch.full_like(held[:1], -0.1))

    def terms_key(self, market):
        return self.key


@pytest.mark.parametrize(("key", "lowered"), [((), 1), (None, 3)])
def test_a_part_with_a_key_is_lowered_once(key, lowered):
    limit = Counted([], key)
    prepared = PreparedSolver(PositionSolver(LINEAR, (limit,)))
    for p, held, tradable in days(5):
        prepared.solve(p, held, market=None, tradable=tradable)
    assert len(limit.calls) == lowered


@pytest.mark.parametrize("within", ["alone", "scaled", "in a limit", "softened"])
def test_a_class_derived_from_one_of_the_library_does_not_inherit_its_word(within):
    @dataclass(frozen=True, eq=False)
    class Dearer(TradingCost):
        """Twice as dear every time it is asked."""

        asked: tuple = ()

        def terms(self, held, market):
            ASKED.append(1)
            return super().terms(held, market).scaled(2.0 ** len(ASKED))

    @dataclass(frozen=True, eq=False)
    class Riskier(Ridge):
        def terms(self, held, market):
            ASKED.append(1)
            return super().terms(held, market)

    @dataclass(frozen=True, eq=False)
    class Narrower(PositionLimit):
        def terms(self, held, market):
            ASKED.append(1)
            return super().terms(held, market)

    ASKED: list[int] = []
    solver = {
        "alone": PositionSolver(5.0 * RISK + Dearer(half_spread=1e-4)),
        "scaled": PositionSolver(5.0 * RISK + 0.5 * Dearer(half_spread=1e-4)),
        "in a limit": PositionSolver(5.0 * RISK, (RiskLimit(2.0 * Riskier(), volatility=10.0),)),
        "softened": PositionSolver(5.0 * RISK + Soft(Narrower(0.1), 1e-3)),
    }[within]
    prepared = PreparedSolver(solver)
    for p, held, tradable in days(6):
        prepared.solve(p, held, market=None, tradable=tradable)
    assert len(ASKED) == 3


def test_rows_that_fail_are_reported_and_leave_the_others_alone():
    solver = PositionSolver(LINEAR, (PositionLimit(0.1), NoTrade([True] + [False] * (N - 1)), DollarNeutral()))
    p, held = RNG.normal(size=(4, N)) * 1e-3, np.zeros((4, N))
    held[0, 0], held[1, 3] = 0.5, np.nan
    p[2, 2] = np.inf
    tradable = np.ones((4, N), dtype=bool)
    found = PreparedSolver(solver).solve(p, held, market=None, tradable=tradable)

    wanted = [Status.INFEASIBLE, Status.BAD_INPUT, Status.BAD_INPUT, Status.SOLVED]
    assert found.statuses.tolist() == wanted
    np.testing.assert_array_equal(found.q[:2], held[:2])
    assert found.problems[0].c.shape == (1, N)
    assert list(found.problems) == [0]
    alone = PreparedSolver(solver).solve(p[3:], held[3:], market=None, tradable=tradable[3:]).q
    assert alone.tobytes() == found.q[3:].tobytes()


def test_another_number_of_books_starts_anew():
    prepared = PreparedSolver(PROBLEMS["linear costs"])
    for n_books in (2, 3, 2):
        p, held, tradable = next(days(7, n_books=n_books))
        found = prepared.solve(p, held, market=None, tradable=tradable).q
        anew = PreparedSolver(PROBLEMS["linear costs"]).solve(p, held, market=None, tradable=tradable).q
        assert found.tobytes() == anew.tobytes()


def test_what_is_given_is_left_alone():
    p, held, tradable = next(days(8))
    kept = p.copy(), held.copy(), tradable.copy()
    found = PreparedSolver(PROBLEMS["linear costs"]).solve(p, held, market=None, tradable=tradable)
    found.q[:] = 7.0
    for given, old in zip((p, held, tradable), kept, strict=True):
        np.testing.assert_array_equal(given, old)
