"""The loop from a strategy to forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.errors import SettingsError, StrategyError
from backtest.market import MarketPanel
from backtest.strategy import Strategy, forecast, grinold_forecast, trailing_volatility


@pytest.fixture
def panel():
    returns = np.random.default_rng(0).normal(0, 0.01, (12, 2))
    return MarketPanel.from_returns(
        pd.DataFrame(returns, pd.date_range("2020-01-01", periods=12), ["A", "B"]), periods_per_year=252
    )


class Remembers(Strategy):
    """Forecasts its last fit's number of rows, and keeps a diary."""

    def __init__(self):
        self.fits, self.predictions = [], []

    def fit(self, history):
        self.fits.append(history.n_periods - 1)

    def predict(self, history):
        self.predictions.append(history.n_periods - 1)
        return np.full(history.n_assets, float(self.fits[-1]))


@pytest.mark.parametrize(("every", "fits"), [(None, [4]), (1, list(range(4, 12))), (3, [4, 7, 10])])
def test_it_fits_at_the_first_row_and_as_often_as_asked(panel, every, fits):
    strategy = Remembers()
    p = forecast(strategy, panel, first_row=4, refit_every=every)

    assert strategy.fits == fits
    assert strategy.predictions == list(range(4, 12))
    assert np.isnan(p[:4]).all()
    assert p[-1].tolist() == [fits[-1]] * 2


def test_a_forecast_array_that_the_strategy_reuses_is_copied(panel):
    class Reuses(Remembers):
        buffer = np.zeros(2)

        def predict(self, history):
            self.buffer += 1
            return self.buffer

    assert forecast(Reuses(), panel, first_row=9)[9:, 0].tolist() == [1, 2, 3]


def test_no_view_is_allowed_and_an_infinite_forecast_is_not(panel):
    class Sometimes(Remembers):
        value = np.nan

        def predict(self, history):
            return np.array([0.1, self.value])

    assert np.isnan(forecast(Sometimes(), panel, first_row=0)[:, 1]).all()
    Sometimes.value = -np.inf
    with pytest.raises(StrategyError, match="Sometimes: 2020-01-03: the forecast for B is -inf"):
        forecast(Sometimes(), panel, first_row=2)


@pytest.mark.parametrize("options", [{"first_row": 12}, {"first_row": -1}, {"first_row": 3, "refit_every": 0}])
def test_rows_out_of_range_are_refused(panel, options):
    with pytest.raises(SettingsError):
        forecast(Remembers(), panel, **options)


def test_progress_is_told_after_every_row(panel):
    told = []
    forecast(Remembers(), panel, first_row=10, progress=lambda done, total: told.append((done, total)))

    assert told == [(1, 2), (2, 2)]


def test_grinolds_rule_is_ic_times_volatility_times_score_spread_over_the_horizon():
    view = grinold_forecast(
        np.array([1.0, 2.0, 3.0, np.nan, 9.0]), np.array([0.01, 0.02, 0.03, 0.01, np.nan]), ic=0.1, horizon=4
    )

    score = np.array([-1, 0, 1]) / np.sqrt(2 / 3)
    np.testing.assert_allclose(view[:3], 0.1 * np.array([0.01, 0.02, 0.03]) * 2 * score / 4)
    assert np.isnan(view[3:]).all()


def test_one_name_alone_has_no_score_and_equal_signals_have_score_0():
    assert np.isnan(grinold_forecast(np.array([1.0]), np.array([0.1]), ic=0.1, horizon=1)).all()
    assert grinold_forecast(np.ones(3), np.ones(3), ic=0.1, horizon=1).tolist() == [0, 0, 0]


def test_an_outlier_is_cut_at_three_standard_deviations():
    signal = np.append(np.zeros(99), 1e9)

    assert grinold_forecast(signal, np.ones(100), ic=1.0, horizon=1)[-1] == 3.0


def test_trailing_volatility_needs_most_of_its_window():
    returns = np.array([[0.01, np.nan], [0.03, np.nan], [np.nan, 0.01], [0.02, 0.02], [0.02, 0.03]])

    volatility = trailing_volatility(returns)
    np.testing.assert_allclose(volatility[0], np.std([0.01, 0.03, 0.02, 0.02], ddof=1))
    assert np.isnan(volatility[1])
