"""Costs of active weights: what trades cost relative to a benchmark, and the parts of a relative sum."""

from __future__ import annotations

import numpy as np
import torch
from cost_cases import HELD, NUMBERS, B, N, problem_of

from backtest.costs import PositionLimit, RelativeTo, Ridge, Soft, TradingCost

V = NUMBERS
Q = torch.as_tensor(np.random.default_rng(1).normal(size=(B, N)) * 0.2)


def test_trades_relative_to_a_benchmark_are_trades_with_their_kinks_where_they_were():
    cost = TradingCost(1e-3, quadratic=0.1, impact=1.0, volatility=0.02, dollar_volume=1e8, wealth=1e7)
    relative = RelativeTo(cost, V["benchmark by row"])
    problem = problem_of(3.0 * relative)

    assert problem.ramps[0].start is HELD
    assert problem.curves[0].centre is HELD
    assert relative.cash
    assert relative.paid_per_trade
    torch.testing.assert_close(relative.value(Q, HELD, None), cost.value(Q, HELD, None), rtol=1e-12, atol=1e-17)
    torch.testing.assert_close(problem.cost(Q), problem_of(3.0 * cost).cost(Q), rtol=1e-12, atol=1e-16)


def test_parts_of_a_relative_sum_are_relative_and_named_so():
    total = Ridge() + RelativeTo(Ridge() + TradingCost(1e-3), V["benchmark"]) + Soft(PositionLimit(0.1), 1.0)

    assert [name for name, _ in total.parts] == [
        "ridge", "relative_ridge", "relative_trading_cost", "soft_position_limit",
    ]  # fmt: skip
    assert [cost.cash for _, cost in total.parts] == [False, False, True, False]
