"""Performance, significance and the comparison of training objectives."""

from backtest.analysis.attribution import Attribution, attribute
from backtest.analysis.capacity import Capacity, capacity_curve
from backtest.analysis.compare import Progress, compare
from backtest.analysis.compare_strategies import compare_strategies
from backtest.analysis.comparison import Comparison
from backtest.analysis.contribution import true_contribution
from backtest.analysis.difference import Difference, RescaledDifference
from backtest.analysis.equal_risk import EqualRisk, equal_risk
from backtest.analysis.overfitting import Overfitting, probability_of_overfitting
from backtest.analysis.paths import PathSpread
from backtest.analysis.performance import (
    InformationCoefficient,
    annual_return,
    annual_volatility,
    drawdown,
    information_coefficient,
    max_drawdown,
    mean_annual_return,
    performance_table,
    sharpe_ratio,
    sortino_ratio,
    total_return,
)
from backtest.analysis.power import PowerStatement, power_statement
from backtest.analysis.sharpe_inference import (
    DeflatedSharpe,
    SharpeDifference,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    sharpe_difference_bootstrap,
    sharpe_difference_test,
)
from backtest.analysis.significance import (
    BootstrapInterval,
    long_run_variance,
    stationary_bootstrap_interval,
)
from backtest.analysis.summary import ObjectiveSummary
from backtest.analysis.superior_ability import SuperiorAbility, superior_ability
from backtest.analysis.trade_reasons import TradeReasons, trade_reasons

__all__ = [
    "Attribution",
    "BootstrapInterval",
    "Capacity",
    "Comparison",
    "DeflatedSharpe",
    "Difference",
    "EqualRisk",
    "InformationCoefficient",
    "ObjectiveSummary",
    "Overfitting",
    "PathSpread",
    "PowerStatement",
    "Progress",
    "RescaledDifference",
    "SharpeDifference",
    "SuperiorAbility",
    "TradeReasons",
    "annual_return",
    "annual_volatility",
    "attribute",
    "capacity_curve",
    "compare",
    "compare_strategies",
    "deflated_sharpe_ratio",
    "drawdown",
    "equal_risk",
    "expected_maximum_sharpe",
    "information_coefficient",
    "long_run_variance",
    "max_drawdown",
    "mean_annual_return",
    "performance_table",
    "power_statement",
    "probabilistic_sharpe_ratio",
    "probability_of_overfitting",
    "sharpe_difference_bootstrap",
    "sharpe_difference_test",
    "sharpe_ratio",
    "sortino_ratio",
    "stationary_bootstrap_interval",
    "superior_ability",
    "total_return",
    "trade_reasons",
    "true_contribution",
]
