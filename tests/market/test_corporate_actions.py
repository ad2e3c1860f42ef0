"""Delistings and spin-offs: checked one by one, against each other and against the panel they are in."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError
from backtest.market import Delisting, MarketPanel, SpinOff

DATES = pd.bdate_range("2020-01-01", periods=6)
NAN = float("nan")


def frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=DATES, dtype=float)


PRICES = frame(P=[10, 10, 8, 8, 8, 8], C=[NAN, NAN, 4, 4, 4, 4], D=[5, 5, 5, NAN, NAN, NAN])
SPIN_OFF = SpinOff("P", "C", 0.5, DATES[2])
DELISTING = Delisting("D", DATES[3], -0.3, "bankrupt")


def build(prices: pd.DataFrame = PRICES, **changes) -> MarketPanel:
    fields = {"delistings": [DELISTING], "spin_offs": [SPIN_OFF], "periods_per_year": 252, "name": "test"}
    return MarketPanel.from_prices(prices, **{**fields, **changes})


def test_events_are_frozen_values_that_read_dates() -> None:
    delisting = Delisting("D", "2020-01-06", -0.3, "bankrupt")

    assert delisting == DELISTING
    assert hash(delisting) == hash(DELISTING)
    assert SpinOff("P", "C", np.float64(0.5), DATES[2].date()) == SPIN_OFF
    with pytest.raises(FrozenInstanceError):
        delisting.asset = "E"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delisting("D", DATES[0], -1.5), "delisting of 'D' on 2020-01-01: delisting_return is -1.5: give a"),
        (lambda: Delisting("D", DATES[0], NAN), "delisting_return is nan: give a fraction"),
        (lambda: Delisting("D", DATES[0], np.inf), "delisting_return is inf"),
        (lambda: Delisting("D", DATES[0], "-0.3"), "delisting_return is '-0.3': give a number"),
        (lambda: Delisting("D", DATES[0], None), "delisting_return is None: give a number"),
        (lambda: Delisting(7, DATES[0], 0), "asset is 7: give text"),
        (lambda: Delisting("D", DATES[0], 0, None), "reason is None: give text"),
        (lambda: Delisting("D", "soon", 0), "delisting of 'D': date: row 0: 'soon' is not a date"),
        (lambda: SpinOff("P", "C", 0, DATES[0]), "spin-off of 'C' from 'P' on 2020-01-01: ratio is 0: give the shares"),
        (lambda: SpinOff("P", "C", NAN, DATES[0]), "ratio is nan"),
        (lambda: SpinOff("P", "C", True, DATES[0]), "ratio is True: give a number"),
        (lambda: SpinOff("P", "P", 1, DATES[0]), "parent and child are one name: give the child's label"),
        (lambda: SpinOff("P", "", 1, DATES[0]), "child is '': give text"),
        (lambda: SpinOff("P", "C", 1, pd.NaT), "the date is missing"),
    ],
)
def test_impossible_events_say_which_and_what_to_give(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delistings": [Delisting("X", DATES[3], 0)]}, "test: delisting of 'X': 'X' is no asset of the panel: add"),
        (
            {"delistings": [Delisting("D", "2020-01-04", 0)]},
            "delisting of 'D': no row is dated 2020-01-04.*2020-01-03 and 2020-01-06",
        ),
        (
            {"delistings": [DELISTING, Delisting("D", DATES[4], 0)]},
            "'D' leaves on 2020-01-06 and again on 2020-01-07: keep one",
        ),
        ({"delistings": [SPIN_OFF]}, r"test: delistings: SpinOff\(.* is no Delisting"),
        ({"delistings": DELISTING}, "is no sequence"),
        ({"delistings": [Delisting("D", DATES[1], 0)]}, r"prices: row 2 \(2020-01-03\), column 'D': 5 comes after the"),
        ({"spin_offs": [SpinOff("P", "X", 1, DATES[2])]}, "'X' is no asset of the panel"),
        ({"spin_offs": [SpinOff("P", "C", 1, "2020-01-05")]}, "no row is dated 2020-01-05"),
        ({"spin_offs": [SPIN_OFF, SPIN_OFF]}, "'C' from 'P' on 2020-01-03 is there twice: keep one"),
        (
            {"spin_offs": [SpinOff("P", "C", 1, DATES[1])]},
            r"prices: row 1 \(2020-01-02\), column 'C': no price is known by then, when 'P' spins it off: add",
        ),
        (
            {"spin_offs": [SpinOff("D", "C", 1, DATES[4])]},
            "'C' from 'D' on 2020-01-07: 'D' was delisted on 2020-01-06 already: correct one of the dates",
        ),
        (
            {"dividends": frame(P=[0] * 6, C=[0] * 6, D=[0, 0, 0, 0, 2, 0])},
            r"dividends: row 4 \(2020-01-07\), column 'D': 2 comes after the delisting of 'D'.*delisting_return",
        ),
        (
            {"open_prices": frame(P=[1] * 6, C=[1] * 6, D=[1] * 6)},
            r"open_prices: row 4 \(2020-01-07\), column 'D': 1 comes after.*write NaN.* \(2 such cells\)",
        ),
        ({"vwap": frame(P=[1] * 6, C=[1] * 6, D=[1] * 6)}, r"vwap: row 4 \(2020-01-07\), column 'D'"),
    ],
)
def test_events_that_contradict_the_panel_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(**changes)


def test_tradable_ends_with_the_row_before_a_delisting() -> None:
    panel = build(PRICES.fillna({"D": 5.0}).where(PRICES.index.to_series().le(DATES[3]), PRICES, axis=0))
    tradable = panel.tradable.copy()
    tradable[3, 2] = True

    assert panel.tradable[:, 2].tolist() == [True, True, True, False, False, False]
    with pytest.raises(DataError, match=r"row 3 \(2020-01-06\), column 'D': is True although 'D' is delisted"):
        replace(panel, tradable=tradable)


def test_order_does_not_matter() -> None:
    many = [SPIN_OFF, SpinOff("P", "D", 0.1, DATES[1])]
    first = build(spin_offs=many, delistings=[DELISTING, Delisting("C", DATES[5], 0.1)])
    second = build(spin_offs=many[::-1], delistings=[Delisting("C", DATES[5], 0.1), DELISTING])

    assert first.data_hash == second.data_hash
    assert first.spin_offs == second.spin_offs == tuple(many[::-1])
    assert [d.asset for d in first.delistings] == ["D", "C"]


def test_permuted_columns_give_the_same_panel() -> None:
    dividends, splits = frame(P=[0, 1, 0, 0, 0, 0], C=[0] * 6, D=[0] * 6), frame(P=[1] * 6, C=[1] * 6, D=[1] * 6)
    straight = build(dividends=dividends, splits=splits)
    mixed = build(PRICES[["D", "P", "C"]], dividends=dividends[["C", "D", "P"]], splits=splits[["P", "D", "C"]])

    assert mixed.select(["P", "C", "D"]).data_hash == straight.data_hash


def test_a_cut_panel_does_not_know_what_comes_later() -> None:
    panel = build()

    assert panel.until(DATES[1]).spin_offs == panel.until(DATES[1]).delistings == ()
    assert panel.until(DATES[2]).spin_offs == (SPIN_OFF,)
    assert panel.until(DATES[2]).delistings == ()
    assert panel.until(DATES[3]).delistings == (DELISTING,)


def test_selecting_keeps_events_whole() -> None:
    panel = build()

    assert panel.select(["C"]).spin_offs == panel.select(["C"]).delistings == ()
    assert panel.select(["C", "P"]).spin_offs == (SPIN_OFF,)
    assert panel.select(["D"]).delistings == (DELISTING,)
    np.testing.assert_array_equal(panel.select(["C", "P"]).returns, panel.returns[:, [1, 0]])
    with pytest.raises(LabelError, match=r"'P' without 'C', which it spun off on 2020-01-03.*keep 'C' too"):
        panel.select(["P", "D"])


def test_copies_keep_events() -> None:
    panel = build()

    for same in (pickle.loads(pickle.dumps(panel)), copy.deepcopy(panel), replace(panel, name="other")):
        assert same.data_hash == panel.data_hash
        assert same.delistings == panel.delistings
        assert same.spin_offs == panel.spin_offs


def test_returns_alone_take_a_delisting_after_the_return_of_its_row() -> None:
    returns = frame(A=[0, 0.1, 0.5, NAN, NAN, NAN], B=[0, 0.1, NAN, NAN, NAN, NAN])
    leaving = [Delisting("A", DATES[2], -0.3), Delisting("B", DATES[4], -0.3)]
    panel = MarketPanel.from_returns(returns, delistings=leaving, periods_per_year=252)

    np.testing.assert_allclose(panel.returns[:, 0], [0, 0.1, 0.05, NAN, NAN, NAN], rtol=1e-12)
    np.testing.assert_allclose(panel.returns[:, 1], [0, 0.1, NAN, NAN, -0.3, NAN], rtol=1e-12)
    assert panel.tradable.T.tolist() == [[True, True, *[False] * 4]] * 2


def test_returns_alone_know_no_events_of_prices() -> None:
    returns = frame(A=[0.0] * 6)
    fields = {"dates": DATES, "assets": ["A"], "returns": returns, "periods_per_year": 252}

    for field in ("dividends", "splits", "open_prices", "vwap"):
        with pytest.raises(DataError, match=f"{field} without prices: pass prices too, or leave {field} out"):
            MarketPanel(**fields, **{field: np.ones((6, 1))})
    with pytest.raises(DataError, match="spin_offs without prices"):
        MarketPanel(
            **{**fields, "assets": ["A", "B"], "returns": np.zeros((6, 2))}, spin_offs=[SpinOff("A", "B", 1, DATES[0])]
        )
    with pytest.raises(DataError, match=r"returns: row 2 \(2020-01-03\), column 'A': 0 comes after the delisting"):
        MarketPanel.from_returns(returns, delistings=[Delisting("A", DATES[1], 0)], periods_per_year=252)
    with pytest.raises(DataError, match=r"row 5 \(2020-01-08\), column 'A': the return of the period of its delisting"):
        MarketPanel(**{**fields, "returns": np.full((6, 1), np.nan)}, delistings=[Delisting("A", DATES[5], 0)])
