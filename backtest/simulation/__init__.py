"""What a policy earns after costs: policies, the ledger, the simulator."""

from backtest.simulation.ledger import Ledger
from backtest.simulation.policies import Decision, EqualWeight, Policy, SolverPolicy, TargetWeights
from backtest.simulation.result import SimulationResult
from backtest.simulation.simulator import simulate

__all__ = [
    "Decision",
    "EqualWeight",
    "Ledger",
    "Policy",
    "SimulationResult",
    "SolverPolicy",
    "TargetWeights",
    "simulate",
]
