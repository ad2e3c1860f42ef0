"""Deciding once a week, month, quarter or year, or every so many rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.costs import TradingCost
from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation import simulate
from backtest.simulation.policies import FixedWeights, Hold, PeriodicRebalance, Policy, RankLongShort

ASSETS = pd.Index(["A", "B"])
TARGET = FixedWeights([0.5, 0.5])
EVERY = ["week", "month", "quarter", "year", 1, 5]


def market(dates, row):
    return MarketSnapshot(assets=ASSETS, rows=np.array([row]), calendar=dates)


def decisions(every, dates, *, first=0, held=((0.4, 0.6),)):
    """The rows at which a book that has drifted is traded."""
    policy = PeriodicRebalance(TARGET, every).prepare(dates, ASSETS, lag=1)
    held = np.array(held)
    tradable = np.ones(held.shape, bool)
    rows = range(first, len(dates))
    return [row for row in rows if (policy.decide(held, held, market(dates, row), tradable).q != held).any()]


def slow_decisions(every, dates, *, first=0):
    """The same by pandas' own calendar periods, or by counting."""
    if not isinstance(every, str):
        return list(range(first, len(dates), every))
    frequency = {"week": "W-SUN", "month": "M", "quarter": "Q-DEC", "year": "Y-DEC"}[every]
    periods = dates.to_period(frequency)
    seen, rows = set(), []
    for row in range(len(dates)):
        if row >= first and (row == first or periods[row] not in seen):
            rows.append(row)
        seen.add(periods[row])
    return rows


def test_weeks_begin_on_monday_or_on_the_first_day_after_it():
    # Thursday, Friday, Monday, Tuesday, Friday, then a week without its Monday, and a fortnight's gap.
    dates = pd.to_datetime(
        ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-10", "2020-01-14", "2020-01-15", "2020-01-31"]
    )

    assert decisions("week", dates) == [0, 2, 5, 7]


def test_months_quarters_and_years():
    dates = pd.to_datetime(["2019-12-30", "2020-01-02", "2020-01-31", "2020-03-31", "2020-04-01", "2021-04-01"])

    assert decisions("month", dates) == [0, 1, 3, 4, 5]
    assert decisions("quarter", dates) == [0, 1, 4, 5]
    assert decisions("year", dates) == [0, 1, 5]


@pytest.mark.parametrize("every", EVERY)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_calendar_against_one_of_pandas(every, data):
    days = data.draw(st.lists(st.integers(-4000, 20000), min_size=3, max_size=60, unique=True).map(sorted))
    dates = pd.DatetimeIndex(pd.Timestamp("1970-01-01") + pd.to_timedelta(days, unit="D"))
    first = data.draw(st.integers(0, len(dates) - 1))

    assert decisions(every, dates, first=first) == slow_decisions(every, dates, first=first)


def test_a_number_of_rows_is_counted_from_the_first_decision():
    dates = pd.date_range("2020-01-01", periods=12)

    assert decisions(4, dates, first=2) == [2, 6, 10]


def test_a_book_that_holds_nothing_is_decided_at_once_and_alone():
    dates = pd.date_range("2020-01-01", periods=12)
    policy = PeriodicRebalance(TARGET, "month").prepare(dates, ASSETS, lag=1)
    held = np.array([[0.4, 0.6], [0.0, 0.0], [0.0, 0.0]])
    tradable = np.array([[True, True], [True, True], [False, False]])
    policy.decide(held, held, market(dates, 0), tradable)

    found = policy.decide(held, held, market(dates, 5), tradable)

    np.testing.assert_array_equal(found.q, [[0.4, 0.6], [0.5, 0.5], [0.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Counts(Policy):
    """Holds a little more each time it is asked for a book; remembers how often that was."""

    asked: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def prepare(self, dates, assets, *, lag):
        return Counts()

    def memory(self):
        return {"asked": self.asked.copy()}

    def restore(self, memory):
        self.asked[:] = memory["asked"]

    def decide(self, p, held, market, tradable):
        self.asked[: len(held)] += tradable.any(axis=1)
        return np.where(tradable, self.asked[: len(held), None] / 100, held)


def test_the_policy_within_is_asked_only_when_a_book_decides():
    dates = pd.date_range("2020-01-30", periods=4)
    policy = PeriodicRebalance(Counts(), "month").prepare(dates, ASSETS, lag=1)
    held = np.array([[0.4, 0.6], [0.0, 0.0]])
    tradable = np.ones((2, 2), bool)

    asked = []
    for row in range(4):
        policy.decide(held, held, market(dates, row), tradable)
        asked.append(policy.memory()["policy.asked"].tolist())

    # The 30th is the first decision; on the 31st only the empty book decides; the 1st is a new month.
    assert asked == [[1, 1], [1, 2], [2, 3], [2, 4]]


@pytest.mark.parametrize("every", ["month", 3])
def test_a_memory_that_is_restored_goes_on_as_if_nothing_had_happened(every):
    dates = pd.date_range("2020-01-25", periods=20)
    tradable = np.ones((2, 2), bool)
    held = np.array([[0.4, 0.6], [0.2, 0.2]])

    def run(policy, rows):
        return [policy.decide(held, held, market(dates, row), tradable).q.tolist() for row in rows]

    whole = PeriodicRebalance(PeriodicRebalance(Counts(), 2), every).prepare(dates, ASSETS, lag=1)
    expected = run(whole, range(1, 20))
    for stop in (2, 7, 13):
        before = PeriodicRebalance(PeriodicRebalance(Counts(), 2), every).prepare(dates, ASSETS, lag=1)
        start = run(before, range(1, stop))
        after = PeriodicRebalance(PeriodicRebalance(Counts(), 2), every).prepare(dates, ASSETS, lag=1)
        after.restore(before.memory())
        assert start + run(after, range(stop, 20)) == expected


def test_a_second_run_begins_afresh(random_panel):
    policy = PeriodicRebalance(FixedWeights([0.2] * 5), 7)
    panel = random_panel()
    first = simulate(panel, policy, costs=TradingCost(0.001), first_row=3)

    again = simulate(panel, policy, costs=TradingCost(0.001), first_row=5)

    rows = [panel.row(date) for date in first.fill_dates[first.turnover[0] > 0]]
    assert rows == list(range(3, 59, 7))
    assert [panel.row(date) for date in again.fill_dates[again.turnover[0] > 0]] == list(range(5, 59, 7))


@pytest.mark.parametrize("period", [3, 10, 20, 33])
def test_a_run_that_is_cut_off_goes_on_in_step(random_panel, tmp_path, period):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done == period:
            raise Cut

    panel = random_panel()
    policy = PeriodicRebalance(FixedWeights([0.2] * 5), 7)
    run = {"costs": TradingCost(0.001), "first_row": 3, "checkpoint": tmp_path, "checkpoint_every": 5}
    with pytest.raises(Cut):
        simulate(panel, policy, **run, progress=cut)

    result = simulate(panel, policy, **run)

    whole = simulate(panel, policy, costs=TradingCost(0.001), first_row=3)
    assert result.positions.tobytes() == whole.positions.tobytes()


def test_between_decisions_the_book_drifts(random_panel):
    panel = random_panel(cash_rate=None)
    result = simulate(panel, PeriodicRebalance(FixedWeights([0.2] * 5), "month"), costs=None, first_row=1)

    # Bought on the second of January, rebalanced on the first of February.
    assert result.fill_dates[result.turnover[0] > 0].equals(pd.to_datetime(["2020-01-02", "2020-02-01"]))
    grown = 0.2 * np.prod(1 + panel.returns[2:31], axis=0)
    np.testing.assert_allclose(result.positions[0, 29], grown / grown.sum(), rtol=1e-12)


def test_a_rank_policy_that_finds_nothing_to_hold_is_asked_again_the_next_day(random_panel):
    panel = random_panel()
    forecasts = np.full((60, 5), np.nan)
    forecasts[9:] = np.arange(5.0)
    policy = PeriodicRebalance(RankLongShort(1, 1), "month")

    result = simulate(panel, policy, forecasts, costs=None, first_row=5)

    assert result.fill_dates[result.turnover[0] > 0].equals(panel.dates[[10, 31]])


@pytest.mark.parametrize("every", ["day", "weeks", 0, -1, True, 1.5, None])
def test_a_period_that_is_none_is_refused(every):
    with pytest.raises(SettingsError, match='give "week", "month", "quarter", "year" or a number of rows from 1'):
        PeriodicRebalance(Hold(), every)
