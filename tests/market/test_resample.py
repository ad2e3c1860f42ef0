"""to_frequency: nothing is earned or lost between frequencies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import SettingsError
from backtest.market import MarketPanel, read_prices, to_frequency


def _from(frame: pd.DataFrame, *, prices: bool) -> MarketPanel:
    build = MarketPanel.from_prices if prices else MarketPanel.from_returns
    return build(frame, periods_per_year=252)


@pytest.mark.parametrize("frequency", ["W", "M"])
def test_rows_are_the_last_trading_dates(panel: MarketPanel, frequency: str) -> None:
    coarse = to_frequency(panel, frequency)
    groups = panel.dates.to_series().groupby(panel.dates.to_period({"W": "W-SUN", "M": "M"}[frequency])).max()

    assert list(coarse.dates) == list(groups)
    assert coarse.dates[-1] == panel.dates[-1]
    assert coarse.periods_per_year == {"W": 52, "M": 12}[frequency]
    rows = panel.dates.get_indexer(coarse.dates)
    np.testing.assert_array_equal(coarse.prices, panel.prices[rows])
    np.testing.assert_array_equal(coarse.features, panel.features[rows])
    np.testing.assert_array_equal(coarse.tradable, panel.tradable[rows])


@pytest.mark.parametrize("frequency", ["W", "M"])
def test_returns_are_ratios_of_the_last_known_prices_at_period_ends(panel: MarketPanel, frequency: str) -> None:
    coarse = to_frequency(panel, frequency)
    expected = MarketPanel.from_prices(pd.DataFrame(coarse.prices, coarse.dates, coarse.assets), periods_per_year=12)

    np.testing.assert_allclose(coarse.returns, expected.returns, rtol=1e-11, atol=1e-13)


def test_a_price_missing_inside_the_week_changes_nothing_and_one_at_its_end_leaves_no_return() -> None:
    dates = pd.bdate_range("2020-01-06", periods=15)
    full = pd.DataFrame({"A": np.linspace(10, 20, 15)}, index=dates)
    inside, at_end = full.copy(), full.copy()
    inside.iloc[6:9] = np.nan
    at_end.iloc[9] = np.nan

    np.testing.assert_allclose(
        to_frequency(_from(inside, prices=True), "W").returns,
        to_frequency(_from(full, prices=True), "W").returns,
    )
    weeks = to_frequency(_from(at_end, prices=True), "W").returns[:, 0]
    assert np.isnan(weeks[1])
    assert weeks[2] == pytest.approx(full["A"].iloc[14] / full["A"].iloc[4] - 1)


def test_returns_unknown_between_known_prices_are_taken_from_the_prices(panel: MarketPanel) -> None:
    holes = panel.returns.copy()
    holes[50:60, 0] = np.nan
    patched = MarketPanel(
        dates=panel.dates, assets=panel.assets, returns=holes, prices=panel.prices, periods_per_year=252
    )

    np.testing.assert_allclose(
        to_frequency(patched, "M").returns[:, 0], to_frequency(panel, "M").returns[:, 0], rtol=1e-11
    )


@given(
    returns=st.lists(st.one_of(st.just(float("nan")), st.floats(-0.5, 0.5)), min_size=25, max_size=60),
    frequency=st.sampled_from(["W", "M"]),
)
def test_wealth_from_returns_is_the_same_at_every_frequency(returns: list[float], frequency: str) -> None:
    """Compounding a return panel by hand, up to the last period end where its return is known."""
    returns[0] = 0.01
    dates = pd.bdate_range("2020-01-06", periods=len(returns))
    daily = _from(pd.DataFrame({"A": returns}, index=dates), prices=False)
    coarse = to_frequency(daily, frequency)
    known = np.flatnonzero(np.isfinite(coarse.returns[:, 0]))
    if not len(known):
        return
    last = daily.row(coarse.dates[known[-1]])

    assert np.prod(1 + coarse.returns[known, 0]) == pytest.approx(np.nanprod(1 + daily.returns[: last + 1, 0]))


def test_nothing_is_earned_after_a_total_loss() -> None:
    dates = pd.bdate_range("2020-01-06", periods=10)
    panel = _from(pd.DataFrame({"A": [0.0, -1.0, *[0.5] * 8]}, index=dates), prices=False)

    np.testing.assert_array_equal(to_frequency(panel, "W").returns[:, 0], [-1.0, np.nan])


def test_volume_is_summed_and_the_cash_rate_known_at_the_end_is_compounded(panel: MarketPanel) -> None:
    volume = panel.dollar_volume.copy()
    volume[1, 0] = np.nan
    volume[2:7, 1] = np.nan
    dear = MarketPanel(
        dates=panel.dates,
        assets=panel.assets,
        returns=panel.returns,
        dollar_volume=volume,
        cash_rate=np.linspace(0, 1e-3, 600),
        periods_per_year=252,
    )
    weeks = to_frequency(dear, "W")

    assert weeks.dollar_volume[0, 0] == pytest.approx(volume[0, 0])
    assert np.isnan(weeks.dollar_volume[1, 1])
    row = dear.row(weeks.dates[5])
    assert weeks.cash_rate[5] == pytest.approx((1 + dear.cash_rate[row]) ** (252 / 52) - 1)


def test_the_future_does_not_reach_earlier_weeks(panel: MarketPanel) -> None:
    end = to_frequency(panel, "W").dates[60]
    garbled = to_frequency(panel.garbled_after(end), "W")

    assert garbled.until(end).data_hash == to_frequency(panel, "W").until(end).data_hash
    assert to_frequency(panel.until(end), "W").data_hash == garbled.until(end).data_hash


def test_the_same_frequency_changes_nothing_and_a_finer_one_is_refused(panel: MarketPanel) -> None:
    weeks = to_frequency(panel, "W")

    assert to_frequency(panel, "D") is panel
    assert to_frequency(weeks, "W") is weeks
    for frequency in ("D",):
        with pytest.raises(SettingsError, match="52 periods a year cannot become 252"):
            to_frequency(weeks, frequency)
    with pytest.raises(SettingsError, match="choose D, W or M"):
        to_frequency(panel, "Q")


def test_daily_files_become_the_weekly_ones(shared_data) -> None:
    """Two files made from the same data; they differ only where the week's last day has no price."""
    daily = read_prices(shared_data("panels/us_large_cap_daily_1999_2021.parquet"))
    weekly = read_prices(shared_data("panels/us_large_cap_weekly_1999_2021.parquet"))
    made = to_frequency(daily, "W")
    difference = np.abs(made.returns - weekly.returns)

    assert made.n_periods == weekly.n_periods
    assert (difference > 1e-5).sum() + (np.isnan(made.returns) != np.isnan(weekly.returns)).sum() <= 12
