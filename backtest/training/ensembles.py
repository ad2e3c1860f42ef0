"""Ensembles over seeds: the mean forecast of several models that differ in their seed, traded as one book.

Source: Gu, Kelly & Xiu (2020), "Empirical Asset Pricing via Machine Learning", who average over random seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.training.models import ForecastModel
from backtest.training.samples import Inputs

__all__ = ["Ensembles", "ensemble_labels", "ensembles_of"]


@dataclass(frozen=True, eq=False)
class Ensembles:
    """R ensembles, each the mean of the forecasts of `size` members.

    Attributes:
        members: R * size replicas, those of an ensemble one after the other.
        size: members of each.
    """

    members: ForecastModel
    size: int

    @property
    def n_replicas(self) -> int:
        """R."""
        return self.members.n_replicas // self.size

    @property
    def history(self) -> int:
        """Rows that a forecast looks at."""
        return self.members.history

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) for `rows` (B,), shared by all replicas, or (R, ...)."""
        own = rows if rows.ndim == 1 else rows.repeat_interleave(self.size, dim=0)
        return self.members.forecast(inputs, own).unflatten(0, (-1, self.size)).mean(dim=1)

    def replicas(self, index: Tensor) -> Ensembles:
        """Return the ensembles `index`, which may repeat."""
        members = index.unsqueeze(-1) * self.size + torch.arange(self.size)
        return replace(self, members=self.members.replicas(members.flatten()))

    def scaled(self, factors: Tensor) -> Ensembles:
        """Return the model whose ensembles' forecasts are multiplied by `factors` (R,)."""
        return replace(self, members=self.members.scaled(factors.reshape(-1).repeat_interleave(self.size)))

    def stacked(self, others: Sequence[Ensembles]) -> Ensembles:
        """Return one model with the ensembles of this one and of all others, in order; all have one size."""
        return replace(self, members=self.members.stacked([other.members for other in others]))


def ensembles_of(model: ForecastModel, size: int) -> ForecastModel:
    """Return the mean of every `size` replicas that follow each other; the model itself where they are one."""
    return model if size == 1 else Ensembles(model, size)


def ensemble_labels(seeds: Sequence[int], size: int) -> tuple[str, ...]:
    """Return what says which of the `seeds` are in each ensemble of `size`: "0-3", "2, 7", or "0" for a seed by itself.

    Raises:
        SettingsError: the ensembles do not use up the seeds.
    """
    if len(seeds) % size:
        raise SettingsError(
            f"training: ensemble is {size}, which does not divide {len(seeds)} seeds: ask for "
            f"{' or '.join(str(size * count) for count in (len(seeds) // size, len(seeds) // size + 1) if count)} seeds"
        )
    groups = [tuple(seeds[first : first + size]) for first in range(0, len(seeds), size)]
    return tuple(
        f"{group[0]}-{group[-1]}"
        if size > 1 and group == tuple(range(group[0], group[0] + size))
        else ", ".join(map(str, group))
        for group in groups
    )
