"""When a forecast earns, and what labels may do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import BorrowFee, TradingCost
from backtest.errors import DataError, LabelError, SettingsError, SimulationError
from backtest.simulation import EqualWeight, Policy, TargetWeights, simulate

COSTS = TradingCost(0.001) + BorrowFee(0.02)


class Sign(Policy):
    """Holds the sign of the forecast, in equal sizes."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, np.sign(p) / p.shape[1])


def test_a_forecast_of_row_t_first_earns_the_return_two_rows_later(random_panel):
    """CASES 17: lag 1, decided at t, filled at the close of t + 1, paid over the period that starts there."""
    panel = random_panel(n_assets=1, cash_rate=None)
    forecasts = np.full((60, 1), np.nan)
    forecasts[20] = 1.0
    result = simulate(panel, Sign(), forecasts, costs=None, first_row=1, last_row=59)

    traded = np.flatnonzero(result.turnover[0] > 1e-9)
    assert result.fill_dates[traded[0]] == panel.dates[21]
    assert result.dates[np.flatnonzero(result.gross[0])[0]] == panel.dates[22]
    assert result.gross[0, traded[0]] == panel.returns[22, 0]


def test_knowing_tomorrows_return_pays_nothing_at_lag_1_and_everything_at_lag_0(random_panel):
    """CASES 17: tomorrow's return is over before a fill at lag 1."""
    panel = random_panel(n_rows=400, cash_rate=None)
    tomorrow = panel.targets(lag=0)
    perfect = np.abs(panel.returns).mean(axis=1)
    at_once = simulate(panel, Sign(), tomorrow, costs=None, lag=0)
    later = simulate(panel, Sign(), tomorrow, costs=None, lag=1)

    assert at_once.net[0, :-1] == pytest.approx(perfect[1:-1])
    assert abs(later.net.mean()) < 0.2 * perfect[1:].mean()


def test_permuting_returns_after_t_changes_nothing_up_to_t(random_panel):
    """CASES 17."""
    panel = random_panel()
    weights = pd.DataFrame(np.tile([0.4, -0.2, 0.1, 0.3, -0.5], (60, 1)), panel.dates, panel.assets)
    other = panel.garbled_after(30)
    first = simulate(panel, TargetWeights(weights), costs=COSTS)
    second = simulate(other, TargetWeights(weights), costs=COSTS)
    known = first.dates <= panel.dates[30]

    assert first.wealth[0, 1:][known].tobytes() == second.wealth[0, 1:][known].tobytes()
    assert first.positions[0][known].tobytes() == second.positions[0][known].tobytes()
    assert not np.array_equal(first.wealth, second.wealth)


def test_the_simulation_starts_and_ends_with_the_forecasts(random_panel):
    panel = random_panel()
    forecasts = np.full((60, 5), np.nan)
    forecasts[10:20] = 1.0
    result = simulate(panel, Sign(), forecasts, costs=None)

    assert result.fill_dates.equals(panel.dates[11:21])
    assert result.dates.equals(panel.dates[12:22])


@pytest.mark.parametrize(("first", "last"), [(0, 59), (5, 60), (7, 7), (59, 59)])
def test_rows_that_leave_no_period_are_refused(random_panel, first, last):
    with pytest.raises(SettingsError, match="leave no period"):
        simulate(random_panel(), EqualWeight(), costs=None, first_row=first, last_row=last)


def test_targets_are_filled_lag_rows_after_their_date(random_panel, targets):
    panel = random_panel()
    result = simulate(panel, targets(panel, {10: [1, 0, 0, 0, 0], 30: [0, 0, 0, 0, 1]}), costs=None)
    traded = result.fill_dates[result.turnover[0] > 1e-9]

    assert traded.equals(panel.dates[[11, 31]])


def test_targets_in_another_column_order_give_the_same_result_to_the_last_bit(random_panel):
    """CASES 16."""
    panel = random_panel()
    rng = np.random.default_rng(0)
    weights = pd.DataFrame(rng.normal(0, 0.2, (60, 5)), panel.dates, panel.assets)
    first = simulate(panel, TargetWeights(weights), costs=COSTS)
    second = simulate(panel, TargetWeights(weights[["N3", "N0", "N4", "N2", "N1"]]), costs=COSTS)

    assert first.wealth.tobytes() == second.wealth.tobytes()


def test_targets_in_another_row_order_give_the_same_result(random_panel):
    panel = random_panel()
    weights = pd.DataFrame(np.random.default_rng(0).normal(0, 0.2, (60, 5)), panel.dates, panel.assets)

    first = simulate(panel, TargetWeights(weights), costs=COSTS)
    assert first.wealth.tobytes() == simulate(panel, TargetWeights(weights[::-1]), costs=COSTS).wealth.tobytes()


def test_labels_of_the_whole_market_permuted_give_the_same_wealth(random_panel):
    panel = random_panel()
    order = ["N3", "N0", "N4", "N2", "N1"]
    weights = pd.DataFrame(np.random.default_rng(0).normal(0, 0.2, (60, 5)), panel.dates, panel.assets)
    first = simulate(panel, TargetWeights(weights), costs=COSTS)
    second = simulate(panel.select(order), TargetWeights(weights), costs=COSTS)

    np.testing.assert_allclose(first.wealth, second.wealth, rtol=1e-12)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["N0", "N1", "N2", "N3"], "missing assets N4"),
        (["N0", "N1", "N2", "N3", "N4", "ZZZ"], "unknown assets ZZZ"),
        (["N0", "N1", "N2", "N3", "ZZZ"], "missing assets N4; unknown assets ZZZ"),
    ],
)
def test_an_unknown_or_missing_asset_is_an_error_that_names_it(random_panel, columns, message):
    """CASES 16."""
    panel = random_panel()
    frame = pd.DataFrame(0.1, panel.dates, columns)

    with pytest.raises(LabelError, match=f"TargetWeights: {message}"):
        simulate(panel, TargetWeights(frame), costs=None)
    with pytest.raises(LabelError, match=f"forecasts: {message}"):
        simulate(panel, Sign(), frame, costs=None)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y"])
def test_text_dates_are_read(random_panel, form):
    """CASES 19."""
    panel = random_panel()
    weights = pd.DataFrame(np.random.default_rng(0).normal(0, 0.2, (60, 5)), panel.dates, panel.assets)
    expected = simulate(panel, TargetWeights(weights), costs=COSTS)
    as_text = weights.set_axis(panel.dates.strftime(form))

    assert simulate(panel, TargetWeights(as_text), costs=COSTS).wealth.tobytes() == expected.wealth.tobytes()


@pytest.mark.parametrize("labels", [[f"day {i}" for i in range(60)], list(range(60))])
def test_row_labels_that_are_no_dates_are_refused(random_panel, labels):
    """CASES 19: never a silent no-trade."""
    panel = random_panel()

    with pytest.raises(LabelError, match="TargetWeights: row"):
        TargetWeights(pd.DataFrame(0.1, labels, panel.assets))
    with pytest.raises(LabelError, match="forecasts: row"):
        simulate(panel, Sign(), pd.DataFrame(0.1, labels, panel.assets), costs=None)


def test_a_target_date_that_the_panel_lacks_is_refused(random_panel):
    panel = random_panel()
    frame = pd.DataFrame(0.1, pd.to_datetime(["2020-01-05", "2020-06-01"]), panel.assets)

    with pytest.raises(LabelError, match="2020-06-01 00:00:00 is no date of the panel"):
        simulate(panel, TargetWeights(frame), costs=None)


def test_targets_of_the_last_day_alone_cannot_be_filled_and_are_refused(random_panel, targets):
    panel = random_panel()

    with pytest.raises(LabelError, match="no row can be filled"):
        simulate(panel, targets(panel, {59: [0.1] * 5}), costs=None)


def test_a_date_that_is_there_twice_and_a_missing_weight_are_refused(random_panel):
    panel = random_panel()
    frame = pd.DataFrame(0.1, panel.dates, panel.assets)

    with pytest.raises(LabelError, match="2020-01-03 is there twice"):
        TargetWeights(frame.iloc[[0, 2, 2]])
    with pytest.raises(DataError, match="2020-01-02, N3: the weight is nan: write 0"):
        TargetWeights(frame.where((frame.index != panel.dates[1])[:, None] | (frame.columns != "N3")))


def test_a_forecast_table_may_be_in_any_column_order_but_not_have_holes(random_panel):
    panel = random_panel()
    values = np.random.default_rng(0).normal(size=(60, 5))
    frame = pd.DataFrame(values, panel.dates, panel.assets)[["N4", "N3", "N2", "N1", "N0"]]
    expected = simulate(panel, Sign(), values, costs=COSTS)

    assert simulate(panel, Sign(), frame, costs=COSTS).wealth.tobytes() == expected.wealth.tobytes()
    with pytest.raises(LabelError, match="forecasts: missing dates 2020-01-11"):
        simulate(panel, Sign(), frame.drop(index=panel.dates[10]), costs=COSTS)


def test_forecasts_of_another_shape_or_infinite_are_refused(random_panel):
    panel = random_panel()
    infinite = np.zeros((2, 60, 5))
    infinite[1, 3, 2] = np.inf

    with pytest.raises(SimulationError, match=r"shape \(60, 4\), expected \(60, 5\)"):
        simulate(panel, Sign(), np.zeros((60, 4)), costs=None)
    with pytest.raises(SimulationError, match=r"book 1, row 3 \(2020-01-04\), N2: inf"):
        simulate(panel, Sign(), infinite, costs=None)


def test_a_weight_that_is_no_number_stops_the_run_and_is_named(random_panel):
    class Broken(Policy):
        def decide(self, p, held, market, tradable):
            q = held.copy()
            q[:, 1] = np.nan
            return q

    with pytest.raises(SimulationError, match="portfolio: 2020-01-02: N1: the policy asks for weight nan"):
        simulate(random_panel(), Broken(), costs=None)


def test_names_must_be_one_a_book_and_wealth_positive(random_panel):
    panel = random_panel()

    with pytest.raises(SettingsError, match="2 different names"):
        simulate(panel, Sign(), np.zeros((2, 60, 5)), costs=None, names=("a", "a"))
    with pytest.raises(SettingsError, match="initial_wealth is -1"):
        simulate(panel, Sign(), np.zeros((60, 5)), costs=None, initial_wealth=-1)


def test_a_batch_is_its_single_runs_to_the_last_bit(random_panel):
    panel = random_panel(n_assets=37)
    forecasts = np.random.default_rng(1).normal(size=(6, 60, 37))
    together = simulate(panel, Sign(), forecasts, costs=COSTS, initial_wealth=np.arange(1.0, 7.0))

    for book in range(6):
        alone = simulate(panel, Sign(), forecasts[book], costs=COSTS, initial_wealth=book + 1.0)
        for field in ("wealth", "gross", "net", "interest", "turnover", "leverage", "positions", "held"):
            assert getattr(together, field)[book].tobytes() == getattr(alone, field)[0].tobytes(), field
        assert together.costs["borrow_fee"][book].tobytes() == alone.costs["borrow_fee"][0].tobytes()


def test_inputs_come_back_untouched_by_a_policy_that_writes_on_them(random_panel):
    class Writes(Policy):
        def decide(self, p, held, market, tradable):
            p[:] = 0.1
            held[:] = 0.1
            return p

    panel = random_panel()
    forecasts = np.zeros((60, 5))
    result = simulate(panel, Writes(), forecasts, costs=COSTS)

    assert (forecasts == 0).all()
    assert (result.held[0, 0] == 0).all()


def test_the_frame_has_one_row_a_book_and_period_and_one_column_a_cost(random_panel):
    result = simulate(random_panel(), Sign(), np.ones((2, 60, 5)), costs=COSTS, names=("a", "b"), last_row=11)
    frame = result.to_frame()

    assert frame.index.names == ["name", "date"]
    assert frame.shape == (20, 12)
    assert frame.loc[("b", result.dates[3]), "cost: borrow_fee"] == result.costs["borrow_fee"][1, 3]


def test_some_of_the_books_are_a_result_of_their_own(random_panel):
    forecasts = np.random.default_rng(0).normal(size=(4, 60, 5))
    together = simulate(random_panel(), Sign(), forecasts, costs=COSTS, names=list("abcd"))
    middle = together.books(slice(1, 3))
    alone = simulate(random_panel(), Sign(), forecasts[1:3], costs=COSTS, names=list("bc"))

    assert middle.names == ("b", "c")
    pd.testing.assert_frame_equal(middle.to_frame(), alone.to_frame(), check_exact=True)
    np.testing.assert_array_equal(middle.shares, alone.shares)


def test_progress_is_told_after_every_period(random_panel):
    told = []
    simulate(
        random_panel(),
        EqualWeight(),
        costs=None,
        last_row=4,
        progress=lambda done, total: told.append((done, total)),
    )

    assert told == [(1, 3), (2, 3), (3, 3)]
