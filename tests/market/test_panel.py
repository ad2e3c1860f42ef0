"""MarketPanel: labels and values are checked, time is cut in one way only, nothing can be changed."""

from __future__ import annotations

import copy
import datetime
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import DataError, LabelError
from backtest.market import MarketPanel, MarketSnapshot


def test_returns_are_price_ratios_and_row_0_has_none(prices: pd.DataFrame) -> None:
    panel = MarketPanel.from_prices(prices, periods_per_year=252)

    assert np.isnan(panel.returns[0]).all()
    np.testing.assert_allclose(panel.returns[1:, 0], prices["A"].pct_change().to_numpy()[1:], rtol=1e-12)


def test_a_name_listed_late_removes_no_dates_and_changes_no_other_name(prices: pd.DataFrame) -> None:
    """CASES 20 and 21."""
    whole = MarketPanel.from_prices(prices, periods_per_year=252)
    without = MarketPanel.from_prices(prices.drop(columns="C"), periods_per_year=252)

    assert whole.n_periods == len(prices)
    assert whole.select(without.assets).data_hash == without.data_hash
    assert not whole.tradable[:200, 2].any()
    assert whole.tradable[200:, 2].all()


def test_missing_prices_are_untradable_and_the_next_return_spans_the_gap(prices: pd.DataFrame) -> None:
    """A holder marked at the last price earns the whole move when the price is back."""
    panel = MarketPanel.from_prices(prices, periods_per_year=252)

    assert not panel.tradable[300:304, 3].any()
    assert np.isnan(panel.returns[300:304, 3]).all()
    assert panel.returns[304, 3] == pytest.approx(prices["D"].iloc[304] / prices["D"].iloc[299] - 1)
    assert np.isnan(panel.returns[500:, 4]).all()


def test_string_dates_are_parsed(prices: pd.DataFrame) -> None:
    """CASES 19: text against timestamps gives the same panel."""
    texts = prices.set_axis([f"{d:%Y-%m-%d}" for d in prices.index])

    assert (
        MarketPanel.from_prices(texts, periods_per_year=252).data_hash
        == MarketPanel.from_prices(prices, periods_per_year=252).data_hash
    )


@pytest.mark.parametrize(
    ("labels", "parsed"),
    [
        (["20200102", "20200103"], "2020-01-03"),
        ([20200102, 20200103], "2020-01-03"),
        (["01/02/2020", "01/13/2020"], "2020-01-13"),
        (["02/01/2020", "13/01/2020"], "2020-01-13"),
        (["2020/1/2", "2020/1/3"], "2020-01-03"),
        (["2020-01-02 00:00:00", "2020-01-03 00:00:00"], "2020-01-03"),
        (["02-Jan-2020", "03-Jan-2020"], "2020-01-03"),
        ([datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)], "2020-01-03"),
        ([np.datetime64("2020-01-02"), np.datetime64("2020-01-03")], "2020-01-03"),
    ],
)
def test_dates_in_common_forms_are_read(labels: list, parsed: str) -> None:
    frame = pd.DataFrame({"A": [1.0, 2.0]}, index=pd.Index(labels))

    assert MarketPanel.from_prices(frame, periods_per_year=252).dates[1] == pd.Timestamp(parsed)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["01/02/2020", "03/04/2020"], "month/day or as day/month"),
        (["2020-01-02", "soon"], "row 1: 'soon'"),
        (["first", "second"], "row 0: 'first'"),
        (["2020-02-30", "2020-03-01"], "row 0: '2020-02-30'"),
        ([0, 1], "set the date column as the index"),
        ([0.5, 1.5], "0.5"),
        ([pd.Timestamp("2020-01-02"), pd.NaT], "row 1: the date is missing"),
        (pd.DatetimeIndex(["2020-01-02", "2020-01-03"], tz="UTC"), r"time zone UTC.*tz_localize\(None\)"),
        (pd.DatetimeIndex(["2020-01-03", "2020-01-02"]), "2020-01-02.*after.*sort_index"),
        (pd.DatetimeIndex(["2020-01-03", "2020-01-03"]), "2020-01-03.*repeats"),
        (pd.PeriodIndex(["2020-01", "2020-02"], freq="M"), "to_timestamp"),
    ],
)
def test_dates_that_can_be_misread_are_refused_with_their_cure(labels: list, message: str) -> None:
    """CASES 18 and 19: never a silent no-trade, never a deep stack trace."""
    frame = pd.DataFrame({"A": [1.0, 2.0]}, index=pd.Index(labels))

    with pytest.raises(LabelError, match=message):
        MarketPanel.from_prices(frame, periods_per_year=252)


@pytest.mark.parametrize(
    ("columns", "message"),
    [(["A", "A"], "both labelled 'A'"), (["A", 3], "3 .int. is not text"), (["A", " "], "label is empty")],
)
def test_asset_labels_must_be_unique_text(columns: list, message: str) -> None:
    frame = pd.DataFrame([[1.0, 2.0]], index=pd.DatetimeIndex(["2020-01-02"]), columns=columns)

    with pytest.raises(LabelError, match=message):
        MarketPanel.from_prices(frame, periods_per_year=252)


def test_object_columns_of_numbers_give_the_same_panel(prices: pd.DataFrame) -> None:
    """CASES 23."""
    plain = MarketPanel.from_prices(prices, periods_per_year=252)

    for dtype in (object, "Float64"):
        assert MarketPanel.from_prices(prices.astype(dtype), periods_per_year=252).data_hash == plain.data_hash


@pytest.mark.parametrize("cell", ["12.5", True, 1j, [1.0]])
def test_object_columns_with_a_cell_that_is_no_number_name_column_row_and_value(
    prices: pd.DataFrame, cell: object
) -> None:
    """CASES 23: an error before the first day, naming the column."""
    frame = prices.astype(object)
    frame.iat[17, 1] = cell

    with pytest.raises(DataError, match=r"column 'B': row 17 \(2015-01-26"):
        MarketPanel.from_prices(frame, periods_per_year=252)


def test_boolean_columns_are_refused(prices: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"column 'A'.*True and False"):
        MarketPanel.from_prices(prices > 0, periods_per_year=252)


@pytest.mark.parametrize("price", [0.0, -1.0, np.inf])
def test_impossible_prices_name_their_cell(prices: pd.DataFrame, price: float) -> None:
    prices.iat[3, 1] = price

    with pytest.raises(DataError, match=r"test: prices: row 3 \(2015-01-06\), column 'B': (0|-1|inf) is"):
        MarketPanel.from_prices(prices, periods_per_year=252, name="test")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("returns", np.full((2, 1), -1.5), "return below -1"),
        ("returns", np.full((2, 1), np.inf), "infinite"),
        ("returns", np.zeros((3, 1)), r"shape \(3, 1\), expected \(2, 1\)"),
        ("returns", np.array([["a"], ["b"]]), "not an array of numbers"),
        ("dollar_volume", np.full((2, 1), -1.0), "negative volume"),
        ("cash_rate", np.array([0.0, np.nan]), "not a rate"),
        ("tradable", np.ones((2, 1)), "expected bool"),
        ("prices", np.array([[1.0], [np.nan]]), "tradable is True"),
        ("feature_names", ("x",), "without features"),
        ("features", np.full((2, 1, 1), 1.0), "expected"),
        ("periods_per_year", 0, "252"),
    ],
)
def test_impossible_fields_are_refused(field: str, value: object, message: str) -> None:
    fields = {
        "dates": pd.bdate_range("2020-01-01", periods=2),
        "assets": ["A"],
        "returns": np.zeros((2, 1)),
        "tradable": np.ones((2, 1), dtype=bool),
        "periods_per_year": 252,
    }

    with pytest.raises(DataError, match=message):
        MarketPanel(**{**fields, field: value})


def test_feature_names_must_be_unique(panel: MarketPanel) -> None:
    with pytest.raises(LabelError, match="unique"):
        panel.with_features(panel.features, ["x", "x"])


def test_a_panel_cannot_be_changed_and_does_not_share_its_input(prices: pd.DataFrame) -> None:
    values = np.full((2, 1), 0.5)
    panel = MarketPanel(
        dates=pd.bdate_range("2020-01-01", periods=2), assets=["A"], returns=values, periods_per_year=252
    )
    values[:] = 9.0

    assert (panel.returns == 0.5).all()
    for array in (panel.returns, panel.tradable, panel.until(0).returns):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        panel.name = "other"


def test_inputs_align_by_label_in_any_column_order(prices: pd.DataFrame) -> None:
    """CASES 16."""
    volume = prices * 10
    straight = MarketPanel.from_prices(prices, dollar_volume=volume, periods_per_year=252)
    shuffled = MarketPanel.from_prices(prices, dollar_volume=volume[list("FEDCBA")], periods_per_year=252)

    assert shuffled.data_hash == straight.data_hash
    with pytest.raises(LabelError, match=r"missing assets B.*unknown assets Z"):
        MarketPanel.from_prices(prices, dollar_volume=volume.rename(columns={"B": "Z"}), periods_per_year=252)
    with pytest.raises(LabelError, match="missing dates 2015-01-01"):
        MarketPanel.from_prices(prices, dollar_volume=volume.iloc[1:], periods_per_year=252)
    with pytest.raises(LabelError, match="missing dates"):
        MarketPanel.from_prices(prices, cash_rate=pd.Series(0.0, index=prices.index[:-1]), periods_per_year=252)


def test_from_returns_marks_names_tradable_where_their_return_is_known() -> None:
    frame = pd.DataFrame({"A": [0.1, np.nan], "B": [np.nan, -1.0]}, index=pd.bdate_range("2020", periods=2))
    panel = MarketPanel.from_returns(frame, periods_per_year=252)

    assert panel.prices is None
    assert panel.tradable.tolist() == [[True, False], [False, True]]


def test_until_keeps_row_numbers_and_nothing_later(panel: MarketPanel) -> None:
    cut = panel.until(99)

    assert cut.n_periods == 100
    assert cut.dates.equals(panel.dates[:100])
    for field in ("returns", "prices", "dollar_volume", "cash_rate", "features", "tradable"):
        np.testing.assert_array_equal(getattr(cut, field), getattr(panel, field)[:100])
    assert panel.until(panel.dates[99]).data_hash == cut.data_hash
    assert panel.until(f"{panel.dates[99]:%Y-%m-%d}").data_hash == cut.data_hash
    assert pickle.loads(pickle.dumps(cut)).data_hash == cut.data_hash == copy.deepcopy(cut).data_hash


def test_until_a_day_without_a_row_ends_at_the_row_before(panel: MarketPanel) -> None:
    saturday = "2015-01-10"

    assert panel.until(saturday).dates[-1] == pd.Timestamp("2015-01-09")


@pytest.mark.parametrize("t", [-1, 600, "2014-12-31", pd.Timestamp("2020-01-01", tz="UTC"), True, 1.5])
def test_until_refuses_rows_outside_the_panel(panel: MarketPanel, t: object) -> None:
    with pytest.raises(LabelError):
        panel.until(t)


def test_row_finds_exact_dates_and_names_the_neighbours_of_others(panel: MarketPanel) -> None:
    assert panel.row("2015-01-05") == 2
    with pytest.raises(LabelError, match="2015-01-09 and 2015-01-12"):
        panel.row("2015-01-10")


def test_select_takes_columns_by_label(panel: MarketPanel) -> None:
    chosen = panel.select(["D", "A"])

    assert list(chosen.assets) == ["D", "A"]
    np.testing.assert_array_equal(chosen.features, panel.features[:, [3, 0]])
    with pytest.raises(LabelError, match="no assets Z"):
        panel.select(["A", "Z"])
    with pytest.raises(LabelError, match="both labelled 'A'"):
        panel.select(["A", "A"])


def test_at_shows_the_market_of_some_rows(panel: MarketPanel) -> None:
    one, two = panel.at(5), panel.at([7, 3])

    assert isinstance(one, MarketSnapshot)
    assert one.dollar_volume.shape == (1, 6)
    np.testing.assert_array_equal(two.features, panel.features[[7, 3]])
    assert list(two.dates) == [panel.dates[7], panel.dates[3]]
    assert two.feature_names == ("x1", "x2")
    for rows in (-1, 600, 1.5, [[1]]):
        with pytest.raises(LabelError):
            panel.at(rows)


@given(lag=st.integers(0, 5), periods=st.integers(1, 8))
def test_targets_are_the_returns_after_the_fill(lag: int, periods: int) -> None:
    """CASES 17: with lag 1 a forecast of row t earns returns[t + 2]; the last rows have no target."""
    returns = np.arange(periods, dtype=float)[:, None]
    panel = MarketPanel(
        dates=pd.bdate_range("2020-01-01", periods=periods),
        assets=["A"],
        returns=returns,
        periods_per_year=252,
    )
    expected = [t + lag + 1 if t + lag + 1 < periods else np.nan for t in range(periods)]

    np.testing.assert_array_equal(panel.targets(lag)[:, 0], expected)


def test_targets_refuse_a_negative_lag(panel: MarketPanel) -> None:
    for lag in (-1, 0.5, True):
        with pytest.raises(DataError, match="lag"):
            panel.targets(lag)


def test_garbling_keeps_the_past_and_changes_everything_after(panel: MarketPanel) -> None:
    garbled = panel.garbled_after(299, seed=1)

    assert garbled.until(299).data_hash == panel.until(299).data_hash
    for field in ("returns", "prices", "dollar_volume", "cash_rate", "features"):
        old, new = getattr(panel, field)[300:], getattr(garbled, field)[300:]
        assert not (old == new).any()
    np.testing.assert_array_equal(garbled.tradable, panel.tradable)
    assert garbled.data_hash == panel.garbled_after(299, seed=1).data_hash
    assert garbled.data_hash != panel.garbled_after(299, seed=2).data_hash


def test_the_hash_sees_every_field_but_not_the_name_or_the_bits_of_nan(panel: MarketPanel) -> None:
    other_nan = panel.returns.copy()
    other_nan.view(np.uint64)[np.isnan(other_nan)] |= 1
    parts = {
        "dates": panel.dates,
        "assets": panel.assets,
        "returns": other_nan,
        "prices": panel.prices,
        "dollar_volume": panel.dollar_volume,
        "cash_rate": panel.cash_rate,
        "features": panel.features,
        "feature_names": panel.feature_names,
        "tradable": panel.tradable,
        "periods_per_year": 252,
        "name": "another",
    }
    changes = {
        "dates": panel.dates + pd.Timedelta(days=1),
        "assets": list("ABCDEG"),
        "returns": np.where(panel.returns > 0.01, np.nan, panel.returns),
        "dollar_volume": None,
        "cash_rate": panel.cash_rate * 2,
        "features": panel.features * 2,
        "feature_names": ("x1", "x3"),
        "tradable": panel.tradable & (panel.prices > 50),
        "periods_per_year": 52,
    }

    assert MarketPanel(**parts).data_hash == panel.data_hash
    assert all(MarketPanel(**{**parts, k: v}).data_hash != panel.data_hash for k, v in changes.items())
