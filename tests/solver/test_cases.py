"""Faults that users of other solvers reported, as small tests with neighbours (../shared/CASES.md 30 and 33 to 38)."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backtest.costs import (
    L1,
    BorrowFee,
    CashFloor,
    Constraint,
    Cost,
    CvxpyCost,
    DenseRisk,
    DollarNeutral,
    Exposure,
    FactorRisk,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionBounds,
    PositionLimit,
    RelativeTo,
    Ridge,
    RiskLimit,
    SeparableCost,
    SmoothCost,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.solver import PositionSolver

sys.path.insert(0, str(Path(__file__).parents[1] / "costs"))
from cost_cases import CASES, HELD, MARKET, B
from cost_cases import N as FEW

N = 8
RNG = np.random.default_rng(30)
LOADINGS = RNG.normal(size=(N, 2)) * 0.01
SPECIFIC = RNG.uniform(3e-4, 9e-4, N)
RISK = 5.0 * FactorRisk(loadings=LOADINGS, specific_variance=SPECIFIC)
P = RNG.normal(size=(2, N)) * 3e-3
BEFORE = RNG.normal(size=(2, N)) * 0.1
IMPACT = TradingCost(half_spread=2e-4, impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0)


class Crowding(SmoothCost):
    """The fourth power of the net weight."""

    def __init__(self, weight: float = 0.05) -> None:
        self.weight = weight

    def value(self, q, held, market):
        return self.weight * q.sum(-1) ** 4


class Stamp(SeparableCost):
    """A tax on purchases."""

    def __init__(self, rate: float = 1e-3) -> None:
        self.rate = rate

    def value(self, q, held, market):
        return self.rate * (q - held).clamp(min=0)


class Squares(CvxpyCost):
    """The squares of the weights, through CVXPY."""

    def expression(self, x, held, market):
        return 1e-3 * cp.sum_squares(x)


# 30 ----------------------------------------------------------------------------------------------------------------

BOUNDS: dict[str, tuple[Constraint, ...]] = {
    "leverage": (LeverageLimit(0.5),),
    "turnover": (TurnoverLimit(0.6),),
    "both norms, neutral": (LeverageLimit(0.9), TurnoverLimit(0.8), DollarNeutral()),
    "risk": (RiskLimit(FactorRisk(loadings=LOADINGS, specific_variance=SPECIFIC), 0.004),),
}
LEAVES = {
    "p": P,
    "held": BEFORE,
    "weight": RNG.uniform(1e-4, 4e-4, N),
    "rate": RNG.uniform(5e-4, 1e-3, N),
}
TARGET = torch.as_tensor(RNG.normal(size=(2, N)))


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(("name", "side"), [("p", 1.0), ("p", -1.0), ("held", 1.0), ("weight", -1.0), ("rate", 1.0)])
def test_each_gradient_with_an_l1_a_held_position_and_a_norm_bound_is_that_of_differences(name, side, bound):
    given = {key: torch.as_tensor(value * (side if key in ("p", "held") else 1.0)) for key, value in LEAVES.items()}

    def solver(t) -> PositionSolver:
        return PositionSolver(RISK + L1(t["weight"]) + TradingCost(half_spread=t["rate"]), BOUNDS[bound])

    leaf = given[name].clone().requires_grad_()
    t = {**given, name: leaf}
    (TARGET * solver(t)(t["p"], t["held"])).sum().backward()

    def value(entry: tuple[int, ...], step: float) -> torch.Tensor:
        moved = given[name].clone()
        moved[entry] += step
        t = {**given, name: moved}
        return (TARGET * solver(t).solve(t["p"], t["held"]).q).sum()

    step = 1e-7 if name != "held" else 1e-5
    slopes = torch.zeros_like(leaf)
    for entry in np.ndindex(*leaf.shape):
        slopes[entry] = (value(entry, step) - value(entry, -step)) / (2 * step)
    size = float(slopes.abs().max())
    assert size > 1e-3
    torch.testing.assert_close(leaf.grad, slopes, rtol=1e-5, atol=1e-6 * size)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_bound_binds_and_assets_stick_where_those_gradients_are_taken(bound):
    free = PositionSolver(RISK + L1(LEAVES["weight"]) + TradingCost(LEAVES["rate"]))
    q, unbound = replace(free, constraints=BOUNDS[bound]).solve(P, BEFORE), free.solve(P, BEFORE)

    assert (np.abs(q.q - unbound.q).max(axis=1) > 1e-3).all()
    assert bool((~q.free).any())
    assert int(q.free.sum(-1).max()) >= 2


@pytest.mark.parametrize("kind", ["kinks", "curves", "a risk limit"])
def test_what_backward_returns_is_linear_in_what_it_is_given(kind):
    costs, limits = SCALED[kind]
    rate = torch.tensor(2e-4, dtype=torch.float64).requires_grad_()
    p, held = torch.as_tensor(P).requires_grad_(), torch.as_tensor(BEFORE).requires_grad_()
    solver = PositionSolver(costs(1.0) + TradingCost(half_spread=rate), limits(1.0))
    q = solver(p, held)

    def backward(v: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(q, (p, held, rate), v, retain_graph=True)])

    a, b = (torch.as_tensor(np.random.default_rng(seed).normal(size=(2, N))) for seed in (1, 2))
    expected = 2 * backward(a) - 3 * backward(b)
    size = float(expected.abs().max())

    torch.testing.assert_close(backward(2 * a - 3 * b), expected, rtol=0, atol=1e-10 * size)


# 33 ----------------------------------------------------------------------------------------------------------------

FLAT = Exposure(loadings=RNG.normal(size=(N, 3)) * 0.05)
SCALED: dict[str, tuple[Callable[[float], Cost], Callable[[float], list[Constraint]]]] = {
    "kinks": (lambda s: s * (RISK + L1(1e-4) + TradingCost(2e-4)), lambda s: [DollarNeutral(), LeverageLimit(0.8)]),
    "curves": (lambda s: s * (RISK + IMPACT + SoftL1(0.01, 1e-4, form="root")), lambda s: [TurnoverLimit(0.9)]),
    "soft limits": (
        lambda s: s * (RISK + Soft(LeverageLimit(0.5), 1e-2) + Soft(PositionLimit(0.1), 1e-2)),
        lambda s: [DollarNeutral()],
    ),
    "a soft risk limit": (lambda s: s * (RISK + Soft(RiskLimit(RISK, 0.004), 1e3)), lambda s: []),
    "a user's separable cost": (lambda s: s * (RISK + Stamp()), lambda s: [DollarNeutral()]),
    "a smooth function": (lambda s: s * (RISK + Crowding()), lambda s: [PositionLimit(0.3)]),
    "a risk limit": (lambda s: s * (RISK + L1(1e-4)), lambda s: [RiskLimit(RISK, 0.006), DollarNeutral()]),
    "a risk limit, no curvature": (lambda s: s * L1(1e-4), lambda s: [RiskLimit(RISK, 0.006), DollarNeutral()]),
    "a singular covariance": (lambda s: s * (FLAT + L1(1e-4) + Ridge(1e-6)), lambda s: [PositionLimit(0.3)]),
}


@pytest.mark.parametrize("s", [1e-6, 1e6])
@pytest.mark.parametrize("kind", SCALED)
def test_forecasts_and_costs_in_another_unit_give_the_same_positions_and_the_map_in_that_unit(kind, s):
    costs, limits = SCALED[kind]
    one = PositionSolver(costs(1.0), limits(1.0)).solve(P, BEFORE)
    other = PositionSolver(costs(s), limits(s)).solve(s * P, BEFORE)
    r = torch.as_tensor(P)
    moved = one.solution_map(r)

    assert other.status.tolist() == ["solved"] * 2
    np.testing.assert_allclose(other.q, one.q, rtol=0, atol=1e-10)
    torch.testing.assert_close(other.solution_map(s * r), moved, rtol=1e-6, atol=1e-6 * float(moved.abs().max()))


# 34 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCALED)
def test_no_forecast_and_nothing_held_is_no_position(kind):
    costs, limits = SCALED[kind]
    solution = PositionSolver(costs(1.0), limits(1.0)).solve(np.zeros(N))

    assert solution.status[0] == "solved"
    np.testing.assert_allclose(solution.q, 0.0, atol=1e-15)


@pytest.mark.parametrize("costs", [RISK, RISK + IMPACT + L1(1e-3), FLAT, RISK + Crowding(), RISK + Stamp()])
def test_bounds_that_leave_one_value_give_it_to_the_bit_whatever_is_forecast(costs):
    fixed = np.array([0.1, -0.2, 0.0, 0.3] * 2)
    free = np.arange(N) >= 6
    bounds = PositionBounds(np.where(free, -0.5, fixed), np.where(free, 0.5, fixed))
    solution = PositionSolver(costs, [bounds]).solve(100 * P, BEFORE)

    assert solution.status.tolist() == ["solved"] * 2
    np.testing.assert_array_equal(solution.q[:, ~free], np.tile(fixed[~free], (2, 1)))
    assert bool((solution.solution_map(torch.ones(2, N, dtype=torch.float64))[:, ~free] == 0).all())


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("costs", [RISK + TradingCost(1e-3), RISK + IMPACT, RISK + Stamp(), TradingCost(1e-3)])
def test_what_is_held_at_a_limit_and_wanted_beyond_it_stays_to_the_bit(costs, sign):
    held = np.full(N, 0.2 * sign)
    solution = PositionSolver(costs, [PositionLimit(0.2)]).solve(np.full(N, sign), held)

    assert solution.status[0] == "solved"
    np.testing.assert_array_equal(solution.q, held)


@pytest.mark.parametrize("copies", [2, 5])
def test_factors_that_repeat_change_no_risk_no_limit_and_no_exposure(copies):
    def solve(loadings: np.ndarray) -> np.ndarray:
        risk = FactorRisk(loadings=loadings, specific_variance=SPECIFIC)
        costs = 2.0 * risk + Exposure(loadings=loadings) + L1(1e-4)
        return PositionSolver(costs, [RiskLimit(risk, 0.006), DollarNeutral()]).solve(P, BEFORE).q

    repeated = np.hstack([LOADINGS] * copies + [np.zeros((N, 2))]) / np.sqrt(copies)

    np.testing.assert_allclose(solve(repeated), solve(LOADINGS), rtol=0, atol=1e-11)


ONE = {
    "a risk limit": (Ridge(1.0), [RiskLimit(Ridge(1.0), 0.5)], 3.0, 0.5),
    "a risk limit alone": (L1(0.1), [RiskLimit(Ridge(4.0), 0.5)], -3.0, -0.25),
    "leverage": (Ridge(1.0), [LeverageLimit(0.3)], -3.0, -0.3),
    "turnover": (Ridge(1.0), [TurnoverLimit(0.3)], 3.0, 0.4),
    "cash floor": (Ridge(1.0), [CashFloor(0.6)], 3.0, 0.4),
    "neutral": (Ridge(1.0), [DollarNeutral()], 3.0, 0.0),
    "dense risk": (2.0 * DenseRisk(np.array([[0.5]])), [], 0.3, 0.3),
    "no risk at all": (L1(0.1), [PositionLimit(0.3)], 0.2, 0.3),
    "relative risk": (RelativeTo(Ridge(1.0), np.array([0.2])), [], 0.3, 0.5),
    "a soft limit": (Ridge(1.0) + Soft(PositionLimit(0.1), 3.0), [], 0.5, 0.2),
    "a user's cost": (Ridge(1.0) + Stamp(0.1), [], 0.5, 0.4),
    "three halves": (TradingCost(impact=1.0, volatility=1.0, dollar_volume=1.0, wealth=1.0), [], 0.3, 0.14),
}


@pytest.mark.parametrize("name", ONE)
def test_one_asset_from_a_weight_of_a_tenth_is_solved_by_hand(name):
    costs, limits, p, expected = ONE[name]
    solution = PositionSolver(costs, limits).solve(np.array([p]), np.array([0.1]))

    assert solution.status[0] == "solved"
    np.testing.assert_allclose(solution.q, [expected], rtol=1e-11, atol=1e-13)


# 35 ----------------------------------------------------------------------------------------------------------------

# (costs, limits, held, forecasts just inside, on, and just outside of the edge at which an asset gets stuck)
EDGES: dict[str, tuple[Cost, list[Constraint], float, tuple[float, float, float]]] = {
    "l1, above": (Ridge(2.0) + L1(0.5), [], 0.0, (0.25, 0.5, 0.75)),
    "l1, below": (Ridge(2.0) + L1(0.5), [], 0.0, (-0.25, -0.5, -0.75)),
    "buying": (Ridge(2.0) + TradingCost(buy_fee=0.25, sell_fee=0.5), [], 1.0, (2.125, 2.25, 2.5)),
    "selling": (Ridge(2.0) + TradingCost(buy_fee=0.25, sell_fee=0.5), [], 1.0, (1.75, 1.5, 1.25)),
    "borrowing": (Ridge(2.0) + BorrowFee(0.5, periods_per_year=1), [], 0.0, (-0.25, -0.5, -0.75)),
    "the other side of borrowing": (Ridge(2.0) + BorrowFee(0.5, periods_per_year=1), [], 0.0, (-0.25, 0.0, 0.25)),
    "a benchmark": (Ridge(2.0) + RelativeTo(L1(0.5), np.array([1.0])), [], 0.0, (2.25, 2.5, 2.75)),
    "an upper limit": (Ridge(2.0), [PositionLimit(1.0)], 0.0, (2.25, 2.0, 1.75)),
    "a lower limit": (Ridge(2.0), [LongOnly()], 0.0, (-0.25, 0.0, 0.25)),
    "a trade limit": (Ridge(2.0), [TradeLimit(0.5)], 1.0, (3.25, 3.0, 2.75)),
    "a user's cost": (Ridge(2.0) + Stamp(0.5), [], 1.0, (2.25, 2.5, 2.75)),
}


@pytest.mark.parametrize("name", EDGES)
def test_on_the_edge_of_a_kink_or_limit_the_derivative_is_that_of_the_stuck_side(name):
    costs, limits, held, forecasts = EDGES[name]
    p = torch.tensor([[forecast] for forecast in forecasts], dtype=torch.float64, requires_grad=True)
    before = torch.full((3, 1), held, dtype=torch.float64, requires_grad=True)
    q = PositionSolver(costs, limits)(p, before)
    q.sum().backward()

    assert p.grad[:, 0].tolist() == [0.0, 0.0, 0.5]
    assert q[0, 0] == q[1, 0] != q[2, 0]
    if before.grad is not None:
        follows = 1.0 if name in ("buying", "selling", "a trade limit", "a user's cost") else 0.0
        assert before.grad[:, 0].tolist() == [follows, follows, 0.0]


@pytest.mark.parametrize("name", EDGES)
def test_on_the_edge_the_map_and_the_gradient_in_forecasts_alone_are_those_of_the_stuck_side(name):
    costs, limits, held, forecasts = EDGES[name]
    solver = PositionSolver(costs, limits)
    p = torch.tensor([[forecast] for forecast in forecasts], dtype=torch.float64, requires_grad=True)
    before = torch.full((3, 1), held, dtype=torch.float64)
    solver(p, before).sum().backward()
    moved = solver.solve(p.detach(), before).solution_map(torch.ones(3, 1, dtype=torch.float64))

    assert p.grad[:, 0].tolist() == [0.0, 0.0, 0.5]
    assert moved[:, 0].tolist() == [0.0, 0.0, 0.5]


# 36 ----------------------------------------------------------------------------------------------------------------


class Allocations(TorchDispatchMode):
    """Notes the most elements of any tensor that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                # Broadcasting makes no copies: what counts is the storage.
                self.largest = max(self.largest, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


MANY, FACTORS, ROWS = 5000, 50, 3


def storages(part: object, seen: dict[int, int]) -> dict[int, int]:
    """Return the bytes of every distinct storage in a problem."""
    if isinstance(part, torch.Tensor):
        seen[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
    elif isinstance(part, tuple):
        for member in part:
            storages(member, seen)
    elif is_dataclass(part):
        for each in fields(part):
            storages(getattr(part, each.name), seen)
    return seen


def large(loadings: torch.Tensor, kind: str) -> PositionSolver:
    risk = FactorRisk(loadings=loadings, specific_variance=4e-4)
    costs = 5.0 * risk + L1(1e-4) + TradingCost(2e-4) + BorrowFee(0.02, periods_per_year=252)
    limits: list[Constraint] = [DollarNeutral(), PositionLimit(0.01), LeverageLimit(2.0), TurnoverLimit(3.0)]
    if kind == "curves":
        costs = costs + IMPACT + SoftL1(0.01, 1e-4, form="root")
    if kind == "a risk limit":
        limits.append(RiskLimit(risk, 0.005))
    return PositionSolver(costs, limits)


@pytest.mark.parametrize("kind", ["kinks", "curves", "a risk limit"])
def test_building_a_large_problem_and_its_gradients_makes_nothing_larger_than_its_inputs(kind):
    rng = np.random.default_rng(0)
    loadings = torch.as_tensor(rng.normal(size=(MANY, FACTORS)) * 0.01).requires_grad_()
    p = torch.as_tensor(rng.normal(size=(ROWS, MANY)) * 1e-3).requires_grad_()
    held = torch.as_tensor(rng.normal(size=(ROWS, MANY)) / MANY)
    solver = large(loadings, kind)
    with Allocations() as building:
        problem = solver.problem(p, held)
    total = sum(storages(problem, {}).values()) // 8

    assert problem.loadings.shape[0] == 1
    assert building.largest <= 2 * MANY * FACTORS
    assert total <= 2 * MANY * FACTORS + 30 * ROWS * MANY


def test_solving_a_large_problem_with_exposures_as_input_makes_nothing_of_assets_times_assets():
    rng = np.random.default_rng(0)
    loadings = torch.as_tensor(rng.normal(size=(MANY, FACTORS)) * 0.01).requires_grad_()
    p = torch.as_tensor(rng.normal(size=(ROWS, MANY)) * 1e-3).requires_grad_()
    with Allocations() as used:
        large(loadings, "kinks")(p).square().sum().backward()

    assert used.largest <= 2 * ROWS * MANY * FACTORS
    assert bool((loadings.grad != 0).any())
    assert bool((p.grad != 0).any(-1).all())


# 37 ----------------------------------------------------------------------------------------------------------------

FORECASTS = torch.as_tensor(RNG.normal(size=(B, FEW)) * 0.3)


def by_name(name: str) -> PositionSolver:
    return PositionSolver(CASES[name].of_numbers() + Ridge(0.5), [LeverageLimit(1.5), PositionLimit(0.6)])


def solved(solver: PositionSolver, p: torch.Tensor = FORECASTS, held: torch.Tensor = HELD):
    return solver.solve(p, held, market=MARKET)


@pytest.mark.parametrize("name", CASES)
def test_a_copy_or_a_pickle_of_a_solver_and_of_its_solution_is_the_same_to_the_bit(name):
    solver = by_name(name)
    first = solved(solver)
    r = torch.ones(B, FEW, dtype=torch.float64)

    for copied in (copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))):
        assert torch.equal(solved(copied(solver)).q, first.q)
        again, moved = copied(first), copied(first.solution_map)
        assert torch.equal(again.q, first.q)
        assert again.status.tolist() == first.status.tolist()
        assert again.residual.tolist() == first.residual.tolist()
        assert torch.equal(again.solution_map(r), first.solution_map(r))
        assert torch.equal(moved(r), first.solution_map(r))


@pytest.mark.parametrize("costs", [Ridge(0.5) + Stamp(0.1), Ridge(0.5) + Crowding(), Squares()], ids=["s", "m", "c"])
def test_a_copy_or_a_pickle_of_a_solver_with_a_users_cost_is_the_same_to_the_bit(costs):
    solver = PositionSolver(costs, [LeverageLimit(1.5)])
    first = solver.solve(1e-2 * FORECASTS, HELD)
    r = torch.ones(B, FEW, dtype=torch.float64)

    for copied in (copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))):
        assert torch.equal(copied(solver).solve(1e-2 * FORECASTS, HELD).q, first.q)
        assert torch.equal(copied(first).q, first.q)
        assert torch.equal(copied(first.solution_map)(r), first.solution_map(r))


def test_four_threads_over_every_cost_give_the_bits_of_one():
    names = [*CASES, *CASES]

    def work(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        p = FORECASTS.clone().requires_grad_()
        q = by_name(name)(p, HELD, market=MARKET)
        q.square().sum().backward()
        return q.detach(), p.grad

    one = [work(name) for name in names]
    with ThreadPoolExecutor(4) as pool:
        four = list(pool.map(work, names))

    for (q, gradient), (expected, slope) in zip(four, one, strict=True):
        assert torch.equal(q, expected)
        assert torch.equal(gradient, slope)


@pytest.mark.parametrize("name", CASES)
def test_inputs_in_single_precision_give_positions_in_it_within_a_millionth(name):
    solver = by_name(name)
    q = solved(solver, FORECASTS.float(), HELD.float()).q
    array = solver.solve(FORECASTS.float().numpy(), HELD.float().numpy(), market=MARKET).q
    p = FORECASTS.float().requires_grad_()
    called = solver(p, HELD.float(), market=MARKET)
    called.sum().backward()

    assert (q.dtype, array.dtype, called.dtype, p.grad.dtype) == (
        torch.float32,
        np.float32,
        torch.float32,
        torch.float32,
    )
    for single in (q, torch.as_tensor(array), called.detach()):
        torch.testing.assert_close(single.double(), solved(solver).q, rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
@pytest.mark.parametrize("name", CASES)
def test_positions_and_gradients_on_a_device_are_there_and_those_of_the_cpu(name):
    results = []
    for device in ("cpu", "cuda"):
        p = FORECASTS.to(device).requires_grad_()
        q = by_name(name)(p, HELD.to(device), market=MARKET)
        q.square().sum().backward()
        assert (q.device.type, p.grad.device.type) == (device, device)
        results.append((q.detach().cpu(), p.grad.cpu()))

    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=1e-10)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-8, atol=1e-8)


# 38 --------------------------------------------------------------------------------------------------------------


def test_no_limit_is_broken_as_numpy_counts_it():
    limits = [FullyInvested(), PositionLimit(0.4), LeverageLimit(1.3), TurnoverLimit(1.5), RiskLimit(RISK, 0.03)]
    q = PositionSolver(RISK + L1(1e-4) + IMPACT, limits).solve(20 * P, BEFORE).q
    covariance = 5 * (LOADINGS @ LOADINGS.T + np.diag(SPECIFIC))
    excess = [
        np.abs(q.sum(axis=1) - 1),
        np.abs(q).max(axis=1) - 0.4,
        np.abs(q).sum(axis=1) - 1.3,
        np.abs(q - BEFORE).sum(axis=1) - 1.5,
        np.sqrt(np.einsum("bi,ij,bj->b", q, covariance, q)) - 0.03,
    ]

    assert np.max(excess) <= 1e-10
    assert np.max(excess[2:]) >= -1e-10, "one of the norms should bind"
