"""Numerai's scores of one era, from their public definitions.

Predictions are (N, M), M models in one order of rows; each score is (M,). `g(p)` are the normal scores of the ranks of
`p` (ties share their mean rank), `t(v) = sign(v) |v|^1.5`, and `y` is the target less its mean.

    CORR20v2   correlation of t(g(p)) with t(y)
    TB200      the same over the 200 lowest and the 200 highest predictions, transformed among all
    MMC        cov(g(p) less its projection on g(m), 4 y) for the meta model m; 4 puts targets in 0..1 into bins -2..2
    BMC        MMC with a benchmark model, or the mean of g of several, in the place of the meta model
    FNC        CORR20v2 of g(p) less its least-squares fit on features
    CWMM       correlation of t(g(p)) with the meta model
    exposure   correlation of p with each feature: the largest in size, and the root mean square

A model whose predictions are all equal in an era has no correlation there: NaN, never 0.

Sources: docs.numer.ai, "Scoring" (CORR, MMC, BMC, FNC, and the definitions of CWMM and feature exposure); the package
`numerai-tools` (MIT) computes the first six, and is what the tests compare with.
"""

from __future__ import annotations

import numpy as np

from backtest.errors import DataError
from backtest.numerai.transforms import gaussianised, neutralised, orthogonalised, with_tails

__all__ = [
    "benchmark_contribution",
    "contribution",
    "corr20v2",
    "correlation_with_meta_model",
    "feature_exposure",
    "feature_neutral_correlation",
    "top_bottom_correlation",
]


def corr20v2(predictions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return CORR20v2 of each model (M,) for predictions (N, M) and targets (N,)."""
    p, y = _checked(predictions, target)
    return _correlation(with_tails(gaussianised(p)), with_tails(y - y.mean()))


def top_bottom_correlation(predictions: np.ndarray, target: np.ndarray, *, count: int = 200) -> np.ndarray:
    """Return CORR20v2 over the `count` lowest and highest predictions (M,); NaN where an era has fewer than twice that.

    Where predictions are equal at the edge, the first in the order of rows are taken, as Numerai does after sorting by
    id: sort the rows by id to have its choice.
    """
    p, y = _checked(predictions, target)
    if len(p) < 2 * count:
        return np.full(p.shape[1], np.nan)
    scores, tails = with_tails(gaussianised(p)), with_tails(y - y.mean())
    order = np.argsort(scores, axis=0, kind="stable")
    ends = np.concatenate([order[:count], order[len(p) - count :]])
    return np.array([_correlation(scores[rows, [m]][:, None], tails[rows])[0] for m, rows in enumerate(ends.T)])


def contribution(predictions: np.ndarray, meta_model: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return MMC of each model (M,): what is not in the meta model (N,) already, times the target."""
    p, y = _checked(predictions, target)
    return _covariance(orthogonalised(gaussianised(p), gaussianised(_finite(meta_model, "meta model", len(p)))), y)


def benchmark_contribution(predictions: np.ndarray, benchmarks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return BMC of each model (M,): MMC against the mean of the normal scores of benchmark models (N, B)."""
    p, y = _checked(predictions, target)
    benchmark = gaussianised(_finite(benchmarks, "benchmark models", len(p)).reshape(len(p), -1)).mean(axis=1)
    return _covariance(orthogonalised(gaussianised(p), gaussianised(benchmark)), y)


def feature_neutral_correlation(predictions: np.ndarray, features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return FNC of each model (M,) for features (N, K)."""
    p, y = _checked(predictions, target)
    left = neutralised(gaussianised(p), _finite(features, "features", len(p)))
    # A model that is a combination of features leaves rounding, whose ranks would mean nothing.
    empty = left.std(axis=0) <= 1e-9
    return np.where(empty, np.nan, _correlation(with_tails(gaussianised(left)), with_tails(y - y.mean())))


def correlation_with_meta_model(predictions: np.ndarray, meta_model: np.ndarray) -> np.ndarray:
    """Return CWMM of each model (M,): the correlation of its transformed predictions with the meta model (N,)."""
    p, m = _checked(predictions, meta_model)
    return _correlation(with_tails(gaussianised(p)), m)


def feature_exposure(predictions: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest correlation in size, and the root mean square of all, with features (N, K): each (M,).

    A feature that is the same for all rows of the era (as missing ones are) has no correlation and does not count.
    """
    p, x = _finite(predictions, "predictions"), _finite(features, "features", len(predictions))
    units, standard = _unit(p), _unit(x[:, x.std(axis=0) > 0])
    if not standard.shape[1]:
        return np.full(p.shape[1], np.nan), np.full(p.shape[1], np.nan)
    correlations = units.T @ standard
    return np.abs(correlations).max(axis=1), np.sqrt(np.square(correlations).mean(axis=1))


def _covariance(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    bins = 4 * y if y.min() >= 0 and y.max() <= 1 else y
    return (bins - bins.mean()) @ p / len(p)


def _correlation(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(_unit(p).T @ _unit(y[:, None])[:, 0])


def _unit(values: np.ndarray) -> np.ndarray:
    """Return columns less their means, of length 1; NaN for those that are constant but for rounding."""
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    constant = length <= 1e-12 * np.linalg.norm(values, axis=0)
    return centred / np.where(constant | (length == 0), np.nan, length)


def _checked(predictions: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = _finite(predictions, "predictions")
    if p.ndim != 2 or np.shape(target) != (len(p),):
        raise DataError(f"predictions {p.shape} and target {np.shape(target)} do not fit: give (N, M) and (N,)")
    return p, _finite(target, "target", len(p))


def _finite(values: np.ndarray, what: str, rows: int | None = None) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if rows is not None and len(array) != rows:
        raise DataError(f"{what}: {len(array)} rows, the predictions have {rows}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise DataError(f"{what}: {array[where]} at {where}: score only rows that have all values")
    return array
