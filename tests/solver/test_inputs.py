"""Forecasts and positions come in any container, are matched by label, and go out as they came."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, Ridge, TradingCost
from backtest.errors import CostError, LabelError, SettingsError, SolverError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver

N, B = 8, 4
RNG = np.random.default_rng(2)
LOADINGS, SPECIFIC = RNG.normal(size=(N, 2)) * 0.01, RNG.uniform(2e-4, 8e-4, N)
SPREAD, LIMIT = RNG.uniform(1e-4, 5e-4, N), RNG.uniform(0.1, 0.3, N)
P, HELD = RNG.normal(size=(B, N)) * 1e-3, RNG.normal(size=(B, N)) * 0.1
ASSETS = pd.Index([f"S{i}" for i in range(N)])
DATES = pd.date_range("2020-01-01", periods=B)


def solver_of(order=slice(None)) -> PositionSolver:
    costs = 5.0 * FactorRisk(loadings=LOADINGS[order], specific_variance=SPECIFIC[order])
    costs = costs + TradingCost(SPREAD[order]) + 1e-4 * L1()
    return PositionSolver(costs, [DollarNeutral(), PositionLimit(LIMIT[order]), LeverageLimit(1.0)])


def labelled_solver() -> PositionSolver:
    shuffled = ASSETS[::-1]
    costs = 5.0 * FactorRisk(
        loadings=pd.DataFrame(LOADINGS, index=ASSETS).loc[shuffled],
        specific_variance=pd.Series(SPECIFIC, index=ASSETS)[shuffled],
    )
    costs = costs + TradingCost(pd.Series(SPREAD, index=ASSETS)[shuffled]) + 1e-4 * L1()
    return PositionSolver(costs, [DollarNeutral(), PositionLimit(pd.Series(LIMIT, index=ASSETS)), LeverageLimit(1.0)])


EXPECTED = solver_of().solve(P, HELD).q


def test_numpy_comes_back_as_numpy():
    assert isinstance(EXPECTED, np.ndarray)
    assert EXPECTED.shape == (B, N)
    assert solver_of().solve(P[0], HELD[0]).q.shape == (N,)
    np.testing.assert_array_equal(solver_of().solve(P[0], HELD[0]).q, EXPECTED[0])


def test_torch_comes_back_as_torch_in_its_precision():
    q = solver_of().solve(torch.as_tensor(P), torch.as_tensor(HELD)).q
    single = solver_of().solve(torch.as_tensor(P, dtype=torch.float32), torch.as_tensor(HELD, dtype=torch.float32)).q

    np.testing.assert_array_equal(q.numpy(), EXPECTED)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), EXPECTED, atol=1e-6)


def test_float32_numpy_is_solved_in_float64_and_returned_as_it_came():
    q = solver_of().solve(P.astype(np.float32), HELD.astype(np.float32)).q

    assert q.dtype == np.float32
    np.testing.assert_allclose(q, EXPECTED, atol=1e-6)


def test_a_frame_in_any_column_order_comes_back_in_that_order():
    order = RNG.permutation(N)
    p = pd.DataFrame(P, index=DATES, columns=ASSETS)[ASSETS[order]]
    held = pd.DataFrame(HELD, index=DATES, columns=ASSETS)[ASSETS[::-1]]
    q = labelled_solver().solve(p, held).q

    assert list(q.columns) == list(p.columns)
    assert q.index.equals(DATES)
    np.testing.assert_allclose(q[ASSETS].to_numpy(), EXPECTED, atol=1e-13)


def test_a_series_comes_back_as_a_series():
    q = labelled_solver().solve(pd.Series(P[0], index=ASSETS), pd.Series(HELD[0], index=ASSETS)).q

    assert isinstance(q, pd.Series)
    np.testing.assert_allclose(q[ASSETS].to_numpy(), EXPECTED[0], atol=1e-13)


def test_a_frame_of_objects_gives_the_same_positions():
    q = (
        labelled_solver()
        .solve(pd.DataFrame(P, columns=ASSETS).astype(object), pd.DataFrame(HELD, columns=ASSETS).astype(object))
        .q
    )

    np.testing.assert_allclose(q.to_numpy(dtype=float), EXPECTED, atol=1e-13)


def test_another_order_of_assets_gives_the_same_positions_in_that_order():
    order = RNG.permutation(N)

    np.testing.assert_allclose(solver_of(order).solve(P[:, order], HELD[:, order]).q, EXPECTED[:, order], atol=1e-13)


def test_the_tensor_call_returns_the_positions_of_solve():
    torch.testing.assert_close(solver_of()(P, HELD), torch.as_tensor(EXPECTED), rtol=0, atol=1e-15)
    assert solver_of()(P[0], HELD[0]).shape == (N,)
    assert solver_of()(torch.as_tensor(P, dtype=torch.float32), HELD).dtype == torch.float32


def test_copies_and_pickles_and_threads_give_the_same_bits():
    solver = solver_of()
    with ThreadPoolExecutor(4) as pool:
        answers = [copy.deepcopy(solver).solve(P, HELD).q, pickle.loads(pickle.dumps(solver)).solve(P, HELD).q]
        answers += [solution.q for solution in pool.map(lambda _: solver.solve(P, HELD), range(8))]
    solution = solver.solve(P, HELD)
    answers += [copy.deepcopy(solution).q, pickle.loads(pickle.dumps(solution)).q]

    for q in answers:
        np.testing.assert_array_equal(q, EXPECTED)


def test_inputs_come_back_untouched():
    p, held = P.copy(), HELD.copy()
    p[0, 0] = np.nan
    tradable = np.ones((B, N), dtype=bool)
    tradable[0, 0] = False
    before = p.copy(), held.copy(), tradable.copy()
    solver_of().solve(p, held, tradable=tradable)

    for array, copied in zip((p, held, tradable), before, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_starting_from_an_earlier_solution_gives_the_same_positions_in_fewer_steps():
    solver = solver_of()
    cold = solver.solve(P, HELD)
    warm = solver.solve(P, HELD, start=cold.optimum.point.z)

    np.testing.assert_allclose(warm.q, cold.q, atol=1e-13)
    assert int(warm.iterations.max()) < int(cold.iterations.max())


SERIES = pd.Series(P[0], index=ASSETS)
REFUSED = [
    (
        LabelError,
        r"held: .* missing \['S7'\], unknown \['X'\]",
        lambda: labelled_solver().solve(SERIES, pd.Series(HELD[0], index=[*ASSETS[:-1], "X"])),
    ),
    (
        LabelError,
        r"TradingCost half_spread: .* missing \['S0'\], unknown \[\]",
        lambda: PositionSolver(TradingCost(pd.Series(SPREAD, index=ASSETS)[1:])).solve(SERIES),
    ),
    (
        LabelError,
        "half_spread is labelled by asset, but the positions to solve for are not",
        lambda: PositionSolver(TradingCost(pd.Series(SPREAD, index=ASSETS))).solve(P),
    ),
    (
        LabelError,
        r"p names \['S0'\] more than once",
        lambda: solver_of().solve(pd.Series(P[0], index=["S0", *ASSETS[:-1]])),
    ),
    (
        LabelError,
        "p has 8 assets, the market has 2",
        lambda: solver_of().solve(P, market=MarketSnapshot(assets=pd.Index(["A", "B"]))),
    ),
    (SolverError, r"held has shape \(1, 3\), p has \(4, 8\)", lambda: solver_of().solve(P, HELD[0, :3])),
    (SolverError, r"p has shape \(2, 2, 2\): give \(N,\) or \(B, N\)", lambda: solver_of().solve(np.zeros((2, 2, 2)))),
    (SolverError, "there is nothing to solve for", lambda: solver_of().solve(np.zeros((0, N)))),
    (
        SolverError,
        "p has 4 rows, the market snapshot has 2",
        lambda: solver_of().solve(P, market=MarketSnapshot(rows=np.array([1, 2]))),
    ),
    (
        CostError,
        r"FactorRisk loadings has shape \(1, 8, 2\), which does not fit 1 rows of 3 assets",
        lambda: solver_of().solve(P[0, :3]),
    ),
    (SettingsError, "costs must be a Cost, got 3.0", lambda: PositionSolver(3.0)),
    (SettingsError, "constraints must be Constraint objects, got 'neutral'", lambda: PositionSolver(L1(), ["neutral"])),
    (SettingsError, "holding_periods must be above 0, got 0.0", lambda: PositionSolver(L1(), holding_periods=0.0)),
    (SettingsError, "smoothing must be at least 0, got -1", lambda: PositionSolver(L1(), smoothing=-1)),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_impossible_inputs_are_refused_in_words(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


def test_integer_forecasts_give_positions_that_are_not_cut():
    q = PositionSolver(Ridge(10.0))(torch.tensor([[1, 2]]))

    assert q.tolist() == [[0.1, 0.2]]


def test_a_call_and_a_solve_stand_in_the_order_of_the_forecast():
    labels = list("abcdef")
    p = pd.DataFrame(np.arange(12.0).reshape(2, 6), columns=labels)
    solver, market = PositionSolver(Ridge(2.0)), MarketSnapshot(assets=pd.Index(labels[::-1]))

    np.testing.assert_array_equal(solver(p, market=market), solver.solve(p, market=market).q)
    assert solver(p.iloc[0], market=market).tolist() == (p.iloc[0] / 2).tolist()


def test_what_is_done_to_the_positions_changes_nothing_the_solution_computes_later():
    solution = PositionSolver(Ridge(2.0), [LeverageLimit(0.5)]).solve(torch.ones(1, 3, dtype=torch.float64))
    solution.q.zero_()

    assert solution.residual.max() <= 1e-12
