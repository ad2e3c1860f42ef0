"""What a policy earns after costs: policies, the ledger, the simulator."""

from backtest.simulation.execution import Execution
from backtest.simulation.financing import Financing
from backtest.simulation.policies import (
    AimPortfolio,
    Decision,
    EqualWeight,
    FixedWeights,
    Hold,
    MultiPeriod,
    PeriodicRebalance,
    Policy,
    ProportionalRebalance,
    RankLongShort,
    SolverPolicy,
    TargetWeights,
)
from backtest.simulation.quotes import MissingPrices
from backtest.simulation.result import SimulationResult
from backtest.simulation.simulator import simulate
from backtest.simulation.today import DayOrders, orders_of_day

__all__ = [
    "AimPortfolio",
    "DayOrders",
    "Decision",
    "EqualWeight",
    "Execution",
    "Financing",
    "FixedWeights",
    "Hold",
    "MissingPrices",
    "MultiPeriod",
    "PeriodicRebalance",
    "Policy",
    "ProportionalRebalance",
    "RankLongShort",
    "SimulationResult",
    "SolverPolicy",
    "TargetWeights",
    "orders_of_day",
    "simulate",
]
