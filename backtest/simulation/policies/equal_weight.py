"""Wealth in equal parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Policy

__all__ = ["EqualWeight"]


@dataclass(frozen=True)
class EqualWeight(Policy):
    """Wealth in equal parts in all names that can be traded; what is stuck in other names stays there."""

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the same weight for every tradable name."""
        stuck = np.where(tradable, 0.0, held).sum(axis=1, keepdims=True)
        count = tradable.sum(axis=1, keepdims=True)
        return np.where(tradable, (1.0 - stuck) / np.maximum(count, 1), held)
