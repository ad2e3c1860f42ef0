"""Random raw markets with every kind of event, and what the holder of one share earns, counted share by share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from backtest.market import Delisting, MarketPanel, SpinOff


@st.composite
def raw_markets(draw: st.DrawFn, *, max_rows: int = 12) -> dict[str, Any]:
    """Keywords of `from_prices`: gaps, late listings, dividends, splits, delistings and spin-offs."""
    n_rows, n_assets = draw(st.integers(2, max_rows)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dates = pd.bdate_range("2020-01-01", periods=n_rows)
    assets = [f"N{i}" for i in range(n_assets)]
    shape = (n_rows, n_assets)
    prices = np.exp(rng.normal(3, 0.5, shape))
    prices[rng.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
    chance = draw(st.sampled_from([0.0, 0.1, 0.5]))
    splits = np.where(rng.random(shape) < chance, rng.choice([0.1, 0.5, 1.5, 2.0, 10.0], shape), 1.0)
    dividends = np.where(rng.random(shape) < chance, rng.uniform(0, 5, shape), 0.0)
    leaving, born = [], []
    last_rows = np.full(n_assets, n_rows - 1)
    for column in np.flatnonzero(rng.random(n_assets) < draw(st.sampled_from([0.0, 0.5]))):
        row = int(rng.integers(n_rows))
        last_rows[column] = row
        prices[row + 1 :, column] = np.nan
        dividends[row + 1 :, column] = 0
        leaving.append(Delisting(assets[column], dates[row], float(rng.choice([-1.0, -0.3, 0.0, 0.2])), "test"))
    for _ in range(draw(st.integers(0, 2))):
        parent, child = (int(c) for c in rng.integers(n_assets, size=2))
        row = int(rng.integers(n_rows))
        known = np.isfinite(prices[: row + 1, child]).any()
        again = any(s.parent == assets[parent] and s.child == assets[child] for s in born)
        if parent != child and known and not again and row <= min(last_rows[parent], last_rows[child]):
            born.append(SpinOff(assets[parent], assets[child], float(rng.uniform(0.1, 2)), dates[row]))

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=dates, columns=assets)

    return {
        "prices": table(prices),
        "dividends": table(dividends),
        "splits": table(splits),
        "open_prices": table(prices * np.exp(rng.normal(0, 0.01, shape))),
        "vwap": table(prices * np.exp(rng.normal(0, 0.01, shape))),
        "dollar_volume": table(np.exp(rng.normal(15, 1, shape))),
        "volatility": table(rng.uniform(0.001, 0.05, shape)),
        "members": table(rng.random(shape) < 0.7),
        "cash_rate": 1e-4,
        "delistings": leaving,
        "spin_offs": born,
        "periods_per_year": 252,
    }


def holder_returns(panel: MarketPanel) -> np.ndarray:
    """Returns (T, N) of raw prices: one share bought at the last known price, followed row by row."""
    returns = np.full(panel.prices.shape, np.nan)
    for column in range(panel.n_assets):
        gone = {panel.row(d.date) for d in panel.delistings if d.asset == panel.assets[column]}
        bought = None
        for row in range(panel.n_periods):
            known = np.isfinite(panel.prices[row, column])
            if bought is not None and (known or row in gone):
                value = _value_of_one_share(panel, column, bought, row)
                returns[row, column] = value / panel.prices[bought, column] - 1
            if known:
                bought = row
    return returns


def _value_of_one_share(panel: MarketPanel, column: int, bought: int, row: int) -> float:
    shares, cash = 1.0, 0.0
    for day in range(bought + 1, row + 1):
        shares *= panel.splits[day, column]
        cash += shares * panel.dividends[day, column]
        for spin_off in panel.spin_offs:
            if spin_off.parent == panel.assets[column] and spin_off.date == panel.dates[day]:
                child = list(panel.assets).index(spin_off.child)
                cash += shares * spin_off.ratio * _mark(panel, child, day)
    return cash + shares * _mark(panel, column, row)


def _mark(panel: MarketPanel, column: int, row: int) -> float:
    known = max(r for r in range(row + 1) if np.isfinite(panel.prices[r, column]))
    price = panel.prices[known, column] / np.prod(panel.splits[known + 1 : row + 1, column])
    for delisting in panel.delistings:
        if delisting.asset == panel.assets[column] and delisting.date == panel.dates[row]:
            price *= 1 + delisting.delisting_return
    return float(price)
