"""R1: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", table 7.1, periodic rebalancing.

424 stocks, 2012-01-03 to 2016-12-30. A book of 1e8 starts at the benchmark, which is uniform over the stocks, and goes
back to it on the first trade of each day, week, month, quarter or year, or never.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from paper_2017 import CASH, dated_by_trade, read_table

from backtest.costs import TradingCost
from backtest.market import MarketPanel
from backtest.simulation import simulate
from backtest.simulation.policies import FixedWeights, Hold, PeriodicRebalance, Policy

__all__ = ["FIRST", "HALF_SPREAD", "LAST", "PUBLISHED", "Published", "Row", "measure", "read_panel"]

FIRST, LAST = "2012-01-03", "2016-12-30"
WEALTH, HALF_SPREAD, PERIODS_A_YEAR = 1e8, 2.5e-4, 250


@dataclass(frozen=True)
class Published:
    """A column of the table, in percent a year; None where nothing was printed."""

    turnover: float
    active_risk: float
    active_return: float | None = None


PUBLISHED = {
    "day": Published(220.53, 0.00),
    "week": Published(105.67, 0.09),
    "month": Published(52.71, 0.21),
    "quarter": Published(29.98, 0.35),
    "year": Published(12.54, 0.63),
    "hold": Published(0.00, 1.53, -0.36),
}


@dataclass(frozen=True)
class Row:
    """What came out, in percent a year.

    Attributes:
        turnover: L1 norm of the trades in stocks, as a fraction of wealth.
        active_risk: standard deviation of the active return.
        active_return: mean return over that of the benchmark, which pays no cost.
    """

    turnover: float
    active_risk: float
    active_return: float


def read_panel(first: str = FIRST, last: str = LAST) -> tuple[MarketPanel, int]:
    """Return the panel, and the row of the trade of `first`."""
    table = read_table("returns.csv.gz")
    # A row before the first trade: the panel's first row has no return yet.
    start = table.index.get_loc(pd.Timestamp(first)) - 1
    table = table.iloc[start : table.index.get_loc(pd.Timestamp(last)) + 1]
    return dated_by_trade(table.drop(columns=CASH), table[CASH], name="paper 2017"), 1


def measure(every: str, panel: MarketPanel, first_row: int) -> Row:
    """Simulate one column of the table.

    Args:
        every: "day", "week", "month", "quarter", "year" or "hold".
        panel: the market.
        first_row: row of the first trade.
    """
    uniform = np.full(panel.n_assets, 1.0 / panel.n_assets)
    result = simulate(
        panel,
        _policy(every, uniform),
        costs=TradingCost(half_spread=HALF_SPREAD),
        lag=0,
        first_row=first_row,
        initial_wealth=WEALTH,
        initial_weights=uniform,
    )
    active = result.net[0] - panel.returns[first_row + 1 :] @ uniform
    return Row(
        turnover=100 * PERIODS_A_YEAR * float(result.turnover[0].mean()),
        active_risk=100 * PERIODS_A_YEAR**0.5 * float(active.std()),
        active_return=100 * PERIODS_A_YEAR * float(active.mean()),
    )


def _policy(every: str, weights: np.ndarray) -> Policy:
    if every == "hold":
        return Hold()
    target = FixedWeights(weights)
    return target if every == "day" else PeriodicRebalance(target, every)
