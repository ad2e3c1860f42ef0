"""What commands have in common: options in panels, and errors as one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from backtest.errors import BacktestError

__all__ = ["DATA", "OUTPUT", "PORTFOLIO", "TRAINING", "errors_as_messages", "option"]

DATA, PORTFOLIO, TRAINING, OUTPUT = "Data", "Portfolio", "Training", "Output"
"""Panels of a command's help."""


def option(panel: str, text: str, *names: str, **more: Any) -> Any:
    """Return an option that says its default in its own words."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn this library's errors, and those of files, into one message and exit code 2.

    Anything else is a bug and shows its trace.
    """
    try:
        yield
    except (BacktestError, OSError) as error:
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from error
