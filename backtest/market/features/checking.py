"""The check of a feature's contract; shipped as `backtest.contracts.check_feature`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.errors import FeatureError, SettingsError
from backtest.market.features.computing import feature_values
from backtest.market.features.declared import Feature, rows_of
from backtest.market.panel import MarketPanel

__all__ = ["check_feature"]


def check_feature(
    feature: Feature, panel: MarketPanel, *, rows: Sequence[int] | None = None, chunks: Sequence[int] = (7, 50)
) -> None:
    """Check that a feature keeps its contract on `panel`; say in plain words what it breaks.

    Checked are, to the last bit: the same values when asked again; no look-ahead, when everything after a row is
    garbled and when the panel ends there; at each of `rows` a look-back that is enough, as nothing else is shown; the
    same values for every length of chunk; and values that move with their assets in another order.

    Args:
        feature: any feature, a user's own above all.
        panel: with the fields that the feature needs, and longer than its look-back.
        rows: row numbers, none of them the panel's last; None takes one half, three quarters, and all but the last.
        chunks: dates computed at a time.

    Raises:
        FeatureError: the feature breaks its contract.
        DataError: the panel lacks a field, or a value is infinite.
        SettingsError: `rows` are out of range.
    """
    last = panel.n_periods - 1
    checked = np.unique([last // 2, 3 * last // 4, last - 1]) if rows is None else np.unique(rows)
    if not len(checked) or checked[0] < 0 or checked[-1] >= last:
        raise SettingsError(f"rows {checked.tolist()} must lie within 0..{last - 1}")
    if not isinstance(feature, Feature):
        raise FeatureError(f"{feature!r} is no feature: pass an object of a class derived from Feature")
    whole = feature_values(panel, feature, chunk=panel.n_periods)
    if not np.isfinite(whole).any():
        raise FeatureError(
            f"feature {feature.name!r} has no value in {panel.n_periods} rows of {panel.name}: check it on a longer one"
        )

    def compare(other: np.ndarray, what: str, cure: str, first_row: int = 0) -> None:
        here = whole[first_row : first_row + len(other)]
        different = np.argwhere((here != other) & ~(np.isnan(here) & np.isnan(other)))
        if len(different):
            row, column = different[0]
            first, second = here[row, column], other[row, column]
            raise FeatureError(
                f"feature {feature.name!r} {what}: its value for {panel.assets[column]} on "
                f"{panel.dates[first_row + row]:%Y-%m-%d} was {first:.17g}, then {second:.17g}: {cure}"
            )

    compare(
        feature_values(panel, feature, chunk=panel.n_periods),
        "is not deterministic",
        "draw random numbers from a generator seeded in `values`",
    )
    for row in checked.tolist():
        told = f"looks ahead, past {panel.dates[row]:%Y-%m-%d}"
        cure = "a value of row t may use rows up to t only"
        garbled = panel.garbled_after(row)
        compare(feature_values(garbled, feature, chunk=panel.n_periods)[: row + 1], told, cure)
        compare(feature_values(panel.until(row), feature, chunk=row + 1), told, cure)
        if feature.lookback is not None:
            first = max(row - feature.lookback + 1, 0)
            alone = feature.values(rows_of(panel, feature, first, row + 1))[-1:]
            alone = np.where(panel.tradable[row : row + 1], alone, np.nan)
            compare(alone, f"needs more than its look-back of {feature.lookback} rows", "declare a longer one", row)
    for chunk in chunks:
        told = f"is another in chunks of {chunk} dates"
        compare(feature_values(panel, feature, chunk=chunk), told, "declare a longer look-back, or None for all rows")
    order = np.random.default_rng(0).permutation(panel.n_assets)
    permuted = feature_values(panel.select(panel.assets[order]), feature, chunk=panel.n_periods)
    restored = np.empty_like(permuted)
    restored[:, order] = permuted
    compare(restored, "depends on the order of the assets", "take sums over assets in sorted order, and break no ties")
