"""A shrunk sample covariance, estimated causally: row `t` uses returns up to `t` alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.errors import CostError
from backtest.market import MarketPanel

__all__ = ["ShrunkCovariances", "first_estimate", "shrunk_covariance"]


def first_estimate(lookback: int) -> int:
    """Return the first row with an estimate: half of a window has been seen, and two returns."""
    return max(2, lookback // 2)


@dataclass(frozen=True, eq=False)
class ShrunkCovariances:
    """The covariance at each row of a panel, computed when it is asked for: windows of returns are all it needs.

    Attributes:
        panel: the market; only `returns` is used.
        lookback: rows in a window.
    """

    panel: MarketPanel
    lookback: int

    def __post_init__(self) -> None:
        first = first_estimate(self.lookback)
        if self.panel.n_periods <= first:
            raise CostError(f"DenseRisk needs {first + 1} rows of returns, the panel has {self.panel.n_periods}")

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a diagonal (B | 1, N) and loadings (B | 1, N, k) at rows (B,); one where all rows are one.

        `k` is the lesser of N and the lookback.
        """
        first = first_estimate(self.lookback)
        if (rows < first).any():
            raise CostError(
                f"DenseRisk has no estimate at row {int(rows.min())}: its first is at row {first}. "
                "Start later, or shorten its lookback"
            )
        distinct, place = np.unique(rows, return_inverse=True)
        models = [self._at(int(row)) for row in distinct]
        if len(models) == 1:
            place = place[:1]
        diagonals, loadings = (np.stack(parts) for parts in zip(*models, strict=True))
        return diagonals[place], loadings[place]

    def _at(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        window = self.panel.returns[max(0, row - self.lookback + 1) : row + 1]
        diagonal, loadings = shrunk_covariance(window)
        padding = min(self.lookback, self.panel.n_assets) - loadings.shape[1]
        return diagonal, np.pad(loadings, ((0, 0), (0, padding)))


def shrunk_covariance(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a diagonal (N,) and loadings (N, k) whose covariance `diag(d) + L L'` shrinks the sample's; k = min(N, T).

    Returns are scaled to unit volatility by name, and their sample covariance is shrunk towards the identity. A missing
    return counts as the mean of its name; a name with less than a quarter of the window, or without a move, has the
    75th percentile of the others' volatility and no correlation.

    Args:
        returns: (T, N), NaN = unknown.

    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", section 3.
    """
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    filled = np.where(known, returns, 0.0)
    deviation = np.where(known, filled - filled.sum(axis=0) / np.maximum(count, 1), 0.0)
    variance = (deviation**2).sum(axis=0) / np.maximum(count, 1)
    enough = (count >= max(2, len(returns) // 4)) & (variance > 0)
    if not enough.any():
        raise CostError(f"DenseRisk: no asset has a quarter of its returns in a window of {len(returns)} rows")
    volatility = np.sqrt(np.where(enough, variance, np.quantile(variance[enough], 0.75)))
    scores = np.where(enough, deviation / volatility, 0.0)
    periods, assets = scores.shape
    # All norms are of N x N matrices, over N, from the smaller of the two products of the scores.
    products = scores.T @ scores if assets < periods else scores @ scores.T
    sizes = (scores**2).sum(axis=1)
    of_sample = (products**2).sum() / periods**2 / assets
    from_identity = of_sample - 2 * sizes.sum() / periods / assets + 1.0
    noise = (sizes**2).sum() / periods**2 / assets - of_sample / periods
    shrinkage = 1.0 if noise >= from_identity else noise / from_identity
    loadings = volatility[:, None] * scores.T * np.sqrt((1 - shrinkage) / periods)
    diagonal = volatility**2 - (loadings**2).sum(axis=1)
    # No more columns than assets: the triangular factor of the loadings has the same products.
    return diagonal, np.linalg.qr(loadings.T).R.T if assets < periods else loadings
