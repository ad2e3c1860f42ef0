"""A run from its settings to its result: strategies, or models trained on the objectives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backtest.analysis import Comparison, compare_strategies
from backtest.analysis.comparison_plan import Progress
from backtest.configuration.building import build_solver, describe_run, load_market, plan_comparison
from backtest.configuration.files import Recorded
from backtest.configuration.settings import RunSettings
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.strategy import Strategy, load_strategy

__all__ = ["carry_out"]


def carry_out(
    recorded: Recorded | RunSettings, *, n_jobs: int | None = None, progress: Progress | None = None
) -> Comparison:
    """Run what settings say; the comparison's `settings` are what a file needs to repeat it.

    Args:
        recorded: settings, or those of a recorded run, which is refused on other data or with other files.
        n_jobs: processes that train; None takes one a core. No result depends on it.
        progress: told how far the work is.

    Raises:
        SettingsError: data or files are not those of the recorded run, or settings do not fit the data.
    """
    if isinstance(recorded, RunSettings):
        recorded = Recorded(recorded)
    settings = recorded.settings
    recorded.check_files()
    if settings.strategies and settings.market is not None:
        raise SettingsError(f"market: strategies run on prices, not on a simulated market, got {settings.market}")
    market = load_market(settings)
    description = describe_run(settings, market)
    recorded.check_data(description["data_hash"])
    if isinstance(market, MarketPanel) and settings.strategies:
        return _of_strategies(settings, market, description, progress)
    return plan_comparison(settings, market).run(n_jobs=n_jobs, progress=progress)


def _of_strategies(
    settings: RunSettings, panel: MarketPanel, description: dict[str, Any], progress: Progress | None
) -> Comparison:
    strategies: dict[str, Strategy] = {}
    for file in settings.strategies:
        strategy = load_strategy(file)
        name = type(strategy).__name__
        strategies[name if name not in strategies else f"{name} ({file})"] = strategy
    comparison = compare_strategies(
        panel,
        strategies,
        solver=build_solver(settings, panel),
        lag=settings.lag,
        first_row=None if settings.start is None else panel.until(str(settings.start)).n_periods - 1,
        refit_every=settings.refit_every,
        level=settings.level,
        progress=progress,
    )
    # With more data, as on the next day, these would be others.
    found = {"start": comparison.settings["first_forecast"], "refit_every": comparison.settings["refit_every"]}
    description["settings"] |= found
    return replace(comparison, settings={**description, **comparison.settings})
