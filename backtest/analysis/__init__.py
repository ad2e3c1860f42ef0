"""Performance, significance and the comparison of training objectives."""

from backtest.analysis.attribution import Attribution, attribute
from backtest.analysis.capacity import Capacity, capacity_curve
from backtest.analysis.compare import Progress, compare
from backtest.analysis.compare_strategies import compare_strategies
from backtest.analysis.comparison import Comparison, Difference
from backtest.analysis.contribution import true_contribution
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
from backtest.analysis.significance import (
    BootstrapInterval,
    DeflatedSharpe,
    SharpeDifference,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    long_run_variance,
    probabilistic_sharpe_ratio,
    sharpe_difference_test,
    stationary_bootstrap_interval,
)
from backtest.analysis.summary import ObjectiveSummary

__all__ = [
    "Attribution",
    "BootstrapInterval",
    "Capacity",
    "Comparison",
    "DeflatedSharpe",
    "Difference",
    "InformationCoefficient",
    "ObjectiveSummary",
    "Progress",
    "SharpeDifference",
    "annual_return",
    "annual_volatility",
    "attribute",
    "capacity_curve",
    "compare",
    "compare_strategies",
    "deflated_sharpe_ratio",
    "drawdown",
    "expected_maximum_sharpe",
    "information_coefficient",
    "long_run_variance",
    "max_drawdown",
    "mean_annual_return",
    "performance_table",
    "probabilistic_sharpe_ratio",
    "sharpe_difference_test",
    "sharpe_ratio",
    "sortino_ratio",
    "stationary_bootstrap_interval",
    "total_return",
    "true_contribution",
]
