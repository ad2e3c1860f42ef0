"""Features into a panel, by chunks of dates: the same bits for every chunk, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.errors import FeatureError, LabelError
from backtest.market.checks import refuse_cells
from backtest.market.features.declared import Feature, rows_of
from backtest.market.features.windows import require_rows
from backtest.market.panel import MarketPanel

__all__ = ["feature_values", "with_features"]

_CELLS = 2**20  # of a chunk, unless its length is said: 8 MB for each array that a feature makes on its way


def with_features(panel: MarketPanel, features: Sequence[Feature], *, chunk: int | None = None) -> MarketPanel:
    """Compute features into a panel; they replace its own (keep one with `OfPanel(name)`).

    Each chunk of dates is computed from its own rows and the look-back before them. Memory beside the panels is the
    new features, 8 bytes x T x N x K, and a few arrays of (chunk + look-back) x N. Features without a bounded
    look-back are computed over all rows at once.

    Args:
        panel: T dates, N assets; its arrays are shared with the panel returned.
        features: K of them, with names of their own.
        chunk: dates computed at a time; None takes what keeps memory low. It changes no bit of the result.

    Returns:
        The panel with features (T, N, K), NaN where the name is not tradable.

    Raises:
        DataError: the panel lacks a field that a feature needs, or a value is infinite.
        LabelError: two features have one name.
        FeatureError: a feature breaks its contract; `backtest.contracts.check_feature` says more.
        SettingsError: `chunk` is no number of rows.
    """
    features = tuple(features)
    for feature in features:
        if not isinstance(feature, Feature):
            raise FeatureError(f"{feature!r} is no feature: pass objects, as Momentum(231, 21), of classes of Feature")
    names = [feature.name for feature in features]
    if not names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise LabelError(f"{panel.name}: features {twice or 'none'}: give one at least, and each a name: Named(...)")
    made = np.empty((panel.n_periods, panel.n_assets, len(features)))
    for column, feature in enumerate(features):
        feature_values(panel, feature, chunk=chunk, out=made[:, :, column])
    made.setflags(write=False)
    # each value was checked as it was made: no copy of the rest
    return panel._unchecked(features=made, feature_names=tuple(names))


def feature_values(
    panel: MarketPanel, feature: Feature, *, chunk: int | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return one feature of a panel (T, N), NaN where the name is not tradable.

    Args:
        panel: T dates, N assets.
        feature: to compute.
        chunk: dates computed at a time; None takes what keeps memory low. It changes no bit of the result.
        out: (T, N) float64 array to write into; None makes one.

    Raises:
        DataError: the panel lacks a field that the feature needs, or a value is infinite.
        FeatureError: the feature breaks its contract.
        SettingsError: `chunk` or the feature's look-back is no number of rows.
    """
    if chunk is not None:
        require_rows("with_features", chunk=chunk)
    rows, lookback = panel.n_periods, feature.lookback
    if lookback is not None:
        require_rows(f"feature {feature.name!r}", lookback=lookback)
    values = np.empty((rows, panel.n_assets)) if out is None else out
    size = rows if lookback is None else chunk or max(_CELLS // panel.n_assets, lookback)
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        first = 0 if lookback is None else max(start - lookback + 1, 0)
        values[start:stop] = _computed(panel, feature, first, stop)[start - first :]
        values[start:stop][~panel.tradable[start:stop]] = np.nan
        refuse_cells(
            np.isinf(values[start:stop]),
            values[start:stop],
            "is infinite: let the feature return NaN where it is not known",
            where=f"{panel.name}: feature {feature.name!r}",
            labels=(panel.dates[start:stop], panel.assets),
        )
    return values


def _computed(panel: MarketPanel, feature: Feature, start: int, stop: int) -> np.ndarray:
    shown = rows_of(panel, feature, start, stop)
    values = feature.values(shown)
    if not isinstance(values, np.ndarray) or values.shape != (stop - start, panel.n_assets):
        found = f"shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise FeatureError(
            f"feature {feature.name!r} returned {found} for {stop - start} rows of {panel.n_assets} assets: return an "
            f"array of shape ({stop - start}, {panel.n_assets})"
        )
    return values
