"""Checks that users run on what they wrote before trusting a backtest of it."""

from __future__ import annotations

from backtest.contracts.constraints import ConstraintReport, check_constraint
from backtest.contracts.costs import CostReport, check_cost
from backtest.contracts.files import Checked, check_file
from backtest.contracts.policies import check_policy
from backtest.contracts.strategies import check_strategy
from backtest.market.features.checking import check_feature

__all__ = [
    "Checked",
    "ConstraintReport",
    "CostReport",
    "check_constraint",
    "check_cost",
    "check_feature",
    "check_file",
    "check_policy",
    "check_strategy",
]
