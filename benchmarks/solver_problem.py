"""The problem that every solver of the benchmark gets: risk on factors, four costs with kinks, three limits.

    minimise_x  -p'x + 1/2 |G'x|^2 + 1/2 sum_i d_i x_i^2 + spread |x - held|_1 + l1 |x|_1 + fee |min(x, 0)|_1
    subject to  1'x = 0,  |x_i| <= limit,  |x|_1 <= leverage

Risk aversion 5 is inside `G` and `d`. One draw a size; `p`, `held` and `y` differ from row to row, all else is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from backtest.costs import L1, BorrowFee, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.solver import PositionSolver

__all__ = ["PRICE", "Problem", "Scaled", "draw_problem"]

RISK_AVERSION = 5.0
HALF_SPREAD = 2.5e-4
L1_WEIGHT = 1e-4
ANNUAL_FEE, PERIODS = 0.02, 252
LEVERAGE = 3.0
PRICE = 1e-3
"""Size of what a unit of weight earns: that of `p`."""


@dataclass(frozen=True)
class Problem:
    """One size and batch; weights are fractions of wealth, prices returns per period.

    Attributes:
        loadings: (N, k), `G`, risk aversion inside.
        diagonal: (N,), `d`, risk aversion inside.
        spread, l1, fee: prices of a trade, a position, a short position.
        limit, leverage: of one position, of all.
        p, held, y: (B, N) forecasts, weights before trading, realized returns.
    """

    loadings: np.ndarray
    diagonal: np.ndarray
    spread: float
    l1: float
    fee: float
    limit: float
    leverage: float
    p: torch.Tensor
    held: torch.Tensor
    y: torch.Tensor

    @cached_property
    def ours(self) -> PositionSolver:
        """The position solver of this project, for the same problem."""
        return self.build_ours()

    def build_ours(self) -> PositionSolver:
        """Build it anew."""
        risk = FactorRisk(
            loadings=self.loadings / np.sqrt(RISK_AVERSION), specific_variance=self.diagonal / RISK_AVERSION
        )
        costs = RISK_AVERSION * risk + TradingCost(half_spread=self.spread) + self.l1 * L1()
        costs = costs + BorrowFee(self.fee * PERIODS, periods_per_year=PERIODS)
        return PositionSolver(costs, [DollarNeutral(), PositionLimit(self.limit), LeverageLimit(self.leverage)])

    @property
    def n_assets(self) -> int:
        return len(self.diagonal)

    @property
    def n_factors(self) -> int:
        return self.loadings.shape[1]

    @property
    def n_rows(self) -> int:
        return len(self.p)

    def first(self, n_rows: int) -> Problem:
        """Return the same problem with the first rows alone."""
        return replace(self, p=self.p[:n_rows], held=self.held[:n_rows], y=self.y[:n_rows])

    def cost(self, x: np.ndarray, held: np.ndarray) -> float:
        """Return `C` of one row (N,)."""
        factor = self.loadings.T @ x
        smooth = (factor @ factor + self.diagonal @ x**2) / 2
        kinks = self.spread * np.abs(x - held) + self.l1 * np.abs(x) + self.fee * np.maximum(-x, 0)
        return float(smooth + kinks.sum())

    def violation(self, x: np.ndarray) -> float:
        """Return by how much weights (B, N) break their worst limit, as a fraction of wealth."""
        parts = [np.abs(x.sum(-1)).max(), (np.abs(x) - self.limit).max(), (np.abs(x).sum(-1) - self.leverage).max()]
        return float(max(*parts, 0.0))

    def scaled(self) -> Scaled:
        """Return the problem in units in which weights, limits and prices are about 1."""
        size = self.limit
        return Scaled(
            loadings=self.loadings * np.sqrt(size / PRICE),
            diagonal=self.diagonal * (size / PRICE),
            spread=self.spread / PRICE,
            l1=self.l1 / PRICE,
            fee=self.fee / PRICE,
            leverage=self.leverage / size,
            price=PRICE,
            size=size,
        )


@dataclass(frozen=True)
class Scaled:
    """A problem for `u = x / size`, its objective divided by `price size`; no position exceeds 1.

    Tolerances of general solvers are absolute, so these units are part of their best formulation.
    """

    loadings: np.ndarray
    diagonal: np.ndarray
    spread: float
    l1: float
    fee: float
    leverage: float
    price: float
    size: float


def draw_problem(n_assets: int, n_factors: int, n_rows: int) -> Problem:
    """Draw a problem of N assets, k factors and B rows; the seed is N."""
    rng = np.random.default_rng(n_assets)
    loadings = rng.normal(size=(n_assets, n_factors)) * 0.01
    specific = rng.uniform(1e-4, 9e-4, n_assets)
    limit = 20 / n_assets
    shape = (n_rows, n_assets)
    return Problem(
        loadings=np.sqrt(RISK_AVERSION) * loadings,
        diagonal=RISK_AVERSION * specific,
        spread=HALF_SPREAD,
        l1=L1_WEIGHT,
        fee=ANNUAL_FEE / PERIODS,
        limit=limit,
        leverage=LEVERAGE,
        p=torch.as_tensor(rng.normal(size=shape) * 1e-3),
        y=torch.as_tensor(rng.normal(size=shape) * 1e-2),
        held=torch.as_tensor(rng.normal(size=shape) * 2 / n_assets),
    )
