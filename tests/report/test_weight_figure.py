"""The picture of where objectives put their weight."""

from __future__ import annotations

import pandas as pd
import pytest

from backtest.errors import SettingsError
from backtest.report import drawing
from backtest.report.weight_figure import COLOURS, weight_figure


@pytest.fixture
def weights():
    """Three names and two directions under each objective; C is never scored."""
    aligned = {"A": 0.5, "B": 1.5, "C": float("nan"), "D": 1.0}
    rows = [
        {"objective": objective, "kind": "name", "item": item, "relative": value if objective == "aligned" else 1.0}
        for objective in COLOURS
        for item, value in aligned.items()
    ]
    rows += [
        {"objective": objective, "kind": kind, "item": item, "relative": 0.5}
        for objective in COLOURS
        for kind, item in (("factor", "factor <1>"), ("rest", "rest"), ("all", "all names"))
    ]
    return pd.DataFrame(rows)


def test_names_stand_by_their_weight_under_aligned_in_each_group(weights):
    figure = weight_figure(weights, groups={"A": "dear", "B": "cheap", "C": "cheap", "D": "dear"})

    points = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
    assert list(points) == ["squared", "whitened", "aligned"]
    assert list(points["aligned"].text) == ["D", "A", "B"]
    assert list(points["aligned"].y) == [1.0, 0.5, 1.5]
    assert [note.text for note in figure.layout.annotations] == ["dear", "cheap"]


def test_directions_are_bars_with_their_names_as_text(weights):
    figure = weight_figure(weights)

    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [list(bar.x) for bar in bars] == [["factor &lt;1&gt;", "rest"]] * 3
    assert not figure.layout.annotations


def test_a_name_without_a_group_is_named(weights):
    with pytest.raises(SettingsError, match=r"'B' has no group \(1 assets have none\)"):
        weight_figure(weights, groups={"A": "x", "D": "x"})


def test_an_objective_has_its_colour_in_every_chart():
    assert {name: drawing.colour_of(None, name) for name in COLOURS} == COLOURS
