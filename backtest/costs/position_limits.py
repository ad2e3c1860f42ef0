"""Limits on each position and on each trade."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs.limits import Constraint
from backtest.costs.parameters import Parameter, aligned, check_bound, check_labels, check_ordered, check_parameter
from backtest.costs.terms import LimitTerms
from backtest.errors import CostError, LabelError
from backtest.market import MarketSnapshot

__all__ = ["LongOnly", "NoTrade", "PositionBounds", "PositionLimit", "TradeLimit"]


@dataclass(frozen=True)
class LongOnly(Constraint):
    """`q >= 0`."""

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a lower limit of 0."""
        return LimitTerms(lower=torch.zeros_like(held[:1]))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class PositionLimit(Constraint):
    """`|q_i| <= limit_i`.

    Attributes:
        limit: scalar, (N,), (B, N) or a Series by asset; fraction of wealth.

    Raises:
        CostError: a limit is negative or not finite.
    """

    limit: Parameter

    def __post_init__(self) -> None:
        check_parameter(self.limit, "PositionLimit", "limit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return two-sided limits on each weight."""
        limit = aligned(self.limit, held, market, "PositionLimit limit")
        return LimitTerms(lower=-limit, upper=limit)

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class PositionBounds(Constraint):
    """`lower_i <= q_i <= upper_i`.

    Attributes:
        lower, upper: scalar, (N,), (B, N) or a Series by asset; fraction of wealth, infinite for none.

    Raises:
        CostError: a limit is NaN, or a lower one is above its upper one.
    """

    lower: Parameter = -np.inf
    upper: Parameter = np.inf

    def __post_init__(self) -> None:
        check_bound(self.lower, "PositionBounds", "lower", never=np.inf)
        check_bound(self.upper, "PositionBounds", "upper", never=-np.inf)
        check_ordered(self.lower, self.upper, "PositionBounds")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return limits on each weight."""
        return LimitTerms(
            lower=aligned(self.lower, held, market, "PositionBounds lower"),
            upper=aligned(self.upper, held, market, "PositionBounds upper"),
        )

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class TradeLimit(Constraint):
    """`-sell_i <= q_i - held_i <= buy_i`: what may be traded of each asset in one period.

    Attributes:
        limit: of purchases and sales alike, unless one is given of its own; scalar, (N,), (B, N) or a Series by asset;
            fraction of wealth, infinite for none.
        buy: of purchases alone, scalar, (N,), (B, N) or a Series by asset, at least 0; None is `limit`.
        sell: of sales alone, scalar, (N,), (B, N) or a Series by asset, at least 0; None is `limit`.

    Raises:
        CostError: a limit is negative or NaN.
    """

    limit: Parameter = np.inf
    buy: Parameter | None = None
    sell: Parameter | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "buy", "sell"):
            value = getattr(self, name)
            if value is not None:
                check_bound(value, "TradeLimit", name, never=-np.inf)
                check_ordered(0.0, value, f"TradeLimit {name}")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return limits on each weight around the weight held."""
        buy = aligned(self.limit if self.buy is None else self.buy, held, market, "TradeLimit buy")
        sell = aligned(self.limit if self.sell is None else self.sell, held, market, "TradeLimit sell")
        return LimitTerms(lower=held - sell, upper=held + buy)

    @property
    def depends_on_held(self) -> bool:
        """True: it limits trades."""
        return True


@dataclass(frozen=True, eq=False)
class NoTrade(Constraint):
    """`q_i = held_i` for some assets: a restricted list.

    Attributes:
        assets: labels of the assets that keep their weight; or bool, (N,), (B, N) or a Series by asset, True where an
            asset keeps it.

    Raises:
        CostError: `assets` is one text instead of a list.
    """

    assets: Sequence[str] | np.ndarray | pd.Series | Tensor

    def __post_init__(self) -> None:
        if isinstance(self.assets, str):
            raise CostError(f"NoTrade takes a list of assets, got the text {self.assets!r}: write [{self.assets!r}]")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return the weight held as both limits of the assets named."""
        stuck = self._stuck(held, market)
        return LimitTerms(lower=torch.where(stuck, held, -torch.inf), upper=torch.where(stuck, held, torch.inf))

    @property
    def depends_on_held(self) -> bool:
        """True: it keeps what was held."""
        return True

    def _stuck(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return which assets keep their weight, (B | 1, N) bool."""
        assets = self.assets
        if isinstance(assets, pd.Series):
            assets = assets.reindex(check_labels(assets.index, market, "NoTrade assets")).to_numpy()
        if not isinstance(assets, Tensor):
            assets = np.array(assets)
            if assets.dtype != bool and assets.size:
                assets = self._listed(market)
            assets = torch.as_tensor(assets, dtype=torch.bool)
        if assets.dtype != torch.bool:
            raise CostError(f"NoTrade: a mask of assets must be bool, got {assets.dtype}")
        mask = assets.to(held.device)
        mask = mask.unsqueeze(0) if mask.ndim == 1 else mask
        if mask.numel() == 0:
            return torch.zeros_like(held[:1], dtype=torch.bool)
        if mask.ndim != 2 or mask.shape[1] != held.shape[1] or mask.shape[0] not in (1, len(held)):
            raise CostError(
                f"NoTrade: the mask has shape {tuple(mask.shape)}, which does not fit {len(held)} rows "
                f"of {held.shape[1]} assets: give (N,) or (B, N)"
            )
        return mask

    def _listed(self, market: MarketSnapshot | None) -> np.ndarray:
        if market is None or market.assets is None:
            raise LabelError(
                "NoTrade names assets, but the positions to solve for are not labelled: "
                "pass p as a labelled Series or DataFrame, or pass market=panel.at(rows)"
            )
        unknown = pd.Index(self.assets).difference(market.assets)
        if len(unknown):
            raise LabelError(f"NoTrade: the problem has no assets {list(unknown[:5])}")
        return np.asarray(market.assets.isin(pd.Index(self.assets)))
