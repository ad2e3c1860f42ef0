"""Walking a path: what is held is carried, and what fails keeps what it held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.costs import DollarNeutral, FullyInvested, Ridge, TradingCost
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.training import Samples, losses
from backtest.training.path import walk
from backtest.training.row_losses import ROW_OBJECTIVES

ONE = torch.ones(1, dtype=torch.float64)


def two_assets(*, missing=False):
    """Targets of rows 0, 1, 2 (lag 0) are (10%, -10%), (0, 20%), (5%, 5%)."""
    returns = np.array([[0.0, 0.0], [0.1, -0.1], [0.0, 0.2], [0.05, 0.05]])
    features = np.ones((4, 2, 1))
    if missing:
        features[1] = np.nan
    panel = MarketPanel(
        dates=pd.bdate_range("2000-01-03", periods=4),
        assets=pd.Index(["A", "B"]),
        returns=returns,
        features=features,
        feature_names=("x",),
        periods_per_year=252,
    )
    return Samples.of(panel, lag=0)


def step(samples, solver, p, **options):
    rows = torch.tensor([[[0, 1, 2]]])
    held = torch.zeros(1, 1, 2, dtype=torch.float64)
    return walk(
        samples,
        solver,
        p=torch.tensor(p, dtype=torch.float64).reshape(1, 1, 3, 2),
        rows=rows,
        held=held,
        holding_periods=options.pop("holding_periods", ONE),
        **options,
    )


def test_positions_are_carried_with_the_market():
    # C = q^2/2 + 0.02 |q - held|: from held h, q = p - 0.02 above h, p + 0.02 below, else h.
    solver = PositionSolver(Ridge() + TradingCost(half_spread=0.02))
    forecasts = [[0.52, 0.32], [0.5, 0.1], [0.0, 0.35]]
    path = step(two_assets(), solver, forecasts, objectives=["aligned"], with_utility=True)

    # Row 0: q = (.5, .3); earns .02; drifts to (.55, .27) / 1.02.
    first = np.array([0.55, 0.27]) / 1.02
    # Row 1: A wants .5, inside .539 +- .02? .539 - .02 = .519 > .5, so it sells to .52; B sells to .12.
    second = np.array([0.52, 0.12 * 1.2]) / (1 + 0.12 * 0.2)
    # Row 2: A sells to .02; B wants .35, buys to .33.
    third = np.array([0.02, 0.33]) * 1.05 / (1 + 0.35 * 0.05)
    np.testing.assert_allclose(path.held[0, 0].numpy(), [first, second, third], rtol=1e-12)
    paid = 0.02 * (abs(0.52 - first[0]) + abs(0.12 - first[1]))
    expected = 0.12 * 0.2 - (0.52**2 + 0.12**2) / 2 - paid
    np.testing.assert_allclose(float(path.utility[0, 0, 1]), expected, rtol=1e-12)
    np.testing.assert_allclose(float(path.loss[0, 0, 1]), -expected, rtol=1e-12)


def test_decisions_divide_the_trading_cost_by_the_holding_period_and_utility_does_not():
    solver = PositionSolver(Ridge() + TradingCost(half_spread=0.02))
    path = step(
        two_assets(), solver, [[0.5, 0.3]] * 3, holding_periods=4 * ONE, objectives=["aligned"], with_utility=True
    )

    q = np.array([0.495, 0.295])
    earned = 0.1 * q[0] - 0.1 * q[1]
    np.testing.assert_allclose(float(path.loss[0, 0, 0]), (q**2).sum() / 2 + 0.005 * q.sum() - earned, rtol=1e-12)
    np.testing.assert_allclose(float(path.utility[0, 0, 0]), earned - (q**2).sum() / 2 - 0.02 * q.sum(), rtol=1e-12)


@pytest.mark.parametrize("name", ROW_OBJECTIVES)
def test_a_row_without_forecasts_keeps_what_is_held_and_teaches_nothing(name):
    solver = PositionSolver(Ridge() + TradingCost(half_spread=0.02))
    path = step(two_assets(missing=True), solver, [[0.5, 0.3], [9.0, 9.0], [0.5, 0.3]], objectives=[name])

    held = path.held[0, 0]
    growth = 1 + (held[0] * torch.tensor([0.0, 0.2], dtype=torch.float64)).sum()
    torch.testing.assert_close(
        held[1], held[0] * torch.tensor([1.0, 1.2], dtype=torch.float64) / growth, rtol=1e-12, atol=0
    )
    assert float(path.gradient[0, 0, 1].abs().max()) == 0
    assert float(path.gradient[0, 0, 0].abs().max()) > 0


@pytest.mark.parametrize("name", ROW_OBJECTIVES)
def test_rows_that_cannot_be_solved_hold_and_are_counted_by_replica(name):
    clashing = PositionSolver(Ridge(), [DollarNeutral(), FullyInvested()])
    path = step(two_assets(), clashing, [[0.5, 0.3]] * 3, objectives=[name])

    assert path.failed.tolist() == [3]
    assert float(path.held.abs().max()) == 0
    assert float(path.gradient.abs().max()) == 0


def test_chunks_and_replicas_side_by_side_equal_each_alone(toolbox):
    panel, _ = toolbox.panel(40)
    samples, solver = Samples.of(panel), toolbox.solver()
    rng = np.random.default_rng(5)
    names = ["fenchel_young", "aligned", "spo_plus", "misaligned", "spo_plus"]
    rows = torch.arange(30).reshape(1, 3, 10).expand(5, 3, 10)
    p = torch.tensor(0.005 * rng.standard_normal((5, 3, 10, 6)))
    held = torch.tensor(0.1 * rng.standard_normal((5, 3, 6)))
    periods = torch.tensor([1.0, 3.0, 2.0, 1.0, 4.0], dtype=torch.float64)

    together = walk(samples, solver, p=p, rows=rows, held=held, holding_periods=periods, objectives=names)

    for r in range(5):
        for c in range(3):
            alone = walk(
                samples,
                solver,
                p=p[r : r + 1, c : c + 1],
                rows=rows[r : r + 1, c : c + 1],
                held=held[r : r + 1, c : c + 1],
                holding_periods=periods[r : r + 1],
                objectives=names[r : r + 1],
            )
            for name in ("loss", "gradient", "held"):
                both = getattr(together, name)[r, c], getattr(alone, name)[0, 0]
                torch.testing.assert_close(*both, rtol=1e-10, atol=1e-13)


def test_the_target_of_an_unknown_return_earns_nothing(toolbox):
    panel, _ = toolbox.panel(20)
    returns = panel.returns.copy()
    returns[9, 3] = np.nan
    samples = Samples.of(replace(panel, returns=returns, tradable=np.ones_like(panel.tradable)))
    rows = torch.tensor([[[7]]])

    path = walk(
        samples,
        toolbox.solver(),
        p=torch.full((1, 1, 1, 6), 0.01, dtype=torch.float64) * torch.tensor([1, -1, 1, 5, -1, 1]),
        rows=rows,
        held=torch.zeros(1, 1, 6, dtype=torch.float64),
        holding_periods=ONE,
    )

    assert torch.isfinite(path.held).all()
    assert float(path.held[0, 0, 0, 3].abs()) > 0


LOSSES = {
    "aligned": losses.aligned_loss,
    "misaligned": losses.misaligned_loss,
    "spo_plus": losses.spo_plus_loss,
    "fenchel_young": losses.fenchel_young_loss,
}


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
def test_losses_and_gradients_along_a_path_are_those_of_each_row_by_itself(toolbox, smoothing):
    panel, _ = toolbox.panel(30)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[7:10, 0] = np.nan  # may not be traded
    returns[14:16, 3] = np.nan  # traded, but what it earned is not known
    samples = Samples.of(replace(panel, features=features, returns=returns, tradable=np.ones_like(panel.tradable)))
    solver = replace(toolbox.solver(), smoothing=smoothing)
    p = torch.tensor(0.02 * np.random.default_rng(2).standard_normal((4, 1, 20, 6)))
    rows = torch.arange(20).expand(4, 1, 20)
    held = torch.zeros(4, 1, 6, dtype=torch.float64)
    periods = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)

    path = walk(samples, solver, p=p, rows=rows, held=held, holding_periods=periods, objectives=list(LOSSES))

    assert path.failed.tolist() == [0, 0, 0, 0]
    before = torch.cat([held, path.held[:, 0, :-1]], dim=1)
    unknown = torch.where(samples.scored[:20], samples.target[:20], torch.nan)
    assert 5 <= int(unknown.isnan().sum()) <= 10
    for number, loss in enumerate(LOSSES.values()):
        forecast = p[number, 0].clone().requires_grad_()
        walking = replace(solver, holding_periods=float(periods[number]))
        market, tradable = samples.panel.at(np.arange(20) + samples.lag), samples.usable[:20]
        expected = loss(walking, forecast, unknown, before[number], market=market, tradable=tradable)
        (gradient,) = torch.autograd.grad(expected.sum(), forecast)
        torch.testing.assert_close(path.loss[number, 0], expected.detach(), rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(path.gradient[number, 0], gradient, rtol=1e-9, atol=1e-11)
        assert float(gradient.abs().max()) > 0


def test_positions_carried_do_not_depend_on_the_objective(toolbox):
    panel, _ = toolbox.panel(30)
    samples = Samples.of(panel)
    p = torch.tensor(0.02 * np.random.default_rng(2).standard_normal((1, 1, 20, 6))).expand(5, 1, 20, 6)
    arguments = {
        "p": p,
        "rows": torch.arange(20).expand(5, 1, 20),
        "held": torch.zeros(5, 1, 6, dtype=torch.float64),
        "holding_periods": ONE.expand(5),
    }

    path = walk(samples, toolbox.solver(), objectives=[*ROW_OBJECTIVES, "aligned"], **arguments)

    plain = walk(samples, toolbox.solver(), **arguments)
    torch.testing.assert_close(path.held, plain.held, rtol=0, atol=1e-12)
    assert plain.loss is None
    assert plain.gradient is None
