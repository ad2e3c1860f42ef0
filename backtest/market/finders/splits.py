"""Splits that are not applied, applied twice, on the wrong row, or that never happened.

The strongest evidence is the adjusted close against the close, the splits and the dividends of the same row: a genuine
extreme moves close and adjusted close together, a fault moves one of them alone, or by the factor of a split.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.market.bars import Bars
from backtest.market.finders.convention import Convention, event_steps, price_convention
from backtest.market.finders.possible_splits import possible_splits
from backtest.market.finders.steps import Steps, local_deviation, steps_of
from backtest.market.findings import Edit, Finding, Put, Scale, finding

__all__ = ["find_split_faults"]

KIND = "splits"
_LEAST_JUMP = 0.2
"""Log return below which nothing is taken for a split."""
_DEVIATIONS = 6.0
"""A jump is this many usual returns or more."""
_SURE = 0.025
"""How near a ratio, in logarithms, an unrecorded split must be where other splits are recorded."""
_NEAR = 10
"""Rows around a recorded split in which its jump is looked for."""


def find_split_faults(bars: Bars) -> list[Finding]:
    """Find splits that the adjusted close has wrong, with the factor and the rows that cure it.

    Args:
        bars: with an adjusted close, or a close and splits; a close alone shows only possible splits, which are never
            safe.
    """
    steps = steps_of(bars)
    if "split" not in bars.table:
        return possible_splits(bars, steps) if "close" in bars.table else []
    convention = price_convention(bars, steps)
    if convention.close_is_raw:
        if "adjusted_close" not in bars.table or "close" not in bars.table:
            return []
        found = _recorded(bars, steps)
        known = {(fault.symbol, fault.first) for fault in found}
        found += [fault for fault in _unexplained(bars, steps, convention) if (fault.symbol, fault.first) not in known]
        # a file that records other splits may lack one: suggested where the price leaves little doubt
        spans = [(fault.symbol, fault.first, fault.last + pd.Timedelta(days=_NEAR)) for fault in found]
        found += [
            fault
            for fault in possible_splits(bars, steps, nearest_ratio=_SURE)
            if not any(symbol == fault.symbol and low <= fault.first <= high for symbol, low, high in spans)
        ]
    else:
        found = _around_recorded(bars, steps)
        if "adjusted_close" in bars.table and "close" in bars.table:
            found += _unexplained(bars, steps, convention)
    return found


def _jump(steps: Steps, k: int) -> float:
    """The size from which a total return at row k is a jump."""
    usual = local_deviation(steps.price_step, k, int(steps.start[k]), int(steps.stop[k]))
    return max(_LEAST_JUMP, _DEVIATIONS * usual)


def _recorded(bars: Bars, steps: Steps) -> list[Finding]:
    """Raw close: recorded splits without a jump of the price, and those that the adjusted close leaves out."""
    found = []
    logs = np.log(steps.split)
    for k in np.flatnonzero((np.abs(logs) > 0.05) & (np.abs(steps.total_step) > _LEAST_JUMP)).tolist():
        size, total, jump = float(logs[k]), float(steps.total_step[k]), _jump(steps, k)
        ratio = float(steps.split[k])
        before = steps.rows_before(bars, k)
        if abs(total) < jump:
            continue
        if abs(total - size) < min(0.5 * abs(size), jump / 2):
            edits: tuple[Edit, ...] = (
                Put("split", steps.row[k : k + 1], 1.0),
                Scale(("adjusted_close",), before, ratio),
            )
            message = (
                f"a split of {ratio:g} that did not happen: the close went from {steps.close[k - 1]:g} to "
                f"{steps.close[k]:g}, and the total return would be {np.expm1(total):+.1%}"
            )
            cure = f"remove the split and multiply the adjusted close before it by {ratio:g}"
        elif abs(total + size) < jump / 2 and abs(steps.adjustment_step[k]) < 0.2 * abs(size):
            edits = (Scale(("adjusted_close",), before, 1 / ratio),)
            message = (
                f"a split of {ratio:g} that the adjusted close leaves out: it went from {steps.adjusted[k - 1]:g} to "
                f"{steps.adjusted[k]:g} ({np.expm1(total):+.1%})"
            )
            cure = f"divide the adjusted close before it by {ratio:g}"
        else:
            continue
        found.append(
            finding(
                bars, KIND, steps.row[k : k + 1], message=message, cure=cure, safe=True, edits=edits, split=ratio,
                total_return=np.expm1(total),
            )
        )  # fmt: skip
    return found


def _around_recorded(bars: Bars, steps: Steps) -> list[Finding]:
    """Close adjusted for splits: near a recorded split, prices still jump by its factor."""
    found = []
    logs = np.log(steps.split)
    for k in np.flatnonzero(np.abs(logs) > _LEAST_JUMP).tolist():
        size = abs(float(logs[k]))
        low, high = max(int(steps.start[k]) + 1, k - _NEAR), min(int(steps.stop[k]), k + _NEAR + 1)
        jumps = []
        for j in range(low, high):
            step = float(steps.total_step[j])
            if abs(step) > max(0.5 * size, 4 * _usual(steps, j)) and abs(abs(step) - size) < 0.3 * size:
                jumps.append(j)
        if not jumps or len(jumps) > 2:
            continue
        first = jumps[0]
        # what is left of the jump without the split is a day like others
        left = max(abs(abs(float(steps.total_step[j])) - size) / max(0.1, 3 * _usual(steps, j)) for j in jumps)
        down = float(steps.total_step[first]) < 0
        # what brings the rows before the jump to the level after it
        factor = float(np.exp(-size if down else size))
        if len(jumps) == 2:
            second = jumps[1]
            if (steps.total_step[second] < 0) == down:
                continue
            rows, factor = np.arange(steps.row[first], steps.row[second]), 1 / factor
        else:
            if abs(steps.total_step[first]) < _jump(steps, first):
                continue
            rows = steps.rows_before(bars, first)
        edits = _rescaled(bars, rows, factor)
        message = (
            f"{len(rows)} rows are off by the split of {steps.split[k]:g} on {bars.dates[steps.row[k]]:%Y-%m-%d}: the "
            f"close went from {steps.close[first - 1]:g} to {steps.close[first]:g} on "
            f"{bars.dates[steps.row[first]]:%Y-%m-%d}"
        )
        cure = f"multiply their prices by {factor:g} and divide their volume by it"
        found.append(
            finding(
                bars,
                KIND,
                rows,
                message=message,
                cure=cure,
                safe=left < 1,
                edits=edits,
                split=steps.split[k],
                factor=factor,
            )
        )
    return found


def _usual(steps: Steps, k: int) -> float:
    return local_deviation(steps.price_step, k, int(steps.start[k]), int(steps.stop[k]))


def _rescaled(bars: Bars, rows: np.ndarray, factor: float) -> tuple[Edit, ...]:
    edits: list[Edit] = [Scale(bars.price_fields, rows, factor)]
    if "volume" in bars.table:
        edits.append(Scale(("volume",), rows, 1 / factor))
    return tuple(edits)


def _unexplained(bars: Bars, steps: Steps, convention: Convention) -> list[Finding]:
    """Steps of the adjustment that no recorded event explains and that make a jump out of an ordinary day."""
    found = []
    extra = steps.adjustment_step - event_steps(steps, convention)
    done = -1
    for k in np.flatnonzero(np.abs(extra) > 0.1).tolist():
        if k <= done:
            continue
        size, total = float(extra[k]), float(steps.total_step[k])
        ordinary = abs(total - size) < max(abs(total) / 3, 0.0)
        if ordinary and abs(total) >= _jump(steps, k):
            fault, done = _wrong_adjustment(bars, steps, convention, k, size)
            found.append(fault)
        elif convention.close_is_raw and _simple(np.exp(size)) and abs(total) < _jump(steps, k) <= abs(total - size):
            ratio = _simple(np.exp(size))
            row = steps.row[k : k + 1]
            message = (
                f"the adjusted close shows a split of {ratio:g} that is not recorded: the close went from "
                f"{steps.close[k - 1]:g} to {steps.close[k]:g}, the adjusted close from {steps.adjusted[k - 1]:g} to "
                f"{steps.adjusted[k]:g}"
            )
            edits: tuple[Edit, ...] = (Put("split", row, float(steps.split[k]) * ratio),)
            cure = f"record the split of {ratio:g}; the adjusted close stays"
            found.append(finding(bars, KIND, row, message=message, cure=cure, safe=True, edits=edits, split=ratio))
    return found


def _wrong_adjustment(bars: Bars, steps: Steps, convention: Convention, k: int, size: float) -> tuple[Finding, int]:
    """The adjusted close alone jumps at row k: for some rows, where it comes back, else for all rows before."""
    factor = float(np.exp(size))
    stop = min(int(steps.stop[k]), k + _NEAR + 1)
    back = [
        j for j in range(k + 1, stop) if abs(steps.total_step[j] + size) < max(0.15 * abs(size), 2 * _usual(steps, k))
    ]
    seen = (
        f"the adjusted close went from {steps.adjusted[k - 1]:g} to {steps.adjusted[k]:g} "
        f"({np.expm1(float(steps.total_step[k])):+.1%}) where the close went from {steps.close[k - 1]:g} to "
        f"{steps.close[k]:g}, and no split or dividend says so"
    )
    if not back:
        rows = steps.row[k : k + 1]
        edits: tuple[Edit, ...] = (Scale(("adjusted_close",), steps.rows_before(bars, k), factor),)
        cure = f"rows before are adjusted twice: multiply their adjusted close by {factor:g}"
        return finding(bars, KIND, rows, message=seen, cure=cure, safe=True, edits=edits, factor=factor), k
    end = back[0]
    rows = np.arange(steps.row[k], steps.row[end])
    made: list[Edit] = [Scale(("adjusted_close",), rows, 1 / factor)]
    cure = f"divide the adjusted close of {len(rows)} rows by {factor:g}"
    moved = abs(steps.price_step[end] + size) < max(0.15 * abs(size), 2 * _usual(steps, k))
    ratio = _simple(factor)
    if moved and convention.close_is_raw and ratio:
        made.append(Put("split", steps.row[end : end + 1], float(steps.split[end]) * ratio))
        cure += f", and record the split of {ratio:g} on {bars.dates[steps.row[end]]:%Y-%m-%d}, where the close has it"
    return finding(bars, KIND, rows, message=seen, cure=cure, safe=True, edits=tuple(made), factor=factor), end


def _simple(ratio: float) -> float:
    """The fraction of small whole numbers that a ratio is, to a thousandth, else 0."""
    for below in range(1, 11):
        above = round(ratio * below)
        if 0 < above <= 50 and abs(above / below / ratio - 1) < 1e-3 and above != below:
            return above / below
    below = round(1 / ratio)
    return 1 / below if 1 < below <= 100 and abs(1 / below / ratio - 1) < 1e-3 else 0.0
