"""One solver used in many ways: batches, rows that fail, threads, copies, precisions, warm starts."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    Cost,
    DenseRisk,
    DollarNeutral,
    Exposure,
    FactorRisk,
    LeverageLimit,
    PositionLimit,
    RiskLimit,
    SmoothCost,
    Soft,
    SoftL1,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SolverError
from backtest.solver import PositionSolver, WarmStarts, constraint_violation
from strategies.stamp_duty import StampDuty

N, B = 11, 5
RNG = np.random.default_rng(2)
LOADINGS = RNG.normal(size=(B, N, 2)) * 0.01
SPECIFIC = RNG.uniform(3e-4, 9e-4, (B, N))
P = RNG.normal(size=(B, N)) * 3e-3
HELD = RNG.normal(size=(B, N)) * 0.1


class Crowding(SmoothCost):
    """The fourth power of the net weight."""

    def value(self, q, held, market):
        return 0.05 * q.sum(-1) ** 4


def risk(rows: slice = slice(None)) -> Cost:
    return 5.0 * FactorRisk(loadings=LOADINGS[rows], specific_variance=SPECIFIC[rows])


def solver_of(kind: str, rows: slice = slice(None)) -> PositionSolver:
    """Return a solver whose risk is each row's own."""
    rates = RNG_RATES[rows]
    made = {
        "kinks": lambda: PositionSolver(
            risk(rows) + TradingCost(half_spread=rates) + L1(1e-4), [DollarNeutral(), LeverageLimit(0.8)]
        ),
        "curves": lambda: PositionSolver(
            risk(rows)
            + TradingCost(half_spread=rates, impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0)
            + SoftL1(width=0.01, weight=1e-4, form="root"),
            [TurnoverLimit(0.9)],
        ),
        "a user's cost": lambda: PositionSolver(risk(rows) + StampDuty(1e-3), [PositionLimit(0.2)]),
        "a smooth cost": lambda: PositionSolver(risk(rows) + Crowding(), [PositionLimit(0.3)]),
        "a risk limit": lambda: PositionSolver(
            L1(1e-4) + TradingCost(half_spread=rates), [RiskLimit(risk(rows), 0.004), DollarNeutral()]
        ),
        "soft limits": lambda: PositionSolver(
            risk(rows) + Soft(LeverageLimit(0.5), 1e-2) + Soft(PositionLimit(0.1), 1e-2), [DollarNeutral()]
        ),
        "a singular covariance": lambda: PositionSolver(
            Exposure(loadings=LOADINGS[rows] * 5), [PositionLimit(0.3), DollarNeutral()]
        ),
        "a dense covariance": lambda: PositionSolver(
            5.0 * DenseRisk(np.einsum("bnk,bmk->bnm", LOADINGS[rows], LOADINGS[rows]) + 3e-4 * np.eye(N))
        ),
    }
    return made[kind]()


RNG_RATES = RNG.uniform(1e-4, 5e-4, (B, N))
KINDS = (
    "kinks", "curves", "a user's cost", "a smooth cost", "a risk limit", "soft limits", "a singular covariance",
    "a dense covariance",
)  # fmt: skip
UNIQUE = tuple(kind for kind in KINDS if kind != "a singular covariance")
"""Kinds whose positions are unique."""


@pytest.mark.parametrize("kind", UNIQUE)
def test_a_batch_equals_a_loop(kind):
    together = solver_of(kind).solve(P, HELD)
    alone = [solver_of(kind, slice(b, b + 1)).solve(P[b : b + 1], HELD[b : b + 1]) for b in range(B)]

    np.testing.assert_allclose(together.q, np.concatenate([one.q for one in alone]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_limit_is_broken(kind):
    solution = solver_of(kind).solve(P, HELD)

    assert solution.status.tolist() == ["solved"] * B
    assert solution.residual.max() <= 1e-9
    assert float(constraint_violation(solution.problem, torch.as_tensor(solution.q)).max()) <= 1e-10


@pytest.mark.parametrize("kind", UNIQUE)
def test_a_row_that_fails_spoils_no_other_and_has_no_gradient(kind):
    spoiled = P.copy()
    spoiled[1, 3] = np.nan
    p = torch.as_tensor(spoiled).requires_grad_()
    solver = solver_of(kind)
    q = solver(p, torch.as_tensor(HELD), on_failure="hold")
    q.sum().backward()
    good = [row for row in range(B) if row != 1]

    np.testing.assert_allclose(q.detach()[good], solver.solve(P, HELD).q[good], rtol=0, atol=1e-12)
    assert q.detach()[1].tolist() == HELD[1].tolist()
    assert bool((p.grad[1] == 0).all())
    assert bool(torch.isfinite(p.grad).all())
    assert bool((p.grad[good] != 0).any(-1).all())


def test_a_row_that_breaks_its_risk_limit_whatever_it_does_is_named_and_alone():
    solver = PositionSolver(risk(), [RiskLimit(risk(), 1e-3), PositionLimit(1.0), TurnoverLimit(0.5)])
    held = HELD * 0.1
    held[2] = 3.0 * np.sign(HELD[2])
    solution = solver.solve(P, held, on_failure="nan")

    assert solution.status.tolist() == ["solved", "solved", "infeasible", "solved", "solved"]
    assert bool(np.isnan(solution.q[2]).all())


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_solve_the_same(kind):
    solver = solver_of(kind)
    first = solver.solve(P, HELD)

    for other in (copy.deepcopy(solver), pickle.loads(pickle.dumps(solver))):
        np.testing.assert_array_equal(other.solve(P, HELD).q, first.q)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.q, first.q)
    np.testing.assert_array_equal(again.residual, first.residual)


@pytest.mark.parametrize("kind", KINDS)
def test_four_threads_get_the_bits_of_one(kind):
    solver = solver_of(kind)
    forecasts = [P * scale for scale in (0.5, 1.0, 1.5, 2.0)]
    one = [solver.solve(p, HELD).q for p in forecasts]
    with ThreadPoolExecutor(4) as pool:
        four = list(pool.map(lambda p: solver.solve(p, HELD).q, forecasts * 3))

    for number, q in enumerate(four):
        np.testing.assert_array_equal(q, one[number % 4])


@pytest.mark.parametrize("kind", UNIQUE)
def test_single_precision_differs_by_its_rounding_alone(kind):
    solver = solver_of(kind)
    single = solver.solve(P.astype(np.float32), HELD.astype(np.float32)).q

    assert single.dtype == np.float32
    np.testing.assert_allclose(single, solver.solve(P, HELD).q, rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("kind", UNIQUE)
def test_a_device_gives_the_positions_of_the_cpu(kind):
    solver = solver_of(kind)
    q = solver.solve(torch.as_tensor(P).cuda(), torch.as_tensor(HELD).cuda()).q

    assert q.device.type == "cuda"
    np.testing.assert_allclose(q.cpu(), solver.solve(P, HELD).q, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", UNIQUE)
def test_the_derivative_is_linear_in_what_it_is_multiplied_with(kind):
    j = solver_of(kind).solve(torch.as_tensor(P), torch.as_tensor(HELD)).solution_map
    a, b = (torch.as_tensor(RNG.normal(size=(B, N))) for _ in range(2))
    size = float(j(a).abs().max())

    torch.testing.assert_close(j(2 * a - 3 * b), 2 * j(a) - 3 * j(b), rtol=0, atol=1e-10 * size)


def test_the_problem_of_many_assets_is_set_up_in_memory_that_grows_with_assets_times_factors():
    n, k, rows = 5000, 50, 4
    loadings = torch.as_tensor(RNG.normal(size=(n, k)) * 0.01)
    solver = PositionSolver(
        5.0 * FactorRisk(loadings=loadings, specific_variance=4e-4) + TradingCost(half_spread=2e-4),
        [DollarNeutral(), LeverageLimit(2.0)],
    )
    p, held = torch.as_tensor(RNG.normal(size=(rows, n)) * 1e-3), torch.zeros(rows, n, dtype=torch.float64)
    solver.solve(p, held)
    tracemalloc.start()
    solution = solver.solve(p, held)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # NumPy's arrays are traced, torch's are not; of torch's the largest that are kept belong to the problem.
    assert peak <= 8 * 20 * (n * k + rows * n)
    assert solution.problem.loadings.shape == (1, n, k)
    assert solution.status.tolist() == ["solved"] * rows


def test_warm_starts_are_kept_by_row_and_save_steps():
    solver, memory = solver_of("kinks"), WarmStarts()
    keys = ["a", "b", "c", "d", "e"]
    first = solver.solve(P, HELD, start=memory, keys=keys)
    again = solver.solve(P, HELD, start=memory, keys=keys)
    turned = solver_of("kinks", slice(None, None, -1)).solve(P[::-1], HELD[::-1], start=memory, keys=keys[::-1])

    assert first.iterations.min() >= 2
    assert again.iterations.max() <= 1
    assert turned.iterations.max() <= 1
    np.testing.assert_allclose(again.q, first.q, rtol=0, atol=1e-12)
    np.testing.assert_allclose(turned.q[::-1], first.q, rtol=0, atol=1e-12)


def test_a_row_that_warm_starts_do_not_know_starts_cold():
    solver, memory = solver_of("kinks"), WarmStarts()
    cold = solver.solve(P, HELD)
    solver.solve(P, HELD, start=memory, keys=[0, 1, 2, 3, 4])
    mixed = solver.solve(P, HELD, start=pickle.loads(pickle.dumps(memory)), keys=[0, 1, "new", 3, 4])
    other = solver_of("soft limits").solve(P, HELD, start=memory, keys=[0, 1, 2, 3, 4])

    assert mixed.iterations[2] == cold.iterations[2]
    assert mixed.iterations[[0, 1, 3, 4]].max() <= 1
    assert other.status.tolist() == ["solved"] * B


@pytest.mark.parametrize("keys", [None, ["a"], ["a", "a", "b", "c", "d"]])
def test_keys_must_name_every_row_once(keys):
    with pytest.raises(SolverError, match="keys"):
        solver_of("kinks").solve(P, HELD, start=WarmStarts(), keys=keys)


def test_a_start_of_another_problem_is_refused():
    start = solver_of("kinks").solve(torch.as_tensor(P), torch.as_tensor(HELD)).start

    with pytest.raises(SolverError, match="start has shape"):
        solver_of("soft limits").solve(P, HELD, start=start[:, :-1])
