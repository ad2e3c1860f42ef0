"""Risk of a dense covariance: given, or estimated causally from the panel. An opinion, never charged."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.parameters import as_tensor, check_labels
from backtest.costs.semidefinite import check_semidefinite, split
from backtest.costs.shrunk_covariance import ShrunkCovariances, first_estimate
from backtest.costs.terms import CostTerms
from backtest.errors import CostError, LabelError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["DenseRisk"]


@dataclass(frozen=True, eq=False)
class DenseRisk(Cost):
    """`1/2 q' Sigma q`. `g * DenseRisk(...)` is risk aversion `g`: `g/2 q' Sigma q`.

    Give `covariance`, which is read once, here; or `lookback`, and then `estimate(panel)` fits a shrunk covariance to
    the trailing returns of each row, and the cost must be used with `market=panel.at(rows)`.

    Attributes:
        covariance: `Sigma`, (N, N), (B, N, N), or a DataFrame with the assets on both sides; symmetric and positive
            semidefinite, perhaps singular; squared return per period. The derivative of the solution in it, where it is
            singular, is 0 in the directions that have no risk.
        lookback: rows of returns in each estimate; 2 at least.
        history: the estimates; filled by `estimate`.

    Raises:
        CostError: the covariance is not finite, symmetric or positive semidefinite; the message names the place, or the
            eigenvalue. Or both or neither of covariance and lookback are given.
        LabelError: the rows and columns of a labelled covariance do not name the same assets, each once.

    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", section 3,
    for the estimate, on returns scaled to unit volatility by name.
    """

    covariance: np.ndarray | pd.DataFrame | Tensor | None = None
    lookback: int | None = None
    history: ShrunkCovariances | None = None

    def __post_init__(self) -> None:
        if (self.covariance is None) == (self.lookback is None):
            raise CostError("DenseRisk takes either covariance= or lookback= (to estimate one)")
        if self.lookback is not None:
            if self.lookback < 2:
                raise CostError(f"DenseRisk: lookback must be at least 2 rows, got {self.lookback}")
            return
        labels = self._labels
        if isinstance(self.covariance, pd.DataFrame) and (
            labels is None or set(labels) != set(self.covariance.columns) or not labels.is_unique
        ):
            raise LabelError("DenseRisk covariance: its rows and columns must name the same assets, each once")
        matrix = self._matrix
        if matrix.ndim not in (2, 3) or matrix.shape[-1] != matrix.shape[-2]:
            raise CostError(f"DenseRisk covariance has shape {tuple(matrix.shape)}: give (N, N) or (B, N, N)")
        check_semidefinite(matrix, "DenseRisk covariance")

    def estimate(self, panel: MarketPanel) -> DenseRisk:
        """Return this risk with the panel's returns to estimate from; a given covariance stays as it is."""
        if self.lookback is None:
            return self
        return replace(self, history=ShrunkCovariances(panel, self.lookback))

    @property
    def first_row(self) -> int:
        """First panel row with an estimate; 0 for a given covariance."""
        return 0 if self.lookback is None or self.history is None else first_estimate(self.lookback)

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the risk by asset (B, N): asset i's share is `q_i (Sigma q)_i / 2` (Euler's decomposition)."""
        if self.lookback is not None:
            diagonal, loadings = self._estimated(held, market)
            return q * (diagonal * q + (loadings @ (loadings.mT @ q.unsqueeze(-1))).squeeze(-1)) / 2
        order = self._order(held, market)
        matrix = self._matrix.to(q)
        if order is not None:
            matrix = matrix[..., order, :][..., order]
        return q * (matrix @ q.unsqueeze(-1)).squeeze(-1) / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return what of the diagonal can be split off, and loadings."""
        if self.lookback is not None:
            diagonal, loadings = self._estimated(held, market)
            return CostTerms(diagonal=diagonal, loadings=(loadings,))
        diagonal, loadings = split(self._matrix) if self._matrix.requires_grad else self._constant_split
        order = self._order(held, market)
        if order is not None:
            diagonal, loadings = diagonal[..., order], loadings[..., order, :]
        if diagonal.ndim == 1:
            diagonal, loadings = diagonal.unsqueeze(0), loadings.unsqueeze(0)
        return CostTerms(diagonal=diagonal.to(held), loadings=(loadings.to(held),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same for a given covariance; an estimated one changes with every row."""
        return () if self.lookback is None else None

    @cached_property
    def _matrix(self) -> Tensor:
        """The covariance (N, N) or (B, N, N), assets in its own order; a copy, unless it has a graph to keep."""
        if isinstance(self.covariance, Tensor):
            return self.covariance if self.covariance.requires_grad else self.covariance.to(torch.float64, copy=True)
        covariance = self.covariance
        if isinstance(covariance, pd.DataFrame):
            covariance = covariance[covariance.index].to_numpy(dtype=float)
        return as_tensor(covariance, torch.empty(0, dtype=torch.float64))

    @cached_property
    def _constant_split(self) -> tuple[Tensor, Tensor]:
        return split(self._matrix)

    @property
    def _labels(self) -> pd.Index | None:
        return self.covariance.index if isinstance(self.covariance, pd.DataFrame) else None

    def _order(self, held: Tensor, market: MarketSnapshot | None) -> Tensor | None:
        """Return the place of each asset of the problem in the covariance; None where they stand in its order."""
        shape = tuple(self._matrix.shape)
        labels = self._labels
        order = None
        if labels is not None:
            order = torch.as_tensor(labels.get_indexer(check_labels(labels, market, "DenseRisk covariance")))
        if shape[-1] != held.shape[1] or (len(shape) == 3 and shape[0] not in (1, len(held))):
            raise CostError(
                f"DenseRisk covariance has shape {shape}, which does not fit {len(held)} rows "
                f"of {held.shape[1]} assets: give (N, N) or (B, N, N)"
            )
        return order

    def _estimated(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor]:
        if self.history is None:
            raise CostError("DenseRisk(lookback=...) is not estimated yet: call solver.estimate(panel) first")
        if market is None or market.rows is None:
            raise CostError("DenseRisk(lookback=...) differs from row to row: pass market=panel.at(rows)")
        diagonal, loadings = self.history.at(market.rows)
        return as_tensor(diagonal, held), as_tensor(loadings, held)
