"""Stamp duty: a tax on what is bought, and nothing on what is sold. A custom cost in ten lines, to copy.

Source: UK Finance Act 1986, section 87: stamp duty reserve tax of 0.5% of the price paid for UK shares, also by who
    buys back what was sold short. Shares of growth markets (AIM) are exempt: Finance Act 2014, section 115.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from backtest.costs import SeparableCost
from backtest.costs.parameters import Parameter, aligned
from backtest.market import MarketSnapshot

__all__ = ["StampDuty"]


@dataclass(frozen=True, eq=False)
class StampDuty(SeparableCost):
    """`sum_i rate_i max(q_i - held_i, 0)`.

    Attributes:
        rate: scalar, (N,), or a Series by asset with 0 for those exempt; fraction of the value bought.
    """

    rate: Parameter = 0.005
    cash = True
    paid_per_trade = True

    def value(self, q: torch.Tensor, held: torch.Tensor, market: MarketSnapshot | None) -> torch.Tensor:
        """Return the duty by asset (B, N)."""
        return aligned(self.rate, held, market, "StampDuty rate") * (q - held).clamp(min=0)

    def expression(self, x: Any, held: np.ndarray, market: MarketSnapshot | None) -> Any:
        """Return the duty of one row for CVXPY; optional, so that `check_cost` can compare."""
        import cvxpy as cp

        rate = aligned(self.rate, torch.as_tensor(held)[None], market, "StampDuty rate")[0].numpy()
        return rate @ cp.pos(x - held)
