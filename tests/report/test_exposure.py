"""Charts of what is held: longs, shorts, names, and predicted beside realized risk."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.report.charts import CHARTS, charts_of
from backtest.report.exposure import (
    has_predicted_risk,
    names_held_figure,
    predicted_volatility_figure,
    risk_ratio_figure,
    sides_figure,
)


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    return make_comparison(
        {name: rng.normal(0.003, 0.02, (2, 120)) for name in ("squared", "aligned")},
        ruined_at={"squared": {1: 60}},
    )


def test_longs_and_shorts_are_the_halves_of_gross_and_net_exposure(comparison):
    for result in comparison.results.values():
        result.leverage[:], result.net_exposure[:] = 1.5, 0.5
    figure = sides_figure(comparison)
    longs, shorts = figure.data[:2]

    assert np.allclose(longs.y, 100.0)
    assert np.allclose(shorts.y, -50.0)
    assert [longs.showlegend, shorts.showlegend] == [True, False]
    assert shorts.meta == "squared, shorts"


def test_names_held_are_counted_over_books(comparison):
    result = comparison.results["aligned"]
    result.positions[0, :, 2] = 0.25  # three names in one book, two in the other

    figure = names_held_figure(comparison)

    assert np.allclose(figure.data[1].y, 2.5)


def test_predicted_risk_is_annual_and_a_ruined_book_has_none(comparison):
    figure = predicted_volatility_figure(comparison)
    squared, aligned = figure.data

    assert np.allclose(aligned.y, 100 * 0.02 * np.sqrt(52))
    assert squared.y[0] == pytest.approx(100 * 0.02 * np.sqrt(52))
    assert squared.y[-1] == pytest.approx(100 * 0.02 * np.sqrt(52) / 2, rel=1e-5)


def test_realized_over_predicted_is_one_for_a_model_that_is_right(make_comparison):
    comparison = make_comparison({"a": np.random.default_rng(1).normal(0, 0.02, (1, 5000))}, periods_per_year=1000)
    ratio = np.array(risk_ratio_figure(comparison).data[0].y)

    assert np.allclose(ratio, 1.0, atol=0.07)


def test_a_ratio_of_a_book_that_holds_nothing_is_left_out(make_comparison):
    comparison = make_comparison({"a": np.full((1, 60), 0.001)})
    comparison.results["a"].predicted_volatility[:] = 0.0

    assert np.isnan(np.array(risk_ratio_figure(comparison).data[0].y)).all()


def test_without_a_risk_model_its_charts_are_left_out(comparison):
    comparison.results["squared"].predicted_volatility = None

    assert not has_predicted_risk(comparison)
    left_out = {chart.key for chart in CHARTS} - {chart.key for chart in charts_of(comparison)}
    assert left_out == {"predicted", "ratio"}
