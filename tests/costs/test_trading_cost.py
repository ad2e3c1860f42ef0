"""Trading costs: numbers worked by hand, what is estimated from a panel, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cost_cases import HELD, MARKET, B, N, problem_of

from backtest.costs import FactorRisk, Ridge, TradingCost
from backtest.errors import CostError
from backtest.market import MarketPanel

T, LOOKBACK = 60, 10
RNG = np.random.default_rng(2)
RETURNS = RNG.normal(size=(T, N)) * 0.02
VOLUME = RNG.uniform(1e6, 1e7, size=(T, N))
Q = torch.as_tensor(RNG.normal(size=(B, N)) * 0.2)
COST = TradingCost(half_spread=2.5e-4, impact=1.0, lookback=LOOKBACK)


def panel_of(returns=RETURNS, volume=VOLUME) -> MarketPanel:
    index, assets = pd.bdate_range("2020-01-01", periods=len(returns)), [f"S{i}" for i in range(N)]
    frames = [None if each is None else pd.DataFrame(each, index=index, columns=assets) for each in (returns, volume)]
    return MarketPanel.from_returns(frames[0], dollar_volume=frames[1], periods_per_year=252, name="test")


def value_of(cost: TradingCost, trade: float) -> float:
    held = torch.full((1, 1), 0.3, dtype=torch.float64)
    return float(cost.value(held + trade, held, None))


@pytest.mark.parametrize("trade", [0.1, -0.1])
@pytest.mark.parametrize(
    ("cost", "bought", "sold"),
    [
        (TradingCost(2e-3), 2e-4, 2e-4),
        (TradingCost(2e-3, buy_fee=5e-3), 7e-4, 2e-4),  # UK stamp duty
        (TradingCost(sell_fee=1e-3), 0.0, 1e-4),
        (TradingCost(quadratic=0.4), 2e-3, 2e-3),
        # 1e7 trades 1e6 in a volume of 4e8: 1/400 of it, whose root is 1/20; 0.02 / 20 = 10 bp of 0.1
        (TradingCost(impact=1.0, volatility=0.02, dollar_volume=4e8, wealth=1e7), 1e-4, 1e-4),
        (TradingCost(impact=0.5, exponent=2.0, volatility=0.02, dollar_volume=4e8, wealth=1e7), 2.5e-6, 2.5e-6),
    ],
    ids=["spread", "buy fee", "sell fee", "quadratic", "root impact", "linear impact"],
)
def test_a_trade_of_a_tenth_of_wealth_costs_what_was_worked_out_by_hand(cost, bought, sold, trade):
    assert value_of(cost, trade) == pytest.approx(bought if trade > 0 else sold, rel=1e-12)


def test_its_kinks_lie_at_the_very_weights_that_were_held():
    problem = problem_of(
        2.0 * TradingCost(1e-3, impact=1.0, volatility=0.02, dollar_volume=1e8) + TradingCost(buy_fee=1e-3)
    )

    assert [ramp.start is HELD for ramp in problem.ramps] == [True]
    assert problem.curves[0].centre is HELD


def test_a_rate_of_nothing_leaves_no_piece_behind():
    problem = problem_of(TradingCost(quadratic=1.0))

    assert (problem.ramps, problem.curves, problem.bends) == ((), (), ())
    assert not problem_of(TradingCost(1e-3)).curves


def test_its_estimates_are_trailing_volatility_and_mean_volume():
    panel, row = panel_of(), 40
    market = panel.at([row] * B, wealth=np.array([1e6, 1e7, 1e8]))
    sigma = RETURNS[row - LOOKBACK + 1 : row + 1].std(axis=0, ddof=1)
    volume = VOLUME[row - LOOKBACK + 1 : row + 1].mean(axis=0)
    trade = abs((Q - HELD).numpy())
    expected = 2.5e-4 * trade + sigma * trade**1.5 * np.sqrt(np.array([[1e6], [1e7], [1e8]]) / volume)

    np.testing.assert_allclose(COST.estimate(panel).value(Q, HELD, market), expected, rtol=1e-9)


def test_an_estimated_cost_is_to_the_solver_what_it_is_to_the_simulator():
    market = panel_of().at([20, 40, 59], wealth=1e7)
    cost = COST.estimate(panel_of())

    np.testing.assert_allclose(problem_of(cost, market=market).cost(Q), cost.value(Q, HELD, market).sum(-1), rtol=1e-12)


@pytest.mark.parametrize("row", [5, 30, 58])
def test_garbling_the_future_leaves_every_earlier_estimate_equal_to_the_bit(row):
    panel = panel_of()
    values = [
        COST.estimate(each).value(Q, HELD, each.at([row] * B, wealth=1e7))
        for each in (panel, panel.garbled_after(row), panel.until(row))
    ]

    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_what_is_given_is_not_estimated():
    panel = panel_of(volume=None)
    given = TradingCost(impact=1.0, volatility=0.02, dollar_volume=1e8)
    half = TradingCost(impact=1.0, dollar_volume=1e8, lookback=LOOKBACK).estimate(panel)

    assert given.estimate(panel) is given
    assert TradingCost(1e-3).estimate(panel).first_row == 0
    assert half.history.dollar_volume is None
    assert half.first_row == LOOKBACK // 2 - 1


def test_a_name_that_nothing_is_known_of_is_the_least_traded_and_the_most_volatile():
    returns, volume = RETURNS.copy(), VOLUME.copy()
    returns[:, 1] = np.nan
    volume[:, 2] = 0.0
    history = COST.estimate(panel_of(returns, volume)).history

    np.testing.assert_array_equal(history.volatility[30:, 1], history.volatility[30:, [0, 2, 3, 4]].max(axis=1))
    np.testing.assert_array_equal(history.dollar_volume[30:, 2], history.dollar_volume[30:, [0, 1, 3, 4]].min(axis=1))


def test_rows_without_any_volume_keep_the_last_that_was_known():
    volume = VOLUME.copy()
    volume[20:] = np.nan
    history = COST.estimate(panel_of(volume=volume)).history

    assert np.isfinite(history.dollar_volume[history.first_row :]).all()
    assert (history.dollar_volume[40] == history.dollar_volume[39].min()).all()


def test_a_book_that_is_ruined_has_no_impact_and_spoils_no_other():
    market = panel_of().at([40] * B, wealth=np.array([np.nan, 1e7, -5.0]))
    cost = TradingCost(impact=1.0, lookback=LOOKBACK).estimate(panel_of()).value(Q, HELD, market)

    assert bool((cost[[0, 2]] == 0).all())
    assert bool((cost[1] > 0).all())


def test_one_wealth_of_a_market_serves_every_row_and_a_given_one_goes_first():
    market = panel_of().at([40], wealth=1e7)
    cost = COST.estimate(panel_of())
    own = TradingCost(2.5e-4, impact=1.0, lookback=LOOKBACK, wealth=1e7).estimate(panel_of())

    assert torch.equal(cost.value(Q, HELD, market), own.value(Q, HELD, panel_of().at([40], wealth=1.0)))


def test_an_estimate_reaches_costs_within_sums_and_scales():
    total = (Ridge() + 2.0 * COST).estimate(panel_of())

    assert total.first_row == LOOKBACK // 2 - 1
    assert total.cash is False
    assert [cost.cash for _, cost in total.parts] == [False, True]
    assert (FactorRisk(n_factors=1, lookback=20) + COST).estimate(panel_of()).first_row == 10


REFUSED = [
    (r"exponent must be more than 1 and at most 2, got 1.0", lambda: TradingCost(exponent=1.0)),
    (r"exponent must be .* got 2.5", lambda: TradingCost(exponent=2.5)),
    (r"exponent must be .* got nan", lambda: TradingCost(exponent=float("nan"))),
    (r"dollar_volume must be finite and at least 1e-12, got 0.0", lambda: TradingCost(dollar_volume=0.0)),
    (r"sell_fee must be finite and at least 0, got -0.001", lambda: TradingCost(sell_fee=-0.001)),
    (r"lookback must be at least 4 rows, got 2", lambda: TradingCost(lookback=2)),
    (
        r"impact needs volatility=, or an estimate: call solver.estimate\(panel\) first",
        lambda: TradingCost(impact=1.0).value(Q, HELD, MARKET),
    ),
    (
        r"grows with wealth.* pass wealth=, or solve with market=panel.at\(rows, wealth=...\)",
        lambda: COST.estimate(panel_of()).value(Q, HELD, panel_of().at([40])),
    ),
    (
        r"wealth has shape \(2,\), which does not fit 3 rows",
        lambda: COST.estimate(panel_of()).value(Q, HELD, panel_of().at([40], wealth=np.ones(2))),
    ),
    (r"impact needs dollar_volume=, and test has none", lambda: COST.estimate(panel_of(volume=None))),
    (
        r"no estimate at row 3: its first is at row 4. Start later",
        lambda: COST.estimate(panel_of()).value(Q, HELD, panel_of().at([3], wealth=1.0)),
    ),
    (
        r"test has too little history .* 5 returns and volumes within 10 rows, the panel has 3",
        lambda: COST.estimate(panel_of(RETURNS[:3], VOLUME[:3])),
    ),
    (r"differ from row to row: pass market=panel.at", lambda: COST.estimate(panel_of()).value(Q, HELD, None)),
]


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[message for message, _ in REFUSED])
def test_what_cannot_be_a_trading_cost_is_refused_in_words(message, call):
    with pytest.raises(CostError, match=message):
        call()
