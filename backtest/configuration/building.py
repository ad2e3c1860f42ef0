"""The objects of the library that settings of a run stand for: market, solver, plan; and the record of the run."""

from __future__ import annotations

import logging
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.configuration.files import hashes_of_files
from backtest.configuration.own_costs import costs_of_file
from backtest.configuration.settings import RunSettings
from backtest.costs import (
    L1,
    BorrowFee,
    Constraint,
    Cost,
    DollarNeutral,
    FactorRisk,
    HoldingFee,
    LeverageLimit,
    PositionLimit,
    TradingCost,
)
from backtest.errors import SettingsError
from backtest.market import (
    MarketPanel,
    SimulatedMarket,
    correlated_market,
    liquidity_market,
    load_dataset,
    price_features,
    read_prices,
    simulate_market,
    to_frequency,
)
from backtest.solver import PositionSolver
from backtest.training import require_optuna

__all__ = ["RECORDED", "build_solver", "describe_run", "load_market", "load_panel", "plan_comparison", "source_name"]

_log = logging.getLogger(__name__)

RECORDED = ("settings", "data_hash", "files", "versions")
"""What a run's config.json holds."""
BASIS_POINT = 1e-4
PACKAGES = ("aligned-backtest", "numpy", "pandas", "torch", "numba", "scipy", "arch", "skfolio")


def load_market(settings: RunSettings) -> MarketPanel | SimulatedMarket:
    """Return the market of a run's `settings`: prices at its frequency with price features, or a simulated market.

    Raises:
        DataError: the file of prices cannot be read.
    """
    if settings.market is not None:
        seed, lag = settings.market_seed, settings.lag
        if settings.market == "liquidity":
            return liquidity_market(seed, lag=lag)
        if settings.market == "correlated":
            return correlated_market(seed, lag=lag)
        return simulate_market(seed=seed, lag=lag, misspecification=0.5, cost_dispersion=1.0, n_periods=2000)
    return load_panel(settings)


def load_panel(settings: RunSettings) -> MarketPanel:
    """Return the prices of a run's `settings` at its frequency, with price features.

    Raises:
        DataError: the file of prices cannot be read.
        SettingsError: there is no such data set, or prices are coarser than the frequency.
    """
    panel = load_dataset(settings.dataset) if settings.dataset else read_prices(str(settings.prices))
    panel = price_features(to_frequency(panel, settings.frequency))
    first, last = panel.dates[0], panel.dates[-1]
    _log.info(
        "data: %s: %d assets, %d periods, %s to %s",
        panel.name,
        panel.n_assets,
        panel.n_periods,
        first.date(),
        last.date(),
    )
    return panel


def build_solver(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> PositionSolver:
    """Return the solver of a run's `settings`: estimated risk and the costs asked for, or a simulated `market`'s own.

    What the user's files of costs hold is added.

    Raises:
        SettingsError: impact is asked for in a simulated market, which has no volumes; or a file cannot be run.
        CostError: a file adds nothing.
    """
    costs = settings.costs
    total: Cost
    if isinstance(market, SimulatedMarket):
        if costs.impact:
            raise SettingsError("costs.impact: a simulated market has no volumes; leave it at 0, or bring prices")
        total = costs.risk_aversion * FactorRisk(
            loadings=market.loadings,
            factor_covariance=market.factor_covariance,
            specific_variance=market.specific_variance,
        )
        if market.half_spread.any():
            total = total + TradingCost(half_spread=market.half_spread)
        if market.holding_fee.any():
            total = total + HoldingFee(market.holding_fee)
    else:
        total = costs.risk_aversion * FactorRisk(n_factors=costs.factors) + TradingCost(
            half_spread=costs.half_spread * BASIS_POINT,
            impact=costs.impact,
            # A book of constant size: what is compared are returns, not how a book outgrows its market.
            wealth=costs.wealth if costs.impact else None,
        )
    if costs.l1:
        total = total + costs.l1 * BASIS_POINT * L1()
    if costs.borrow:
        total = total + BorrowFee(costs.borrow / 100)
    limits: list[Constraint] = [LeverageLimit(settings.leverage)]
    if settings.dollar_neutral:
        limits.append(DollarNeutral())
    if settings.position_limit is not None:
        limits.append(PositionLimit(settings.position_limit))
    for file in costs.files:
        own_costs, own_limits = costs_of_file(file)
        total = sum(own_costs, total)
        limits.extend(own_limits)
    return PositionSolver(total, limits)


def plan_comparison(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> ComparisonPlan:
    """Return the comparison that `settings` ask for on a `market`, before anything is trained.

    Raises:
        SettingsError: the history is too short, or what the model needs is not installed.
    """
    plan = ComparisonPlan.of(
        market,
        settings.objectives,
        solver=build_solver(settings, market),
        seeds=settings.seeds,
        training=settings.training,
        tuning=settings.tuning,
        walk_forward=settings.walk_forward,
        combinatorial=settings.combinatorial,
        max_windows=settings.max_windows,
        lag=settings.lag,
        level=settings.level,
    )
    return replace(plan, settings=describe_run(_with_windows(settings, plan), market))


def describe_run(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> dict[str, Any]:
    """Return what a run of `settings` on a `market` writes beside its result: `RECORDED`."""
    panel = market.panel if isinstance(market, SimulatedMarket) else market
    needed = settings.training.kind.package
    packages = PACKAGES if needed is None else (*PACKAGES, needed.name)
    if settings.tuning is not None:
        require_optuna()
        packages = (*packages, "optuna")
    return {
        "settings": settings.model_dump(mode="json"),
        "data_hash": panel.data_hash,
        "files": hashes_of_files(settings),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _with_windows(settings: RunSettings, plan: ComparisonPlan) -> RunSettings:
    """Return the settings with the lengths of the windows, where these were left to the history.

    A record of a run must have them: with more data, as on the next day, they would be others.
    """
    return settings.model_copy(update={"walk_forward": plan.protocol}) if settings.combinatorial is None else settings


def source_name(settings: RunSettings) -> str:
    """Return a short name of the data of a run's `settings`, for its folder."""
    if settings.market is not None:
        return settings.market
    name = settings.dataset or Path(str(settings.prices)).stem
    return f"{name}-{settings.frequency}"
