"""Factor risk: given, or estimated causally from the panel. An opinion, never charged."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.factor_model import FactorModelHistory, estimate_factor_models
from backtest.costs.parameters import Parameter, aligned, as_tensor, check_parameter, loadings_of
from backtest.costs.semidefinite import check_semidefinite, check_symmetric, semidefinite_root
from backtest.costs.terms import CostTerms
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["FactorRisk"]


@dataclass(frozen=True, eq=False)
class FactorRisk(Cost):
    """`1/2 q' Sigma q` with `Sigma = B F B' + diag(s)`. `g * FactorRisk` is risk aversion `g`: `g/2 q' Sigma q`.

    Give the model (`loadings` with `specific_variance`), or let it be estimated (`n_factors`): then `estimate(panel)`
    fits statistical factors to trailing returns, row `t` from rows up to `t` alone, and the cost must be used with
    `market=panel.at(rows)`.

    Attributes:
        loadings: `B`, (N, k), (B, N, k), or a DataFrame by asset; return per period per unit of factor.
        factor_covariance: `F`, (k, k), positive semidefinite; None is the identity.
        specific_variance: `s`, scalar, (N,), (B, N) or a Series by asset; squared return per period.
        n_factors: number of factors to estimate; None when the model is given.
        lookback: rows of returns in each estimate; None is two years, and at least 60.
        refit_every: rows between estimates; None is a month.
        history: the estimates; filled by `estimate`.

    Raises:
        CostError: both or neither of a model and `n_factors` are given, or a variance is negative or not finite.

    Source: Connor & Korajczyk (1988), "Risk and return in an equilibrium APT", for the estimate: asymptotic principal
    components, here of returns scaled to unit volatility by name.
    """

    loadings: np.ndarray | pd.DataFrame | Tensor | None = None
    factor_covariance: np.ndarray | Tensor | None = None
    specific_variance: Parameter | None = None
    n_factors: int | None = None
    lookback: int | None = None
    refit_every: int | None = None
    history: FactorModelHistory | None = None

    def __post_init__(self) -> None:
        given = self.loadings is not None and self.specific_variance is not None
        if given == (self.n_factors is not None):
            raise CostError(
                "FactorRisk takes either a model (loadings= and specific_variance=) or n_factors= to estimate one"
            )
        if self.specific_variance is not None:
            check_parameter(self.specific_variance, "FactorRisk", "specific_variance")
        if self.n_factors is not None and self.n_factors < 0:
            raise CostError(f"FactorRisk: n_factors must be at least 0, got {self.n_factors}")

    def estimate(self, panel: MarketPanel) -> FactorRisk:
        """Return this risk with a factor model for every row of the panel; a given model stays as it is."""
        if self.n_factors is None:
            return self
        year = panel.periods_per_year
        history = estimate_factor_models(
            panel,
            n_factors=self.n_factors,
            lookback=self.lookback or max(60, round(2 * year)),
            refit_every=self.refit_every or max(1, round(year / 12)),
        )
        return replace(self, history=history)

    @property
    def first_row(self) -> int:
        """First panel row with an estimate; 0 for a given model."""
        return 0 if self.history is None else self.history.first_row

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the risk by asset (B, N): asset i's share is `q_i (Sigma q)_i / 2` (Euler's decomposition)."""
        loadings, specific = self._model(held, market)
        exposure = torch.einsum("bnk,bn->bk", loadings.expand(len(q), -1, -1), q)
        return q * ((loadings @ exposure.unsqueeze(-1)).squeeze(-1) + specific * q) / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return loadings and diagonal."""
        loadings, specific = self._model(held, market)
        return CostTerms(diagonal=specific, loadings=(loadings,))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """The models in force; always the same for a given model."""
        if self.n_factors is None:
            return ()
        if self.history is None or market is None or market.rows is None:
            return None
        return tuple(self.history.at(market.rows).tolist())

    def _model(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor]:
        """Return loadings (B | 1, N, k) for unit factors, and specific variance (B | 1, N)."""
        if self.n_factors is not None:
            return self._estimated(held, market)
        loadings = loadings_of(self.loadings, held, market, "FactorRisk loadings")
        if self.factor_covariance is not None:
            loadings = loadings @ _square_root(self.factor_covariance, like=loadings)
        assert self.specific_variance is not None
        return loadings, aligned(self.specific_variance, held, market, "FactorRisk specific_variance")

    def _estimated(self, held: Tensor, market: MarketSnapshot | None) -> tuple[Tensor, Tensor]:
        if self.history is None:
            raise CostError("FactorRisk(n_factors=...) is not estimated yet: call solver.estimate(panel) first")
        if market is None or market.rows is None:
            raise CostError("FactorRisk(n_factors=...) differs from row to row: pass market=panel.at(rows)")
        models = self.history.at(market.rows)
        if (models == models[0]).all():
            models = models[:1]
        loadings = torch.as_tensor(self.history.loadings[models], dtype=held.dtype, device=held.device)
        specific = torch.as_tensor(self.history.specific_variance[models], dtype=held.dtype, device=held.device)
        return loadings, specific


def _square_root(covariance: np.ndarray | Tensor, *, like: Tensor) -> Tensor:
    """Return `R` with `R R' = covariance`; the covariance may be singular."""
    matrix = as_tensor(covariance, like)
    if matrix.shape[-1] != like.shape[-1] or matrix.shape[-2] != matrix.shape[-1]:
        raise CostError(f"FactorRisk: factor_covariance has shape {tuple(matrix.shape)} for {like.shape[-1]} factors")
    check_symmetric(matrix, "FactorRisk: factor_covariance")
    root, info = torch.linalg.cholesky_ex(matrix)
    if not bool(info.any()):
        return root
    check_semidefinite(matrix, "FactorRisk: factor_covariance")
    return semidefinite_root(matrix)
