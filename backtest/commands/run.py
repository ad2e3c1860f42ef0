"""`backtest run`: the strategies in Python files, after costs; or what a file of settings says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.commands.options import (
    CostFileOption,
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
from backtest.commands.runs import carry_out_and_write
from backtest.commands.shared import DATA, TRAINING, errors_as_messages, option
from backtest.commands.telling import LogOption, QuietOption, VerboseOption, telling
from backtest.errors import SettingsError

__all__ = ["run"]


def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Python files, each with one Strategy; several are compared. Or one TOML file of settings, or a run's "
            "folder or config.json, to repeat it to the last bit."
        ),
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
    cost_file: CostFileOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log: LogOption = None,
) -> None:
    """Backtest the strategies in Python files after costs, and compare them when there are several.

    A TOML file says all of a run instead: prices or dataset, strategies or the objectives to train on, costs, limits.
    Options go before what it says. Unknown keys are refused.
    """
    with errors_as_messages(), telling(quiet=quiet, verbose=verbose, log=log) as teller:
        from backtest.configuration import Recorded, read_settings, settings_with_presets

        options = given(
            start=start,
            refit_every=refit_every,
            **shared_settings(
                prices, dataset, frequency, cost, cost_file, leverage, position_limit, dollar_neutral, lag
            ),
        )
        if all(file.suffix == ".py" for file in files):
            strategies = {"strategies": [str(file) for file in files]}
            recorded = Recorded(settings_with_presets(with_source(options) | strategies, quick=False))
        elif len(files) == 1:
            recorded = read_settings(files[0], options=options)
        else:
            raise SettingsError(
                f"{', '.join(map(str, files))}: give Python files with strategies, or one file of settings"
            )
        carry_out_and_write(recorded, jobs=None, out=out, as_json=as_json, teller=teller)
