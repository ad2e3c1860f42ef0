"""Positions from the solver, period after period."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    DollarNeutral,
    Exposure,
    FactorRisk,
    FullyInvested,
    Grid,
    LeverageLimit,
    PositionLimit,
    RiskLimit,
    SeparableCost,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SettingsError, SimulationError, SolverError
from backtest.simulation import Decision, Policy, SolverPolicy, simulate
from backtest.solver import PositionSolver

COSTS = (
    5.0 * FactorRisk(n_factors=2, lookback=30, refit_every=5)
    + TradingCost(half_spread=5e-4)
    + 1e-4 * L1()
    + BorrowFee(0.02)
    + 1e-3 * Exposure(features=("x",))
)


@pytest.fixture
def solver_of():
    def make(panel, constraints=(DollarNeutral(), LeverageLimit(2.0)), costs=COSTS):
        return PositionSolver(costs, constraints).estimate(panel)

    return make


def forecasts_of(panel, n_books=1, *, first=20, scale=2e-3, seed=1):
    p = np.random.default_rng(seed).normal(0, scale, (n_books, panel.n_periods, panel.n_assets))
    p[:, :first] = np.nan
    return p


def run(panel, solver, p, **options):
    return simulate(panel, SolverPolicy(solver), p, costs=solver.costs, **options)


def test_positions_are_those_of_the_solver_from_the_drifted_weights(random_panel, solver_of):
    panel = random_panel(n_assets=8)
    solver, p = solver_of(panel), forecasts_of(panel)
    result = run(panel, solver, p)

    assert result.leverage.max() > 0.5
    for j in (0, 7, 20):
        row = panel.row(result.fill_dates[j])
        q = solver.solve(p[0, row - 1], result.held[0, j], market=panel.at(row)).q
        np.testing.assert_allclose(result.positions[0, j], q, atol=1e-12)
        drifted = result.positions[0, j] * (1 + panel.returns[row + 1]) / (1 + result.net[0, j])
        np.testing.assert_allclose(result.held[0, j + 1], drifted, atol=1e-12)


class Tilted(SeparableCost):
    """A user's cost."""

    cash = True

    def value(self, q, held, market):
        return 1e-3 * (q - held) ** 2 + 1e-4 * q**4


RISK = 5.0 * FactorRisk(n_factors=2, lookback=30, refit_every=5)
SETTINGS = {
    "linear costs": (COSTS, (DollarNeutral(), LeverageLimit(2.0))),
    "impact and fees by days": (
        RISK + TradingCost(half_spread=5e-4, impact=1.0) + BorrowFee(0.05, day_count="actual/365"),
        (PositionLimit(0.4), TradeLimit(0.2)),
    ),
    "other impact": (RISK + TradingCost(half_spread=5e-4, impact=1.0, exponent=1.6), (TurnoverLimit(0.5),)),
    "a risk limit": (
        TradingCost(half_spread=5e-4, quadratic=1e-3),
        (RiskLimit(FactorRisk(n_factors=2, lookback=30), annual_volatility=0.1),),
    ),
    "a user's cost": (RISK + Tilted(), (FullyInvested(),)),
}


def liquid(panel):
    volume = np.random.default_rng(3).uniform(1e6, 5e6, panel.returns.shape)
    tradable = np.random.default_rng(4).random(panel.returns.shape) > 0.05
    return replace(panel, dollar_volume=volume, tradable=panel.tradable & tradable)


def same_bits(together, book, alone):
    for name in ("positions", "held", "wealth", "net", "gross", "utility", "turnover"):
        assert getattr(together, name)[book].tobytes() == getattr(alone, name)[0].tobytes(), (book, name)


@pytest.mark.parametrize(("costs", "constraints"), SETTINGS.values(), ids=SETTINGS)
def test_a_book_in_a_batch_is_what_it_is_alone_to_the_last_bit(random_panel, solver_of, costs, constraints):
    panel = liquid(random_panel(n_assets=8, n_rows=40))
    solver, p = solver_of(panel, constraints, costs), forecasts_of(panel, 4)
    p[:, :32] = np.nan
    wealth = np.array([1e5, 1e6, 1e7, 1e8])
    together = run(panel, solver, p, initial_wealth=wealth)

    for book in range(4):
        same_bits(together, book, run(panel, solver, p[book], initial_wealth=wealth[book]))


def test_a_grid_of_settings_is_one_batch_each_book_to_the_last_bit_its_own_run(random_panel):
    panel = liquid(random_panel(n_assets=8, n_rows=50))
    p = forecasts_of(panel)[0]
    grid = Grid(risk_aversion=[2.0, 7.3], trading=[0.5, 1.0, 3.1])
    risk = FactorRisk(n_factors=2, lookback=30).estimate(panel)
    cost = TradingCost(half_spread=5e-4, impact=1.0).estimate(panel)

    def policy(aversion, trading):
        costs = aversion * risk + trading * cost + BorrowFee(0.05, periods_per_year=252)
        return SolverPolicy(PositionSolver(costs, (LeverageLimit(2.0),)))

    options = {"costs": cost, "initial_wealth": 1e6, "first_row": 35}
    together = simulate(panel, policy(grid["risk_aversion"], grid["trading"]), p, names=grid.names, **options)

    assert together.names == grid.names
    assert len(set(together.wealth[:, -1])) == 6
    for book, setting in enumerate(grid.settings):
        same_bits(together, book, simulate(panel, policy(setting["risk_aversion"], setting["trading"]), p, **options))


def test_a_grid_has_every_combination_and_names_them():
    grid = Grid(risk_aversion=[1, 5.5], trading=[0.25, 1, 4])

    assert len(grid) == 6
    assert grid.names[:2] == ("risk_aversion 1, trading 0.25", "risk_aversion 1, trading 1")
    assert grid["trading"].flatten().tolist() == [0.25, 1, 4] * 2
    assert grid["risk_aversion"].shape == (6, 1)
    assert grid.settings[4] == {"risk_aversion": 5.5, "trading": 1.0}
    assert grid.table.loc["risk_aversion 5.5, trading 4"].tolist() == [5.5, 4.0]
    with pytest.raises(SettingsError, match=r"no setting 'speed'.*risk_aversion, trading"):
        grid["speed"]
    for wrong in ({}, {"a": []}, {"a": [1, 1]}, {"a": [1, np.nan]}, {"a": "ab"}):
        with pytest.raises(SettingsError):
            Grid(**wrong)


def test_settings_of_another_number_than_books_are_refused(random_panel):
    panel = random_panel(n_assets=8)
    risk = FactorRisk(n_factors=2, lookback=30).estimate(panel)
    policy = SolverPolicy(PositionSolver(torch.tensor([[1.0], [2.0], [3.0]]) * risk))
    with pytest.raises(SimulationError, match="2 books, and the policy decides for 3"):
        simulate(panel, policy, forecasts_of(panel, 2), costs=None)


def test_utility_is_net_less_every_opinion_at_the_positions_taken(random_panel, solver_of):
    panel = random_panel(n_assets=8)
    solver = solver_of(panel)
    result = run(panel, solver, forecasts_of(panel))

    assert set(result.costs) == {"trading_cost", "borrow_fee"}
    assert set(result.opinions) == {"factor_risk", "l1", "exposure"}
    assert (result.opinions["factor_risk"] >= 0).all()
    np.testing.assert_allclose(result.opinions["l1"], 1e-4 * result.leverage, rtol=1e-12)
    np.testing.assert_array_equal(result.utility, result.net - sum(result.opinions.values()))


@pytest.mark.parametrize("cut", [30, 45, 57])
def test_a_garbled_future_leaves_every_row_up_to_it_bit_equal(random_panel, solver_of, cut):
    """The risk model, forecasts, positions, wealth and events of the whole chain."""
    first_panel = random_panel(n_assets=8)

    def chain(panel):
        p = np.full((panel.n_periods, panel.n_assets), np.nan)
        p[20:] = 0.02 * panel.features[20:, :, 1] * 0.1 + 0.05 * panel.returns[20:]
        return run(panel, solver_of(panel), p, first_row=21, last_row=59)

    first, second = chain(first_panel), chain(first_panel.garbled_after(cut))
    known = first.dates <= first_panel.dates[cut]
    filled = first.fill_dates <= first_panel.dates[cut]

    for field in ("gross", "interest", "net", "utility"):
        assert getattr(first, field)[:, known].tobytes() == getattr(second, field)[:, known].tobytes(), field
    for field in ("turnover", "leverage", "positions", "held"):
        assert getattr(first, field)[:, filled].tobytes() == getattr(second, field)[:, filled].tobytes(), field
    assert first.wealth[:, 1:][:, known].tobytes() == second.wealth[:, 1:][:, known].tobytes()
    assert not np.array_equal(first.wealth, second.wealth)


def test_labels_permuted_give_the_same_positions_by_label(random_panel, solver_of):
    panel = random_panel(n_assets=8)
    order = np.random.default_rng(5).permutation(8)
    shuffled = panel.select(panel.assets[order])
    p = forecasts_of(panel)
    first = run(panel, solver_of(panel), p)
    second = run(shuffled, solver_of(shuffled), p[:, :, order])

    np.testing.assert_allclose(first.positions[:, :, order], second.positions, atol=1e-9)
    np.testing.assert_allclose(first.wealth, second.wealth, rtol=1e-9)


def test_a_name_without_a_forecast_keeps_what_is_held_of_it(random_panel, solver_of):
    panel = random_panel(n_assets=8)
    p = forecasts_of(panel)
    solver = solver_of(panel, constraints=(LeverageLimit(2.0),))
    name = int(np.argmax(np.abs(run(panel, solver, p, last_row=41).positions[0, -1])))
    p[:, 40:, name] = np.nan
    result = run(panel, solver, p)
    after = result.fill_dates >= panel.dates[41]

    assert (result.positions[0, after, name] == result.held[0, after, name]).all()
    assert np.abs(result.positions[0, after, name]).min() > 0
    assert (result.positions[0, after] != result.held[0, after]).any()


def test_a_name_without_a_price_keeps_what_is_held_of_it_and_the_rest_trades(price_panel):
    rng = np.random.default_rng(0)
    prices = {name: 50 * np.exp(np.cumsum(rng.normal(0, 0.02, 30))) for name in "ABCD"}
    prices["C"][10:15] = np.nan
    panel = price_panel(**prices)
    costs = 5.0 * FactorRisk(loadings=np.zeros((4, 1)), specific_variance=4e-4) + TradingCost(1e-4)
    solver = PositionSolver(costs, [LeverageLimit(2.0)])
    result = run(panel, solver, forecasts_of(panel, first=0))
    gap = (result.fill_dates >= panel.dates[10]) & (result.fill_dates < panel.dates[15])

    assert (result.positions[0, gap, 2] == result.held[0, gap, 2]).all()
    assert (result.turnover[0, gap] > 0).all()
    assert np.isfinite(result.wealth).all()
    assert set(result.events["kind"]) == {"missing price"}


CLASH = (FullyInvested(), PositionLimit(0.1))


def test_a_failed_book_holds_is_logged_with_its_status_and_the_run_goes_on(random_panel, solver_of):
    panel = random_panel(n_assets=5)
    solver, p = solver_of(panel, constraints=CLASH), forecasts_of(panel, 2)
    status = solver.solve(p[0, 20], market=panel.at(21), on_failure="hold").status[0]
    result = run(panel, solver, p, names=("a", "b"))

    assert np.isfinite(result.wealth).all()
    assert (result.positions == 0).all()
    assert len(result.events) == result.net.size
    assert set(result.events["kind"]) == {"failed"}
    assert status in ("infeasible", "failed")
    assert result.events["detail"].str.startswith(f"{status}: ").all()


def test_one_failed_decision_costs_one_book_one_trade(random_panel):
    class FailsOnce(Policy):
        def decide(self, p, held, market, tradable):
            if market.rows[0] != 25:
                return p
            p[1] = np.nan
            return Decision(p, failures={1: "no idea"})

    panel = random_panel()
    p = forecasts_of(panel, 2, first=0, scale=0.1)
    result = simulate(panel, FailsOnce(), p, costs=None, names=("a", "b"))
    day = result.fill_dates.get_loc(panel.dates[25])

    assert (result.positions[1, day] == result.held[1, day]).all()
    assert np.count_nonzero(result.turnover == 0) == 1
    assert result.events.to_numpy().tolist() == [[panel.dates[25], "b", "", "failed", "no idea"]]


def test_a_failure_stops_the_run_when_asked_to(random_panel, solver_of):
    panel = random_panel(n_assets=5)

    with pytest.raises(SolverError, match=r"portfolio: 2020-01-22: no decision: (infeasible|failed): "):
        run(panel, solver_of(panel, constraints=CLASH), forecasts_of(panel), on_failure="raise")


def test_a_ruined_book_neither_fails_nor_stops_the_others(price_panel):
    prices = {"A": [100.0, 100, 400, 100, 100, 100], "B": [100.0, 100, 100, 100, 101, 102]}
    panel = price_panel(**prices)
    costs = 1.0 * FactorRisk(loadings=np.zeros((2, 1)), specific_variance=0.01) + TradingCost(1e-4)
    p = np.zeros((2, 6, 2))
    p[0, :, 0], p[1, :, 1] = -0.01, 0.01
    result = simulate(panel, SolverPolicy(PositionSolver(costs, [FullyInvested()])), p, costs=costs, on_failure="raise")
    assert result.ruined.tolist() == [False, False]

    short = simulate(panel, SolverPolicy(PositionSolver(costs, [LeverageLimit(1.0)])), p, costs=costs)
    assert short.ruined.tolist() == [True, False]
    assert np.isfinite(short.wealth[1]).all()
    assert short.events["kind"].tolist() == ["ruined"]
