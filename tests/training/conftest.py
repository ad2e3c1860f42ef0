"""Small panels and solvers that the training tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, Ridge, TradingCost
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.training import BoostingSettings, TrainingSettings


def make_panel(n_periods=120, n_assets=6, n_features=3, *, seed=0, signal=0.01, noise=0.02):
    """A panel whose targets are linear in its features, and the coefficients."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_periods, n_assets, n_features))
    coefficients = signal * np.array([1.0, -0.5, 0.25])[:n_features]
    returns = noise * rng.standard_normal((n_periods, n_assets))
    returns[2:] += (features @ coefficients)[:-2]
    panel = MarketPanel(
        dates=pd.bdate_range("2000-01-03", periods=n_periods),
        assets=pd.Index([f"A{i}" for i in range(n_assets)]),
        returns=returns,
        features=features,
        feature_names=tuple(f"x{k}" for k in range(n_features)),
        periods_per_year=252,
    )
    return panel, coefficients


def make_solver(n_assets=6, *, seed=1, trading=2e-3, l1=1e-3, leverage=2.0):
    """Risk, L1, trading cost, neutrality and a leverage limit, all of which bind in some rows."""
    rng = np.random.default_rng(seed)
    risk = FactorRisk(
        loadings=0.01 * rng.standard_normal((n_assets, 2)), specific_variance=rng.uniform(2e-4, 6e-4, n_assets)
    )
    costs = 20.0 * risk + l1 * L1() + 1e-3 * Ridge()
    if trading:
        costs = costs + TradingCost(half_spread=trading)
    return PositionSolver(costs, [DollarNeutral(), LeverageLimit(leverage)])


SMALL = TrainingSettings(
    hidden=(4,),
    epochs=4,
    path_epochs=3,
    patience=2,
    batch_rows=16,
    chunk_length=5,
    batch_chunks=4,
    learning_rate=1e-2,
    holding_periods=(1.0, 3.0),
    shrinkage=(0.5, 1.0),
)

SMALL_TREES = TrainingSettings(
    model="boosted_trees",
    chunk_length=5,
    holding_periods=(1.0, 3.0),
    shrinkage=(0.5, 1.0),
    boosting=BoostingSettings(
        trees=6, path_trees=4, learning_rate=0.3, leaves=4, samples_in_leaf=20, check_every=2, patience=3
    ),
)

SMALL_FOREST = TrainingSettings(
    model="sklearn.ensemble.ExtraTreesRegressor",
    regressor={"n_estimators": 10, "min_samples_leaf": 10},
    holding_periods=(1.0, 3.0),
    shrinkage=(0.5, 1.0),
)


class Toolbox:
    panel = staticmethod(make_panel)
    solver = staticmethod(make_solver)
    small = SMALL
    small_trees = SMALL_TREES
    small_forest = SMALL_FOREST


@pytest.fixture
def toolbox():
    return Toolbox


@pytest.fixture(scope="module")
def toolbox_of_module():
    """The same, for fixtures that a whole module shares."""
    return Toolbox
