"""Rows of a batch are problems of their own: equal to a loop, over all costs and limits, whatever a neighbour does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_problems import random_case

from backtest.costs import (
    L1,
    CashFloor,
    Constraint,
    Cost,
    DollarNeutral,
    Exposure,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    GroupLimit,
    LeverageLimit,
    LinearLimit,
    NoTrade,
    PositionBounds,
    PositionLimit,
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
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver, constraint_violation

sys.path.insert(0, str(Path(__file__).parents[1] / "costs"))
from cost_cases import CASES, HELD, MARKET, NUMBERS, B, N

RNG = np.random.default_rng(31)
P = torch.as_tensor(RNG.normal(size=(B, N)) * 0.3)
Numbers = dict[str, torch.Tensor]
TABLE: Numbers = {name: torch.as_tensor(value) for name, value in NUMBERS.items()}


def numbers_of(row: int | None) -> Numbers:
    """Return the parameters of all rows, or of one; only those with a row for each have B in front."""
    return {name: value if row is None or value.shape[:1] != (B,) else value[[row]] for name, value in TABLE.items()}


def market_of(row: int) -> MarketSnapshot:
    return replace(MARKET, rows=MARKET.rows[[row]], features=MARKET.features[[row]], wealth=MARKET.wealth[[row]])


def together_and_alone(make: Callable[[Numbers], PositionSolver]):
    together = make(numbers_of(None)).solve(P, HELD, market=MARKET, on_failure="nan")
    alone = [
        make(numbers_of(row)).solve(P[[row]], HELD[[row]], market=market_of(row), on_failure="nan") for row in range(B)
    ]
    return together, alone


def assert_equal_to_a_loop(make: Callable[[Numbers], PositionSolver]) -> None:
    together, alone = together_and_alone(make)

    assert together.status.tolist() == ["solved"] * B
    torch.testing.assert_close(together.q, torch.cat([one.q for one in alone]), rtol=0, atol=1e-12)
    assert [one.status[0] for one in alone] == ["solved"] * B


@pytest.mark.parametrize("name", CASES)
def test_a_batch_with_a_cost_and_limits_by_row_equals_a_loop_over_its_rows(name):
    assert_equal_to_a_loop(
        lambda t: PositionSolver(
            CASES[name].cost(t) + Ridge(t["positive by row"]),
            [DollarNeutral(), PositionLimit(0.3 * t["positive by row"]), LeverageLimit(0.6 * t["one a row"])],
            holding_periods=t["one a row"],
        )
    )


LIMITS: dict[str, Callable[[Numbers], list[Constraint]]] = {
    "position bounds": lambda t: [PositionBounds(-0.1 * t["positive by row"], 0.05 * t["positive by row"])],
    "trade limits": lambda t: [TradeLimit(buy=0.1 * t["positive by row"], sell=0.05)],
    "leverage and turnover": lambda t: [LeverageLimit(0.5 * t["one a row"]), TurnoverLimit(2.0 * t["one a row"])],
    "linear": lambda t: [LinearLimit(t["more loadings"].mT, lower=-0.02, upper=0.01 * t["one a row"])],
    "factors": lambda t: [FactorLimit(t["more loadings"][..., :2], lower=0.0, upper=0.0)],
    "groups": lambda t: [GroupLimit(np.array(["x", "y", "x", "z", "y"]), upper=0.05 * t["one a row"])],
    "cash": lambda t: [CashFloor(1.2 + 0.1 * t["one a row"])],
    "no trade": lambda t: [NoTrade(t["positive by row"] > 1.2), DollarNeutral()],
    "risk": lambda t: [RiskLimit(FactorRisk(loadings=t["more loadings"], specific_variance=0.1), t["one a row"] / 20)],
    "two risks": lambda t: [
        RiskLimit(Ridge(t["positive by row"]), t["one a row"] / 10, benchmark=t["benchmark by row"] / 9),
        RiskLimit(FactorRisk(loadings=t["more loadings"], specific_variance=0.1), t["one a row"] / 20),
        DollarNeutral(),
    ],
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_batch_with_a_limit_by_row_equals_a_loop_over_its_rows(name):
    def make(t: Numbers) -> PositionSolver:
        return PositionSolver(Ridge(0.5) + L1(0.05 * t["positive by row"]) + TradingCost(0.01), LIMITS[name](t))

    assert_equal_to_a_loop(make)
    free, _ = together_and_alone(lambda t: replace(make(t), constraints=()))
    bound, _ = together_and_alone(make)
    assert bool((bound.q - free.q).abs().amax(-1).gt(1e-3).all()), "the limit should bind in every row"


@pytest.mark.parametrize("seed", range(100, 110))
def test_random_problems_solved_in_a_batch_equal_a_loop_and_break_no_limit(seed):
    case = random_case(seed, largest=15)
    rng = np.random.default_rng(seed)
    p = case.p * rng.uniform(-2, 2, (3, len(case.p)))
    held = case.held * rng.uniform(0, 1, (3, len(case.p)))
    together = case.solver.solve(p, held, tradable=case.tradable, on_failure="hold")
    x = torch.as_tensor(together.q)
    violation = constraint_violation(together.problem, x)

    for row in range(3):
        alone = case.solver.solve(p[row], held[row], tradable=case.tradable, on_failure="hold")
        assert alone.status[0] == together.status[row]
        assert alone.status[0] in ("solved", "infeasible")
        np.testing.assert_allclose(alone.q, together.q[row], rtol=1e-12, atol=1e-12)
        assert alone.status[0] != "solved" or float(violation[row]) <= 1e-10 * max(1.0, float(x[row].abs().max()))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 1, 1], [0, 2, 0, 1, 1, 2]])
@pytest.mark.parametrize("name", ["every trading cost", "sum", "soft risk limit"])
def test_rows_in_another_order_or_repeated_give_the_same_positions_in_that_order(name, order):
    def make(index: list[int]) -> torch.Tensor:
        t = {key: value if value.shape[:1] != (B,) else value[index] for key, value in TABLE.items()}
        market = replace(MARKET, rows=MARKET.rows[index], features=MARKET.features[index], wealth=MARKET.wealth[index])
        solver = PositionSolver(CASES[name].cost(t) + Ridge(0.5), [LeverageLimit(0.6 * t["one a row"])])
        return solver.solve(P[index], HELD[index], market=market).q

    torch.testing.assert_close(make(order), make([0, 1, 2])[order], rtol=0, atol=1e-12)


# Rows that fail ----------------------------------------------------------------------------------------------------


class Crowding(SmoothCost):
    """The fourth power of the net weight."""

    def value(self, q, held, market):
        return 0.05 * q.sum(-1) ** 4


class Stamp(SeparableCost):
    """A tax on purchases that grows with them."""

    def value(self, q, held, market):
        bought = (q - held).clamp(min=0)
        return 1e-3 * bought + 0.02 * bought.clamp(min=1e-30).pow(1.5)


SIZE = 9
RISK = 5.0 * FactorRisk(loadings=RNG.normal(size=(SIZE, 2)) * 0.01, specific_variance=RNG.uniform(3e-4, 9e-4, SIZE))
FORECASTS, BEFORE = RNG.normal(size=(3, SIZE)) * 3e-3, RNG.normal(size=(3, SIZE)) * 0.1
IMPACT = TradingCost(half_spread=2e-4, impact=0.3, volatility=0.02, dollar_volume=2.0, wealth=1.0)
FEW = FactorRisk(loadings=RNG.normal(size=(SIZE, 2)) * 0.01, specific_variance=4e-4)


@dataclass(frozen=True)
class Kind:
    """Costs and limits of some kind, beside which rows fail."""

    costs: Cost
    limits: tuple[Constraint, ...] = ()


KINDS = {
    "kinks": Kind(RISK + L1(1e-4) + TradingCost(2e-4), (DollarNeutral(), LeverageLimit(1.0))),
    "curves": Kind(RISK + IMPACT + SoftL1(width=0.01, weight=1e-4, form="root"), (LeverageLimit(2.0),)),
    "soft limits": Kind(RISK + Soft(LeverageLimit(0.5), 1e-2) + Soft(PositionLimit(0.1), 1e-2), (DollarNeutral(),)),
    "a user's separable cost": Kind(RISK + Stamp(), (DollarNeutral(),)),
    "a smooth function": Kind(RISK + Crowding() + L1(1e-4), (LeverageLimit(2.0),)),
    "a risk limit": Kind(RISK + L1(1e-4), (RiskLimit(FEW, 0.004), DollarNeutral())),
    "a risk limit, no curvature": Kind(L1(1e-4) + TradingCost(2e-4), (RiskLimit(FEW, 0.004), DollarNeutral())),
    "two risk limits and curves": Kind(RISK + IMPACT, (RiskLimit(FEW, 0.004), RiskLimit(Ridge(), 0.2))),
    "a singular covariance": Kind(Exposure(loadings=RNG.normal(size=(SIZE, 3)) * 0.05), (PositionLimit(0.2),)),
}
REACH = (PositionLimit(0.8), TurnoverLimit(2.0))
"""Limits that contradict each other in a row that holds 5 of everything."""

FAILURES = {
    "infeasible": "infeasible",
    "nan forecast": "bad_input",
}


def spoiled(failure: str) -> tuple[np.ndarray, np.ndarray]:
    p, held = FORECASTS.copy(), BEFORE.copy()
    if failure == "infeasible":
        held[1] = 5.0
    else:
        value = {"nan": np.nan, "infinite": -np.inf}[failure.split()[0]]
        (held if failure.endswith("held") else p)[1, 4] = value
    return p, held


ROUNDING = {"a user's separable cost", "a smooth function"}
"""Kinds that are solved for all rows at once, by tensors whose sums round as the number of rows has it."""

Rows = Callable[[slice], PositionSolver]


def assert_only_the_middle_row_fails(
    solver: Rows, p: np.ndarray, held: np.ndarray, status: str, *, tolerance: float
) -> None:
    """Rows 1 and 3 are those they are alone; row 2 is flagged and has no gradient."""
    solution = solver(slice(None)).solve(p, held, on_failure="nan")

    assert solution.status.tolist() == ["solved", status, "solved"]
    assert bool(np.isnan(solution.q[1]).all())
    for row in (0, 2):
        one = slice(row, row + 1)
        alone = solver(one).solve(p[one], held[one])
        np.testing.assert_allclose(solution.q[row], alone.q[0], rtol=0, atol=tolerance)


def assert_only_the_middle_row_has_no_gradient(solver: Rows, p: np.ndarray, held: np.ndarray) -> None:
    forecast, before = torch.as_tensor(p).requires_grad_(), torch.as_tensor(held).requires_grad_()
    q = solver(slice(None))(forecast, before, on_failure="nan")
    torch.where(torch.isnan(q), 0.0, q).square().sum().backward()

    together = [gradient_of(leaf) for leaf in (forecast, before)]
    assert [gradient[1].tolist() for gradient in together] == [[0.0] * p.shape[1]] * 2
    for row in (0, 2):
        one = slice(row, row + 1)
        leaves = [torch.as_tensor(part[one]).requires_grad_() for part in (p, held)]
        solver(one)(*leaves).square().sum().backward()
        for leaf, gradient in zip(leaves, together, strict=True):
            size = 1e-3 + float(gradient_of(leaf).abs().max())
            torch.testing.assert_close(gradient[row], gradient_of(leaf)[0], rtol=1e-9, atol=1e-9 * size)
    assert bool((forecast.grad[[0, 2]] != 0).any(-1).all())


def gradient_of(leaf: torch.Tensor) -> torch.Tensor:
    """Return the gradient; 0 in what the positions do not depend on."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


FAILING = [
    (kind, failure)
    for kind in KINDS
    for failure in FAILURES
    # That this row contradicts itself is only found after all steps, each through automatic differentiation.
    if (kind, failure) != ("a user's separable cost", "infeasible")
]


@pytest.mark.parametrize(("kind", "failure"), FAILING)
def test_a_row_that_fails_leaves_its_neighbours_as_they_are_alone(kind, failure):
    solver = PositionSolver(KINDS[kind].costs, [*KINDS[kind].limits, *REACH])
    tolerance = 1e-14 if kind in ROUNDING else 0.0

    assert_only_the_middle_row_fails(lambda rows: solver, *spoiled(failure), FAILURES[failure], tolerance=tolerance)


@pytest.mark.parametrize("failure", ["infeasible", "nan forecast", "infinite held"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("a user's separable cost",)])
def test_a_row_that_fails_has_no_gradient_and_its_neighbours_have_theirs(kind, failure):
    solver = PositionSolver(KINDS[kind].costs + Ridge(1e-6), [*KINDS[kind].limits, *REACH])

    assert_only_the_middle_row_has_no_gradient(lambda rows: solver, *spoiled(failure))


@pytest.mark.parametrize(
    ("costs", "tolerance"),
    [(RISK, 0.0), (RISK + IMPACT, 0.0), (L1(1e-4), 0.0), (RISK + Crowding(), 1e-12)],
    ids=["risk", "curves", "no curvature", "a smooth function"],
)
def test_a_row_that_breaks_its_risk_limit_whatever_it_does_leaves_its_neighbours_as_they_are_alone(costs, tolerance):
    volatility = torch.tensor([[0.03], [1e-4], [0.02]], dtype=torch.float64)

    def solver(rows: slice) -> PositionSolver:
        return PositionSolver(costs, [FullyInvested(), RiskLimit(FEW, volatility[rows]), PositionLimit(0.8)])

    assert_only_the_middle_row_fails(solver, FORECASTS, BEFORE, "infeasible", tolerance=tolerance)
    assert_only_the_middle_row_has_no_gradient(solver, FORECASTS, BEFORE)


SPREAD = Exposure(loadings=np.array([[0.02], [0.02], [0.0]]))
"""Costs nothing along (1, -1, 0), and nothing in the third asset."""


class SlowGrowth(SmoothCost):
    """Along (1, -1, 0) it costs at most 1e-4 a unit."""

    def value(self, q, held, market):
        return 5e-5 * (torch.sqrt((q[:, 0] - q[:, 1]) ** 2 + 1) - 1)


ENDLESS = {
    "no curvature": (SPREAD, ()),
    "kinks": (SPREAD + L1(1e-4) + TradingCost(1e-4), ()),
    "curves": (SPREAD + SoftL1(width=0.01, weight=1e-4, form="root"), ()),
    "a smooth function": (SPREAD + SlowGrowth(), ()),
    "a quadratic limit": (SPREAD + L1(1e-4), (RiskLimit(SPREAD, 0.01),)),
}


CURVED = torch.tensor([[2e-3], [0.0], [1e-3]], dtype=torch.float64)
WANTED = np.array([[1e-3, -5e-4, 2e-3], [2e-3, -1e-3, 0.0], [-2e-3, 1e-3, 1e-3]])


def endless(kind: str) -> Rows:
    """Return solvers whose row 2 has nothing that bounds it; the others have a ridge."""
    costs, limits = ENDLESS[kind]
    return lambda rows: PositionSolver(costs + Ridge(CURVED[rows]), limits)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", ENDLESS)
def test_an_unbounded_row_leaves_its_neighbours_as_they_are_alone(kind, sign):
    tolerance = 1e-14 if kind == "a smooth function" else 0.0

    assert_only_the_middle_row_fails(endless(kind), sign * WANTED, np.zeros((3, 3)), "unbounded", tolerance=tolerance)


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_unbounded_row_has_no_gradient_and_its_neighbours_have_theirs(kind):
    assert_only_the_middle_row_has_no_gradient(endless(kind), WANTED, np.zeros((3, 3)))


@pytest.mark.parametrize("kind", ["kinks", "curves", "a smooth function", "a risk limit"])
def test_every_row_may_fail(kind):
    solver = PositionSolver(KINDS[kind].costs, [*KINDS[kind].limits, *REACH])
    held = np.full((3, SIZE), 5.0)
    p = FORECASTS.copy()
    p[2, 0] = np.nan
    solution = solver.solve(p, held, on_failure="hold")

    assert solution.status.tolist() == ["infeasible", "infeasible", "bad_input"]
    np.testing.assert_array_equal(solution.q, held)
