"""A sweep on the terminal: how far it is, and what is best so far."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from backtest.sweep.run import Report
from backtest.sweep.table import best_so_far

__all__ = ["live_report", "shown"]

_log = logging.getLogger(__name__)

MOST_ROWS = 20
KEY = ("cost", "model", "objective")
PERCENT = ("validation_utility", "net", "utility", "net, sd of seeds")
HEADS = {
    "cost": "cost",
    "model": "model",
    "objective": "objective",
    "validation_utility": "valid.",
    "utility": "utility",
    "net": "net",
    "net, sd of seeds": "sd",
    "sharpe": "Sharpe",
    "turnover": "turned",
}
CAPTION = """\
valid.: net utility on validation, by which each cost level is ordered. The others are of test rows, and decide \
nothing: net utility, net return and its deviation over seeds, % a year; Sharpe ratio a year; turnover, times wealth a \
year."""


@contextmanager
def live_report(*, shown_at_all: bool = True) -> Iterator[Report]:
    """Show bar, last message and table on standard error, redrawn in place where that is a terminal.

    What happens is logged too, which is all where nothing is `shown_at_all`.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(TextColumn("windows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console)
    task = bar.add_task("windows")
    parts: dict[str, Any] = {"bar": bar, "message": ""}

    with Live(Group(bar) if shown_at_all else "", console=console, refresh_per_second=4) as live:

        def report(what: str, done: int, total: int, table: pd.DataFrame | None) -> None:
            _log.info("%d of %d: %s", done, total, what)
            if not shown_at_all:
                return
            bar.update(task, completed=done, total=total)
            parts["message"] = what
            if table is not None and len(table):
                parts["table"] = shown(table)
            live.update(Group(*parts.values()))
            if not console.is_terminal and (table is not None or "given out again" in what):
                console.print(f"{done} of {total}: {what}")

        yield report


def shown(table: pd.DataFrame) -> Any:
    """Return what is best so far as a table for the terminal."""
    from rich import box
    from rich.table import Table

    best = best_so_far(table)
    page = Table(
        title="Best on validation first",
        title_justify="left",
        caption=CAPTION,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for key, head in HEADS.items():
        page.add_column(head, justify="left" if key in KEY else "right", overflow="fold")
    for _, row in best.head(MOST_ROWS).iterrows():
        page.add_row(*(_cell(row[key], key) for key in HEADS))
    return page


def _cell(value: Any, key: str) -> str:
    if key in KEY:
        return str(value)
    return "" if pd.isna(value) else f"{100 * value:.2f}" if key in PERCENT else f"{value:.2f}"
