"""Run a sweep: train what is missing and trade what is complete, anywhere; keep everything that is finished."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from backtest.errors import BacktestError, SettingsError, WorkerError
from backtest.sweep.engines import open_engine
from backtest.sweep.settings import Cell, Sweep, parts_of
from backtest.sweep.table import rows_of, series_of
from backtest.sweep.workplace import Workplace
from backtest.whole_files import whole_file

__all__ = ["run_sweep"]

Report = Callable[[str, int, int, pd.DataFrame | None], None]
"""Called with (what happened, windows trained, of how many, the table where it has grown)."""


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    *,
    engine: str = "local",
    n_jobs: int | None = None,
    restarts: int = 3,
    report: Report | None = None,
) -> pd.DataFrame:
    """Run every cell of a sweep, a comparison each, and write its table to `out/sweep.parquet`.

    What a window's training leaves depends on the cell alone: engines, workers and interruptions change nothing. The
    same call goes on where an earlier one was cut off.

    Args:
        sweep: what to run.
        out: folder, which all workers see.
        engine: see `backtest.sweep.engines.open_engine`.
        n_jobs: tasks at a time; None takes all there is.
        restarts: how often tasks are given out again after a worker died.
        report: told what happens.

    Returns:
        The table: a row for each model, cost, objective, seed and window; rows of the window "all" are the totals.

    Raises:
        SettingsError: the folder is of another sweep; there is no such engine.
        WorkerError: workers kept dying. What is finished is kept.
        BacktestError: a cell cannot be trained; the message names it. What is finished is kept.
    """
    if restarts < 0:
        raise SettingsError(f"restarts must be at least 0, got {restarts}")
    place = Workplace.open(out, sweep)
    # Windows follow from the data and from when the costs' estimates begin: one plan a cost level tells.
    by_cost = {cell.cost: len(place.plan(cell.name).windows) for cell in {c.cost: c for c in sweep.cells}.values()}
    windows = {cell.name: by_cost[cell.cost] for cell in sweep.cells}
    tasks = [(place, cell, number) for cell, count in windows.items() for number in range(count)]
    done = {(cell, number) for _, cell, number in tasks if place.fit_file(cell, number).exists()}
    rows: dict[str, pd.DataFrame] = {}

    def tell(what: str, table: pd.DataFrame | None = None) -> None:
        if report is not None:
            report(what, len(done), len(tasks), table)

    def finish_complete_cells() -> None:
        for cell in sweep.cells:
            if cell.name in rows or any((cell.name, number) not in done for number in range(windows[cell.name])):
                continue
            rows[cell.name] = _rows(place, cell.name)
            tell(f"{cell.name} traded", _written(place, sweep.cells, rows))

    tell("begins")
    finish_complete_cells()
    lost = 0
    with open_engine(engine, n_jobs=n_jobs) as run:
        while missing := [task for task in tasks if (task[1], task[2]) not in done]:
            try:
                for cell, number in run(_train, missing):
                    done.add((cell, number))
                    tell(f"{cell} window {number} trained")
                    finish_complete_cells()
            except WorkerError as error:
                done |= {(cell, number) for _, cell, number in missing if place.fit_file(cell, number).exists()}
                lost += 1
                left = len(tasks) - len(done)
                if lost > restarts:
                    raise WorkerError(
                        f"{error}. It is the {lost}. time, so the sweep stops with {left} of {len(tasks)} windows to "
                        f"train; what is finished is in {place.folder}, and the same command goes on from there"
                    ) from error
                tell(f"{error}; its work is given out again ({lost} of {restarts} times)")
                finish_complete_cells()
    return _written(place, sweep.cells, rows)


def _train(place: Workplace, cell: str, window: int) -> tuple[str, int]:
    """Train one window of a cell, on a worker, and write down what it left; the last one trades the cell too."""
    try:
        plan = place.plan(cell)
        place.keep(cell, window, plan.fit_window(window), f"{socket.gethostname()}:{os.getpid()}")
        # Two workers that are last at once both do it, and write the same.
        if all(place.fit_file(cell, number).exists() for number in range(len(plan.windows))):
            _trade(place, cell)
    except BacktestError as error:
        raise type(error)(f"{cell}, window {window}: {error}") from error
    return cell, window


def _trade(place: Workplace, cell: str) -> None:
    """Trade a cell whose windows are all trained, and write down what that gave."""
    plan = place.plan(cell)
    fits = [place.kept(cell, number) for number in range(len(plan.windows))]
    comparison = plan.finish(fits)
    place.finish(cell, rows_of(*parts_of(cell), comparison, plan=plan, fits=fits), series_of(comparison, plan))


def _rows(place: Workplace, cell: str) -> pd.DataFrame:
    """Return the rows of a trained cell; it is traded here if the worker of its last window did not get so far."""
    if not place.is_finished(cell):
        _trade(place, cell)
    return place.rows(cell)


def _written(place: Workplace, cells: Sequence[Cell], rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Write the table of all cells that are finished, in the order of the sweep."""
    parts = [rows[cell.name] for cell in cells if cell.name in rows]
    if not parts:
        return pd.DataFrame()
    # Every model that was trained counts, whether or not it is the one that is shown in the end.
    trials = sum(int(part["trials"].iloc[0]) for part in parts)
    table = pd.concat(parts, ignore_index=True).assign(trials=trials)
    with whole_file(place.table_file) as file:
        table.to_parquet(file, index=False)
    return table
