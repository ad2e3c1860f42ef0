"""The metrics of squared and whitened error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import L1, FactorRisk, Ridge
from backtest.errors import CostError, SettingsError
from backtest.solver import PositionSolver
from backtest.training import Samples, check_objectives
from backtest.training.objectives import OBJECTIVES, Objective, blend, euclidean_metric, risk_metric


@pytest.fixture
def gappy(toolbox):
    """Samples in which names lack features or targets here and there."""
    panel, _ = toolbox.panel(80)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[10:14, 0, 1] = np.nan
    returns[:30, 4] = np.nan
    return Samples.of(replace(panel, features=features, returns=returns, tradable=None))


def test_whitened_metric_equals_a_dense_solve_on_the_scored_names(gappy, toolbox):
    solver = toolbox.solver()
    rows = np.arange(5, 60)
    error = torch.tensor(np.random.default_rng(0).standard_normal((2, len(rows), 6)))

    found = risk_metric(gappy, solver, rows).apply(error, torch.as_tensor(rows)).numpy()

    risk = dict(solver.costs.parts)["factor_risk"]
    loadings, specific = risk.cost.loadings, risk.cost.specific_variance
    hessian = 20.0 * (loadings @ loadings.T + np.diag(specific)) + 1e-3 * np.eye(6)
    for place, row in enumerate(rows):
        on = gappy.scored[row].numpy()
        expected = np.zeros((2, 6))
        expected[:, on] = np.linalg.solve(hessian[np.ix_(on, on)], error[:, place, on].numpy().T).T
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-10, atol=1e-12)


def test_an_estimated_risk_model_enters_row_by_row_as_of_the_fill(toolbox):
    panel, _ = toolbox.panel(200)
    samples = Samples.of(panel)
    solver = PositionSolver(5.0 * FactorRisk(n_factors=2, lookback=60, refit_every=7)).estimate(panel)
    rows = np.arange(60, 90)
    error = torch.tensor(np.random.default_rng(0).standard_normal((len(rows), 6)))

    found = risk_metric(samples, solver, rows).apply(error, torch.as_tensor(rows)).numpy()

    history = solver.costs.parts[0][1].cost.history
    for place, row in enumerate(rows):
        model = history.model_of[row + 1]
        loadings, specific = history.loadings[model], history.specific_variance[model]
        dense = np.linalg.solve(5.0 * (loadings @ loadings.T + np.diag(specific)), error[place].numpy())
        np.testing.assert_allclose(found[place], dense, rtol=1e-9)


def test_squared_metric_is_the_identity_on_scored_names(gappy):
    rows = torch.arange(5, 60)
    error = torch.ones(len(rows), 6, dtype=torch.float64)

    assert torch.equal(euclidean_metric(gappy).apply(error, rows), gappy.scored[rows].double())


def test_whitening_without_curvature_is_refused_with_the_cure(gappy):
    with pytest.raises(CostError, match="add FactorRisk with specific risk, or Ridge"):
        risk_metric(gappy, PositionSolver(L1()), np.arange(5, 10))


def test_whitening_by_ridge_alone_is_squared_error_in_other_units(gappy):
    rows = np.arange(5, 10)
    error = torch.ones(len(rows), 6, dtype=torch.float64)

    found = risk_metric(gappy, PositionSolver(4.0 * Ridge()), rows).apply(error, torch.as_tensor(rows))

    assert torch.equal(found, gappy.scored[5:10].double() / 4)


@pytest.mark.parametrize(("names", "message"), [(["sqared"], "'sqared': choose from squared"), ([], "at least one")])
def test_wrong_objectives_are_refused(names, message):
    with pytest.raises(SettingsError, match=message):
        check_objectives(names)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_name_is_an_objective_of_one_part(name):
    objective = Objective.of(name)

    assert (objective.parts, objective.name) == (((1.0, name),), name)
    assert objective.on_path == (name not in ("squared", "whitened", "rank_correlation"))


@pytest.mark.parametrize(
    "text", ["0.5 whitened + 0.5 aligned", ".5 aligned+.50 whitened", "0.5  aligned + 0.5 whitened "]
)
def test_blends_that_mean_the_same_have_one_spelling(text):
    objective = Objective.of(text)

    assert objective.name == blend("aligned", "whitened") == "0.5 whitened + 0.5 aligned"
    assert objective.parts == ((0.5, "whitened"), (0.5, "aligned"))
    assert objective.on_path
    assert check_objectives(["squared", text]) == ("squared", "0.5 whitened + 0.5 aligned")


def test_weights_of_a_blend_are_shares_in_any_unit_and_survive_rounding():
    name = blend("squared", "aligned", "sharpe", weights=[1, 1, 1])

    assert name == "0.333333 squared + 0.333333 aligned + 0.333333 sharpe"
    assert Objective.of(name).name == name
    np.testing.assert_allclose([share for share, _ in Objective.of(name).parts], [1 / 3] * 3, rtol=1e-12)
    assert blend("aligned", "squared", weights=[30, 10]) == "0.25 squared + 0.75 aligned"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5 whitened + aligned", "'aligned' is no part of a blend: each is a share and a name"),
        ("0.5 whitened, 0.5 aligned", "is no part of a blend"),
        ("-0.5 whitened + 1.5 aligned", "'-0.5 whitened' is no part of a blend"),
        ("0.5 whitened + 0.5 alined", "unknown objective 'alined' in '0.5 whitened \\+ 0.5 alined'"),
        ("0.5 whitened + 0.6 aligned", "add up to 1, they add up to 1.1"),
        ("0 whitened + 1 aligned", "above 0"),
        ("0.5 aligned + 0.5 aligned", "two or more different parts"),
        ("1 aligned", "two or more different parts"),
        ("", "unknown objective ''"),
    ],
)
def test_what_is_no_blend_is_refused_with_the_reason(text, message):
    with pytest.raises(SettingsError, match=message):
        Objective.of(text)


def test_one_objective_in_two_spellings_is_there_twice():
    with pytest.raises(SettingsError, match="must be different"):
        check_objectives(["0.5 aligned + 0.5 squared", "0.5 squared + 0.5 aligned"])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0]])
def test_wrong_weights_of_a_blend_are_refused(weights):
    with pytest.raises(SettingsError, match="a weight above 0"):
        blend("squared", "aligned", weights=weights)
