"""Forecast models, many replicas at once: each replica has its own parameters, and one product serves all.

A replica is one seed under one setting. Shapes: R replicas, M samples, K features, N assets. `ForecastModel` is all
that choosing and trading ask of a model; `TrainableModel` is what the training loops ask beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.training.samples import Inputs

__all__ = ["LAST_LAYER_GAIN", "ForecastModel", "Network", "TrainableModel", "stack_replicas"]

LAST_LAYER_GAIN = 0.1
"""A forecast of returns starts near 0: the signal is a hundredth of the noise."""


class ForecastModel(Protocol):
    """R replicas of a model that forecasts returns."""

    @property
    def n_replicas(self) -> int:
        """R."""

    @property
    def history(self) -> int:
        """Rows of features that a forecast looks at, the last being its own."""

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) float64, a return per period, for every asset, whether available or not.

        Args:
            inputs: features.
            rows: row numbers: (B,), shared by all replicas, or (R, ...), each replica its own.
        """

    def replicas(self, index: Tensor) -> Self:
        """Return the replicas `index`, which may repeat."""

    def scaled(self, factors: Tensor) -> Self:
        """Return the model whose replicas' forecasts are multiplied by `factors` (R,)."""

    def stacked(self, others: Sequence[Any]) -> Self:
        """Return one model with the replicas of this one and of all `others`, in order."""


class TrainableModel(ForecastModel, Protocol):
    """R replicas whose parameters gradient descent can move."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Every tensor that training moves, (R, ...) each: the first axis is the replica."""

    @property
    def scale(self) -> float:
        """Unit of the output, a return per period: parameters of order 1 give forecasts of that order."""

    def with_parameters(self, parameters: Sequence[Tensor]) -> Self:
        """Return this model with other `parameters`, ordered and shaped as those of the property of that name."""


Model = TypeVar("Model", bound=ForecastModel)


def stack_replicas(models: Sequence[Model]) -> Model:
    """Return one model with the replicas of all, in order."""
    return models[0].stacked(models[1:])


@dataclass(frozen=True, eq=False)
class Network:
    """R multilayer perceptrons with SiLU hidden layers and one output; linear when there are none.

    The output is `scale` times the last layer, so that parameters are of order 1 and forecasts in return units.

    Attributes:
        weights: for each layer (R, inputs, outputs).
        biases: for each layer (R, 1, outputs).
        scale: unit of the output, a return per period.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    scale: float

    @staticmethod
    def initial(n_features: int, *, hidden: Sequence[int], seeds: Sequence[int], scale: float) -> Network:
        """Draw the parameters of one replica a seed (He et al. 2015); a seed gives the same replica in any company.

        Args:
            n_features: K.
            hidden: sizes of the hidden layers; none gives a linear model, which starts at 0.
            seeds: one a replica.
            scale: unit of the output.

        Raises:
            SettingsError: a hidden layer has no unit.
        """
        if any(size < 1 for size in hidden):
            raise SettingsError(f"hidden layers need at least one unit each, got {list(hidden)}")
        sizes = [n_features, *hidden, 1]
        layers: list[list[Tensor]] = [[] for _ in sizes[1:]]
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
                gain = (2 / inputs) ** 0.5 if layer < len(hidden) else LAST_LAYER_GAIN / inputs**0.5
                if not hidden:
                    gain = 0.0
                layers[layer].append(gain * torch.randn(inputs, outputs, generator=generator))
        weights = tuple(torch.stack(replicas) for replicas in layers)
        biases = tuple(torch.zeros(len(seeds), 1, size) for size in sizes[1:])
        return Network(weights, biases, scale)

    @property
    def n_replicas(self) -> int:
        """R."""
        return self.weights[0].shape[0]

    @property
    def history(self) -> int:
        """1: a network sees the features of its own row."""
        return 1

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Every tensor that training moves, (R, ...) each: the first axis is the replica."""
        return (*self.weights, *self.biases)

    def with_parameters(self, parameters: Sequence[Tensor]) -> Network:
        """Return this network with other `parameters`, ordered and shaped as those of the property of that name."""
        count = len(self.weights)
        return Network(tuple(parameters[:count]), tuple(parameters[count:]), self.scale)

    def replicas(self, index: Tensor) -> Network:
        """Return the replicas `index`, which may repeat."""
        return self.with_parameters([parameter[index].clone() for parameter in self.parameters])

    def scaled(self, factors: Tensor) -> Network:
        """Return the network whose replicas' forecasts are multiplied by `factors` (R,)."""
        last = factors.reshape(-1, 1, 1).to(self.weights[-1].dtype)
        return Network(
            (*self.weights[:-1], self.weights[-1] * last), (*self.biases[:-1], self.biases[-1] * last), self.scale
        )

    def __call__(self, features: Tensor) -> Tensor:
        """Return forecasts (R, M) float64 for `features` (M, K), shared by all replicas, or (R, M, K)."""
        x = features if features.ndim == 3 else features.unsqueeze(0).expand(self.n_replicas, -1, -1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                x = torch.nn.functional.silu(x)
        return self.scale * x.squeeze(-1).double()

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) float64 of `inputs` at `rows` (B,), shared by all replicas, or (R, ...)."""
        shared = rows.ndim == 1
        features = inputs.features[rows]
        flat = features.reshape(*(() if shared else (len(rows),)), -1, inputs.n_features)
        return self(flat).reshape(self.n_replicas, *rows.shape[int(not shared) :], inputs.n_assets)

    def stacked(self, others: Sequence[Network]) -> Network:
        """Return one network with the replicas of this one and of all `others`, in order."""
        everyone = (self.parameters, *(other.parameters for other in others))
        return self.with_parameters([torch.cat(parts) for parts in zip(*everyone, strict=True)])
