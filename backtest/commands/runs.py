"""What commands that make a run have in common: bars while it goes on, and its folder at the end."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backtest.whole_files import write_text

if TYPE_CHECKING:
    from backtest.analysis import Comparison

__all__ = ["progress_bars", "write_run"]


def write_run(
    comparison: Comparison, description: dict[str, Any], *, name: str, out: Path | None, as_json: bool
) -> None:
    """Write the run's folder, and print the verdict and the table, or the JSON document."""
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    if out is None:
        # The folder is named after what decides the run: the same settings and data write the same folder.
        out = Path("runs") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    page = comparison.report(out)
    write_text(out / "config.json", text)
    if as_json:
        json.dump(comparison.to_dict(), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
        return
    comparison.render()
    typer.echo(f"Report: {page}")


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
