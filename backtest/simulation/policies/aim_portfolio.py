"""Trade part of the way towards an aim portfolio: the best dynamic policy under quadratic costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketSnapshot
from backtest.market.labels import parse_assets, require_same_labels
from backtest.market.tables import numeric_table
from backtest.simulation.policies.aim_rule import AimRule
from backtest.simulation.policies.base import Policy

__all__ = ["AimPortfolio"]


@dataclass(frozen=True, eq=False)
class AimPortfolio(Policy):
    """The optimal policy of Garleanu & Pedersen (2013); the model and its solution stand in `aim_rule`.

    Returns are forecast by factors that fade at known speeds, `E[y] = B f`. The aim leans to the factors that last, and
    each period a share of the way to it is traded. With `trading_cost` a number, `Lambda = lambda Sigma`:

        x = (1 - a/l) x_prev + (a/l) aim,    aim = (g Sigma)^-1 B (I + a Phi / g)^-1 f.

    A factor seen `lag` rows before the decision enters as what is expected to be left of it, `(I - Phi)^lag f`. A name
    that cannot be traded, or whose own factors are unknown (NaN), keeps its weight; those of other names are not
    changed for it. In a row without common factors nothing is traded. It knows no limits, and no costs but these.

    Attributes:
        factors: `f`, row t known at the close of t: common ones (T, K), or a DataFrame of dates by factors, whose
            missing dates are rows without factors; or each asset's own (T, N, K). NaN is unknown.
        loadings: `B`, (N, K), return per period per unit of factor, or a DataFrame of assets by factors; for own
            factors also (K,), the same for all assets.
        mean_reversion: `Phi`, share of a factor that is gone after a period: a number, (K,), or (K, K).
        covariance: `Sigma`, (N, N), or a DataFrame with the assets on both sides; squared return per period.
        trading_cost: `Lambda`, in `1/2 u' Lambda u` for a trade u: a number lambda for `lambda Sigma`; (N,), its
            diagonal, as `TradingCost(quadratic=...)` has it; or (N, N).
        risk_aversion: `g`.
        discount: `d = 1 - r`, what a period later counts, in (0, 1].

    Raises:
        DataError: by `simulate`, when a shape does not fit, a number is not finite, the covariance or the trading cost
            is not symmetric and positive definite, or factors grow instead of fading.
        SettingsError: `risk_aversion` or `discount` is out of range.
        LabelError: by `simulate`, when assets or dates are not the panel's.
    """

    factors: Any
    loadings: Any
    mean_reversion: Any
    covariance: Any
    trading_cost: Any
    risk_aversion: float = 1.0
    discount: float = 1.0
    first_fill: int = 0
    _rule: AimRule | None = field(default=None, kw_only=True, repr=False)
    _lag: int = field(default=0, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.risk_aversion < np.inf:
            raise SettingsError(f"AimPortfolio: risk_aversion is {self.risk_aversion!r}: give a number above 0")
        if not 0 < self.discount <= 1:
            raise SettingsError(f"AimPortfolio: discount is {self.discount!r}: give more than 0, at most 1")

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> AimPortfolio:
        """Return this policy with its inputs in the panel's order and its rule worked out.

        Raises:
            LabelError: labels of an input are not the panel's.
            DataError: an input has another shape, is not finite, or is known on no date of the panel.
        """
        factors, names = _factors(self.factors, dates, len(assets))
        n_factors = factors.shape[-1]
        loadings = _loadings(self.loadings, assets, names, own=factors.ndim == 3, n_factors=n_factors)
        covariance = _positive(self.covariance, assets, "covariance")
        known = np.isfinite(factors).all(axis=-1)
        seen = np.flatnonzero(known if known.ndim == 1 else known.any(axis=1))
        if not len(seen):
            raise DataError("AimPortfolio: factors are known on no date of the panel: nothing can be decided")
        rule = AimRule.of(
            covariance,
            _trading_cost(self.trading_cost, covariance, assets),
            loadings,
            _mean_reversion(self.mean_reversion, n_factors),
            risk_aversion=self.risk_aversion,
            discount=self.discount,
        )
        return replace(self, factors=factors, _rule=rule, _lag=lag, first_fill=int(seen[0]) + lag)

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the weights after part of the way to the aim; the forecasts `p` are not used."""
        assert market.rows is not None
        assert self._rule is not None
        row = int(market.rows[0]) - self._lag
        if row < 0:
            return held
        factors = self.factors[row]
        known = np.isfinite(factors).all(axis=-1)
        if not known.any():
            return held
        aim = self._rule.aim(np.where(known[..., None], factors, 0.0), age=self._lag)
        # Row by row: a product of matrices rounds differently with the number of its rows.
        moved = np.stack([weights + self._rule.rate @ (aim - weights) for weights in held])
        return np.where(tradable & known, moved, held)


def _factors(given: Any, dates: pd.DatetimeIndex, n_assets: int) -> tuple[np.ndarray, pd.Index | None]:
    """Return factors (T, K) or (T, N, K), and their names where they have some."""
    if isinstance(given, pd.DataFrame):
        rows, names, values = numeric_table(given, "AimPortfolio factors")
        if not rows.is_unique:
            raise LabelError(f"AimPortfolio factors: the date {rows[rows.duplicated()][0]} is there twice: keep one")
        unknown = rows.difference(dates)
        if len(unknown):
            raise LabelError(f"AimPortfolio factors: {unknown[0]} is no date of the panel: drop the row")
        table = np.full((len(dates), len(names)), np.nan)
        table[dates.get_indexer(rows)] = values
        factors, found = table, names
    else:
        factors, found = np.array(given, dtype=np.float64), None
    fits = factors.ndim == 2 or (factors.ndim == 3 and factors.shape[1] == n_assets)
    if not fits or len(factors) != len(dates):
        raise DataError(
            f"AimPortfolio: factors have shape {np.shape(given)}: give ({len(dates)}, K), one row a date of the panel, "
            f"or ({len(dates)}, {n_assets}, K)"
        )
    if np.isinf(factors).any():
        place = tuple(int(i) for i in np.argwhere(np.isinf(factors))[0])
        raise DataError(f"AimPortfolio: factors at {place} are infinite: give a number, or NaN for unknown")
    return factors, found


def _loadings(given: Any, assets: pd.Index, names: pd.Index | None, *, own: bool, n_factors: int) -> np.ndarray:
    """Return loadings (N, K), assets and factors in order."""
    if isinstance(given, pd.DataFrame):
        require_same_labels(parse_assets(given.index, "AimPortfolio loadings"), assets, where=_WHERE, kind="asset")
        if names is not None:
            require_same_labels(given.columns, names, where=_WHERE, kind="factor")
            given = given[names]
        given = given.loc[assets].to_numpy(dtype=np.float64)
    values = np.asarray(given, dtype=np.float64)
    if own and values.ndim == 1:
        values = np.broadcast_to(values, (len(assets), len(values)))
    return _finite(values, (len(assets), n_factors), "loadings")


_WHERE = "AimPortfolio loadings"


def _mean_reversion(given: Any, n_factors: int) -> np.ndarray:
    """Return `Phi` (K, K)."""
    values = np.asarray(given, dtype=np.float64)
    if values.ndim < 2:
        values = np.diag(_finite(np.broadcast_to(values, (n_factors,)), (n_factors,), "mean_reversion"))
    matrix = _finite(values, (n_factors, n_factors), "mean_reversion")
    lowest = float(np.linalg.eigvals(matrix).real.min())
    if lowest < -1e-12:
        raise DataError(f"AimPortfolio: mean_reversion has the eigenvalue {lowest:g}: such factors grow without end")
    return matrix


def _trading_cost(given: Any, covariance: np.ndarray, assets: pd.Index) -> np.ndarray:
    """Return `Lambda` (N, N), positive definite."""
    if not isinstance(given, pd.DataFrame):
        values = np.asarray(given, dtype=np.float64)
        if values.ndim == 0:
            given = float(values) * covariance
        elif values.ndim == 1:
            given = np.diag(values)
    return _positive(given, assets, "trading_cost")


def _positive(given: Any, assets: pd.Index, what: str) -> np.ndarray:
    """Return a symmetric positive definite matrix (N, N), assets in order."""
    if isinstance(given, pd.DataFrame):
        for labels in (given.index, given.columns):
            require_same_labels(labels, assets, where=f"AimPortfolio {what}", kind="asset")
        given = given.loc[assets, assets].to_numpy(dtype=np.float64)
    matrix = _finite(np.asarray(given, dtype=np.float64), (len(assets), len(assets)), what)
    if np.abs(matrix - matrix.T).max() > 1e-10 * np.abs(matrix).max():
        raise DataError(f"AimPortfolio: {what} is not symmetric: give (M + M') / 2")
    matrix = (matrix + matrix.T) / 2
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if not lowest > 0:
        raise DataError(f"AimPortfolio: {what} has the eigenvalue {lowest:g}: give a positive definite matrix")
    return matrix


def _finite(values: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if values.shape != shape:
        raise DataError(f"AimPortfolio: {what} has shape {values.shape}, expected {shape}")
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(f"AimPortfolio: {what} at {place} is {values[place]}: give a finite number")
    return values
