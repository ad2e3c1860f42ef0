"""The command line, as a user calls it, on a small file of prices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from backtest.cli import app
from backtest.configuration import parse_settings, settings_with_presets
from backtest.errors import SettingsError
from backtest.report.page import without_clock
from backtest.training import CombinatorialSplits

STRATEGIES = Path(__file__).resolve().parents[1] / "strategies"


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide CSV file of weekly prices: 8 names, 9 years."""
    rng = np.random.default_rng(0)
    dates = pd.date_range("2010-01-01", periods=9 * 52, freq="W-FRI", name="date")
    market = 0.015 * rng.standard_normal((len(dates), 1))
    returns = 0.001 + market + 0.02 * rng.standard_normal((len(dates), 8))
    names = ["AAA", "BRK.B", "NA", "TRUE", "EEE", "FFF", "GGG", "HHH"]
    path = tmp_path_factory.mktemp("data") / "prices.csv"
    pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=dates, columns=names).to_csv(path)
    return path


@pytest.fixture(scope="module")
def first_run(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The folder and JSON document of one quick comparison."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    options = ["--prices", str(prices), "--quick", "--hidden", "", "--seeds", "1", "--jobs", "1"]
    result = CliRunner().invoke(app, ["compare", *options, "--cost", "half_spread=10", "--json", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout)


def assert_repeated(again: Path, first: Path) -> None:
    """All that a run writes has the same bytes, but for the time that its decisions took."""
    for name in ("comparison.json", "config.json", "series.parquet"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
    pages = [without_clock((folder / "report.html").read_text()) for folder in (again, first)]
    assert pages[0] == pages[1]


def test_json_is_one_document_with_everything_the_issue_asks_for(first_run: tuple[Path, dict]) -> None:
    _, document = first_run

    assert {"verdict", "objectives", "differences", "settings"} <= document.keys()
    assert list(document["objectives"]) == ["squared", "whitened", "aligned", "misaligned"]
    for numbers in document["objectives"].values():
        assert numbers["gross"] - sum(numbers["costs"].values()) == pytest.approx(numbers["net"], abs=1e-12)
        assert {
            "utility",
            "sharpe",
            "turnover",
            "leverage",
            "max_drawdown",
            "information_coefficient",
        } <= numbers.keys()
    for difference in document["differences"]:
        low, high = difference["interval"]
        assert low <= difference["mean"] <= high
        assert difference["level"] == 0.95
        assert difference["quantity"] in ("net", "utility")


def test_a_run_writes_its_settings_seeds_versions_and_data_hash(first_run: tuple[Path, dict]) -> None:
    folder, document = first_run
    config = json.loads((folder / "config.json").read_text())

    assert config["settings"]["costs"]["half_spread"] == 10
    assert config["settings"]["seeds"] == 1
    assert config["versions"]["torch"]
    assert len(config["data_hash"]) == 64
    assert document["settings"]["data_hash"] == config["data_hash"]
    assert "<html" in (folder / "report.html").read_text()


def test_config_repeats_a_run_to_the_last_bit_in_another_number_of_processes(
    first_run: tuple[Path, dict], tmp_path: Path
) -> None:
    folder, _ = first_run
    again = CliRunner().invoke(
        app, ["compare", "--config", str(folder / "config.json"), "--jobs", "2", "--out", str(tmp_path / "again")]
    )

    assert again.exit_code == 0, again.output
    assert_repeated(tmp_path / "again", folder)


def test_tune_tries_as_often_for_each_objective_and_config_repeats_it(prices: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    options = ["--prices", str(prices), "--frequency", "M", "--quick", "--hidden", "", "--seeds", "1", "--lag", "0"]
    names = ["squared", "whitened"]
    done = CliRunner().invoke(
        app, ["compare", *options, "--objectives", ",".join(names), "--tune", "3", "--json", "--out", str(first)]
    )
    assert done.exit_code == 0, done.output
    repeated = CliRunner().invoke(
        app, ["compare", "--config", str(first / "config.json"), "--jobs", "1", "--json", "--out", str(again)]
    )
    assert repeated.exit_code == 0, repeated.output

    document = json.loads(done.stdout)
    assert document == json.loads(repeated.stdout)
    records = [record for name in names for record in document["training"][name]]
    assert [record["tuning"]["trials"] for record in records] == [3] * len(records)
    # One holding period, three shrinkages, one seed.
    assert document["sample"]["n_trials"] == 2 * 3 * 3
    config = json.loads((first / "config.json").read_text())
    assert config["settings"]["tuning"]["trials"] == 3
    assert "optuna" in config["versions"]
    assert "tuning.settings.learning rate" in (first / "report.html").read_text()


@pytest.mark.slow
def test_objectives_beside_the_default_four_are_asked_for_by_name(prices: Path, tmp_path: Path) -> None:
    names = ["squared", "aligned", "spo_plus", "fenchel_young"]
    options = ["--prices", str(prices), "--quick", "--hidden", "", "--seeds", "1", "--jobs", "1", "--json"]
    result = CliRunner().invoke(
        app, ["compare", *options, "--objectives", ",".join(names), "--out", str(tmp_path / "run")]
    )

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["objectives"]) == names
    assert {record["warm_start"][0] for name in names[2:] for record in document["training"][name]} <= {
        "squared",
        "whitened",
    }
    assert all(name in (tmp_path / "run" / "report.html").read_text() for name in names)


@pytest.mark.slow
def test_combinatorial_splits_are_asked_for_by_folds_and_repeated_from_the_config(prices: Path, tmp_path: Path) -> None:
    shape = ["--combinatorial", "3,2", "--objectives", "squared,whitened"]
    options = ["--prices", str(prices), "--quick", "--hidden", "", "--seeds", "1", "--jobs", "1", "--json", *shape]
    first = CliRunner().invoke(app, ["compare", *options, "--out", str(tmp_path / "first")])
    again = CliRunner().invoke(
        app,
        ["compare", "--config", str(tmp_path / "first/config.json"), "--jobs", "1", "--out", str(tmp_path / "again")],
    )

    assert first.exit_code == 0, first.output
    assert again.exit_code == 0, again.output
    document = json.loads(first.stdout)
    assert document["settings"]["combinatorial"]["paths"] == document["sample"]["n_paths"] == 2
    assert document["settings"]["settings"]["combinatorial"] == {
        "folds": 3,
        "test_folds": 2,
        "validation": None,
        "embargo": None,
    }
    assert_repeated(tmp_path / "again", tmp_path / "first")


def test_combinatorial_splits_stand_in_for_the_windows_of_a_preset() -> None:
    settings = settings_with_presets({"market": "liquidity", "combinatorial": {"folds": 5}}, quick=True)

    assert settings.walk_forward is None
    assert settings.combinatorial == CombinatorialSplits(5, 2)
    assert settings.leverage == 30


@pytest.mark.parametrize(
    ("combinatorial", "message"),
    [
        ({"fold": 6}, r"combinatorial.fold: unknown key: did you mean folds\?"),
        ({"folds": 4, "test_folds": 4}, "test_folds must be at least 2 and below folds"),
        ({"folds": "many"}, "combinatorial.folds"),
    ],
)
def test_wrong_combinatorial_settings_are_named(combinatorial: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_settings({"dataset": "sp500-20", "combinatorial": combinatorial})


def test_two_ways_to_cut_a_history_are_refused() -> None:
    with pytest.raises(SettingsError, match="not both"):
        parse_settings(
            {"dataset": "sp500-20", "combinatorial": {}, "walk_forward": {"train": 9, "validation": 9, "test": 9}}
        )


def test_config_refuses_other_data(first_run: tuple[Path, dict], prices: Path, tmp_path: Path) -> None:
    folder, _ = first_run
    changed = tmp_path / "prices.csv"
    frame = pd.read_csv(prices, keep_default_na=False)
    frame.iloc[10, 1] *= 1.01
    frame.to_csv(changed, index=False)
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["prices"] = str(changed)
    (tmp_path / "config.json").write_text(json.dumps(config))

    result = CliRunner().invoke(app, ["compare", "--config", str(tmp_path / "config.json")])

    assert result.exit_code == 2
    assert "not those of the recorded run" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objectives", "squared,alined"], "unknown objective 'alined'"),
        (["--dataset", "sp500-20", "--market", "liquidity"], "give one of prices, dataset and market"),
        (["--cost", "spread=5"], "costs.spread"),
        (["--cost", "half_spread"], "NAME=NUMBER"),
        (["--cost", "half_spread=-1"], "costs.half_spread"),
        (["--dataset", "sp500"], "sp500-20"),
        (["--prices", "missing.csv"], "missing.csv"),
        (["--config", "missing.json"], "missing.json"),
        (["--hidden", "a"], "--hidden"),
        (["--tune", "0"], "tuning: trials must be a whole number of at least 1, got 0"),
        (["--tune", "2", "--config", "runs/config.json"], "takes no other settings, got tuning"),
        (["--combinatorial", "6"], "--combinatorial takes two whole numbers"),
        (["--combinatorial", "6,7"], "test_folds must be at least 2 and below folds (6), got 7"),
    ],
)
def test_a_wrong_option_is_named_and_exits_with_2(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["compare", *options])

    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_run_backtests_the_strategies_in_files_and_compares_them(prices: Path, tmp_path: Path) -> None:
    files = [str(STRATEGIES / "momentum.py"), str(STRATEGIES / "reversal.py")]
    result = CliRunner().invoke(app, ["run", *files, "--prices", str(prices), "--json", "--out", str(tmp_path)])

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["objectives"]) == ["Momentum", "Reversal"]
    assert document["verdict"].startswith("Momentum - Reversal: net")
    assert (tmp_path / "report.html").exists()


def test_run_says_what_is_wrong_with_a_file_without_a_strategy(tmp_path: Path) -> None:
    file = tmp_path / "nothing.py"
    file.write_text("x = 1\n")

    result = CliRunner().invoke(app, ["run", str(file)])

    assert result.exit_code == 2
    assert "expected one class that extends backtest.Strategy" in result.output.replace("\n", " ")


def test_every_option_is_in_the_help_with_its_unit() -> None:
    text = " ".join(CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["compare", "--help"]).output.split())

    for option in [
        "--prices",
        "--dataset",
        "--market",
        "--market-seed",
        "--frequency",
        "--objectives",
        "--seeds",
        "--hidden",
        "--tune",
        "--combinatorial",
        "--quick",
        "--jobs",
        "--cost",
        "--leverage",
        "--position-limit",
        "--dollar-neutral",
        "--lag",
        "--level",
        "--config",
        "--out",
        "--json",
    ]:
        assert option in text
    for unit in ("bp of the traded value", "multiples of wealth", "% of short positions a year", "a count", "Periods"):
        assert unit in text
