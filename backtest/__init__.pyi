from . import (
    analysis,
    contracts,
    costs,
    errors,
    market,
    report,
    simulation,
    solver,
    training,
)
from .analysis import Comparison, attribute, capacity_curve, compare, compare_strategies
from .market import (
    MarketPanel,
    load_dataset,
    price_features,
    read_prices,
    simulate_market,
    to_frequency,
)
from .simulation import SimulationResult, simulate
from .solver import PositionSolver, Solution
from .strategy import Strategy

__all__ = [
    "Comparison",
    "MarketPanel",
    "PositionSolver",
    "SimulationResult",
    "Solution",
    "Strategy",
    "analysis",
    "attribute",
    "capacity_curve",
    "compare",
    "compare_strategies",
    "contracts",
    "costs",
    "errors",
    "load_dataset",
    "market",
    "price_features",
    "read_prices",
    "report",
    "simulate",
    "simulate_market",
    "simulation",
    "solver",
    "to_frequency",
    "training",
]
