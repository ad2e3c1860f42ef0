"""What a kind of model must be able to do, to be trained on objectives, sized and compared like every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver
from backtest.training.choices import Choices
from backtest.training.models import ForecastModel
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings

__all__ = ["Fit", "Learner", "WindowData"]

Model = TypeVar("Model", bound=ForecastModel)


@dataclass(frozen=True, eq=False)
class WindowData:
    """What the models of one window are trained on and judged by.

    Attributes:
        samples: features and targets.
        solver: estimated on the samples' panel.
        train, validation: row numbers, (n,) each.
        seeds: one model each.
        settings: how to train.
    """

    samples: Samples
    solver: PositionSolver
    train: np.ndarray
    validation: np.ndarray
    seeds: tuple[int, ...]
    settings: TrainingSettings

    @property
    def choices(self) -> Choices:
        """What validation chooses from, for a book a seed."""
        return Choices(self.samples, self.solver, self.validation, len(self.seeds), self.settings)

    @property
    def scale(self) -> float:
        """Root mean square of the training targets: the unit of a model's output."""
        return self.samples.target_scale(self.train)


@dataclass(frozen=True, eq=False)
class Fit(Generic[Model]):
    """R trained replicas of a model, before anything is chosen.

    Attributes:
        model: the replicas.
        epoch: (R,) the epoch, or number of trees, that was best on validation.
        moved: (R,) share of usable assets whose position answered to the forecast in training; NaN off the path.
        failed: (R,) rows along training paths that could not be solved.
        details: what else was chosen.
    """

    model: Model
    epoch: Tensor
    moved: Tensor
    failed: Tensor
    details: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def off_path(model: Model, epoch: Tensor, details: Mapping[str, Any] | None = None) -> Fit[Model]:
        """Return a fit that needed no solver."""
        nowhere = torch.full((model.n_replicas,), torch.nan, dtype=torch.float64)
        return Fit(model, epoch, nowhere, torch.zeros(model.n_replicas, dtype=torch.long), details or {})

    def replicas(self, index: Tensor) -> Fit[Model]:
        """Return the replicas `index`."""
        return Fit(
            self.model.replicas(index), self.epoch[index], self.moved[index], self.failed[index], dict(self.details)
        )


class Learner(Protocol[Model]):
    """One way of training, in one window. `backtest.training.fit.fit_with` does the rest."""

    @property
    def data(self) -> WindowData:
        """The window."""

    def fit_error(self, name: str) -> Fit[Model]:
        """Fit the objective `name`, one of `ERROR_OBJECTIVES`: one replica a seed."""

    def fit_decisions(self, names: Sequence[str], start: Model, shrinkage: Tensor) -> Mapping[str, Fit[Model]]:
        """Fit objectives whose loss needs the solver, and blends.

        Args:
            names: the objectives.
            start: one replica a holding period of `data.choices.periods` and seed, seeds moving fastest.
            shrinkage: (R,) of the R replicas, float64, what the start's forecasts are multiplied by first.

        Returns:
            For each objective the replicas of `start`, trained.
        """
