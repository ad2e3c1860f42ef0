"""Universe by a rule: the most traded names, from the past alone, with hysteresis and at stated rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import DataError, SettingsError
from backtest.market import Delisting, MarketPanel
from backtest.market.liquid_universe import LiquidityRule


def panel_of(volume: np.ndarray, prices: np.ndarray | None = None, **more) -> MarketPanel:
    dates = pd.bdate_range("2020-01-01", periods=len(volume))
    labels = [f"N{i}" for i in range(volume.shape[1])]
    prices = np.full(volume.shape, 20.0) if prices is None else prices
    return MarketPanel.from_prices(
        pd.DataFrame(prices, dates, labels),
        dollar_volume=pd.DataFrame(volume, dates, labels),
        splits=pd.DataFrame(1.0, dates, labels),
        periods_per_year=252,
        name="made",
        **more,
    )


def random_panel(seed: int) -> MarketPanel:
    rng = np.random.default_rng(seed)
    volume = np.exp(rng.normal(12, 1, (1, 9)) + np.cumsum(rng.normal(0, 0.1, (150, 9)), axis=0)).round(-4)
    volume[rng.random(volume.shape) < 0.05] = np.nan
    prices = 10 * np.exp(np.cumsum(rng.normal(0, 0.03, (150, 9)), axis=0))
    prices[:60, 2] = np.nan
    prices[rng.random(prices.shape) < 0.03] = np.nan
    prices[100:, 4] = np.nan
    volume[np.isnan(prices)] = np.nan
    last = int(np.flatnonzero(np.isfinite(prices[:, 4]))[-1])
    left = Delisting("N4", pd.bdate_range("2020-01-01", periods=150)[last], -0.3)
    return panel_of(volume, prices, delistings=[left])


RULES = st.builds(
    LiquidityRule,
    top=st.just(4),
    stay=st.sampled_from([None, 4, 6]),
    window=st.integers(1, 40),
    min_history=st.integers(0, 30),
    min_price=st.sampled_from([0.0, 9.0]),
    rebalance=st.sampled_from(["W", "M", "Q"]),
)


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), rule=RULES, t=st.integers(0, 148))
def test_nothing_after_a_row_moves_its_members(seed, rule, t):
    panel = random_panel(seed)
    whole = rule.members(panel)

    np.testing.assert_array_equal(rule.members(panel.garbled_after(t))[: t + 1], whole[: t + 1])
    np.testing.assert_array_equal(rule.members(panel.until(t)), whole[: t + 1])


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), rule=RULES)
def test_the_order_of_names_moves_nothing_and_there_are_never_more_than_top(seed, rule):
    panel = random_panel(seed)
    whole = rule.members(panel)
    order = np.random.default_rng(seed).permutation(9)

    np.testing.assert_array_equal(rule.members(panel.select(panel.assets[order])), whole[:, order])
    assert whole.sum(axis=1).max() <= 4
    assert not whole[panel.row(panel.delistings[0].date) :, 4].any()


def test_members_change_at_the_first_row_of_a_month_only():
    rule = LiquidityRule(top=3, window=5, min_history=0)
    members = rule.members(random_panel(3))

    changed = np.flatnonzero((members[1:] != members[:-1])[:, [0, 1, 2, 3, 5, 6, 7, 8]].any(axis=1)) + 1
    dates = pd.bdate_range("2020-01-01", periods=150)
    assert len(changed) > 2
    assert (dates[changed].month != dates[changed - 1].month).all()


def test_the_names_with_the_highest_median_are_chosen_and_ties_go_by_label():
    volume = np.full((40, 4), 100.0)
    volume[:, 1] = 90.0
    volume[::3, 1] = 1e9  # a mean would choose it, the median does not
    members = LiquidityRule(top=2, window=9, min_history=0).members(panel_of(volume))

    assert members[30].tolist() == [True, False, True, False]
    assert not members[0].any()  # one row is not 80% of a window of 9


def test_a_member_stays_until_its_rank_falls_below_stay():
    volume = np.full((70, 3), 50.0)
    volume[:, 0] = 100.0
    volume[25:, 0] = 40.0  # the last of three from then on
    rules = {stay: LiquidityRule(top=1, stay=stay, window=3, min_history=0) for stay in (1, 2, 3)}
    held = {stay: rule.members(panel_of(volume))[-1].tolist() for stay, rule in rules.items()}

    assert held == {1: [False, True, False], 2: [False, True, False], 3: [True, False, False]}


def test_young_cheap_untraded_and_untradable_names_are_not_eligible():
    volume, prices = np.full((60, 5), 100.0), np.full((60, 5), 20.0)
    prices[:30, 1] = np.nan
    volume[:30, 1] = np.nan
    prices[:, 2] = 4.99
    volume[:, 3] = 0.0
    prices[43:, 4] = np.nan
    rule = LiquidityRule(top=5, window=10, min_history=20, min_price=5.0)

    members = rule.members(panel_of(volume, prices))

    first_of_march = 43
    assert members[first_of_march].tolist() == [True, False, False, False, False]
    assert LiquidityRule(top=5, window=10, min_history=11, min_price=5.0).members(panel_of(volume, prices))[
        first_of_march
    ].tolist() == [True, True, False, False, False]


def test_a_price_floor_on_adjusted_prices_and_a_panel_without_volume_are_refused():
    panel = random_panel(0)

    with pytest.raises(DataError, match="min_price=5 needs raw prices with their splits"):
        LiquidityRule(top=3, min_price=5.0).members(replace(panel, splits=None))
    with pytest.raises(DataError, match="made: a liquidity rule needs dollar_volume"):
        LiquidityRule(top=3).members(replace(panel, dollar_volume=None))
    assert LiquidityRule(top=3, min_history=20).apply(panel).members.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top": 0}, "top is 0"),
        ({"top": 5, "stay": 4}, "stay is 4: give a rank of top=5 or more"),
        ({"top": 5, "window": True}, "window is True"),
        ({"top": 5, "min_history": -1}, "min_history is -1"),
        ({"top": 5, "min_price": float("nan")}, "min_price is nan"),
        ({"top": 5, "rebalance": "D"}, "rebalance is 'D': choose W, M, Q or Y"),
    ],
)
def test_impossible_rules_are_refused(wrong, message):
    with pytest.raises(SettingsError, match=message):
        LiquidityRule(**wrong)
