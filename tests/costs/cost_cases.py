"""Every cost, built from one table of tensors, beside the same cost as a formula in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs import (
    L1,
    BorrowFee,
    CashFloor,
    Cost,
    DenseRisk,
    DollarNeutral,
    Exposure,
    FactorRisk,
    GroupLimit,
    HoldingFee,
    LeverageLimit,
    LongFee,
    PositionBounds,
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
from backtest.market import MarketSnapshot
from backtest.solver.canonical import CanonicalProblem, assemble

N, B = 5, 3
RNG = np.random.default_rng(8)
ASSETS = pd.Index(list("ABCDE"))
HELD = torch.as_tensor(RNG.normal(size=(B, N)) * 0.2)
MARKET = MarketSnapshot(
    assets=ASSETS,
    rows=np.arange(B),
    features=RNG.normal(size=(B, N, 2)),
    feature_names=("size", "value"),
    periods_per_year=252.0,
    wealth=np.array([1e6, 2e6, 5e7]),
)
GROUPS = np.array(["x", "y", "x", None, "y"])
NUMBERS = {
    "loadings": RNG.normal(size=(N, 2)) * 0.1,
    "more loadings": RNG.normal(size=(B, N, 3)) * 0.1,
    "factor root": RNG.normal(size=(2, 2)),
    "covariance root": RNG.normal(size=(N, N)) * 0.1,
    "covariance roots": RNG.normal(size=(B, N, N)) * 0.1,
    "thin root": RNG.normal(size=(N, 2)) * 0.1,
    "positive": RNG.uniform(0.5, 2.0, size=N),
    "positive by row": RNG.uniform(0.5, 2.0, size=(B, N)),
    "other positive": RNG.uniform(0.5, 2.0, size=N),
    "one a row": RNG.uniform(0.5, 2.0, size=(B, 1)),
    "scalar": np.array(0.7),
    "width": RNG.uniform(0.05, 0.3, size=N),
    "benchmark": RNG.dirichlet(np.ones(N)),
    "benchmark by row": RNG.normal(size=(B, N)) * 0.3,
    "volume": RNG.uniform(1e6, 1e8, size=N),
}
"""Parameters; shared by all rows, or with a row for each."""

Numbers = dict[str, np.ndarray]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class CostCase:
    """A cost, and what it should be worth.

    Attributes:
        cost: of the parameters, as tensors.
        formula: (q, held, parameters) -> the cost by row (B,), in NumPy.
        parameters: names of those it uses.
    """

    cost: Callable[[Tensors], Cost]
    formula: Callable[[np.ndarray, np.ndarray, Numbers], np.ndarray]
    parameters: tuple[str, ...]

    def of_numbers(self) -> Cost:
        return self.cost({name: torch.as_tensor(value) for name, value in NUMBERS.items()})


def quadratic(q: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return (
        np.einsum("bi,...ij,bj->b", q, sigma, q) / 2 if sigma.ndim == 2 else np.einsum("bi,bij,bj->b", q, sigma, q) / 2
    )


def gram(root: np.ndarray) -> np.ndarray:
    return root @ np.swapaxes(root, -1, -2)


def positive(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def factor_sigma(v: Numbers) -> np.ndarray:
    return v["loadings"] @ gram(v["factor root"]) @ v["loadings"].T + np.diag(v["positive"])


def factor_risk(t: Tensors) -> Cost:
    covariance = t["factor root"] @ t["factor root"].mT
    return FactorRisk(loadings=t["loadings"], factor_covariance=covariance, specific_variance=t["positive"])


def all_trading(t: Tensors, exponent: float = 1.5) -> Cost:
    return TradingCost(
        half_spread=t["positive"],
        buy_fee=t["scalar"],
        sell_fee=t["positive by row"],
        quadratic=t["other positive"],
        impact=t["scalar"],
        exponent=exponent,
        volatility=t["width"],
        dollar_volume=t["volume"],
    )


def all_trading_formula(q: np.ndarray, held: np.ndarray, v: Numbers, exponent: float = 1.5) -> np.ndarray:
    u = q - held
    share = MARKET.wealth[:, None] / v["volume"]
    return (
        v["positive"] * abs(u)
        + v["scalar"] * positive(u)
        + v["positive by row"] * positive(-u)
        + v["other positive"] * u**2 / 2
        + v["scalar"] * v["width"] * abs(u) ** exponent * share ** (exponent - 1)
    ).sum(1)


def soft_groups(q: np.ndarray, held: np.ndarray, v: Numbers) -> np.ndarray:
    x, y = q[:, [0, 2]].sum(1), q[:, [1, 4]].sum(1)
    beyond = positive(x - 0.1) ** 2 + positive(-0.05 - x) ** 2 + positive(y - v["scalar"]) ** 2
    return v["one a row"][:, 0] / 2 * beyond


CASES: dict[str, CostCase] = {
    "factor risk": CostCase(
        factor_risk, lambda q, h, v: quadratic(q, factor_sigma(v)), ("loadings", "factor root", "positive")
    ),
    "two factor risks": CostCase(
        lambda t: factor_risk(t) + 2.0 * FactorRisk(loadings=t["more loadings"], specific_variance=t["scalar"]),
        lambda q, h, v: (
            quadratic(q, factor_sigma(v)) + 2 * quadratic(q, gram(v["more loadings"]) + v["scalar"] * np.eye(N))
        ),
        ("loadings", "factor root", "positive", "more loadings", "scalar"),
    ),
    "dense risk": CostCase(
        lambda t: DenseRisk(t["covariance root"] @ t["covariance root"].mT),
        lambda q, h, v: quadratic(q, gram(v["covariance root"])),
        ("covariance root",),
    ),
    "dense risk by row": CostCase(
        lambda t: DenseRisk(t["covariance roots"] @ t["covariance roots"].mT),
        lambda q, h, v: quadratic(q, gram(v["covariance roots"])),
        ("covariance roots",),
    ),
    "singular dense risk": CostCase(
        lambda t: DenseRisk(t["thin root"] @ t["thin root"].mT),
        lambda q, h, v: quadratic(q, gram(v["thin root"])),
        ("thin root",),
    ),
    "ridge": CostCase(
        lambda t: Ridge(t["positive by row"]),
        lambda q, h, v: (v["positive by row"] * q**2).sum(1) / 2,
        ("positive by row",),
    ),
    "l1": CostCase(lambda t: L1(t["positive"]), lambda q, h, v: (v["positive"] * abs(q)).sum(1), ("positive",)),
    "huber": CostCase(
        lambda t: SoftL1(width=t["width"], weight=t["positive by row"]),
        lambda q, h, v: (
            v["positive by row"]
            * np.where(abs(q) <= v["width"], q**2 / (2 * v["width"]), abs(q) - v["width"] / 2)
        ).sum(1),
        ("width", "positive by row"),
    ),
    "root": CostCase(
        lambda t: SoftL1(width=t["width"], weight=t["positive"], form="root"),
        lambda q, h, v: (v["positive"] * (np.sqrt(q**2 + v["width"] ** 2) - v["width"])).sum(1),
        ("width", "positive"),
    ),
    "half spread": CostCase(
        lambda t: TradingCost(t["one a row"]), lambda q, h, v: (v["one a row"] * abs(q - h)).sum(1), ("one a row",)
    ),
    "buy fee": CostCase(
        lambda t: TradingCost(buy_fee=t["positive"]),
        lambda q, h, v: (v["positive"] * positive(q - h)).sum(1),
        ("positive",),
    ),
    "three-halves impact": CostCase(
        lambda t: TradingCost(
            impact=t["positive"], volatility=t["width"], dollar_volume=t["volume"], wealth=t["one a row"]
        ),
        lambda q, h, v: (
            v["positive"] * v["width"] * abs(q - h) ** 1.5 * np.sqrt(v["one a row"] / v["volume"])
        ).sum(1),
        ("positive", "width", "one a row"),
    ),
    "every trading cost": CostCase(
        all_trading, all_trading_formula, ("positive", "scalar", "positive by row", "other positive", "width")
    ),
    "every trading cost, squared impact": CostCase(
        lambda t: all_trading(t, 2.0),
        lambda q, h, v: all_trading_formula(q, h, v, 2.0),
        ("positive", "scalar", "positive by row", "other positive", "width"),
    ),
    "borrow fee": CostCase(
        lambda t: BorrowFee(t["positive"]), lambda q, h, v: (v["positive"] / 252 * positive(-q)).sum(1), ("positive",)
    ),
    "long fee": CostCase(
        lambda t: LongFee(t["positive"]), lambda q, h, v: (v["positive"] / 252 * positive(q)).sum(1), ("positive",)
    ),
    "holding fee": CostCase(
        lambda t: HoldingFee(t["scalar"]), lambda q, h, v: v["scalar"] * abs(q).sum(1), ("scalar",)
    ),
    "exposure": CostCase(
        lambda t: Exposure(loadings=t["more loadings"]),
        lambda q, h, v: quadratic(q, gram(v["more loadings"])),
        ("more loadings",),
    ),
    "exposure to features": CostCase(
        lambda t: Exposure(features=["value"]),
        lambda q, h, v: (MARKET.features[..., 1] * q).sum(1) ** 2 / 2,
        (),
    ),
    "tracking error": CostCase(
        lambda t: RelativeTo(factor_risk(t), t["benchmark"]),
        lambda q, h, v: quadratic(q - v["benchmark"], factor_sigma(v)),
        ("loadings", "factor root", "positive", "benchmark"),
    ),
    "active share": CostCase(
        lambda t: RelativeTo(L1(0.5), t["benchmark by row"]),
        lambda q, h, v: abs(q - v["benchmark by row"]).sum(1) / 2,
        ("benchmark by row",),
    ),
    "relative to everything": CostCase(
        lambda t: RelativeTo(
            all_trading(t) + Ridge(t["scalar"]) + SoftL1(0.1, form="root") + SoftL1(0.2) + LongFee(1.0)
            + Soft(PositionBounds(upper=0.1), 2.0) + Soft(RiskLimit(Ridge(), 0.1), 3.0) + Soft(CashFloor(0.9), 4.0),
            t["benchmark by row"],
        ),
        lambda q, h, v: relative_formula(q - v["benchmark by row"], h - v["benchmark by row"], v),
        ("positive", "scalar", "positive by row", "other positive", "width", "benchmark by row"),
    ),
    "soft position limit": CostCase(
        lambda t: Soft(PositionLimit(t["width"]), t["one a row"]),
        lambda q, h, v: v["one a row"][:, 0] / 2 * (positive(abs(q) - v["width"]) ** 2).sum(1),
        ("width", "one a row"),
    ),
    "soft bound of some assets": CostCase(
        lambda t: Soft(PositionBounds(lower=np.array([-0.1, -np.inf, 0, -np.inf, 0.1])), t["scalar"]),
        lambda q, h, v: v["scalar"] / 2 * (positive(np.array([-0.1, 0, 0.1]) - q[:, [0, 2, 4]]) ** 2).sum(1),
        ("scalar",),
    ),
    "soft trade limit": CostCase(
        lambda t: Soft(TradeLimit(buy=t["width"], sell=0.05), t["one a row"]),
        lambda q, h, v: (
            v["one a row"][:, 0] / 2 * (positive(q - h - v["width"]) ** 2 + positive(h - q - 0.05) ** 2).sum(1)
        ),
        ("width", "one a row"),
    ),
    "soft neutrality": CostCase(
        lambda t: Soft(DollarNeutral(), t["one a row"]),
        lambda q, h, v: v["one a row"][:, 0] / 2 * q.sum(1) ** 2,
        ("one a row",),
    ),
    "soft group limit": CostCase(
        lambda t: Soft(GroupLimit(GROUPS, {"x": -0.05}, {"x": 0.1, "y": t["scalar"]}), t["one a row"]),
        soft_groups,
        ("scalar", "one a row"),
    ),
    "soft leverage limit": CostCase(
        lambda t: Soft(LeverageLimit(t["scalar"]), t["one a row"]),
        lambda q, h, v: v["one a row"][:, 0] / 2 * positive(abs(q).sum(1) - v["scalar"]) ** 2,
        ("scalar", "one a row"),
    ),
    "soft turnover limit": CostCase(
        lambda t: Soft(TurnoverLimit(t["one a row"] / 4), t["scalar"]),
        lambda q, h, v: v["scalar"] / 2 * positive(abs(q - h).sum(1) - v["one a row"][:, 0] / 4) ** 2,
        ("scalar", "one a row"),
    ),
    "soft risk limit": CostCase(
        lambda t: Soft(RiskLimit(factor_risk(t), t["one a row"] / 5, benchmark=t["benchmark"]), t["scalar"]),
        lambda q, h, v: (
            v["scalar"] / 2
            * positive(quadratic(q - v["benchmark"], factor_sigma(v)) - v["one a row"][:, 0] ** 2 / 50) ** 2
        ),
        ("loadings", "factor root", "positive", "benchmark", "scalar", "one a row"),
    ),
    "scaled": CostCase(
        lambda t: t["one a row"] * all_trading(t),
        lambda q, h, v: v["one a row"][:, 0] * all_trading_formula(q, h, v),
        ("one a row", "positive", "scalar"),
    ),
    "sum": CostCase(
        lambda t: 5.0 * factor_risk(t) + t["scalar"] * (L1(t["positive"]) + Soft(LeverageLimit(0.2), t["one a row"])),
        lambda q, h, v: (
            5 * quadratic(q, factor_sigma(v))
            + v["scalar"] * (v["positive"] * abs(q)).sum(1)
            + v["scalar"] * v["one a row"][:, 0] / 2 * positive(abs(q).sum(1) - 0.2) ** 2
        ),
        ("loadings", "factor root", "positive", "scalar", "one a row"),
    ),
}  # fmt: skip


def relative_formula(q: np.ndarray, held: np.ndarray, v: Numbers) -> np.ndarray:
    return (
        all_trading_formula(q, held, v)
        + v["scalar"] * (q**2).sum(1) / 2
        + (np.sqrt(q**2 + 0.01) - 0.1).sum(1)
        + np.where(abs(q) <= 0.2, q**2 / 0.4, abs(q) - 0.1).sum(1)
        + positive(q).sum(1) / 252
        + (positive(q - 0.1) ** 2).sum(1)
        + 1.5 * positive((q**2).sum(1) / 2 - 0.005) ** 2
        + 2 * positive(q.sum(1) - 0.1) ** 2
    )


def problem_of(cost: Cost, held: Tensor = HELD, market: MarketSnapshot | None = MARKET) -> CanonicalProblem:
    return assemble(
        torch.zeros_like(held),
        held,
        costs=cost,
        constraints=(),
        market=market,
        tradable=None,
        holding_periods=torch.ones(1, 1, dtype=held.dtype),
        smoothing=0.0,
    )
