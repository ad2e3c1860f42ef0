"""The `backtest` command. Results go to standard output; progress and messages to standard error."""

from __future__ import annotations

from typing import Annotated

import typer

from backtest.commands import data
from backtest.commands.check import check
from backtest.commands.compare import compare
from backtest.commands.numerai import numerai
from backtest.commands.positions import positions
from backtest.commands.report import report
from backtest.commands.run import run
from backtest.commands.sweep import sweep

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Backtest cost-aware portfolios: does training on what the portfolio does beat squared error?",
)
for command in (compare, run, sweep, positions, report, check, numerai):
    app.command()(command)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Say the version, or go on to a command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("aligned-backtest"))
        raise typer.Exit


if __name__ == "__main__":
    app()
