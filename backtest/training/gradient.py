"""Torch models: trained by gradient descent, or solved for where a linear model has a closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.training.error_losses import error_loss
from backtest.training.initial import initial_model
from backtest.training.learners import Fit, WindowData
from backtest.training.linear import fit_linear
from backtest.training.loops import Trained, train_on_error, train_on_path
from backtest.training.models import TrainableModel
from backtest.training.objectives import Metric

__all__ = ["GradientLearner"]


@dataclass(frozen=True, eq=False)
class GradientLearner:
    """Trains what `initial_model` makes, on any objective.

    Attributes:
        data: the window.
    """

    data: WindowData

    def fit_error(self, name: str) -> Fit[TrainableModel]:
        """Fit an objective from `ERROR_OBJECTIVES`; the closed form of a linear model is the same for all seeds."""
        data, n_seeds = self.data, len(self.data.seeds)
        loss = error_loss(name, data.samples, data.solver, np.concatenate([data.train, data.validation]))
        rows = {"train": data.train, "validation": data.validation}
        if data.settings.is_linear and isinstance(loss, Metric):
            closed = fit_linear(
                data.samples, loss, **rows, ridges=data.settings.ridge, n_replicas=n_seeds, scale=data.scale
            )
            return Fit.off_path(closed.network, torch.zeros(n_seeds, dtype=torch.long), {"ridge": closed.ridge})
        start = initial_model(data.settings, n_features=data.samples.n_features, seeds=data.seeds, scale=data.scale)
        return _fit(train_on_error(data.samples, start, loss, **rows, seeds=data.seeds, settings=data.settings))

    def fit_decisions(
        self, names: Sequence[str], start: TrainableModel, shrinkage: Tensor
    ) -> Mapping[str, Fit[TrainableModel]]:
        """Fit all objectives in one batch: replicas in the order (objective, holding period, seed)."""
        data, periods = self.data, self.data.choices.periods
        per_objective = start.n_replicas
        everyone = torch.arange(per_objective).repeat(len(names))
        trained = train_on_path(
            data.samples,
            # In the precision of the parameters.
            start.scaled(shrinkage.float()).replicas(everyone),
            data.solver,
            train=data.train,
            validation=data.validation,
            seeds=data.seeds * (len(periods) * len(names)),
            holding_periods=torch.tensor(periods, dtype=torch.float64)
            .repeat_interleave(len(data.seeds))
            .repeat(len(names)),
            objectives=[name for name in names for _ in range(per_objective)],
            settings=data.settings,
        )
        own = torch.arange(per_objective)
        return {name: _fit(trained.replicas(own + number * per_objective)) for number, name in enumerate(names)}


def _fit(trained: Trained) -> Fit[TrainableModel]:
    return Fit(trained.network, trained.epoch, trained.moved, trained.failed)
