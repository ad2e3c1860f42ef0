"""The check that users run on their strategies: honest ones pass, each kind of cheat is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.contracts import check_strategy
from backtest.errors import SettingsError, StrategyError
from backtest.market import MarketPanel, simulate_market
from backtest.strategy import Strategy


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (40, 3)), axis=0))
    return MarketPanel.from_prices(
        pd.DataFrame(prices, pd.date_range("2020-01-01", periods=40), ["AAA", "BBB", "CCC"]),
        periods_per_year=252,
    )


class Honest(Strategy):
    """Forecasts the mean return so far."""

    def fit(self, history):
        self.mean = np.nanmean(history.returns, axis=0)

    def predict(self, history):
        return self.mean


def test_an_honest_strategy_passes(panel):
    check_strategy(Honest, panel)
    check_strategy(Honest, panel, rows=[10, 20])


def test_a_strategy_that_reaches_past_its_history_is_caught(panel):
    class Peeks(Honest):
        def predict(self, history):
            whole = history.returns.base  # `until` gives views of the whole panel
            return whole[min(history.n_periods, len(whole) - 1)].copy()

    with pytest.raises(
        StrategyError,
        match=r"Peeks looks ahead: its forecast for AAA on 2020-01-20 .*2020-01-20 was replaced",
    ):
        check_strategy(Peeks, panel)


def test_a_strategy_that_learns_from_the_future_in_fit_is_caught(panel):
    class FitsTheFuture(Honest):
        def fit(self, history):
            whole = history.returns if history.returns.base is None else history.returns.base
            self.mean = np.nanmean(whole, axis=0)

    with pytest.raises(StrategyError, match="FitsTheFuture looks ahead"):
        check_strategy(FitsTheFuture, panel)


def test_a_strategy_that_draws_unseeded_numbers_is_caught(panel):
    generator = np.random.default_rng(0)

    class Random(Honest):
        def predict(self, history):
            return generator.normal(size=history.n_assets)

    with pytest.raises(StrategyError, match="Random is not deterministic: its forecast for AAA"):
        check_strategy(Random, panel)


def test_state_that_leaks_from_one_instance_to_the_next_is_caught(panel):
    class Leaks(Honest):
        calls = 0

        def predict(self, history):
            Leaks.calls += 1
            return np.full(history.n_assets, float(Leaks.calls))

    with pytest.raises(StrategyError, match="Leaks is not deterministic"):
        check_strategy(Leaks, panel)


def test_writing_on_history_is_caught(panel):
    class Writes(Honest):
        def fit(self, history):
            returns = history.returns if history.returns.base is None else history.returns.base
            returns.setflags(write=True)
            returns[1] = 0.5
            self.mean = np.zeros(history.n_assets)

    with pytest.raises(StrategyError, match="Writes changes the history"):
        check_strategy(Writes, panel)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2), r"shape \(2,\), expected \(3,\)"),
        (np.zeros((3, 1)), r"shape \(3, 1\)"),
        (np.array([0.0, np.inf, 0.0]), "the forecast for BBB is inf"),
        (["a", "b", "c"], "not numbers"),
        (None, "expected"),
        (np.full(3, np.nan), "no view on any name on 2020-02-08"),
    ],
)
def test_a_forecast_that_is_not_one_number_an_asset_is_named_with_its_date(panel, value, message):
    class Wrong(Honest):
        def predict(self, history):
            return value

    with pytest.raises(StrategyError, match=f"Wrong.*{message}"):
        check_strategy(Wrong, panel)


def test_a_factory_that_makes_no_strategy_is_refused(panel):
    with pytest.raises(StrategyError, match="is no Strategy"):
        check_strategy(lambda: 3, panel)


@pytest.mark.parametrize("rows", [[], [39], [-1], [20, 10], [10, 10]])
def test_rows_out_of_range_or_order_are_refused(panel, rows):
    with pytest.raises(SettingsError, match="must increase"):
        check_strategy(Honest, panel, rows=rows)


def test_what_is_no_panel_is_refused_with_the_cure():
    with pytest.raises(
        SettingsError, match=r"SimulatedMarket: pass a MarketPanel; that of a simulated market is its \.panel"
    ):
        check_strategy(Honest, simulate_market(5, 60, 2, seed=0))
