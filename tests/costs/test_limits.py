"""Every limit: which positions it allows, soft and hard; labels, rows, derivatives, estimates, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from cost_cases import ASSETS, GROUPS, HELD, MARKET, NUMBERS, B, N, factor_risk, factor_sigma, problem_of, quadratic
from torch import Tensor

from backtest.costs import (
    CashFloor,
    Constraint,
    DenseRisk,
    DollarNeutral,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    GroupLimit,
    LeverageLimit,
    LimitTerms,
    LinearLimit,
    LongOnly,
    NoTrade,
    PositionBounds,
    PositionLimit,
    Ridge,
    RiskLimit,
    Soft,
    TradeLimit,
    TurnoverLimit,
)
from backtest.market import MarketPanel
from backtest.solver.canonical import assemble

RNG = np.random.default_rng(4)
POINTS = HELD.numpy() * RNG.uniform(0, 1, size=(200, 1, 1)) + RNG.normal(size=(200, B, N)) * 0.15
V = NUMBERS
MATRIX = RNG.normal(size=(2, N))
MATRICES = RNG.normal(size=(B, 2, N))
SIZE, VALUE = MARKET.features[..., 0], MARKET.features[..., 1]
LABELS = pd.Series([0.1, 0.2, 0.3, 0.1, 0.2], index=ASSETS)[::-1]
ROWS = np.array([[0.2], [0.4], [0.3]])


@dataclass(frozen=True)
class LimitCase:
    """A limit, and which positions it should allow.

    Attributes:
        limit: of the parameters, as tensors.
        allows: (q, held) -> (B,) bool, in NumPy.
        meet: moves positions to where an equality holds, so that some points are inside.
        parameters: names of those it uses.
    """

    limit: Callable[[dict[str, Tensor]], Constraint]
    allows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    meet: Callable[[np.ndarray], np.ndarray] | None = None
    parameters: tuple[str, ...] = ()

    def of_numbers(self) -> Constraint:
        return self.limit({name: torch.as_tensor(value) for name, value in NUMBERS.items()})


def onto(q: np.ndarray, matrix: np.ndarray, bound: float | np.ndarray) -> np.ndarray:
    """Return the nearest positions with `M q = bound`, of an (m, N) or (B, m, N) matrix."""
    gap = bound - (matrix @ q[..., None])[..., 0]
    return (
        q
        + (np.swapaxes(matrix, -1, -2) @ np.linalg.solve(matrix @ np.swapaxes(matrix, -1, -2), gap[..., None]))[..., 0]
    )


def keep(q: np.ndarray, columns: list[int]) -> np.ndarray:
    return np.where(np.isin(np.arange(N), columns), HELD.numpy(), q)


ONES = np.ones((1, N))
X, Y = np.array([[1.0, 0, 1, 0, 0]]), np.array([[0, 1.0, 0, 0, 1]])
LIMITS: dict[str, LimitCase] = {
    "dollar neutral": LimitCase(
        lambda t: DollarNeutral(), lambda q, h: abs(q.sum(1)) < 1e-9, lambda q: onto(q, ONES, 0.0)
    ),
    "fully invested": LimitCase(
        lambda t: FullyInvested(), lambda q, h: abs(q.sum(1) - 1) < 1e-9, lambda q: onto(q, ONES, 1.0)
    ),
    "cash floor": LimitCase(lambda t: CashFloor(0.9), lambda q, h: q.sum(1) <= 0.1),
    "cash floor by row": LimitCase(
        lambda t: CashFloor(t["one a row"]), lambda q, h: q.sum(1) <= 1 - V["one a row"][:, 0], None, ("one a row",)
    ),
    "long only": LimitCase(lambda t: LongOnly(), lambda q, h: (q >= 0).all(1), lambda q: np.maximum(q, 0)),
    "position limit": LimitCase(
        lambda t: PositionLimit(2 * t["width"]), lambda q, h: (abs(q) <= 2 * V["width"]).all(1), None, ("width",)
    ),
    "position limit by label": LimitCase(
        lambda t: PositionLimit(LABELS), lambda q, h: (abs(q) <= LABELS[ASSETS].to_numpy()).all(1)
    ),
    "position bounds": LimitCase(
        lambda t: PositionBounds(-ROWS, 2 * t["width"]),
        lambda q, h: ((q >= -ROWS) & (q <= 2 * V["width"])).all(1),
        None,
        ("width",),
    ),
    "upper bound of some": LimitCase(
        lambda t: PositionBounds(upper=np.array([0.0, np.inf, 0.1, np.inf, np.inf])),
        lambda q, h: (q[:, 0] <= 0) & (q[:, 2] <= 0.1),
    ),
    "trade limit": LimitCase(
        lambda t: TradeLimit(2 * t["width"]), lambda q, h: (abs(q - h) <= 2 * V["width"]).all(1), None, ("width",)
    ),
    "trade limit by side": LimitCase(
        lambda t: TradeLimit(0.2, buy=t["one a row"] / 5),
        lambda q, h: ((q - h <= V["one a row"] / 5) & (h - q <= 0.2)).all(1),
        None,
        ("one a row",),
    ),
    "limit on sales": LimitCase(lambda t: TradeLimit(sell=0.1), lambda q, h: (h - q <= 0.1).all(1)),
    "no trade by label": LimitCase(
        lambda t: NoTrade(["D", "A"]),
        lambda q, h: (q[:, [0, 3]] == h[:, [0, 3]]).all(1),
        lambda q: keep(q, [0, 3]),
    ),
    "no trade by mask": LimitCase(
        lambda t: NoTrade(np.array([False, True, False, False, False])),
        lambda q, h: q[:, 1] == h[:, 1],
        lambda q: keep(q, [1]),
    ),
    "no trade by labelled mask": LimitCase(
        lambda t: NoTrade(pd.Series([True, False, False, False, False], index=ASSETS[::-1])),
        lambda q, h: q[:, 4] == h[:, 4],
        lambda q: keep(q, [4]),
    ),
    "no trade by row": LimitCase(
        lambda t: NoTrade(torch.eye(N, dtype=torch.bool)[:B]),
        lambda q, h: np.diag(q[:, :B]) == np.diag(h[:, :B]),
        lambda q: np.where(np.eye(B, N, dtype=bool), HELD.numpy(), q),
    ),
    "leverage limit": LimitCase(
        lambda t: LeverageLimit(t["one a row"]),
        lambda q, h: abs(q).sum(1) <= V["one a row"][:, 0],
        None,
        ("one a row",),
    ),
    "turnover limit": LimitCase(
        lambda t: TurnoverLimit(t["scalar"]), lambda q, h: abs(q - h).sum(1) <= 0.7, None, ("scalar",)
    ),
    "linear limit": LimitCase(
        lambda t: LinearLimit(MATRIX, upper=np.array([0.1, 0.3])), lambda q, h: (q @ MATRIX.T <= [0.1, 0.3]).all(1)
    ),
    "linear limit by row": LimitCase(
        lambda t: LinearLimit(MATRICES, lower=-t["one a row"] / 4, upper=ROWS),
        lambda q, h: (
            ((q[:, None] @ np.swapaxes(MATRICES, 1, 2))[:, 0] >= -V["one a row"] / 4).all(1)
            & ((q[:, None] @ np.swapaxes(MATRICES, 1, 2))[:, 0] <= ROWS).all(1)
        ),
        None,
        ("one a row",),
    ),
    "linear limit by name": LimitCase(
        lambda t: LinearLimit(pd.DataFrame(MATRIX[:, ::-1], index=["u", "v"], columns=ASSETS[::-1]), upper={"v": 0.1}),
        lambda q, h: q @ MATRIX[1] <= 0.1,
    ),
    "linear equality and inequality": LimitCase(
        lambda t: LinearLimit(MATRIX, lower=np.array([0.1, -0.2]), upper=np.array([0.1, 0.3])),
        lambda q, h: (abs(q @ MATRIX[0] - 0.1) < 1e-9) & (q @ MATRIX[1] <= 0.3) & (q @ MATRIX[1] >= -0.2),
        lambda q: onto(q, MATRIX[:1], 0.1),
    ),
    "equality in one row of the batch alone": LimitCase(
        lambda t: LinearLimit(ONES, lower=np.array([[0.1], [-1.0], [0.1]]), upper=np.array([[0.1], [0.2], [0.3]])),
        lambda q, h: (q.sum(1) <= [0.1 + 1e-12, 0.2, 0.3]) & (q.sum(1) >= [0.1 - 1e-12, -1, 0.1]),
        lambda q: onto(q, ONES, np.array([[0.1], [0.0], [0.2]])),
    ),
    "limit in some rows of the batch alone": LimitCase(
        lambda t: LinearLimit(MATRIX[:1], upper=np.array([[0.1], [np.inf], [-0.1]])),
        lambda q, h: q @ MATRIX[0] <= np.array([0.1, np.inf, -0.1]),
    ),
    "factor limit": LimitCase(
        lambda t: FactorLimit(t["loadings"], lower=-0.02, upper=t["scalar"] / 50),
        lambda q, h: ((q @ V["loadings"] >= -0.02) & (q @ V["loadings"] <= 0.014)).all(1),
        None,
        ("loadings", "scalar"),
    ),
    "factor neutrality": LimitCase(
        lambda t: FactorLimit(t["more loadings"], lower=0.0, upper=0.0),
        lambda q, h: (abs((q[:, None] @ V["more loadings"])[:, 0]) < 1e-9).all(1),
        lambda q: onto(q, np.swapaxes(V["more loadings"], 1, 2), 0.0),
        ("more loadings",),
    ),
    "feature limit": LimitCase(
        lambda t: FactorLimit(features=["value", "size"], lower={"size": -0.1}, upper={"size": 0.2, "value": 0.1}),
        lambda q, h: ((q * SIZE).sum(1) >= -0.1) & ((q * SIZE).sum(1) <= 0.2) & ((q * VALUE).sum(1) <= 0.1),
    ),
    "labelled factor limit": LimitCase(
        lambda t: FactorLimit(
            pd.DataFrame({"beta": V["loadings"][::-1, 0], "gamma": V["loadings"][::-1, 1]}, index=ASSETS[::-1]),
            upper=pd.Series({"beta": 0.01}),
        ),
        lambda q, h: q @ V["loadings"][:, 0] <= 0.01,
    ),
    "group limit": LimitCase(
        lambda t: GroupLimit(GROUPS, -0.2, t["one a row"] / 4),
        lambda q, h: (
            ((q @ X.T >= -0.2) & (q @ X.T <= V["one a row"] / 4))
            & ((q @ Y.T >= -0.2) & (q @ Y.T <= V["one a row"] / 4))
        )[:, 0],
        None,
        ("one a row",),
    ),
    "group limit by name": LimitCase(
        lambda t: GroupLimit(pd.Series(GROUPS, index=ASSETS)[::-1], {"y": t["scalar"] / 10}, {"x": 0.1}),
        lambda q, h: (q @ Y[0] >= 0.07) & (q @ X[0] <= 0.1),
        None,
        ("scalar",),
    ),
    "group limit by group": LimitCase(
        lambda t: GroupLimit(list(GROUPS), upper=np.array([0.1, -0.1])),
        lambda q, h: (q @ X[0] <= 0.1) & (q @ Y[0] <= -0.1),
    ),
    "group neutrality": LimitCase(
        lambda t: GroupLimit(GROUPS, 0.0, {"x": 0.0, "y": 0.2}),
        lambda q, h: (abs(q @ X[0]) < 1e-9) & (q @ Y[0] >= 0) & (q @ Y[0] <= 0.2),
        lambda q: onto(q, X, 0.0),
    ),
    "risk limit": LimitCase(
        lambda t: RiskLimit(factor_risk(t), t["one a row"] / 3),
        lambda q, h: 2 * quadratic(q, factor_sigma(V)) <= (V["one a row"][:, 0] / 3) ** 2,
        None,
        ("loadings", "factor root", "positive", "one a row"),
    ),
    "annual risk limit": LimitCase(
        lambda t: RiskLimit(DenseRisk(t["covariance root"] @ t["covariance root"].mT), annual_volatility=1.0),
        lambda q, h: 2 * quadratic(q, V["covariance root"] @ V["covariance root"].T) <= 1 / 252,
        None,
        ("covariance root",),
    ),
    "tracking error limit": LimitCase(
        lambda t: RiskLimit(factor_risk(t) + Ridge(2.0), 0.8, benchmark=t["benchmark"]),
        lambda q, h: 2 * quadratic(q - V["benchmark"], factor_sigma(V) + 2 * np.eye(N)) <= 0.64,
        None,
        ("loadings", "factor root", "positive", "benchmark"),
    ),
}


def points(name: str) -> list[np.ndarray]:
    meet = LIMITS[name].meet
    return [q if meet is None or number % 2 else meet(q) for number, q in enumerate(POINTS)]


def excesses(terms: LimitTerms, x: Tensor, held: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return by how much each inequality is broken, and each equality missed; every tensor (B, any)."""
    broken, missed = [], []
    if terms.lower is not None:
        broken.append(terms.lower - x)
    if terms.upper is not None:
        broken.append(x - terms.upper)
    if terms.inequality is not None:
        broken.append((terms.inequality[0] @ x.unsqueeze(-1)).squeeze(-1) - terms.inequality[1])
    if terms.leverage is not None:
        broken.append((x.abs().sum(-1) - terms.leverage).unsqueeze(-1))
    if terms.turnover is not None:
        broken.append(((x - held).abs().sum(-1) - terms.turnover).unsqueeze(-1))
    broken.extend(limit.excess(x) for limit in terms.quadratic)
    if terms.equality is not None:
        missed.append((terms.equality[0] @ x.unsqueeze(-1)).squeeze(-1) - terms.equality[1])
    return broken, missed


def allowed(terms: LimitTerms, x: Tensor) -> np.ndarray:
    broken, missed = excesses(terms, x, HELD)
    inside = torch.ones(B, dtype=torch.bool)
    for excess in broken:
        inside &= (excess <= (1e-12 if terms.inequality is not None else 0)).all(-1)
    for excess in missed:
        inside &= (excess.abs() < 1e-9).all(-1)
    return inside.numpy()


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_allows_what_its_definition_allows_and_nothing_else(name):
    case = LIMITS[name]
    terms = case.of_numbers().terms(HELD, MARKET)
    expected = np.array([case.allows(q, HELD.numpy()) for q in points(name)])
    actual = np.array([allowed(terms, torch.as_tensor(q)) for q in points(name)])

    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", LIMITS)
def test_a_soft_limit_costs_nothing_inside_and_something_outside(name):
    case = LIMITS[name]
    cost = Soft(case.of_numbers(), 2.0)
    inside = np.array([case.allows(q, HELD.numpy()) for q in points(name)])
    values = np.array([cost.value(torch.as_tensor(q), HELD, MARKET).sum(-1).numpy() for q in points(name)])
    costs = np.array([problem_of(cost).cost(torch.as_tensor(q)).numpy() for q in points(name)])

    assert (values[inside] < 1e-18).all()
    assert (values[~inside] > 0).all()
    np.testing.assert_allclose(costs, values, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", [name for name, case in LIMITS.items() if case.parameters])
def test_limits_have_the_derivatives_of_finite_differences(name):
    case = LIMITS[name]

    def all_excesses(*values):
        tensors = {key: torch.as_tensor(value) for key, value in NUMBERS.items()}
        terms = case.limit(tensors | dict(zip(case.parameters, values, strict=True))).terms(HELD, MARKET)
        broken, missed = excesses(terms, torch.as_tensor(POINTS[0]), HELD)
        finite = [torch.where(torch.isfinite(excess), excess, 0.0) for excess in (*broken, *missed)]
        return torch.cat([excess.expand(B, -1) for excess in finite], dim=-1)

    inputs = [torch.as_tensor(NUMBERS[key]).clone().requires_grad_() for key in case.parameters]

    assert torch.autograd.gradcheck(all_excesses, inputs)


@pytest.mark.parametrize("name", LIMITS)
def test_the_canonical_problem_takes_every_limit(name):
    limit = LIMITS[name].of_numbers()
    one = torch.ones(1, 1, dtype=torch.float64)
    problem = assemble(
        HELD, HELD, costs=Ridge(), constraints=[limit, DollarNeutral()], market=MARKET, tradable=None,
        holding_periods=one, smoothing=0.0,
    )  # fmt: skip

    assert problem.limits[0][0].startswith(type(limit).__name__)
    assert bool((problem.lower <= problem.upper).all())


def test_only_limits_on_trades_depend_on_what_was_held():
    dependent = {
        type(limit).__name__ for limit in (case.of_numbers() for case in LIMITS.values()) if limit.depends_on_held
    }

    assert dependent == {"TradeLimit", "NoTrade", "TurnoverLimit"}
    assert Soft(TradeLimit(0.1), 1.0).depends_on_held
    assert not Soft(PositionLimit(0.1), 1.0).depends_on_held


def test_limits_that_all_rows_share_have_one_row():
    shared = [
        PositionLimit(0.1), PositionBounds(-0.1), CashFloor(), LinearLimit(MATRIX, upper=0.1), GroupLimit(GROUPS, 0.0),
        FactorLimit(V["loadings"], lower=0, upper=0), LeverageLimit(1.0), RiskLimit(DenseRisk(np.eye(N)), 0.1),
    ]  # fmt: skip
    for limit in shared:
        terms = limit.terms(HELD, MARKET)
        pieces = [terms.lower, terms.upper, terms.leverage, *(terms.inequality or ()), *(terms.equality or ())]
        pieces += [
            piece for each in terms.quadratic for piece in (each.bound, each.terms.diagonal, *each.terms.loadings)
        ]

        assert {len(piece) for piece in pieces if piece is not None} == {1}


def test_a_limit_that_differs_by_row_leaves_a_shared_matrix_alone():
    terms = LinearLimit(MATRIX, lower=-ROWS, upper=ROWS).terms(HELD, MARKET)

    assert terms.inequality[0].shape == (1, 4, N)
    assert terms.inequality[1].shape == (B, 4)


def test_limits_estimate_what_they_need_from_the_panel():
    returns = pd.DataFrame(RNG.normal(size=(80, N)) * 0.01, pd.bdate_range("2020-01-01", periods=80), ASSETS)
    panel = MarketPanel.from_returns(returns, periods_per_year=252, name="test")
    limit = RiskLimit(FactorRisk(n_factors=2, lookback=30), annual_volatility=0.1)
    fitted, soft = limit.estimate(panel), Soft(limit, 1.0).estimate(panel)
    market = panel.at([20, 40, 79])
    risk = limit.risk.estimate(panel)
    q = torch.as_tensor(POINTS[0]) / 10
    inside = fitted.terms(HELD, market).quadratic[0].value(q) <= 0.01 / 252 / 2

    assert (fitted.first_row, soft.first_row) == (15, 15)
    assert PositionLimit(0.1).estimate(panel).first_row == 0
    np.testing.assert_array_equal(inside[:, 0], 2 * risk.value(q, HELD, market).sum(-1) <= 0.01 / 252)


def test_risk_relative_to_cash_is_risk():
    q = torch.as_tensor(POINTS[0])
    limits = [RiskLimit(Ridge(2.0), 0.3, benchmark=benchmark).terms(HELD, None) for benchmark in (None, np.zeros(N))]

    torch.testing.assert_close(*(limit.quadratic[0].value(q) for limit in limits), rtol=1e-13, atol=0)


def test_restricted_names_may_be_none_at_all():
    terms = NoTrade([]).terms(HELD, None)

    assert bool((terms.lower == -torch.inf).all())
    assert bool((terms.upper == torch.inf).all())
