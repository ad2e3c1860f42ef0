"""R2: the portfolio experiment of Elmachtoub & Grigas (2022), "Smart Predict, then Optimize", Management Science 68(1).

A linear model forecasts the returns of 50 assets from 5 features; with the forecast `p` one decides

    max p'w   subject to  w >= 0,  1'w <= 1,  w'Sigma w <= 2.25 e'Sigma e / 50^2

The polynomial degree of the true mean is how misspecified the model is. Judged is the share of the best value in
hindsight, `sum(z*(r) - r'w) / sum z*(r)`, on rows that were not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.costs import CashFloor, FactorRisk, LongOnly, Ridge, RiskLimit
from backtest.solver import PositionSolver
from backtest.training import aligned_loss, spo_plus_loss

__all__ = ["METHODS", "Trial", "draw_trial", "regret_of", "regrets"]

N_ASSETS, N_FEATURES, N_FACTORS = 50, 5, 4
STEPS = 40
"""Steps of L-BFGS, each an evaluation or two. They reach the minimum of SPO+, which is convex: 200 change no digit."""

ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Trial:
    """One draw.

    Attributes:
        solver: decides on a forecast.
        x, y: (n, 6) features, the last of them 1, and (n, 50) returns, to fit on.
        x_test, y_test: the same, to judge by.
    """

    solver: PositionSolver
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def draw_trial(seed: int, *, degree: int, noise: float, n_train: int, n_test: int) -> Trial:
    """Draw a trial: `r = (.05 / sqrt(5) B x + .1^(1/deg))^deg + L f + .01 tau e`."""
    rng = np.random.default_rng([seed, degree, round(10 * noise), n_train])
    picked = rng.integers(0, 2, (N_ASSETS, N_FEATURES)).astype(float)
    loadings = rng.uniform(-0.0025 * noise, 0.0025 * noise, (N_ASSETS, N_FACTORS))
    x = rng.normal(size=(n_train + n_test, N_FEATURES))
    mean = (0.05 / np.sqrt(N_FEATURES) * x @ picked.T + 0.1 ** (1 / degree)) ** degree
    factors = rng.normal(size=(len(x), N_FACTORS))
    y = mean + factors @ loadings.T + 0.01 * noise * rng.normal(size=mean.shape)
    specific = np.full(N_ASSETS, (0.01 * noise) ** 2)
    equal = np.full(N_ASSETS, 1 / N_ASSETS)
    variance = np.sum((loadings.T @ equal) ** 2) + np.sum(specific * equal**2)
    risk = FactorRisk(loadings, specific_variance=specific)
    # Nothing is paid: the limits alone say what is best.
    solver = PositionSolver(
        Ridge(0.0), (LongOnly(), CashFloor(0.0), RiskLimit(risk, volatility=float(np.sqrt(2.25 * variance))))
    )
    whole = torch.as_tensor(np.column_stack([x, np.ones(len(x))])), torch.as_tensor(y)
    return Trial(solver, whole[0][:n_train], whole[1][:n_train], whole[0][n_train:], whole[1][n_train:])


def fit_least_squares(trial: Trial) -> Tensor:
    """Return theta (6, 50) of one regression an asset."""
    return torch.linalg.lstsq(trial.x, trial.y).solution


def _descended(trial: Trial, loss: Callable[..., Tensor]) -> Tensor:
    """Return theta (6, 50) by L-BFGS from the least squares fit."""
    theta = fit_least_squares(trial).clone(memory_format=torch.contiguous_format).requires_grad_()
    # Returns are a tenth: in their unit gradients are too small for the tolerances of the search.
    descent = torch.optim.LBFGS([theta], lr=1.0, max_iter=STEPS, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        descent.zero_grad()
        mean = 100 * loss(trial.solver, trial.x @ theta, trial.y).mean()
        mean.backward()
        return mean

    descent.step(value)
    return theta.detach()


METHODS: dict[str, Callable[[Trial], Tensor]] = {
    "least squares": fit_least_squares,
    "SPO+": lambda trial: _descended(trial, spo_plus_loss),
    "aligned": lambda trial: _descended(trial, aligned_loss),
}


def regret_of(trial: Trial, fits: dict[str, Tensor]) -> dict[str, float]:
    """Return the normalised regret of each method on the test rows, in %."""
    lost = dict.fromkeys(fits, 0.0)
    best = 0.0
    for x, y in zip(trial.x_test.split(ROWS_AT_ONCE), trial.y_test.split(ROWS_AT_ONCE), strict=True):
        most = (y * trial.solver.solve(y).q).sum()
        best += float(most)
        for name, theta in fits.items():
            lost[name] += float(most - (y * trial.solver.solve(x @ theta).q).sum())
    return {name: 100 * value / best for name, value in lost.items()}


def regrets(noise: float, degree: int, seed: int, *, n_train: int = 100, n_test: int = 2000) -> dict[str, float]:
    """Return the normalised regret of each method in one trial, %."""
    torch.set_num_threads(1)
    trial = draw_trial(seed, degree=degree, noise=noise, n_train=n_train, n_test=n_test)
    return regret_of(trial, {name: method(trial) for name, method in METHODS.items()})
