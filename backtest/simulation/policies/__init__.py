"""Policies: from a forecast, what is held and the market as known, to the weights to hold."""

from backtest.simulation.policies.aim_portfolio import AimPortfolio
from backtest.simulation.policies.base import Decision, Policy
from backtest.simulation.policies.equal_weight import EqualWeight
from backtest.simulation.policies.fixed_weights import FixedWeights
from backtest.simulation.policies.hold import Hold
from backtest.simulation.policies.multi_period import MultiPeriod
from backtest.simulation.policies.periodic_rebalance import PeriodicRebalance
from backtest.simulation.policies.proportional_rebalance import ProportionalRebalance
from backtest.simulation.policies.rank_long_short import RankLongShort
from backtest.simulation.policies.side_by_side import SideBySide
from backtest.simulation.policies.solver_policy import SolverPolicy
from backtest.simulation.policies.target_weights import TargetWeights

__all__ = [
    "AimPortfolio",
    "Decision",
    "EqualWeight",
    "FixedWeights",
    "Hold",
    "MultiPeriod",
    "PeriodicRebalance",
    "Policy",
    "ProportionalRebalance",
    "RankLongShort",
    "SideBySide",
    "SolverPolicy",
    "TargetWeights",
]
