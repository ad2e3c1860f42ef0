"""Positive semidefinite matrices as a diagonal and loadings, `diag(d) + L L'`, with a derivative that is always finite.

The derivative of an eigenvector is infinite where eigenvalues repeat, as they do in a shrunk covariance. But what is
computed from `L` here depends on `L L'` alone, and for such a function `f` the gradient in `L` is `2 S L` with `S` the
one in the matrix: so `S` follows from it without the derivative of any eigenvector.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backtest.errors import CostError

__all__ = ["check_semidefinite", "check_symmetric", "semidefinite_root", "split"]

ASYMMETRY = 1e-8
"""Largest difference of a cell and its mirror image, relative to the root of the product of their variances."""

NEGATIVE = 1e-10
"""Eigenvalue of a correlation, relative to the largest, down to which a negative one counts as rounding."""


def check_semidefinite(matrix: Tensor, what: str) -> None:
    """Raise `CostError` unless every matrix (..., N, N) is finite, symmetric and positive semidefinite."""
    matrix = matrix.detach().to(torch.float64)
    if not bool(torch.isfinite(matrix).all()):
        place = tuple(torch.nonzero(~torch.isfinite(matrix))[0].tolist())
        raise CostError(f"{what} must be finite, got {float(matrix[place])} at {place}")
    check_symmetric(matrix, what)
    values = torch.linalg.eigvalsh(_scaled(matrix, _scale(matrix)))
    riskless = (matrix.diagonal(dim1=-2, dim2=-1) <= 0) & (matrix != 0).any(-1)
    if bool((values[..., 0] < -NEGATIVE * values[..., -1].abs()).any()) or bool(riskless.any()):
        # Named is an eigenvalue of the matrix as it was given, not of the scaled one that is judged.
        lowest = float(torch.linalg.eigvalsh(matrix)[..., 0].min())
        raise CostError(f"{what} is not positive semidefinite: eigenvalue {lowest:.3g}")


def check_symmetric(matrix: Tensor, what: str) -> None:
    """Raise `CostError` unless every matrix (..., N, N) is symmetric, but for rounding."""
    matrix = matrix.detach().to(torch.float64)
    scale = _scale(matrix)
    difference = (matrix - matrix.mT).abs() / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    if bool((difference > ASYMMETRY).any()):
        place = tuple(torch.nonzero(difference > ASYMMETRY)[0].tolist())
        mirrored = (*place[:-2], place[-1], place[-2])
        raise CostError(
            f"{what} is not symmetric: {float(matrix[place]):.6g} at {place}, "
            f"{float(matrix[mirrored]):.6g} at {mirrored}"
        )


def semidefinite_root(matrix: Tensor) -> Tensor:
    """Return `L` (..., N, r) with `L L' = matrix` (..., N, N); a column that is nil in all of them is left out."""
    return _root(matrix, _scale(matrix))[1]


def split(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return `d` (..., N) and `L` (..., N, r) with `diag(d) + L L' = matrix` (..., N, N), d as large as is safe.

    With `s` a scale of each asset, `d = s^2` times the smallest eigenvalue of `matrix / (s s')`: of the correlation,
    or of the matrix itself, whichever leaves fewer columns to `L`. A singular matrix has `d = 0`.

    A matrix that needs a gradient keeps half of that eigenvalue in `L`, which must have full rank for the gradient to
    know every direction, and `d` is a constant to it.
    """
    scale = _scale(matrix)
    if matrix.requires_grad:
        return _root(matrix, scale, share=0.5)
    detached = matrix.to(torch.float64)
    # A shrunk covariance is a multiple of the identity beside a sample's low rank; a factor model is nearer to a
    # multiple of the variances.
    common = scale.mean(-1, keepdim=True).expand_as(scale)
    columns = [_columns(torch.linalg.eigvalsh(_scaled(detached, each))) for each in (scale, common)]
    return _root(matrix, scale if columns[0] <= columns[1] else common, share=1.0)


def _root(matrix: Tensor, scale: Tensor, *, share: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return `d`, which is `share` of the smallest scaled eigenvalue, and a root of the rest without nil columns."""
    values, vectors = torch.linalg.eigh(_scaled(matrix.detach().to(torch.float64), scale))
    values = values.clamp(min=0)
    floor = share * values[..., :1]
    # What is rounding beside the largest eigenvalue is no curvature to rely on.
    floor = torch.where(floor > _rounding(values), floor, 0.0)
    rest = values - floor
    rest = torch.where(rest > _rounding(values), rest, 0.0)
    kept = (rest > 0).reshape(-1, rest.shape[-1]).any(0)
    root = scale.unsqueeze(-1) * vectors[..., kept] * rest[..., kept].sqrt().unsqueeze(-2)
    if matrix.requires_grad:
        root = _Root.apply(matrix, root, scale)
    return (floor * scale.square()).to(matrix.dtype), root.to(matrix.dtype)


def _columns(values: Tensor) -> int:
    """Return how many columns a root has of what is left when the smallest eigenvalue is taken off."""
    return int((values - values[..., :1].clamp(min=0) > _rounding(values)).reshape(-1, values.shape[-1]).any(0).sum())


def _scale(matrix: Tensor) -> Tensor:
    """Return the volatility of each asset (..., N), in double precision; 1 for one without risk."""
    variance = matrix.detach().to(torch.float64).diagonal(dim1=-2, dim2=-1)
    return torch.where(variance > 0, variance, 1.0).sqrt()


def _scaled(matrix: Tensor, scale: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2 / (scale.unsqueeze(-1) * scale.unsqueeze(-2))


def _rounding(values: Tensor) -> Tensor:
    return values.shape[-1] * torch.finfo(torch.float64).eps * values[..., -1:]


class _Root(torch.autograd.Function):
    """A given root `L` of a matrix (less a constant diagonal), as a function of the matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, root: Tensor, scale: Tensor) -> Tensor:
        root = root.clone()
        ctx.save_for_backward(root, scale)
        ctx.dtype = matrix.dtype
        return root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        root, scale = ctx.saved_tensors
        # The pseudo-inverse in the metric 1 / s^2, in which the columns of L are orthogonal.
        weighted = root / scale.square().unsqueeze(-1)
        gram = root.mT @ weighted
        nil = (gram.diagonal(dim1=-2, dim2=-1) == 0).to(gram.dtype)
        inverse = torch.cholesky_solve(weighted.mT, torch.linalg.cholesky(gram + torch.diag_embed(nil)))
        # S is known on the range of L; across it by symmetry; and taken as 0 outside, where nothing of L reaches.
        known = gradients[0] @ inverse / 2
        projection = root @ inverse
        symmetric = known + known.mT - projection.mT @ known
        return ((symmetric + symmetric.mT) / 2).to(ctx.dtype), None, None
