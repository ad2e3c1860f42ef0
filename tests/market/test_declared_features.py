"""Declared features: each keeps its contract, says what it needs, and is what its definition says."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from first_price_features import first_price_features
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.contracts import check_feature
from backtest.errors import DataError, FeatureError, LabelError, SettingsError
from backtest.market import (
    MarketPanel,
    features,
    load_dataset,
    price_features,
    read_prices,
    to_frequency,
    with_features,
)
from backtest.market.features import (
    RUNNING,
    Beta,
    DistanceFromHigh,
    Feature,
    Illiquidity,
    LaggedReturn,
    LogDollarVolume,
    MaximumReturn,
    Momentum,
    Named,
    OfPanel,
    Ranked,
    Reversal,
    SectorNeutral,
    Volatility,
    VolatilityRatio,
    VolumeShock,
    feature_values,
    price_feature_set,
)

SECTORS = dict(zip("ABCDEFGH", "xxyyyzzz", strict=True))


@dataclass(frozen=True)
class Gap(Feature):
    """A user's own: the open over the close before."""

    lookback = 2
    needs = ("prices", "open_prices")

    def values(self, rows):
        before = np.full(rows["prices"].shape, np.nan)
        before[1:] = rows["prices"][:-1]
        return rows["open_prices"] / before - 1


FEATURES = [
    LaggedReturn(),
    LaggedReturn(3),
    Momentum(21, 5),
    Momentum(16),
    Reversal(),
    Reversal(7),
    Volatility(13),
    VolatilityRatio(5, 40),
    MaximumReturn(11),
    DistanceFromHigh(50),
    Beta(30),
    LogDollarVolume(9),
    VolumeShock(3, 20),
    Illiquidity(10),
    Ranked(Momentum(21, 5)),
    Ranked(Beta(30), members_only=True),
    SectorNeutral(Volatility(13), SECTORS),
    Ranked(SectorNeutral(Reversal(7), SECTORS)),
    Named("mine", VolumeShock(3, 20)),
    OfPanel("x1"),
    Ranked(OfPanel("x1")),
    Gap(),
    *price_feature_set(52),
]


@pytest.fixture(scope="module")
def full_panel() -> MarketPanel:
    """160 days of 8 names with every field; one lists late, one misses days, one is delisted, one stands still."""
    rng = np.random.default_rng(5)
    dates, labels = pd.bdate_range("2015-01-01", periods=160), list("ABCDEFGH")
    # whole cents, so that equal values happen
    steps = np.round(rng.normal(0, 0.4, (160, 8)) * 4) / 4
    prices = np.maximum(40 + np.cumsum(steps, axis=0), 1.0)
    prices[:70, 2] = np.nan
    prices[90:94, 3] = np.nan
    prices[130:, 4] = np.nan
    prices[:, 5] = 25.0

    def frame(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, dates, labels)

    volume = np.exp(rng.normal(15, 1, prices.shape))
    volume[rng.random(prices.shape) < 0.05] = 0.0
    made = MarketPanel.from_prices(
        frame(prices),
        open_prices=frame(prices * np.exp(rng.normal(0, 0.01, prices.shape))),
        dollar_volume=frame(volume),
        members=frame(rng.random(prices.shape) < 0.7),
        cash_rate=1e-4,
        periods_per_year=52,
        name="full",
    )
    return made.with_features(rng.normal(size=(160, 8, 2)), ["x1", "x2"])


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_feature_keeps_its_contract(feature, full_panel):
    check_feature(feature, full_panel)


@pytest.mark.parametrize(
    ("frequency", "digest"),
    [
        ("D", "b4fd9f8940d67724796604936f5b418d58b4e54bde9d3f0c87547f12a85ef8b0"),
        ("W", "35739eccfe2b92f2a9a5e13135c14914a83d96857685f9beec2da61bb8cf8fdc"),
        ("M", "0e3181fbc5637370865edcd84d8059c28265685dd4e8c94973ab17fde47cc77d"),
    ],
)
def test_the_preset_has_the_bits_that_recorded_studies_were_made_with(frequency, digest):
    panel = price_features(to_frequency(load_dataset("sp500-20"), frequency))

    assert digest_of(panel.features) == digest


def test_the_preset_of_the_504_stocks_has_the_bits_of_the_study(shared_data):
    panel = price_features(read_prices(shared_data("panels/us_large_cap_weekly_1999_2021.parquet")))

    assert digest_of(panel.features) == "1f576b3a3607764534c748fbe3580ce3957602a43f32544486bb84828094575f"


def digest_of(features):
    plain = np.where(np.isnan(features), np.nan, features)
    return hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), periods=st.sampled_from([12, 52, 252]), rows=st.integers(1, 320))
def test_the_preset_has_the_bits_of_its_first_version_on_any_panel(seed, periods, rows):
    rng = np.random.default_rng(seed)
    prices = np.maximum(20 + np.cumsum(np.round(rng.normal(0, 2, (rows, 5))) / 4, axis=0), 0.25)
    prices[rng.random(prices.shape) < 0.02] = np.nan
    frame = pd.DataFrame(prices, pd.bdate_range("2010", periods=rows), list("ABCDE"))
    panel = MarketPanel.from_prices(frame, periods_per_year=periods)

    made = price_features(panel)

    for column, (name, expected) in enumerate(first_price_features(panel).items()):
        assert made.feature_names[column] == name
        np.testing.assert_array_equal(made.features[:, :, column], expected)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 1000),
    chunk=st.integers(1, 200),
    window=st.integers(2, 70),
    kind=st.sampled_from(["momentum", "volatility", "high", "beta", "maximum", "shock"]),
)
def test_any_chunk_gives_the_bits_of_the_whole(seed, chunk, window, kind, full_panel):
    feature = {
        "momentum": Momentum(window, seed % 9),
        "volatility": Volatility(window),
        "high": DistanceFromHigh(window),
        "beta": Ranked(Beta(window)),
        "maximum": MaximumReturn(window),
        "shock": VolumeShock(seed % 9 + 1, window),
    }[kind]

    whole, parts = (feature_values(full_panel, feature, chunk=size) for size in (160, chunk))

    np.testing.assert_array_equal(parts, whole)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), window=st.integers(2, 60))
def test_windows_agree_with_plain_sums_over_their_rows(seed, window):
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.001, 0.02, (90, 4))
    returns[rng.random(returns.shape) < 0.1] = np.nan
    returns[:, 3] = np.where(np.isnan(returns).all(axis=1), 0.01, returns[:, 3])
    volume = np.exp(rng.normal(10, 1, returns.shape))
    dates, labels = pd.bdate_range("2010", periods=90), list("ABCD")
    panel = MarketPanel.from_returns(
        pd.DataFrame(returns, dates, labels), dollar_volume=pd.DataFrame(volume, dates, labels), periods_per_year=52
    )
    market = np.nanmean(returns, axis=1)

    def slope(r, rows):
        return np.cov(r, market[rows])[0, 1] / np.var(market[rows], ddof=1)

    def drop(r, rows):
        level = np.cumsum(np.log1p(r))
        return level[-1] - level.max()

    plain = {
        Momentum(window): lambda r, rows: np.log1p(r).sum(),
        Reversal(window): lambda r, rows: -np.log1p(r).sum(),
        Volatility(window): lambda r, rows: r.std(ddof=1),
        MaximumReturn(window): lambda r, rows: r.max(),
        DistanceFromHigh(window): drop,
        Beta(window): slope,
        LogDollarVolume(window): None,
    }
    for feature, definition in plain.items():
        values = feature_values(panel, feature)
        for t, i in ((89, 0), (60, 1), (window, 2)):
            rows = np.arange(max(t - window + 1, 0), t + 1)
            known = rows[np.isfinite(returns[rows, i])]
            if definition is None:
                enough = len(rows) >= np.ceil(0.8 * window)
                expected = np.log(volume[rows, i].mean()) if enough else np.nan
            else:
                enough = len(known) >= max(np.ceil(0.8 * window), 2)
                expected = definition(returns[known, i], known) if enough else np.nan
            if np.isnan(returns[t, i]):
                expected = np.nan  # not tradable

            np.testing.assert_allclose(values[t, i], expected, rtol=1e-9, atol=1e-12)


def test_running_sums_and_windows_differ_in_last_bits_only(full_panel):
    for windowed, running in (
        (Momentum(21, 5), Momentum(21, 5, RUNNING)),
        (Volatility(13), Volatility(13, RUNNING)),
        (DistanceFromHigh(50), DistanceFromHigh(50, RUNNING)),
        (Beta(30), Beta(30, RUNNING)),
    ):
        both = [feature_values(full_panel, feature) for feature in (windowed, running)]

        np.testing.assert_allclose(*both, atol=1e-12)
        assert running.lookback is None


def test_a_price_that_stands_still_has_no_deviation_and_stands_at_its_high(full_panel):
    still = full_panel.select(["F", "A"])

    assert set(feature_values(still, Volatility(13))[20:, 0]) == {0.0}
    assert set(feature_values(still, DistanceFromHigh(13))[20:, 0]) == {0.0}
    assert np.isnan(feature_values(still, VolatilityRatio(5, 13))[:, 0]).all()


def test_names_are_made_of_the_class_and_its_numbers():
    assert [feature.name for feature in FEATURES[:3]] == ["lagged_return_0", "lagged_return_3", "momentum_21_5"]
    assert Ranked(VolumeShock(5, 60)).name == "ranked_volume_shock_5_60"
    assert Named("mine", Beta(9)).name == "mine"
    assert Gap().name == "gap"


def test_a_panel_without_a_field_is_refused_with_the_feature_the_field_and_the_cure(full_panel):
    bare = MarketPanel.from_returns(
        pd.DataFrame(full_panel.returns, full_panel.dates, full_panel.assets), periods_per_year=52, name="bare"
    )

    with pytest.raises(
        DataError, match=r"bare: feature 'volume_shock_3_20' needs dollar_volume, which the panel lacks: read a file"
    ):
        with_features(bare, [VolumeShock(3, 20)])
    with pytest.raises(DataError, match="needs members"):
        with_features(bare, [Ranked(Reversal(), members_only=True)])
    with pytest.raises(DataError, match="'x9' needs features"):
        with_features(bare, [OfPanel("x9")])
    with pytest.raises(LabelError, match="no feature 'x9': choose one of"):
        with_features(full_panel, [OfPanel("x9")])


def test_sectors_are_subtracted_name_by_name(full_panel):
    values = feature_values(full_panel, SectorNeutral(Reversal(7), SECTORS))
    raw = feature_values(full_panel, Reversal(7))

    for t in (80, 100, 159):
        for sector in "xyz":
            columns = [i for i, asset in enumerate(full_panel.assets) if SECTORS[asset] == sector]
            np.testing.assert_allclose(values[t, columns], raw[t, columns] - np.nanmean(raw[t, columns]), atol=1e-15)
    with pytest.raises(LabelError, match="no sector for A, B"):
        with_features(full_panel, [SectorNeutral(Reversal(), dict.fromkeys("CDEFGH", "x"))])


def test_features_replace_those_of_the_panel_unless_they_are_kept_by_name(full_panel):
    made = with_features(full_panel, [OfPanel("x2"), LaggedReturn()])

    assert made.feature_names == ("x2", "lagged_return_0")
    np.testing.assert_array_equal(
        made.features[:, :, 0], np.where(full_panel.tradable, full_panel.features[:, :, 1], np.nan)
    )
    assert not made.features.flags.writeable
    assert made.until(20).data_hash == with_features(full_panel.until(20), [OfPanel("x2"), LaggedReturn()]).data_hash


def test_repeated_names_no_features_and_impossible_windows_are_refused(full_panel):
    with pytest.raises(LabelError, match=r"features \['reversal_1'\]"):
        with_features(full_panel, [Reversal(), Reversal(1)])
    with pytest.raises(LabelError, match="features none"):
        with_features(full_panel, [])
    for make in (
        lambda: Momentum(0),
        lambda: Momentum(5, -1),
        lambda: Volatility(1),
        lambda: Beta(2.5),
        lambda: LaggedReturn(True),
        lambda: with_features(full_panel, [Reversal()], chunk=0),
    ):
        with pytest.raises(SettingsError, match="give a whole number of rows"):
            make()
    with pytest.raises(FeatureError, match="is no feature"):
        with_features(full_panel, [Reversal])


class Cheat(Feature):
    """Breaks one part of the contract."""

    def __init__(self, function, lookback=1, needs=("returns",)):
        self.function, self._lookback, self._needs = function, lookback, needs

    lookback = property(lambda self: self._lookback)
    needs = property(lambda self: self._needs)

    def values(self, rows):
        return self.function(rows)


@pytest.mark.parametrize(
    ("cheat", "message"),
    [
        (Cheat(lambda rows: np.roll(rows["returns"], -1, axis=0), None), "'cheat' looks ahead, past 2015-04-22"),
        (Cheat(lambda rows: rows["returns"] - np.nanmean(rows["returns"]), None), "looks ahead"),
        (
            Cheat(lambda rows: np.cumsum(np.nan_to_num(rows["returns"]), axis=0), 5),
            "more than its look-back of 5",
        ),
        (Cheat(lambda rows: np.random.default_rng().normal(size=rows["returns"].shape)), "is not deterministic"),
        (Cheat(lambda rows: rows["returns"] + np.arange(8)), "depends on the order of the assets"),
        (Cheat(lambda rows: rows["returns"][1:], 5), r"returned shape \(159, 8\) for 160 rows of 8 assets"),
        (Cheat(lambda rows: rows["prices"]), "reads 'prices' and does not declare it: add it to its `needs`"),
        (Cheat(lambda rows: rows["returns"], needs=("volume",)), "needs 'volume', which no panel has"),
        (Cheat(lambda rows: np.full(rows["returns"].shape, np.nan)), "has no value in 160 rows"),
        (Cheat(lambda rows: pd.DataFrame(rows["returns"])), "returned DataFrame"),
    ],
)
def test_every_kind_of_cheat_is_named(cheat, message, full_panel):
    with pytest.raises(FeatureError, match=message):
        check_feature(cheat, full_panel)


def test_an_infinite_value_is_refused_with_its_place(full_panel):
    with pytest.raises(DataError, match=re.escape("feature 'cheat': row 0 (2015-01-01), column 'A': inf is infinite")):
        with_features(full_panel, [Cheat(lambda rows: np.full(rows["tradable"].shape, np.inf))])


def test_every_shipped_feature_is_among_those_checked():
    shipped = {
        kind
        for kind in vars(features).values()
        if isinstance(kind, type) and issubclass(kind, Feature) and kind is not Feature
    }

    assert shipped == {type(feature) for feature in FEATURES} - {Gap}


def test_memory_is_that_of_the_result_and_of_a_chunk():
    rng = np.random.default_rng(0)
    dates, labels = pd.bdate_range("1990", periods=6000), [f"N{i}" for i in range(100)]
    frame = pd.DataFrame(rng.normal(0, 0.02, (6000, 100)), dates, labels)
    panel = MarketPanel.from_returns(frame, periods_per_year=252)

    tracemalloc.start()
    made = with_features(panel, [Beta(252), Volatility(252)], chunk=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # one (T, N) array alone has 4.8e6 bytes, and Beta makes thirty on its way
    assert peak - made.features.nbytes < 12e6
