"""Models by name or by function, from settings to a comparison."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import nn

from backtest.analysis import compare
from backtest.configuration import parse_settings
from backtest.costs import FactorRisk, LeverageLimit
from backtest.errors import SettingsError
from backtest.market import simulate_market
from backtest.solver import PositionSolver
from backtest.training import TORCH_MODELS, TrainingSettings, WalkForward


def small_module(n_inputs):
    return nn.Sequential(nn.Linear(n_inputs, 3), nn.SiLU(), nn.Linear(3, 1))


@pytest.mark.parametrize("model", [*TORCH_MODELS, small_module])
def test_a_comparison_takes_every_torch_model(model):
    market = simulate_market(6, 120, 3, seed=5, signal=4e-3)
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    settings = TrainingSettings(
        model=model,
        hidden=(3,) if model in ("mlp", "gru", "convolution") else TrainingSettings.hidden,
        history=4 if model in ("gru", "convolution") else None,
        epochs=1,
        path_epochs=1,
        shrinkage=(1.0,),
    )

    comparison = compare(
        market,
        ["squared", "aligned"],
        solver=PositionSolver(5.0 * risk, [LeverageLimit(4.0)]),
        seeds=2,
        training=settings,
        walk_forward=WalkForward(train=50, validation=20, test=30),
        n_jobs=1,
    )

    assert list(comparison.results) == ["squared", "aligned"]
    for result in comparison.results.values():
        assert np.isfinite(result.net).all()
        assert np.abs(result.positions).sum() > 0


def test_a_configuration_file_names_a_model():
    settings = parse_settings({"market": "simulated", "training": {"model": "gru", "history": 5, "sizing": "search"}})

    written = json.loads(json.dumps(settings.model_dump(mode="json")))

    assert (settings.training.model, settings.training.history, settings.training.sizing) == ("gru", 5, "search")
    assert parse_settings(written) == settings


def test_a_model_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(SettingsError, match="'lstm': choose from linear, mlp, gru, convolution"):
        parse_settings({"market": "simulated", "training": {"model": "lstm"}})
