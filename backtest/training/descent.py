"""Gradient descent on replicas, each by itself: what becomes of one does not depend on its company."""

from __future__ import annotations

import torch
from torch import Tensor

from backtest.training.models import TrainableModel

__all__ = ["Descent"]

GRADIENT_CLIP = 5.0
"""Largest norm of one replica's gradient, in units of the first one in its forecasts."""

ROUNDING = 1e-6
"""Share of the norm of a replica's gradient below which a part of it is rounding of sums in single precision."""


class Descent:
    """AdamW on all replicas, with each replica's gradient clipped by its own norm."""

    def __init__(self, network: TrainableModel, *, step_size: float, weight_decay: float) -> None:
        """Begin at a network's parameters, which stay as they are; `self.network` has those that move."""
        self.network = network.with_parameters([part.detach().clone().requires_grad_() for part in network.parameters])
        self._unit = torch.zeros(network.n_replicas, dtype=torch.float64)
        self._optimizer = torch.optim.AdamW(self.network.parameters, lr=step_size, weight_decay=weight_decay)

    def step(self, p: Tensor, gradient: Tensor) -> None:
        """Move the parameters given forecasts `p` with a graph and the loss's derivative in them, like `p`."""
        self._optimizer.zero_grad(set_to_none=True)
        # Losses differ in units; measured once, so that steps keep their sizes relative to each other. A replica whose
        # positions are all stuck has no gradient to measure yet.
        size = gradient.flatten(1).norm(dim=1) * self.network.scale
        self._unit = torch.where(self._unit > 0, self._unit, size)
        unit = torch.where(self._unit > 0, self._unit, 1.0)
        p.backward(gradient / unit.reshape(-1, *[1] * (gradient.ndim - 1)))
        square = torch.zeros(self.network.n_replicas)
        for parameter in self.network.parameters:
            assert parameter.grad is not None
            square += parameter.grad.flatten(1).square().sum(1)
        norm = square.sqrt()
        shrink = (GRADIENT_CLIP / norm.clamp(min=1e-30)).clamp(max=1.0)
        for parameter in self.network.parameters:
            assert parameter.grad is not None
            one_each = (-1, *[1] * (parameter.ndim - 1))
            # Adam would make whole steps of what is rounding: the level of forecasts for dollar-neutral books, say.
            parameter.grad[parameter.grad.abs() < ROUNDING * norm.reshape(one_each)] = 0
            parameter.grad *= shrink.reshape(one_each)
        self._optimizer.step()
