"""The cost algebra: what a cost is worth, what the solver makes of it, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    Exposure,
    FactorRisk,
    HoldingFee,
    LeverageLimit,
    PositionLimit,
    Ridge,
    SoftL1,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import CostError, LabelError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver

N, B = 5, 3
RNG = np.random.default_rng(8)
Q, HELD = (torch.as_tensor(RNG.normal(size=(B, N)) * 0.2) for _ in range(2))
ASSETS = pd.Index(list("ABCDE"))
MARKET = MarketSnapshot(
    assets=ASSETS,
    rows=np.arange(B),
    features=RNG.normal(size=(B, N, 2)),
    feature_names=("size", "value"),
    periods_per_year=252.0,
)
LOADINGS = RNG.normal(size=(N, 2)) * 0.01
COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])
COSTS = {
    "factor risk": FactorRisk(loadings=LOADINGS, specific_variance=np.arange(1, 6) * 1e-4),
    "factor risk with factor covariance": FactorRisk(
        loadings=LOADINGS, factor_covariance=COVARIANCE, specific_variance=1e-4
    ),
    "ridge": Ridge(np.arange(5) * 0.1),
    "l1": L1(np.arange(5) * 1e-3),
    "soft l1": SoftL1(width=0.1, weight=2e-3),
    "trading cost": TradingCost(2.5e-4),
    "trading cost by row": TradingCost(RNG.uniform(size=(B, N)) * 1e-3),
    "borrow fee": BorrowFee(0.0255),
    "holding fee": HoldingFee(1e-4),
    "exposure": Exposure(loadings=LOADINGS),
    "exposure to features": Exposure(features=["value"]),
    "scaled": 3.0 * TradingCost(1e-3),
    "sum": 5.0 * FactorRisk(loadings=LOADINGS, specific_variance=1e-4) + TradingCost(1e-3) + 0.5 * (L1(1e-3) + Ridge()),
}


@pytest.mark.parametrize("name", [name for name in COSTS if name not in ("scaled", "sum")])
def test_another_order_of_assets_gives_the_same_values_in_that_order(name):
    def reorder(cost):
        changed = {
            key: value[order] if isinstance(value, np.ndarray) and value.shape[:1] == (N,) and value.shape != (2, 2)
            else value[:, order] if isinstance(value, np.ndarray) and value.shape == (B, N)
            else value
            for key, value in vars(cost).items()
        }  # fmt: skip
        return type(cost)(**changed)

    order = RNG.permutation(N)
    market = MarketSnapshot(
        assets=ASSETS[order], rows=MARKET.rows, features=MARKET.features[:, order],
        feature_names=MARKET.feature_names, periods_per_year=252.0,
    )  # fmt: skip
    moved = reorder(COSTS[name]).value(Q[:, order], HELD[:, order], market)

    torch.testing.assert_close(moved, COSTS[name].value(Q, HELD, MARKET)[:, order], rtol=1e-12, atol=1e-18)


def test_risk_carries_the_half():
    sigma = LOADINGS @ COVARIANCE @ LOADINGS.T + 1e-4 * np.eye(N)
    expected = 3.0 / 2 * np.einsum("bi,ij,bj->b", Q, sigma, Q)
    risk = 3.0 * COSTS["factor risk with factor covariance"]

    np.testing.assert_allclose(risk.value(Q, HELD, None).sum(-1), expected, rtol=1e-13)


def test_a_trade_pays_half_the_spread_on_either_side_and_the_cash_leg_nothing():
    q, held = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]])

    np.testing.assert_allclose(TradingCost(1e-3).value(q.double(), held.double(), None), [[1e-3, 5e-4]], rtol=1e-14)


def test_a_symmetric_trading_cost_is_the_same_there_and_back():
    cost = TradingCost(RNG.uniform(size=N) * 1e-3)

    torch.testing.assert_close(cost.value(Q, HELD, None), cost.value(HELD, Q, None), rtol=0, atol=0)


def test_shorts_pay_the_borrow_fee_and_longs_do_not():
    fee = BorrowFee(0.0255).value(torch.tensor([[-1.0, 1.0, 0.0, -0.5, 0.0]]).double(), HELD[:1], MARKET)

    np.testing.assert_allclose(fee[0], [0.0255 / 252, 0, 0, 0.0255 / 504, 0], rtol=1e-15)


def test_soft_l1_is_quadratic_near_zero_and_linear_beyond():
    q = torch.tensor([[0.05, -0.1, 0.3]], dtype=torch.float64)
    value = SoftL1(width=0.1, weight=2.0).value(q, torch.zeros_like(q), None)

    np.testing.assert_allclose(value[0], [0.025, 0.1, 0.5], rtol=1e-14)


def test_two_costs_of_one_class_both_count_under_names_of_their_own():
    once, twice = TradingCost(3e-4), TradingCost(1e-4) + TradingCost(2e-4)
    risk = FactorRisk(loadings=LOADINGS, specific_variance=1e-4)
    p = RNG.normal(size=(B, N)) * 1e-3

    assert [name for name, _ in twice.parts] == ["trading_cost", "trading_cost_2"]
    torch.testing.assert_close(twice.value(Q, HELD, None), once.value(Q, HELD, None))
    np.testing.assert_allclose(
        PositionSolver(risk + twice).solve(p, HELD).q, PositionSolver(risk + once).solve(p, HELD).q, atol=1e-13
    )


def test_sums_are_flat_and_scale_summand_by_summand():
    total = 2.0 * (TradingCost(1e-3) + BorrowFee(0.01)) + 1e-4 * L1() + Ridge()
    parts = dict(total.parts)

    assert list(parts) == ["trading_cost", "borrow_fee", "l1", "ridge"]
    assert [cost.cash for cost in parts.values()] == [True, True, False, False]
    assert [cost.paid_per_trade for cost in parts.values()] == [True, False, False, False]
    assert total.depends_on_held
    assert not (L1() + Ridge()).depends_on_held
    torch.testing.assert_close(parts["trading_cost"].value(Q, HELD, None), 2e-3 * (Q - HELD).abs())


def test_costs_paid_per_trade_count_for_less_the_longer_a_position_is_held():
    risk = FactorRisk(loadings=LOADINGS, specific_variance=1e-4)
    p = RNG.normal(size=(B, N)) * 1e-3
    held_five = PositionSolver(risk + TradingCost(5e-4) + L1(1e-5), holding_periods=5.0).solve(p, HELD).q
    by_row = PositionSolver(risk + TradingCost(5e-4) + L1(1e-5), holding_periods=torch.full((B,), 5.0)).solve(p, HELD).q

    np.testing.assert_allclose(
        held_five, PositionSolver(risk + TradingCost(1e-4) + L1(1e-5)).solve(p, HELD).q, atol=1e-13
    )
    np.testing.assert_array_equal(by_row, held_five)


def test_smoothing_moves_a_cost_by_no_more_than_its_rate_times_half_the_width():
    solver = PositionSolver(TradingCost(1e-3) + L1(1e-3), smoothing=0.02)
    smooth = solver.problem(torch.zeros_like(Q), HELD).cost(Q)
    hard = PositionSolver(TradingCost(1e-3) + L1(1e-3)).problem(torch.zeros_like(Q), HELD).cost(Q)

    assert bool(((hard - smooth) <= 2 * N * 1e-3 * 0.01 + 1e-15).all())
    assert bool((hard >= smooth - 1e-15).all())


def test_a_labelled_rate_is_put_in_the_order_of_the_assets():
    rate = pd.Series(np.arange(5) * 1e-4, index=ASSETS)
    expected = TradingCost(rate.to_numpy()).value(Q, HELD, None)

    torch.testing.assert_close(TradingCost(rate[::-1]).value(Q, HELD, MARKET), expected)


NAN = float("nan")
REFUSED = [
    (CostError, r"TradingCost: half_spread must be finite and at least 0, got -0.1", lambda: TradingCost(-0.1)),
    (CostError, r"TradingCost: half_spread .* got nan at \(1,\)", lambda: TradingCost(np.array([0.1, NAN]))),
    (CostError, r"L1: weight .* got -1.0 at 'B'", lambda: L1(pd.Series([1.0, -1.0], index=["A", "B"]))),
    (CostError, r"L1: weight must be numbers, got 'high'", lambda: L1("high")),
    (CostError, r"SoftL1: width must be finite and at least 1e-12, got 0.0", lambda: SoftL1(width=0.0)),
    (CostError, r"PositionLimit: limit must be finite and at least 0, got -1.0", lambda: PositionLimit(-1.0)),
    (CostError, r"LeverageLimit: limit .* got inf", lambda: LeverageLimit(float("inf"))),
    (CostError, r"TurnoverLimit: limit .* got nan", lambda: TurnoverLimit(NAN)),
    (CostError, r"a cost can be scaled by a finite number of at least 0, got -2.0", lambda: -2.0 * L1()),
    (CostError, r"a cost can be scaled by a finite number of at least 0, got nan", lambda: NAN * L1()),
    (CostError, r"FactorRisk takes either a model .* or n_factors=", lambda: FactorRisk()),
    (CostError, r"FactorRisk takes either a model", lambda: FactorRisk(loadings=LOADINGS)),
    (CostError, r"n_factors must be at least 0, got -1", lambda: FactorRisk(n_factors=-1)),
    (CostError, r"Exposure takes either loadings= or features=", lambda: Exposure()),
    (
        CostError,
        r"factor_covariance has shape \(3, 3\) for 2 factors",
        lambda: FactorRisk(loadings=LOADINGS, specific_variance=1.0, factor_covariance=np.eye(3)).value(Q, HELD, None),
    ),
    (
        CostError,
        r"factor_covariance is not symmetric",
        lambda: FactorRisk(
            loadings=LOADINGS, specific_variance=1.0, factor_covariance=np.array([[1.0, 0.5], [0.0, 1.0]])
        ).value(Q, HELD, None),
    ),
    (
        CostError,
        r"not positive semidefinite: eigenvalue -1",
        lambda: FactorRisk(loadings=LOADINGS, specific_variance=1.0, factor_covariance=np.diag([1.0, -1.0])).value(
            Q, HELD, None
        ),
    ),
    (
        CostError,
        r"unknown features \['beta'\]; the panel has \['size', 'value'\]",
        lambda: Exposure(features=["beta"]).value(Q, HELD, MARKET),
    ),
    (
        CostError,
        r"Exposure to features \['size'\] needs market=",
        lambda: Exposure(features=["size"]).value(Q, HELD, None),
    ),
    (CostError, r"BorrowFee is a rate a year .* pass periods_per_year=", lambda: BorrowFee(0.1).value(Q, HELD, None)),
    (
        CostError,
        r"L1 weight has shape \(1, 3\), which does not fit 3 rows of 5 assets",
        lambda: L1(np.ones(3)).value(Q, HELD, None),
    ),
    (
        CostError,
        r"Exposure loadings has shape \(1, 4, 2\)",
        lambda: Exposure(loadings=LOADINGS[:4]).value(Q, HELD, None),
    ),
    (
        CostError,
        r"not estimated yet: call solver.estimate\(panel\) first",
        lambda: FactorRisk(n_factors=2).value(Q, HELD, MARKET),
    ),
    (
        LabelError,
        r"missing \['E'\], unknown \['F'\]",
        lambda: TradingCost(pd.Series(1e-4, index=list("ABCDF"))).value(Q, HELD, MARKET),
    ),
    (
        LabelError,
        r"repeated \['A'\]",
        lambda: TradingCost(pd.Series(1e-4, index=list("AABCDE"))).value(Q, HELD, MARKET),
    ),
    (
        LabelError,
        r"FactorRisk loadings: .* missing \['A'\]",
        lambda: FactorRisk(loadings=pd.DataFrame(LOADINGS[1:], index=ASSETS[1:]), specific_variance=1.0).value(
            Q, HELD, MARKET
        ),
    ),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_impossible_costs_are_refused_in_words(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


def test_a_cost_adds_only_to_costs():
    with pytest.raises(TypeError):
        L1() + 3.0
    with pytest.raises(TypeError):
        L1() * "three"
