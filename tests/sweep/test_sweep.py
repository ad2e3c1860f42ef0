"""Sweeps on one machine: what a cell says, what is kept, what is refused."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import pytest

from backtest.configuration import load_market, plan_comparison
from backtest.errors import SettingsError, WorkerError
from backtest.sweep import Sweep, read_sweep, run_sweep
from backtest.sweep.run import _train
from backtest.sweep.table import best_so_far
from backtest.sweep.workplace import Workplace

DOCUMENT = {
    "run": {
        "dataset": "sp500-20",
        "frequency": "M",
        "objectives": ["squared", "aligned"],
        "seeds": 2,
        "max_windows": 2,
        "training": {"epochs": 1, "path_epochs": 1, "hidden": [], "holding_periods": [2.0], "shrinkage": [0.5, 1.0]},
    },
    "costs": {"low": {"half_spread": 2}, "high": {"half_spread": 20}},
}


@pytest.fixture(scope="module")
def sweep():
    return Sweep.of(DOCUMENT)


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory):
    """A folder with the sweep run in it by one process, its table, and what was told."""
    told = []
    folder = tmp_path_factory.mktemp("sweep")
    table = run_sweep(sweep, folder, n_jobs=1, report=lambda *what: told.append(what))
    return folder, table, told


def test_a_cell_is_the_comparison_of_its_settings_to_the_last_bit(sweep, finished):
    _, table, _ = finished
    cell = sweep.cells[1]
    comparison = plan_comparison(cell.settings, load_market(cell.settings)).run(n_jobs=1)
    for objective, result in comparison.results.items():
        rows = table[(table["cost"] == cell.cost) & (table["objective"] == objective)]
        assert rows["net"].tolist() == (result.net.mean(axis=1) * 12).tolist()
        assert rows["turnover"].tolist() == [float(each.mean() * 12) for each in result.turnover]
        assert rows["cost: trading_cost"].tolist() == [float(each.mean() * 12) for each in result.costs["trading_cost"]]


def test_the_table_has_a_row_a_cell_objective_and_seed_and_counts_every_trial(finished):
    folder, table, told = finished
    keys = table[["model", "cost", "objective", "seed"]]
    assert len(table) == len(keys.drop_duplicates()) == 2 * 2 * 2
    assert list(keys["cost"].unique()) == ["low", "high"]
    # Two costs, two objectives, two seeds, two shrinkages.
    assert (table["trials"] == 16).all()
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "sweep.parquet"), table)
    assert [(done, total) for _, done, total, _ in told][-1] == (4, 4)


def test_several_processes_make_the_same_bytes(sweep, finished, tmp_path):
    _, table, _ = finished
    other = run_sweep(sweep, tmp_path, n_jobs=2)
    pd.testing.assert_frame_equal(other, table, check_exact=True)
    workers = {Workplace(tmp_path).worker_of(cell.name, number) for cell in sweep.cells for number in (0, 1)}
    assert not any(worker.endswith(f":{os.getpid()}") for worker in workers)


def test_a_second_call_trains_only_what_is_missing(sweep, finished):
    folder, table, _ = finished
    place = Workplace(folder)
    files = {file: file.stat().st_mtime_ns for file in folder.glob("fits/*/*.npz")}
    assert len(files) == 4
    lost = place.fit_file("default--high", 1)
    lost.unlink()
    told = []
    again = run_sweep(sweep, folder, n_jobs=1, report=lambda what, *_: told.append(what))

    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert [what for what in told if "trained" in what] == ["default--high window 1 trained"]
    assert all(file.stat().st_mtime_ns == then for file, then in files.items() if file != lost)


def test_a_file_that_is_cut_off_is_named(sweep, finished, tmp_path):
    folder, _, _ = finished
    file = Workplace(folder).fit_file("default--low", 0)
    whole = file.read_bytes()
    file.write_bytes(whole[:500])
    with pytest.raises(SettingsError, match=r"window-000\.npz: cannot be read.*delete it"):
        run_sweep(sweep, folder, n_jobs=1)
    file.write_bytes(whole)


def test_a_folder_of_another_sweep_is_refused(finished):
    folder, _, _ = finished
    other = Sweep.of(DOCUMENT | {"costs": {"low": {"half_spread": 3}}})
    with pytest.raises(SettingsError, match="holds another sweep"):
        run_sweep(other, folder)


@pytest.mark.slow
def test_a_worker_that_dies_costs_no_more_than_what_it_was_at(sweep, finished, tmp_path):
    _, table, _ = finished
    place, killed, told = Workplace(tmp_path), [], []

    def report(what, done, total, rows):
        told.append(what)
        if done == 1 and not killed:
            (cell, number) = next(
                (c.name, n) for c in sweep.cells for n in (0, 1) if place.fit_file(c.name, n).exists()
            )
            killed.append(int(place.worker_of(cell, number).split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)

    survived = run_sweep(sweep, tmp_path, n_jobs=2, report=report)

    pd.testing.assert_frame_equal(survived, table, check_exact=True)
    assert killed
    assert any("given out again (1 of 3 times)" in what for what in told)


def test_workers_that_keep_dying_end_the_sweep_with_what_is_finished(sweep, finished, tmp_path, monkeypatch):
    def dying(*task):
        raise WorkerError("a process died: out of memory")

    monkeypatch.setattr("backtest.sweep.run._train", dying)
    with pytest.raises(WorkerError, match=r"out of memory.*3\. time.*4 of 4 windows to train"):
        run_sweep(sweep, tmp_path, n_jobs=1, restarts=2)


def test_an_error_in_a_cell_names_it(tmp_path):
    document = DOCUMENT | {"costs": {"low": {"half_spread": 2, "factors": 3}}}
    place = Workplace.open(tmp_path, Sweep.of(document))
    with pytest.raises(IndexError):
        _train(place, "default--low", 99)
    short = DOCUMENT["run"] | {"walk_forward": {"train": 5000, "validation": 10, "test": 10}}
    with pytest.raises(SettingsError, match="history ends"):
        run_sweep(Sweep.of({"run": short}), tmp_path / "short")


def test_best_so_far_is_judged_on_validation_within_each_cost_level(finished):
    _, table, _ = finished
    best = best_so_far(table)
    assert len(best) == 4
    for _, level in best.groupby("cost"):
        assert level["validation_utility"].is_monotonic_decreasing
    first = table[(table["cost"] == "high") & (table["objective"] == "squared")]
    row = best[(best["cost"] == "high") & (best["objective"] == "squared")].iloc[0]
    assert row["net"] == pytest.approx(first["net"].mean())
    assert np.isfinite(best["validation_utility"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": {}}, "unknown keys speed: a sweep has the tables run, models, costs"),
        ({"models": {"big net": {}}}, r"models\.big net: a name is made of"),
        ({"models": {"linear": 3}}, "linear must be a table"),
        ({"models": {"linear": {"hiden": []}}}, r"models\.linear with costs\.low: training.*hiden"),
        ({"costs": {"low": {"spread": 1}}}, r"models\.default with costs\.low: costs\.spread"),
        ({"run": DOCUMENT["run"] | {"objectives": ["sqared"]}}, "unknown objective 'sqared'"),
        ({"run": {"frequency": "M"}}, "give prices, dataset or market"),
    ],
)
def test_what_is_not_understood_is_named(change, message):
    with pytest.raises(SettingsError, match=message):
        Sweep.of(DOCUMENT | change)


def test_a_file_is_read_as_toml(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text('[run]\ndataset = "sp500-20"\n[models.linear]\nhidden = []\n[models.net]\nhidden = [8]\n')
    assert [cell.name for cell in read_sweep(file).cells] == ["linear--default", "net--default"]
    file.write_text("[run\n")
    with pytest.raises(SettingsError, match=r"sweep\.toml: cannot be read as TOML"):
        read_sweep(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_sweep(tmp_path / "none.toml")


@pytest.mark.parametrize("engine", ["spark://x", "ray", "dask://", "ray://"])
def test_an_unknown_engine_is_refused(engine, sweep, finished):
    folder, _, _ = finished
    with pytest.raises(SettingsError, match=r'engine is .*give "local"'):
        run_sweep(sweep, folder, engine=engine)
