"""Prices in another unit for some rows: pence among pounds (100 times), tenths of a thousandth (10,000 times).

Which unit is right the prices alone cannot say. The rows on which most shares traded are taken to be right; where no
volume is known, the unit of two thirds of the rows; else nothing is repaired.
"""

from __future__ import annotations

import itertools

import numpy as np

from backtest.market.bars import Bars
from backtest.market.finders.steps import Steps, local_deviation, steps_of
from backtest.market.findings import Edit, Finding, Scale, finding

__all__ = ["find_unit_errors"]

KIND = "units"
_FACTORS = (100.0, 1000.0, 10_000.0)
_SHARE = 2 / 3


def find_unit_errors(bars: Bars) -> list[Finding]:
    """Find stretches of rows, and single cells of a bar, that are 100, 1,000 or 10,000 times off."""
    if not bars.price_fields:
        return []
    steps = steps_of(bars)
    return _stretches(bars, steps) + _cells(bars, steps)


def _power(step: float, tolerance: float) -> float:
    """The factor that a log step is within a tolerance, signed as a power: 100 or 0.01; 1 where it is none."""
    for factor in _FACTORS:
        if abs(abs(step) - np.log(factor)) < tolerance:
            return factor if step > 0 else 1 / factor
    return 1.0


def _stretches(bars: Bars, steps: Steps) -> list[Finding]:
    jumps: dict[int, list[tuple[int, float]]] = {}
    for k in np.flatnonzero(np.abs(steps.price_step) > 4).tolist():
        start, stop = int(steps.start[k]), int(steps.stop[k])
        usual = local_deviation(steps.price_step, k, start, stop)
        factor = _power(float(steps.price_step[k]), max(0.1, min(4 * usual, 0.4)))
        split = np.prod(steps.split[max(start, k - 1) : min(stop, k + 2)])
        if factor != 1.0 and abs(np.log(split * factor)) > 0.5:
            jumps.setdefault(start, []).append((k, factor))
    found = []
    for start, changes in jumps.items():
        found += _of_security(bars, steps, start, int(steps.stop[start]), changes)
    return found


def _of_security(bars: Bars, steps: Steps, start: int, stop: int, changes: list[tuple[int, float]]) -> list[Finding]:
    """Every stretch that is not in the unit of the one taken to be right."""
    edges = [start, *(k for k, _ in changes), stop]
    scales = np.round(np.cumsum([0.0, *(np.log10(factor) for _, factor in changes)]), 6)
    rows = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
    right, why = _right_unit(bars, steps, scales, rows)
    found = []
    for scale, stretch in zip(scales, rows, strict=True):
        if right is not None and scale == right:
            continue
        factor = float(10.0 ** ((right if right is not None else scales[0]) - scale))
        if right is None and factor == 1.0:
            continue
        low, high = int(steps.row[stretch[0]]), int(steps.row[stretch[-1]])
        all_rows = np.arange(low, high + 1)
        beside = stretch[-1] + 1 if stretch[-1] + 1 < stop else stretch[0] - 1
        own = steps.close[stretch[-1] if beside > stretch[-1] else stretch[0]]
        ratio = f"{1 / factor:g} times above" if factor < 1 else f"{factor:g} times below"
        message = f"{len(stretch)} rows are {ratio} their neighbours ({own:g} beside {steps.close[beside]:g})"
        edits: tuple[Edit, ...] = (Scale(bars.price_fields, all_rows, factor),) if right is not None else ()
        cure = (
            f"multiply their prices by {factor:g}: {why}"
            if right is not None
            else "the rows are in two units, and neither their number nor volume says which is right: correct the file"
        )
        found.append(
            finding(
                bars, KIND, all_rows, message=message, cure=cure, safe=right is not None, edits=edits, factor=factor
            )
        )
    return found


def _right_unit(bars: Bars, steps: Steps, scales: np.ndarray, rows: list[np.ndarray]) -> tuple[float | None, str]:
    units = np.unique(scales)
    if "volume" in bars.table:
        volume = np.nan_to_num(bars.values("volume"))[steps.row]
        traded = np.array([sum(volume[r].sum() for s, r in zip(scales, rows, strict=True) if s == u) for u in units])
        if traded.max() > _SHARE * traded.sum() > 0:
            return float(units[traded.argmax()]), "shares were traded at the other level"
    counts = np.array([sum(len(r) for s, r in zip(scales, rows, strict=True) if s == u) for u in units])
    if counts.max() > _SHARE * counts.sum():
        return float(units[counts.argmax()]), "most rows are at the other level"
    return None, ""


def _cells(bars: Bars, steps: Steps) -> list[Finding]:
    """Open, high or low far from the close of the same row by exactly such a factor."""
    found: list[Finding] = []
    if "close" not in bars.table:
        return found
    codes = bars.codes
    for field in ("open", "high", "low"):
        if field not in bars.table:
            continue
        values = bars.values(field)[steps.row]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            off = np.log(values / steps.close)
        for k in np.flatnonzero(np.isfinite(off) & (np.abs(off) > 4)).tolist():
            factor = _power(float(-off[k]), 0.2)
            if factor == 1.0:
                continue
            row = steps.row[k : k + 1]
            message = f"{field} is {values[k]:g} where the close is {steps.close[k]:g} ({bars.symbols[codes[row[0]]]})"
            edits: tuple[Edit, ...] = (Scale((field,), row, factor),)
            cure = f"multiply the {field} by {factor:g}"
            found.append(finding(bars, KIND, row, message=message, cure=cure, safe=True, edits=edits, factor=factor))
    return found
