"""A day whose limits contradict each other names them, follows `on_failure`, and the run goes on (CASES.md 22)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backtest.costs import (
    L1,
    DollarNeutral,
    Exposure,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    RiskLimit,
    Soft,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SettingsError, SolverError
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver

N, DAYS, SHOCK = 4, 24, 12
"""The price of A jumps from row 11 to row 12, and back in row 13: the fill of row 12 meets weights far away."""

RISK = 5.0 * FactorRisk(loadings=np.zeros((N, 1)), specific_variance=4e-4)
COSTS = RISK + TradingCost(1e-4)
LIMITS = (PositionLimit(0.3), TurnoverLimit(0.1))
BOOKS = np.random.default_rng(5).normal(size=(2, DAYS, N)) * 2e-4
BOOKS[0, :, 0], BOOKS[1, :, 0] = 4e-3, 0.0
"""Book 0 is long of A, or short of it; book 1 holds next to nothing of it."""


@pytest.fixture
def shocked(price_panel):
    def make(factor: float):
        rng = np.random.default_rng(0)
        prices = {name: 50 * np.exp(np.cumsum(rng.normal(0, 0.002, DAYS))) for name in "ABCD"}
        prices["A"][SHOCK] *= factor
        return price_panel(**prices)

    return make


def run(panel, solver, p=BOOKS, **options):
    names = ("wide", "flat")[: len(p)]
    return simulate(panel, SolverPolicy(solver), p, costs=solver.costs, names=names, **options)


def sides(side: float) -> np.ndarray:
    return BOOKS * np.where(np.arange(N) == 0, side, 1.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_an_infeasible_day_is_logged_with_its_clash_holds_and_the_run_goes_on(shocked, side):
    panel, solver = shocked(2.5), PositionSolver(COSTS, LIMITS)
    result = run(panel, solver, sides(side))
    day = result.fill_dates.get_loc(panel.dates[SHOCK])
    failed = result.events[result.events["kind"] == "failed"]

    assert failed[["date", "name", "asset"]].to_numpy().tolist() == [[panel.dates[SHOCK], "wide", ""]]
    assert failed["detail"].item() == (
        "infeasible: the constraints contradict each other: loosen or drop one. "
        "Clashing: PositionLimit(0.3), TurnoverLimit(0.1)"
    )
    assert abs(result.held[0, day, 0]) > 0.4
    assert result.positions[0, day].tobytes() == result.held[0, day].tobytes()
    assert result.turnover[0, day] == 0.0
    assert (result.turnover[0, day + 2 :] > 0).any()
    assert np.isfinite(result.wealth).all()
    assert not result.ruined.any()


def test_a_day_held_costs_no_trading_and_the_next_one_starts_from_what_drifted(shocked):
    panel, solver = shocked(2.5), PositionSolver(COSTS, LIMITS)
    result = run(panel, solver)
    day = result.fill_dates.get_loc(panel.dates[SHOCK])
    drifted = result.positions[0, day] * (1 + panel.returns[SHOCK + 1]) / (1 + result.net[0, day])
    after = solver.solve(BOOKS[0, SHOCK], result.held[0, day + 1], market=panel.at(SHOCK + 1)).q

    assert result.costs["trading_cost"][0, day] == 0.0
    np.testing.assert_allclose(result.held[0, day + 1], drifted, rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.positions[0, day + 1], after, rtol=0, atol=1e-12)


def test_a_book_beside_the_one_that_fails_is_what_it_is_alone_to_the_bit(shocked):
    panel, solver = shocked(2.5), PositionSolver(COSTS, LIMITS)
    together = run(panel, solver)
    alone = simulate(panel, SolverPolicy(solver), BOOKS[1], costs=solver.costs)

    assert set(together.events["name"]) == {"wide"}
    for field in ("wealth", "positions", "net", "turnover", "utility"):
        assert getattr(together, field)[1].tobytes() == getattr(alone, field)[0].tobytes(), field


def test_days_before_are_those_of_a_run_that_stops_before_to_the_bit(shocked):
    panel, solver = shocked(2.5), PositionSolver(COSTS, LIMITS)
    whole, before = run(panel, solver), run(panel, solver, last_row=SHOCK)
    known = before.positions.shape[1]

    assert before.events.empty
    assert np.ascontiguousarray(whole.positions[:, :known]).tobytes() == before.positions.tobytes()


def test_a_jump_that_the_limits_can_meet_is_no_event(shocked):
    result = run(shocked(1.1), PositionSolver(COSTS, LIMITS))

    assert result.events.empty
    assert np.abs(result.positions).max() <= 0.3 + 1e-12


def test_a_run_that_should_stop_names_the_book_the_date_and_the_clash(shocked):
    panel = shocked(2.5)
    message = (
        rf"^wide: {panel.dates[SHOCK]:%Y-%m-%d}: no decision: infeasible: .*: loosen or drop one\. "
        r"Clashing: PositionLimit\(0\.3\), TurnoverLimit\(0\.1\)$"
    )
    with pytest.raises(SolverError, match=message):
        run(panel, PositionSolver(COSTS, LIMITS), on_failure="raise")


def test_another_word_for_on_failure_is_refused(shocked):
    with pytest.raises(SettingsError, match='on_failure is \'nan\': give "hold" or "raise"'):
        run(shocked(1.1), PositionSolver(COSTS, LIMITS), on_failure="nan")


@pytest.mark.parametrize("soft", [0, 1])
def test_a_limit_that_is_soft_gives_way_instead_and_the_other_is_kept(shocked, soft):
    hard, given = LIMITS[1 - soft], LIMITS[soft]
    panel, solver = shocked(2.5), PositionSolver(COSTS + Soft(given, 10.0), [hard])
    result = run(panel, solver)
    day = result.fill_dates.get_loc(panel.dates[SHOCK])

    assert result.events.empty
    assert (np.abs(result.positions[0, day]).max() <= 0.3 + 1e-9) == (soft == 1)
    assert (result.turnover[0, day] <= 0.1 + 1e-9) == (soft == 0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_only_what_clashes_is_named_in_any_order_of_the_constraints(shocked, order):
    limits = (*LIMITS, LeverageLimit(5.0), RiskLimit(RISK, 0.2))
    solver = PositionSolver(COSTS, [limits[number] for number in order])
    detail = run(shocked(2.5), solver).events["detail"].item()

    assert detail.split("Clashing: ")[1].split(", ") == [
        ("PositionLimit(0.3)", "TurnoverLimit(0.1)")[n] for n in order if n < 2
    ]


def test_a_risk_limit_that_cannot_be_kept_on_a_day_is_named(shocked):
    limit = RiskLimit(FactorRisk(loadings=np.zeros((N, 1)), specific_variance=4e-4), 0.0065)
    result = run(shocked(3.0), PositionSolver(COSTS, [limit, TurnoverLimit(0.1)]))
    failed = result.events[result.events["kind"] == "failed"]

    assert len(failed) == 1
    assert "Clashing: RiskLimit(" in failed["detail"].item()
    assert failed["detail"].item().endswith("TurnoverLimit(0.1)")
    assert np.isfinite(result.wealth).all()


def test_names_without_a_forecast_that_day_are_part_of_the_clash(shocked):
    panel = shocked(2.5)
    p = np.tile([4e-3, 4e-3, -4e-3, -4e-3], (1, DAYS, 1))
    p[0, SHOCK - 1, :3] = np.nan
    solver = PositionSolver(COSTS, [DollarNeutral(), PositionLimit(0.25)])
    result = run(panel, solver, p)
    day = result.fill_dates.get_loc(panel.dates[SHOCK])
    failed = result.events[result.events["kind"] == "failed"]

    assert failed["date"].tolist() == [panel.dates[SHOCK]]
    assert failed["detail"].item().endswith("Clashing: DollarNeutral, PositionLimit(0.25), tradable mask")
    assert result.positions[0, day].tobytes() == result.held[0, day].tobytes()
    np.testing.assert_allclose(result.positions[0, day + 1 :].sum(-1), 0.0, atol=1e-12)


def test_limits_that_clash_on_every_day_hold_cash_for_the_whole_run(shocked):
    panel = shocked(1.1)
    result = run(panel, PositionSolver(COSTS, [FullyInvested(), LongOnly(), PositionLimit(0.1)]))

    assert (result.positions == 0).all()
    assert (result.wealth == 1.0).all()
    assert result.events["kind"].tolist() == ["failed"] * result.net.size
    assert result.events["detail"].str.endswith("Clashing: FullyInvested, PositionLimit(0.1)").all()


def test_an_unbounded_day_is_logged_as_such_holds_and_the_run_goes_on(shocked):
    panel = shocked(1.1)
    p = BOOKS[:1].copy()
    p[0, SHOCK - 1, 0] = 1.0  # more than the penalty for once
    costs = Exposure(loadings=np.diag([0.0, 0.1, 0.1, 0.1])) + L1(0.02)
    result = run(panel, PositionSolver(costs), p)
    day = result.fill_dates.get_loc(panel.dates[SHOCK])

    assert result.events["date"].tolist() == [panel.dates[SHOCK]]
    assert result.events["detail"].item().startswith("unbounded: no cost or limit bounds the positions: add risk")
    assert result.positions[0, day].tobytes() == result.held[0, day].tobytes()


def test_the_log_of_a_simulation_does_not_depend_on_the_order_of_its_books(shocked):
    panel, solver = shocked(2.5), PositionSolver(COSTS, LIMITS)
    one = run(panel, solver)
    other = simulate(panel, SolverPolicy(solver), BOOKS[::-1], costs=solver.costs, names=("flat", "wide"))
    swapped = replace(solver, constraints=LIMITS[::-1])

    assert one.events.equals(other.events)
    assert run(panel, swapped).positions.tobytes() == one.positions.tobytes()
