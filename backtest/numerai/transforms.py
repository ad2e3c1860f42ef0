"""What Numerai does to predictions before they are scored: ranks, normal scores, tails, and neutralising.

All take one era: predictions (N,) or (N, M) of M models, in one order of rows.

Source: docs.numer.ai, "Scoring", "Correlation (CORR)" and "Meta Model Contribution (MMC)".
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

__all__ = ["gaussianised", "neutralised", "orthogonalised", "ranked", "with_tails"]


def ranked(values: np.ndarray) -> np.ndarray:
    """Return ranks in (0, 1), like `values`: (rank - 1/2) / N, equal values sharing their mean rank."""
    ranks = pd.DataFrame(values).rank(method="average").to_numpy()
    return ((ranks - 0.5) / len(values)).reshape(np.shape(values))


def gaussianised(values: np.ndarray) -> np.ndarray:
    """Return the normal scores of the ranks, like `values`."""
    return np.asarray(ndtri(ranked(values)))


def with_tails(values: np.ndarray) -> np.ndarray:
    """Return `sign(v) |v|^1.5`: what is far from 0 counts more."""
    return np.sign(values) * np.abs(values) ** 1.5


def orthogonalised(values: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Return `v - u (u'v) / (u'u)`, like `values`, for one vector `u` (N,)."""
    along = to @ values / (to @ to)
    return values - (np.outer(to, along) if values.ndim == 2 else to * along)


def neutralised(values: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return what least squares on the features (N, K) and a column of ones leaves of `values`; like `values`."""
    columns = np.column_stack([features, np.ones(len(features))])
    weights, *_ = np.linalg.lstsq(columns, values, rcond=1e-6)
    return values - columns @ weights
