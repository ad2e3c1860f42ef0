"""Degenerate problems, each the smallest of its kind with its right answer (../shared/CASES.md 31 to 35)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import (
    L1,
    DollarNeutral,
    Exposure,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    Ridge,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import InfeasibleError, SolverError, UnboundedError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver, Status, clashing_constraints, reference_solve

RNG = np.random.default_rng(11)
LOADINGS = RNG.normal(size=(9, 3)) * 0.01
RISK = 5.0 * FactorRisk(loadings=LOADINGS, specific_variance=4e-4)
P = RNG.normal(size=(3, 9)) * 1e-3
HELD = RNG.normal(size=(3, 9)) * 0.1
FULL = [DollarNeutral(), PositionLimit(0.2), LeverageLimit(1.0), TurnoverLimit(2.0)]


def full_solver(scale: float = 1.0) -> PositionSolver:
    return PositionSolver(scale * (RISK + 1e-4 * L1() + TradingCost(2e-4)), FULL)


@pytest.mark.parametrize("bad", ["nan forecast", "infinite forecast", "nan held", "infeasible"])
def test_a_row_that_fails_is_flagged_and_leaves_the_others_exact_to_the_bit(bad):
    p, held = P.copy(), HELD.copy()
    expected = full_solver().solve(p, held).q
    if bad == "infeasible":
        held[1] = 5.0  # a turnover limit of 2 cannot bring this back to the position limits
    elif bad == "nan held":
        held[1, 4] = np.nan
    else:
        p[1, 4] = np.nan if bad == "nan forecast" else np.inf
    solution = full_solver().solve(p, held, on_failure="nan")

    assert solution.status.tolist() == ["solved", "infeasible" if bad == "infeasible" else "bad_input", "solved"]
    assert np.isnan(solution.q[1]).all()
    np.testing.assert_array_equal(solution.q[[0, 2]], expected[[0, 2]])
    assert bool((solution.solution_map(torch.ones(3, 9, dtype=torch.float64))[1] == 0).all())
    np.testing.assert_array_equal(full_solver().solve(p, held, on_failure="hold").q[1], held[1])


def test_an_unbounded_row_is_flagged_and_leaves_the_others_alone():
    solver = PositionSolver(Exposure(loadings=np.ones((2, 1))))
    solution = solver.solve(np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 2.0]]), on_failure="nan")

    assert solution.status.tolist() == ["solved", "unbounded", "solved"]
    np.testing.assert_allclose(solution.q[[0, 2]].sum(axis=1), [1.0, 2.0])


def test_a_batch_equals_a_loop():
    together = full_solver().solve(P, HELD).q
    alone = np.stack([full_solver().solve(p, held).q for p, held in zip(P, HELD, strict=True)])

    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_forecasts_and_costs_in_another_unit_give_the_same_positions(scale):
    np.testing.assert_allclose(full_solver(scale).solve(scale * P, HELD).q, full_solver().solve(P, HELD).q, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_weights_in_another_unit_give_the_same_positions(scale):
    def solve(s):
        limits = [DollarNeutral(), PositionLimit(0.2 * s), LeverageLimit(s), TurnoverLimit(2 * s)]
        solver = PositionSolver((1 / s) * RISK + 1e-4 * L1() + TradingCost(2e-4), limits)
        return solver.solve(P, HELD * s).q / s

    np.testing.assert_allclose(solve(scale), solve(1.0), atol=1e-11)


def test_no_forecast_and_nothing_held_is_no_position():
    solution = full_solver().solve(np.zeros(9))

    assert (solution.q == 0).all()
    assert solution.status[0] == "solved"


def test_no_cost_but_risk_is_the_inverse_covariance_times_the_forecast():
    covariance = 5 * (LOADINGS @ LOADINGS.T + 4e-4 * np.eye(9))

    np.testing.assert_allclose(PositionSolver(RISK).solve(P[0]).q, np.linalg.solve(covariance, P[0]), rtol=1e-11)


def test_a_limit_of_zero_leaves_only_zero():
    solution = PositionSolver(RISK, [PositionLimit(0.0)]).solve(P)

    assert (solution.q == 0).all()
    assert set(solution.status) == {"solved"}


def test_what_is_held_at_a_limit_and_wanted_there_stays_to_the_bit():
    held = np.full(9, 0.2)
    solution = PositionSolver(RISK + TradingCost(1e-3), [PositionLimit(0.2)]).solve(np.full(9, 1.0), held)

    np.testing.assert_array_equal(solution.q, held)


def test_rank_deficient_factors_and_repeated_constraints_change_nothing():
    twice = FactorRisk(loadings=np.hstack([LOADINGS, LOADINGS]) / np.sqrt(2), specific_variance=4e-4)
    repeated = PositionSolver(5.0 * twice + 1e-4 * L1() + TradingCost(2e-4), [*FULL, DollarNeutral(), DollarNeutral()])
    solution = repeated.solve(P, HELD)

    np.testing.assert_allclose(solution.q, full_solver().solve(P, HELD).q, atol=1e-12)
    assert (solution.residual <= 1e-9).all()


def test_one_asset_is_solved_by_hand():
    solver = PositionSolver(Ridge(2.0) + L1(0.1) + TradingCost(0.2), [PositionLimit(3.0)])
    # Up from 1 while p - 2 q > .3; down from 1 while p - 2 q < -.1, to 0 at the least until p < -.1 - ...
    p = np.array([[3.0], [2.0], [1.0], [-0.1], [20.0]])

    np.testing.assert_allclose(solver.solve(p, np.ones((5, 1))).q[:, 0], [1.35, 1.0, 0.55, 0.0, 3.0], atol=1e-15)


def test_one_asset_under_every_limit_is_solved():
    solver = PositionSolver(Ridge(1.0), [FullyInvested(), LongOnly(), LeverageLimit(1.0), TurnoverLimit(1.0)])

    assert solver.solve(np.array([-5.0])).q == pytest.approx([1.0], abs=1e-14)


def test_equal_assets_get_equal_positions():
    solver = PositionSolver(Ridge(1.0) + L1(0.1), [FullyInvested(), LeverageLimit(1.0)])

    np.testing.assert_allclose(solver.solve(np.ones(7)).q, np.full(7, 1 / 7), atol=1e-15)


def test_all_assets_stuck_is_solved_and_has_no_derivative():
    solver = PositionSolver(Ridge(1.0) + L1(1.0), [DollarNeutral(), LeverageLimit(1.0)])
    solution = solver.solve(np.array([0.1, -0.3, 0.2]))

    assert (solution.q == 0).all()
    assert bool((solution.solution_map(torch.ones(1, 3, dtype=torch.float64)) == 0).all())


def test_being_invested_under_a_penalty_far_above_any_forecast_is_solved():
    solver = PositionSolver(RISK + L1(10.0), [FullyInvested(), LongOnly()])
    solution = solver.solve(P)

    np.testing.assert_allclose(solution.q.sum(axis=1), 1.0, atol=1e-14)
    assert (solution.residual <= 1e-9).all()


def test_a_leverage_limit_that_budget_makes_tight_keeps_its_multipliers_small():
    solver = PositionSolver(RISK, [FullyInvested(), LeverageLimit(1.0), PositionLimit(0.4)])
    solution = solver.solve(P, HELD)

    assert set(solution.status) == {"solved"}
    assert (solution.q >= -1e-12).all()
    assert float(solution.optimum.point.z.abs().max()) < 1.0


def test_costs_without_curvature_are_solved_exactly():
    factors = RNG.normal(size=(9, 9)) * 0.02
    for costs, limits in (
        (Exposure(loadings=factors), [DollarNeutral()]),
        (Exposure(loadings=factors[:, :2]) + TradingCost(1e-4), [PositionLimit(0.1), DollarNeutral()]),
        (L1(1e-4), [PositionLimit(0.1), LeverageLimit(0.5)]),
        (FactorRisk(loadings=factors[:, :4], specific_variance=np.arange(9) * 1e-4), [LeverageLimit(1.0)]),
    ):
        solver = PositionSolver(costs, limits)
        solution = solver.solve(P, HELD)
        reference = reference_solve(solution.problem)

        assert set(solution.status) == {"solved"}
        assert (solution.residual <= 1e-9).all()
        objective = solution.problem.objective(torch.as_tensor(solution.q))
        torch.testing.assert_close(objective, solution.problem.objective(reference.q), rtol=1e-9, atol=1e-15)


def test_assets_that_cannot_be_traded_keep_their_weight_to_the_bit_whatever_their_forecast():
    tradable = np.ones((3, 9), dtype=bool)
    tradable[:, 2] = tradable[1, 5] = False
    p, held = P.copy(), HELD.copy()
    p[~tradable] = np.nan
    held[0, 2] = 0.5  # above its own limit
    solution = PositionSolver(RISK + TradingCost(2e-4), [PositionLimit(0.2)]).solve(p, held, tradable=tradable)

    np.testing.assert_array_equal(solution.q[~tradable], held[~tradable])
    assert set(solution.status) == {"solved"}


CLASHES = [
    ([FullyInvested(), PositionLimit(0.1), LongOnly()], None, ("FullyInvested", "PositionLimit(0.1)")),
    ([DollarNeutral(), LongOnly(), FullyInvested()], None, ("DollarNeutral", "FullyInvested")),
    (
        [LeverageLimit(3.0), TurnoverLimit(0.1), PositionLimit(0.05)],
        None,
        ("TurnoverLimit(0.1)", "PositionLimit(0.05)"),
    ),
    ([FullyInvested(), LeverageLimit(0.5), PositionLimit(1.0)], None, ("FullyInvested", "LeverageLimit(0.5)")),
    ([DollarNeutral(), PositionLimit(0.05)], [0], ("DollarNeutral", "PositionLimit(0.05)", "tradable mask")),
    ([LeverageLimit(0.3)], [0], ("LeverageLimit(0.3)", "tradable mask")),
    ([PositionLimit(0.05), PositionLimit(0.05), FullyInvested()], None, ("PositionLimit(0.05) #2", "FullyInvested")),
]


@pytest.mark.parametrize(("constraints", "stuck", "clash"), CLASHES)
def test_an_infeasible_row_names_the_smallest_clashing_set(constraints, stuck, clash):
    held = np.zeros((2, 9))
    held[:, 0] = 0.9
    tradable = np.ones((2, 9), dtype=bool)
    tradable[:, stuck or []] = False
    solver = PositionSolver(RISK, constraints)
    solution = solver.solve(P[:2], held, tradable=tradable, on_failure="hold")

    assert solution.statuses.tolist() == [Status.INFEASIBLE] * 2
    assert clashing_constraints(solution.problem.rows(torch.tensor([1]))) == clash
    with pytest.raises(InfeasibleError, match=r"row 0 of 2: the constraints contradict .*: loosen") as raised:
        solver.solve(P[:2], held, tradable=tradable)
    assert str(raised.value).endswith(f"(2 rows failed). Clashing: {', '.join(clash)}")


def test_constraints_that_leave_a_single_point_are_feasible():
    solver = PositionSolver(RISK, [FullyInvested(), PositionLimit(1 / 9), LongOnly()])
    solution = solver.solve(P)

    assert set(solution.status) == {"solved"}
    np.testing.assert_allclose(solution.q, 1 / 9, atol=1e-15)
    assert clashing_constraints(solution.problem.rows(torch.tensor([0]))) == ()


def test_an_unbounded_problem_names_the_assets_and_the_cure():
    solver = PositionSolver(Exposure(loadings=np.array([[1.0], [1.0], [0.0]])) + L1(0.5))
    with pytest.raises(
        UnboundedError, match=r"row 0 of 1: no cost or limit bounds .* add risk, Ridge, .*\. Assets: 0, 1"
    ):
        solver.solve(np.array([0.0, 2.0, 0.1]))
    market = MarketSnapshot(assets=pd.Index(["A", "B", "C"]))
    with pytest.raises(UnboundedError, match=r"Assets: 'A', 'B'$"):
        solver.solve(np.array([0.0, 2.0, 0.1]), market=market)


def test_a_forecast_that_is_not_finite_is_refused_with_its_row_asset_and_value():
    p = P.copy()
    p[1, 4] = np.nan
    with pytest.raises(SolverError, match=r"row 1 of 3: .* mask it with tradable=, or mend it\. Asset 4: p is nan"):
        full_solver().solve(p, HELD)
