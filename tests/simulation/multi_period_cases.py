"""A market of five names for tests of plans of several trades, and one decision in it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.costs import DenseRisk, TradingCost
from backtest.market import MarketSnapshot

N = 5
ASSETS = pd.Index([f"N{i}" for i in range(N)])
DATES = pd.date_range("2020-01-01", periods=60, freq="D")


def market(row=20, books=1):
    features = np.random.default_rng(row).normal(size=(1, N, 1))
    return MarketSnapshot(
        assets=ASSETS,
        rows=np.array([row]),
        calendar=DATES,
        features=features,
        feature_names=("x",),
        wealth=np.full(books, 1e6),
        periods_per_year=252,
    )


def covariance(seed=0):
    root = np.random.default_rng(seed).normal(size=(N, N))
    return 1e-4 * (root @ root.T / N + 0.5 * np.eye(N))


RISK = 5.0 * DenseRisk(covariance())
IMPACT = TradingCost(half_spread=5e-4, buy_fee=2e-4, impact=1.0, quadratic=0.002, volatility=0.02, dollar_volume=2e7)


def drawn(seed, books=3):
    rng = np.random.default_rng(seed)
    return 2e-3 * rng.normal(size=(books, N)), rng.dirichlet(np.ones(N), size=books)


def decide(policy, p, held, *, tradable=None, row=20):
    policy = policy if policy._table is not None else policy.prepare(DATES, ASSETS, lag=1)
    tradable = np.ones(held.shape, bool) if tradable is None else tradable
    return policy.decide(p, held, market(row, len(held)), tradable)
