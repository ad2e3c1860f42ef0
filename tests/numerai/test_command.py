"""`backtest numerai`, from files to a table, a submission and an upload."""

from __future__ import annotations

import json
import pickle

import pandas as pd
import pytest
from typer.testing import CliRunner

from backtest.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["numerai", *map(str, arguments)])


def given(generated, *more):
    files = ("--train", generated.train, "--validation", generated.validation)
    quick = ("--epochs", 1, "--hidden", "4", "--seeds", 1, "--objectives", "squared,aligned")
    return (*files, *quick, *more)


def test_files_become_a_table_a_submission_and_an_upload(generated, tmp_path):
    out, upload = tmp_path / "submission.csv", tmp_path / "predict.pkl"
    others = ("--meta-model", generated.meta_model, "--benchmarks", generated.benchmark_models)
    sets = ("--features-json", generated.features, "--feature-set", "medium")

    done = run(*given(generated, *others, *sets, "--live", generated.live, "--out", out, "--upload", upload))

    assert done.exit_code == 0, done.output
    assert (
        "trained on 7 eras 0001 to 0007, selected on 3 eras 0012 to 0014, reported 6 eras 0019 to 0024" in done.output
    )
    assert "trading costs cannot be measured" in done.output
    assert all(f"| {score} |" in done.output for score in ("CORR20v2", "MMC", "BMC", "FNC", "CWMM", "utility", "TC"))
    submission, live = pd.read_csv(out, index_col="id"), pd.read_parquet(generated.live)
    assert sorted(submission.index) == sorted(live.index)
    assert submission["prediction"].between(0, 1, inclusive="neither").all()
    predict = pickle.loads(upload.read_bytes())
    pd.testing.assert_frame_equal(predict(live, None).loc[submission.index], submission)


def test_the_same_command_prints_the_same(generated):
    first, again = (run(*given(generated, "--submit", "aligned")).stdout for _ in range(2))

    assert first == again != ""


def test_json_is_the_table_as_a_document_and_quiet_prints_nothing(generated):
    command = given(generated, "--submit", "aligned", "--json")
    document = json.loads(run(*command).stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    assert document["eras"] == list(range(19, 25))
    assert document["submitted"] == "aligned"
    assert document["scores"]["CORR20v2"].keys() == {"squared", "aligned"}
    assert document["differences"]["utility"]["aligned"]["n_eras"] == 6
    assert document["verdict"]
    assert run(*given(generated, "--quiet")).output == ""


def test_one_file_serves_for_both_parts_when_eras_are_named(generated):
    eras = ("--train-eras", "1:12", "--validation-eras", "15:18")

    done = run(*given(generated, *eras)[:2], "--validation", generated.train, *given(generated, *eras)[4:])

    assert (
        "trained on 4 eras 0001 to 0004, selected on 2 eras 0009 to 0010, reported 4 eras 0015 to 0018" in done.output
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target", "target_x_20"), "no column 'target_x_20': choose from 'target'"),
        (("--features", "x*"), "no column is like 'x*'"),
        (("--validation-eras", "1:3"), "no eras to use"),
        (("--validation-eras", "5-6"), "give the first and the last"),
        (("--out", "sub.csv"), "--live and --out go together"),
        (("--submit", "sharpe"), "choose from what is trained"),
        (("--ridge", "0"), "ridge must be above 0"),
        (("--feature-set", "small"), "give features_json too"),
    ],
)
def test_mistakes_are_one_message_and_an_exit_code(generated, more, message):
    done = run(*given(generated, *more))

    assert done.exit_code == 2
    assert message in done.output.replace("\n", "")
