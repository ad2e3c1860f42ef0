"""The optional tables of a panel: opens, VWAP, dividends, splits, volatility, members; and calendar days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from event_markets import raw_markets
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import DataError, LabelError
from backtest.market import Delisting, MarketPanel, SpinOff

DATES = pd.bdate_range("2020-01-01", periods=4)
TABLES = ("open_prices", "vwap", "dividends", "splits", "volatility", "members")
# dated in the last row, so that whatever is cut before it lacks them
LAST = {"delistings": [Delisting("B", DATES[3], -0.5)], "spin_offs": [SpinOff("A", "C", 0.2, DATES[3])]}


def table(*rows: list[float]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), index=DATES, columns=["A", "B", "C"])


def tables() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(3)
    prices = pd.DataFrame(np.exp(rng.normal(3, 0.1, (4, 3))), DATES, ["A", "B", "C"])
    return {
        "prices": prices,
        "open_prices": prices * 1.01,
        "vwap": prices * 0.99,
        "dividends": table([0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 0]),
        "splits": table([1, 1, 1], [1, 2, 1], [1, 1, 1], [1, 1, 0.5]),
        "volatility": prices / 1000,
        "members": table([True, False, True], [True, True, True], [False, True, True], [True, True, False]),
        "dollar_volume": prices * 1e6,
    }


def build(**changes) -> MarketPanel:
    return MarketPanel.from_prices(**{**tables(), **LAST, "periods_per_year": 252, "name": "test", **changes})


def test_tables_align_by_label_in_any_order() -> None:
    mixed = {name: frame[["C", "A", "B"]].iloc[::-1] for name, frame in tables().items() if name != "prices"}

    assert build(**mixed).data_hash == build().data_hash
    with pytest.raises(LabelError, match="test: splits: missing assets B: give exactly the assets of the panel"):
        build(splits=tables()["splits"].drop(columns="B"))
    with pytest.raises(LabelError, match="test: members: missing dates 2020-01-01"):
        build(members=tables()["members"].iloc[1:])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("open_prices", 0.0, "0 is not a positive price: write NaN where there is no price"),
        ("vwap", -1.0, "-1 is not a positive price"),
        ("vwap", np.inf, "inf is infinite"),
        ("dividends", -0.5, "-0.5 is no dividend: write currency a share, 0 where there is none"),
        ("splits", 0.0, "0 is no split: write the shares after it for each share before, 1 where there is none"),
        ("splits", -2.0, "-2 is no split"),
        ("volatility", -0.1, "-0.1 is a negative volatility: write NaN for what is unknown"),
    ],
)
def test_impossible_cells_are_named(field: str, value: float, message: str) -> None:
    frame = tables()[field].astype(float)
    frame.iat[2, 1] = value

    with pytest.raises(DataError, match=rf"test: {field}: row 2 \(2020-01-03\), column 'B': {message}"):
        build(**{field: frame})


@pytest.mark.parametrize("field", ["dividends", "splits"])
def test_the_constructor_wants_every_event_told(field: str) -> None:
    panel = build()
    values = getattr(panel, field).copy()
    values[1, 2] = np.nan

    with pytest.raises(DataError, match=rf"{field}: row 1 \(2020-01-02\), column 'C': nan is no"):
        replace(panel, **{field: values})


def test_members_are_true_or_false_and_can_be_outside_with_a_price() -> None:
    members = tables()["members"]
    panel = build()

    assert panel.members.dtype == bool
    assert not panel.members[2, 0]
    assert panel.tradable[2, 0]
    for same in (members.astype(int), members.astype(object), members.astype("boolean"), members.astype(float)):
        assert build(members=same).data_hash == panel.data_hash
    for cell, message in ((0.5, "0.5 is neither"), (np.nan, "nan is neither"), (pd.NA, "nan is neither")):
        wrong = members.astype(object)
        wrong.iat[2, 1] = cell
        with pytest.raises(DataError, match=rf"members: row 2 \(2020-01-03\), column 'B': {message} True nor False"):
            build(members=wrong)
    text = members.astype(object)
    text.iat[2, 1] = "yes"
    with pytest.raises(DataError, match=r"column 'B': row 2 .*'yes' .* is no number"):
        build(members=text)
    with pytest.raises(DataError, match=r"members is float64 of shape \(4, 3\), expected bool"):
        replace(panel, members=np.ones((4, 3)))


def test_until_select_and_replace_keep_every_table() -> None:
    panel = build()
    cut, chosen = panel.until(1), panel.select(["C", "A"])

    for field in TABLES:
        values = getattr(panel, field)
        np.testing.assert_array_equal(getattr(cut, field), values[:2])
        np.testing.assert_array_equal(getattr(chosen, field), values[:, [2, 0]])
        np.testing.assert_array_equal(getattr(replace(panel, name="other"), field), values)
        for array in (values, getattr(cut, field)):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_the_hash_sees_every_table_and_event() -> None:
    panel = build()
    changes = [
        {"open_prices": None},
        {"vwap": panel.vwap * 1.1},
        {"volatility": panel.volatility + 1},
        {"members": ~panel.members},
        {"dividends": panel.dividends * 2, "returns": np.full((4, 3), np.nan)},
        {"splits": panel.splits * 2, "returns": np.full((4, 3), np.nan)},
        {"delistings": [Delisting("B", DATES[3], -0.4)], "returns": np.full((4, 3), np.nan)},
        {"delistings": [Delisting("B", DATES[3], -0.5, "bankrupt")]},
        {"spin_offs": [SpinOff("A", "C", 0.3, DATES[3])], "returns": np.full((4, 3), np.nan)},
        {"returns": np.full((4, 3), np.nan)},
    ]
    hashes = {replace(panel, **change).data_hash for change in changes}

    assert len(hashes | {panel.data_hash}) == len(changes) + 1


def test_a_panel_without_the_new_fields_keeps_its_hash() -> None:
    prices = pd.DataFrame({"A": [10.0, 11.0, 12.0, 13.0]}, index=DATES)

    assert MarketPanel.from_prices(prices, periods_per_year=252).data_hash == (
        "237780cdb3ff2c4279bcc9f5264dbb4ffa55b9245f3c4e13165888f7a31a122a"
    )


def test_the_text_of_a_panel_names_what_is_known() -> None:
    text = repr(build())

    for word in (*TABLES, "dollar_volume", "1 delisting", "1 spin-off"):
        assert word in text
    assert "vwap" not in repr(build(vwap=None))
    assert "delisting" not in repr(build().until(2))


def test_a_snapshot_shows_volatility_and_days() -> None:
    panel = build()
    market = panel.at([2, 0])

    np.testing.assert_array_equal(market.volatility, panel.volatility[[2, 0]])
    assert market.days.tolist() == [3.0, 1.0]
    assert build(volatility=None).at(0).volatility is None


@pytest.mark.parametrize(
    ("dates", "per_year", "days"),
    [
        (pd.bdate_range("2020-01-01", "2020-01-10"), 252, [1, 1, 3, 1, 1, 1, 1, 3]),
        (pd.bdate_range("2020-01-01", "2020-01-09"), 252, [1, 1, 3, 1, 1, 1, 1]),
        (pd.date_range("2020-01-03", periods=3, freq="W-FRI"), 52, [7, 7, 7]),
        (pd.to_datetime(["2020-01-31", "2020-02-28", "2020-03-31"]), 12, [28, 32, 30]),
        (pd.DatetimeIndex(["2020-01-31"]), 12, [30]),
        (pd.DatetimeIndex(["2020-01-31"]), 252, [1]),
    ],
)
def test_days_reach_to_the_next_row_and_the_last_has_the_usual_gap(dates, per_year: float, days: list) -> None:
    panel = MarketPanel.from_returns(pd.DataFrame({"A": 0.0}, index=dates), periods_per_year=per_year)

    assert panel.days.tolist() == days
    assert not panel.days.flags.writeable


def test_volatility_and_members_come_with_returns_too() -> None:
    frame = table([0, 0, 0], [0.1, 0, 0], [0, 0, 0], [0, 0, 0]).astype(float)
    panel = MarketPanel.from_returns(
        frame, volatility=frame[["B", "A", "C"]], members=(frame == 0)[["C", "B", "A"]], periods_per_year=252
    )

    np.testing.assert_array_equal(panel.volatility, frame.to_numpy())
    np.testing.assert_array_equal(panel.members, frame.to_numpy() == 0)


@settings(max_examples=40, deadline=None)
@given(market=raw_markets(), cut=st.integers(0, 10), seed=st.integers(0, 5))
def test_a_garbled_future_is_valid_and_new_in_every_cell(market: dict, cut: int, seed: int) -> None:
    """Valid: `garbled_after` passes through the checks of the constructor, returns against prices too."""
    panel = MarketPanel.from_prices(**market)
    cut = min(cut, panel.n_periods - 1)
    garbled = panel.garbled_after(cut, seed=seed)
    end = panel.dates[cut]

    assert garbled.until(cut).data_hash == panel.until(cut).data_hash
    np.testing.assert_array_equal(garbled.tradable, panel.tradable)
    for field in ("returns", "prices", "open_prices", "vwap", "splits", "volatility", "dollar_volume"):
        old, new = getattr(panel, field)[cut + 1 :], getattr(garbled, field)[cut + 1 :]
        if field not in ("volatility", "dollar_volume"):
            np.testing.assert_array_equal(np.isnan(new), np.isnan(old))
        assert not (old == new).any(), field
    gone = np.zeros(panel.prices.shape, dtype=bool)
    for delisting in panel.delistings:
        gone[panel.row(delisting.date) + 1 :, list(panel.assets).index(delisting.asset)] = True
    assert ((panel.dividends != garbled.dividends) == ~gone)[cut + 1 :].all()
    for old, new in zip(panel.delistings, garbled.delistings, strict=True):
        assert (new.asset, new.date, new.reason) == (old.asset, old.date, old.reason)
        assert (new == old) == (old.date <= end)
    for old, new in zip(panel.spin_offs, garbled.spin_offs, strict=True):
        assert (new.parent, new.child, new.date) == (old.parent, old.child, old.date)
        assert (new.ratio == old.ratio) == (old.date <= end)


def test_a_garbled_future_without_prices_is_valid_too() -> None:
    frame = table([0, 0, 0], [0.1, 0, 0], [0, 0, 0], [0, np.nan, 0]).astype(float)
    panel = MarketPanel.from_returns(
        frame, members=frame == 0, delistings=[Delisting("B", DATES[2], -0.3)], periods_per_year=252
    )
    garbled = panel.garbled_after(1)

    assert garbled.until(1).data_hash == panel.until(1).data_hash
    assert garbled.delistings[0].delisting_return != -0.3
    np.testing.assert_array_equal(np.isnan(garbled.returns), np.isnan(panel.returns))
