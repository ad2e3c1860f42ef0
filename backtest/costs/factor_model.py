"""A statistical factor model of returns, estimated causally: row `t` uses returns up to `t` alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.errors import CostError
from backtest.market import MarketPanel

__all__ = ["FactorModelHistory", "estimate_factor_models"]

SPECIFIC_SHARE_FLOOR = 0.1
"""Least share of an asset's variance left to its specific risk: an estimated model overstates what it explains."""


@dataclass(frozen=True, eq=False)
class FactorModelHistory:
    """Factor models over time; covariance of model r is `loadings[r] loadings[r]' + diag(specific_variance[r])`.

    Attributes:
        loadings: (R, N, k), for factors of unit variance; return per period.
        specific_variance: (R, N), squared return per period, all above 0.
        model_of: (T,) the model in force at each panel row; -1 before there was enough history.
    """

    loadings: np.ndarray
    specific_variance: np.ndarray
    model_of: np.ndarray

    @property
    def first_row(self) -> int:
        """First panel row that has a model."""
        return int(np.argmax(self.model_of >= 0))

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the model number in force at each of `rows` (B,)."""
        models = self.model_of[rows]
        if (models < 0).any():
            raise CostError(
                f"FactorRisk has no estimate at row {int(rows[np.argmin(models)])}: its first is at row "
                f"{self.first_row}. Start later, or shorten its lookback"
            )
        return models


def estimate_factor_models(
    panel: MarketPanel, *, n_factors: int, lookback: int, refit_every: int
) -> FactorModelHistory:
    """Fit one factor model every `refit_every` rows to the `lookback` returns that end there.

    Returns are scaled to unit volatility by name, the leading principal components are the factors, and what they
    leave is specific. A missing return counts as 0 for the components; volatilities use what is known. A name with
    less than a quarter of the window gets the 75th percentile of the others' volatility and no loading.

    Args:
        panel: the market; only `returns` is used.
        n_factors: k, at most N - 1.
        lookback: rows in a window; the first model needs half of it.
        refit_every: rows between two fits.

    Source: Connor & Korajczyk (1988), asymptotic principal components, on standardised returns.
    """
    n_periods, n_assets = panel.returns.shape
    n_factors = min(n_factors, max(n_assets - 1, 0))
    first = lookback // 2
    if n_periods <= first:
        raise CostError(f"FactorRisk needs {first + 1} rows of returns, the panel has {n_periods}")
    fit_rows = np.arange(first, n_periods, refit_every)
    loadings = np.zeros((len(fit_rows), n_assets, n_factors))
    specific = np.zeros((len(fit_rows), n_assets))
    for model, row in enumerate(fit_rows):
        window = panel.returns[max(0, row - lookback + 1) : row + 1]
        loadings[model], specific[model] = _fit(window, n_factors, minimum=lookback // 4)
    model_of = np.searchsorted(fit_rows, np.arange(n_periods), side="right") - 1
    return FactorModelHistory(loadings, specific, model_of)


def _fit(window: np.ndarray, n_factors: int, *, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(window)
    count = known.sum(axis=0)
    filled = np.where(known, window, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    deviation = np.where(known, filled - mean, 0.0)
    variance = (deviation**2).sum(axis=0) / np.maximum(count - 1, 1)
    enough = (count >= minimum) & (variance > 0)
    if not enough.any():
        raise CostError(f"FactorRisk: no asset has {minimum} returns in a window of {len(window)} rows")
    volatility = np.sqrt(np.where(enough, variance, np.quantile(variance[enough], 0.75)))
    scores = np.where(enough, deviation / volatility, 0.0)
    _, singular, components = np.linalg.svd(scores / np.sqrt(len(window) - 1), full_matrices=False)
    components, singular = components[:n_factors], singular[:n_factors]
    # A component's sign is arbitrary; fix it so that two runs and two machines agree.
    components = components * np.sign(components.sum(axis=1, keepdims=True) + 1e-300)
    loadings = np.zeros((len(volatility), n_factors))
    loadings[:, : len(singular)] = volatility[:, None] * (components * singular[:, None]).T
    loadings[~enough] = 0.0
    explained = (loadings**2).sum(axis=1)
    room = (1 - SPECIFIC_SHARE_FLOOR) * volatility**2
    loadings *= np.sqrt(np.minimum(1.0, room / np.maximum(explained, 1e-300)))[:, None]
    return loadings, volatility**2 - np.minimum(explained, room)
