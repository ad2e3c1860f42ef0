"""What the tests of the market share: where real files are, small panels, and `event_markets` importable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.market import MarketPanel

sys.path.insert(0, str(Path(__file__).parent))

_SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a real data file beside the repository; skips the test where it is absent."""

    def find(name: str) -> Path:
        path = _SHARED / name
        if not path.is_file():
            pytest.skip(f"needs ../shared/data/{name}, which is not here")
        return path

    return find


@pytest.fixture
def prices() -> pd.DataFrame:
    """600 business days of 6 names; C lists late, D misses days, E is delisted."""
    rng = np.random.default_rng(7)
    dates = pd.bdate_range("2015-01-01", periods=600)
    frame = pd.DataFrame(
        50 * np.exp(np.cumsum(rng.normal(0, 0.02, (600, 6)), axis=0)), index=dates, columns=list("ABCDEF")
    )
    frame.loc[frame.index[:200], "C"] = np.nan
    frame.loc[frame.index[300:304], "D"] = np.nan
    frame.loc[frame.index[500:], "E"] = np.nan
    return frame


@pytest.fixture
def panel(prices: pd.DataFrame) -> MarketPanel:
    """The prices above with volume, a cash rate and two features."""
    rng = np.random.default_rng(8)
    volume = pd.DataFrame(np.exp(rng.normal(15, 1, prices.shape)), index=prices.index, columns=prices.columns)
    made = MarketPanel.from_prices(prices, dollar_volume=volume, cash_rate=1e-4, periods_per_year=252, name="test")
    return made.with_features(rng.normal(size=(600, 6, 2)), ["x1", "x2"])
