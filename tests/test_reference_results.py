"""Guards of benchmarks/reference_results.py: published results, on a few trials."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from backtest.costs import DenseRisk
from backtest.solver import PositionSolver
from backtest.training.losses import aligned_loss

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reference_results.py"
TRIALS = range(8)
ALIGNED, ALIGNED_EXPLAINED, SQUARED, SQUARED_EXPLAINED = range(4)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("reference_results_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def short_window(benchmark):
    """The trials of the cell with the noisiest covariance: where aligned and squared differ most."""
    return benchmark.run_cell(benchmark.CELLS[0], TRIALS)


def distance(values, published):
    low, high = published
    outside = max(low - values.mean(), values.mean() - high, 0.0)
    return outside / (values.std(ddof=1) / np.sqrt(len(values)))


def test_butler_and_kwon_with_a_noisy_covariance_is_reproduced(benchmark, short_window):
    cell = benchmark.CELLS[0]

    assert distance(short_window[:, ALIGNED], cell.aligned) < 3
    assert distance(short_window[:, SQUARED], cell.least_squares) < 3


def test_butler_and_kwon_with_correlated_assets_is_reproduced(benchmark):
    cell = benchmark.CELLS[3]

    losses = benchmark.run_cell(cell, TRIALS)

    assert distance(losses[:, ALIGNED], cell.aligned) < 3
    assert distance(losses[:, SQUARED], cell.least_squares) < 3


def test_the_aligned_model_predicts_worse_and_decides_better_in_every_trial(short_window):
    assert (short_window[:, ALIGNED_EXPLAINED] < short_window[:, SQUARED_EXPLAINED]).all()
    assert (short_window[:, ALIGNED] < short_window[:, SQUARED]).all()


def test_training_through_the_solver_ends_at_the_closed_form(benchmark):
    draw = benchmark.draw_market(0, 5, 0.0)

    trained, best = benchmark.fit_through_solver(draw, steps=40), benchmark.fit_closed_form(draw)

    np.testing.assert_allclose(trained, best, rtol=0, atol=1e-6 * np.abs(best).max())


def test_with_the_loss_in_the_covariance_of_the_decision_aligned_is_generalised_least_squares(benchmark):
    draw = benchmark.draw_market(1, 20, 0.75)
    same = benchmark.Draw(draw.x, draw.y, draw.covariance, np.broadcast_to(draw.covariance, draw.estimates.shape))

    rows = benchmark.N_ROWS
    design = np.zeros((rows, benchmark.N_ASSETS, benchmark.N_ASSETS * benchmark.N_FEATURES))
    for asset in range(benchmark.N_ASSETS):
        design[:, asset, 3 * asset : 3 * asset + 3] = draw.x[:rows, asset]
    root = np.linalg.cholesky(np.linalg.inv(draw.covariance)).T
    whitened = (root @ design).reshape(-1, design.shape[-1])
    slow = np.linalg.lstsq(whitened, (draw.y[:rows] @ root.T).ravel(), rcond=None)[0]

    np.testing.assert_allclose(benchmark.fit_closed_form(same).ravel(), slow, rtol=1e-8)


def test_the_gradient_through_the_solver_is_the_error_over_the_risk(benchmark):
    draw = benchmark.draw_market(3, 5, 0.75)
    y, covariance = torch.as_tensor(draw.y[:50]), torch.as_tensor(draw.estimates[:50])
    solver, risk = PositionSolver(DenseRisk(covariance)), DenseRisk(covariance)
    p = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).requires_grad_()

    q = solver(p)
    (through_solver,) = torch.autograd.grad((risk.value(q, torch.zeros_like(q), None) - y * q).sum(), p)
    (closed_form,) = torch.autograd.grad(aligned_loss(solver, p, y).sum(), p)

    expected = np.linalg.solve(covariance.numpy(), (p - y).detach().numpy()[..., None])[..., 0]
    np.testing.assert_allclose(through_solver, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(closed_form, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(("sees_own_return", "last"), [(True, 0), (False, 1)])
def test_the_rolling_covariance_ends_where_it_says(benchmark, sees_own_return, last):
    draw = benchmark.draw_market(2, 5, 0.0, sees_own_return=sees_own_return)
    end = 100 - last

    slow = np.cov(draw.y[end - 49 : end + 1].T)

    np.testing.assert_allclose(draw.estimates[100], slow, rtol=1e-10, atol=1e-12)


def test_a_line_knows_whether_it_reaches_what_was_published(benchmark):
    far = benchmark.Line("loss", ours=1.0, error=0.05, published=(1.2, 1.3))
    near = benchmark.Line("loss", ours=1.0, error=0.15, published=(1.2, 1.3))

    assert far.outside == pytest.approx(0.2)
    assert far.within is False
    assert near.within is True
    assert benchmark.Line("loss", ours=1.25, error=0.0, published=(1.2, 1.3)).outside == 0
    assert benchmark.Line("loss", ours=1.0, error=0.1).within is None


def test_the_printed_report_says_which_numbers_are_within(benchmark, capsys):
    lines = [
        benchmark.Line("inside", 1.25, 0.1, (1.2, 1.3)),
        benchmark.Line("near", 1.1, 0.1, (1.2, 1.3)),
        benchmark.Line("far", 1.0, 0.05, (1.2, 1.3)),
        benchmark.Line("without chance", 1.0, 0.0, (1.2, 1.3)),
        benchmark.Line("not published", 1.0, 0.1),
    ]

    benchmark.report("R3", benchmark.RESULTS["R3"], lines)

    ends = [line.split("1.2 to 1.3")[-1].strip() for line in capsys.readouterr().out.splitlines()[-5:]]
    assert ends[:4] == ["yes", "yes, 1.0 se outside", "NO, 4.0 se outside", "NO, 0.2 outside"]
    assert ends[4].endswith("-")


def test_decision_losses_halve_the_regret_of_a_model_that_is_badly_misspecified(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from spo_portfolio import regrets

    regret = regrets(1.0, 16, 0, n_test=300)
    # Published, mean of trials: 2.17 and 1.02.
    assert 1.0 < regret["least squares"] < 4.0
    assert regret["SPO+"] < 0.6 * regret["least squares"]
    assert regret["aligned"] < 0.6 * regret["least squares"]
