"""`backtest check`: does what is in a file keep its contract?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from backtest.commands.shared import DATA, OUTPUT, errors_as_messages, option
from backtest.errors import SettingsError

__all__ = ["check"]

MARKS = {True: "passed", False: "FAILED", None: "not checked"}


def check(
    files: Annotated[
        list[Path], typer.Argument(help="Python files with strategies, costs, constraints, policies or features.")
    ],
    prices: Annotated[
        Path | None, option(DATA, "Prices to check on, CSV or Parquet. Default 20 bundled US stocks, by month.")
    ] = None,
    as_json: Annotated[bool, option(OUTPUT, "Print what was found as one JSON document.", "--json")] = False,
) -> None:
    """Check every strategy, cost, constraint, policy and feature that files define; exit code 1 says that one failed.

    Strategies, policies and features must not look ahead; a cost must be convex, and never negative where it is cash;
    a constraint must be kept by what is solved under it; and all must give the same answer twice. The files are run.
    """
    with errors_as_messages():
        from dataclasses import asdict

        from backtest.configuration import RunSettings, load_panel
        from backtest.contracts import check_file

        source = {"dataset": "sp500-20"} if prices is None else {"prices": str(prices)}
        panel = load_panel(RunSettings(**source, frequency="M" if prices is None else "D"))  # type: ignore[arg-type]
        found = [(file, each) for file in files for each in check_file(file, panel)]
        if not found:
            raise SettingsError(
                f"{', '.join(map(str, files))}: nothing to check: there is no class that extends Strategy, Cost "
                "(SeparableCost, SmoothCost), Constraint, Policy or Feature"
            )
        if as_json:
            json.dump([{"file": str(file), **asdict(each)} for file, each in found], sys.stdout)
            sys.stdout.write("\n")
        else:
            for file, each in found:
                typer.echo(f"{file}: {each.kind} {each.name}: {MARKS[each.passed]}")
                typer.echo("".join(f"    {line}\n" for line in each.told.splitlines()), nl=False)
        if any(each.passed is False for _, each in found):
            raise typer.Exit(1)
