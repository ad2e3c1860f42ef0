"""Early stopping, each replica on its own: what is kept is each one's best parameters on validation."""

from __future__ import annotations

import torch
from torch import Tensor

from backtest.training.models import TrainableModel

__all__ = ["BestOnValidation"]


class BestOnValidation:
    """Keeps the parameters with the lowest validation loss of every replica.

    A replica without a better loss for `patience` epochs is done, however long the others go on, so what becomes of it
    does not depend on its company.
    """

    def __init__(self, network: TrainableModel, loss: Tensor, *, patience: int) -> None:
        """Begin from a network and its validation loss (R,)."""
        self.network = network.with_parameters([parameter.detach().clone() for parameter in network.parameters])
        self.loss = loss.clone()
        self.epoch = torch.zeros(len(loss), dtype=torch.long)
        self._now = 0
        self._patience = patience

    def update(self, network: TrainableModel, loss: Tensor) -> None:
        """Compare one epoch's network, with its validation loss (R,), to the best so far."""
        better = (loss < self.loss) & ~self._done
        self._now += 1
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, self._now, self.epoch)
        for best, now in zip(self.network.parameters, network.parameters, strict=True):
            best[better] = now.detach()[better]

    @property
    def finished(self) -> bool:
        """Whether no replica has improved for `patience` epochs."""
        return bool(self._done.all())

    @property
    def _done(self) -> Tensor:
        return self._now - self.epoch >= self._patience
