"""How far a simulation is: a bar, a function of the user's, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["reporting"]


@contextmanager
def reporting(progress: bool | Callable[[int, int], None] | None) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with (periods done, periods in all).

    Args:
        progress: True shows a bar on the terminal, with the time that is left; a function is called itself.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, total: None
    else:
        # Imported here: most runs show no bar.
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("simulate"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("periods"),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as bar:
            task = bar.add_task("simulate")
            yield lambda done, total: bar.update(task, completed=done, total=total)
