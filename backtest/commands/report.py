"""`backtest report`: recorded runs side by side, on one page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from backtest.commands.shared import OUTPUT, errors_as_messages, option

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that compare or run wrote, with comparison.json.")],
    out: Annotated[Path | None, option(OUTPUT, "The page to write. Default runs.html.")] = None,
    as_json: Annotated[bool, option(OUTPUT, "Print what differs as one JSON document.", "--json")] = False,
) -> None:
    """Set recorded runs side by side: verdicts, the measures of every objective, and the settings that differ."""
    with errors_as_messages():
        from backtest.report.runs_page import read_runs, settings_that_differ, write_runs

        read = read_runs(runs)
        page = write_runs(read, out or Path("runs.html"))
        if as_json:
            document = {
                "page": str(page),
                "runs": {run.name: {key: run.document[key] for key in ("verdict", "objectives")} for run in read},
                "settings_that_differ": settings_that_differ(read),
            }
            json.dump(document, sys.stdout, allow_nan=False)
            sys.stdout.write("\n")
            return
        for run in read:
            typer.echo(f"{run.name}: {run.document['verdict']}")
        typer.echo(f"Report: {page}")
