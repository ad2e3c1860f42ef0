"""Parameters of costs and limits: scalars, arrays, tensors or labelled pandas, checked once and aligned by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import CostError, LabelError
from backtest.market import MarketSnapshot

__all__ = [
    "Parameter",
    "aligned",
    "as_tensor",
    "check_bound",
    "check_labels",
    "check_ordered",
    "check_parameter",
    "features_of",
    "is_zero",
    "loadings_of",
    "multiplier",
    "one_a_row",
    "periods_in_a_year",
]

Parameter = float | np.ndarray | pd.Series | Tensor
"""A scalar, one value an asset (N,), or one an asset and row (B, N); a Series is aligned by its labels."""


def check_parameter(value: Parameter, owner: str, name: str, *, minimum: float = 0.0) -> Parameter:
    """Return `value`, or raise `CostError` when it is not finite or below `minimum`."""
    array = _numbers(value, owner, name)
    bad = ~(array >= minimum) | np.isinf(array)
    least = "" if minimum == -np.inf else f" and at least {minimum:g}"
    _refuse(bad, array, value, f"{owner}: {name} must be finite{least}")
    return value


def check_bound(value: Any, owner: str, name: str, *, never: float) -> Any:
    """Return a lower or upper limit, or raise `CostError` when it is NaN or `never`, an infinity that nothing meets."""
    array = _numbers(value, owner, name)
    _refuse(np.isnan(array) | (array == never), array, value, f"{owner}: {name} must be a number or {-never}")
    return value


def check_ordered(lower: Any, upper: Any, owner: str) -> None:
    """Raise `CostError` when a lower limit is above the upper one; labelled or unlike shapes are left to the solver."""
    if isinstance(lower, pd.Series) or isinstance(upper, pd.Series):
        return
    low, high = _numbers(lower, owner, "lower"), _numbers(upper, owner, "upper")
    if (low.ndim == 0 or high.ndim == 0 or low.shape == high.shape) and (low > high).any():
        low, high = np.broadcast_arrays(low, high)
        place = np.argwhere(low > high)[0]
        where = f" at {tuple(int(i) for i in place)!r}" if low.ndim else ""
        raise CostError(
            f"{owner}: lower is {float(low[tuple(place)]):g} and upper {float(high[tuple(place)]):g}{where}: "
            "nothing lies between them"
        )


def is_zero(value: Any) -> bool:
    """Whether a parameter is the plain number 0: what it multiplies can be left out."""
    return isinstance(value, int | float) and value == 0


def _numbers(value: Any, owner: str, name: str) -> np.ndarray:
    numbers = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        return np.asarray(numbers, dtype=float)
    except (TypeError, ValueError) as error:
        raise CostError(f"{owner}: {name} must be numbers, got {value!r}") from error


def _refuse(bad: np.ndarray, array: np.ndarray, value: Any, message: str) -> None:
    if not bad.any():
        return
    where = ""
    if array.ndim:
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        label = value.index[place[0]] if isinstance(value, pd.Series) else place
        where = f" at {label!r}"
    raise CostError(f"{message}, got {float(array[bad][0])!r}{where}")


def check_labels(index: pd.Index, market: MarketSnapshot | None, what: str) -> pd.Index:
    """Return the asset labels that `index` must be put in order of; raise `LabelError` when they differ."""
    if market is None or market.assets is None:
        raise LabelError(
            f"{what} is labelled by asset, but the positions to solve for are not: "
            "pass p as a labelled Series or DataFrame, or pass market=panel.at(rows)"
        )
    if index.equals(market.assets) and index.is_unique:
        return market.assets
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


def multiplier(value: Any, held: Tensor, market: MarketSnapshot | None, what: str) -> Tensor | float:
    """Return what a value (B, N) can be multiplied by: a plain number as it is, without the way through a tensor."""
    return value if isinstance(value, int | float) else aligned(value, held, market, what)


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


def features_of(names: Sequence[str], held: Tensor, market: MarketSnapshot | None, owner: str) -> Tensor:
    """Return the named features of the market as loadings (B | 1, N, k); one that is not available counts as 0."""
    if market is None or market.features is None:
        raise CostError(f"{owner} to features {list(names)} needs market=panel.at(rows) with features")
    unknown = [name for name in names if name not in market.feature_names]
    if unknown:
        raise CostError(f"{owner}: unknown features {unknown}; the panel has {list(market.feature_names)}")
    columns = [market.feature_names.index(name) for name in names]
    return loadings_of(np.nan_to_num(market.features[..., columns]), held, market, f"{owner} features")


def one_a_row(value: Any, held: Tensor, what: str) -> Tensor:
    """Return a parameter of whole rows, a scalar, (B,) or (B, 1), as a tensor (B | 1, 1)."""
    tensor = as_tensor(value, held)
    if tensor.ndim > 2 or tensor.numel() not in (1, len(held)) or (tensor.ndim == 2 and tensor.shape[1] != 1):
        raise CostError(
            f"{what} has shape {tuple(tensor.shape)}, which does not fit {len(held)} rows: give a scalar or (B, 1)"
        )
    return tensor.reshape(-1, 1)


def periods_in_a_year(given: float | None, market: MarketSnapshot | None, owner: str) -> float:
    """Return the number of periods a year, as given or of the market at hand."""
    periods = given or (market.periods_per_year if market is not None else None)
    if periods is None:
        raise CostError(
            f"{owner} is a rate a year and needs the length of a period: "
            "pass periods_per_year=, or solve with market=panel.at(rows)"
        )
    return periods


def as_tensor(value: Any, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the precision and device of `like`."""
    if not isinstance(value, Tensor):
        # A copy: torch warns when it shares the memory of a read-only array, as those of a panel are.
        value = np.array(value, dtype=float)
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
