"""Performance measures against numbers worked out by hand, and faults reported elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import (
    annual_return,
    annual_volatility,
    drawdown,
    information_coefficient,
    max_drawdown,
    mean_annual_return,
    performance_table,
    sharpe_ratio,
    sortino_ratio,
    total_return,
)
from backtest.errors import DataError, SettingsError


def test_the_first_period_counts_in_the_drawdown():
    """CASES 24."""
    assert max_drawdown(np.array([-0.10, 0.0, 0.05])) == pytest.approx(-0.10, abs=1e-15)


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([0.05, 0.10], 0.0),
        ([0.10, -0.50, 1.0, -0.25], -0.50),
        ([-0.10, -0.10, 0.50], -0.19),
        ([0.20, -1.0], -1.0),
        ([0.0, -1.5, 0.0], -1.5),
    ],
)
def test_max_drawdown_is_the_deepest_fall_below_an_earlier_high(returns, expected):
    assert max_drawdown(np.array(returns)) == pytest.approx(expected, abs=1e-15)


def test_drawdown_keeps_the_shape_and_labels_of_its_input():
    dates = pd.bdate_range("2020-01-01", periods=3)
    frame = pd.DataFrame({"x": [-0.1, 0.0, 0.05], "y": [0.1, -0.5, 1.0]}, index=dates)

    result = drawdown(frame)

    pd.testing.assert_frame_equal(result, pd.DataFrame({"x": [-0.1, -0.1, -0.055], "y": [0.0, -0.5, 0.0]}, index=dates))
    pd.testing.assert_series_equal(drawdown(frame["x"]), result["x"])


def test_growth_of_26_equal_weeks():
    """CASES 25: 26 weekly returns of 0.6%, 52 weeks a year."""
    weeks = np.full(26, 0.006)

    assert total_return(weeks) == pytest.approx(0.1682815, abs=5e-8)
    assert annual_return(weeks, periods_per_year=52) == pytest.approx(0.3648817, abs=5e-8)


def test_large_returns_are_never_taken_for_prices():
    """CASES 26."""
    assert sharpe_ratio(np.array([0.2, 1.3, 0.4, 0.1]), periods_per_year=252) == pytest.approx(14.491, abs=5e-4)


def test_downside_deviation_averages_over_all_periods():
    """CASES 27."""
    returns = np.array([0.01, -0.02, 0.03, 0.005, -0.01])

    assert sortino_ratio(returns, periods_per_year=252) == pytest.approx(4.7623524, abs=5e-8)


@pytest.mark.parametrize("level", [0.0, 0.006, -0.1, 1e-9])
@pytest.mark.parametrize("n", [2, 7, 1000])
def test_constant_returns_have_no_sharpe_ratio_and_the_table_says_so(level, n):
    """CASES 28; a warning would fail the test."""
    returns = np.full(n, level)

    table = performance_table({"flat": returns}, periods_per_year=52)

    assert np.isnan(sharpe_ratio(returns, periods_per_year=52))
    assert "constant" in table.loc["flat", "note"]
    assert table.loc["flat", "mean_annual_return"] == pytest.approx(52 * level)


def test_returns_constant_up_to_rounding_have_no_sharpe_ratio():
    prices = 100 * 1.006 ** np.arange(200)
    returns = prices[1:] / prices[:-1] - 1

    assert returns.std() > 0
    assert np.isnan(sharpe_ratio(returns, periods_per_year=52))


@pytest.mark.parametrize("periods_per_year", [252, 52, 12])
def test_the_year_is_the_one_given_and_a_business_day_index_changes_nothing(periods_per_year):
    """CASES 29."""
    values = np.random.default_rng(0).normal(0.001, 0.01, 252)
    labelled = pd.Series(values, index=pd.bdate_range("2020-01-01", periods=252))
    growth = np.prod(1 + values)

    assert annual_return(values, periods_per_year=periods_per_year) == pytest.approx(
        growth ** (periods_per_year / 252) - 1
    )
    for measure in (annual_return, mean_annual_return, annual_volatility, sharpe_ratio, sortino_ratio):
        plain = measure(values, periods_per_year=periods_per_year)
        assert measure(labelled, periods_per_year=periods_per_year) == plain


def test_a_batch_equals_a_loop_over_its_rows():
    batch = np.random.default_rng(1).normal(0.0, 0.02, (3, 50))
    frame = pd.DataFrame(batch.T, columns=list("abc"))

    for measure in (annual_return, mean_annual_return, annual_volatility, sharpe_ratio, sortino_ratio):
        loop = [measure(row, periods_per_year=12) for row in batch]
        np.testing.assert_allclose(measure(batch, periods_per_year=12), loop, rtol=1e-14)
        pd.testing.assert_series_equal(measure(frame, periods_per_year=12), pd.Series(loop, index=list("abc")))


@pytest.mark.parametrize("later", [0.5, -3.0, np.nan])
def test_nothing_is_earned_after_ruin(later):
    returns = np.array([0.0, -1.5, later])

    assert annual_return(returns, periods_per_year=52) == -1.0
    assert total_return(returns) == -1.5
    assert max_drawdown(returns) == -1.5


def test_an_unknown_return_makes_every_measure_unknown():
    returns = np.array([0.01, np.nan, 0.02])

    table = performance_table({"gap": returns}, periods_per_year=52)

    assert table.loc["gap"].drop("note").isna().all()
    assert "1 of 3" in table.loc["gap", "note"]


def test_sharpe_ratio_is_in_excess_of_cash():
    returns = np.array([0.01, 0.03, -0.01, 0.02])

    excess = sharpe_ratio(returns, periods_per_year=12, cash_return=0.005)

    assert excess == pytest.approx(sharpe_ratio(returns - 0.005, periods_per_year=12))


@pytest.mark.parametrize(
    ("returns", "words"),
    [(np.array([]), "no period"), (np.array([0.1, np.inf]), "period 1 "), (np.array(["a"]), "numbers")],
)
def test_returns_that_cannot_be_measured_are_refused(returns, words):
    with pytest.raises(DataError, match=words):
        total_return(returns)


@pytest.mark.parametrize("periods_per_year", [0, -52, np.nan, np.inf])
def test_an_impossible_year_is_refused(periods_per_year):
    with pytest.raises(SettingsError, match="periods_per_year"):
        sharpe_ratio(np.array([0.1, 0.2]), periods_per_year=periods_per_year)


def test_information_coefficient_is_the_mean_of_spearman_correlations():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    y = rng.normal(size=(40, 9))
    p = 0.3 * y + rng.normal(size=y.shape)
    p[:, 3] = p[:, 4]  # ties
    p[5, :4], y[7, 2] = np.nan, np.nan

    result = information_coefficient(p, y)

    daily = np.array(
        [spearmanr(*(x[t][np.isfinite(p[t]) & np.isfinite(y[t])] for x in (p, y))).statistic for t in range(40)]
    )
    assert result.mean == pytest.approx(daily.mean(), abs=1e-13)
    assert result.t_statistic == pytest.approx(daily.mean() / daily.std(ddof=1) * np.sqrt(40), rel=1e-11)
    assert result.n_dates == 40


def test_dates_without_a_rank_correlation_are_left_out():
    p = np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 2.0], [5.0, 5.0, 5.0], [3.0, 1.0, 2.0]])
    y = np.tile([0.1, 0.2, 0.3], (4, 1))

    result = information_coefficient(p, y)

    assert result.n_dates == 2
    assert result.mean == pytest.approx((1.0 - 0.5) / 2)


def test_no_usable_date_gives_nan_and_different_shapes_are_refused():
    assert np.isnan(information_coefficient(np.full((4, 5), np.nan), np.ones((4, 5))).mean)
    with pytest.raises(DataError, match=r"\(4, 5\)"):
        information_coefficient(np.ones((4, 5)), np.ones((4, 6)))
