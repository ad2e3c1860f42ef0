"""Scores of eras as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import SettingsError
from backtest.numerai import ScoreTable, era_figure, score_difference_figure
from backtest.report import COLOURS


@pytest.fixture
def table():
    """Two scores of three objectives, two seeds each, in eight eras; FNC is missing in the third."""
    values = np.random.default_rng(0).normal(size=(8, 2, 6))
    values[2, 1] = np.nan
    return ScoreTable(
        values=values,
        eras=tuple(range(61, 69)),
        scores=("CORR20v2", "FNC"),
        objectives=("squared",) * 2 + ("aligned",) * 2 + ("<mine>",) * 2,
        seeds=(0, 1) * 3,
        lags=1,
    )


def test_scores_add_up_over_eras_and_a_missing_one_adds_nothing(table):
    figure = era_figure(table, "FNC")

    assert [trace.name for trace in figure.data] == ["squared", "aligned", "&lt;mine&gt;"]
    for trace, name in zip(figure.data, table.names, strict=True):
        scores = table.by_era("FNC", name)
        assert trace.y[-1] == pytest.approx(np.nansum(scores))
        assert trace.y[2] == trace.y[1]
    assert figure.data[0].x[0] == "0061"
    assert figure.data[1].line.color == COLOURS["aligned"]
    with pytest.raises(SettingsError, match="no 'MMC'"):
        era_figure(table, "MMC")


@pytest.mark.parametrize("base", [None, "aligned"])
def test_differences_stand_in_standard_errors_from_the_base(table, base):
    figure = score_difference_figure(table, base)
    base = base or "squared"

    others = [name for name in table.names if name != base]
    assert len(figure.data) == len(others)
    for trace, name in zip(figure.data, others, strict=True):
        for score, x in zip(table.scores, trace.x, strict=True):
            found = table.difference(score, name, base)
            assert x == pytest.approx(found.mean / found.error)
    band = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == (-2, 2)
