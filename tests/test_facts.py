"""The facts the project rests on (DESIGN.md, section 1), shown on the code that training runs.

1, 2: the gradient of the aligned loss along a path, `J (p - y)`, and of the misaligned, `-J y`, against finite
differences of the loss itself and against autograd through the solver. 3: the aligned objective is minimised by
`E[y | features]`. 4: the misaligned is not, and blows up the scale of the forecasts. The fifth is in tests/solver.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    DollarNeutral,
    FactorRisk,
    LeverageLimit,
    PositionLimit,
    Ridge,
    TradingCost,
)
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.training import Network, Samples, TrainingSettings
from backtest.training.loops import train_on_path
from backtest.training.path import walk

N_ASSETS = 8
TRUTH = np.array([0.010, -0.006])


def market(n_periods, *, seed):
    """Targets 0.010 x1 - 0.006 x2 plus factor and specific noise, and the risk of that noise."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_periods, N_ASSETS, 2))
    loadings = 0.01 * rng.standard_normal((N_ASSETS, 2))
    specific = rng.uniform(2e-4, 6e-4, N_ASSETS)
    returns = rng.standard_normal((n_periods, 2)) @ loadings.T
    returns += np.sqrt(specific) * rng.standard_normal((n_periods, N_ASSETS))
    returns[2:] += (features @ TRUTH)[:-2]
    panel = MarketPanel(
        dates=pd.date_range("1950-01-02", periods=n_periods),
        assets=pd.Index([f"A{i}" for i in range(N_ASSETS)]),
        returns=np.maximum(returns, -0.9),
        features=features,
        feature_names=("x1", "x2"),
        periods_per_year=252,
    )
    return Samples.of(panel), FactorRisk(loadings=loadings, specific_variance=specific)


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
@pytest.mark.parametrize("name", ["aligned", "misaligned"])
def test_the_gradient_of_a_path_is_that_of_its_loss(name, smoothing):
    samples, risk = market(40, seed=0)
    costs = 20.0 * risk + 2e-3 * L1() + TradingCost(half_spread=4e-3) + BorrowFee(0.1)
    limits = [DollarNeutral(), PositionLimit(0.35), LeverageLimit(1.2)]
    solver = PositionSolver(costs, limits, smoothing=smoothing)
    rng = np.random.default_rng(1)
    n_rows = 30
    rows = torch.arange(n_rows).reshape(1, n_rows, 1)
    p = torch.tensor(0.015 * rng.standard_normal((1, n_rows, 1, N_ASSETS)))
    held = torch.tensor(0.15 * rng.standard_normal((1, n_rows, N_ASSETS)))
    arguments = {"holding_periods": torch.tensor([2.0]).double(), "objectives": [name]}

    def loss(forecast):
        return walk(samples, solver, p=forecast, rows=rows, held=held, **arguments)

    path = loss(p)
    found = path.gradient[0, :, 0]
    assert path.failed.tolist() == [0]

    step = 1e-6
    differences = torch.zeros(n_rows, N_ASSETS, dtype=torch.float64)
    for asset in range(N_ASSETS):
        bump = torch.zeros_like(p)
        bump[..., asset] = step
        differences[:, asset] = (loss(p + bump).loss - loss(p - bump).loss)[0, :, 0] / (2 * step)

    forecast = p[0, :, 0].clone().requires_grad_()
    walking = replace(solver, holding_periods=2.0)
    snapshot = samples.panel.at(rows.flatten().numpy() + 1)
    q = walking(forecast, held[0], market=snapshot)
    earned = (q * samples.target[:n_rows]).sum(-1)
    cost = walking.problem(forecast, held[0], market=snapshot).cost(q) if name == "aligned" else 0.0
    (automatic,) = torch.autograd.grad((cost - earned).sum(), forecast)

    scale = float(found.abs().max())
    solution = walking.solve(p[0, :, 0], held[0], market=snapshot)
    stuck = solution.solution_map.flexibility == 0
    # Everything is active somewhere: stuck names, the position and leverage limits; neutrality everywhere.
    assert 0.05 < float(stuck.double().mean()) < 0.95
    assert float((solution.q.abs() > 0.35 - 1e-9).double().mean()) > 0.02
    assert 0.1 < float((solution.q.abs().sum(-1) > 1.2 - 1e-9).double().mean()) < 1
    assert float(found[stuck].abs().max()) == 0
    torch.testing.assert_close(found, automatic, rtol=0, atol=1e-8 * scale)
    # The loss is piecewise quadratic in p, so central differences are exact but for rounding; a row is left out where
    # a bump crosses the edge of a piece.
    error = (found - differences).abs().amax(-1)
    assert int((error <= 1e-8 * max(scale, 1.0)).sum()) >= n_rows - 1


def test_the_curvature_of_a_smooth_cost_maps_the_error_to_the_gradient():
    # Without kinks or limits the Jacobian of q in p is the inverse Hessian of C: 20 Sigma here.
    samples, risk = market(20, seed=2)
    rows = torch.arange(10).reshape(1, 10, 1)
    p = torch.tensor(0.01 * np.random.default_rng(3).standard_normal((1, 10, 1, N_ASSETS)))

    path = walk(
        samples,
        PositionSolver(20.0 * risk),
        p=p,
        rows=rows,
        held=torch.zeros(1, 10, N_ASSETS, dtype=torch.float64),
        holding_periods=torch.ones(1).double(),
        objectives=["aligned"],
    )

    hessian = 20.0 * (risk.loadings @ risk.loadings.T + np.diag(risk.specific_variance))
    error = (p[0, :, 0] - samples.target[:10]).numpy()
    np.testing.assert_allclose(path.gradient[0, :, 0].numpy(), np.linalg.solve(hessian, error.T).T, rtol=1e-9)


def coefficients(n_periods, *, seed, objective, epochs):
    """The two coefficients of a linear model trained through the solver from half the truth, on T periods."""
    samples, risk = market(n_periods + 2, seed=seed)
    solver = PositionSolver(20.0 * risk + 1e-3 * L1() + 0.02 * Ridge(), [LeverageLimit(30.0)])
    rows = np.arange(n_periods)
    scale = samples.target_scale(rows)
    half = torch.as_tensor(TRUTH / 2 / scale, dtype=torch.float32).reshape(1, 2, 1)
    start = Network.initial(2, hidden=(), seeds=(0,), scale=scale).with_parameters([half, torch.zeros(1, 1, 1)])
    network = train_on_path(
        samples,
        start,
        solver,
        train=rows,
        validation=rows,  # what is asked here is where the loss has its least value, not what generalises
        seeds=(0,),
        holding_periods=torch.ones(1).double(),
        objectives=[objective],
        settings=TrainingSettings(hidden=(), path_epochs=epochs, patience=epochs, weight_decay=0.0, smoothing=0.01),
    ).network
    return network.scale * network.weights[0].flatten().double().numpy()


def test_the_aligned_minimiser_approaches_the_expected_return():
    short = np.array([coefficients(100, seed=seed, objective="aligned", epochs=100) for seed in range(3)])
    long = np.array([coefficients(1600, seed=seed, objective="aligned", epochs=14) for seed in range(3)])

    def error(found):
        return np.sqrt(((found - TRUTH) ** 2).mean())

    # Twice the standard error of least squares on as much data, which uses every name every day.
    assert error(long) < 2 * 0.022 / np.sqrt(N_ASSETS * 1600)
    assert error(long) < error(short) / 2


def test_the_misaligned_objective_is_not_minimised_there_and_blows_up_the_forecasts():
    aligned = coefficients(400, seed=0, objective="aligned", epochs=60)
    misaligned = coefficients(400, seed=0, objective="misaligned", epochs=60)

    # 8.3 times the truth after 60 passes here, and still growing (15.8 after 80 passes over 600 periods).
    assert np.linalg.norm(aligned - TRUTH) < 0.2 * np.linalg.norm(TRUTH)
    assert np.linalg.norm(misaligned) > 7 * np.linalg.norm(TRUTH)
