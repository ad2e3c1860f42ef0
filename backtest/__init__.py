"""Cost-aware portfolio backtests, and the question whether training on what the portfolio does beats squared error."""

from backtest.analysis import Comparison, attribute, capacity_curve, compare, compare_strategies
from backtest.market import (
    MarketPanel,
    load_dataset,
    price_features,
    read_prices,
    simulate_market,
    to_frequency,
)
from backtest.simulation import SimulationResult, simulate
from backtest.solver import PositionSolver, Solution
from backtest.strategy import Strategy

__all__ = [
    "Comparison",
    "MarketPanel",
    "PositionSolver",
    "SimulationResult",
    "Solution",
    "Strategy",
    "attribute",
    "capacity_curve",
    "compare",
    "compare_strategies",
    "load_dataset",
    "price_features",
    "read_prices",
    "simulate",
    "simulate_market",
    "to_frequency",
]
