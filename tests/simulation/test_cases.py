"""Faults that users of other backtesters reported, as small tests with neighbours (../shared/CASES.md 1 to 23 and 38).

Those that are not here are beside the code that they guard: 3, 4, 6, 7, 11 to 13, 15 and 20 in `test_ledger`, 14 in
`test_rebuild`, 16, 17 and 19 in `test_time_and_labels`, 22 in `test_infeasible_days`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import (
    BorrowFee,
    DollarNeutral,
    FactorRisk,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    TradingCost,
)
from backtest.errors import DataError, LabelError
from backtest.market import Delisting, MarketPanel
from backtest.simulation import (
    EqualWeight,
    Execution,
    SolverPolicy,
    TargetWeights,
    simulate,
)
from backtest.simulation.policies.fixed_weights import FixedWeights
from backtest.simulation.policies.hold import Hold
from backtest.solver import PositionSolver

nan = np.nan


def dated(prices: dict[str, list[float]], index: pd.DatetimeIndex | None = None, **more) -> MarketPanel:
    index = pd.date_range("2020-01-01", periods=len(next(iter(prices.values())))) if index is None else index
    for name in ("dividends", "members"):
        if name in more:
            more[name] = pd.DataFrame(more[name], index=index)
    return MarketPanel.from_prices(pd.DataFrame(prices, index=index, dtype=float), periods_per_year=252, **more)


def test_a_delisting_pays_its_return_on_the_last_price_and_the_cash_buys_the_next_day():
    """CASES 1: 50 shares, last price 12, -30%: 420, free to use the next day."""
    panel = dated(
        {"A": [10, 12, nan, nan], "B": [7, 7, 7, 14]}, delistings=[Delisting("A", pd.Timestamp("2020-01-02"), -0.3)]
    )
    weights = pd.DataFrame({"A": [1.0, 0.0], "B": [0.0, 1.0]}, index=panel.dates[[0, 1]])
    result = simulate(panel, TargetWeights(weights), costs=None, lag=0, initial_wealth=500)

    assert result.shares[0] == pytest.approx(np.array([[50.0, 0.0], [0.0, 60.0], [0.0, 60.0]]), rel=1e-14)
    assert result.wealth[0] == pytest.approx([500, 420, 420, 840], rel=1e-14)


@pytest.mark.parametrize("order", [["A", "B", "C"], ["C", "A", "B"]])
def test_a_name_without_a_price_yet_has_weight_0_and_no_exception(order):
    """CASES 2."""
    prices = {"A": [1, 1, 1, 1], "B": [nan, nan, 1, 1], "C": [1, 1, 1, 1]}
    panel = dated({name: prices[name] for name in order})
    result = simulate(panel, EqualWeight(), costs=None, lag=0)
    late = panel.assets.get_loc("B")

    assert result.positions[0, :, late] == pytest.approx([0, 0, 1 / 3])
    assert result.positions[0].sum(axis=1) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    "dates",
    [
        ["2020-01-01", "2020-01-11"],
        ["2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08", "2020-01-09", "2020-01-10", "2020-01-13"],
    ],
    ids=["ten days at once", "two weekends"],
)
def test_the_fee_of_a_short_counts_calendar_days(dates):
    """CASES 5: short 500 for 10 calendar days at 3%, actual/365."""
    panel = dated({"A": [50.0] * len(dates)}, pd.DatetimeIndex(dates))
    costs = BorrowFee(0.03, day_count="actual/365")
    result = simulate(panel, Hold(), costs=costs, lag=0, initial_wealth=1000, initial_weights=np.array([-0.5]))

    assert result.asset_costs["borrow_fee"][0, 0] == pytest.approx(0.4109589, abs=5e-8)
    assert result.wealth[0, -1] == pytest.approx(1000 - 500 * 0.03 * 10 / 365, rel=1e-14)


@pytest.mark.parametrize("shares", [-100, 100])
def test_a_dividend_that_the_price_falls_by_changes_nothing_for_short_and_long(shares):
    """CASES 5: short 100 shares, dividend 1, price 50 to 49."""
    panel = dated({"A": [50, 49, 49]}, dividends={"A": [0.0, 1.0, 0.0]})
    weights = np.array([shares * 50 / 10_000])
    result = simulate(panel, Hold(), costs=None, lag=0, initial_wealth=10_000, initial_weights=weights)

    assert result.wealth[0].tolist() == [10_000.0] * 3
    assert result.shares[0, :, 0].tolist() == [shares, shares]


def test_a_round_trip_pays_its_cost_on_both_sides():
    """CASES 8: buy 1500 at .2166, sell at .2183, 0.4% each side."""
    panel = dated({"A": [0.2166, 0.2183, 0.2183]})
    weights = pd.DataFrame({"A": [1500 * 0.2166 / 1000, 0.0]}, index=panel.dates[:2])
    result = simulate(panel, TargetWeights(weights), costs=TradingCost(0.004), lag=0, initial_wealth=1000)

    assert result.wealth[0, -1] - 1000 == pytest.approx(-0.0594, abs=1e-10)
    assert result.shares[0, 0, 0] == pytest.approx(1500, rel=1e-14)


@pytest.mark.parametrize("order", [["A", "B"], ["B", "A"]])
def test_without_debt_all_purchases_shrink_alike_until_they_and_their_costs_are_paid(order):
    """CASES 9: targets .6 and .4 of 100000 at 10 bp."""
    targets = pd.Series({"A": 0.6, "B": 0.4})
    panel = dated({name: [10.0, 10.0] for name in order})
    result = simulate(
        panel,
        FixedWeights(targets[order]),
        costs=TradingCost(0.001),
        lag=0,
        initial_wealth=100_000,
        execution=Execution(borrow_cash=False),
    )
    value = pd.Series(result.positions[0, 0] * 100_000, index=order)

    assert value["A"] == pytest.approx(59940.06, abs=0.005)
    assert value["B"] == pytest.approx(39960.04, abs=0.005)
    assert result.wealth[0, 1] == pytest.approx(100_000 / 1.001, rel=1e-12)


def test_a_change_of_the_universe_moves_no_wealth_and_rewrites_no_past():
    """CASES 10: A leaves, D enters."""
    rng = np.random.default_rng(0)
    prices = dict(zip("ABCD", (20 * np.exp(np.cumsum(rng.normal(0, 0.02, (20, 4)), axis=0))).T.tolist(), strict=True))
    inside = {name: [True] * 20 for name in "ABC"} | {"D": [False] * 20}
    changed = {**inside, "A": [True] * 10 + [False] * 10, "D": [False] * 10 + [True] * 10}
    flat = {name: [*column[:10], *[column[9]] * 2, *column[12:]] for name, column in prices.items()}
    for columns in (prices, flat):
        before, after = (
            simulate(dated(columns, members=members), EqualWeight(), costs=None, lag=0) for members in (inside, changed)
        )
        assert before.wealth[0, :11].tobytes() == after.wealth[0, :11].tobytes()
        assert before.positions[0, :10].tobytes() == after.positions[0, :10].tobytes()
        assert after.positions[0, 10] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    # Nothing moves from row 9 to row 11: the change of names, without costs, is no gain and no loss.
    assert after.wealth[0, 9:12] == pytest.approx([after.wealth[0, 9]] * 3, rel=1e-14)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_dates_with_a_time_zone_against_dates_without_are_one_clear_error(zone):
    """CASES 18."""
    panel = dated({"A": [10.0] * 5, "B": [20.0] * 5})
    zoned = pd.DataFrame(0.1, index=panel.dates.tz_localize(zone), columns=panel.assets)

    with pytest.raises(LabelError, match="time zone"):
        simulate(panel, EqualWeight(), zoned, costs=None)
    with pytest.raises(LabelError, match="time zone"):
        TargetWeights(zoned)
    with pytest.raises(LabelError, match="time zone"):
        MarketPanel.from_prices(zoned, periods_per_year=252)


def test_a_name_that_is_listed_late_deletes_no_year_before():
    """CASES 21."""
    index = pd.bdate_range("2018-01-01", "2020-12-31")
    rng = np.random.default_rng(0)
    early = (20 * np.exp(np.cumsum(rng.normal(0, 0.01, len(index))))).tolist()
    late = [nan if date.year < 2020 else 10.0 for date in index]
    both = simulate(dated({"A": early, "B": late}, index), EqualWeight(), costs=TradingCost(0.001), lag=0)
    alone = simulate(dated({"A": early}, index), EqualWeight(), costs=TradingCost(0.001), lag=0)
    known = int((index.year < 2020).sum())

    assert both.fill_dates[0] == index[0]
    assert both.wealth[0, :known].tobytes() == alone.wealth[0, :known].tobytes()


def test_columns_of_objects_give_the_same_result_or_an_error_that_names_the_column():
    """CASES 23."""
    rng = np.random.default_rng(0)
    panel = dated(dict(zip("AB", (20 + rng.random((8, 2))).T.tolist(), strict=True)))
    weights = pd.DataFrame(rng.normal(0, 0.3, (8, 2)), index=panel.dates, columns=panel.assets)
    broken = weights.astype(object)
    broken.iloc[3, 1] = "much"
    expected = simulate(panel, TargetWeights(weights), costs=None)
    found = simulate(panel, TargetWeights(weights.astype(object)), costs=None)

    assert found.wealth.tobytes() == expected.wealth.tobytes()
    with pytest.raises(DataError, match="B"):
        TargetWeights(broken)
    with pytest.raises(DataError, match="B"):
        simulate(panel, EqualWeight(), broken, costs=None)


@pytest.mark.parametrize(
    "limits",
    [
        (LongOnly(), PositionLimit(0.3), LeverageLimit(1.0)),
        (PositionLimit(0.4), LeverageLimit(1.5)),
        (DollarNeutral(), PositionLimit(0.4), LeverageLimit(1.2)),
    ],
    ids=["long only", "long and short", "dollar neutral"],
)
@pytest.mark.parametrize("wealth", [1_000, 100_000])
def test_limits_hold_after_rounding_to_whole_shares(limits, wealth):
    """CASES 38; dollar neutral to half the largest share, which is all that whole shares can do."""
    rng = np.random.default_rng(1)
    prices = rng.uniform(5, 40, 5) * np.exp(np.cumsum(rng.normal(0, 0.02, (15, 5)), axis=0))
    panel = dated(dict(zip("ABCDE", prices.T.tolist(), strict=True)))
    solver = PositionSolver(
        5.0 * FactorRisk(loadings=np.zeros((5, 1)), specific_variance=4e-4) + TradingCost(1e-4), limits
    )
    result = simulate(
        panel,
        SolverPolicy(solver),
        rng.normal(0, 2e-3, (15, 5)),
        costs=solver.costs,
        lag=0,
        initial_wealth=wealth,
        execution=Execution(whole_shares=True),
    )
    q = result.positions[0]
    (single,) = (limit.limit for limit in limits if isinstance(limit, PositionLimit))
    (leverage,) = (limit.limit for limit in limits if isinstance(limit, LeverageLimit))

    assert result.events.empty
    assert (result.shares == np.rint(result.shares)).all()
    assert np.abs(result.shares).sum() > 0
    assert np.abs(q).max() <= single + 1e-9
    assert np.abs(q).sum(axis=1).max() <= leverage + 1e-9
    if any(isinstance(limit, LongOnly) for limit in limits):
        assert q.min() >= 0
    if any(isinstance(limit, DollarNeutral) for limit in limits):
        assert (np.abs(q.sum(axis=1)) <= result.fill_prices.max(axis=1) / result.fill_wealth[0] / 2 + 1e-9).all()
