"""Penalty on exposure to features or factors: an opinion, never charged."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import features_of, loadings_of
from backtest.costs.terms import CostTerms
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["Exposure"]


@dataclass(frozen=True, eq=False)
class Exposure(Cost):
    """`1/2 |F'q|^2`: the squared exposure to the columns of `F`.

    Attributes:
        loadings: `F`, (N, k), (B, N, k), or a DataFrame by asset. None takes `features` from the market.
        features: names of panel features that are the columns of `F`, as known at each row; an asset whose feature is
            not available counts as having none (0).

    Raises:
        CostError: both or neither of loadings and features are given.
    """

    loadings: np.ndarray | pd.DataFrame | Tensor | None = None
    features: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.loadings is None) == (not self.features):
            raise CostError("Exposure takes either loadings= or features=, and one of them is needed")

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the penalty by asset (B, N): asset i's share is `q_i (F F'q)_i / 2`."""
        loadings = self._loadings(held, market)
        exposure = torch.einsum("bnk,bn->bk", loadings.expand(len(q), -1, -1), q)
        return q * (loadings @ exposure.unsqueeze(-1)).squeeze(-1) / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return its loadings."""
        return CostTerms(loadings=(self._loadings(held, market),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same for given loadings; features change with every row."""
        return None if self.loadings is None else ()

    def _loadings(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        if self.loadings is not None:
            return loadings_of(self.loadings, held, market, "Exposure loadings")
        return features_of(self.features, held, market, "Exposure")
