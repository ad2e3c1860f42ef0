"""What every shipped strategy must keep, and what each one forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.contracts import check_strategy
from backtest.errors import CostError, StrategyError
from backtest.market import MarketPanel
from backtest.strategy import forecast
from backtest.training import TrainingSettings
from strategies.linear import Linear
from strategies.momentum import Momentum
from strategies.network import Network
from strategies.reversal import Reversal


def small_network():
    return Network(settings=TrainingSettings(hidden=(4, 4), epochs=3), seeds=(0, 1))


STRATEGIES = [Momentum, Reversal, Linear, small_network]


def panel_of(returns, *, features=None, periods_per_year=52, names=None, prices=True):
    returns = np.asarray(returns, dtype=float)
    names = names or [f"N{i}" for i in range(returns.shape[1])]
    dates = pd.date_range("2015-01-02", periods=len(returns), freq="7D")
    table = 100 * np.cumprod(1 + returns, axis=0) if prices else returns
    make = MarketPanel.from_prices if prices else MarketPanel.from_returns
    panel = make(pd.DataFrame(table, dates, names), periods_per_year=periods_per_year)
    if features is not None:
        panel = panel.with_features(features, tuple(f"f{k}" for k in range(features.shape[2])))
    return panel


@pytest.fixture
def market():
    """120 weeks, 6 names: one listed late, one with a gap, one delisted; features that miss now and then."""
    rng = np.random.default_rng(3)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, (120, 6)), axis=0))
    prices[:70, 1], prices[55:58, 2], prices[100:, 3] = np.nan, np.nan, np.nan
    features = rng.normal(size=(120, 6, 3))
    features[rng.random(features.shape) < 0.05] = np.nan
    panel = MarketPanel.from_prices(
        pd.DataFrame(prices, pd.date_range("2015-01-02", periods=120, freq="7D"), list("ABCDEF")),
        periods_per_year=52,
    )
    return panel.with_features(features, ("f", "g", "h"))


@pytest.mark.parametrize("factory", STRATEGIES)
def test_every_strategy_keeps_its_contract_and_looks_at_nothing_after_today(factory, market):
    check_strategy(factory, market)


@pytest.mark.parametrize("factory", STRATEGIES)
def test_forecasts_up_to_t_are_bit_equal_whatever_follows(factory, market):
    first = forecast(factory(), market, first_row=70, refit_every=20)
    for cut in (75, 100):
        second = forecast(factory(), market.garbled_after(cut), first_row=70, refit_every=20)

        assert first[: cut + 1].tobytes() == second[: cut + 1].tobytes()
        assert first[cut + 1 :].tobytes() != second[cut + 1 :].tobytes()


@pytest.mark.parametrize("factory", STRATEGIES)
def test_names_permuted_give_the_same_forecasts_by_name(factory, market):
    order = list("DBFACE")
    first = forecast(factory(), market, first_row=80)
    second = forecast(factory(), market.select(order), first_row=80)
    columns = market.assets.get_indexer(order)

    np.testing.assert_allclose(first[:, columns], second, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("factory", STRATEGIES)
def test_forecasts_are_returns_of_one_period_and_not_scores(factory, market):
    p = forecast(factory(), market, first_row=80)

    assert 1e-6 < np.nanmean(np.abs(p)) < 0.02


@pytest.mark.parametrize("factory", [Momentum, Reversal])
def test_a_delisted_name_gets_no_view(factory, market):
    p = forecast(factory(), market, first_row=80)

    assert np.isfinite(p[80:100, 3]).all()
    assert np.isnan(p[100:, 3]).all()


def test_momentum_is_the_scaled_score_of_the_return_without_the_last_month():
    """Worked out by hand: monthly data, three names."""
    returns = np.zeros((13, 3))
    returns[1:12] = [0.01, 0.02, 0.04]
    returns[12] = [0.5, 0.0, -0.5]  # the last month is left out of the signal, not of the volatility
    panel = panel_of(returns, periods_per_year=12)
    p = forecast(Momentum(monthly_ic=0.05), panel, first_row=12)[12]

    growth = np.array([1.01**11, 1.02**11, 1.04**11]) - 1
    score = (growth - growth.mean()) / growth.std()
    volatility = returns[1:].std(axis=0, ddof=1)
    np.testing.assert_allclose(p, 0.05 * volatility * score, rtol=1e-9)


def test_momentum_has_no_view_before_a_year_of_data(market):
    p = forecast(Momentum(), market, first_row=0)

    assert np.isnan(p[:51]).all()
    assert np.isfinite(p[52, 0])


def test_reversal_expects_what_fell_to_rise():
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.02, (40, 3))
    returns[-1] = [0.05, 0.0, -0.05]
    p = forecast(Reversal(), panel_of(returns), first_row=39)[39]

    assert p[0] < p[1] < p[2]
    assert p[0] < 0 < p[2]


def test_linear_finds_the_coefficients_it_was_made_with():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(800, 20, 2))
    returns = np.zeros((800, 20))
    returns[2:] = 0.002 * features[:-2, :, 0] - 0.001 * features[:-2, :, 1] + 0.0005
    returns += rng.normal(0, 0.005, returns.shape)
    panel = panel_of(returns, features=features, prices=False)
    p = forecast(Linear(penalty=0.0), panel, first_row=799)[799]

    expected = 0.002 * features[799, :, 0] - 0.001 * features[799, :, 1] + 0.0005
    np.testing.assert_allclose(p, expected, atol=3e-4)


def test_linear_regresses_on_the_return_of_its_own_lag():
    """A feature that predicts the next close's return alone is worth nothing at lag 1."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 10, 1))
    returns = np.zeros((500, 10))
    returns[1:] = 0.01 * features[:-1, :, 0]
    panel = panel_of(returns, features=features, prices=False)
    at_once = forecast(Linear(lag=0, penalty=0.0), panel, first_row=499)[499]
    later = forecast(Linear(lag=1, penalty=0.0), panel, first_row=499)[499]

    np.testing.assert_allclose(at_once, 0.01 * features[499, :, 0], atol=1e-10)
    assert np.abs(later).max() < 0.001


def test_a_strategy_on_features_says_so_when_there_are_none(market):
    bare = panel_of(np.random.default_rng(0).normal(0, 0.02, (60, 3)))

    with pytest.raises(StrategyError, match="Linear needs features, and panel has none"):
        forecast(Linear(), bare, first_row=50)


def test_a_strategy_that_learns_says_so_when_history_is_too_short(market):
    with pytest.raises(StrategyError, match=r"Linear: 0 examples .* start with a later first_row"):
        forecast(Linear(), market, first_row=1)
    with pytest.raises(CostError, match="FactorRisk needs 53 rows of returns, the panel has 4"):
        forecast(small_network(), market, first_row=3)
    with pytest.raises(StrategyError, match=r"Network: .* too few to train on"):
        forecast(small_network(), market, first_row=54)


def test_a_network_trained_through_the_solver_forecasts_otherwise_than_one_trained_on_squared_error(market):
    settings = TrainingSettings(hidden=(4, 4), epochs=3, path_epochs=3, chunk_length=5)
    squared, aligned = (
        forecast(Network(objective=name, settings=settings, seeds=(0, 1)), market, first_row=118)[118:]
        for name in ("squared", "aligned")
    )

    assert np.isfinite(aligned).sum() == np.isfinite(squared).sum() > 0
    assert np.nanmax(np.abs(aligned - squared)) > 0
