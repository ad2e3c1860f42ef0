"""Weights by name and by direction: against dense matrices and finite differences of the gradient itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import DollarNeutral, FactorRisk, HoldingFee, RiskLimit
from backtest.errors import SettingsError
from backtest.market import liquidity_market
from backtest.solver import PositionSolver
from backtest.training import Samples, gradient_weights
from backtest.training.path import walk

ROWS = np.arange(5, 17)


@pytest.fixture
def samples(toolbox):
    """Samples in which a name cannot be traded here and there, and the return of another is not known."""
    panel, _ = toolbox.panel(40)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[7:9, 0] = np.nan
    returns[12, 3] = np.nan
    return Samples.of(replace(panel, features=features, returns=returns, tradable=np.ones_like(panel.tradable)))


def forecasts(n_forecasts=2, seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal((n_forecasts, len(ROWS), 6))


def picked(table, objective, kind, column="weight"):
    found = table[(table["objective"] == objective) & (table["kind"] == kind)]
    return found.set_index("item")[column]


def metrics_of(samples, solver, p, periods):
    """Every row's `M` (S, B, N, N) under aligned, by differences of the gradient of the loss along the path."""
    n_forecasts, n_rows, n_assets = p.shape
    rows = torch.as_tensor(ROWS).reshape(1, 1, -1)
    scored = samples.scored[ROWS]
    path = walk(
        samples,
        solver,
        p=torch.as_tensor(p).unsqueeze(1),
        rows=rows.repeat(n_forecasts, 1, 1),
        held=torch.zeros(n_forecasts, 1, n_assets, dtype=torch.float64),
        holding_periods=torch.full((n_forecasts,), periods, dtype=torch.float64),
    )
    held = torch.cat([torch.zeros(n_forecasts, 1, n_assets).double(), path.held[:, 0, :-1]], dim=1)
    found = torch.zeros(n_forecasts, n_rows, n_assets, n_assets, dtype=torch.float64)
    for s in range(n_forecasts):
        for place, row in enumerate(ROWS):
            market, mask = samples.panel.at([row + samples.lag]), samples.usable[row].unsqueeze(0)
            walking = replace(solver, holding_periods=periods)
            forecast = torch.as_tensor(p[s, place]).reshape(1, -1).requires_grad_()
            q = walking(torch.where(mask, forecast, 0.0), held[s, place].unsqueeze(0), market=market, tradable=mask)
            for asset in range(n_assets):
                (slope,) = torch.autograd.grad(q[0, asset], forecast, retain_graph=True)
                found[s, place, asset] = slope[0]
    return found * (scored.unsqueeze(-1) & scored.unsqueeze(-2))


def test_weights_are_the_diagonals_and_quadratic_forms_of_the_metrics(samples, toolbox):
    solver, p = toolbox.solver(), forecasts()
    tilt = np.array([1.0, -1, 2, 0, 0, 0.5])

    table = gradient_weights(samples, solver, p, ROWS, holding_periods=2.0, directions={"tilt": tilt})

    scored = samples.scored[ROWS].numpy()
    assert scored.sum(0).tolist() == [10, 12, 12, 11, 12, 12]
    risk = dict(solver.costs.parts)["factor_risk"].cost
    hessian = 20.0 * (risk.loadings @ risk.loadings.T + np.diag(risk.specific_variance)) + 1e-3 * np.eye(6)
    whitened, squared = np.zeros((2, len(ROWS), 6, 6)), np.zeros((2, len(ROWS), 6, 6))
    for place, on in enumerate(scored):
        whitened[:, place][np.ix_([0, 1], on, on)] = np.linalg.inv(hessian[np.ix_(on, on)])
        squared[:, place] = np.diag(on)
    aligned = metrics_of(samples, solver, p, 2.0).numpy()
    assert 0.2 < (np.einsum("sbnn->sbn", aligned)[:, scored] == 0).mean() < 0.8

    for name, metric in {"squared": squared, "whitened": whitened, "aligned": aligned}.items():
        diagonal = np.einsum("sbnn->sbn", metric)
        expected = diagonal.sum((0, 1)) / (2 * scored.sum(0))
        np.testing.assert_allclose(picked(table, name, "name"), expected, rtol=1e-8)
        np.testing.assert_allclose(
            picked(table, name, "name", "active"), (diagonal > 1e-9).sum((0, 1)) / (2 * scored.sum(0)), rtol=1e-12
        )
        mean = diagonal.sum() / (2 * scored.sum())
        assert picked(table, name, "all")["all names"] == pytest.approx(mean)
        np.testing.assert_allclose(picked(table, name, "name", "relative"), expected / mean, rtol=1e-8)
        loadings = solver.problem(torch.zeros(1, 6).double(), torch.zeros(1, 6).double()).loadings[0].numpy()
        columns = {"factor 1": loadings[:, 0], "factor 2": loadings[:, 1], "tilt": tilt}
        along = {item: [] for item in [*columns, "rest"]}
        for place, on in enumerate(scored):
            for item, column in columns.items():
                v = column * on
                along[item].append(np.einsum("n,snm,m->s", v, metric[:, place], v) / (v @ v))
            base = np.linalg.qr(loadings * on[:, None])[0]
            across = np.linalg.svd(np.eye(6)[on] - (base @ base.T)[on])[2][: on.sum() - 2]  # on and across factors
            across = across * on
            along["rest"].append(np.einsum("rn,snm,rm->s", across, metric[:, place], across) / (on.sum() - 2))
        found = picked(table, name, "factor"), picked(table, name, "direction"), picked(table, name, "rest")
        for item, weight in (pair for part in found for pair in part.items()):
            assert weight == pytest.approx(np.mean(along[item]), rel=1e-7), (name, item)


def test_a_direction_that_a_limit_does_not_let_through_has_no_weight(samples, toolbox):
    solver = PositionSolver(toolbox.solver().costs, [DollarNeutral()], smoothing=0.05)

    rows = ROWS[6:]
    assert samples.scored[rows].all()

    table = gradient_weights(samples, solver, forecasts()[:, 6:], rows, directions={"level": np.ones(6)})

    assert picked(table, "aligned", "direction")["level"] == pytest.approx(0, abs=1e-9)
    assert picked(table, "aligned", "direction", "active")["level"] == 0
    assert picked(table, "whitened", "direction")["level"] > 1


def test_dear_names_of_the_liquidity_market_get_no_weight_under_aligned_and_half_of_it_under_the_others():
    market = liquidity_market(0, n_periods=40, n_assets=20)
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    solver = PositionSolver(20.0 * risk + HoldingFee(np.array(market.holding_fee)))
    rows = np.arange(5, 35)

    table = gradient_weights(Samples.of(market.panel), solver, market.expected_returns[rows], rows)

    dear = {name: picked(table, name, "name", "relative").to_numpy()[10:].mean() for name in ("whitened", "aligned")}
    assert dear["whitened"] == pytest.approx(1, abs=0.05)
    assert dear["aligned"] < 0.05  # one signal in a hundred is worth the fee
    assert 0 < picked(table, "aligned", "all", "active")["all names"] < 0.5
    assert picked(table, "squared", "all", "active")["all names"] == 1


def test_a_binding_risk_limit_is_in_the_weights(samples, toolbox):
    risk = dict(toolbox.solver().costs.parts)["factor_risk"].cost
    solver = PositionSolver(toolbox.solver().costs, [RiskLimit(risk, volatility=0.001)], smoothing=0.05)
    p = forecasts(1)

    table = gradient_weights(samples, solver, p, ROWS)

    expected = np.einsum("sbnn->sbn", metrics_of(samples, solver, p, 1.0).numpy()).sum((0, 1))
    np.testing.assert_allclose(
        picked(table, "aligned", "name"), expected / samples.scored[ROWS].sum(0).numpy(), rtol=1e-6
    )


def test_wrong_shapes_are_refused(samples, toolbox):
    with pytest.raises(SettingsError, match=r"expected \(S, 12, 6\) for 12 rows"):
        gradient_weights(samples, toolbox.solver(), forecasts()[:, 1:], ROWS)
    with pytest.raises(SettingsError, match="'tilt' has shape"):
        gradient_weights(samples, toolbox.solver(), forecasts(), ROWS, directions={"tilt": np.ones(5)})
