"""Single charts: the page's own, with title and unit, and empty ones in the same look."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import SettingsError
from backtest.report import PALETTE, blank_chart, chart, chart_names, titled
from backtest.report.charts import CHARTS
from backtest.report.drawing import blank_figure


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    return make_comparison({name: rng.normal(1e-3, 1e-2, (2, 60)) for name in ("squared", "aligned")})


def test_every_chart_of_the_page_can_be_had_alone_with_its_title_and_unit(comparison):
    for name in chart_names(comparison):
        figure = chart(comparison, name)
        shown = next(each for each in CHARTS if each.key == name)

        assert shown.title in figure.layout.title.text
        assert figure.layout.title.subtitle.text
        assert len(figure.data) == len(shown.draw(comparison).data)
        assert figure.layout.paper_bgcolor == "#ffffff"


def test_a_long_line_is_thinned_and_keeps_its_ends(comparison):
    whole, thin = chart(comparison, "wealth"), chart(comparison, "wealth", points=7)

    for before, after in zip(whole.data, thin.data, strict=True):
        assert len(after.x) == len(after.y) == 7
        assert (after.x[0], after.x[-1]) == (before.x[0], before.x[-1])
        assert (after.y[0], after.y[-1]) == (before.y[0], before.y[-1])


def test_a_chart_that_is_not_there_is_refused_with_the_names_of_those_that_are(comparison):
    with pytest.raises(SettingsError, match="no chart 'welth': choose from wealth"):
        chart(comparison, "welth")


def test_a_chart_whose_data_are_missing_is_refused(make_comparison):
    too_short = make_comparison({"squared": np.full((1, 5), 1e-3)})

    assert "volatility" not in chart_names(too_short)
    with pytest.raises(SettingsError, match="no data for 'volatility': choose from wealth"):
        chart(too_short, "volatility")


def test_an_empty_chart_says_what_it_will_show():
    figure = blank_chart("Costs < gains", "bp a day", height=300)

    assert figure.layout.title.text == "<b>Costs &lt; gains</b>"
    assert figure.layout.title.subtitle.text == "bp a day"
    assert len(figure.data) == 0
    assert len(set(PALETTE)) == len(PALETTE)


def test_a_figure_without_a_title_can_be_given_one():
    figure = titled(blank_figure(height=200), "Weights", "% of wealth")

    assert figure.layout.title.text == "<b>Weights</b>"
    assert figure.layout.height > 200
    assert figure.layout.plot_bgcolor == "#ffffff"
