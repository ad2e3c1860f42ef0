"""Long the top, short the bottom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation.policies import RankLongShort

NAN = np.nan


def decided(policy, p, held=None, tradable=None):
    p = np.atleast_2d(np.array(p, dtype=float))
    held = np.zeros(p.shape) if held is None else np.atleast_2d(np.array(held, dtype=float))
    tradable = np.ones(p.shape, bool) if tradable is None else np.atleast_2d(tradable)
    return policy.decide(p, held, MarketSnapshot(), tradable)


def test_equal_weights_by_hand():
    q = decided(RankLongShort(2, 1), [0.1, 0.5, -0.2, 0.3, 0.0])

    np.testing.assert_allclose(q, [[0, 0.25, -0.5, 0.25, 0]], rtol=0, atol=1e-15)


def test_rank_weights_by_hand():
    q = decided(RankLongShort(3, 2, leverage=2.0, weights="rank"), [0.1, 0.5, -0.2, 0.3, -0.1, 0.0])

    # Long 3, 2 and 1 sixths of 1; short 2 and 1 thirds of 1.
    np.testing.assert_allclose(q, [[1 / 6, 3 / 6, -2 / 3, 2 / 6, -1 / 3, 0]], rtol=0, atol=1e-15)


def test_one_side_alone_gets_all_the_leverage():
    p = [0.1, 0.5, -0.2, 0.3]

    np.testing.assert_allclose(decided(RankLongShort(2, 0), p), [[0, 0.5, 0, 0.5]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(decided(RankLongShort(0, 0.5), p), [[-0.5, 0, -0.5, 0]], rtol=0, atol=1e-15)


def test_of_equal_forecasts_the_first_asset_ranks_higher():
    q = decided(RankLongShort(1, 1), [0.0, 0.2, 0.2, -0.1, -0.1])

    np.testing.assert_allclose(q, [[0, 0.5, 0, 0, -0.5]], rtol=0, atol=1e-15)


def test_a_name_without_a_forecast_keeps_what_it_holds_out_of_its_side():
    q = decided(RankLongShort(1, 1), [NAN, 0.2, 0.1, NAN, -0.1], held=[0.2, 0.1, 0.1, 0.0, -0.3])

    # 0.2 of the long half is taken; nothing new is bought without a forecast; the middle is sold.
    np.testing.assert_allclose(q, [[0.2, 0.3, 0, 0, -0.5]], rtol=0, atol=1e-15)


def test_a_side_that_is_full_with_what_is_stuck_gets_no_more():
    q = decided(RankLongShort(1, 1), [0.3, 0.2, -0.1], held=[0.9, 0.0, 0.0], tradable=[False, True, True])

    np.testing.assert_allclose(q, [[0.9, 0, -0.5]], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("long", "short", "n", "expected"),
    [
        (5, 5, 7, (3, 3)),
        (5, 1, 4, (3, 1)),
        (1, 5, 4, (1, 3)),
        (1, 1, 1, (0, 0)),
        (3, 0, 2, (2, 0)),
        (0.1, 0.1, 5, (1, 1)),
        (0.1, 0.1, 35, (3, 3)),
        (0.5, 0.5, 7, (3, 3)),
        (1.0, 0, 7, (7, 0)),
        (0.3, 0.7, 10, (3, 7)),
        (2, 0.5, 3, (2, 1)),
        (3, 0.5, 4, (2, 1)),
    ],
)
def test_how_many_names_are_on_each_side(long, short, n, expected):
    q = decided(RankLongShort(long, short), np.arange(n))[0]

    assert ((q > 0).sum(), (q < 0).sum()) == expected


def slow(p, held, tradable, *, n_long, n_short, leverage, weights):
    """One book, one name after the other; counts that fit."""
    ranked = sorted((i for i in range(len(p)) if tradable[i] and not np.isnan(p[i])), key=lambda i: (-p[i], i))
    q = [0.0 if i in ranked else held[i] for i in range(len(p))]
    sides = [(1, ranked[:n_long], n_long), (-1, ranked[::-1][:n_short], n_short)]
    for sign, names, wanted in sides:
        if not wanted:
            continue
        room = leverage / (2 if n_long and n_short else 1)
        for i in range(len(p)):
            if i not in ranked and sign * held[i] > 0:
                room -= abs(held[i])
        score = {name: len(names) - place if weights == "rank" else 1 for place, name in enumerate(names)}
        for name in names:
            q[name] = sign * max(room, 0.0) * score[name] / sum(score.values())
    return q


@settings(deadline=None)
@given(data=st.data())
def test_any_book_against_a_loop_over_names(data):
    n_long, n_short = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)).filter(any))
    options = {"leverage": data.draw(st.floats(0.1, 5)), "weights": data.draw(st.sampled_from(["equal", "rank"]))}
    forecast = st.one_of(st.just(NAN), st.floats(-1, 1), st.sampled_from([0.0, 0.5]))
    p = data.draw(arrays.arrays(float, (2, 8), elements=forecast))
    held = data.draw(arrays.arrays(float, (2, 8), elements=st.floats(-0.3, 0.3)))
    tradable = data.draw(arrays.arrays(bool, (2, 8)))
    # Both sides must fit: four names that are always there.
    p[:, :4], tradable[:, :4] = np.nan_to_num(p[:, :4]), True

    q = decided(RankLongShort(n_long, n_short, **options), p, held, tradable)

    for book in range(2):
        expected = slow(p[book], held[book], tradable[book], n_long=n_long, n_short=n_short, **options)
        np.testing.assert_allclose(q[book], expected, rtol=1e-12, atol=1e-14)


@settings(deadline=None)
@given(
    p=arrays.arrays(float, (1, 9), elements=st.one_of(st.just(NAN), st.floats(-1, 1)), unique=True),
    sides=st.tuples(*[st.one_of(st.integers(1, 12), st.floats(0.01, 0.5))] * 2),
    weights=st.sampled_from(["equal", "rank"]),
)
def test_the_negative_forecast_with_the_sides_exchanged_gives_the_negative_book(p, sides, weights):
    q = decided(RankLongShort(*sides, weights=weights), p)
    mirrored = decided(RankLongShort(*sides[::-1], weights=weights), -p)
    ranked = np.isfinite(p).sum()

    np.testing.assert_allclose(mirrored, -q, rtol=0, atol=1e-14)
    np.testing.assert_allclose(q.sum(), 0, atol=1e-14)
    np.testing.assert_allclose(np.abs(q).sum(), 1.0 if ranked >= 2 else 0.0, rtol=1e-12)
    assert (q[np.isnan(p)] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long": -1}, "long is -1"),
        ({"short": 1.5}, "short is 1.5"),
        ({"long": True}, "long is True"),
        ({"long": 0, "short": 0}, "both 0"),
        ({"long": 0.6, "short": 0.5}, "more than all names"),
        ({"leverage": 0}, "leverage is 0"),
        ({"weights": "linear"}, "weights is 'linear'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        RankLongShort(**options)
