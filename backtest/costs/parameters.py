"""Parameters of costs and limits: scalars, arrays, tensors or labelled pandas, checked once and aligned by label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import CostError, LabelError
from backtest.market import MarketSnapshot

__all__ = ["Parameter", "aligned", "as_tensor", "check_parameter", "loadings_of"]

Parameter = float | np.ndarray | pd.Series | Tensor
"""A scalar, one value an asset (N,), or one an asset and row (B, N); a Series is aligned by its labels."""


def check_parameter(value: Parameter, owner: str, name: str, *, minimum: float = 0.0) -> Parameter:
    """Return `value`, or raise `CostError` when it is not finite or below `minimum`."""
    numbers = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        array = np.asarray(numbers, dtype=float)
    except (TypeError, ValueError) as error:
        raise CostError(f"{owner}: {name} must be numbers, got {value!r}") from error
    bad = ~(array >= minimum) | np.isinf(array)
    if bad.any():
        where = ""
        if array.ndim:
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            label = value.index[place[0]] if isinstance(value, pd.Series) else place
            where = f" at {label!r}"
        raise CostError(f"{owner}: {name} must be finite and at least {minimum:g}, got {float(array[bad][0])!r}{where}")
    return value


def check_labels(index: pd.Index, market: MarketSnapshot | None, what: str) -> pd.Index:
    """Return the asset labels that `index` must be put in order of; raise `LabelError` when they differ."""
    if market is None or market.assets is None:
        raise LabelError(
            f"{what} is labelled by asset, but the positions to solve for are not: "
            "pass p as a labelled Series or DataFrame, or pass market=panel.at(rows)"
        )
    missing = market.assets.difference(index)
    extra = index.difference(market.assets)
    if len(missing) or len(extra) or not index.is_unique:
        repeated = index[index.duplicated()].unique()
        raise LabelError(
            f"{what}: its asset labels differ from the problem's: missing {list(missing[:5])}, "
            f"unknown {list(extra[:5])}, repeated {list(repeated[:5])}"
        )
    return market.assets


def aligned(value: Any, held: Tensor, market: MarketSnapshot | None, what: str) -> Tensor:
    """Return `value` as a tensor that broadcasts against `held` (B, N), its labels in the problem's order.

    Args:
        value: scalar, (N,), (B, N), (B, 1), or a Series labelled by asset.
        held: (B, N) weights before trading; gives size, dtype and device.
        market: gives the asset labels; may be None for unlabelled values.
        what: name of the value, for messages.
    """
    if isinstance(value, pd.Series):
        value = value.reindex(check_labels(value.index, market, what)).to_numpy(dtype=float)
    tensor = as_tensor(value, held)
    if tensor.ndim == 0:
        return tensor.expand(1, held.shape[-1])
    if tensor.ndim == 1:
        tensor = tensor.unsqueeze(0)
    rows, columns = tensor.shape[0], tensor.shape[-1]
    if tensor.ndim != 2 or rows not in (1, held.shape[0]) or columns not in (1, held.shape[-1]):
        raise CostError(
            f"{what} has shape {tuple(tensor.shape)}, which does not fit {held.shape[0]} rows "
            f"of {held.shape[-1]} assets: give a scalar, (N,), (B, N) or (B, 1)"
        )
    return tensor.expand(rows, held.shape[-1])


def loadings_of(value: Any, held: Tensor, market: MarketSnapshot | None, what: str) -> Tensor:
    """Return loadings as a tensor (B | 1, N, k), rows in the problem's asset order; a DataFrame is aligned."""
    if isinstance(value, pd.DataFrame):
        value = value.reindex(check_labels(value.index, market, what)).to_numpy(dtype=float)
    tensor = as_tensor(value, held)
    if tensor.ndim == 1:
        tensor = tensor.unsqueeze(-1)
    if tensor.ndim == 2:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != 3 or tensor.shape[0] not in (1, held.shape[0]) or tensor.shape[1] != held.shape[-1]:
        raise CostError(
            f"{what} has shape {tuple(tensor.shape)}, which does not fit {held.shape[0]} rows "
            f"of {held.shape[-1]} assets: give (N, k) or (B, N, k)"
        )
    return tensor


def as_tensor(value: Any, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the precision and device of `like`."""
    if not isinstance(value, Tensor):
        # A copy: torch warns when it shares the memory of a read-only array, as those of a panel are.
        value = np.array(value, dtype=float)
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
