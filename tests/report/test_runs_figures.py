"""Charts of several runs: what is drawn is what their documents say, run by run."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from backtest.report.recorded_series import series_of
from backtest.report.runs_figures import differences_figure, gross_to_net_figure, has_differences, wealth_figures
from backtest.report.runs_page import Run


@pytest.fixture
def runs(make_comparison):
    made = []
    for seed, names in enumerate([("squared", "aligned"), ("squared", "aligned", "whitened")]):
        rng = np.random.default_rng(seed)
        made.append(make_comparison({name: rng.normal(0.003, 0.02, (2, 60)) for name in names}))
    return [Run(f"run {i}", each.to_dict(), series_of(each)) for i, each in enumerate(made)]


def table_of(figure):
    return pd.read_csv(io.StringIO(figure.layout.meta["csv"]))


def test_wealth_has_a_chart_an_objective_and_a_line_a_run(runs):
    figures = wealth_figures(runs)

    assert {name: [line.name for line in figure.data] for name, figure in figures.items()} == {
        "squared": ["run 0", "run 1"],
        "aligned": ["run 0", "run 1"],
        "whitened": ["run 1"],
    }
    last = runs[1].series.query("objective == 'whitened'")["wealth"].iloc[-1]
    assert figures["whitened"].data[0].y[-1] == pytest.approx(last, rel=1e-6)
    styles = [{line.line.color for line in (figure.data[-1],)} for figure in figures.values()]
    assert styles[0] == styles[1] == styles[2]


def test_differences_are_those_of_the_documents_with_their_intervals(runs):
    table = table_of(differences_figure(runs)).set_index(["pair", "run"])
    expected = {
        (f"{each['a']} - {each['b']}", run.name): [100 * each["mean"], *(100 * end for end in each["interval"])]
        for run in runs
        for each in run.document["differences"]
        if each["quantity"] == "net"
    }

    assert len(table) == len(expected) == 4
    for key, numbers in expected.items():
        assert table.loc[key].tolist() == pytest.approx(numbers)


def test_an_interval_that_is_not_known_is_no_bar(runs):
    for each in runs[0].document["differences"]:
        each["interval"] = [None, None]
    figure = differences_figure(runs[:1])

    assert [shape for shape in figure.layout.shapes if shape.y0 == shape.y1] == []
    assert len(figure.data) == 1


def test_gross_and_net_are_marked_and_joined(runs):
    table = table_of(gross_to_net_figure(runs)).set_index(["objective", "run"])
    numbers = runs[1].document["objectives"]["whitened"]

    assert len(table) == 5
    assert table.loc["whitened", "run 1"].tolist() == pytest.approx([100 * numbers["gross"], 100 * numbers["net"]])


def test_runs_that_compared_nothing_have_no_differences(make_comparison):
    alone = make_comparison({"only": np.full((1, 30), 0.001)})

    assert not has_differences([Run("a", alone.to_dict())])


def test_names_cannot_become_markup(runs):
    hostile = [Run("<b>x", run.document, run.series) for run in runs]

    for figure in (*wealth_figures(hostile).values(), differences_figure(hostile), gross_to_net_figure(hostile)):
        assert "<b>x" not in str(figure.layout.yaxis.ticktext) + str([line.name for line in figure.data])
