"""The power statement against closed forms and against tests of simulated differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from backtest.analysis import long_run_variance, power_statement
from backtest.errors import DataError, SettingsError


def test_the_periods_needed_are_those_of_the_textbook():
    """(1.960 + 0.842)^2 = 7.849 times variance over squared mean."""
    x = np.random.default_rng(0).normal(0.1, 1.0, 500)

    statement = power_statement(x, periods_per_year=50)

    variance = long_run_variance(x)
    assert statement.periods_needed == pytest.approx(7.8489 * variance / x.mean() ** 2, rel=1e-4)
    assert statement.years_needed == pytest.approx(statement.periods_needed / 50)
    assert statement.smallest_difference == pytest.approx(2.80159 * np.sqrt(variance / 500), rel=1e-5)
    assert statement.deviation == pytest.approx(np.sqrt(variance))


@pytest.mark.parametrize("power", [0.8, 0.5])
def test_a_history_as_long_as_stated_shows_the_difference_that_often(power):
    """4,000 t-tests at 5%: three standard errors of the share are 2.4%."""
    rng = np.random.default_rng(1)
    x = rng.normal(0.0, 2.0, 400)
    x += 0.4 - x.mean()
    n = round(power_statement(x, periods_per_year=12, power=power).periods_needed)

    shown = ttest_1samp(rng.normal(0.4, np.sqrt(long_run_variance(x)), (4000, n)), 0.0, axis=1).pvalue < 0.05

    assert shown.mean() == pytest.approx(power, abs=0.03)


def test_the_smallest_difference_would_need_exactly_this_history():
    x = np.random.default_rng(2).normal(0.0, 0.01, 260)
    smallest = power_statement(x, periods_per_year=52).smallest_difference

    statement = power_statement(x - x.mean() + smallest, periods_per_year=52)

    assert statement.periods_needed == pytest.approx(260)


def test_dependence_sign_and_units():
    """An AR(1) of root 0.5 needs (1 + r) / (1 - r) = 3 times as long as independent returns of its variance."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(20_000)
    for t in range(1, len(x)):
        x[t] += 0.5 * x[t - 1]
    x += 0.1 - x.mean()

    base = power_statement(x, periods_per_year=52)

    independent = 7.8489 * x.var() / 0.1**2
    assert base.periods_needed == pytest.approx(3 * independent, rel=0.1)
    assert power_statement(-1e-4 * x, periods_per_year=52).periods_needed == pytest.approx(base.periods_needed)


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (0.0, "no length of history would tell it from luck; 10.0 years could show "),
        (1e-9, "would need more than 10,000 years to be told from luck"),
        (0.0005, "would need about "),
    ],
)
def test_the_words(mean, words):
    x = np.random.default_rng(4).normal(0.0, 0.01, 520)
    x += mean - x.mean()

    statement = power_statement(x, periods_per_year=52)

    assert statement.sentence.startswith(words)
    assert statement.sentence.endswith("% a year (power 80%)")
    assert (statement.to_dict()["years_needed"] == np.inf) == (mean == 0.0)


def test_years_are_said_with_the_digits_they_deserve():
    x = np.random.default_rng(5).normal(0.0, 0.01, 520)
    x = (x - x.mean()) / np.sqrt(long_run_variance(x))

    def needed(years):
        distance = norm.ppf(0.975) + norm.ppf(0.8)
        return power_statement(x + distance / np.sqrt(52 * years), periods_per_year=52).needed

    assert needed(41.2) == "would need about 41 years to be told from luck"
    assert needed(3.14) == "would need about 3.1 years to be told from luck"
    assert needed(2345.0) == "would need about 2,345 years to be told from luck"


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(50), "constant"),
        (np.arange(10.0), "too few"),
        (np.r_[np.arange(30.0), np.nan], "not finite"),
        (np.array([]), "too few"),
    ],
)
def test_a_statement_that_cannot_be_made_says_why(x, words):
    statement = power_statement(x, periods_per_year=52)

    assert words in statement.reason
    assert words in statement.sentence
    assert np.isnan(statement.periods_needed)
    assert np.isnan(statement.smallest_difference)


def test_impossible_settings_are_refused():
    x = np.arange(30.0)

    for settings in ({"level": 95}, {"power": 1.0}, {"periods_per_year": 0}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            power_statement(x, **({"periods_per_year": 52} | settings))
    with pytest.raises(DataError, match=r"\(30, 2\)"):
        power_statement(np.ones((30, 2)), periods_per_year=52)
