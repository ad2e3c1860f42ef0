"""Simulated markets: what is said to be true of them is."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import SettingsError
from backtest.market import SimulatedMarket, correlated_market, liquidity_market, simulate_market


def _noise(market: SimulatedMarket) -> np.ndarray:
    """What returns hold beyond their expectation, row by row of the forecast."""
    return (market.panel.targets(market.lag) - market.expected_returns)[: -market.lag - 1]


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(x.reshape(-1, x.shape[-1]), y.reshape(-1), rcond=None)[0]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_expected_returns_explain_the_target_of_the_same_lag_only(lag: int) -> None:
    market = simulate_market(20, 4000, 3, seed=0, lag=lag, signal=0.01, volatility=0.01)
    targets = {k: market.panel.targets(k)[:-6].reshape(-1) for k in (0, 1, 2, 3)}
    expected = market.expected_returns[:-6].reshape(-1)
    correlations = {k: np.corrcoef(y, expected)[0, 1] for k, y in targets.items()}

    assert correlations.pop(lag) > 0.6
    assert max(abs(c) for c in correlations.values()) < 0.02


def test_noise_has_the_stated_covariance_and_no_mean() -> None:
    market = simulate_market(12, 40_000, 2, seed=1, correlated_noise=0.5)
    noise = _noise(market)
    error = np.cov(noise.T) - market.covariance
    scale = np.sqrt(np.outer(np.diag(market.covariance), np.diag(market.covariance)))

    assert np.abs(error / scale).max() < 0.03
    assert np.abs(noise.mean(axis=0) / noise.std(axis=0)).max() < 0.02
    factor = np.diag(market.loadings @ market.factor_covariance @ market.loadings.T)
    np.testing.assert_allclose(factor / np.diag(market.covariance), 0.5)


def test_a_linear_signal_is_recovered_by_regression_and_has_the_stated_size() -> None:
    market = simulate_market(30, 20_000, 4, seed=2, signal=2e-3)
    x = market.panel.features[:-2]
    truth = _slopes(x, market.expected_returns[:-2])

    np.testing.assert_allclose(x @ truth, market.expected_returns[:-2], atol=1e-12)
    np.testing.assert_allclose(_slopes(x, market.panel.targets(1)[:-2]), truth, atol=2e-4)
    assert market.expected_returns.std() == pytest.approx(2e-3, rel=0.02)


@pytest.mark.parametrize("aligned", [0.0, 0.6])
def test_persistence_is_what_a_signal_keeps_of_itself_and_nothing_else_changes(aligned: float) -> None:
    settings = {"n_assets": 20, "n_periods": 10_000, "n_features": 2, "feature_factor_alignment": aligned}
    lasting = simulate_market(**settings, seed=7, persistence=0.9)
    x, expected = lasting.panel.features, lasting.expected_returns
    news = x[1:] - 0.9 * x[:-1]

    for later in (1, 5):
        kept = (x[later:] * x[:-later]).mean() / (x**2).mean()
        assert kept == pytest.approx(0.9**later, abs=0.02)
    assert (news * x[:-1]).mean() == pytest.approx(0.0, abs=0.01)
    assert x.var() == pytest.approx(simulate_market(**settings, seed=7).panel.features.var(), rel=0.05)
    np.testing.assert_allclose(x @ _slopes(x, expected), expected, atol=1e-12)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_misspecification_is_the_share_that_no_linear_model_explains(degree: int) -> None:
    market = simulate_market(30, 20_000, 4, seed=3, misspecification=0.4, degree=degree)
    expected = market.expected_returns
    left = expected - market.panel.features @ _slopes(market.panel.features, expected)

    assert expected.std() == pytest.approx(1e-3, rel=0.03)
    assert left.var() / expected.var() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("aligned", [0.0, 0.6, 1.0])
def test_alignment_is_the_share_of_features_in_the_space_of_the_factors(aligned: float) -> None:
    market = simulate_market(100, 1000, 3, seed=4, feature_factor_alignment=aligned, n_factors=3)
    basis = np.linalg.qr(market.loadings)[0]
    features = market.panel.features
    inside = np.einsum("nk,tnj->tkj", basis, features)
    share = (inside**2).sum() / (features**2).sum()

    assert share == pytest.approx(aligned**2 + (1 - aligned**2) * 0.03, abs=0.03)
    assert features.var() == pytest.approx(1, abs=0.05)


def test_costs_differ_between_names_as_asked_and_keep_their_mean() -> None:
    flat = simulate_market(2000, 5, 1, seed=5, half_spread=1e-3, holding_fee=2e-4)
    spread = simulate_market(2000, 5, 1, seed=5, half_spread=1e-3, holding_fee=2e-4, cost_dispersion=0.5)

    assert (flat.half_spread == 1e-3).all()
    assert np.log(spread.half_spread).std() == pytest.approx(0.5, rel=0.05)
    assert spread.half_spread.mean() == pytest.approx(1e-3, rel=0.05)
    np.testing.assert_allclose(spread.holding_fee, spread.half_spread / 5)


@pytest.mark.parametrize("make", [liquidity_market, correlated_market, lambda s: simulate_market(seed=s)])
def test_a_seed_gives_the_same_market_and_another_seed_another(make) -> None:
    assert make(3).panel.data_hash == make(3).panel.data_hash
    assert make(3).panel.data_hash != make(4).panel.data_hash
    np.testing.assert_array_equal(make(3).expected_returns, make(3).expected_returns)


def test_dates_are_business_days_and_every_name_is_tradable() -> None:
    market = simulate_market(3, 10, 1, seed=0)

    assert (market.panel.dates.day_of_week < 5).all()
    assert market.panel.tradable.all()
    assert market.panel.feature_names == ("x1",)
    with pytest.raises(ValueError, match="read-only"):
        market.expected_returns[0] = 0


def test_the_liquidity_market_has_opposite_signals_on_cheap_and_dear_names() -> None:
    market = liquidity_market(0, n_periods=4000)
    x, y = market.panel.features[:-2], market.panel.targets(1)[:-2]
    noise = _noise(market)

    np.testing.assert_array_equal(np.unique(market.holding_fee), [2e-4, 80e-4])
    assert (market.holding_fee[:100] == 2e-4).all()
    np.testing.assert_allclose(_slopes(x[:, :100], market.expected_returns[:-2, :100]), [-0.0010, 0.0005])
    np.testing.assert_allclose(_slopes(x[:, 100:], market.expected_returns[:-2, 100:]), [0.0030, 0.0005])
    np.testing.assert_allclose(_slopes(x, y), [0.0010, 0.0005], atol=2e-4)
    assert noise.std() == pytest.approx(0.02, rel=0.01)
    assert np.mean(market.expected_returns**2) == pytest.approx((1e-6 + 9e-6) / 2 + 0.25e-6, rel=0.02)


def test_whitening_recovers_the_signal_of_the_correlated_market_better_than_least_squares() -> None:
    """Mean error of the coefficients over 10 markets: generalised least squares at most half of ordinary."""
    errors = []
    for seed in range(10):
        market = correlated_market(seed, n_periods=400)
        x, y = market.panel.features[:-2], market.panel.targets(1)[:-2]
        truth = _slopes(x, market.expected_returns[:-2])
        root = np.linalg.cholesky(np.linalg.inv(market.covariance))
        whitened = _slopes(np.einsum("ij,tik->tjk", root, x), y @ root)
        errors.append([np.linalg.norm(_slopes(x, y) - truth), np.linalg.norm(whitened - truth)])
    ordinary, generalised = np.mean(errors, axis=0)

    assert generalised < ordinary / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_assets": 0}, "n_assets"),
        ({"n_periods": 2}, "n_periods=2"),
        ({"n_periods": 90_000, "n_assets": 1}, "n_periods=90000"),
        ({"lag": -1}, "lag=-1"),
        ({"signal": -1}, "signal=-1"),
        ({"volatility": 0}, "volatility"),
        ({"volatility": 3}, "lower volatility"),
        ({"correlated_noise": 1}, "correlated_noise=1"),
        ({"misspecification": 1.5}, "misspecification=1.5"),
        ({"feature_factor_alignment": -0.1}, "feature_factor_alignment"),
        ({"persistence": 1}, "persistence=1"),
        ({"degree": 1}, "degree=1"),
        ({"half_spread": -1e-4}, "half_spread"),
    ],
)
def test_settings_outside_their_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        simulate_market(**{"n_periods": 20, "n_features": 1, **settings}, seed=0)
    with pytest.raises(SettingsError, match="even"):
        liquidity_market(0, n_assets=3)
