"""Walking a path: what is held is carried, and what fails keeps what it held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from backtest.costs import DollarNeutral, FullyInvested, Ridge, TradingCost
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.training import Samples
from backtest.training.path import walk

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
        charged=torch.ones(1, dtype=torch.bool),
        **options,
    )


def test_positions_are_carried_with_the_market():
    # C = q^2/2 + 0.02 |q - held|: from held h, q = p - 0.02 above h, p + 0.02 below, else h.
    solver = PositionSolver(Ridge() + TradingCost(half_spread=0.02))
    path = step(two_assets(), solver, [[0.52, 0.32], [0.5, 0.1], [0.0, 0.35]], with_utility=True)

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
    path = step(two_assets(), solver, [[0.5, 0.3]] * 3, holding_periods=4 * ONE, with_utility=True)

    q = np.array([0.495, 0.295])
    earned = 0.1 * q[0] - 0.1 * q[1]
    np.testing.assert_allclose(float(path.loss[0, 0, 0]), (q**2).sum() / 2 + 0.005 * q.sum() - earned, rtol=1e-12)
    np.testing.assert_allclose(float(path.utility[0, 0, 0]), earned - (q**2).sum() / 2 - 0.02 * q.sum(), rtol=1e-12)


def test_a_row_without_forecasts_keeps_what_is_held_and_teaches_nothing():
    solver = PositionSolver(Ridge() + TradingCost(half_spread=0.02))
    path = step(two_assets(missing=True), solver, [[0.5, 0.3], [9.0, 9.0], [0.5, 0.3]], with_gradient=True)

    held = path.held[0, 0]
    growth = 1 + (held[0] * torch.tensor([0.0, 0.2], dtype=torch.float64)).sum()
    torch.testing.assert_close(
        held[1], held[0] * torch.tensor([1.0, 1.2], dtype=torch.float64) / growth, rtol=1e-12, atol=0
    )
    assert float(path.gradient[0, 0, 1].abs().max()) == 0
    assert float(path.gradient[0, 0, 0].abs().max()) > 0


def test_rows_that_cannot_be_solved_hold_and_are_counted_by_replica():
    clashing = PositionSolver(Ridge(), [DollarNeutral(), FullyInvested()])
    path = step(two_assets(), clashing, [[0.5, 0.3]] * 3, with_gradient=True)

    assert path.failed.tolist() == [3]
    assert float(path.held.abs().max()) == 0
    assert float(path.gradient.abs().max()) == 0


def test_chunks_and_replicas_side_by_side_equal_each_alone(toolbox):
    panel, _ = toolbox.panel(40)
    samples, solver = Samples.of(panel), toolbox.solver()
    rng = np.random.default_rng(5)
    rows = torch.arange(30).reshape(1, 3, 10).expand(2, 3, 10)
    p = torch.tensor(0.005 * rng.standard_normal((2, 3, 10, 6)))
    held = torch.tensor(0.1 * rng.standard_normal((2, 3, 6)))
    periods, charged = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([True, False])

    together = walk(
        samples, solver, p=p, rows=rows, held=held, holding_periods=periods, charged=charged, with_gradient=True
    )

    for r in range(2):
        for c in range(3):
            alone = walk(
                samples,
                solver,
                p=p[r : r + 1, c : c + 1],
                rows=rows[r : r + 1, c : c + 1],
                held=held[r : r + 1, c : c + 1],
                holding_periods=periods[r : r + 1],
                charged=charged[r : r + 1],
                with_gradient=True,
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
        charged=torch.ones(1, dtype=torch.bool),
    )

    assert torch.isfinite(path.held).all()
    assert float(path.held[0, 0, 0, 3].abs()) > 0
