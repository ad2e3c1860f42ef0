"""Limits that cannot be: each is refused with what is wrong, where, and the cure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cost_cases import ASSETS, GROUPS, HELD, MARKET

from backtest.costs import (
    L1,
    CashFloor,
    Constraint,
    FactorLimit,
    GroupLimit,
    LeverageLimit,
    LimitTerms,
    LinearLimit,
    LongOnly,
    NoTrade,
    PositionBounds,
    RelativeTo,
    Ridge,
    RiskLimit,
    Soft,
    TradeLimit,
)
from backtest.errors import CostError, LabelError

MATRIX = np.ones((2, 5))
LABELS = pd.Series(0.1, index=ASSETS)
SIZE = FactorLimit(features=["size"], lower=0)
ANNUAL = RiskLimit(Ridge(), annual_volatility=1.0)
SOFT_LEVERAGE = Soft(LeverageLimit(1.0), 1.0)


def limit_of(limit: Constraint, market=MARKET) -> LimitTerms:
    return limit.terms(HELD, market)


REFUSED = [
    (CostError, r"PositionBounds: lower is 0.2 and upper 0.1: nothing lies between", lambda: PositionBounds(0.2, 0.1)),
    (
        CostError,
        r"lower is 1 and upper 0 at \(1,\)",
        lambda: PositionBounds(np.array([0.0, 1.0]), np.array([1.0, 0.0])),
    ),
    (CostError, r"PositionBounds: lower must be a number or -inf, got inf", lambda: PositionBounds(np.inf)),
    (CostError, r"PositionBounds: upper must be a number or inf, got nan", lambda: PositionBounds(upper=np.nan)),
    (CostError, r"TradeLimit buy: lower is 0 and upper -0.1", lambda: TradeLimit(buy=-0.1)),
    (
        CostError,
        r"TradeLimit: sell .* got nan at 'C'",
        lambda: TradeLimit(sell=pd.Series([1, np.nan], index=["B", "C"])),
    ),
    (CostError, r"takes a list of assets, got the text 'A': write \['A'\]", lambda: NoTrade("A")),
    (CostError, r"mask has shape \(1, 2\), which does not fit", lambda: limit_of(NoTrade(np.array([True, False])))),
    (CostError, r"a mask of assets must be bool, got torch.float64", lambda: limit_of(NoTrade(torch.ones(5).double()))),
    (LabelError, r"NoTrade: the problem has no assets \['Z'\]", lambda: limit_of(NoTrade(["A", "Z"]))),
    (
        LabelError,
        r"NoTrade names assets, but the positions .* are not labelled",
        lambda: limit_of(NoTrade(["A"]), None),
    ),
    (CostError, r"CashFloor: minimum must be finite, got inf", lambda: CashFloor(np.inf)),
    (CostError, r"LeverageLimit limit has shape \(2,\), .* 3 rows", lambda: limit_of(LeverageLimit(np.ones(2)))),
    (CostError, r"LinearLimit needs lower= or upper=", lambda: LinearLimit(MATRIX)),
    (CostError, r"LinearLimit matrix has shape \(1, 2, 4\)", lambda: limit_of(LinearLimit(MATRIX[:, 1:], 0.0))),
    (CostError, r"LinearLimit lower has shape \(1, 3\), .* 2 sums", lambda: limit_of(LinearLimit(MATRIX, np.zeros(3)))),
    (
        CostError,
        r"lower is given by name, but the sums have no names",
        lambda: limit_of(LinearLimit(MATRIX, {"a": 1.0})),
    ),
    (CostError, r"FactorLimit takes either loadings= or features=", lambda: FactorLimit(lower=0.0)),
    (
        CostError,
        r"FactorLimit: unknown features \['beta'\]",
        lambda: limit_of(FactorLimit(features=["beta"], lower=0.0)),
    ),
    (CostError, r"FactorLimit to features \['size'\] needs market", lambda: limit_of(SIZE, None)),
    (
        CostError,
        r"GroupLimit upper: unknown names \['z'\]; there are \['x', 'y'\]",
        lambda: limit_of(GroupLimit(GROUPS, upper={"z": 1})),
    ),
    (CostError, r"GroupLimit 'x': lower is 1 and upper 0", lambda: GroupLimit(GROUPS, {"x": 1.0}, {"x": 0.0})),
    (
        CostError,
        r"GroupLimit: upper of 'x' must be a number or inf, got nan",
        lambda: GroupLimit(GROUPS, upper={"x": np.nan}),
    ),
    (CostError, r"no asset is in a group", lambda: GroupLimit([None, None], 0.0)),
    (CostError, r"3 assets have a group, the problem has 5 assets", lambda: limit_of(GroupLimit(["a", "b", "a"], 0.0))),
    (LabelError, r"GroupLimit groups: .* missing \['E'\]", lambda: limit_of(GroupLimit(LABELS[:4], 0.0))),
    (CostError, r"takes either volatility= \(a period\) or annual_volatility=", lambda: RiskLimit(Ridge())),
    (CostError, r"takes either volatility=", lambda: RiskLimit(Ridge(), 0.1, 0.1)),
    (CostError, r"RiskLimit: volatility must be .* at least 1e-12, got 0.0", lambda: RiskLimit(Ridge(), 0.0)),
    (CostError, r"RiskLimit: risk must be a Cost, such as FactorRisk, got 3.0", lambda: RiskLimit(3.0, 0.1)),
    (CostError, r"needs a quadratic risk, such as FactorRisk", lambda: limit_of(RiskLimit(Ridge() + L1(), 0.1))),
    (CostError, r"RiskLimit annual_volatility is a rate a year", lambda: limit_of(ANNUAL, None)),
    (CostError, r"Soft takes a Constraint, got L1", lambda: Soft(L1(), 1.0)),
    (CostError, r"Soft: weight must be finite and at least 1e-12, got 0.0", lambda: Soft(LongOnly(), 0.0)),
    (
        CostError,
        r"a soft LeverageLimit cannot be taken of active weights: use RelativeTo\(L1",
        lambda: RelativeTo(SOFT_LEVERAGE, 0.2).terms(HELD, None),
    ),
    (CostError, r"RelativeTo: benchmark must be finite, got nan", lambda: RelativeTo(L1(), float("nan"))),
    (LabelError, r"RelativeTo benchmark: .* missing \['E'\]", lambda: RelativeTo(L1(), LABELS[:4]).terms(HELD, MARKET)),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_impossible_limits_are_refused_in_words(kind, message, call):
    with pytest.raises(kind, match=message):
        call()
