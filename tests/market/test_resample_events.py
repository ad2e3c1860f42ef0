"""to_frequency with dividends, splits and corporate actions: the same money at every frequency."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from event_markets import holder_returns, raw_markets
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.market import Delisting, MarketPanel, SpinOff, to_frequency

# two weeks from Monday to Friday
DAYS = pd.bdate_range("2020-01-06", periods=10)
NAN = float("nan")


def frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=DAYS, dtype=float)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets(max_rows=30), frequency=st.sampled_from(["W", "M"]))
def test_weekly_returns_are_those_of_a_holder_of_one_share(market: dict, frequency: str) -> None:
    coarse = to_frequency(MarketPanel.from_prices(**market), frequency)

    np.testing.assert_allclose(coarse.returns, holder_returns(coarse), rtol=1e-9, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets(max_rows=30))
def test_a_share_is_worth_the_same_over_the_week_in_days_and_in_weeks(market: dict) -> None:
    """One share bought at the end of a week and kept through the next, without spin-offs valued on other days."""
    daily = MarketPanel.from_prices(**{**market, "spin_offs": []})
    weekly = to_frequency(daily, "W")
    rows = daily.dates.get_indexer(weekly.dates)
    for week in range(1, weekly.n_periods):
        for column in range(daily.n_assets):
            start, end = rows[week - 1], rows[week]
            if not (np.isfinite(daily.prices[[start, end], column]).all() and daily.tradable[end, column]):
                continue
            shares, cash = 1.0, 0.0
            for day in range(start + 1, end + 1):
                shares *= daily.splits[day, column]
                cash += shares * daily.dividends[day, column]
            worth = shares * daily.prices[end, column] + cash
            assert 1 + weekly.returns[week, column] == pytest.approx(worth / daily.prices[start, column], rel=1e-11)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets(max_rows=30), seed=st.integers(0, 3))
def test_the_future_does_not_reach_earlier_weeks(market: dict, seed: int) -> None:
    panel = MarketPanel.from_prices(**market)
    weeks = to_frequency(panel, "W")
    end = weeks.dates[weeks.n_periods // 2]
    expected = weeks.until(end).data_hash

    assert to_frequency(panel.garbled_after(end, seed=seed), "W").until(end).data_hash == expected
    assert to_frequency(panel.until(end), "W").data_hash == expected


def test_events_move_to_the_end_of_their_week_and_count_its_shares() -> None:
    """A dividend of 3 before a 3:1 split is 1 a share after it; the open of Monday is a third as well."""
    panel = MarketPanel.from_prices(
        frame(A=[30, 30, 30, 30, 30, 33, 30, 10, 11, 12]),
        dividends=frame(A=[0, 0, 0, 0, 0, 0, 3, 0, 0.5, 0]),
        splits=frame(A=[1, 1, 1, 1, 1, 1, 1, 3, 1, 1]),
        open_prices=frame(A=[30, 30, 30, 30, 30, 36, 30, 10, 11, 12]),
        vwap=frame(A=[30, 30, 30, 30, 30, 33, 33, 11, 11, NAN]),
        dollar_volume=frame(A=[1, 1, 1, 1, 1, 330, 0, 220, NAN, 5]),
        volatility=frame(A=[0.1, 0.1, 0.1, 0.1, 0.1, 0.3, NAN, 0.4, NAN, 0]),
        members=frame(A=[1, 1, 1, 1, 0, 1, 1, 1, 1, 1]),
        periods_per_year=252,
    )
    weeks = to_frequency(panel, "W")

    assert weeks.splits[:, 0].tolist() == [1, 3]
    assert weeks.dividends[1, 0] == pytest.approx(1.5)
    assert weeks.open_prices[1, 0] == pytest.approx(12)
    # 330 buys 30 shares of after the split, 220 buys 20
    assert weeks.vwap[1, 0] == pytest.approx(550 / 50)
    assert weeks.volatility[:, 0] == pytest.approx([0.1 * 5**0.5, (0.25 * 5 / 3) ** 0.5])
    assert weeks.members[:, 0].tolist() == [False, True]
    assert weeks.returns[1, 0] == pytest.approx(3 * (12 + 1.5) / 30 - 1)


def test_vwap_without_volume_has_no_weekly_one() -> None:
    prices = frame(A=[10.0] * 10)

    assert to_frequency(MarketPanel.from_prices(prices, vwap=prices, periods_per_year=252), "W").vwap is None


def test_a_delisting_inside_a_week_keeps_the_last_days_before_it() -> None:
    """10 on Friday, 8 on Tuesday, -30% on Wednesday: 5.6."""
    panel = MarketPanel.from_prices(
        frame(A=[10, 10, 10, 10, 10, 9, 8, NAN, NAN, NAN], B=[1.0] * 10),
        delistings=[Delisting("A", DAYS[7], -0.3, "bankrupt")],
        periods_per_year=252,
    )
    weeks = to_frequency(panel, "W")

    assert weeks.delistings == (Delisting("A", DAYS[9], -0.3, "bankrupt"),)
    assert weeks.returns[1, 0] == pytest.approx(-0.44)
    assert weeks.tradable[:, 0].tolist() == [True, False]


def test_a_delisting_of_returns_alone_keeps_them_too() -> None:
    panel = MarketPanel.from_returns(
        frame(A=[0, 0, 0, 0, 0, -0.1, -0.2, NAN, NAN, NAN], B=[NAN] * 6 + [0.1] + [NAN] * 3),
        delistings=[Delisting("A", DAYS[7], -0.3), Delisting("B", DAYS[7], -0.5)],
        periods_per_year=252,
    )
    weeks = to_frequency(panel, "W")

    assert weeks.returns[1, 0] == pytest.approx(0.9 * 0.8 * 0.7 - 1)
    # listed and gone between two Fridays: never held at one
    assert weeks.returns[1, 1] == -0.5
    assert not weeks.tradable[1].any()


def test_a_spin_off_counts_the_shares_of_the_end_of_its_week() -> None:
    """Half a share each on Monday is 3/4 of a share after the child's 3:1 and the parent's 2:1 split on Wednesday."""
    panel = MarketPanel.from_prices(
        frame(P=[10, 10, 10, 10, 10, 8, 8, 4, 4, 4], C=[NAN] * 5 + [6, 6, 2, 2, NAN]),
        splits=frame(P=[1] * 7 + [2, 1, 1], C=[1] * 7 + [3, 1, 1]),
        spin_offs=[SpinOff("P", "C", 0.5, DAYS[5])],
        periods_per_year=252,
    )
    weeks = to_frequency(panel, "W")

    assert weeks.spin_offs == (SpinOff("P", "C", 0.75, DAYS[9]),)
    assert weeks.prices[1].tolist() == [4, 2]
    assert weeks.tradable[1].tolist() == [True, False]
    assert weeks.returns[1, 0] == pytest.approx(2 * (4 + 0.75 * 2) / 10 - 1)
