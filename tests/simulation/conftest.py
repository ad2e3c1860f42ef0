"""Small markets to simulate on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.market import MarketPanel

# With --import-mode=importlib the folder of a test is not on the path, and its helpers are modules of their own.
sys.path.insert(0, str(Path(__file__).parent))


def dates_of(n_rows: int) -> pd.DatetimeIndex:
    return pd.date_range("2020-01-01", periods=n_rows, freq="D")


@pytest.fixture
def price_panel():
    """Make a panel from columns of prices: price_panel(A=[100, 110], B=[10, 10])."""

    def make(*, cash_rate=None, periods_per_year=252, **columns):
        length = len(next(iter(columns.values())))
        frame = pd.DataFrame(columns, index=dates_of(length), dtype=float)
        return MarketPanel.from_prices(frame, cash_rate=cash_rate, periods_per_year=periods_per_year)

    return make


@pytest.fixture
def random_panel():
    """Make a panel of random prices with some features."""

    def make(n_rows=60, n_assets=5, *, seed=0, cash_rate=0.0001):
        rng = np.random.default_rng(seed)
        returns = rng.normal(0.0005, 0.02, (n_rows, n_assets))
        prices = 50 * np.exp(np.cumsum(returns, axis=0))
        labels = [f"N{i}" for i in range(n_assets)]
        panel = MarketPanel.from_prices(
            pd.DataFrame(prices, index=dates_of(n_rows), columns=labels),
            cash_rate=cash_rate,
            periods_per_year=252,
        )
        features = rng.normal(size=(n_rows, n_assets, 3))
        return panel.with_features(features, ("x", "y", "z"))

    return make


@pytest.fixture
def targets():
    """Make TargetWeights from {row: weights by asset} for a panel."""
    from backtest.simulation import TargetWeights

    def make(panel, rows):
        frame = pd.DataFrame(list(rows.values()), index=panel.dates[list(rows)], columns=panel.assets, dtype=float)
        return TargetWeights(frame)

    return make
