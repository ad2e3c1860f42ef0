"""Warm starts kept by row: the positions of a cold start in fewer steps, whatever the memory holds."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import (
    L1,
    DollarNeutral,
    FactorRisk,
    LeverageLimit,
    PositionLimit,
    Ridge,
    RiskLimit,
    SmoothCost,
    Soft,
    SoftL1,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SolverError
from backtest.market import MarketPanel
from backtest.solver import PositionSolver, WarmStarts

N, B, DAYS = 15, 4, 12
RNG = np.random.default_rng(37)
LOADINGS = RNG.normal(size=(N, 3)) * 0.01
RISK = 5.0 * FactorRisk(loadings=LOADINGS, specific_variance=RNG.uniform(3e-4, 9e-4, N))
FIRST = RNG.normal(size=(B, N)) * 3e-3
FORECASTS = FIRST + np.cumsum(RNG.normal(size=(DAYS, B, N)) * 1e-5, axis=0)
"""(DAYS, B, N): each day is like the one before."""

HELD = RNG.normal(size=(B, N)) * 0.05
KEYS = ["a", 2, ("c", 3), pd.Timestamp("2020-01-04")]


class Crowding(SmoothCost):
    """The fourth power of the net weight."""

    def value(self, q, held, market):
        return 0.05 * q.sum(-1) ** 4


IMPACT = TradingCost(half_spread=2e-4, impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0)
SOLVERS = {
    "risk": PositionSolver(RISK),
    "kinks": PositionSolver(RISK + L1(1e-4) + TradingCost(2e-4), [DollarNeutral(), LeverageLimit(0.8)]),
    "curves": PositionSolver(RISK + IMPACT + SoftL1(0.01, 1e-4, form="root"), [TurnoverLimit(0.9), DollarNeutral()]),
    "soft limits": PositionSolver(RISK + Soft(LeverageLimit(0.5), 1e-2), [DollarNeutral(), PositionLimit(0.2)]),
    "a smooth function": PositionSolver(RISK + Crowding() + L1(1e-4), [PositionLimit(0.3)]),
    "a risk limit": PositionSolver(RISK + L1(1e-4), [RiskLimit(RISK, 0.004), DollarNeutral()]),
}
kinds = pytest.mark.parametrize("kind", SOLVERS)


def kept(memory: WarmStarts, solver: PositionSolver = SOLVERS["kinks"], keys=KEYS, p=FIRST, **options):
    return solver.solve(p, HELD, start=memory, keys=keys, **options)


@kinds
def test_a_sequence_of_like_problems_has_the_positions_of_cold_starts_in_no_more_steps(kind):
    memory, solver = WarmStarts(), SOLVERS[kind]
    warm = [kept(memory, solver, p=p) for p in FORECASTS]
    cold = [solver.solve(p, HELD) for p in FORECASTS]

    for one, other in zip(warm, cold, strict=True):
        assert one.status.tolist() == ["solved"] * B
        np.testing.assert_allclose(one.q, other.q, rtol=0, atol=1e-12)
    assert torch.equal(warm[0].iterations, cold[0].iterations)
    assert sum(int(one.iterations.sum()) for one in warm[1:]) <= sum(int(one.iterations.sum()) for one in cold[1:])
    assert len(memory) == B


@pytest.mark.parametrize("kind", ["kinks", "curves", "soft limits"])
def test_like_problems_save_four_steps_in_ten(kind):
    memory, solver = WarmStarts(), SOLVERS[kind]
    warm = [int(kept(memory, solver, p=p).iterations.sum()) for p in FORECASTS][1:]
    cold = [int(solver.solve(p, HELD).iterations.sum()) for p in FORECASTS][1:]

    assert sum(warm) <= 0.6 * sum(cold)


@kinds
def test_a_start_far_away_moves_positions_by_rounding_only(kind):
    memory, solver = WarmStarts(), SOLVERS[kind]
    kept(memory, solver, p=-5 * FIRST)

    np.testing.assert_allclose(kept(memory, solver).q, solver.solve(FIRST, HELD).q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["kinks", "curves", "soft limits"])
def test_a_new_key_starts_cold_to_the_bit_beside_rows_that_start_warm(kind):
    memory, solver = WarmStarts(), SOLVERS[kind]
    cold = kept(memory, solver)
    mixed = kept(memory, solver, keys=["a", "new", ("c", 3), "newer"])

    np.testing.assert_array_equal(mixed.q[[1, 3]], cold.q[[1, 3]])
    assert mixed.iterations[[1, 3]].tolist() == cold.iterations[[1, 3]].tolist()
    assert int(mixed.iterations[[0, 2]].max()) <= 1 < int(cold.iterations.min())
    assert len(memory) == B + 2


@pytest.mark.parametrize("kind", ["kinks", "curves", "soft limits"])
def test_rows_are_found_by_key_and_not_by_place(kind):
    memory, solver = WarmStarts(), SOLVERS[kind]
    first = kept(memory, solver)
    order = [2, 0, 3]
    again = solver.solve(FIRST[order], HELD[order], start=memory, keys=[KEYS[row] for row in order])

    assert int(again.iterations.max()) <= 1
    np.testing.assert_allclose(again.q, first.q[order], rtol=0, atol=1e-12)


def test_another_number_of_multipliers_starts_cold_to_the_bit():
    memory = WarmStarts()
    kept(memory, SOLVERS["risk"])
    solver = SOLVERS["kinks"]
    cold, other = solver.solve(FIRST, HELD), kept(memory)

    np.testing.assert_array_equal(other.q, cold.q)
    assert torch.equal(other.iterations, cold.iterations)
    assert int(kept(memory).iterations.max()) <= 1


def test_a_row_that_failed_is_not_remembered_and_keeps_what_was():
    memory = WarmStarts()
    kept(memory)
    p = FIRST.copy()
    p[1, 0] = np.nan
    fresh = WarmStarts()
    kept(fresh, p=p, on_failure="nan")
    kept(memory, p=p, on_failure="nan")

    assert len(fresh) == B - 1
    assert int(kept(memory).iterations.max()) <= 1
    assert kept(fresh).iterations[1] == SOLVERS["kinks"].solve(FIRST, HELD).iterations[1]


def test_an_infeasible_row_is_not_remembered():
    solver = PositionSolver(RISK, [PositionLimit(0.1), TurnoverLimit(1.0)])
    memory, held = WarmStarts(), HELD.copy()
    held[2] = 5.0
    solution = solver.solve(FIRST, held, start=memory, keys=KEYS, on_failure="hold")

    assert solution.status.tolist() == ["solved", "solved", "infeasible", "solved"]
    assert len(memory) == B - 1


@pytest.mark.parametrize("copied", [lambda memory: pickle.loads(pickle.dumps(memory)), copy.deepcopy, copy.copy])
def test_a_copy_remembers_and_forgets_on_its_own(copied: Callable[[WarmStarts], WarmStarts]):
    memory = WarmStarts()
    kept(memory)
    other = copied(memory)

    assert int(kept(other).iterations.max()) <= 1
    kept(other, keys=["new", "newer", "newest", "last"])
    assert (len(memory), len(other)) == (B, 2 * B)


def test_an_empty_memory_pickles():
    assert len(pickle.loads(pickle.dumps(WarmStarts()))) == 0


def test_four_threads_share_a_memory():
    memory, solver = WarmStarts(), SOLVERS["kinks"]

    def day(number: int) -> np.ndarray:
        keys = [(row, number % 3) for row in range(B)]
        return solver.solve(FORECASTS[number % DAYS], HELD, start=memory, keys=keys).q

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(day, range(40)))

    for number, q in enumerate(together):
        np.testing.assert_allclose(q, solver.solve(FORECASTS[number % DAYS], HELD).q, rtol=0, atol=1e-12)
    assert len(memory) == 3 * B


@pytest.fixture(scope="module")
def panel() -> MarketPanel:
    prices = 50 * np.exp(np.cumsum(RNG.normal(size=(10, N)) * 0.02, axis=0))
    frame = pd.DataFrame(prices, index=pd.date_range("2020-01-01", periods=10), columns=[f"S{i}" for i in range(N)])
    return MarketPanel.from_prices(frame, periods_per_year=252)


def test_panel_rows_are_the_keys_when_none_are_given(panel):
    memory, solver = WarmStarts(), SOLVERS["kinks"]
    first = solver.solve(FIRST, HELD, market=panel.at([3, 5, 6, 9]), start=memory)
    again = solver.solve(FIRST[[3, 1]], HELD[[3, 1]], market=panel.at([9, 5]), start=memory)
    by_name = solver.solve(FIRST[[2]], HELD[[2]], start=memory, keys=[6])

    assert int(again.iterations.max()) <= 1
    assert int(by_name.iterations.max()) <= 1
    np.testing.assert_allclose(again.q, first.q[[3, 1]], rtol=0, atol=1e-12)
    assert len(memory) == B


def test_keys_that_are_given_go_before_panel_rows(panel):
    memory = WarmStarts()
    kept(memory, market=panel.at([3, 5, 6, 9]))

    assert int(kept(memory).iterations.max()) <= 1


def test_panel_rows_that_repeat_are_refused(panel):
    with pytest.raises(SolverError, match=r"keys must name each of the 4 rows once, got \[3, 3, 6, 9\]"):
        SOLVERS["kinks"].solve(FIRST, HELD, market=panel.at([3, 3, 6, 9]), start=WarmStarts())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (None, r"warm starts are kept by row: pass keys=, one a row, or market=panel\.at\(rows\)"),
        ([], r"keys must name each of the 4 rows once, got \[\]"),
        ([1, 2, 3], r"keys must name each of the 4 rows once, got \[1, 2, 3\]"),
        ([1, 2, 3, 4, 5], r"keys must name each of the 4 rows once, got \[1, 2, 3, 4, 5\]"),
        ([1, 2, 1, 3], r"keys must name each of the 4 rows once, got \[1, 2, 1, 3\]"),
        ([1, 2, True, 3], r"keys must name each of the 4 rows once"),
    ],
)
def test_keys_that_do_not_name_every_row_once_are_refused_and_nothing_is_remembered(keys, message):
    memory = WarmStarts()
    with pytest.raises(SolverError, match=message):
        kept(memory, keys=keys)

    assert len(memory) == 0


# 3 factors, 1 equality, 1 norm limit.
@pytest.mark.parametrize("shape", [(B, 4), (B, 6), (B - 1, 5), (1, 5), (5,), (B, 5, 1), (B, 0)])
def test_a_start_of_another_shape_is_refused_with_both_shapes(shape):
    message = (
        rf"start has shape \({', '.join(map(str, shape))},?\), this problem has \(4, 5\) multipliers: pass those of"
    )
    with pytest.raises(SolverError, match=message):
        SOLVERS["kinks"].solve(FIRST, HELD, start=torch.zeros(shape, dtype=torch.float64))


@kinds
def test_the_start_of_a_solution_gives_its_positions_again(kind):
    solver = SOLVERS[kind]
    cold = solver.solve(FIRST, HELD)
    warm = solver.solve(FIRST, HELD, start=cold.start)

    np.testing.assert_allclose(warm.q, cold.q, rtol=0, atol=1e-12)
    assert bool((warm.iterations <= cold.iterations).all())


@kinds
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e6])
def test_a_start_at_random_gives_the_positions_of_a_cold_one(kind, size):
    solver = SOLVERS[kind]
    cold = solver.solve(FIRST, HELD)
    start = torch.as_tensor(np.random.default_rng(1).normal(size=cold.start.shape)) * size
    warm = solver.solve(FIRST, HELD, start=start)

    assert warm.status.tolist() == ["solved"] * B
    np.testing.assert_allclose(warm.q, cold.q, rtol=0, atol=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_start_that_is_not_finite_is_refused(value):
    start = torch.full((B, 2), value, dtype=torch.float64)
    with pytest.raises(SolverError, match="finite multipliers"):
        PositionSolver(Ridge(1e-3), [DollarNeutral(), LeverageLimit(0.5)]).solve(FIRST, start=start)


@pytest.mark.parametrize("value", [1e12, -1e12])
def test_a_senseless_start_is_given_up_and_the_rows_solved(value):
    solver = PositionSolver(Ridge(1e-3) + L1(1e-4), [DollarNeutral(), LeverageLimit(0.5)])
    start = torch.full((B, 2), value, dtype=torch.float64)
    solution = solver.solve(FIRST, start=start, on_failure="nan")

    assert solution.status.tolist() == ["solved"] * B
    assert solution.residual.max() <= 1e-9
    np.testing.assert_allclose(solution.q, solver.solve(FIRST).q, rtol=0, atol=1e-9)
