"""Any scikit-learn regressor, on squared error.

A regressor minimises its own loss on features and targets; what it forecasts is then sized and traded as every other
model's is, on validation. Other objectives need a gradient in the forecast: torch models and boosted trees take one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training.choices import Choices
from backtest.training.fitted import FittedObjective
from backtest.training.samples import Inputs, Samples
from backtest.training.settings import TrainingSettings

__all__ = ["Regressor", "RegressorReplicas", "fit_regressor"]


class Regressor(Protocol):
    """What scikit-learn calls a regressor."""

    def fit(self, X: np.ndarray, y: np.ndarray, **options: Any) -> Any:
        """Fit on samples (M, K) and targets (M,); `sample_weight` (M,) where weights are given."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return forecasts (M,)."""


@dataclass(frozen=True, eq=False)
class RegressorReplicas:
    """R fitted regressors.

    Attributes:
        regressors: one a replica.
        factors: of each, what its output is multiplied by.
    """

    regressors: tuple[Regressor, ...]
    factors: tuple[float, ...]

    @property
    def n_replicas(self) -> int:
        """R."""
        return len(self.regressors)

    @property
    def history(self) -> int:
        """1: a regressor sees the features of its own row."""
        return 1

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) for `rows` (B,), shared by all replicas, or (R, ...)."""
        parts = []
        for number, (regressor, factor) in enumerate(zip(self.regressors, self.factors, strict=True)):
            own = rows if rows.ndim == 1 else rows[number]
            x = inputs.features[own].reshape(-1, inputs.n_features).numpy()
            p = np.asarray(regressor.predict(x), dtype=float)
            if p.size != len(x):
                raise SettingsError(
                    f"regressor {type(regressor).__name__}: predict gave {p.shape} for {x.shape[0]} samples: it must "
                    "give one number a sample"
                )
            parts.append(torch.as_tensor(factor * p.reshape(*own.shape, inputs.n_assets)))
        return torch.stack(parts)

    def replicas(self, index: Tensor) -> RegressorReplicas:
        """Return the replicas `index`, which may repeat."""
        numbers = index.tolist()
        return RegressorReplicas(
            tuple(self.regressors[number] for number in numbers), tuple(self.factors[number] for number in numbers)
        )

    def scaled(self, factors: Tensor) -> RegressorReplicas:
        """Return the model whose replicas' forecasts are multiplied by `factors` (R,)."""
        pairs = zip(self.factors, factors.reshape(-1).tolist(), strict=True)
        return replace(self, factors=tuple(old * new for old, new in pairs))

    def stacked(self, others: Sequence[RegressorReplicas]) -> RegressorReplicas:
        """Return one model with the replicas of this one and of all others, in order."""
        models = (self, *others)
        return RegressorReplicas(
            sum((model.regressors for model in models), ()), sum((model.factors for model in models), ())
        )


def fit_regressor(
    samples: Samples,
    solver: PositionSolver,
    make: Callable[[int], Regressor],
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
    weights: np.ndarray | None = None,
) -> FittedObjective:
    """Fit one regressor a seed on the scored assets of the training rows, and choose its scale on validation.

    Targets are in units of their root mean square, so that a regressor's penalties mean the same on every panel.

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel; its `holding_periods` is replaced by the choices in `settings`.
        make: called with a seed; gives a regressor that is not fitted yet.
        train, validation: row numbers, increasing; those of validation consecutive.
        seeds: one regressor each.
        settings: holding periods, shrinkage and sizing.
        weights: (T, N) of samples, for regressors that take `sample_weight`; None weighs all alike.

    Returns:
        The fit, for the objective "squared".
    """
    scored = samples.scored[train].numpy()
    scale = samples.target_scale(train)
    x, y = samples.features[train].numpy()[scored], samples.target[train].numpy()[scored] / scale
    options: dict[str, Any] = {}
    if weights is not None:
        if np.shape(weights) != samples.scored.shape:
            raise SettingsError(
                f"regressor: weights have shape {np.shape(weights)}, the samples {tuple(samples.scored.shape)}"
            )
        options["sample_weight"] = np.asarray(weights, dtype=float)[train][scored]
    regressors = []
    for seed in seeds:
        regressor = make(seed)
        regressor.fit(x, y, **options)
        regressors.append(regressor)
    model = RegressorReplicas(tuple(regressors), (scale,) * len(regressors))
    choices = Choices(samples, solver, validation, len(regressors), settings)
    utility = choices.utilities({"squared": model}, by_period=False)["squared"]
    return choices.fitted("squared", model, utility, epoch=np.zeros(len(regressors), dtype=int))
