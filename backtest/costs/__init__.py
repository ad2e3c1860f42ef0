"""`C`: what positions cost, as an algebra of costs, and the limits they must keep."""

from backtest.costs.base import Cost, ScaledCost, SumOfCosts
from backtest.costs.curves import Curve, Power, Root
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.costs.cvxpy_cost import CvxpyCost
from backtest.costs.dense_risk import DenseRisk
from backtest.costs.exposure import Exposure
from backtest.costs.grid import Grid
from backtest.costs.holding import BorrowFee, HoldingFee, LongFee
from backtest.costs.limits import Constraint, DollarNeutral, FullyInvested, LeverageLimit, TurnoverLimit
from backtest.costs.linear_limits import CashFloor, FactorLimit, GroupLimit, LinearLimit
from backtest.costs.penalties import L1, Ridge, SoftL1
from backtest.costs.position_limits import LongOnly, NoTrade, PositionBounds, PositionLimit, TradeLimit
from backtest.costs.relative import RelativeTo
from backtest.costs.risk import FactorRisk
from backtest.costs.risk_limit import RiskLimit
from backtest.costs.soft import Soft
from backtest.costs.terms import Bend, CostTerms, LimitTerms, QuadraticLimit, Ramp, SmoothFunction, SoftLimit
from backtest.costs.trading import TradingCost

__all__ = [
    "L1",
    "Bend",
    "BorrowFee",
    "CashFloor",
    "Constraint",
    "Cost",
    "CostTerms",
    "Curve",
    "CvxpyCost",
    "DenseRisk",
    "DollarNeutral",
    "Exposure",
    "FactorLimit",
    "FactorRisk",
    "FullyInvested",
    "Grid",
    "GroupLimit",
    "HoldingFee",
    "LeverageLimit",
    "LimitTerms",
    "LinearLimit",
    "LongFee",
    "LongOnly",
    "NoTrade",
    "PositionBounds",
    "PositionLimit",
    "Power",
    "QuadraticLimit",
    "Ramp",
    "RelativeTo",
    "Ridge",
    "RiskLimit",
    "Root",
    "ScaledCost",
    "SeparableCost",
    "SmoothCost",
    "SmoothFunction",
    "Soft",
    "SoftL1",
    "SoftLimit",
    "SumOfCosts",
    "TradeLimit",
    "TradingCost",
    "TurnoverLimit",
]
