"""Network: two hidden layers on the panel's features, trained on squared error; the mean of several seeds.

Source: Gu, Kelly & Xiu (2020), "Empirical Asset Pricing via Machine Learning", with its ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from backtest.errors import StrategyError
from backtest.market import MarketPanel
from backtest.strategy import Strategy
from backtest.training import Network as Parameters
from backtest.training import Samples, TrainingSettings
from backtest.training.loops import train_on_error
from backtest.training.objectives import euclidean_metric

__all__ = ["Network"]


@dataclass
class Network(Strategy):
    """A small network, one model for all names, stopped early on the last part of its history.

    Attributes:
        settings: layers and training.
        seeds: one replica each; the forecast is their mean.
        validation_share: last share of the history's rows, kept for early stopping.
        lag: rows from a forecast to its fill; must be the simulator's own.
    """

    settings: TrainingSettings = field(default_factory=TrainingSettings)
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    validation_share: float = 0.2
    lag: int = 1
    _parameters: Parameters | None = field(default=None, init=False, repr=False)

    def fit(self, history: MarketPanel) -> None:
        """Train afresh; rows whose target overlaps the validation rows are left out of training."""
        samples = Samples.of(history, lag=self.lag)
        rows = np.flatnonzero(samples.scored.any(dim=1).numpy())
        held_out = max(1, round(self.validation_share * len(rows)))
        train, validation = rows[: max(0, len(rows) - held_out - self.lag - 1)], rows[-held_out:]
        if not len(train):
            raise StrategyError(
                f"Network: {len(rows)} rows with features and targets by {history.dates[-1]:%Y-%m-%d} are "
                "too few to train on: start with a later first_row"
            )
        start = Parameters.initial(
            history.n_features,
            hidden=self.settings.hidden,
            seeds=self.seeds,
            scale=samples.target_scale(train),
        )
        self._parameters = train_on_error(
            samples,
            start,
            euclidean_metric(samples),
            train=train,
            validation=validation,
            seeds=self.seeds,
            settings=self.settings,
        ).network

    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected return per period; no view on a name that lacks a feature today."""
        if self._parameters is None or history.features is None:
            raise StrategyError("Network: fit it on a panel with features before asking for a forecast")
        today = history.features[-1]
        available = np.isfinite(today).all(axis=-1)
        x = torch.as_tensor(np.where(available[:, None], today, 0.0), dtype=torch.float32)
        with torch.no_grad():
            p = self._parameters(x).mean(dim=0).numpy()
        return np.where(available, p, np.nan)
