"""Capacity in one picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import Capacity
from backtest.report.capacity_figure import capacity_figure, short_sum


def capacity(net, *, half, zero):
    table = pd.DataFrame({"net": net, "gross": 0.3}, index=pd.Index([1e6, 1e7, 1e8], name="wealth"))
    return Capacity(table, half, zero, (), None)


def test_every_policy_has_its_net_and_gross_line_and_its_ends_where_they_are_known():
    figure = capacity_figure(
        {
            "small": capacity([0.2, 0.0, -0.4], half=3.2e6, zero=1e7),
            "large <1>": capacity([0.2, 0.15, 0.12], half=np.nan, zero=np.nan),
        }
    )

    lines = [trace for trace in figure.data if "lines" in trace.mode]
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [trace.name for trace in lines if trace.showlegend is not False] == [
        "small, half left at 3.2 M, nothing at 10 M",
        "large &lt;1&gt;",
    ]
    assert lines[0].y.tolist() == [20.0, 0.0, -40.0]
    assert lines[1].y.tolist() == [30.0, 30.0, 30.0]
    assert [(mark.x[0], mark.y[0], mark.marker.symbol) for mark in marks] == [(3.2e6, 10.0, "diamond"), (1e7, 0.0, "x")]
    assert figure.layout.xaxis.ticktext == ("1 M", "10 M", "100 M")


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.5, "0.5"), (999.4, "999"), (999.6, "1 k"), (12_345, "12.3 k"), (2.5e6, "2.5 M"), (1e9, "1 B"), (3e12, "3 T")],
)
def test_sums_are_said_in_three_digits(amount, text):
    assert short_sum(amount) == text
