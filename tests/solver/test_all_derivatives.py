"""First and second derivatives in every parameter of every cost and limit, against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    Cost,
    DenseRisk,
    DollarNeutral,
    FactorLimit,
    FactorRisk,
    LeverageLimit,
    LinearLimit,
    LongFee,
    PositionLimit,
    RelativeTo,
    Ridge,
    RiskLimit,
    Soft,
    SoftL1,
    TradeLimit,
    TradingCost,
    TurnoverLimit,
)
from backtest.solver import PositionSolver

N = 9
RNG = np.random.default_rng(11)
ROOT = RNG.normal(size=(N, N)) * 0.005
PARAMETERS = {
    "p": RNG.normal(size=(2, N)) * 4e-3,
    "held": RNG.normal(size=(2, N)) * 0.1,
    "loadings": RNG.normal(size=(N, 2)) * 0.01,
    "specific": RNG.uniform(4e-4, 9e-4, N),
    "covariance": ROOT @ ROOT.T + 2e-4 * np.eye(N),
    "rate": RNG.uniform(2e-4, 6e-4, N),
    "fee": RNG.uniform(2e-4, 6e-4, N),
    "impact": RNG.uniform(0.1, 0.5, N),
    "volume": RNG.uniform(1.0, 9.0, N),
    "quadratic": RNG.uniform(1e-4, 5e-4, N),
    "width": RNG.uniform(0.01, 0.03, N),
    "weight": RNG.uniform(1e-4, 4e-4, N),
    "benchmark": RNG.uniform(0.0, 0.2, N),
    "limit": RNG.uniform(0.1, 0.2, N),
    "leverage": np.array(0.9),
    "turnover": np.array(1.0),
    "price": np.array(3e-3),
    "volatility": np.array(0.009),
    "exposure": RNG.normal(size=(N, 1)),
    "bound": np.array([0.02]),
}
Tensors = dict[str, torch.Tensor]
TARGET = torch.as_tensor(RNG.normal(size=(2, N)))


def risk(t: Tensors) -> Cost:
    return FactorRisk(loadings=t["loadings"], specific_variance=t["specific"])


def impact(t: Tensors, exponent: float = 1.5) -> Cost:
    return TradingCost(
        half_spread=t["rate"],
        impact=t["impact"],
        exponent=exponent,
        volatility=0.02,
        dollar_volume=t["volume"],
        wealth=1.0,
    )


SOLVERS: dict[str, tuple[Callable[[Tensors], PositionSolver], tuple[str, ...]]] = {
    "three-halves impact": (
        lambda t: PositionSolver(4.0 * risk(t) + impact(t), [DollarNeutral(), LeverageLimit(t["leverage"])]),
        ("p", "held", "loadings", "specific", "rate", "impact", "volume", "leverage"),
    ),
    "another power, no limit": (
        lambda t: PositionSolver(4.0 * risk(t) + impact(t, 1.2)),
        ("p", "held", "impact", "specific"),
    ),
    "fees, quadratic cost, relative risk": (
        lambda t: PositionSolver(
            30.0 * RelativeTo(DenseRisk(t["covariance"]), t["benchmark"])
            + TradingCost(buy_fee=t["fee"], sell_fee=t["rate"], quadratic=t["quadratic"])
            + LongFee(t["weight"], periods_per_year=1),
            [TradeLimit(4 * t["limit"]), TurnoverLimit(t["turnover"])],
        ),
        ("p", "held", "covariance", "benchmark", "fee", "rate", "quadratic", "weight", "limit", "turnover"),
    ),
    "rounded absolute value": (
        lambda t: PositionSolver(
            4.0 * risk(t) + SoftL1(width=t["width"], weight=t["weight"], form="root"),
            [FactorLimit(loadings=t["exposure"], lower=-t["bound"], upper=t["bound"])],
        ),
        ("p", "width", "weight", "exposure", "bound", "specific"),
    ),
    "soft limits": (
        lambda t: PositionSolver(
            4.0 * risk(t)
            + Soft(PositionLimit(t["limit"]), t["price"])
            + Soft(LeverageLimit(0.3 * t["leverage"]), t["price"])
            + Soft(TurnoverLimit(0.3 * t["turnover"]), t["price"])
            + Soft(LinearLimit(t["exposure"].mT, upper=-t["bound"]), t["price"]),
        ),
        ("p", "held", "limit", "leverage", "turnover", "price", "exposure", "bound"),
    ),
    "risk limit": (
        lambda t: PositionSolver(
            1.0 * risk(t) + impact(t) + L1(t["weight"]),
            [RiskLimit(RelativeTo(DenseRisk(t["covariance"]), t["benchmark"]), t["volatility"]), DollarNeutral()],
        ),
        ("p", "held", "covariance", "benchmark", "volatility", "impact", "weight", "loadings"),
    ),
    "risk limit alone": (
        lambda t: PositionSolver(
            BorrowFee(t["weight"], periods_per_year=1), [RiskLimit(risk(t), t["volatility"]), DollarNeutral()]
        ),
        ("p", "volatility", "weight", "loadings", "specific"),
    ),
    "soft risk limit": (
        lambda t: PositionSolver(Ridge(1e-3) + Soft(RiskLimit(risk(t), 0.3 * t["volatility"]), 1e5 * t["price"])),
        ("p", "volatility", "price", "loadings", "specific"),
    ),
    "singular covariance": (
        lambda t: PositionSolver(
            20.0 * DenseRisk(t["covariance"][:, :7] @ t["covariance"][:, :7].mT * 1e4)
            + Soft(DollarNeutral(), t["price"]),
            [PositionLimit(9 * t["limit"])],
        ),
        ("p", "limit"),
    ),
}
CASES = [(name, parameter) for name, (_, parameters) in SOLVERS.items() for parameter in parameters]


def tensors() -> Tensors:
    return {name: torch.as_tensor(value).clone() for name, value in PARAMETERS.items()}


def direction_of(name: str, value: torch.Tensor) -> torch.Tensor:
    rng = np.random.default_rng(4)
    direction = torch.as_tensor(rng.uniform(0.5, 1.5, value.shape)) * value.abs()
    return (direction + direction.mT) / 2 if name == "covariance" else direction


def central(value: Callable[[float], float], step: float) -> float:
    return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_limits_of_these_problems_bind_and_some_assets_are_free(name):
    t = tensors()
    solution = SOLVERS[name][0](t).solve(t["p"], t["held"])

    assert solution.status.tolist() == ["solved", "solved"]
    assert ((solution.optimum.point.flexibility > 0).sum(-1) >= 3).all()
    if "risk limit" in name and "soft" not in name:
        assert (solution.multipliers.quadratic > 0).all()


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_the_first_derivative_is_that_of_finite_differences(name, parameter):
    t = tensors()
    make = SOLVERS[name][0]
    direction = direction_of(parameter, t[parameter])
    leaf = t[parameter].clone().requires_grad_()
    inputs = {**t, parameter: leaf}
    (TARGET * make(inputs)(inputs["p"], inputs["held"])).sum().backward()

    def value(step: float) -> float:
        moved = {**t, parameter: t[parameter] + step * direction}
        return float((TARGET * make(moved).solve(moved["p"], moved["held"]).q).sum())

    expected = central(value, 1e-4)
    assert float((leaf.grad * direction).sum()) == pytest.approx(expected, rel=2e-7, abs=1e-8)


@pytest.mark.parametrize(("name", "parameter"), [case for case in CASES if case[0] != "singular covariance"])
def test_the_second_derivative_is_that_of_finite_differences_of_the_first(name, parameter):
    t = tensors()
    make = SOLVERS[name][0]
    direction = direction_of(parameter, t[parameter])

    def slope(step: float, create_graph: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = (t[parameter] + step * direction).requires_grad_()
        inputs = {**t, parameter: leaf}
        # p stays in the graph, so that its gradient is differentiated in the parameter too.
        p = leaf if parameter == "p" else inputs["p"].clone().requires_grad_()
        q = make(inputs)(p, inputs["held"])
        gradient = torch.autograd.grad((TARGET * q).sum(), p, create_graph=create_graph)[0]
        return (gradient * TARGET).sum() * 1e-3, leaf

    total, leaf = slope(0.0, create_graph=True)
    second = torch.autograd.grad(total, leaf, allow_unused=True)[0]
    second = torch.zeros_like(leaf) if second is None else second
    expected = central(lambda step: float(slope(step)[0]), 1e-4)
    assert float((second * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-7)
