"""A comparison whose objectives are tuned alike."""

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
from backtest.training import TrainingSettings, TuningSettings, WalkForward

TRAINING = TrainingSettings(
    hidden=(), path_epochs=1, chunk_length=5, holding_periods=(1.0, 2.0), shrinkage=(0.5, 1.0), ridge=(0.0,)
)
WINDOWS = WalkForward(train=25, validation=10, test=15, embargo=1)
TUNING = TuningSettings(
    trials=5, startup=4, space={"ridge": [[0.0], [1.0]], "learning_rate": {"low": 1e-3, "high": 0.3, "log": True}}
)
FIRST_TEST = 25 + 10 + 2 * 3


def run(market, data=None, *, n_jobs=1, tuning=TUNING, training=TRAINING):
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    solver = PositionSolver(
        5.0 * risk + TradingCost(half_spread=np.array(market.half_spread)), [DollarNeutral(), LeverageLimit(4.0)]
    )
    return compare(
        market if data is None else data,
        ["squared", "aligned"],
        solver=solver,
        seeds=2,
        training=training,
        tuning=tuning,
        walk_forward=WINDOWS,
        n_jobs=n_jobs,
    )


@pytest.fixture(scope="module")
def market():
    return simulate_market(5, FIRST_TEST + 2 * 15, 3, seed=5, signal=4e-3, half_spread=5e-4)


@pytest.fixture(scope="module")
def comparison(market):
    return run(market)


def test_the_document_says_what_was_tuned_and_counts_every_model(comparison):
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))

    assert document["settings"]["tuning"]["trials"] == 5
    assert document["settings"]["tuning"]["space"]["ridge"] == [[0.0], [1.0]]
    counts = []
    for records in document["training"].values():
        assert len(records) == 2
        counts.append(max(record["n_tried"] for record in records))
        for record in records:
            assert record["tuning"]["trials"] == len(record["tuning"]["tried"]) == 5
            # Two holding periods, two shrinkages, two seeds; one seed where a trial was given up.
            assert record["n_tried"] == 4 * (2 * 5 - record["tuning"]["pruned"])
    assert document["sample"]["n_trials"] == sum(counts)
    assert comparison.objectives["aligned"].deflated_sharpe is not None


def test_two_processes_give_the_same_bits(comparison, market):
    again = run(market, n_jobs=2)

    assert json.dumps(comparison.to_dict()) == json.dumps(again.to_dict())
    for name, result in comparison.results.items():
        assert np.array_equal(result.positions, again.results[name].positions)


def test_garbled_test_rows_do_not_change_what_is_chosen(market):
    # The last rows that validation of the second window sees stand 3 before its first test row.
    panel = market.panel
    tuning = replace(TUNING, trials=3, startup=2)
    true, other = (run(market, data, tuning=tuning) for data in (panel, panel.garbled_after(FIRST_TEST + 15 - 1)))

    for name, records in true.training.items():
        assert repr(records) == repr(other.training[name])
        assert not np.array_equal(true.results[name].positions, other.results[name].positions)


def test_a_space_that_does_not_go_with_the_settings_is_refused_before_any_training(market):
    with pytest.raises(SettingsError, match=r"space.path_epochs has 0"):
        run(market, tuning=TuningSettings(space={"path_epochs": [0, 1]}))
