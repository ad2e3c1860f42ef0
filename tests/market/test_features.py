"""price_features: causal, on one scale, the same for every order of names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.market import MarketPanel, load_dataset, price_features, to_frequency


@pytest.fixture
def long_panel() -> MarketPanel:
    """900 days of 12 names; one lists at row 500, one misses days, one ends at row 700."""
    rng = np.random.default_rng(3)
    common = rng.normal(0, 0.01, (900, 1))
    steps = common * rng.uniform(0.5, 1.5, 12) + rng.normal(0, 0.02, (900, 12))
    prices = 30 * np.exp(np.cumsum(steps, axis=0))
    prices[:500, 3] = np.nan
    prices[600:604, 5] = np.nan
    prices[700:, 7] = np.nan
    labels = [f"N{i}" for i in range(12)]
    return MarketPanel.from_prices(
        pd.DataFrame(prices, pd.bdate_range("2010", periods=900), labels), periods_per_year=252
    )


@pytest.mark.parametrize("frequency", ["D", "W", "M"])
def test_garbling_the_future_leaves_the_past_bit_equal(long_panel: MarketPanel, frequency: str) -> None:
    panel = to_frequency(long_panel, frequency)
    whole = price_features(panel)
    for share in (0.4, 0.7, 0.9):
        t = int(share * panel.n_periods)

        assert price_features(panel.garbled_after(t)).until(t).data_hash == whole.until(t).data_hash
        assert price_features(panel.until(t)).data_hash == whole.until(t).data_hash


def test_permuting_names_permutes_features(long_panel: MarketPanel) -> None:
    order = np.random.default_rng(0).permutation(long_panel.assets)
    permuted = price_features(long_panel.select(order))

    assert permuted.select(long_panel.assets).data_hash == price_features(long_panel).data_hash


def test_a_name_that_lists_late_changes_nothing_before(long_panel: MarketPanel) -> None:
    without = long_panel.select(long_panel.assets.drop("N3"))
    whole = price_features(long_panel)

    assert whole.until(499).select(without.assets).data_hash == price_features(without).until(499).data_hash


def test_features_are_ranks_among_the_names_that_have_them(long_panel: MarketPanel) -> None:
    panel = price_features(long_panel)
    features = panel.features[300:]
    count = np.isfinite(features).sum(axis=1, keepdims=True)
    spaced = np.sort((features + 1) / 2 * (count - 1), axis=1)  # 0, 1, ... n - 1, then NaN

    assert panel.n_features == 8
    np.testing.assert_allclose(np.nanmin(features, axis=1), -1)
    np.testing.assert_allclose(np.nanmax(features, axis=1)[:, :6], 1)  # several names may share a high
    expected = np.where(np.arange(12)[None, :, None] < count, np.arange(12)[None, :, None], np.nan)
    np.testing.assert_allclose(spaced[:, :, :6], expected[:, :, :6], atol=1e-9)
    assert np.isnan(panel.features[~panel.tradable]).all()
    assert np.isnan(panel.features[:200, :, 3]).all()


def _ranks(values: np.ndarray) -> np.ndarray:
    return 2 * (pd.Series(values).rank().to_numpy() - 1) / (np.isfinite(values).sum() - 1) - 1


def test_each_feature_is_what_its_definition_says(long_panel: MarketPanel) -> None:
    """Recomputed for one date, name by name, from prices."""
    t, full = 450, [i for i in range(12) if i != 3]
    panel = price_features(long_panel)
    prices, returns = long_panel.prices[:, full], long_panel.returns[:, full]
    year = returns[t - 251 : t + 1]
    market = year.mean(axis=1)
    expected = {
        "reversal_1p": -returns[t],
        "reversal_1m": -prices[t] / prices[t - 21],
        "momentum_6_1": prices[t - 21] / prices[t - 126],
        "momentum_12_1": prices[t - 21] / prices[t - 252],
        "volatility_1y": year.std(axis=0, ddof=1),
        "volatility_ratio": returns[t - 62 : t + 1].std(axis=0, ddof=1) / year.std(axis=0, ddof=1),
        "distance_from_high": prices[t] / prices[t - 251 : t + 1].max(axis=0),
        "beta_1y": np.array([np.polyfit(market, column, 1)[0] for column in year.T]),
    }

    assert tuple(expected) == panel.feature_names
    for k, values in enumerate(expected.values()):
        np.testing.assert_allclose(panel.features[t, full, k], _ranks(values), atol=1e-9)
        assert np.isnan(panel.features[t, 3, k])


def test_monthly_panels_have_no_last_period_beside_the_last_month(long_panel: MarketPanel) -> None:
    panel = price_features(to_frequency(long_panel, "M"))

    assert "reversal_1p" not in panel.feature_names
    assert panel.n_features == 7


def test_one_name_and_a_total_loss_and_constant_prices_are_no_special_cases() -> None:
    dates = pd.bdate_range("2010", periods=400)
    alone = price_features(
        MarketPanel.from_returns(pd.DataFrame({"A": np.full(400, 0.01)}, dates), periods_per_year=252)
    )
    lost = np.full((400, 2), 0.0)
    lost[300, 0] = -1.0
    ruined = price_features(MarketPanel.from_returns(pd.DataFrame(lost, dates, ["A", "B"]), periods_per_year=252))

    assert set(np.unique(alone.features[np.isfinite(alone.features)])) == {0.0}
    assert ruined.features[300, :, 0].tolist() == [1.0, -1.0]


def test_the_real_20_stocks_have_features_after_a_year() -> None:
    panel = price_features(load_dataset("sp500-20"))

    assert np.isfinite(panel.features[253:]).all()
