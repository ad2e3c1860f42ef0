"""What fitting one objective in one window gives, whatever the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from backtest.market import MarketPanel
from backtest.training.models import ForecastModel
from backtest.training.samples import RecentInputs, Samples

__all__ = ["FittedObjective"]


@dataclass(frozen=True, eq=False)
class FittedObjective:
    """One objective's models in one window, of S seeds, and what B books trade: a seed each, or the mean of several.

    Attributes:
        objective: its name.
        network: the model, one replica a book, sized as validation chose.
        holding_periods, shrinkage: what validation chose, one value for all books.
        validation_utility: (n, B) for n choices and B books, mean utility a period on validation: those of
            `TrainingSettings.choices` in their order, then those of a finer search.
        epoch: (S,) the epoch, or number of trees, that was best on validation; for decision objectives counted from the
            warm start.
        warm_start: (S,) name of the objective whose fit was started from; empty text for none.
        moved: share of usable assets whose position answered to the forecast in training; NaN off the path.
        failed: rows along training paths that could not be solved.
        details: what else was chosen: a ridge, the factors of groups of assets; after tuning, its trials.
    """

    objective: str
    network: ForecastModel
    holding_periods: float
    shrinkage: float
    validation_utility: np.ndarray
    epoch: np.ndarray
    warm_start: tuple[str, ...]
    moved: float
    failed: int
    details: Mapping[str, Any] = field(default_factory=dict)

    def forecast(self, samples: Samples, rows: np.ndarray) -> np.ndarray:
        """Return forecasts (B, n, N), NaN where an asset has no features or cannot be filled.

        Args:
            samples: features of the panel.
            rows: (n,) row numbers.
        """
        with torch.no_grad():
            p = self.network.forecast(samples, torch.as_tensor(rows))
        return torch.where(samples.usable[rows], p, torch.nan).numpy()

    def today(self, panel: MarketPanel) -> np.ndarray:
        """Return forecasts (B, N) at the last row of a `panel`, NaN where an asset has no features there."""
        recent = RecentInputs.of(panel, self.network.history)
        last = len(recent.features) - 1
        with torch.no_grad():
            p = self.network.forecast(recent, torch.tensor([last]))[:, 0]
        return torch.where(recent.available[last], p, torch.nan).numpy()

    @property
    def n_tried(self) -> int:
        """How many models validation judged: choices times seeds, of all trials where there was tuning."""
        return int(self.details.get("n_tried", len(self.validation_utility) * len(self.epoch)))

    def record(self) -> dict[str, object]:
        """Return what a report tells of this fit."""
        return {
            "objective": self.objective,
            "holding_periods": self.holding_periods,
            "shrinkage": self.shrinkage,
            "validation_utility": self.validation_utility.tolist(),
            "epoch": self.epoch.tolist(),
            "warm_start": list(self.warm_start),
            "moved": self.moved,
            "failed": self.failed,
            "n_tried": self.n_tried,
            **self.details,
        }
