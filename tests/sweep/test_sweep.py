"""Sweeps on one machine: what a cell says, what is kept, what is refused."""

from __future__ import annotations

import json
import os
import signal

import pandas as pd
import pytest
from small_sweep import DOCUMENT
from typer.testing import CliRunner

from backtest.cli import app
from backtest.errors import SettingsError, WorkerError
from backtest.sweep import Sweep, judge, read_sweep, run_sweep
from backtest.sweep.run import _train
from backtest.sweep.workplace import Workplace


def test_several_processes_train_and_trade_and_make_the_same_bytes(sweep, finished, tmp_path, monkeypatch):
    _, table, _ = finished
    monkeypatch.setattr("backtest.sweep.run._trade", lambda *_: pytest.fail("traded here, and not by a worker"))
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


def test_what_is_finished_is_not_traded_again(sweep, finished, monkeypatch):
    folder, table, _ = finished

    def traded(*_, **__):
        raise AssertionError("a finished cell was traded again")

    monkeypatch.setattr("backtest.analysis.comparison_plan.ComparisonPlan.finish", traded)
    pd.testing.assert_frame_equal(run_sweep(sweep, folder, n_jobs=1), table, check_exact=True)
    Workplace(folder).series_file("default--low").rename(folder / "away")
    with pytest.raises(AssertionError, match="traded again"):
        run_sweep(sweep, folder, n_jobs=1)
    (folder / "away").rename(Workplace(folder).series_file("default--low"))


def test_the_judgement_has_the_differences_of_the_comparison(finished, compared):
    folder, _, _ = finished
    found = {(each.cost, each.difference.quantity): each for each in judge(folder).differences}
    for theirs in compared.differences:
        ours = found["high", theirs.quantity]
        assert ours.difference.interval == theirs.interval
        assert ours.difference.power == theirs.power
        assert ours.difference.sentence == theirs.sentence
        assert ours.by_seed == tuple(
            (compared.paired("aligned", "squared", theirs.quantity).mean(axis=1) * 12).tolist()
        )
    assert len(found) == 4


def test_an_interrupted_sweep_is_judged_on_its_finished_cells(sweep, finished, tmp_path):
    folder, _, _ = finished
    place, whole = Workplace(folder), judge(folder)
    assert "; 2 of 2 cells, 16 models tried, " in whole.verdict
    place.rows_file("default--low").rename(tmp_path / "away")
    part = judge(folder)
    (tmp_path / "away").rename(place.rows_file("default--low"))
    assert "; 1 of 2 cells, 8 models tried, " in part.verdict
    assert [level.cost for level in part.levels] == ["high"]
    assert part.levels[0].overfitting.sentence == whole.levels[0].overfitting.sentence

    Workplace.open(tmp_path / "new", sweep)
    with pytest.raises(SettingsError, match="0 of 2 cells are finished: run the sweep first"):
        judge(tmp_path / "new")
    with pytest.raises(SettingsError, match="is not the folder of a sweep"):
        judge(tmp_path / "none")
    place.series_file("default--low").rename(tmp_path / "away")
    place.series_file("default--low").write_bytes(b"PAR1")
    with pytest.raises(SettingsError, match=r"low\.parquet: cannot be read.*delete it"):
        judge(folder)
    (tmp_path / "away").rename(place.series_file("default--low"))


def test_the_command_prints_table_and_judgement_and_writes_both(finished, tmp_path):
    folder, table, _ = finished
    file = tmp_path / "sweep.toml"
    file.write_text(
        """
        [run]
        dataset = "sp500-20"
        frequency = "M"
        objectives = ["squared", "aligned"]
        seeds = 2
        max_windows = 2
        training = {epochs = 1, path_epochs = 1, hidden = [], holding_periods = [2.0], shrinkage = [0.5, 1.0]}
        [costs]
        low = {half_spread = 2}
        high = {half_spread = 20}
        """
    )
    command = ["sweep", str(file), "--out", str(folder), "--jobs", "1"]
    done = CliRunner().invoke(app, [*command, "--json"])
    document = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["net"] for row in document["table"]] == table["net"].tolist()
    assert CliRunner().invoke(app, [*command, "--quiet"]).output == ""
    assert document["judgement"] == json.loads((folder / "judgement.json").read_text()) == judge(folder).to_dict()
    printed = CliRunner().invoke(app, command).stdout
    assert judge(folder).verdict in printed
    assert printed.index("Best on validation first") < printed.index("difference") < printed.index("Table: ")


def test_a_file_that_is_cut_off_is_named(sweep, finished, tmp_path):
    folder, _, _ = finished
    file = Workplace(folder).fit_file("default--low", 0)
    whole = file.read_bytes()
    Workplace(folder).rows_file("default--low").unlink()
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": {}}, "unknown keys speed: a sweep has the tables run, models, costs"),
        ({"models": {"big net": {}}}, r"models\.big net: a name is made of"),
        ({"models": {"linear": 3}}, "linear must be a table"),
        ({"models": {"linear": {"hiden": []}}}, r"models\.linear with costs\.low: training.*hiden"),
        ({"costs": {"low": {"spread": 1}}}, r"models\.default with costs\.low: costs\.spread"),
        ({"run": DOCUMENT["run"] | {"objectives": ["sqared"]}}, "unknown objective 'sqared'"),
        ({"models": {"trees": {"objectives": ["alinged"]}}}, r"models\.trees with costs\.low.*'alinged'"),
        ({"models": {"trees": {"seeds": 0}}}, r"models\.trees with costs\.low: seeds"),
        ({"models": {"trees": {"level": 0.9}}}, r"models\.trees with costs\.low: training.*level"),
        ({"run": DOCUMENT["run"] | {"training": {"epoch": 1}}}, r"models\.default with costs\.low: training.*epoch"),
        ({"models": {"trees": {"model": "boosted_trees", "hidden": [8]}}}, r"models\.trees with costs\.low.*hidden"),
        ({"run": DOCUMENT["run"] | {"combinatorial": {"folds": 4}}}, r"run\.combinatorial: a sweep walks forward"),
        ({"run": {"frequency": "M"}}, "give prices, dataset or market"),
    ],
)
def test_what_is_not_understood_is_named(change, message):
    with pytest.raises(SettingsError, match=message):
        Sweep.of(DOCUMENT | change)


def test_a_model_may_have_objectives_and_seeds_of_its_own():
    models = {"few": {"objectives": ["squared"], "seeds": 1, "epochs": 3}, "all": {}}
    few, _, rest, _ = Sweep.of(DOCUMENT | {"models": models}).cells
    assert (few.settings.objectives, few.settings.seeds, few.settings.training.epochs) == (("squared",), 1, 3)
    assert few.settings.training.path_epochs == 1
    assert (rest.settings.objectives, rest.settings.seeds) == (("squared", "aligned"), 2)


def test_what_all_models_share_holds_where_it_is_read():
    trees = {"model": "boosted_trees", "objectives": ["squared", "aligned"]}
    first, _, last, _ = Sweep.of(DOCUMENT | {"models": {"trees": trees, "linear": {}}}).cells
    assert first.settings.training.model == "boosted_trees"
    assert first.settings.training.shrinkage == last.settings.training.shrinkage == (0.5, 1.0)
    assert (first.settings.training.hidden, last.settings.training.hidden) == ((32, 32), ())
    assert last.settings.training.epochs == 1


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
