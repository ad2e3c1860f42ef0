"""`C`: what positions cost, as an algebra of costs, and the limits they must keep."""

from backtest.costs.base import Cost, ScaledCost, SumOfCosts
from backtest.costs.exposure import Exposure
from backtest.costs.holding import BorrowFee, HoldingFee
from backtest.costs.limits import (
    Constraint,
    DollarNeutral,
    FullyInvested,
    LeverageLimit,
    LongOnly,
    PositionLimit,
    TurnoverLimit,
)
from backtest.costs.penalties import L1, Ridge, SoftL1
from backtest.costs.risk import FactorRisk
from backtest.costs.terms import CostTerms, LimitTerms, Ramp
from backtest.costs.trading import TradingCost

__all__ = [
    "L1",
    "BorrowFee",
    "Constraint",
    "Cost",
    "CostTerms",
    "DollarNeutral",
    "Exposure",
    "FactorRisk",
    "FullyInvested",
    "HoldingFee",
    "LeverageLimit",
    "LimitTerms",
    "LongOnly",
    "PositionLimit",
    "Ramp",
    "Ridge",
    "ScaledCost",
    "SoftL1",
    "SumOfCosts",
    "TradingCost",
    "TurnoverLimit",
]
