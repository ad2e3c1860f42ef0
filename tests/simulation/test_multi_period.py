"""Plans of several trades: against one-period solves, dynamic programming, a program of its own, and by hand."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multi_period_cases import ASSETS, DATES, IMPACT, RISK, N, covariance, decide, drawn, market

from backtest.costs import (
    L1,
    BorrowFee,
    CashFloor,
    DenseRisk,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    RelativeTo,
    RiskLimit,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SimulationError, SolverError
from backtest.market import MarketSnapshot
from backtest.simulation import simulate
from backtest.simulation.policies import AimPortfolio, MultiPeriod
from backtest.solver import PositionSolver

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "garleanu_pedersen.py"


@pytest.fixture(scope="module")
def published():
    spec = importlib.util.spec_from_file_location("garleanu_pedersen_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# One period: the solver itself.

SOLVERS = {
    "impact and hard limits": PositionSolver(
        RISK + IMPACT + BorrowFee(0.02), [LeverageLimit(2.0), PositionLimit(0.6), TurnoverLimit(0.5), FullyInvested()]
    ),
    "nothing limited": PositionSolver(RISK + IMPACT + 1e-4 * L1()),
    "smooth and soft": PositionSolver(
        RISK
        + TradingCost(half_spread=5e-4, quadratic=0.01)
        + 1e-3 * SoftL1(0.01)
        + Soft(LeverageLimit(1.0), 0.01)
        + Soft(TurnoverLimit(0.1), 0.01)
        + Soft(LongOnly(), 0.05),
        [TradeLimit(0.3), CashFloor(0.1), RiskLimit(DenseRisk(covariance()), volatility=0.01)],
    ),
    "relative to a benchmark": PositionSolver(
        3.0 * RelativeTo(DenseRisk(covariance()), np.full(N, 0.2)) + TradingCost(1e-3),
        [RiskLimit(DenseRisk(covariance()), volatility=0.004, benchmark=np.full(N, 0.2)), LongOnly()],
    ),
    "factors": PositionSolver(
        4.0 * FactorRisk(loadings=0.01 * np.random.default_rng(3).normal(size=(N, 2)), specific_variance=1e-4)
        + TradingCost(half_spread=1e-3),
        [FactorLimit(features=("x",), lower=-0.1, upper=0.1), LeverageLimit(1.5)],
    ),
    "another power": PositionSolver(RISK + replace(IMPACT, exponent=1.6), [LeverageLimit(1.0)]),
    "costs spread over time": PositionSolver(RISK + IMPACT, [PositionLimit(0.5)], holding_periods=7.0),
    "smoothed kinks": PositionSolver(RISK + TradingCost(1e-3) + 1e-3 * L1(), smoothing=0.01),
}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
def test_a_plan_of_one_trade_is_the_solution_of_the_solver(solver):
    p, held = drawn(1)
    tradable = np.ones((3, N), bool)
    tradable[1, 2] = False

    found = decide(MultiPeriod(solver, 1), p, held, tradable=tradable)

    expected = solver.solve(p, held, market=market(books=3), tradable=tradable)
    assert (expected.status == "solved").all()
    assert not found.failures
    np.testing.assert_allclose(found.q, expected.q, rtol=0, atol=2e-7)
    assert (found.q[1, 2], found.q[0, 0] != held[0, 0]) == (held[1, 2], True)


# Many periods: dynamic programming and the published closed form.


@pytest.mark.parametrize("horizon", [1, 2, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_a_quadratic_plan_is_that_of_dynamic_programming(published, horizon, seed):
    model = published.draw_model(seed)

    weights = published.first_trade(model, horizon)

    expected = published.first_trade_by_recursion(model, horizon)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("horizon", "gap"), [(10, 5e-2), (50, 1e-6), (200, 1e-13)])
def test_a_long_plan_begins_with_the_trade_of_the_published_closed_form(published, horizon, gap):
    """R4: errors of 1e-2, 2e-7 and 5e-16 were printed."""
    for seed in range(3):
        model = published.draw_model(seed)
        expected = published.closed_form(model)

        error = np.abs(published.first_trade(model, horizon) - expected).max() / np.abs(expected).max()

        assert error < gap
        # Nothing but the end of the plan makes the difference.
        assert error > gap / 100 or horizon == 200


def test_the_published_experiment_through_the_simulator(published):
    """R4: on the same paths, dynamic beats static beats Markowitz after costs, and the simulator agrees."""
    signals, returns = published.draw_signals(np.random.default_rng(0), 40, days=1300)
    gross, net = published.sharpe_ratios(signals, returns)
    by_simulator = published.sharpe_by_simulator(signals[:300, 0], returns[:300, 0])
    by_loop = published.sharpe_ratios(signals[:300, :1], returns[:300, :1])

    best_static = net[:, 1:-1].max(axis=1)
    assert net[:, 0].max() < -10
    assert (net[:, -1] - best_static).mean() > -0.02  # the best share is chosen in hindsight
    assert (net[:, -1] - net[:, 1:-1].mean(axis=1)).mean() > 0.05
    assert 1.4 < gross[:, -1].mean() < 2.2
    for simulated, looped in zip(by_simulator, by_loop, strict=True):
        np.testing.assert_allclose(simulated, looped[0], rtol=0, atol=0.3)


def test_a_plan_and_the_aim_portfolio_simulated_side_by_side_are_the_same(random_panel):
    panel = random_panel(cash_rate=None)
    rng = np.random.default_rng(4)
    factors, loadings = rng.normal(size=(60, 2)), 2e-3 * rng.normal(size=(N, 2))
    variance, fading = np.diag([1.0, 2.0, 1.5, 1.0, 3.0]) * 1e-4, np.diag([0.7, 0.6])
    aim = AimPortfolio(factors, loadings, 1 - np.diag(fading), variance, 4.0, risk_aversion=5.0, discount=0.98)
    steps = np.stack([factors @ np.linalg.matrix_power(fading, step + 1) @ loadings.T for step in range(12)], axis=1)
    costs = 5.0 * DenseRisk(variance) + TradingCost(quadratic=4.0 * np.diag(variance))
    plan = MultiPeriod(PositionSolver(costs), forecasts=steps, discount=0.98)

    result = simulate(panel, [aim, plan], np.full((2, 60, N), np.nan), costs=costs, last_row=15)

    # The forecast for a fill one row later: what is left of the factors by then.
    assert np.abs(result.positions[0]).max() > 1
    np.testing.assert_allclose(result.positions[1], result.positions[0], rtol=0, atol=1e-5)


# By hand.


def one_name(horizon, forecasts, *, rate=0.0025, terminal=None, held=0.0, discount=1.0):
    """The first position of a name that costs `rate` a trade and may be between 0 and 1."""
    solver = PositionSolver(TradingCost(rate), [LongOnly(), PositionLimit(1.0)])
    steps = np.broadcast_to(np.asarray(forecasts, dtype=float), (horizon,))
    policy = MultiPeriod(
        solver, horizon, lambda p, at: np.tile(steps[None, :, None], (1, 1, p.shape[1])), discount, terminal
    ).prepare(DATES, ASSETS[:1], lag=1)
    at = MarketSnapshot(assets=ASSETS[:1], rows=np.array([3]), calendar=DATES)
    found = policy.decide(np.zeros((1, 1)), np.array([[held]]), at, np.ones((1, 1), bool))
    assert not found.failures
    return pytest.approx(float(found.q[0, 0]), abs=1e-7)


def test_a_trade_is_worth_its_cost_when_all_periods_together_earn_it():
    # 10 bp a period against 25 bp once.
    assert one_name(2, 0.001) == 0.0
    assert one_name(3, 0.001) == 1.0


def test_going_back_to_cash_at_the_end_costs_the_trade_again():
    # The last position is cash: of 6 periods 5 earn, against twice 25 bp; of 7, 6 do.
    assert one_name(5, 0.00101, terminal=0.0) == 0.0
    assert one_name(6, 0.00101, terminal=0.0) == 1.0


def test_a_name_is_kept_through_a_bad_period_that_is_cheaper_than_two_trades():
    assert one_name(3, [-0.004, 0.003, 0.003], held=1.0) == 1.0
    assert one_name(3, [-0.006, 0.003, 0.003], held=1.0) == 0.0


def test_a_discount_makes_later_periods_count_less():
    # 3 periods of 10 bp are worth 9 + 8.1 + 7.29 = 24.39 bp at the trade.
    assert one_name(3, 0.001, rate=0.00243, discount=0.9) == 1.0
    assert one_name(3, 0.001, rate=0.00245, discount=0.9) == 0.0


def test_a_limit_on_trades_makes_a_plan_start_early():
    # 0.3 a period; the name earns in the fourth only, and waiting would cost nothing without the limit.
    for limit, expected in ((0.25, 0.25), (0.3, 0.1)):
        solver = PositionSolver(DenseRisk(1e-9 * np.eye(1)), [TurnoverLimit(limit), PositionLimit(1.0)])
        policy = MultiPeriod(solver, 4, lambda p, at: np.array([[[-1e-4], [-1e-4], [-1e-4], [0.01]]]))
        prepared = policy.prepare(DATES, ASSETS[:1], lag=1)
        at = MarketSnapshot(assets=ASSETS[:1], rows=np.array([3]), calendar=DATES)
        q = prepared.decide(np.zeros((1, 1)), np.zeros((1, 1)), at, np.ones((1, 1), bool)).q
        assert q[0, 0] == pytest.approx(expected, abs=1e-6)


# A program of its own, with plain numbers, for everything at once.


def written_out(forecasts, held, stuck, terminal, discount):
    """The first trade, by a program that says the costs and limits of `EVERYTHING` in plain numbers."""
    import cvxpy as cp

    horizon = len(forecasts)
    x = cp.Variable((horizon, N))
    cost, sides, before = 0.0, [], held
    root = 100 * np.linalg.cholesky(covariance())
    exposure = market().features[0, :, 0]
    for step in range(horizon):
        now = x[step]
        trade = now - before
        rate = 0.02 * np.sqrt(1e6 / 2e7)
        paid = 5e-4 * cp.norm1(trade) + 2e-4 * cp.sum(cp.pos(trade)) + 0.001 * cp.sum_squares(trade)
        paid += rate * cp.sum(cp.power(cp.abs(trade), 1.5)) + 0.005 * cp.square(cp.pos(cp.norm1(trade) - 0.1))
        kept = 2.5e-4 * cp.sum_squares(root.T @ now) + 0.02 / 252 * cp.sum(cp.neg(now)) + 1e-4 * cp.norm1(now)
        cost += discount**step * (discount * (kept - forecasts[step] @ now) + paid)
        sides += [cp.norm1(now) <= 1.5, cp.norm1(trade) <= 0.6, cp.sum(now) == 1]
        sides += [cp.abs(exposure @ now) <= 0.8, cp.norm(root.T @ now) <= 2]
        sides += [cp.abs(now[i]) <= 0.5 for i in range(N) if not stuck[i]]
        sides += [now[i] == held[i] for i in range(N) if stuck[i]]
        before = now
    if terminal is not None:
        sides += [x[horizon - 1][i] == terminal[i] for i in range(N) if not stuck[i]]
    program = cp.Problem(cp.Minimize(1e3 * cost), sides)
    tight = {f"tol_{name}": 1e-9 for name in ("gap_abs", "gap_rel", "feas")}
    with warnings.catch_warnings():
        # A tolerance that is missed by a little is close enough for the comparison below.
        warnings.simplefilter("ignore", UserWarning)
        program.solve(solver=cp.CLARABEL, static_regularization_constant=1e-11, **tight)
    return None if x.value is None else x.value[0], program.status


EVERYTHING = PositionSolver(
    RISK + IMPACT + BorrowFee(0.02) + 1e-4 * L1() + Soft(TurnoverLimit(0.1), 0.01),
    [
        LeverageLimit(1.5),
        TurnoverLimit(0.6),
        FullyInvested(),
        FactorLimit(features=("x",), lower=-0.8, upper=0.8),
        RiskLimit(DenseRisk(covariance()), volatility=0.02),
        PositionLimit(0.5),
    ],
)


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    horizon=st.integers(2, 4),
    discount=st.sampled_from([1.0, 0.95]),
    ends=st.booleans(),
    stuck=st.sampled_from([(), (1,), (0, 3)]),
)
def test_any_plan_against_a_program_of_its_own(seed, horizon, discount, ends, stuck):
    rng = np.random.default_rng(seed)
    forecasts, held = 2e-3 * rng.normal(size=(1, horizon, N)), 0.8 * rng.dirichlet(np.ones(N), size=1) + 0.04
    mask = np.isin(np.arange(N), stuck)
    # What is stuck stays, so that the sum of the end must be that of the others.
    terminal = np.where(mask, 9.0, (1 - held[0, mask].sum()) / (~mask).sum()) if ends else None
    policy = MultiPeriod(EVERYTHING, horizon, lambda p, at: forecasts, discount, terminal)

    found = decide(policy, np.zeros((1, N)), held, tradable=~mask[None])

    expected, status = written_out(forecasts[0], held[0], mask, terminal, discount)
    if status == "infeasible":
        assert found.failures[0].startswith("infeasible")
    else:
        np.testing.assert_allclose(found.q[0], expected, rtol=0, atol=1e-6)


# Programs are built once.


def test_one_program_serves_all_books_and_days_whatever_changes_in_the_market():
    policy = MultiPeriod(SOLVERS["factors"], 3).prepare(DATES, ASSETS, lag=1)
    first = MultiPeriod(SOLVERS["factors"], 3)
    tradable = np.ones((3, N), bool)

    for row in range(10, 16):
        p, held = drawn(row)
        q = policy.decide(p, held, market(row, 3), tradable).q
        fresh = first.prepare(DATES, ASSETS, lag=1).decide(p, held, market(row, 3), tradable).q
        assert q.tobytes() == fresh.tobytes()

    (program,) = policy._programs.values()
    assert program.program.is_dcp(dpp=True)
    tradable[1, 2] = False
    policy.decide(*drawn(1), market(20, 3), tradable)
    assert len(policy._programs) == 2


# Forecasts.


def test_ways_to_give_the_same_forecasts(random_panel):
    panel = random_panel()
    one = np.full((60, N), np.nan)
    one[10:20] = 2e-3 * np.random.default_rng(6).normal(size=(10, N))
    kept = 0.8 ** np.arange(3)
    steps = one[:, None] * kept[:, None]
    rows = [(date, step) for date in panel.dates[10:20] for step in range(3)]
    frame = pd.DataFrame(steps[10:20].reshape(-1, N), pd.MultiIndex.from_tuples(rows), panel.assets)
    solver = SOLVERS["nothing limited"]
    costs = TradingCost(1e-3)
    expected = simulate(
        panel, MultiPeriod(solver, 3, lambda p, at: p[:, None] * kept[:, None]), one, costs=costs, initial_wealth=1e6
    )

    for forecasts in (steps, frame, frame.iloc[::-1, ::-1]):
        given_once = MultiPeriod(solver, forecasts=forecasts)
        result = simulate(panel, given_once, costs=costs, initial_wealth=1e6, last_row=21)
        assert result.fill_dates[0] == panel.dates[11]
        assert result.wealth.tobytes() == expected.wealth.tobytes()


def test_without_forecasts_by_step_the_same_one_counts_for_each():
    p, held = drawn(3)
    same = MultiPeriod(SOLVERS["factors"], 4, lambda p, at: np.repeat(p[:, None], 4, axis=1))

    np.testing.assert_array_equal(decide(MultiPeriod(SOLVERS["factors"], 4), p, held).q, decide(same, p, held).q)


def test_a_name_without_a_forecast_for_some_step_is_held():
    p, held = drawn(4)
    steps = np.repeat(p[:, None], 3, axis=1)
    steps[0, 2, 1] = np.nan
    steps[1] = np.nan

    q = decide(MultiPeriod(SOLVERS["nothing limited"], 3, lambda p, at: steps), p, held).q

    assert (q == held).tolist() == [[False, True, False, False, False], [True] * N, [False] * N]


# What fails.


def test_a_book_whose_limits_clash_is_named_and_spoils_no_other():
    solver = PositionSolver(RISK + TradingCost(1e-3), [FullyInvested(), LeverageLimit(1.2), TurnoverLimit(0.1)])
    p, held = drawn(5)
    held[1] = 0.0

    found = decide(MultiPeriod(solver, 3), p, held)

    assert list(found.failures) == [1]
    assert "infeasible" in found.failures[1]
    assert found.failures[1].endswith("Clashing: FullyInvested, TurnoverLimit(0.1)")
    alone = decide(MultiPeriod(solver, 3), p[:1], held[:1])
    np.testing.assert_array_equal(found.q[0], alone.q[0])


def test_an_end_that_cannot_be_reached_is_a_failure_of_its_own():
    solver = PositionSolver(RISK, [TurnoverLimit(0.1), LongOnly()])
    p, held = drawn(5, books=1)

    found = decide(MultiPeriod(solver, 3, terminal=0.0), p, held)

    assert "after the first trade, and not after all 3, with the terminal weights" in found.failures[0]
    assert not decide(MultiPeriod(solver, 11, terminal=0.0), p, held).failures


def test_a_plan_that_nothing_bounds_fails():
    found = decide(MultiPeriod(PositionSolver(TradingCost(1e-4)), 2), *drawn(6, books=1))

    assert found.failures[0].startswith("unbounded: no cost or limit bounds the positions")


def test_what_fails_in_a_simulation_is_held_and_logged(random_panel):
    panel = random_panel()
    solver = PositionSolver(RISK + TradingCost(1e-3), [FullyInvested(), TurnoverLimit(0.2)])

    result = simulate(panel, MultiPeriod(solver, 2), np.full((60, N), 1e-3), costs=None, last_row=5)

    assert (result.positions == 0).all()
    with pytest.raises(SolverError, match="infeasible"):
        simulate(panel, MultiPeriod(solver, 2), np.full((60, N), 1e-3), costs=None, on_failure="raise")


def test_a_function_that_returns_another_shape_is_refused():
    policy = MultiPeriod(PositionSolver(RISK), 3, lambda p, at: p)

    with pytest.raises(SimulationError, match=r"shape \(3, 5\), expected \(3, 3, 5\)"):
        decide(policy, *drawn(0))
