"""`compare` from end to end on a small simulated market."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from backtest.analysis import compare
from backtest.costs import DollarNeutral, FactorRisk, LeverageLimit, TradingCost
from backtest.errors import SettingsError
from backtest.market import simulate_market
from backtest.solver import PositionSolver
from backtest.training import OBJECTIVES, TrainingSettings, WalkForward

TRAINING = TrainingSettings(
    hidden=(4,), epochs=3, path_epochs=2, batch_rows=32, chunk_length=10, holding_periods=(1.0, 2.0), shrinkage=(0.5, 1)
)
WINDOWS = WalkForward(train=60, validation=30, test=25, embargo=1)
LAG = 1
FIRST_TEST = 60 + 30 + 2 * (LAG + 1 + 1)


def market():
    return simulate_market(8, 170, 3, seed=5, signal=4e-3, half_spread=5e-4)


def solver(drawn):
    risk = FactorRisk(loadings=np.array(drawn.loadings), specific_variance=np.array(drawn.specific_variance))
    costs = 5.0 * risk + TradingCost(half_spread=np.array(drawn.half_spread))
    return PositionSolver(costs, [DollarNeutral(), LeverageLimit(4.0)])


def run(data, drawn, **options):
    options = {"seeds": 2, "training": TRAINING, "walk_forward": WINDOWS, "n_jobs": 1} | options
    return compare(data, options.pop("objectives", OBJECTIVES), solver=solver(drawn), **options)


@pytest.fixture(scope="module")
def drawn():
    return market()


@pytest.fixture(scope="module")
def comparison(drawn):
    return run(drawn, drawn)


def test_every_objective_is_traded_on_the_same_dates_after_the_first_fill(comparison, drawn):
    assert list(comparison.results) == list(OBJECTIVES)
    assert comparison.n_seeds == 2
    for result in comparison.results.values():
        # Forecast at the close of the first test row, filled `lag` later, earned one row after that.
        assert result.dates[0] == drawn.panel.dates[FIRST_TEST + LAG + 1]
        assert result.dates[-1] == drawn.panel.dates[-1]
        assert np.isfinite(result.net).all()
        assert (result.leverage <= 4.0 + 1e-9).all()
        assert (np.abs(result.net_exposure) < 1e-9).all()
        assert result.turnover.mean() > 0


def test_no_objective_beats_the_oracle_by_more_than_chance(comparison):
    # The oracle is myopic under trading costs, so regret may fall a little below nothing.
    for measures in comparison.expected.values():
        assert measures["regret"] > -0.05 * abs(measures["oracle_utility"])
        np.testing.assert_allclose(
            measures["regret"], measures["oracle_utility"] - measures["expected_utility"], rtol=1e-12
        )


def test_the_document_is_strict_json_with_settings_choices_and_differences(comparison):
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))

    assert set(document["objectives"]) == set(OBJECTIVES)
    assert document["settings"]["training"]["hidden"] == [4]
    assert document["settings"]["walk_forward"]["train"] == 60
    assert len(document["settings"]["windows"]) == len(document["training"]["aligned"]) == 3
    assert {(d["a"], d["b"]) for d in document["differences"]} >= {("aligned", "squared"), ("aligned", "whitened")}
    assert document["sample"]["n_trials"] == len(OBJECTIVES) * 2 * 4


@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_second_run_is_equal_to_the_last_bit_in_any_number_of_processes(comparison, drawn, n_jobs):
    again = run(drawn, drawn, n_jobs=n_jobs)

    for name, result in comparison.results.items():
        assert np.array_equal(result.positions, again.results[name].positions)
        assert np.array_equal(result.net, again.results[name].net)
    assert json.dumps(comparison.to_dict()) == json.dumps(again.to_dict())


def test_garbling_the_future_leaves_every_position_up_to_then_alone(drawn):
    # In the middle of the second window's test rows, so a second training came before it too.
    cut = FIRST_TEST + 25 + 10
    panel = drawn.panel

    true, other = run(panel, drawn), run(panel.garbled_after(cut), drawn)

    fills = slice(0, cut - (FIRST_TEST + LAG) + 1)  # at the closes of rows up to the cut
    for name in OBJECTIVES:
        left, right = true.results[name], other.results[name]
        assert np.array_equal(left.positions[:, fills], right.positions[:, fills])
        assert np.array_equal(left.net[:, fills.start : fills.stop - 1], right.net[:, fills.start : fills.stop - 1])
        assert not np.array_equal(left.positions, right.positions)


def test_objectives_do_not_depend_on_each_other(comparison, drawn):
    alone = run(drawn, drawn, objectives=["aligned"])

    np.testing.assert_allclose(
        alone.results["aligned"].positions, comparison.results["aligned"].positions, rtol=1e-4, atol=1e-7
    )


def test_progress_is_told_to_the_end(drawn):
    told = []

    run(drawn, drawn, objectives=["squared"], progress=lambda *state: told.append(state))

    assert ("training", 3, 3) in told
    assert told[-1][0] == "simulating"
    assert told[-1][1] == told[-1][2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ["sqared"]}, "unknown objective 'sqared'"),
        ({"objectives": ["squared", "squared"]}, "different"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": 0}, "at least one"),
        ({"walk_forward": replace(WINDOWS, train=400)}, "first test row would be"),
    ],
)
def test_impossible_requests_are_refused_before_any_training(drawn, options, message):
    with pytest.raises(SettingsError, match=message):
        run(drawn, drawn, **options)
