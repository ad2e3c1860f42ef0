"""Ensembles of boosted trees as a forecast model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backtest.training.samples import Inputs

if TYPE_CHECKING:
    import lightgbm

__all__ = ["BoostedTrees", "Term"]


@dataclass(frozen=True, eq=False)
class Term:
    """The first `n_trees` trees of a booster, times a factor."""

    booster: lightgbm.Booster
    n_trees: int
    factor: float


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """R ensembles, each a sum of terms; one without any forecasts 0.

    Attributes:
        terms: of each replica.
        scale: unit of the output, a return per period.
    """

    terms: tuple[tuple[Term, ...], ...]
    scale: float

    @property
    def n_replicas(self) -> int:
        """R."""
        return len(self.terms)

    @property
    def history(self) -> int:
        """1: trees see the features of their own row."""
        return 1

    def forecast(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Return forecasts (R, ..., N) for `rows` (B,), shared by all replicas, or (R, ...)."""
        distinct, place = np.unique(rows.numpy(), return_inverse=True)
        x = inputs.features[distinct].reshape(-1, inputs.n_features).numpy()
        shape = (len(distinct), inputs.n_assets)
        known: dict[tuple[int, int], np.ndarray] = {}  # replicas may share boosters
        p = np.zeros((self.n_replicas, *shape))
        for replica, terms in enumerate(self.terms):
            for term in terms:
                key = (id(term.booster), term.n_trees)
                if key not in known:
                    raw = term.booster.predict(x, num_iteration=term.n_trees, raw_score=True, num_threads=1)
                    known[key] = np.asarray(raw).reshape(shape)
                p[replica] += self.scale * term.factor * known[key]
        place = place.reshape(rows.shape)
        if rows.ndim == 1:
            return torch.as_tensor(p[:, place])
        return torch.as_tensor(np.stack([p[replica, place[replica]] for replica in range(self.n_replicas)]))

    def replicas(self, index: Tensor) -> BoostedTrees:
        """Return the replicas `index`, which may repeat."""
        return replace(self, terms=tuple(self.terms[number] for number in index.tolist()))

    def scaled(self, factors: Tensor) -> BoostedTrees:
        """Return the model whose replicas' forecasts are multiplied by `factors` (R,)."""
        return replace(
            self,
            terms=tuple(
                tuple(replace(term, factor=term.factor * factor) for term in terms)
                for terms, factor in zip(self.terms, factors.reshape(-1).tolist(), strict=True)
            ),
        )

    def stacked(self, others: Sequence[BoostedTrees]) -> BoostedTrees:
        """Return one model with the replicas of this one and of all others, in order; all have one scale."""
        return replace(self, terms=sum((other.terms for other in others), self.terms))

    def plus(self, other: BoostedTrees) -> BoostedTrees:
        """Return the sum of two models, replica by replica; both have one scale."""
        return replace(self, terms=tuple(a + b for a, b in zip(self.terms, other.terms, strict=True)))
