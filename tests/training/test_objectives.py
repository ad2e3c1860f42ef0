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
from backtest.training.objectives import euclidean_metric, risk_metric


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
