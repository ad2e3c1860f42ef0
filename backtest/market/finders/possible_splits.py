"""Splits that no column records: nights on which the price moves by the ratio of a split and stays there.

This is weaker evidence than a recorded split: it is reported, and repaired only when named.
"""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.finders.steps import Steps, local_deviation
from backtest.market.findings import Edit, Finding, Put, Scale, finding

__all__ = ["possible_splits"]

_RATIOS = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 25.0, 50.0])
_REVERSE = 1 / np.array([2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0])
_LOGS = np.log(np.r_[_RATIOS, _REVERSE])
_DEVIATIONS = 8.0
_GAP_DAYS = 60
_BUSY = 4.0
_BEFORE = 20
"""Rows before, whose volume is the ordinary one."""


def possible_splits(bars: Bars, steps: Steps, *, nearest_ratio: float = 0.1) -> list[Finding]:
    """Find jumps overnight, by one of the usual ratios at the open and at the close, on an otherwise quiet day.

    A day on which news halves a price opens anywhere and goes on moving; a split moves the open by its ratio, and
    the day's range is what it always is.

    Args:
        bars: with a close.
        steps: of the bars.
        nearest_ratio: how far, in logarithms, open and close may be from the ratio at most.
    """
    opened = bars.values("open")[steps.row] if "open" in bars.table else None
    volume = bars.values("volume")[steps.row] if "volume" in bars.table else None
    dates = bars.dates.asi8
    found = []
    for k in np.flatnonzero(np.abs(steps.total_step) > 0.35).tolist():
        step = float(steps.total_step[k])
        usual = local_deviation(steps.price_step, k, int(steps.start[k]), int(steps.stop[k]))
        nearest = int(np.argmin(np.abs(step + _LOGS)))
        size = float(-_LOGS[nearest])
        if abs(step) < _DEVIATIONS * usual or abs(step - size) > min(max(2 * usual, 0.02), nearest_ratio):
            continue
        if (dates[steps.row[k]] - dates[steps.row[k - 1]]) / 86_400e9 > _GAP_DAYS:
            continue
        if abs(steps.price_step[k] - step) > 0.05:
            continue  # the adjusted close has it already
        if abs(float(np.log(steps.split[k]))) > 0.05:
            continue  # it is recorded
        if opened is not None and np.isfinite(opened[k]) and opened[k] > 0:
            night = float(np.log(opened[k] / steps.close[k - 1]))
            if abs(night - size) > min(max(2 * usual, 0.02), 0.8 * nearest_ratio):
                continue
        if not _stays(steps, k, size, usual):
            continue
        ratio = float(np.exp(-size))
        if volume is not None and _busy(steps, volume, k, ratio):
            continue
        rows = steps.rows_before(bars, k)
        message = (
            f"the close went from {steps.close[k - 1]:g} to {steps.close[k]:g} overnight, as a split of {ratio:.4g} "
            "does, and no split is recorded"
        )
        edits, cure = _edits(bars, rows, steps.row[k : k + 1], ratio)
        found.append(
            finding(
                bars,
                "splits",
                steps.row[k : k + 1],
                message=message,
                cure=f"if it was a split: {cure}",
                edits=edits,
                split=ratio,
            )
        )
    return found


def _edits(bars: Bars, before: np.ndarray, row: np.ndarray, ratio: float) -> tuple[tuple[Edit, ...], str]:
    """Record the split where others are recorded; else bring all that is before it to shares of after it."""
    if "split" in bars.table:
        recorded: tuple[Edit, ...] = (Put("split", row, ratio),)
        if "adjusted_close" not in bars.table:
            return recorded, f"record a split of {ratio:.4g}"
        scaled = Scale(("adjusted_close",), before, 1 / ratio)
        return (*recorded, scaled), f"record a split of {ratio:.4g} and divide the adjusted close before it by that"
    columns = (*bars.price_fields, *(("dividend",) if "dividend" in bars.table else ()))
    edits: tuple[Edit, ...] = (Scale(columns, before, 1 / ratio),)
    if "volume" in bars.table:
        edits = (*edits, Scale(("volume",), before, ratio))
    return edits, f"divide prices before it by {ratio:.4g} and multiply volume by that"


def _busy(steps: Steps, volume: np.ndarray, k: int, ratio: float) -> bool:
    """News is traded on: four times the shares of an ordinary day, as counted after the split."""
    usual = volume[max(int(steps.start[k]), k - _BEFORE) : k] * ratio
    usual = usual[np.isfinite(usual) & (usual > 0)]
    return bool(len(usual) and volume[k] > _BUSY * np.median(usual))


def _stays(steps: Steps, k: int, size: float, usual: float) -> bool:
    """The price does not come back within five rows, as it would after one wrong row."""
    after = steps.price_step[k + 1 : min(int(steps.stop[k]), k + 6)]
    return bool(np.all(np.abs(after) < max(abs(size) / 2, 4 * usual)))
