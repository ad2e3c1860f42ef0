"""Runs that a TOML file describes, with a user's own strategies and costs, and what a command says meanwhile."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from backtest.cli import app
from backtest.configuration import costs_of_file, parse_settings, read_settings
from backtest.errors import CostError, SettingsError
from backtest.python_files import load_python_file

STRATEGY = """
import numpy as np
from backtest import Strategy


class Winners(Strategy):
    def fit(self, history):
        pass

    def predict(self, history):
        past = np.nansum(history.returns[-12:-1], axis=0)
        return 0.01 * (past - past.mean())
"""
OWN_COST = """
from backtest.costs import PositionLimit, TradingCost

sales_tax = TradingCost(half_spread=20e-4)
_unused = TradingCost(half_spread=1.0)
limit = PositionLimit(0.25)
"""
RUN = """
prices = "prices.csv"
frequency = "M"
strategies = ["winners.py"]
dollar_neutral = false

[costs]
factors = 1
files = ["own.py"]
"""
TRAINED = """
prices = "prices.csv"
frequency = "M"
objectives = ["squared", "aligned"]
seeds = 1
max_windows = 2
dollar_neutral = false

[training]
hidden = []
epochs = 2
path_epochs = 1
holding_periods = [4.0]
shrinkage = [1.0]

[costs]
factors = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with prices of five names by month, a strategy, a cost and two files of settings."""
    rng = np.random.default_rng(3)
    dates = pd.bdate_range("2003-01-01", "2014-12-31", freq="BME", name="date")
    prices = 40 * np.exp(np.cumsum(rng.normal(4e-3, 0.05, (len(dates), 5)), axis=0))
    folder = tmp_path / "project"
    folder.mkdir()
    pd.DataFrame(prices, index=dates, columns=list("ABCDE")).to_csv(folder / "prices.csv")
    for name, text in (("winners.py", STRATEGY), ("own.py", OWN_COST), ("run.toml", RUN), ("trained.toml", TRAINED)):
        (folder / name).write_text(text)
    return folder


def invoke(*words: object, code: int = 0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def test_a_file_describes_a_run_of_strategies_from_any_folder_and_its_record_repeats_it(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = json.loads(invoke("run", "project/run.toml", "--json", "--out", "first").stdout)
    invoke("run", "first", "--quiet", "--out", "again")

    assert list(document["objectives"]) == ["Winners"]
    assert document["objectives"]["Winners"]["costs"].keys() == {"trading_cost", "trading_cost_2"}
    for name in ("comparison.json", "config.json"):
        assert Path("again", name).read_bytes() == Path("first", name).read_bytes()
    config = json.loads(Path("first/config.json").read_text())
    assert config["settings"]["strategies"] == ["project/winners.py"]
    assert config["settings"]["start"] == document["settings"]["first_forecast"]
    assert set(config["files"]) == {"project/winners.py", "project/own.py"}


def test_the_same_run_is_described_by_a_file_and_by_options(folder, tmp_path):
    invoke("run", folder / "run.toml", "-q", "--out", tmp_path / "file")
    options = ["--prices", folder / "prices.csv", "--frequency", "M", "--no-dollar-neutral", "--cost", "factors=1"]
    invoke(
        "run", folder / "winners.py", *options, "--cost-file", folder / "own.py", "-q", "--out", tmp_path / "options"
    )

    for name in ("comparison.json", "config.json"):
        assert (tmp_path / "file" / name).read_bytes() == (tmp_path / "options" / name).read_bytes()


def test_options_go_before_what_a_file_says(folder, tmp_path):
    read = read_settings(folder / "run.toml", options={"costs": {"half_spread": 9.0}, "leverage": 3.0})

    assert (read.settings.costs.half_spread, read.settings.leverage) == (9.0, 3.0)
    assert (read.settings.costs.factors, read.settings.frequency) == (1, "M")


@pytest.mark.slow
def test_a_file_without_strategies_describes_a_comparison_of_objectives_and_compare_takes_it_too(folder, tmp_path):
    invoke("run", folder / "trained.toml", "-q", "--out", tmp_path / "run")
    done = invoke(
        "compare", "--config", folder / "trained.toml", "--jobs", "1", "--json", "--out", tmp_path / "compare"
    )

    assert list(json.loads(done.stdout)["objectives"]) == ["squared", "aligned"]
    for name in ("comparison.json", "config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "compare" / name).read_bytes()


@pytest.mark.slow
def test_an_own_cost_travels_to_worker_processes_and_changes_what_is_traded(folder, tmp_path):
    own = folder / "fee.py"
    own.write_text(
        "from backtest.costs import SeparableCost\n\nRATE = 0.004\n\n\nclass Fee(SeparableCost):\n    cash = True\n"
        "    paid_per_trade = True\n\n    def value(self, q, held, market):\n        return RATE * (q - held).abs()\n"
    )
    given = ["compare", "--config", folder / "trained.toml", "--json"]
    plain = json.loads(invoke(*given, "--out", tmp_path / "plain").stdout)["objectives"]
    taxed = json.loads(invoke(*given, "--cost-file", own, "--jobs", "2", "--out", tmp_path / "taxed").stdout)[
        "objectives"
    ]

    for name in ("squared", "aligned"):
        assert taxed[name]["turnover"] < plain[name]["turnover"]
        # Half a spread of 5 bp is charged on the same trades.
        assert taxed[name]["costs"]["fee"] == pytest.approx(8 * taxed[name]["costs"]["trading_cost"], rel=1e-6)


def test_a_record_is_refused_once_a_file_of_its_own_was_changed(folder, tmp_path):
    invoke("run", folder / "run.toml", "-q", "--out", tmp_path / "run")
    (folder / "own.py").write_text(OWN_COST.replace("20e-4", "2e-4"))

    done = invoke("run", tmp_path / "run", code=2)

    assert "own.py: changed since the recorded run" in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('frequency = "M"', 'frequency = "Q"'), "run.toml: frequency: Input should be 'D', 'W' or 'M' (got 'Q')"),
        (
            ("factors = 1", "factor = 1"),
            "run.toml: costs.factor: unknown key: did you mean factors? there are half_spread",
        ),
        (
            ("factors = 1", "factors = -1"),
            "run.toml: costs.factors: Input should be greater than or equal to 0 (got -1)",
        ),
        (("dollar_neutral = false", "seeds = 3"), "run.toml: settings: seeds: of models, which are not trained"),
        (("dollar_neutral = false", "costs = 3"), "run.toml: not TOML"),
        (('prices = "prices.csv"', ""), "run.toml: settings: give one of prices, dataset and market, got none"),
        (("winners.py", "losers.py"), "losers.py: not a Python file"),
        (("own.py", "other.py"), "other.py: not a Python file"),
        (("[costs]", "[training]\nepoch = 3\n[costs]"), "run.toml: training.epoch: unknown key: did you mean epochs?"),
        (("dollar_neutral = false", "start = 2050-01-01x"), "run.toml: not TOML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_what_is_allowed(folder, change, message):
    (folder / "run.toml").write_text(RUN.replace(*change))

    done = invoke("run", folder / "run.toml", code=2)

    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_settings_that_nothing_would_read_are_refused():
    with pytest.raises(SettingsError, match="start: of strategies, and there are none"):
        parse_settings({"dataset": "sp500-20", "start": "2001-01-01"})
    with pytest.raises(SettingsError, match="costs: must be a table, with some of half_spread, "):
        parse_settings({"dataset": "sp500-20", "costs": 3})


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x = 1\n", CostError, "no cost and no constraint: define a class that extends"),
        ("import nothing_of_that_name\n", SettingsError, r"cannot be run: ModuleNotFoundError: .*\(line 1\)"),
        ("x = 1\n\nx.y\n", SettingsError, r"AttributeError: .*\(line 3\)"),
        ("def f(:\n", SettingsError, "SyntaxError"),
        (
            "from backtest.costs import SmoothCost\n\n\nclass Steep(SmoothCost):\n    def __init__(self, rate):\n"
            "        self.rate = rate\n\n    def value(self, q, held, market):\n        return self.rate * q**2\n",
            CostError,
            r"Steep needs rate: make one at the top of the file, as steep = Steep\(\.\.\.\)",
        ),
    ],
)
def test_a_file_of_costs_that_adds_nothing_is_refused(tmp_path, text, error, message):
    (tmp_path / "own.py").write_text(text)

    with pytest.raises(error, match=message):
        costs_of_file(tmp_path / "own.py")


def test_objects_that_a_file_makes_stand_for_their_class(tmp_path):
    (tmp_path / "own.py").write_text(
        "from backtest.costs import DollarNeutral, SmoothCost\n\n\nclass Steep(SmoothCost):\n"
        "    def __init__(self, rate=1.0):\n        self.rate = rate\n\n    def value(self, q, held, market):\n"
        "        return self.rate * q**2\n\n\nmild, wild = Steep(0.1), Steep(9.0)\nneutral = DollarNeutral()\n"
    )

    costs, limits = costs_of_file(tmp_path / "own.py")

    assert [cost.rate for cost in costs] == [0.1, 9.0]
    assert [type(limit).__name__ for limit in limits] == ["DollarNeutral"]


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text(f"x = {value}\n")

    first, second = (load_python_file(tmp_path / name / "own.py") for name in ("one", "two"))

    assert (first.x, second.x) == (1, 2)
    assert first.__name__ != second.__name__


def test_quiet_says_nothing_verbose_says_lines_and_the_log_keeps_them(folder, tmp_path):
    log = tmp_path / "logs" / "run.log"
    quiet = invoke("run", folder / "trained.toml", "--quiet", "--log", log, "--out", tmp_path / "one")
    loud = invoke("run", folder / "trained.toml", "--verbose", "--out", tmp_path / "two")

    assert quiet.output == ""
    assert "aligned - squared" in loud.stdout
    lines = log.read_text().splitlines()
    for said in ("data: prices", "trained: window 2 of 2", "simulated: 2 books", f"written: {tmp_path / 'one'}"):
        assert any(said in line for line in lines), said
        assert said.replace("one", "two") in loud.stderr
    assert logging.getLogger("backtest").handlers == []


def test_the_log_keeps_errors_with_their_trace_and_appends(folder, tmp_path):
    log = tmp_path / "run.log"
    for _ in range(2):
        invoke("run", folder / "nothing.py", "--quiet", "--log", log, code=2)

    text = log.read_text()
    assert text.count("ERROR backtest: SettingsError: ") == 2
    assert "Traceback" in text


def test_quiet_and_verbose_together_are_refused(folder):
    done = invoke("run", folder / "run.toml", "-q", "-v", code=2)

    assert "--quiet and --verbose contradict each other" in done.output


def test_days_without_a_decision_are_warned_of(folder, tmp_path):
    (folder / "own.py").write_text(
        "from backtest.costs import FullyInvested, PositionLimit\n\na = FullyInvested()\nb = PositionLimit(0.1)\n"
    )

    done = invoke("run", folder / "run.toml", "--out", tmp_path / "run")

    assert "decisions failed, and what was held stayed: first Winners on " in done.stderr


def test_strategies_on_a_simulated_market_are_refused(folder):
    (folder / "run.toml").write_text('market = "liquidity"\nstrategies = ["winners.py"]\n')

    done = invoke("run", folder / "run.toml", code=2)

    assert "strategies run on prices, not on a simulated market" in " ".join(done.output.split())
