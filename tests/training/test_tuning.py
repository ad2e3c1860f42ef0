"""Tuning: equal budgets, validation alone, nothing hidden, and the same answer every time."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from backtest.configuration import parse_settings
from backtest.errors import SettingsError, SolverError
from backtest.training import (
    BoostingSettings,
    Samples,
    TrainingSettings,
    TuningSettings,
    fit_objectives,
    tune_objectives,
)
from backtest.training.choices import Choices
from backtest.training.gradient import GradientLearner
from backtest.training.learners import WindowData
from backtest.training.search_space import SearchSpace, check_space, default_space
from backtest.training.tuning import NEVER_PRUNED, PATH_ONLY, _Window

TRAIN, VALIDATION, TEST = np.arange(0, 24), np.arange(28, 40), np.arange(44, 56)
N_PERIODS = 60
SPACE = {
    "ridge": [[0.0], [0.1], [10.0]],
    "learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
    "chunk_length": [4, 8],
}
LINEAR = TrainingSettings(
    hidden=(),
    path_epochs=1,
    chunk_length=4,
    batch_chunks=3,
    learning_rate=1e-2,
    holding_periods=(1.0, 3.0),
    shrinkage=(0.5, 1.0),
    ridge=(0.0,),
)

NETWORK = replace(LINEAR, hidden=(3,), epochs=2, ridge=TrainingSettings().ridge)


def tuned(toolbox, *, panel=None, objectives=("squared", "aligned"), seeds=(0, 1), settings=LINEAR, **tuning):
    samples = Samples.of(toolbox.panel(N_PERIODS)[0] if panel is None else panel)
    fits = tune_objectives(
        samples,
        toolbox.solver(),
        objectives,
        train=TRAIN,
        validation=VALIDATION,
        seeds=seeds,
        settings=settings,
        tuning=TuningSettings(**({"trials": 3, "space": SPACE, "startup": 2} | tuning)),
    )
    return samples, fits


def chosen_value(fit):
    return fit.validation_utility.mean(axis=1).max()


@pytest.fixture(scope="module")
def many(toolbox_of_module):
    """Eight trials of two objectives with two seeds."""
    return tuned(toolbox_of_module, trials=8, startup=6)


def test_every_objective_has_the_same_budget_and_is_offered_the_same_at_the_start(many):
    _, fits = many
    records = {name: fit.record()["tuning"] for name, fit in fits.items()}

    assert {record["trials"] for record in records.values()} == {8}
    offered = {name: [trial["settings"] for trial in record["tried"]] for name, record in records.items()}
    assert all(len(each) == 8 for each in offered.values())
    assert offered["squared"][:6] == offered["aligned"][:6]
    assert len({repr(each) for each in offered["aligned"]}) > 5


@pytest.mark.parametrize(("settings", "seeds"), [(LINEAR, (0, 1)), (NETWORK, (0, 1, 2, 3)), (LINEAR, (5,))])
def test_the_first_trial_is_the_settings_as_they_stand_to_the_last_bit(toolbox, settings, seeds):
    objectives = ("squared", "aligned")
    space = {name: SPACE[name] for name in ("learning_rate", "chunk_length")}
    samples, fits = tuned(toolbox, objectives=objectives, settings=settings, seeds=seeds, trials=1, space=space)
    plain = fit_objectives(
        samples, toolbox.solver(), objectives, train=TRAIN, validation=VALIDATION, seeds=seeds, settings=settings
    )

    for name in objectives:
        assert np.array_equal(fits[name].validation_utility, plain[name].validation_utility)
        assert np.array_equal(fits[name].forecast(samples, TEST), plain[name].forecast(samples, TEST))
        assert fits[name].record()["n_tried"] == plain[name].record()["n_tried"] == 2 * 2 * len(seeds)
        first = fits[name].record()["tuning"]["tried"][0]
        assert first == {
            "state": "complete",
            "value": chosen_value(plain[name]),
            "settings": {"learning_rate": 1e-2, "chunk_length": 4},
        }


def test_the_best_trial_is_returned_and_is_never_worse_than_the_first(many):
    _, fits = many
    for fit in fits.values():
        record = fit.record()["tuning"]
        values = [trial["value"] for trial in record["tried"] if trial["state"] == "complete"]

        assert chosen_value(fit) == max(values) >= record["tried"][0]["value"]
        best = record["tried"][record["chosen"]]
        assert (best["value"], best["settings"]) == (max(values), record["settings"])


def test_what_is_returned_is_the_fit_under_the_settings_that_are_named(many, toolbox_of_module):
    samples, fits = many
    for name, fit in fits.items():
        settings = replace(LINEAR, **fit.record()["tuning"]["settings"])
        again = fit_objectives(
            samples,
            toolbox_of_module.solver(),
            [name],
            train=TRAIN,
            validation=VALIDATION,
            seeds=(0, 1),
            settings=settings,
        )[name]

        np.testing.assert_allclose(fit.forecast(samples, TEST), again.forecast(samples, TEST), rtol=1e-4, atol=1e-9)
        assert fit.warm_start == again.warm_start


def test_pruned_trials_count_against_the_budget_and_in_the_number_tried(many):
    _, fits = many
    pruned = 0
    for fit in fits.values():
        record = fit.record()
        states = [trial["state"] for trial in record["tuning"]["tried"]]

        assert set(states[:NEVER_PRUNED]) == {"complete"}
        assert states.count("pruned") == record["tuning"]["pruned"]
        pruned += states.count("pruned")
        # Two holding periods times two shrinkages; a trial that is given up has been judged with one of two seeds.
        assert record["n_tried"] == 4 * (2 * states.count("complete") + states.count("pruned"))
    assert pruned > 0


def test_a_finer_search_of_the_scale_counts_too(toolbox):
    _, fits = tuned(toolbox, objectives=("squared",), settings=replace(LINEAR, sizing="search"), trials=2)

    fit = fits["squared"]
    assert fit.record()["n_tried"] == 2 * fit.validation_utility.size > 2 * 4 * 2
    assert fit.record()["tuning"]["tried"][fit.record()["tuning"]["chosen"]]["value"] == chosen_value(fit)


def test_without_pruning_or_with_one_seed_every_trial_is_finished(toolbox):
    for options in ({"pruning": False}, {"seeds": (3,)}):
        _, fits = tuned(toolbox, trials=7, objectives=("squared",), **options)
        record = fits["squared"].record()["tuning"]

        assert record["pruning"] is False
        assert {trial["state"] for trial in record["tried"]} == {"complete"}


def test_tuning_twice_gives_the_same_bits(many, toolbox_of_module):
    samples, first = many
    _, second = tuned(toolbox_of_module, objectives=("aligned", "squared"), trials=8, startup=6)

    assert list(second) == ["aligned", "squared"]
    for name, fit in first.items():  # an objective's trials do not depend on its company either
        assert repr(fit.record()) == repr(second[name].record())
        assert np.array_equal(fit.forecast(samples, TEST), second[name].forecast(samples, TEST))


def test_another_seed_offers_other_settings(toolbox):
    _, one = tuned(toolbox, objectives=("squared",))
    _, other = tuned(toolbox, objectives=("squared",), seed=1)

    tried = [[trial["settings"] for trial in fits["squared"].record()["tuning"]["tried"]] for fits in (one, other)]
    assert tried[0][0] == tried[1][0]
    assert tried[0][1:] != tried[1][1:]


def test_nothing_after_the_validation_targets_moves_what_is_chosen(toolbox):
    panel, _ = toolbox.panel(N_PERIODS)
    garbled = panel.garbled_after(int(VALIDATION[-1]) + 2)
    assert not np.array_equal(panel.features[TEST], garbled.features[TEST])

    _, true = tuned(toolbox, panel=panel)
    _, other = tuned(toolbox, panel=garbled)

    for name, fit in true.items():
        assert repr(fit.record()) == repr(other[name].record())
        for mine, its in zip(fit.network.parameters, other[name].network.parameters, strict=True):
            assert torch.equal(mine, its)


@pytest.mark.slow
def test_a_terrible_learning_rate_is_found_and_mended(toolbox):
    panel, _ = toolbox.panel(N_PERIODS, signal=0.03)
    terrible = replace(
        toolbox.small,
        learning_rate=1e-9,
        epochs=6,
        batch_rows=4,
        path_epochs=1,
        holding_periods=(2.0,),
        shrinkage=(1.0,),
    )
    space = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}

    _, fits = tuned(toolbox, panel=panel, settings=terrible, objectives=("squared", "aligned"), space=space, trials=4)

    for fit in fits.values():
        record = fit.record()["tuning"]
        assert record["tried"][0]["settings"] == {"learning_rate": 1e-9}  # outside the space, and tried all the same
        assert record["chosen"] > 0
        assert 1e-3 <= record["settings"]["learning_rate"] <= 1e-1
        assert chosen_value(fit) > record["tried"][0]["value"] + 1e-4


def learner_under(toolbox, settings, seeds=(0, 1)):
    samples = Samples.of(toolbox.panel(N_PERIODS)[0])
    return GradientLearner(WindowData(samples, toolbox.solver(), TRAIN, VALIDATION, seeds, settings))


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_trial_is_given_up_for_what_its_first_books_are_worth(toolbox, ensemble):
    """The median is of the same books in all trials, whether they are trained alone or with the others."""
    settings = replace(toolbox.small, epochs=3, path_epochs=1, ensemble=ensemble)
    window = _Window(replace(learner_under(toolbox, settings).data, seeds=(4, 0, 9, 2, 1, 7, 8, 3)))
    first, everyone = window.fit("aligned", settings, first=True), window.fit("aligned", settings)

    assert first.validation_utility.shape[1] == window.n_first_books == 2
    assert len(first.epoch) == 2 * ensemble
    assert window.first_value(first) == window.first_value(everyone)
    assert window.first_value(everyone) != chosen_value(everyone)


def test_settings_of_the_path_alone_do_not_move_a_fit_on_error(toolbox):
    other = {
        "path_epochs": 5,
        "chunk_length": 7,
        "batch_chunks": 3,
        "smoothing": 0.01,
        "smoothing_start": 4.0,
        "smoothing_form": "sqrt",
        "path": False,
        "through_time": True,
    }
    assert set(other) == set(PATH_ONLY)
    base = replace(toolbox.small, epochs=2)
    for name in ("squared", "whitened", "rank_correlation"):
        true = learner_under(toolbox, base).fit_error(name)
        for key, value in other.items():
            settings = replace(base, **{key: value})
            same = learner_under(toolbox, settings).fit_error(name)
            for mine, its in zip(true.model.parameters, same.model.parameters, strict=True):
                assert torch.equal(mine, its)


def test_a_fit_on_error_is_trained_once_for_all_objectives(toolbox, monkeypatch):
    trained = []
    original = GradientLearner.fit_error

    def counted(self, name):
        trained.append((name, self.data.seeds, self.data.settings.ridge))
        return original(self, name)

    monkeypatch.setattr(GradientLearner, "fit_error", counted)
    tuned(toolbox, objectives=("squared", "aligned", "spo_plus"), space={"ridge": [[0.0], [0.1]]}, trials=4, startup=9)

    assert sorted(trained) == sorted((name, (0, 1), (r,)) for name in ("squared", "whitened") for r in (0.0, 0.1))


def test_a_trial_that_cannot_be_solved_fails_with_its_settings(toolbox, monkeypatch):
    original = GradientLearner.fit_error

    def failing(self, name):
        if self.data.settings.ridge == (7.0,):
            raise SolverError("row 3 could not be solved")
        return original(self, name)

    monkeypatch.setattr(GradientLearner, "fit_error", failing)
    with pytest.raises(SolverError, match=r"tuning squared, trial 2 of 2 with .*7\.0.*: row 3 could not be solved"):
        tuned(toolbox, objectives=("squared",), space={"ridge": [[7.0]]}, trials=2)


def test_a_utility_that_is_not_finite_is_counted_as_failed(toolbox, monkeypatch):
    original = Choices.utilities

    def broken(self, models, *, by_period):
        utilities = original(self, models, by_period=by_period)
        if self.settings.ridge != (0.0,):
            utilities = {name: np.full_like(utility, np.nan) for name, utility in utilities.items()}
        return utilities

    monkeypatch.setattr(Choices, "utilities", broken)
    _, fits = tuned(toolbox, objectives=("squared",), space={"ridge": [[7.0]]}, trials=3)
    record = fits["squared"].record()

    assert [trial["state"] for trial in record["tuning"]["tried"]] == ["complete", "failed", "failed"]
    assert record["tuning"]["failed"] == 2
    assert record["tuning"]["chosen"] == 0
    assert record["n_tried"] == 3 * 4 * 2

    with pytest.raises(SolverError, match=r"tuning squared: no trial has a finite utility on validation.*3\.0"):
        tuned(toolbox, objectives=("squared",), settings=replace(LINEAR, ridge=(3.0,)), space={"ridge": [[7.0]]})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least one field"),
        ({"learning_rates": [0.1]}, "unknown field 'learning_rates' in space: choose from hidden, learning_rate"),
        ({"learning_rate": []}, "space.learning_rate has no values"),
        ({"learning_rate": 0.1}, "space.learning_rate must be a list of values or a table"),
        ({"learning_rate": ["fast"]}, "space.learning_rate has 'fast'"),
        ({"learning_rate": {"low": 0.1, "high": 0.1}}, "low must be below high, got 0.1 and 0.1"),
        ({"learning_rate": {"low": 0.1}}, "takes low, high and log"),
        ({"learning_rate": {"low": 0.1, "high": 1, "step": 0.1}}, "takes low, high and log"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "low must be above 0 for log"),
        ({"learning_rate": {"low": float("nan"), "high": 1}}, "low and high must be numbers, got nan"),
        ({"chunk_length": {"low": 1.5, "high": 3}}, "must be whole numbers, got 1.5"),
        ({"hidden": {"low": 1, "high": 3}}, "space.hidden is no number"),
        ({"hidden": [[8], [8]]}, "values of space.hidden must be different"),
        ({"ensemble": [1, 2]}, "ensemble is how many models a book has"),
        ({"shrinkage": [[0.1], [1.0]]}, "shrinkage is chosen on validation in every fit"),
        ({"model": [lambda n: None]}, "space.model takes names of models"),
    ],
)
def test_a_space_that_is_none_is_refused_by_name(space, message):
    with pytest.raises(SettingsError) as caught:
        TuningSettings(space=space)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"trials": 0}, "trials"), ({"startup": 0}, "startup"), ({"seed": -1}, "seed"), ({"seed": 2**32}, "seed")],
)
def test_a_budget_that_is_none_is_refused_by_name(settings, message):
    with pytest.raises(SettingsError, match=f"tuning: {message} must be"):
        TuningSettings(**settings)


def test_a_value_that_training_cannot_use_is_refused_before_anything_is_trained():
    with pytest.raises(SettingsError, match=r"space.path_epochs has 0: training: path_epochs must be above 0"):
        TuningSettings(space={"path_epochs": {"low": 0, "high": 3}}).space_for(LINEAR)

    # Allowed beside each other, though the history is not beside the model that stands.
    space = TuningSettings(space={"model": ["gru"], "history": [6], "hidden": [[8]]}).space_for(NETWORK)
    assert space.settings({"model": 0, "history": 0, "hidden": 0}).rows_of_history == 6


def test_a_combination_that_cannot_be_is_named_by_the_trial(toolbox):
    space = {"model": ["mlp"], "history": [6]}
    with pytest.raises(SettingsError, match=r"tuning squared, trial 2 of 2 with .*history.*sees one row"):
        tuned(toolbox, objectives=("squared",), space=space, trials=2)


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(),
        TrainingSettings(model="linear"),
        TrainingSettings(hidden=(5,)),
        TrainingSettings(model="gru", hidden=(4,)),
        TrainingSettings(model="boosted_trees"),
        TrainingSettings(model="boosted_trees", boosting=BoostingSettings(trees=7)),
    ],
)
def test_the_default_space_holds_the_settings_that_stand(settings):
    space = SearchSpace(settings, default_space(settings))
    place = space.place_of_base()

    assert place is not None
    found = space.settings(place)
    assert found.step_size == settings.step_size
    assert replace(found, learning_rate=None) == settings


def test_trees_and_forests_are_tuned_by_their_own_settings(toolbox):
    pytest.importorskip("lightgbm", reason="boosted trees need lightgbm")
    small = toolbox.small_trees
    growths = [asdict(small.boosting), asdict(replace(small.boosting, leaves=2))]
    _, fits = tuned(toolbox, settings=small, seeds=(0,), trials=2, space={"boosting": growths})

    for fit in fits.values():
        tried = [trial["settings"]["boosting"]["leaves"] for trial in fit.record()["tuning"]["tried"]]
        assert tried[0] == 4
        assert len(tried) == 2

    forest, options = toolbox.small_forest, {"objectives": ("squared",), "seeds": (0,), "trials": 3}
    with pytest.raises(SettingsError, match=r"no space is known for 'sklearn\.ensemble\.ExtraTrees"):
        tuned(toolbox, settings=forest, space=None, **options)
    sizes = [{"n_estimators": 2, "min_samples_leaf": 9}, {"n_estimators": 3, "min_samples_leaf": 9}]
    _, fits = tuned(toolbox, settings=forest, space={"regressor": sizes}, **options)
    tried = [trial["settings"]["regressor"] for trial in fits["squared"].record()["tuning"]["tried"]]
    assert tried[0] == forest.regressor
    assert all(each in sizes for each in tried[1:])


def test_numbers_and_lists_take_the_type_of_their_field():
    space = check_space({"chunk_length": {"low": 4.0, "high": 8}, "smoothing": {"low": 0, "high": 1}, "hidden": [[4]]})

    assert repr(space["chunk_length"]) == "{'low': 4, 'high': 8, 'log': False}"
    assert repr(space["smoothing"]) == "{'low': 0.0, 'high': 1.0, 'log': False}"
    assert space["hidden"] == ((4,),)


def test_settings_survive_a_file():
    tuning = {
        "trials": 5,
        "seed": 3,
        "space": {**SPACE, "hidden": [[], [8, 8]], "chunk_length": {"low": 4, "high": 20}},
    }
    settings = parse_settings({"dataset": "sp500-20", "tuning": tuning})

    assert settings.tuning == TuningSettings(**tuning)
    again = parse_settings(type(settings).model_validate_json(settings.model_dump_json()).model_dump(mode="json"))
    assert again == settings
    assert parse_settings({"dataset": "sp500-20"}).tuning is None
    with pytest.raises(SettingsError, match=r"tuning.*trails"):
        parse_settings({"dataset": "sp500-20", "tuning": {"trails": 5}})


def test_without_optuna_a_message_says_what_to_install(toolbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(SettingsError, match=r'tuning needs Optuna: pip install "aligned-backtest\[tuning\]"'):
        tuned(toolbox)


def test_optuna_is_quiet_and_left_as_it_was(toolbox, capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.INFO)
    try:
        tuned(toolbox, objectives=("squared",))
        assert optuna.logging.get_verbosity() == logging.INFO
    finally:
        optuna.logging.set_verbosity(before)

    assert "Trial" not in "".join(capfd.readouterr())
