"""Public docstrings say what a caller must know: parameters, shapes, returns, errors, and where formulas come from.

The rules are in `docstring_rules.py`. That a description is true, a machine cannot judge.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import backtest
from backtest.errors import SettingsError

sys.path.insert(0, str(Path(__file__).parent))
from docstring_rules import faults_of, raised_by

ROOT = Path(__file__).parents[1]
MODULES = [
    "backtest",
    *sorted(
        f"backtest.{path.parent.name}"
        for path in (ROOT / "backtest").glob("*/__init__.py")
        if path.parent.name != "commands"
    ),
    "backtest.market.features",
    "backtest.daily",
    "backtest.errors",
    "backtest.strategy",
]
FORMULAS = {
    "backtest.analysis": "sharpe_ratio sortino_ratio information_coefficient stationary_bootstrap_interval "
    "long_run_variance sharpe_difference_test sharpe_difference_bootstrap deflated_sharpe_ratio "
    "expected_maximum_sharpe probabilistic_sharpe_ratio superior_ability SuperiorAbility probability_of_overfitting "
    "Overfitting power_statement true_contribution PathSpread",
    "backtest.costs": "TradingCost FactorRisk DenseRisk SoftL1",
    "backtest.solver": "PositionSolver clashing_constraints",
    "backtest.training": "aligned_loss misaligned_loss regret spo_plus_loss fenchel_young_loss CombinatorialSplits "
    "BoostingSettings gradient_weights tune_objectives",
    "backtest.simulation": "AimPortfolio MultiPeriod MissingPrices",
    "backtest.market.features": "Beta DistanceFromHigh Illiquidity MaximumReturn Momentum Reversal Volatility "
    "VolumeShock",
    "backtest.numerai": "EraStatistics",
    "backtest.strategy": "grinold_forecast",
}
"""What implements a formula or a method that somebody published: looked through by hand, for a machine cannot know."""


def public(module: str) -> dict[str, object]:
    found = importlib.import_module(module)
    named = {name: getattr(found, name) for name in found.__all__}
    return {name: thing for name, thing in named.items() if not inspect.ismodule(thing)}


@functools.cache
def described_constants() -> set[str]:
    """Names that a file of the library assigns at its top level, with a string below."""
    described = set()
    for path in (ROOT / "backtest").rglob("*.py"):
        for assignment, note in pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
            if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
                targets = getattr(assignment, "targets", [getattr(assignment, "target", None)])
                described |= {target.id for target in targets if isinstance(target, ast.Name)}
    return described


@pytest.mark.parametrize("module", MODULES)
def test_every_public_docstring_says_what_a_caller_must_know(module):
    faults = [fault for name, thing in public(module).items() for fault in faults_of(thing, name)]

    assert faults == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_constant_says_below_itself_what_it_is(module):
    constants = {name for name, thing in public(module).items() if not hasattr(thing, "__qualname__")}

    assert sorted(constants - described_constants()) == []


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in FORMULAS.items() for name in names.split()]
)
def test_what_implements_a_published_formula_names_its_author_and_year(module, name):
    text = inspect.cleandoc(getattr(importlib.import_module(module), name).__doc__)

    assert re.search(r"[\w.],? \(?(19|20)\d\d\b", text), text


def test_every_error_is_public():
    raised = {name for name, thing in vars(backtest.errors).items() if inspect.isclass(thing)}

    assert raised == set(backtest.errors.__all__)


def undescribed(scale: float) -> float:
    """Return the number."""
    return scale


def shapeless(returns: np.ndarray) -> float:
    """Return the mean of `returns`."""
    return float(returns.mean())


def unreturned(n: int) -> int:
    """Count `n`."""
    return n


def unnamed_error(n: int) -> int:
    """Return `n`."""
    return _checked(n)


def _checked(n: int) -> int:
    if n < 0:
        raise SettingsError(f"n is {n}")
    return n


def swallowed_error(n: int) -> int:
    """Return `n`."""
    try:
        return _checked(n)
    except Exception:
        return 0


def complete(returns: np.ndarray, *, years: float, lag: int) -> np.ndarray:
    """Cut a series.

    Args:
        returns: (S,) fractions per period.
        years, lag: how long, and how much later.

    Returns:
        (n,) the last ones.

    Raises:
        SettingsError: a negative lag.
    """
    return returns[_checked(lag) :]


@dataclass(frozen=True)
class Described:
    """A record.

    Attributes:
        weights: (N,) fractions of wealth.
    """

    weights: np.ndarray

    def total(self) -> float:
        """Return their sum."""
        return float(self.weights.sum())


@dataclass(frozen=True)
class Undescribed(Described):
    """A record with one more field, and a method that is not described."""

    name: str

    def total(self) -> float:
        return 0.0

    def renamed(self, name: str) -> Undescribed:
        return Undescribed(self.weights, name)


@pytest.mark.parametrize(
    ("thing", "faults"),
    [
        (undescribed, ["x(scale): not described"]),
        (shapeless, ["x(returns): no shape"]),
        (unreturned, ["x: does not say what it returns"]),
        (unnamed_error, ["x: raises SettingsError and does not say so"]),
        (swallowed_error, []),
        (complete, []),
        (Described, []),
        (Undescribed, ["x.name: not described", "x.renamed: no docstring"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_rules_find_what_is_lacking_and_nothing_else(thing, faults):
    """The tests above would pass with rules that see nothing."""
    assert list(faults_of(thing, "x")) == faults


def test_an_error_is_found_through_the_private_functions_that_raise_it():
    assert raised_by(unnamed_error) == {"SettingsError"}
    assert raised_by(swallowed_error) == set()
