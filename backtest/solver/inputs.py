"""Forecasts and positions as they come (NumPy, torch, labelled pandas; one row or many), and back again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import LabelError, SolverError
from backtest.market import MarketSnapshot

__all__ = ["Batch", "read_batch"]


@dataclass(frozen=True)
class Batch:
    """One batch as tensors, assets in one order.

    Attributes:
        p: (B, N) float64.
        held: (B, N) float64.
        tradable: (B, N) bool, or None when all can be traded.
        market: the market, with the labels of the assets where they are known.
        original: `p` as it came.
    """

    p: Tensor
    held: Tensor
    tradable: Tensor | None
    market: MarketSnapshot | None
    original: Any

    def in_shape(self, q: Tensor) -> Tensor:
        """Return `q` (B, N) as a tensor in the shape, order and precision that `p` came in, its graph kept."""
        p = self.original
        labels = _labels(p)
        if labels is not None:
            assert self.market is not None
            assert self.market.assets is not None
            q = q[:, torch.as_tensor(self.market.assets.get_indexer(labels), device=q.device)]
        shaped = q if np.ndim(p) == 2 else q[0]
        return shaped.to(p.dtype) if isinstance(p, Tensor) and p.is_floating_point() else shaped

    def like_input(self, q: Tensor) -> Any:
        """Return `q` (B, N) in the container, shape, order and precision that `p` came in."""
        p = self.original
        if isinstance(p, pd.Series | pd.DataFrame):
            array = self.in_shape(q).detach().cpu().numpy().copy()
            if isinstance(p, pd.Series):
                return pd.Series(array, index=p.index, name="q")
            return pd.DataFrame(array, index=p.index, columns=p.columns)
        # A copy: what the caller does to it must not change what the solution computes later.
        shaped = self.in_shape(q).clone()
        if isinstance(p, Tensor):
            return shaped
        array = shaped.detach().cpu().numpy()
        return array.astype(np.asarray(p).dtype) if np.asarray(p).dtype.kind == "f" else array


def read_batch(p: Any, held: Any, market: MarketSnapshot | None, tradable: Any) -> Batch:
    """Return the inputs of a solve as one batch.

    Args:
        p: predicted return per period, (N,) or (B, N).
        held: weights before trading, in the same assets, or None for none; one row serves all.
        market: the market at the B rows; when it names its assets, a labelled `p` is put in their order.
        tradable: (N,) or (B, N) bool, or None.
    """
    labels = _labels(p)
    if labels is not None:
        if not labels.is_unique:
            raise LabelError(f"p names {labels[labels.duplicated()].unique().tolist()} more than once")
        if market is None:
            market = MarketSnapshot(assets=labels)
        elif market.assets is None:
            market = replace(market, assets=labels)
    order = None if market is None else market.assets
    prediction = _rows(p, order, "p")
    if not prediction.numel():
        raise SolverError(f"p has shape {tuple(prediction.shape)}: there is nothing to solve for")
    n_rows, n_assets = prediction.shape
    if order is not None and len(order) != n_assets:
        raise LabelError(f"p has {n_assets} assets, the market has {len(order)}: pass p labelled by asset")
    before = torch.zeros_like(prediction) if held is None else _fit(_rows(held, order, "held"), prediction, "held")
    mask = None if tradable is None else _fit(_rows(tradable, order, "tradable").bool(), prediction, "tradable")
    if market is not None and market.rows is not None and len(market.rows) not in (1, n_rows):
        raise SolverError(f"p has {n_rows} rows, the market snapshot has {len(market.rows)}: give one a row, or one")
    return Batch(prediction, before, mask, market, p)


def _labels(values: Any) -> pd.Index | None:
    if isinstance(values, pd.Series):
        return values.index
    return values.columns if isinstance(values, pd.DataFrame) else None


def _rows(values: Any, order: pd.Index | None, what: str) -> Tensor:
    labels = _labels(values)
    if labels is not None and order is not None:
        missing, extra = order.difference(labels), labels.difference(order)
        if len(missing) or len(extra) or not labels.is_unique:
            raise LabelError(
                f"{what}: its asset labels differ from the problem's: missing {list(missing[:5])}, "
                f"unknown {list(extra[:5])}"
            )
        values = values[order]
    if not isinstance(values, Tensor):
        values = torch.as_tensor(np.array(values, dtype=float))
    tensor: Tensor = values.to(torch.float64)
    if tensor.ndim not in (1, 2):
        raise SolverError(f"{what} has shape {tuple(tensor.shape)}: give (N,) or (B, N)")
    return tensor if tensor.ndim == 2 else tensor.unsqueeze(0)


def _fit(tensor: Tensor, like: Tensor, what: str) -> Tensor:
    if tensor.shape[1] != like.shape[1] or tensor.shape[0] not in (1, like.shape[0]):
        raise SolverError(f"{what} has shape {tuple(tensor.shape)}, p has {tuple(like.shape)}")
    return tensor.to(like.device).expand(like.shape)
