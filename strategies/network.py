"""Network: two hidden layers on the panel's features, trained on any objective; the mean of several seeds.

Source: Gu, Kelly & Xiu (2020), "Empirical Asset Pricing via Machine Learning", with its ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, TradingCost
from backtest.errors import StrategyError
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.strategy import Strategy
from backtest.training import FittedObjective, Samples, TrainingSettings, fit_objectives

__all__ = ["Network"]


def default_solver() -> PositionSolver:
    """Return the solver that `backtest run` trades with by default: what an aligned network is trained through."""
    costs = 5.0 * FactorRisk(n_factors=5) + TradingCost(half_spread=5e-4) + 1e-4 * L1()
    return PositionSolver(costs, [DollarNeutral(), LeverageLimit(2.0)])


@dataclass
class Network(Strategy):
    """A small network, or another model of `settings`: one for all names, stopped early on the last part of history.

    Attributes:
        objective: one that the settings' model can be trained on.
        solver: what the forecast will be traded with; objectives other than squared are trained through it.
        settings: which model, and how it is trained.
        seeds: one replica each; the forecast is their mean.
        validation_share: last share of the history's rows, kept for early stopping.
        lag: rows from a forecast to its fill; must be the simulator's own.
    """

    objective: str = "squared"
    solver: PositionSolver = field(default_factory=default_solver)
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    validation_share: float = 0.2
    lag: int = 1
    _fitted: FittedObjective | None = field(default=None, init=False, repr=False)

    def fit(self, history: MarketPanel) -> None:
        """Train afresh; rows whose target overlaps the validation rows are left out of training."""
        samples = Samples.of(history, lag=self.lag)
        solver = self.solver.estimate(history)
        rows = np.flatnonzero(samples.scored.any(dim=1).numpy())
        rows = rows[rows >= solver.costs.first_row]
        held_out = max(1, round(self.validation_share * len(rows)))
        train, validation = rows[: max(0, len(rows) - held_out - self.lag - 1)], rows[-held_out:]
        if not len(train):
            raise StrategyError(
                f"Network: {len(rows)} rows with features and targets by {history.dates[-1]:%Y-%m-%d} are "
                "too few to train on: start with a later first_row"
            )
        self._fitted = fit_objectives(
            samples,
            solver,
            [self.objective],
            train=train,
            validation=validation,
            seeds=self.seeds,
            settings=self.settings,
        )[self.objective]

    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected return per period; no view on a name that lacks a feature today."""
        if self._fitted is None or history.features is None:
            raise StrategyError("Network: fit it on a panel with features before asking for a forecast")
        forecast: np.ndarray = self._fitted.today(history).mean(axis=0)
        return forecast
