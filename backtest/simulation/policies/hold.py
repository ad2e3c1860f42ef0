"""Doing nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Policy

__all__ = ["Hold"]


@dataclass(frozen=True)
class Hold(Policy):
    """Never trades: what was held at the start is held to the end."""

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return what is held."""
        return held
