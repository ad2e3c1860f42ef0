"""Rounding to whole shares: against every rounding there is, on small books; and what it promises on large ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from every_rounding import (
    KINDS,
    NEAR,
    check_against_all,
    every_rounding,
    excess_in_lots,
    own_limits_leave_a_choice,
    random_book,
    rate,
    round_row,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.costs import (
    CashFloor,
    Constraint,
    DollarNeutral,
    FactorLimit,
    FactorRisk,
    FullyInvested,
    GroupLimit,
    LeverageLimit,
    LinearLimit,
    LongOnly,
    NoTrade,
    PositionBounds,
    PositionLimit,
    RiskLimit,
    TurnoverLimit,
)
from backtest.errors import SimulationError
from backtest.market import MarketSnapshot
from backtest.simulation.whole_shares import GAP, WIDER, WholeShares, round_to_shares

modest = settings(deadline=None, max_examples=40, derandomize=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_the_target_keeps_is_kept_by_the_nearest_of_all_roundings_that_keep_it(kind):
    stages = [
        check_against_all(book) for seed in range(12) if own_limits_leave_a_choice(book := random_book(seed, (kind,)))
    ]

    assert len(stages) >= 5
    assert {"strict", "loose"} & set(stages)


@modest
@given(st.integers(0, 2**31), st.sets(st.sampled_from(KINDS), min_size=2, max_size=4))
def test_several_limits_are_kept_whenever_some_rounding_keeps_them(seed, kinds):
    book = random_book(seed, tuple(sorted(kinds)))
    if own_limits_leave_a_choice(book):
        check_against_all(book)


LINEAR = tuple(kind for kind in KINDS if "risk" not in kind)


@modest
@given(st.integers(0, 2**31), st.sets(st.sampled_from(LINEAR), min_size=2, max_size=4))
def test_where_no_rounding_keeps_all_limits_the_one_that_breaks_them_least_is_taken_or_what_is_held(seed, kinds):
    book = random_book(seed, tuple(sorted(kinds)), nasty=True)
    every = every_rounding(book, WIDER)
    if not own_limits_leave_a_choice(book) or rate(book, every).loose.any():
        return
    result = book.rounded()
    x = np.where(result.untouched[0], book.held, result.shares[0] * book.lot)

    size = book.lot[book.tradable].max(initial=0) or 1.0
    merit = excess_in_lots(book, every) + 1e-3 * np.abs(every - book.q).sum(axis=1) / size
    mine, held = excess_in_lots(book, np.array([x, book.held]))
    if result.held_back[0]:
        assert held <= merit.min() * (1 + GAP) + 1e-4
    else:
        assert mine <= held
        assert mine + 1e-3 * np.abs(x - book.q).sum() / size <= merit.min() * (1 + GAP) + 1e-4


@modest
@given(st.integers(0, 2**31), st.sets(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_a_target_that_breaks_its_limits_is_repaired_or_refused(seed, kinds):
    book = random_book(seed, tuple(sorted(kinds)), nasty=True)
    if own_limits_leave_a_choice(book):
        check_against_all(book)


# What is pinned by hand.


def test_five_names_at_a_fifth_each_get_twenty_shares():
    result = round_row([0.2] * 5, FullyInvested(), LongOnly(), price=10.0, wealth=1000.0)

    np.testing.assert_array_equal(result.shares, [[20.0] * 5])
    assert not result.untouched.any()
    assert not result.broken


def test_shares_that_cost_more_than_the_target_is_worth_are_not_bought_and_half_a_share_goes_to_the_smaller_position():
    result = round_row([0.04, 0.25, -0.25, 0.26, -0.26], price=500.0, wealth=1000.0)

    np.testing.assert_array_equal(result.shares, [[0.0, 0.0, 0.0, 1.0, -1.0]])


def test_a_limit_on_one_position_rounds_down_what_would_be_nearer_above():
    result = round_row([0.099, -0.099, 0.08], PositionLimit(0.099), price=10.0, wealth=1000.0)

    np.testing.assert_array_equal(result.shares, [[9.0, -9.0, 8.0]])


def test_the_leverage_limit_holds_for_longs_and_shorts():
    # The nearest, 6, -4 and 3 lots of 0.1, are 1.3 of wealth together; the last gives way at the least cost.
    result = round_row([0.57, -0.37, 0.26], LeverageLimit(1.2), price=100.0, wealth=1000.0)

    np.testing.assert_array_equal(result.shares, [[6.0, -4.0, 2.0]])


def test_turnover_counts_from_a_holding_that_is_not_whole():
    held = [0.25, -0.25]  # 2.5 shares each: each costs half a share to round, either way
    result = round_row([0.26, -0.34], TurnoverLimit(0.1), price=100.0, wealth=1000.0, held=held)

    np.testing.assert_array_equal(result.shares, [[3.0, -3.0]])


def test_lots_of_a_hundred():
    result = round_row([0.26, -0.44], price=1.0, wealth=1000.0, lot=100.0)

    np.testing.assert_array_equal(result.shares, [[300.0, -400.0]])


def test_what_cannot_be_traded_stays_to_the_last_fraction_whatever_its_limits_say_and_counts_in_the_others():
    held = np.array([0.3337, 0.0, 0.0])
    tradable = [False, True, True]
    # 0.3337 + 0.4 + 0.3 is above 1; for 0.38 it costs least to give way.
    result = round_row(
        [np.nan, 0.38, 0.29],
        PositionLimit(0.4),
        PositionBounds(upper=[0.1, 1.0, 1.0]),
        CashFloor(0.0),
        price=100.0,
        held=held,
        tradable=tradable,
    )

    np.testing.assert_array_equal(result.shares, [[held[0] * 1000.0 / 100.0, 3.0, 3.0]])
    np.testing.assert_array_equal(result.untouched, [[True, False, False]])
    assert not result.broken


def test_a_fraction_on_the_no_trade_list_stays_a_fraction():
    held = [0.15, 0.15]
    result = round_row([0.15, 0.15], NoTrade([True, False]), price=100.0, wealth=1000.0, held=held)

    assert result.shares[0, 0] == 0.15 * 1000.0 / 100.0
    assert result.shares[0, 1] == 1.0
    np.testing.assert_array_equal(result.untouched, [[True, False]])


def test_a_limit_that_leaves_neither_whole_shares_nor_what_is_held_is_named_with_what_is_missing():
    result = round_row([0.12, 0.3], PositionBounds([0.11, 0.0], [0.13, 1.0]), price=100.0, wealth=1000.0)

    np.testing.assert_array_equal(result.shares, [[1.0, 3.0]])
    assert result.broken[0] == {"PositionBounds": pytest.approx(0.01)}


def test_where_no_whole_shares_keep_what_the_holding_keeps_nothing_is_traded():
    # A sum from 0.4 to 0.45 with shares of 0.3; held is a fraction of one.
    limit = LinearLimit(np.ones((1, 2)), 0.4, 0.45)
    held = [0.42, 0.0]
    result = round_row([0.21, 0.21], limit, price=300.0, wealth=1000.0, held=held)

    assert result.held_back[0]
    assert result.untouched.all()
    np.testing.assert_array_equal(result.shares, [[0.42 * 1000.0 / 300.0, 0.0]])
    assert not result.broken
    assert result.refused[0] == {"LinearLimit(0.4, 0.45)": pytest.approx(0.1)}


def test_where_nothing_keeps_a_limit_what_breaks_it_least_is_taken_and_named():
    limit = LinearLimit(np.ones((1, 2)), 0.4, 0.45)
    result = round_row([0.21, 0.21], limit, price=300.0, wealth=1000.0)

    assert not result.held_back.any()
    assert result.shares.sum() == 1.0
    assert result.broken[0] == {"LinearLimit(0.4, 0.45)": pytest.approx(0.1)}
    assert not result.refused


def test_a_row_that_is_told_to_stay_trades_nothing_even_where_it_breaks_a_limit():
    held = [0.3, 0.2]
    result = round_row(held, PositionLimit(0.25), FullyInvested(), price=100.0, wealth=1000.0, held=held)

    np.testing.assert_allclose(result.shares, [[3.0, 2.0]], rtol=1e-15)
    assert result.untouched.all()
    assert not result.held_back.any()
    assert result.broken[0] == {"PositionLimit(0.25)": pytest.approx(0.05), "FullyInvested": pytest.approx(0.5)}


def test_an_equality_that_nothing_tradable_moves_is_reported_and_spoils_nothing():
    groups = ["bank", "bank", "shop"]
    result = round_row(
        [0.0, 0.0, 0.34],
        GroupLimit(groups, {"bank": 0.5}, {"bank": 0.5}),
        price=100.0,
        held=[0.1, 0.1, 0.0],
        tradable=[False, False, True],
    )

    np.testing.assert_allclose(result.shares, [[1.0, 1.0, 3.0]], rtol=1e-15)
    assert not result.held_back.any()
    assert result.broken[0] == {"GroupLimit": pytest.approx(0.3)}


def test_one_dear_share_does_not_excuse_the_others_from_being_fully_invested():
    price = np.array([700.0, 10.0, 11.0, 12.0, 13.0])
    result = round_row([0.3, 0.175, 0.175, 0.175, 0.175], FullyInvested(), price=price, wealth=1000.0)
    invested = float(result.shares[0] @ price) / 1000.0

    # Within half of the dearest share, 0.35, is all that whole shares this near to the target can do.
    assert abs(invested - 1) <= 0.35
    assert not result.broken

    price[0] = 280.0
    result = round_row([0.3, 0.175, 0.175, 0.175, 0.175], FullyInvested(), price=price, wealth=1000.0)
    invested = float(result.shares[0] @ price) / 1000.0

    # The nearest leave 0.02; half of the middle share, 0.006, can be had.
    assert abs(invested - 1) <= 0.006


# What holds for all.


def batch_of(n_rows: int, n: int = 12, seed: int = 3) -> dict:
    rng = np.random.default_rng(seed)
    price = np.exp(rng.normal(3.5, 0.8, n))
    q = rng.normal(size=(n_rows, n)) * 0.1
    q -= q.mean(axis=1, keepdims=True)
    held = rng.normal(size=(n_rows, n)) * 0.02
    groups = np.arange(n) % 3
    loadings = rng.normal(size=(n, 2))
    turnover = np.abs(q - held).sum(axis=1, keepdims=True)
    out_of_reach = np.where(np.arange(n_rows) == 2, 2.0, -np.inf)[:, None]
    risk = FactorRisk(loadings, np.eye(2) * 1e-4, np.full(n, 2e-4))
    volatility = np.sqrt(((q @ loadings) ** 2).sum(axis=1) * 1e-4 + (q**2).sum(axis=1) * 2e-4)[:, None]

    def constraints(rows: slice) -> list[Constraint]:
        limits = np.where(np.arange(n_rows)[:, None] % 2 == 0, 0.0, 0.02)[rows]
        return [
            DollarNeutral(),
            PositionLimit(0.25),
            TurnoverLimit(turnover[rows]),
            RiskLimit(risk, volatility=volatility[rows]),
            # An equality in every other row: alone it is one, in the batch it comes as two inequalities.
            FactorLimit(loadings, lower=q[rows] @ loadings - limits, upper=q[rows] @ loadings + limits),
            GroupLimit(groups, -0.4, 0.4),
            GroupLimit(np.where(np.arange(n) < 6, "a", None), lower=out_of_reach[rows]),
        ]

    return {
        "q": q,
        "held": held,
        "price": price,
        "wealth": rng.uniform(1000, 20000, n_rows),
        "tradable": rng.random((n_rows, n)) > 0.1,
        "constraints": constraints,
    }


def round_batch(batch: dict, rows: slice) -> WholeShares:
    return round_to_shares(
        batch["q"][rows],
        batch["held"][rows],
        price=batch["price"],
        wealth=batch["wealth"][rows],
        constraints=batch["constraints"](rows),
        market=None,
        tradable=batch["tradable"][rows],
    )


def test_a_batch_is_its_rows_one_by_one_to_the_last_bit_and_so_is_the_same_once_more():
    batch = batch_of(8)
    together = round_batch(batch, slice(None))
    again = round_batch(batch, slice(None))
    alone = [round_batch(batch, slice(row, row + 1)) for row in range(8)]

    np.testing.assert_array_equal(together.shares, again.shares)
    np.testing.assert_array_equal(together.shares, np.vstack([one.shares for one in alone]))
    np.testing.assert_array_equal(together.untouched, np.vstack([one.untouched for one in alone]))
    np.testing.assert_array_equal(together.held_back, np.concatenate([one.held_back for one in alone]))
    assert together.broken == {row: one.broken[0] for row, one in enumerate(alone) if 0 in one.broken}
    assert together.broken
    assert together.refused == {row: one.refused[0] for row, one in enumerate(alone) if 0 in one.refused}


@pytest.mark.parametrize(("seed", "n"), [(0, 10), (1, 10), (2, 10), (3, 10), (4, 40), (5, 40)])
def test_the_order_of_the_names_does_not_matter_even_where_targets_and_prices_are_equal(seed, n):
    rng = np.random.default_rng(seed)
    names = pd.Index([f"N{i}" for i in range(n)])
    price, q = rng.choice([37.0, 90.0], n), np.round(rng.normal(size=n) * 0.1, 1)
    groups = pd.Series(rng.integers(0, 3, n), index=names)
    loadings = pd.DataFrame(rng.normal(size=(n, 2)), index=names)
    limits = (
        DollarNeutral(),
        LeverageLimit(np.abs(q).sum()),
        GroupLimit(groups, upper=0.1),
        FactorLimit(loadings, upper=loadings.to_numpy().T @ q),
    )
    order = rng.permutation(n)
    one = round_row(q, *limits, price=price, wealth=2000.0, market=MarketSnapshot(assets=names))
    other = round_row(q[order], *limits, price=price[order], wealth=2000.0, market=MarketSnapshot(assets=names[order]))

    np.testing.assert_array_equal(other.shares[0], one.shares[0, order])
    assert other.broken == one.broken
    assert other.refused == one.refused


def test_inputs_come_back_untouched_and_a_ruined_book_is_left_alone():
    q, held = np.array([[0.33, 0.2], [np.nan, np.nan]]), np.array([[0.1, 0.0], [np.nan, np.nan]])
    wealth, tradable = np.array([1000.0, -5.0]), np.ones((2, 2), dtype=bool)
    given = [array.copy() for array in (q, held, wealth, tradable)]
    result = round_to_shares(
        q,
        held,
        price=np.array([100.0, 30.0]),
        wealth=wealth,
        constraints=[FullyInvested()],
        market=None,
        tradable=tradable,
    )

    np.testing.assert_array_equal(result.untouched[1], [True, True])
    assert np.isnan(result.shares[1]).all()
    assert 1 not in result.broken
    for array, before in zip((q, held, wealth, tradable), given, strict=True):
        np.testing.assert_array_equal(array, before)


def test_a_name_without_a_price_that_is_neither_held_nor_tradable_has_no_shares():
    result = round_row([0.3, np.nan], LongOnly(), price=[100.0, np.nan], tradable=[True, False])

    np.testing.assert_array_equal(result.shares, [[3.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": [np.nan, 10.0]}, "row 0, asset 0: price is nan"),
        ({"price": [10.0, 0.0]}, "row 0, asset 1: price is 0.0"),
        ({"q": [0.1, np.inf]}, "row 0, asset 1: the target weight is inf"),
        ({"held": [np.nan, 0.0]}, "row 0, asset 0: the weight held is nan"),
        ({"lot": 0.0}, "lot is 0.0"),
    ],
)
def test_what_is_no_number_is_refused_with_its_place(change, message):
    settings = {"q": [0.1, 0.2], "price": [10.0, 10.0]} | change
    with pytest.raises(SimulationError, match=message):
        round_row(settings.pop("q"), **settings)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SimulationError, match=r"\(1, 2\), \(1, 3\)"):
        round_row([0.1, 0.2], price=[10.0, 10.0], held=[0.0, 0.0, 0.0])


@pytest.mark.parametrize("wealth", [1e5, 1e6, 1e8])
def test_five_hundred_names_stay_neutral_within_every_limit(wealth):
    rng = np.random.default_rng(7)
    n, price = 500, np.exp(rng.normal(4, 1, 500))
    groups = rng.integers(0, 11, n)
    members = np.array([groups == name for name in range(11)], dtype=float)
    # A target on the edge of all its limits: names at theirs, half of the groups at theirs, all the leverage used.
    q = np.where(rng.random(n) < 0.5, 0.01, rng.uniform(0, 0.01, n)) * rng.choice([-1.0, 0.0, 1.0], n)
    q -= (q.sum() / np.count_nonzero(q)) * (q != 0)
    most, leverage, by_group = np.abs(q).max(), np.abs(q).sum(), members @ q
    upper = by_group + 0.02 * (np.arange(11) % 2)
    result = round_row(
        q,
        DollarNeutral(),
        PositionLimit(most),
        LeverageLimit(leverage),
        GroupLimit(groups, by_group - 0.02, upper),
        price=price,
        wealth=wealth,
    )
    lot = price / wealth
    x = result.shares[0] * lot

    assert not result.broken
    assert not result.held_back.any()
    np.testing.assert_array_equal(result.shares, np.rint(result.shares))
    assert np.abs(x).max() <= most + NEAR
    assert np.abs(x).sum() <= leverage + 2 * NEAR
    assert (members @ x <= upper + NEAR).all()
    assert (members @ x >= by_group - 0.02 - NEAR).all()
    assert abs(x.sum()) <= np.median(lot[(q != 0) & (lot <= most)]) / 2 + NEAR
    within = np.clip(np.rint(q / lot), -np.floor(most / lot + NEAR), np.floor(most / lot + NEAR)) * lot
    assert np.abs(x - q).sum() <= 1.25 * np.abs(within - q).sum()
