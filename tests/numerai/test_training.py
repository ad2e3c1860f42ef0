"""Era-wise training: what it learns, from what, and that replicas and passes do not depend on their company."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.errors import DataError, SettingsError
from backtest.numerai import EraCosts, EraFile, EraProblem, EraTraining, generate_files, split_eras, train_eras
from backtest.numerai.evaluation import score_eras

FOUR = ("squared", "whitened", "aligned", "misaligned")
SMALL = EraTraining(hidden=(4,), epochs=2)
TRAIN, SELECTION = range(1, 10), range(14, 18)


def problem_of(path):
    return EraProblem(EraFile.open(path), EraCosts(), np.arange(42))


def parameters(models, objective):
    return [part.clone() for part in models.of(objective).parameters]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def four(generated):
    return train_eras(problem_of(generated.train), train=TRAIN, selection=SELECTION, objectives=FOUR, settings=SMALL)


def test_an_objective_trains_the_same_alone_and_in_company(generated, four):
    alone = train_eras(
        problem_of(generated.train), train=TRAIN, selection=SELECTION, objectives=["aligned"], settings=SMALL
    )

    for found, expected in zip(parameters(four, "aligned"), parameters(alone, "aligned"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_same_call_gives_the_same_models(generated, four):
    again = train_eras(problem_of(generated.train), train=TRAIN, selection=SELECTION, objectives=FOUR, settings=SMALL)

    assert all(same(parameters(four, name), parameters(again, name)) for name in FOUR)


def test_eras_that_are_purged_or_reported_change_nothing(generated, four, tmp_path):
    data = pd.read_parquet(generated.train)
    used = {f"{era:04d}" for era in (*TRAIN, *SELECTION)}
    outside = ~data["era"].isin(used)
    data.loc[outside, "target"] = 1 - data.loc[outside, "target"]
    data.loc[outside, data.columns[2:-1]] = 4 - data.loc[outside, data.columns[2:-1]]
    data.to_parquet(tmp_path / "garbled.parquet", row_group_size=len(data))

    garbled = train_eras(
        problem_of(tmp_path / "garbled.parquet"), train=TRAIN, selection=SELECTION, objectives=FOUR, settings=SMALL
    )

    assert outside.any()
    assert all(same(parameters(four, name), parameters(garbled, name)) for name in FOUR)


def test_objectives_become_different_models_from_one_start(four):
    weights = [parameters(four, name)[0] for name in FOUR]

    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    assert bool((four.epoch >= 1).all())


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_every_objective_but_the_ablation_learns_a_strong_signal(tmp_path, monkeypatch, hidden):
    from backtest.numerai import generator

    monkeypatch.setattr(generator, "SIGNAL", 0.6)
    made = generate_files(tmp_path, rows=9000, features=60, eras=30, seed=1, validation=0.3, live=False)
    problem = problem_of(made.train)
    train, selection = split_eras(problem.file.eras, selection=0.2, purge=1)
    settings = EraTraining(hidden=hidden, epochs=4, learning_rate=0.01)

    models = train_eras(problem, train=train, selection=selection, objectives=FOUR, settings=settings)
    table = score_eras(
        models, problem_of(made.validation), problem_of(made.validation).file.eras, neutral=np.arange(5), lags=1
    )

    assert all(table.statistics("CORR20v2", name).mean > 0.3 for name in FOUR)
    utility = {name: table.statistics("utility", name).mean for name in FOUR}
    assert utility["aligned"] > 0
    assert utility["squared"] > 0


def test_training_on_some_rows_of_each_era_draws_others_in_each_pass(generated, four):
    fewer = EraTraining(hidden=(4,), epochs=2, rows_per_era=60)

    found = train_eras(
        problem_of(generated.train), train=TRAIN, selection=SELECTION, objectives=["squared"], settings=fewer
    )

    assert not same(parameters(found, "squared"), parameters(four, "squared"))


def test_eras_without_targets_are_passed_over_and_all_without_is_an_error(generated, tmp_path):
    data = pd.read_parquet(generated.train)
    data.loc[data["era"] <= "0009", "target"] = np.nan
    data.to_parquet(tmp_path / "late.parquet")

    with pytest.raises(DataError, match=r"late.parquet: none of the eras to train on"):
        train_eras(
            problem_of(tmp_path / "late.parquet"), train=TRAIN, selection=SELECTION, objectives=FOUR, settings=SMALL
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": range(1, 10), "selection": range(9, 12)}, "different eras"),
        ({"train": [], "selection": [3]}, "at least one"),
        ({"objectives": ["squared", "squared"]}, "must be different"),
    ],
)
def test_impossible_trainings_are_refused(generated, options, message):
    given = {"train": TRAIN, "selection": SELECTION, "objectives": FOUR, "settings": SMALL, **options}

    with pytest.raises(SettingsError, match=message):
        train_eras(problem_of(generated.train), **given)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"warm_up": -1}, {"learning_rate": 0.0}, {"rows_per_era": 5}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(SettingsError, match=next(iter(setting))):
        EraTraining(**setting)
