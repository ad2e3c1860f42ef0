"""Runs side by side: read from their folders, named apart, and honest about what differs."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backtest.cli import app
from backtest.errors import DataError, SettingsError
from backtest.report.runs_page import read_runs, runs_html, settings_that_differ

NUMBERS = {
    "gross": 0.05,
    "costs": {"trading_cost": 0.02},
    "net": 0.03,
    "utility": 0.01,
    "sharpe": 0.4,
    "deflated_sharpe": None,
    "max_drawdown": -0.2,
    "turnover": 12.0,
    "leverage": 1.5,
    "information_coefficient": 0.01,
}


@pytest.fixture
def make_run(tmp_path):
    def make(name, *, first="2001-01-05", verdict="no difference shown", objectives=("aligned",), **settings):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        document = {
            "verdict": verdict,
            "objectives": dict.fromkeys(objectives, NUMBERS),
            "settings": settings,
            "sample": {"first": first, "last": "2022-12-30"},
        }
        (folder / "comparison.json").write_text(json.dumps(document))
        return folder

    return make


def test_only_settings_that_differ_are_listed_and_one_not_set_is_a_dash(make_run):
    runs = read_runs([make_run("a", lag=1, costs={"l1": 1.0}), make_run("b", lag=1, costs={"l1": 2.0, "borrow": 0.5})])

    assert settings_that_differ(runs) == {"costs.l1": ["1.0", "2.0"], "costs.borrow": ["–", "0.5"]}


def test_runs_of_one_folder_name_are_told_apart_by_their_path(make_run):
    runs = read_runs([make_run("monday/first"), make_run("tuesday/first") / "comparison.json"])

    assert [run.name for run in runs] == ["monday/first", "tuesday/first"]


def test_the_page_has_verdicts_and_a_row_for_each_objective_of_each_run(make_run):
    page = runs_html(read_runs([make_run("a", objectives=("aligned", "squared"), verdict="a > b"), make_run("b")]))

    assert "a &gt; b." in page
    assert page.count('data-value="3.0">3.00</td>') == 3
    assert "All from 2001-01-05 to 2022-12-30." in page


def test_runs_of_different_dates_are_called_so(make_run):
    page = runs_html(read_runs([make_run("a"), make_run("b", first="2010-01-08")]))

    assert "not of one market" in page


def test_names_and_settings_cannot_become_markup(make_run):
    page = runs_html(read_runs([make_run("a", data="<img src=x>"), make_run("b<i>", objectives=("<b>x",))]))

    assert not {"<img", "b<i>", "<b>x"} & {mark for mark in ("<img", "b<i>", "<b>x") if mark in page}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "not there"), ("{", "not a JSON document"), ("[]", "has no objectives"), ('{"verdict": 1}', "has no obj")],
)
def test_what_is_no_run_is_refused_by_its_path(tmp_path, content, words):
    if content is not None:
        (tmp_path / "comparison.json").write_text(content)

    with pytest.raises(DataError, match=rf"comparison\.json: {words}"):
        read_runs([tmp_path])


def test_a_run_given_twice_is_refused(make_run):
    folder = make_run("a")

    with pytest.raises(SettingsError, match="given twice"):
        read_runs([folder, folder])


def test_the_command_writes_the_page_and_prints_each_verdict(make_run, tmp_path):
    page = tmp_path / "out" / "both.html"

    done = CliRunner().invoke(app, ["report", str(make_run("a", lag=1)), str(make_run("b", lag=2)), "--out", str(page)])

    assert done.exit_code == 0, done.output
    assert "a: no difference shown\nb: no difference shown" in done.output
    assert "2 runs side by side" in page.read_text()


def test_the_command_prints_json_of_what_differs(make_run, tmp_path):
    runs = [str(make_run("a", lag=1)), str(make_run("b", lag=2))]

    done = CliRunner().invoke(app, ["report", *runs, "--json", "--out", str(tmp_path / "x.html")])

    document = json.loads(done.output)
    assert document["settings_that_differ"] == {"lag": ["1", "2"]}
    assert set(document["runs"]) == {"a", "b"}


def test_the_command_says_what_is_wrong_and_exits_with_2(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path / "none")])

    assert done.exit_code == 2
    assert "not there" in done.output
