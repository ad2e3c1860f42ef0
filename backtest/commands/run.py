"""`backtest run`: the strategies in Python files, after costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from backtest.commands.options import (
    CostOption,
    DatasetOption,
    FrequencyOption,
    JsonOption,
    LagOption,
    LeverageOption,
    NeutralOption,
    OutOption,
    PositionLimitOption,
    PricesOption,
    given,
    shared_settings,
    with_source,
)
from backtest.commands.runs import progress_bars, write_run
from backtest.commands.shared import DATA, TRAINING, errors_as_messages, option

__all__ = ["run"]


def run(
    strategies: Annotated[
        list[Path], typer.Argument(help="Python files, each with one Strategy; several are compared.")
    ],
    prices: PricesOption = None,
    dataset: DatasetOption = None,
    frequency: FrequencyOption = None,
    start: Annotated[
        str | None,
        option(DATA, "Date of the first forecast, YYYY-MM-DD. Default after 5 years, or 40% of a shorter history."),
    ] = None,
    refit_every: Annotated[
        int | None, option(TRAINING, "Periods between two fits of a strategy. Default a year.")
    ] = None,
    cost: CostOption = None,
    leverage: LeverageOption = None,
    position_limit: PositionLimitOption = None,
    dollar_neutral: NeutralOption = None,
    lag: LagOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest the strategies in Python files after costs, and compare them when there are several."""
    from backtest.configuration import settings_with_presets

    options = given(**shared_settings(prices, dataset, frequency, cost, leverage, position_limit, dollar_neutral, lag))
    with errors_as_messages():
        settings = settings_with_presets(with_source(options), quick=False)
        _run(settings, strategies, start=start, refit_every=refit_every, out=out, as_json=as_json)


def _run(
    settings: Any,
    files: list[Path],
    *,
    start: str | None,
    refit_every: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from backtest.analysis import compare_strategies
    from backtest.configuration import build_solver, describe_run, load_panel, source_name
    from backtest.strategy import load_strategy

    panel = load_panel(settings)
    description = describe_run(settings, panel) | {"strategies": [str(file) for file in files]}
    strategies = {}
    for file in files:
        strategy = load_strategy(file)
        name = type(strategy).__name__
        strategies[name if name not in strategies else f"{name} ({file.name})"] = strategy
    first_row = None if start is None else panel.until(start).n_periods - 1
    with progress_bars() as progress:
        comparison = compare_strategies(
            panel,
            strategies,
            solver=build_solver(settings, panel),
            lag=settings.lag,
            first_row=first_row,
            refit_every=refit_every,
            settings=description,
            progress=progress,
        )
    # With more data, as on the next day, these would be others.
    description |= {key: comparison.settings[key] for key in ("first_forecast", "refit_every")}
    name = f"{'-'.join(strategies).lower()}-{source_name(settings)}"
    write_run(comparison, description, name=name, out=out, as_json=as_json)
