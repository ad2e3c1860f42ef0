"""What a policy earns after costs: policies, the ledger, the simulator."""

from backtest.simulation.execution import Execution
from backtest.simulation.financing import Financing
from backtest.simulation.policies import Decision, EqualWeight, Policy, SolverPolicy, TargetWeights
from backtest.simulation.quotes import MissingPrices
from backtest.simulation.result import SimulationResult
from backtest.simulation.simulator import simulate

__all__ = [
    "Decision",
    "EqualWeight",
    "Execution",
    "Financing",
    "MissingPrices",
    "Policy",
    "SimulationResult",
    "SolverPolicy",
    "TargetWeights",
    "simulate",
]
