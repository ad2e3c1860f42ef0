"""Any scikit-learn regressor, on squared error.

A regressor minimises its own loss on features and targets; what it forecasts is then sized and traded as every other
model's is, on validation. Other objectives need a gradient in the forecast: torch models and boosted trees take one.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.training.learners import Fit, WindowData
from backtest.training.samples import Inputs
from backtest.training.settings import TrainingSettings

__all__ = ["Regressor", "RegressorLearner", "RegressorReplicas", "regressor_maker"]


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
            with _one_thread():
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


@dataclass(frozen=True, eq=False)
class RegressorLearner:
    """Fits one regressor a seed on the scored assets of the training rows, on squared error.

    Targets are in units of their root mean square, so that a regressor's penalties mean the same on every panel.

    Attributes:
        data: the window.
        weights: (T, N) of samples, for regressors that take `sample_weight`; None weighs all alike.
    """

    data: WindowData
    weights: np.ndarray | None = None

    def fit_error(self, name: str) -> Fit[RegressorReplicas]:
        """Fit one regressor a seed, whatever the `name`: "squared" is all that it can be.

        Raises:
            SettingsError: weights have another shape than the samples, or a regressor uses several threads.
        """
        samples, train, make = self.data.samples, self.data.train, regressor_maker(self.data.settings)
        scored = samples.scored[train].numpy()
        x = samples.features[train].numpy()[scored]
        y = samples.target[train].numpy()[scored] / self.data.scale
        options = self._options(scored)
        regressors = []
        for seed in self.data.seeds:
            regressor = make(seed)
            _check_threads(type(regressor).__name__, getattr(regressor, "n_jobs", None))
            with _one_thread():
                regressor.fit(x, y, **options)
            regressors.append(regressor)
        model = RegressorReplicas(tuple(regressors), (self.data.scale,) * len(regressors))
        return Fit.off_path(model, torch.zeros(len(regressors), dtype=torch.long))

    def fit_decisions(
        self, names: Sequence[str], start: RegressorReplicas, shrinkage: Tensor
    ) -> Mapping[str, Fit[RegressorReplicas]]:
        """Refuse: `fit` takes no gradient.

        Args:
            names: the objectives.
            start: not used.
            shrinkage: (R,), not used.

        Returns:
            Nothing ever.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(f"regressor: fits forecast error alone, not {', '.join(names)}")

    def _options(self, scored: np.ndarray) -> dict[str, Any]:
        if self.weights is None:
            return {}
        shape = tuple(self.data.samples.scored.shape)
        if np.shape(self.weights) != shape:
            raise SettingsError(f"regressor: weights have shape {np.shape(self.weights)}, the samples {shape}")
        return {"sample_weight": np.asarray(self.weights, dtype=float)[self.data.train][scored]}


def regressor_maker(settings: TrainingSettings) -> Callable[[int], Regressor]:
    """Return the function of a seed that makes the regressor that settings ask for.

    Raises:
        SettingsError: there is no such regressor in scikit-learn, or it does not take the parameters.
    """
    name, parameters = str(settings.model), settings.regressor
    if callable(parameters):
        return parameters
    kind = _regressor_class(name)
    known = inspect.signature(kind).parameters
    unknown = [key for key in parameters if key not in known]
    missing = [key for key, one in known.items() if one.default is one.empty and key not in parameters]
    if unknown or missing:
        raise SettingsError(
            f"training: {name} " + f"has no parameter {', '.join(unknown)}: it takes {', '.join(known)}"
            if unknown
            else f"training: {name} needs {', '.join(missing)}: give it in regressor; what is no plain value, in a "
            'function of the seed with model="sklearn"'
        )
    if "random_state" in parameters:
        raise SettingsError(f"training: {name}: random_state is set from the seed: leave it out of regressor")
    _check_threads(name, parameters.get("n_jobs"))
    seeded = "random_state" in known
    return lambda seed: kind(**parameters, **({"random_state": seed} if seeded else {}))


def _regressor_class(name: str) -> type:
    """Return a class of scikit-learn by its dotted name."""
    from sklearn.base import BaseEstimator, RegressorMixin

    module, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), last, None)
    except ModuleNotFoundError as error:
        raise SettingsError(f"training: model {name!r}: scikit-learn has no module {module}") from error
    if not (isinstance(found, type) and issubclass(found, RegressorMixin) and issubclass(found, BaseEstimator)):
        raise SettingsError(
            f"training: model {name!r} is no scikit-learn regressor: give the dotted name of a class, such as "
            '"sklearn.ensemble.ExtraTreesRegressor" or "sklearn.linear_model.Ridge"'
        )
    return found


def _one_thread() -> AbstractContextManager[Any]:
    """Return what keeps scikit-learn to one thread: sums of several are in another order with another number."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _check_threads(name: str, n_jobs: object) -> None:
    """Refuse threads: they add up in the order in which they happen to end."""
    if n_jobs not in (None, 1):
        raise SettingsError(
            f"training: {name}: n_jobs must be left out or 1, got {n_jobs!r}: the comparison shares out processes "
            "itself, and sums of threads are not the same twice"
        )
