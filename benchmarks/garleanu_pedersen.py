"""R4: Garleanu & Pedersen (2013), "Dynamic Trading with Predictable Returns and Transaction Costs", J. Finance 68(6).

A plan of many trades begins with the trade of their closed form; and their experiment with three signals, simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs import Cost, CostTerms, DenseRisk, TradingCost
from backtest.market import MarketPanel, MarketSnapshot
from backtest.simulation import simulate
from backtest.simulation.policies import AimPortfolio, MultiPeriod, Policy, ProportionalRebalance
from backtest.solver import PositionSolver

__all__ = [
    "HALF_LIVES",
    "HORIZONS",
    "STATIC_SHARES",
    "DenseTradingCost",
    "Model",
    "closed_form",
    "draw_model",
    "draw_signals",
    "first_trade",
    "first_trade_by_recursion",
    "sharpe_by_simulator",
    "sharpe_ratios",
]

RISK_AVERSION, TRADING_COST, RATE = 1.0, 50.0, 0.01
"""g, l and r of the comparison with the closed form."""

HORIZONS = (10, 50, 200)


class DenseTradingCost(Cost):
    """`1/2 u' Lambda u` for a trade u, with `Lambda` positive definite."""

    cash = True
    paid_per_trade = True

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = torch.as_tensor(matrix)
        self.root = torch.linalg.cholesky(self.matrix)

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        trade = q - held
        return trade * (trade @ self.matrix) / 2

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        pull = held @ self.matrix
        return CostTerms(loadings=(self.root[None],), linear=-pull, constant=pull * held / 2)


@dataclass(frozen=True)
class Model:
    """Assets and factors: `E[y] = B f`, `E[f'] = (I - Phi) f`.

    Attributes:
        covariance: `Sigma`, (N, N).
        loadings: `B`, (N, K).
        mean_reversion: `Phi`, (K, K).
        factors: `f`, (K,).
        held: (N,), `x_prev`.
    """

    covariance: np.ndarray
    loadings: np.ndarray
    mean_reversion: np.ndarray
    factors: np.ndarray
    held: np.ndarray


def draw_model(seed: int) -> Model:
    """Draw five assets and two factors whose half-lives are 1 and 2.4 periods, all in units of 1."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 5))
    return Model(
        root @ root.T / 5 + 0.5 * np.eye(5),
        rng.normal(size=(5, 2)),
        np.diag([0.5, 0.25]),
        rng.normal(size=2),
        rng.normal(size=5),
    )


def closed_form(model: Model) -> np.ndarray:
    """Return the weights (N,) after the first trade with no end in sight, as the paper has them."""
    g, cost, r = RISK_AVERSION, TRADING_COST, RATE
    b = g * (1 - r) + cost * r
    a = (-b + np.sqrt(b**2 + 4 * g * cost * (1 - r) ** 2)) / (2 * (1 - r))
    fading = np.eye(len(model.factors)) + a * model.mean_reversion / g
    aim = np.linalg.solve(g * model.covariance, model.loadings @ np.linalg.solve(fading, model.factors))
    return (1 - a / cost) * model.held + a / cost * aim


def first_trade(model: Model, horizon: int) -> np.ndarray:
    """Return the weights (N,) after the first trade of `MultiPeriod`."""
    n = len(model.held)
    costs = RISK_AVERSION * DenseRisk(model.covariance) + DenseTradingCost(TRADING_COST * model.covariance)
    fading = np.eye(len(model.factors)) - model.mean_reversion
    steps = [model.loadings @ np.linalg.matrix_power(fading, step) @ model.factors for step in range(horizon)]
    dates, assets = pd.date_range("2020-01-01", periods=1), pd.Index([f"asset {i}" for i in range(n)])
    policy = MultiPeriod(PositionSolver(costs), forecasts=np.array([steps]), discount=1 - RATE)
    market = MarketSnapshot(assets=assets, rows=np.array([0]), calendar=dates)
    held, tradable = model.held[None], np.ones((1, n), dtype=bool)
    return policy.prepare(dates, assets, lag=0).decide(np.full((1, n), np.nan), held, market, tradable).q[0]


def first_trade_by_recursion(model: Model, horizon: int) -> np.ndarray:
    """Return the same by dynamic programming: the value of what is to come is `-x'Ax/2 + x'Cf`, at the end 0."""
    g, r, n = RISK_AVERSION, RATE, len(model.held)
    dear = TRADING_COST * model.covariance
    fading = np.eye(len(model.factors)) - model.mean_reversion
    a, c = np.zeros((n, n)), np.zeros((n, len(model.factors)))
    for _ in range(horizon):
        bent = dear + (1 - r) * (g * model.covariance + a)
        of_held = np.linalg.solve(bent, dear)
        of_factors = np.linalg.solve(bent, (1 - r) * (model.loadings + c @ fading))
        a, c = dear - dear @ of_held, dear @ of_factors
    return of_held @ model.held + of_factors @ model.factors


# The experiment.

N_CONTRACTS, IC, COST_OF_RISK = 15, 0.02, 100.0
"""Contracts; correlation of each signal with the next day's return; l for g = 1."""

HALF_LIVES = (2.4, 206.0, 700.0)
"""Days in which half of a signal is gone."""

DAYS_A_YEAR, YEARS = 260, 13
DISCOUNT = float(np.exp(-0.02 / DAYS_A_YEAR))
STATIC_SHARES = tuple(np.arange(1, 11) / 100)
"""Share of the way to Markowitz that a static strategy goes each day."""


def fading_shares() -> np.ndarray:
    """Return the share (3,) of each signal that is gone after a day."""
    return 1 - 2 ** (-1 / np.array(HALF_LIVES))


def draw_signals(
    rng: np.random.Generator, trials: int, days: int = DAYS_A_YEAR * YEARS
) -> tuple[np.ndarray, np.ndarray]:
    """Draw signals f (days, trials, 15, 3) of unit variance, and the returns (days, trials, 15) of the day after each.

    A return is IC times the sum of the contract's own signals plus independent noise, its variance 1 in all.
    """
    kept = 1 - fading_shares()
    f = np.empty((days, trials, N_CONTRACTS, 3))
    f[0] = rng.normal(size=f.shape[1:])
    for day in range(1, days):
        f[day] = kept * f[day - 1] + np.sqrt(1 - kept**2) * rng.normal(size=f.shape[1:])
    return f, IC * f.sum(axis=-1) + np.sqrt(1 - 3 * IC**2) * rng.normal(size=f.shape[:-1])


def sharpe_ratios(signals: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return annual gross and net Sharpe ratios (trials, 12): Markowitz, ten static strategies, the dynamic one.

    Positions are those of risk aversion 1 in units of risk, and start from nothing.
    """
    b = DISCOUNT + COST_OF_RISK * (1 - DISCOUNT)
    a = (-b + np.sqrt(b**2 + 4 * COST_OF_RISK * DISCOUNT**2)) / (2 * DISCOUNT)
    share = np.array([1.0, *STATIC_SHARES, a / COST_OF_RISK])[:, None]
    days, trials = returns.shape[:2]
    gross, cost = (np.zeros((days, trials, len(share))) for _ in range(2))
    x = np.zeros((trials, len(share), N_CONTRACTS))
    for day in range(days):
        wanted = np.repeat(IC * signals[day].sum(axis=-1)[:, None], len(share), axis=1)
        wanted[:, -1] = IC * (signals[day] / (1 + a * fading_shares())).sum(axis=-1)
        trade = share * (wanted - x)
        x = x + trade
        gross[day] = (x * returns[day][:, None]).sum(axis=-1)
        cost[day] = COST_OF_RISK / 2 * (trade**2).sum(axis=-1)
    return _sharpe(gross), _sharpe(gross - cost)


def _sharpe(profits: np.ndarray) -> np.ndarray:
    return np.asarray(profits.mean(axis=0) / profits.std(axis=0) * np.sqrt(DAYS_A_YEAR))


@dataclass(frozen=True, eq=False)
class Markowitz(Policy):
    """Holds `(g Sigma)^-1 p` of independent contracts."""

    risk_aversion: float
    variance: np.ndarray

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        return p / (self.risk_aversion * self.variance)


def sharpe_by_simulator(signals: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return annual gross and net Sharpe ratios (12,) of one trial through `simulate`, in fractions of wealth.

    Contracts have a daily volatility from 0.5% to 2%. Risk aversion and trading cost are 100 times those of
    `sharpe_ratios`, so that no book is ruined; Sharpe ratios do not depend on that factor.

    Args:
        signals: (days, 15, 3).
        returns: (days, 15), of the day after, in units of volatility.
    """
    scale, days = 100.0, len(returns)
    volatility = np.linspace(0.005, 0.02, N_CONTRACTS)
    variance = volatility**2
    dates = pd.bdate_range("1996-01-01", periods=days + 1)
    earned = pd.DataFrame(np.vstack([np.zeros(N_CONTRACTS), returns * volatility]), dates)
    earned.columns = pd.Index([f"contract {i}" for i in range(N_CONTRACTS)])
    panel = MarketPanel.from_returns(earned, periods_per_year=DAYS_A_YEAR)
    # The last day's signals are nobody's: there is no day after it.
    known = np.concatenate([signals, np.full((1, *signals.shape[1:]), np.nan)])
    dynamic = AimPortfolio(
        known,
        np.repeat(IC * volatility[:, None], 3, axis=1),
        fading_shares(),
        np.diag(variance),
        scale * COST_OF_RISK,
        risk_aversion=scale,
        discount=DISCOUNT,
    )
    markowitz = Markowitz(scale, variance)
    policies = [markowitz, *(ProportionalRebalance(markowitz, share) for share in STATIC_SHARES), dynamic]
    forecasts = IC * volatility * known.sum(axis=-1)
    costs = TradingCost(quadratic=scale * COST_OF_RISK * variance)
    result = simulate(panel, policies, np.repeat(forecasts[None], len(policies), axis=0), costs=costs, lag=0)
    return _sharpe(result.gross.T), _sharpe(result.net.T)
