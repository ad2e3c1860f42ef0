"""Policies: from a forecast, what is held and the market as known, to the weights to hold."""

from backtest.simulation.policies.base import Decision, Policy
from backtest.simulation.policies.equal_weight import EqualWeight
from backtest.simulation.policies.solver_policy import SolverPolicy
from backtest.simulation.policies.target_weights import TargetWeights

__all__ = ["Decision", "EqualWeight", "Policy", "SolverPolicy", "TargetWeights"]
