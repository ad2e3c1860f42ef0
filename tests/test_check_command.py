"""`backtest check FILE.py`: everything in a file by what fits, with an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backtest.cli import app

STRATEGIES = Path(__file__).parents[1] / "strategies"
MINE = """
import numpy as np
import torch
from backtest import Strategy
from backtest.costs import Constraint, LimitTerms, SeparableCost
from backtest.simulation import Policy


class Fine(Strategy):
    def fit(self, history):
        self.mean = np.nan_to_num(np.nanmean(history.returns, axis=0))

    def predict(self, history):
        return self.mean


class Duty(SeparableCost):
    cash = True
    paid_per_trade = True

    def __init__(self, rate):
        self.rate = rate

    def value(self, q, held, market):
        return self.rate * (q - held).clamp(min=0)


class Bumpy(SeparableCost):
    def value(self, q, held, market):
        return torch.sin(30 * q)


class Cap(Constraint):
    def terms(self, held, market):
        return LimitTerms(upper=torch.full_like(held[:1], 0.1))


class Held(Policy):
    def decide(self, p, held, market, tradable):
        return held


stamp = Duty(0.005)
"""


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_each_object_is_checked_by_what_fits_and_a_fault_is_an_exit_code(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    done = run(file, "--json")

    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert done.exit_code == 1
    assert {name: (each["kind"], each["passed"]) for name, each in found.items()} == {
        "Fine": ("strategy", True),
        "stamp": ("cost", True),
        "Bumpy": ("cost", False),
        "Cap": ("constraint", True),
        "Held": ("policy", True),
    }
    assert "not convex" in found["Bumpy"]["told"]
    text = run(file).output
    assert "cost Bumpy: FAILED" in text
    assert "policy Held: passed" in text


def test_a_class_that_needs_arguments_says_how_it_is_checked(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("stamp = Duty(0.005)", "").replace("torch.sin(30 * q)", "q**2"))
    done = run(file)

    assert done.exit_code == 0
    assert "cost Duty: not checked" in done.output
    assert "make one at the top of the file, as example = Duty(...)" in done.output


def test_shipped_strategies_and_costs_pass():
    done = run(STRATEGIES / "momentum.py", STRATEGIES / "stamp_duty.py", STRATEGIES / "__init__.py")

    assert done.exit_code == 0, done.output
    assert done.output.count(": passed") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1", "nothing to check"), ("import nonsense_module", "cannot be run: ModuleNotFoundError"), (None, "not a")],
)
def test_a_file_without_anything_is_refused(tmp_path, text, message):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    done = run(file)

    assert done.exit_code == 2
    assert message in done.output
