"""What a long command says while it works: bars, messages and a log, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from backtest.commands.shared import OUTPUT, option

__all__ = ["LogOption", "QuietOption", "Telling", "VerboseOption", "telling"]

QuietOption = Annotated[
    bool,
    option(OUTPUT, "Say nothing but errors, and with --json the document; the run's folder has all.", "--quiet", "-q"),
]
VerboseOption = Annotated[
    bool, option(OUTPUT, "Say what is done as lines on standard error instead of bars.", "--verbose", "-v")
]
LogOption = Annotated[
    Path | None, option(OUTPUT, "File to which what is done is added, line by line with times.", "--log")
]


@dataclass(frozen=True)
class Telling:
    """How a command speaks.

    Attributes:
        quiet: only errors are said.
        bars: bars are shown.
    """

    quiet: bool
    bars: bool

    def say(self, message: str) -> None:
        """Write a message to standard error, unless quiet."""
        if not self.quiet:
            typer.echo(message, err=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """Show a bar for each stage on standard error, where that is a terminal."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not self.bars) as bars:
            tasks: dict[str, Any] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield show


@contextmanager
def telling(*, quiet: bool, verbose: bool, log: Path | None) -> Iterator[Telling]:
    """Send what the library logs to standard error and to a file, as asked, while a command works.

    Warnings are said unless `quiet`; with `verbose` also what is done. The file gets everything, an error with its
    trace too.
    """
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose contradict each other: give one")
    logger = logging.getLogger("backtest")
    before = logger.level
    console = _ToStandardError(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    console.setFormatter(logging.Formatter("%(asctime)s %(message)s" if verbose else "%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [console]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose or log is not None else logging.WARNING)
    try:
        yield Telling(quiet=quiet, bars=not (quiet or verbose))
    except Exception as error:
        if log is not None:
            # The message itself is said by who catches it.
            logger.removeHandler(console)
            logger.error("%s: %s", type(error).__name__, error, exc_info=error)
        raise
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


class _ToStandardError(logging.Handler):
    """Write to what is standard error at the time, which bars redirect."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)
