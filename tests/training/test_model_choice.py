"""Which model settings ask for: what it can be trained on, what it reads, and that every one goes the same way."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from backtest.analysis import compare
from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.cli import app
from backtest.configuration import parse_settings, settings_with_presets
from backtest.costs import FactorRisk, LeverageLimit, TradingCost
from backtest.errors import SettingsError
from backtest.market import simulate_market
from backtest.solver import PositionSolver
from backtest.sweep import Sweep
from backtest.training import BoostingSettings, TrainingSettings, WalkForward, default_objectives, read_of
from strategies.network import Network

WINDOWS = WalkForward(train=60, validation=25, test=30)
FOREST = "sklearn.ensemble.ExtraTreesRegressor"


@pytest.fixture(scope="module")
def market():
    return simulate_market(6, 160, 3, seed=5, signal=4e-3, half_spread=5e-4)


def solver(market):
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    return PositionSolver(5.0 * risk + TradingCost(half_spread=5e-4), [LeverageLimit(4.0)])


def asked(market, training, objectives=None, **options):
    options = {"seeds": 2, "training": training, "walk_forward": WINDOWS, "n_jobs": 1} | options
    return compare(market, objectives, solver=solver(market), **options)


@pytest.mark.parametrize("kind", ["small_trees", "small_forest"])
def test_trees_and_forests_are_compared_on_what_they_take(market, toolbox, kind):
    settings = getattr(toolbox, kind)

    comparison = asked(market, settings)

    expected = ["squared", "whitened", "aligned"] if kind == "small_trees" else ["squared"]
    assert list(comparison.results) == expected == list(default_objectives(settings.model))
    for result in comparison.results.values():
        assert np.isfinite(result.net).all()
        assert np.abs(result.positions).sum() > 0
        assert not np.array_equal(*result.net)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["small_trees", "small_forest"])
def test_the_number_of_processes_changes_no_digit(market, toolbox, kind):
    alone, together = (asked(market, getattr(toolbox, kind), n_jobs=jobs) for jobs in (1, 2))

    assert json.dumps(alone.to_dict()) == json.dumps(together.to_dict())


def test_a_regressor_with_parameters_forecasts_what_scikit_learn_does_by_hand(market):
    from sklearn.linear_model import Ridge

    settings = TrainingSettings(
        model="sklearn.linear_model.Ridge", regressor={"alpha": 3.0}, holding_periods=(2.0,), shrinkage=(1.0,)
    )
    options = {"seeds": 1, "training": settings, "walk_forward": WINDOWS}
    plan = ComparisonPlan.of(market, ["squared"], solver=solver(market), **options)

    given = plan.fit_window(0).forecasts["squared"][0]

    window, samples = plan.windows[0], plan.samples
    scored = samples.scored[window.train].numpy()
    x, y = samples.features[window.train].numpy()[scored], samples.target[window.train].numpy()[scored]
    by_hand = Ridge(alpha=3.0).fit(x, y).predict(samples.features[window.test].reshape(-1, 3).numpy())
    np.testing.assert_allclose(given, by_hand.reshape(-1, 6), rtol=1e-5, atol=1e-8)  # features are float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "boosted_trees", "through_time": True}, r'"boosted_trees" does not read through_time = True \(def'),
        ({"model": "boosted_trees", "smoothing_start": 4.0, "epochs": 9}, r"epochs = 9 .*smoothing_start = 4.0"),
        ({"model": "boosted_trees", "history": 5}, "sees one row, got history 5"),
        ({"model": "boosted_trees", "regressor": {"alpha": 1.0}}, "does not read regressor"),
        ({"model": FOREST, "hidden": (8,)}, r"does not read hidden = \(8,\)"),
        ({"model": FOREST, "path": False}, "does not read path = False"),
        ({"model": FOREST, "boosting": BoostingSettings(trees=3)}, "does not read boosting"),
        ({"model": FOREST, "regressor": lambda seed: None}, 'model="sklearn" and a function of the seed'),
        ({"model": FOREST, "regressor": {"criterion": object()}}, "plain values that a file can hold"),
        ({"model": "sklearn", "regressor": {}}, "give a dotted name and parameters"),
        ({"model": "mlp", "boosting": BoostingSettings(trees=3)}, '"mlp" does not read boosting'),
        ({"model": "linear", "hidden": (8,)}, '"linear" does not read hidden'),
        ({"model": "mlp", "ridge": (0.5,)}, '"mlp" does not read ridge'),
        ({"model": lambda inputs: None, "hidden": (8,)}, "a module of your own does not read hidden"),
        ({"model": "ExtraTreesRegressor"}, "dotted name of a scikit-learn regressor"),
    ],
)
def test_a_setting_that_the_model_would_ignore_is_refused_by_name(settings, message):
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(**settings)


@pytest.mark.parametrize(
    ("training", "objectives", "message"),
    [
        ({"model": "boosted_trees"}, ["squared", "sharpe"], '"boosted_trees" cannot be trained on sharpe: it takes'),
        ({"model": "boosted_trees"}, ["0.5 whitened + 0.5 aligned"], r"on 0.5 whitened \+ 0.5 aligned"),
        ({"model": FOREST}, ["squared", "aligned"], "cannot be trained on aligned: it takes squared"),
        ({"model": "sklearn.nothing.Here"}, ["squared"], "scikit-learn has no module sklearn.nothing"),
        ({"model": "sklearn.ensemble.ExtraTreesClassifier"}, ["squared"], "is no scikit-learn regressor"),
        ({"model": "sklearn.linear_model.Ridge", "regressor": {"alfa": 1}}, ["squared"], "no parameter alfa: it takes"),
        ({"model": FOREST, "regressor": {"random_state": 1}}, ["squared"], "random_state is set from the seed"),
        ({"model": FOREST, "regressor": {"n_jobs": 2}}, ["squared"], "n_jobs must be left out or 1"),
        ({"model": "sklearn.multioutput.MultiOutputRegressor"}, ["squared"], "needs estimator"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_by_plan_and_configuration(
    market, training, objectives, message
):
    with pytest.raises(SettingsError, match=message):
        ComparisonPlan.of(market, objectives, solver=solver(market), seeds=2, training=TrainingSettings(**training))
    with pytest.raises(SettingsError, match=message):
        parse_settings({"market": "simulated", "objectives": objectives, "training": training})


@pytest.mark.parametrize(
    ("model", "module", "cure"),
    [("boosted_trees", "lightgbm", r"aligned-backtest\[boosting\]"), (FOREST, "sklearn", "pip install scikit-learn")],
)
def test_a_package_that_is_missing_is_named_with_the_cure(monkeypatch, model, module, cure):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(SettingsError, match=f"which is not installed: .*{cure}"):
        settings_with_presets({"market": "simulated", "training": {"model": model}}, quick=False)


def test_settings_for_every_model_hold_where_they_are_read():
    shared = {"epochs": 5, "holding_periods": [2.0], "hidden": [8], "boosting": {"trees": 9}, "smoothing": 0.1}

    assert read_of(shared, {"model": "boosted_trees"}).keys() == {"holding_periods", "boosting", "smoothing"}
    assert read_of(shared, {"model": FOREST}).keys() == {"holding_periods"}
    assert read_of(shared, {}).keys() == shared.keys() - {"boosting"}
    assert read_of(shared, {"model": "linear"}).keys() == shared.keys() - {"boosting", "hidden"}
    assert read_of({**shared, "model": FOREST}, {"model": "mlp"}).keys() == {"model", *shared} - {"boosting"}


def test_presets_give_way_to_a_model_that_is_asked_for():
    liquid = {"market": "liquidity"}

    quick = settings_with_presets({**liquid, "training": {"model": "boosted_trees"}}, quick=True).training
    network = settings_with_presets({**liquid, "training": {"model": "mlp"}}, quick=False).training
    plain = settings_with_presets(liquid, quick=False).training

    assert (quick.boosting.trees, quick.holding_periods, quick.epochs) == (60, (4.0,), TrainingSettings.epochs)
    assert network.hidden == TrainingSettings.hidden
    assert plain.hidden == ()


@pytest.mark.parametrize(
    "training",
    [
        {"model": "boosted_trees", "boosting": {"trees": 7, "dates_share": 0.5}},
        {"model": FOREST, "regressor": {"n_estimators": 5, "max_features": 0.5, "max_depth": None}},
        {"model": "linear", "ensemble": 2},
    ],
)
def test_a_configuration_survives_being_written(training):
    settings = settings_with_presets({"market": "simulated", "training": training}, quick=False)

    written = json.loads(json.dumps(settings.model_dump(mode="json")))

    assert parse_settings(written) == settings
    assert json.loads(json.dumps(settings.training.described())) == written["training"]


def test_an_unknown_key_of_boosting_is_refused():
    with pytest.raises(SettingsError, match=r"boosting\.tree"):
        parse_settings({"market": "simulated", "training": {"model": "boosted_trees", "boosting": {"tree": 7}}})


def test_a_function_that_makes_a_regressor_is_described_by_its_name():
    assert TrainingSettings(model="sklearn", regressor=asked).described()["regressor"].endswith(".asked")


@pytest.mark.slow
def test_the_command_takes_a_model_and_repeats_its_run_to_the_last_bit_whatever_the_number_of_processes(tmp_path):
    rng, dates = np.random.default_rng(0), pd.date_range("2010-01-01", periods=84, freq="ME", name="date")
    prices = pd.DataFrame(100 * np.exp(np.cumsum(0.05 * rng.standard_normal((84, 5)), axis=0)), dates, list("ABCDE"))
    prices.to_csv(tmp_path / "prices.csv")
    runner = CliRunner()
    options = ["--quick", "--prices", str(tmp_path / "prices.csv"), "--frequency", "M", "--model", "boosted_trees"]
    options += ["--seeds", "2", "--ensemble", "2", "--cost", "factors=1"]

    first = runner.invoke(app, ["compare", *options, "--jobs", "1", "--json", "--out", str(tmp_path / "first")])
    again = ["compare", "--config", str(tmp_path / "first" / "config.json"), "--jobs", "2", "--json"]
    second = runner.invoke(app, [*again, "--out", str(tmp_path / "second")])

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert first.stdout == second.stdout
    assert 'model "boosted_trees" cannot be trained on misaligned: compared are squared' in first.stderr
    assert "cannot" not in second.stderr
    document = json.loads(first.stdout)
    assert list(document["objectives"]) == ["squared", "whitened", "aligned"]
    assert document["settings"]["seeds"] == ["0-1"]
    assert "(one ensemble of 2 seeds, " in document["verdict"]
    assert document["settings"]["versions"]["lightgbm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "boosted_trees", "--objectives", "squared,misaligned"], "cannot be trained on misaligned"),
        (["--model", "boosted_trees", "--hidden", "8"], "does not read hidden"),
        (["--model", "forest"], "unknown model 'forest': choose from linear, mlp"),
        (["--ensemble", "3"], "ensemble is 3, which does not divide 4 seeds: ask for 3 or 6 seeds"),
    ],
)
def test_the_command_refuses_what_cannot_be(options, message):
    result = CliRunner().invoke(app, ["compare", "--frequency", "M", *options])

    assert result.exit_code == 2
    assert message in result.stderr


def test_the_network_strategy_trades_trees_and_ensembles_too(market, toolbox):
    settings = replace(toolbox.small_trees, ensemble=2)
    strategy = Network(objective="aligned", solver=solver(market), settings=settings, seeds=(0, 1))

    strategy.fit(market.panel)
    forecast = strategy.predict(market.panel)

    assert forecast.shape == (6,)
    assert np.isfinite(forecast).all()
    assert np.abs(forecast).max() > 0


def test_a_sweep_has_trees_and_forests_beside_networks():
    document = {
        "run": {"market": "simulated", "objectives": ["squared"]},
        "models": {
            "network": {"hidden": [4]},
            "trees": {"model": "boosted_trees", "boosting": {"trees": 7}},
            "forest": {"model": FOREST, "regressor": {"n_estimators": 5}},
        },
    }

    cells = Sweep.of(document).cells

    assert [cell.settings.training.model for cell in cells] == ["mlp", "boosted_trees", FOREST]
    assert cells[1].settings.training.boosting.trees == 7
    assert cells[2].settings.training.regressor == {"n_estimators": 5}
    with pytest.raises(SettingsError, match=r"models.forest .*cannot be trained on aligned"):
        Sweep.of({**document, "run": {"market": "simulated", "objectives": ["squared", "aligned"]}})
