"""`backtest sweep`: every combination of models and costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from backtest.commands.options import JsonOption
from backtest.commands.shared import OUTPUT, TRAINING, errors_as_messages, option
from backtest.commands.telling import LogOption, QuietOption, VerboseOption, telling

__all__ = ["sweep"]


def sweep(
    config: Annotated[
        Path,
        typer.Argument(
            help="TOML file: [run] has the settings of a comparison, [models.NAME] what is other in its training, or "
            "its own objectives and seeds, [costs.NAME] what is other in its costs."
        ),
    ],
    engine: Annotated[
        str,
        option(
            TRAINING,
            "local, ray://HOST:PORT, ray://auto or dask://HOST:PORT; no result depends on it. Default local.",
        ),
    ] = "local",
    jobs: Annotated[
        int | None, option(TRAINING, "Tasks at a time, a count. Default one a core, or all that a cluster has.")
    ] = None,
    out: Annotated[
        Path | None, option(OUTPUT, "Folder of the sweep, which all workers see. Default runs/CONFIG.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log: LogOption = None,
) -> None:
    """Compare objectives for every combination of models and costs; goes on where it was cut off.

    Ends with a judgement of all variants together: the choice on validation, its overfitting, and what is more than
    luck.
    """
    with errors_as_messages(), telling(quiet=quiet, verbose=verbose, log=log) as teller:
        from backtest.analysis.comparison import plain
        from backtest.sweep import judge, read_sweep, run_sweep
        from backtest.sweep.display import live_report, shown

        settings = read_sweep(config)
        folder = out or Path("runs") / config.stem
        with live_report(shown_at_all=teller.bars) as report:
            table = run_sweep(settings, folder, engine=engine, n_jobs=jobs, report=report)
        judgement = judge(folder)
        judgement.write(folder / "judgement.json")
        if as_json:
            document = plain({"table": table.to_dict(orient="records"), "judgement": judgement.to_dict()})
            json.dump(document, sys.stdout, allow_nan=False)
            sys.stdout.write("\n")
            return
        if teller.quiet:
            return
        from rich.console import Console

        Console().print(shown(table))
        typer.echo("\n".join(judgement.lines))
        typer.echo(f"\nTable: {folder / 'sweep.parquet'}, judgement: {folder / 'judgement.json'}")
