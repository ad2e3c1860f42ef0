"""Market impact by a table of liquidity: a custom cost of 25 lines, to copy.

Source: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", section 2.3, the three-halves power law;
    Almgren, Thum, Hauptmann & Li (2005), "Direct Estimation of Equity Market Impact", finds an exponent of 1.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from backtest.costs import SeparableCost
from backtest.costs.parameters import aligned
from backtest.market import MarketSnapshot

__all__ = ["LiquidityImpact"]


@dataclass(frozen=True, eq=False)
class LiquidityImpact(SeparableCost):
    """`sum_i b sigma_i |u_i|^1.5 sqrt(wealth / volume_i)` for trades `u = q - held`.

    Attributes:
        table: one row an asset, in any order; columns `volatility`, of returns per period, and `volume`, currency
            traded per period.
        wealth: currency; weights are fractions of it.
        coefficient: `b`, about 1.
    """

    table: pd.DataFrame
    wealth: float
    coefficient: float = 1.0
    cash = True
    paid_per_trade = True

    def value(self, q: torch.Tensor, held: torch.Tensor, market: MarketSnapshot | None) -> torch.Tensor:
        """Return the impact by asset (B, N)."""
        # Kept from 0, where the power has no second derivative; the cost of no trade is 1e-45.
        return self.rate(held, market) * (q - held).abs().clamp(min=1e-30).pow(1.5)

    @cached_property
    def by_asset(self) -> pd.Series:
        """`b sigma_i sqrt(wealth / volume_i)`."""
        return self.coefficient * self.table["volatility"] * np.sqrt(self.wealth / self.table["volume"])

    def rate(self, held: torch.Tensor, market: MarketSnapshot | None) -> torch.Tensor:
        """Return the same (1, N), in the problem's order of assets."""
        return aligned(self.by_asset, held, market, "LiquidityImpact table")

    def expression(self, x: Any, held: np.ndarray, market: MarketSnapshot | None) -> Any:
        """Return the impact of one row for CVXPY; optional, so that `check_cost` can compare."""
        import cvxpy as cp

        return self.rate(torch.as_tensor(held)[None], market)[0].numpy() @ cp.power(cp.abs(x - held), 1.5)
