"""A position's answer to its own forecast, against what a solver of one name does in closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import PositionLimit, Ridge, TradingCost
from backtest.errors import SettingsError
from backtest.report import response_figure
from backtest.solver import PositionSolver

HALF_SPREAD, RIDGE, HELD, LIMIT = 1e-3, 0.02, 0.1, 0.3
FORECASTS = np.linspace(-0.01, 0.02, 301)


@pytest.fixture(scope="module")
def figure():
    costs = Ridge(RIDGE) + TradingCost(half_spread=HALF_SPREAD)
    solvers = {
        "with a limit": PositionSolver(costs, [PositionLimit(LIMIT)]),
        "ridge alone": PositionSolver(Ridge(RIDGE)),
    }
    p = pd.Series([0.001, 0.0], ["A", "B"])
    return response_figure(solvers, p, "B", forecasts=FORECASTS, held=np.array([0.0, HELD]))


def expected_position():
    buy, sell = (FORECASTS - HALF_SPREAD) / RIDGE, (FORECASTS + HALF_SPREAD) / RIDGE
    return np.clip(np.where(buy > HELD, buy, np.where(sell < HELD, sell, HELD)), -LIMIT, LIMIT)


def test_positions_and_slopes_are_those_of_one_name_alone(figure):
    position, slope, free, free_slope = (trace.y for trace in figure.data)
    moves = (np.abs(expected_position() - HELD) > 1e-9) & (np.abs(expected_position()) < LIMIT - 1e-9)

    np.testing.assert_allclose(position, 100 * expected_position(), atol=1e-9)
    np.testing.assert_allclose(free, 100 * FORECASTS / RIDGE, atol=1e-9)
    np.testing.assert_allclose(slope[moves], 0.01 / RIDGE)
    assert (slope[~moves] == 0).sum() >= (~moves).sum() - 4  # but at the very edges
    np.testing.assert_allclose(free_slope, 0.01 / RIDGE)


def test_the_stretches_without_a_gradient_are_shaded_and_named(figure):
    shades = [shape for shape in figure.layout.shapes if shape.yref == "y domain"]
    texts = [note.text.split(":")[0] for note in figure.layout.annotations if "gradient" in note.text]

    assert texts == ["at a limit", "no trade", "at a limit"]
    step = 1e4 * (FORECASTS[1] - FORECASTS[0])
    assert shades[1].x0 == pytest.approx(1e4 * (RIDGE * HELD - HALF_SPREAD), abs=1.01 * step)
    assert shades[1].x1 == pytest.approx(1e4 * (RIDGE * HELD + HALF_SPREAD), abs=1.01 * step)


@pytest.mark.parametrize(("p", "asset"), [(pd.Series([0.0], ["A"]), "B"), (np.zeros(2), 2), (np.zeros(2), "A")])
def test_a_name_that_is_not_there_is_refused(p, asset):
    with pytest.raises(SettingsError, match="no name"):
        response_figure({"ridge": PositionSolver(Ridge(1.0))}, p, asset, forecasts=[0.0, 1.0])


def test_forecasts_that_do_not_increase_are_refused():
    with pytest.raises(SettingsError, match="increasing"):
        response_figure({"ridge": PositionSolver(Ridge(1.0))}, np.zeros(2), 0, forecasts=[0.0, 0.0])
