"""A linear model on squared or whitened error, in closed form: generalised least squares with a ridge.

With `X` the features of a row's assets and a column of ones, and `M` the metric of the row (see `Metric`),

    sum_t X_t'M_t X_t theta = sum_t X_t'M_t y_t

is what the gradient loop converges to. The sums are taken block by block, so memory is that of the (K + 1)^2 matrix and
one block. The ridge is in units of each coefficient's own curvature, leaves the intercept free, and is chosen on
validation, where the loss of every candidate is a quadratic form of the same sums.

Sources: Aitken (1936) for generalised least squares; Hoerl & Kennard (1970), "Ridge Regression".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backtest.training.models import Network
from backtest.training.objectives import Metric
from backtest.training.samples import Samples

__all__ = ["LinearFit", "NormalEquations", "fit_linear", "ridge_path"]

LARGEST_BLOCK = 2**22
"""Numbers of a block of rows: 32 MB, whatever T is."""

SMALLEST_CURVATURE = 1e-10
"""Share of the largest eigenvalue below which a combination of features counts as constant and is left at 0."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Sums over rows; the intercept is last.

    Attributes:
        gram: (K + 1, K + 1), of `X'M X`.
        cross: (K + 1,), of `X'M y`.
        square: of `y'M y`.
        n_rows: how many rows.
    """

    gram: np.ndarray
    cross: np.ndarray
    square: float
    n_rows: int

    @staticmethod
    def of(samples: Samples, metric: Metric, rows: np.ndarray) -> NormalEquations:
        """Sum over `rows`, where the metric is valid."""
        count = samples.n_features + 1
        block = max(1, LARGEST_BLOCK // (count * samples.n_assets))
        gram = torch.zeros(count, count, dtype=torch.float64)
        cross = torch.zeros(count, dtype=torch.float64)
        square = 0.0
        for part in torch.as_tensor(rows).split(block):
            x = torch.ones(count, len(part), samples.n_assets, dtype=torch.float64)
            x[:-1] = samples.features[part].permute(2, 0, 1)
            target = samples.target[part]
            weighted = metric.apply(x, part).flatten(1)
            gram += weighted @ x.flatten(1).T
            cross += weighted @ target.flatten()
            square += float((metric.apply(target, part) * target).sum())
        return NormalEquations((0.5 * (gram + gram.T)).numpy(), cross.numpy(), square, len(rows))

    def loss(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the mean loss a row of coefficients (..., K + 1), the intercept last."""
        quadratic = np.einsum("...k,kl,...l->...", coefficients, self.gram, coefficients)
        return (quadratic - 2 * coefficients @ self.cross + self.square) / self.n_rows


def ridge_path(equations: NormalEquations, ridges: Sequence[float]) -> np.ndarray:
    """Return the coefficients (len(ridges), K + 1), the intercept last, of each ridge.

    They minimise the loss plus `ridge * sum_k c_k theta_k^2`, `c_k` the curvature of coefficient k once the intercept
    has adapted: 0.1 shrinks a lone coefficient by 1/11. A feature that is constant gets 0.
    """
    gram, cross = equations.gram, equations.cross
    ones = gram[-1, -1]
    slopes = gram[:-1, :-1] - np.outer(gram[:-1, -1], gram[-1, :-1]) / ones
    pull = cross[:-1] - gram[:-1, -1] * cross[-1] / ones
    size = np.sqrt(np.maximum(np.diag(slopes), 0.0))
    varies = size > np.sqrt(SMALLEST_CURVATURE * np.diag(gram)[:-1])
    inverse = np.where(varies, 1 / np.where(varies, size, 1.0), 0.0)
    values, vectors = np.linalg.eigh(slopes * np.outer(inverse, inverse))
    along = vectors.T @ (inverse * pull)
    seen = values > SMALLEST_CURVATURE * max(float(values.max(initial=0.0)), 1e-300)
    shrunk = np.where(seen, along / (np.where(seen, values, 1.0) + np.asarray(ridges).reshape(-1, 1)), 0.0)
    theta = inverse * (shrunk @ vectors.T)
    intercept = (cross[-1] - theta @ gram[:-1, -1]) / ones
    return np.column_stack([theta, intercept])


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear model in closed form.

    Attributes:
        network: R equal replicas.
        ridge: what validation chose.
        validation_loss: the mean loss a row on validation there.
    """

    network: Network
    ridge: float
    validation_loss: float


def fit_linear(
    samples: Samples,
    metric: Metric,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    ridges: Sequence[float],
    n_replicas: int,
    scale: float,
) -> LinearFit:
    """Fit on `train` and choose the ridge with the least loss on `validation`.

    Args:
        samples: features and targets.
        metric: valid on both sets of rows.
        train, validation: row numbers.
        ridges: candidates.
        n_replicas: R; the loss is convex, so all seeds have the same answer.
        scale: unit of the network's output.
    """
    candidates = ridge_path(NormalEquations.of(samples, metric, train), ridges)
    losses = NormalEquations.of(samples, metric, validation).loss(candidates)
    best = int(losses.argmin())
    parameters = torch.as_tensor(candidates[best] / scale, dtype=torch.float32)
    weight = parameters[:-1].reshape(1, -1, 1).repeat(n_replicas, 1, 1)
    bias = parameters[-1:].reshape(1, 1, 1).repeat(n_replicas, 1, 1)
    return LinearFit(Network((weight,), (bias,), scale), float(ridges[best]), float(losses[best]))
