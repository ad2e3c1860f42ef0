"""Equal risk: exact in hindsight, blind to the future when it is to be, and what it does to a difference."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.analysis import equal_risk
from backtest.errors import DataError, SettingsError


@pytest.fixture
def books():
    rng = np.random.default_rng(0)
    market = rng.normal(0.001, 0.01, 200)
    return market + rng.normal(0, 0.005, 200), 0.4 * market + rng.normal(0, 0.002, 200)


def test_in_hindsight_both_books_have_the_volatility_of_the_first(books):
    a, b = books

    factors = equal_risk(a, b)

    assert (factors.factor_a == 1.0).all()
    assert (factors.factor_b * b).std(ddof=1) == pytest.approx(a.std(ddof=1))
    assert factors.first == 0


def test_in_hindsight_the_difference_is_volatility_times_the_sharpe_difference(books):
    """mean(a) - (sd a / sd b) mean(b) = sd a (mean a / sd a - mean b / sd b)."""
    a, b = books

    difference = equal_risk(a, b).difference(a, b)

    sharpe_difference = a.mean() / a.std(ddof=1) - b.mean() / b.std(ddof=1)
    assert difference.mean() == pytest.approx(a.std(ddof=1) * sharpe_difference)


def test_a_stated_volatility_is_reached_by_both(books):
    a, b = books

    factors = equal_risk(a, b, volatility=0.02)

    assert (factors.factor_a * a).std(ddof=1) == pytest.approx(0.02)
    assert (factors.factor_b * b).std(ddof=1) == pytest.approx(0.02)


def test_a_levered_copy_is_no_different_at_equal_risk(books):
    a, _ = books

    for settings in ({}, {"warm_up": 30}, {"volatility": 0.01}):
        np.testing.assert_allclose(equal_risk(a, 3 * a, **settings).difference(a, 3 * a), 0.0, atol=1e-16)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_with_a_warm_up_each_factor_is_that_of_the_rows_known_when_deciding(books, lag):
    a, b = books

    factors = equal_risk(a, b, warm_up=30, lag=lag)

    assert factors.first == 30 + lag
    assert np.isnan(factors.factor_b[: 30 + lag]).all()
    for s in (30 + lag, 99, 199):
        expected = a[: s - lag].std(ddof=1) / b[: s - lag].std(ddof=1)
        assert factors.factor_b[s] == pytest.approx(expected)
    assert factors.difference(a, b).shape == (170 - lag,)


def test_with_a_warm_up_a_garbled_future_changes_no_factor_before_it(books):
    """Row 100 decides first with what was known two rows before it: rows up to 98."""
    a, b = books
    garbled_a, garbled_b = a.copy(), b.copy()
    garbled_a[99:], garbled_b[99:] = -7.0 * a[99:], np.random.default_rng(1).normal(size=101)

    for volatility in (None, 0.01):
        before = equal_risk(a, b, warm_up=30, volatility=volatility)
        after = equal_risk(garbled_a, garbled_b, warm_up=30, volatility=volatility)

        np.testing.assert_array_equal(before.factor_a[:101], after.factor_a[:101])
        np.testing.assert_array_equal(before.factor_b[:101], after.factor_b[:101])
        assert before.factor_b[101] != after.factor_b[101]


def test_the_difference_of_seeds_averages_to_that_of_the_books(books):
    rng = np.random.default_rng(2)
    a, b = (book + rng.normal(0, 0.001, (3, 200)) for book in books)
    factors = equal_risk(a.mean(axis=0), b.mean(axis=0), warm_up=40)

    np.testing.assert_allclose(
        factors.difference(a, b).mean(axis=0), factors.difference(a.mean(axis=0), b.mean(axis=0)), atol=1e-15
    )


def test_books_that_cannot_be_rescaled_say_why(books):
    a, b = books
    idle_first = np.where(np.arange(200) < 40, 0.0, b)

    for result, words in (
        (equal_risk(a, np.zeros(200)), "constant"),
        (equal_risk(a[:10], b[:10]), "too few"),
        (equal_risk(np.where(np.arange(200) == 3, np.nan, a), b), "not finite"),
        (equal_risk(a, b, warm_up=199), "200 periods leave none after a warm-up of 199 and a lag of 1"),
        (equal_risk(a, idle_first, warm_up=30), "in the warm-up of 30 periods: the series is constant"),
    ):
        assert words in result.reason
        assert np.isnan(result.factor_b).all()


def test_impossible_settings_are_refused(books):
    a, b = books

    for settings in ({"volatility": 0.0}, {"volatility": np.nan}, {"warm_up": 19}, {"lag": -1}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            equal_risk(a, b, **settings)
    with pytest.raises(DataError, match="200 periods and b 199"):
        equal_risk(a, b[1:])
