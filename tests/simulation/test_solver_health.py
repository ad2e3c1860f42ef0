"""What is written down of every solve, and what the risk model said of every position."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import (
    DenseRisk,
    DollarNeutral,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    PositionLimit,
    Ridge,
    TradingCost,
)
from backtest.errors import SimulationError
from backtest.market import MarketPanel
from backtest.simulation import (
    Decision,
    EqualWeight,
    MultiPeriod,
    PeriodicRebalance,
    Policy,
    ProportionalRebalance,
    SimulationResult,
    SolverPolicy,
    simulate,
)
from backtest.simulation.policies.base import NOT_ASKED, Solves
from backtest.solver import PositionSolver, Status
from backtest.solver.prepared import PreparedSolver

COVARIANCE = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]]) * 1e-4
RISK = 5.0 * DenseRisk(COVARIANCE)
SOLVER = PositionSolver(RISK + TradingCost(half_spread=1e-4), [DollarNeutral(), LeverageLimit(2.0)])


@pytest.fixture
def panel(random_panel):
    return random_panel(12, 3)


@pytest.fixture
def forecasts(panel):
    return np.random.default_rng(1).normal(0, 0.01, (2, panel.n_periods, panel.n_assets))


def recorded(result):
    return result.solve_statuses, result.solve_residuals, result.solve_iterations


def test_every_solve_leaves_its_status_residual_and_steps(panel, forecasts):
    result = simulate(panel, SolverPolicy(SOLVER), forecasts, costs=SOLVER.costs)
    statuses, residuals, iterations = recorded(result)

    assert statuses.dtype == np.int8
    assert (statuses == Status.SOLVED).all()
    assert ((residuals >= 0) & (residuals <= 1e-9)).all()
    assert ((iterations >= 1) & (iterations <= 100)).all()


def test_residual_and_steps_are_those_of_the_solver_asked_alone(panel, forecasts):
    result = simulate(panel, SolverPolicy(SOLVER), forecasts, costs=SOLVER.costs, lag=0)
    row = 5
    alone = SOLVER.solve(torch.as_tensor(forecasts[:, row]), torch.as_tensor(result.held[:, row]))

    assert result.solve_iterations[:, row].tolist() == alone.iterations.tolist()
    assert alone.residual.max() < 1e-9


def test_a_policy_without_a_solver_is_never_asked(panel):
    statuses, residuals, iterations = recorded(simulate(panel, EqualWeight(), costs=None, lag=0))

    assert (statuses == NOT_ASKED).all()
    assert np.isnan(residuals).all()
    assert (iterations == NOT_ASKED).all()


def test_a_clash_is_written_down_as_infeasible(panel, forecasts):
    solver = PositionSolver(RISK, [FullyInvested(), PositionLimit(0.1)])
    result = simulate(panel, SolverPolicy(solver), forecasts, costs=None)

    assert (result.solve_statuses == Status.INFEASIBLE).all()
    assert (result.events["kind"] == "failed").sum() == result.solve_statuses.size


def test_bad_input_is_written_down_without_a_residual():
    held = np.array([[np.nan, 0.0, 0.0]])
    found = PreparedSolver(SOLVER).solve(np.zeros((1, 3)), held, market=None, tradable=np.ones((1, 3), dtype=bool))

    assert found.statuses.tolist() == [Status.BAD_INPUT]
    assert np.isnan(found.residuals).all()


def test_a_policy_around_a_solver_says_how_it_solved_and_nothing_where_it_was_not_asked(panel, forecasts):
    plain = simulate(panel, SolverPolicy(SOLVER), forecasts, costs=SOLVER.costs)
    half = simulate(panel, ProportionalRebalance(SolverPolicy(SOLVER), 0.5), forecasts, costs=SOLVER.costs)
    third = simulate(panel, PeriodicRebalance(SolverPolicy(SOLVER), 3), forecasts, costs=SOLVER.costs)

    assert (half.solve_statuses == plain.solve_statuses).all()
    asked = np.arange(third.net.shape[1]) % 3 == 0
    assert (third.solve_statuses[:, asked] == Status.SOLVED).all()
    assert (third.solve_statuses[:, ~asked] == NOT_ASKED).all()
    assert (np.isnan(third.solve_residuals) == ~asked).all()
    assert ((third.solve_iterations == NOT_ASKED) == ~asked).all()


def test_policies_side_by_side_each_say_how_they_solved(panel, forecasts):
    both = simulate(panel, [EqualWeight(), SolverPolicy(SOLVER)], forecasts[0], costs=SOLVER.costs)
    alone = simulate(panel, SolverPolicy(SOLVER), forecasts[0], costs=SOLVER.costs)

    assert (both.solve_statuses[0] == NOT_ASKED).all()
    for together, own in zip(recorded(both), recorded(alone), strict=True):
        assert together[1].tobytes() == own[0].tobytes()


def test_a_plan_says_how_its_program_was_solved(panel, forecasts):
    result = simulate(panel, MultiPeriod(SOLVER, horizon=2), forecasts[:1], costs=SOLVER.costs, last_row=5)

    assert (result.solve_statuses == Status.SOLVED).all()
    assert (result.solve_residuals <= 1e-8).all()
    assert (result.solve_iterations > 0).all()


def test_what_the_method_cannot_do_is_solved_with_a_residual_too(panel, forecasts):
    """Without curvature of their own the assets need proximal steps, one book at a time."""
    solver = PositionSolver(
        FactorRisk(loadings=np.ones((3, 1)) * 0.02, specific_variance=0.0), [DollarNeutral(), PositionLimit(0.5)]
    )
    result = simulate(panel, SolverPolicy(solver), forecasts, costs=None)

    assert set(np.unique(result.solve_statuses)) <= {Status.SOLVED, Status.INACCURATE}
    assert np.isfinite(result.solve_residuals).all()
    assert result.solve_residuals.max() <= 1e-6


def test_solves_of_another_shape_are_refused(panel):
    class Wrong(Policy):
        def decide(self, p, held, market, tradable):
            return Decision(held, solves=Solves.none(3))

    with pytest.raises(SimulationError, match=r"solves of shape \(3,\), expected \(1,\)"):
        simulate(panel, Wrong(), costs=None, lag=0)


def test_nothing_is_written_of_a_book_that_is_stopped():
    prices = np.full((12, 3), 50.0)
    prices[6:] = 1.0
    labels = ["AA", "BB", "CC"]
    dates = pd.date_range("2020-01-01", periods=12)
    panel = MarketPanel.from_prices(pd.DataFrame(prices, index=dates, columns=labels), periods_per_year=252)
    solver = PositionSolver(RISK, [LeverageLimit(30.0)])
    result = simulate(panel, SolverPolicy(solver), np.full((12, 3), 10.0), costs=RISK)
    over = np.isnan(result.net[0])

    assert result.ruined.tolist() == [True]
    assert over.any()
    assert (result.solve_statuses[0, over] == NOT_ASKED).all()
    assert np.isnan(result.solve_residuals[0, over]).all()
    assert np.isnan(result.predicted_volatility[0, over]).all()
    assert (result.solve_statuses[0, ~over] == Status.SOLVED).all()


def test_predicted_volatility_is_that_of_the_covariance_whatever_the_aversion(panel, forecasts):
    for costs in (RISK, 2.0 * RISK + Ridge(1e-4), DenseRisk(COVARIANCE) + TradingCost(half_spread=1e-4)):
        result = simulate(panel, SolverPolicy(SOLVER), forecasts, costs=costs)
        q = result.positions
        expected = np.sqrt(np.einsum("bsi,ij,bsj->bs", q, COVARIANCE, q))

        np.testing.assert_allclose(result.predicted_volatility, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("costs", [None, Ridge(1.0), 0.0 * RISK, RISK + 2.0 * DenseRisk(2 * COVARIANCE)])
def test_without_one_risk_model_no_volatility_is_predicted(panel, forecasts, costs):
    assert simulate(panel, SolverPolicy(SOLVER), forecasts, costs=costs).predicted_volatility is None


def test_times_are_of_every_decision_and_no_part_of_what_a_result_is(panel, forecasts, tmp_path):
    first, again = (simulate(panel, SolverPolicy(SOLVER), forecasts, costs=SOLVER.costs) for _ in range(2))

    assert first.times == again.times
    assert first.times.n_books == 2
    assert first.times.seconds.shape == first.dates.shape
    assert (first.times.seconds > 0).all()
    assert first.books(slice(0, 1)).times is first.times
    first.save(tmp_path / "first")
    again.save(tmp_path / "again")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()
    assert SimulationResult.load(tmp_path / "first").times is None


def test_periods_that_a_checkpoint_brought_have_no_time(panel, forecasts, tmp_path):
    options = {"costs": SOLVER.costs, "checkpoint": tmp_path, "checkpoint_every": 4}
    first = simulate(panel, SolverPolicy(SOLVER), forecasts, **options)
    again = simulate(panel, SolverPolicy(SOLVER), forecasts, **options)

    assert np.isnan(again.times.seconds).all()
    for one, other in zip(recorded(first), recorded(again), strict=True):
        assert one.tobytes() == other.tobytes()
