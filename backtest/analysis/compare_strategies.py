"""Run strategies through one market, after the same costs and on the same dates, and set the results side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backtest.analysis.compare import Progress
from backtest.analysis.comparison import Comparison
from backtest.analysis.performance import coefficient_of, mean_by_date, rank_correlations
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.strategy import Strategy, forecast

__all__ = ["compare_strategies", "forecast_schedule"]


def compare_strategies(
    panel: MarketPanel,
    strategies: Mapping[str, Strategy],
    *,
    solver: PositionSolver,
    lag: int = 1,
    first_row: int | None = None,
    refit_every: int | None = None,
    level: float = 0.95,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare strategies by what their portfolios earn after costs.

    Args:
        panel: the market, with the features that the strategies use.
        strategies: name -> strategy.
        solver: maps forecasts to positions; what its costs estimate is estimated here, causally.
        lag: periods from a forecast to its fill.
        first_row: row of the first forecast; what is before is history to learn from. None starts after 5 years, or
            after 40% of a shorter history.
        refit_every: periods between two fits; None is a year.
        level: of the intervals.
        settings: more settings to keep with the result.
        progress: told how far the work is.

    Raises:
        SettingsError: there is no strategy, or too little history.
        StrategyError: a strategy breaks its contract: shape, infinite values.
    """
    if not strategies:
        raise SettingsError("no strategy to run")
    solver = solver.estimate(panel)
    first_row, refit_every = forecast_schedule(panel, solver, first_row=first_row, refit_every=refit_every)

    def told(stage: str) -> Any:
        return None if progress is None else lambda done, total: progress(stage, done, total)

    forecasts = np.stack(
        [
            forecast(strategy, panel, first_row=first_row, refit_every=refit_every, progress=told(name))
            for name, strategy in strategies.items()
        ]
    )
    result = simulate(
        panel,
        SolverPolicy(solver),
        forecasts,
        costs=solver.costs,
        lag=lag,
        first_row=first_row + lag,
        names=list(strategies),
        progress=told("simulating"),
    )
    targets = panel.targets(lag)
    correlations = {name: rank_correlations(p, targets) for name, p in zip(strategies, forecasts, strict=True)}
    return Comparison(
        results={name: result.books(slice(book, book + 1)) for book, name in enumerate(strategies)},
        information_coefficients={name: tuple(coefficient_of(each)[:2]) for name, each in correlations.items()},
        rank_correlations={name: mean_by_date([each], panel.dates) for name, each in correlations.items()},
        settings={
            **(settings or {}),
            "data": panel.name,
            "lag": lag,
            "level": level,
            "first_forecast": f"{panel.dates[first_row]:%Y-%m-%d}",
            "refit_every": refit_every,
        },
        periods_per_year=panel.periods_per_year,
        n_trials=len(strategies),
        level=level,
    )


def forecast_schedule(
    panel: MarketPanel, solver: PositionSolver, *, first_row: int | None, refit_every: int | None
) -> tuple[int, int]:
    """Return the row of a strategy's first forecast and the periods between two fits, as `compare_strategies` has them.

    Args:
        panel: the market.
        solver: estimated on it; there is no forecast before its first row.
        first_row, refit_every: what was asked for, or None.
    """
    year = panel.periods_per_year
    if first_row is None:
        first_row = max(round(min(5 * year, 0.4 * panel.n_periods)), solver.first_row)
    return first_row, refit_every or round(year)
