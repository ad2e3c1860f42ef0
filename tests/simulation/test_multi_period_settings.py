"""What a plan of several trades is given: settings and tables of forecasts that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import DenseRisk
from backtest.errors import LabelError, SettingsError, SimulationError
from backtest.simulation.policies import MultiPeriod
from backtest.solver import PositionSolver

N = 5
ASSETS = pd.Index([f"N{i}" for i in range(N)])
DATES = pd.date_range("2020-01-01", periods=60, freq="D")
RISK = DenseRisk(1e-4 * np.eye(N))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, SettingsError, "horizon is None: give a number of periods"),
        ({"horizon": 0}, SettingsError, "horizon is 0"),
        ({"horizon": True}, SettingsError, "horizon is True"),
        ({"horizon": 2, "discount": 0.0}, SettingsError, "discount is 0.0"),
        ({"horizon": 2, "forecasts": np.zeros((60, 3, N))}, SettingsError, "horizon is 2, and the forecasts have 3"),
        ({"forecasts": np.zeros((60, N))}, SimulationError, r"shape \(60, 5\): give \(60, H, 5\)"),
        ({"forecasts": np.full((60, 2, N), np.inf)}, SimulationError, "2020-01-01, step 0, N0: infinite"),
        ({"forecasts": np.full((60, 2, N), np.nan)}, SimulationError, "no asset has a forecast for all steps"),
        ({"horizon": 2, "terminal": [0.1, 0.2]}, LabelError, "2 weights without labels"),
        ({"forecasts": pd.DataFrame(0.1, DATES, ASSETS)}, LabelError, r"give two labels, \(date, step\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        MultiPeriod(PositionSolver(RISK), **options).prepare(DATES, ASSETS, lag=1)


def table(dates, steps, columns=ASSETS):
    return pd.DataFrame(0.001, pd.MultiIndex.from_product([pd.to_datetime(dates), steps]), columns)


@pytest.mark.parametrize(
    ("forecasts", "message"),
    [
        (table(["2020-01-05"], [1, 2]), r"the steps are \[1, 2\]: number them 0, 1, 2"),
        (table(["2021-01-05"], [0, 1]), "2021-01-05 00:00:00 is no date of the panel"),
        (table(["2020-01-05", "2020-01-05"], [0, 1]), "is there twice"),
        (table(["2020-01-05"], [0, 1], ASSETS[:4]), "missing assets N4"),
    ],
)
def test_tables_of_forecasts_that_do_not_fit_are_refused(forecasts, message):
    with pytest.raises(LabelError, match=f"MultiPeriod: forecasts: .*{message}"):
        MultiPeriod(PositionSolver(RISK), forecasts=forecasts).prepare(DATES, ASSETS, lag=1)
