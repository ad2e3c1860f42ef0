"""Dividends that the adjusted close leaves out or has in other units, and dividends that cannot be.

A dividend shows as a step of the adjustment on its row, whatever the price does on that day, so that small ones are
found too.
"""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.finders.convention import Convention, event_steps, price_convention
from backtest.market.finders.steps import Steps, local_deviation, steps_of
from backtest.market.finders.units import find_unit_errors
from backtest.market.findings import Edit, Finding, Put, Scale, finding

__all__ = ["find_dividend_faults"]

KIND = "dividends"
_UNITS = 100.0
_LARGE = 0.08
"""A dividend of this share of the price may be none at all."""
_ROUNDING = 0.006
"""Adjusted closes with two decimals are right to half a cent each."""
_MISSING_SPLITS = (1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 10)


def find_dividend_faults(bars: Bars) -> list[Finding]:
    """Find dividends of a file with an adjusted close that are not applied, in wrong units, or impossible."""
    if not {"dividend", "adjusted_close", "close"} <= set(bars.fields):
        return []
    steps = steps_of(bars)
    convention = price_convention(bars, steps)
    expected = event_steps(steps, convention)
    # prices in two units make every dividend look wrong in one of them: units first
    doubtful = {fault.symbol for fault in find_unit_errors(bars)}
    found = []
    # what a share of after the split was worth before it
    last = steps.before(steps.close) / (steps.split if convention.close_is_raw else 1.0)
    rows = np.flatnonzero((steps.dividend > 0) & np.isfinite(last))
    rows = rows[rows + convention.lag < steps.stop[rows]]
    at_rows = rows + convention.lag
    shares = steps.dividend[rows] / last[rows]
    agrees = np.abs(steps.adjustment_step[at_rows] - expected[at_rows]) < 1e-6
    # most dividends are applied to the last digit: only the others, and large ones, are looked at
    for k, share in zip(rows[~agrees | (shares > _LARGE)].tolist(), shares[~agrees | (shares > _LARGE)], strict=True):
        at = k + convention.lag
        if doubtful and str(bars.symbols[bars.codes[steps.row[k]]]) in doubtful:
            continue
        fault = (
            _impossible(bars, steps, convention, k, at)
            if share >= 1 and abs(steps.total_step[at]) > 0.2
            else _wrong_units(bars, steps, convention, expected, k, at, share)
            or _not_applied(bars, steps, convention, expected, k, at)
            or _never_paid(bars, steps, k, at, share)
        )
        if fault is not None:
            found.append(fault)
    return found


def _seen(bars: Bars, steps: Steps, k: int, at: int) -> str:
    return (
        f"a dividend of {steps.dividend[k]:g} on a close of {steps.close[k - 1]:g}: the close went to "
        f"{steps.close[k]:g}, the adjusted close from {steps.adjusted[at - 1]:g} to {steps.adjusted[at]:g} "
        f"({np.expm1(float(steps.total_step[at])):+.2%})"
    )


def _cured(bars: Bars, steps: Steps, k: int, at: int, correction: float, *, what: str, seen: str) -> Finding:
    """Rows before `at` get the step that was missing."""
    factor = float(np.exp(-correction))
    edits: tuple[Edit, ...] = (Scale(("adjusted_close",), steps.rows_before(bars, at), factor),)
    return finding(
        bars,
        KIND,
        steps.row[k : k + 1],
        message=seen + what,
        cure=f"multiply the adjusted close before it by {factor:.6g}",
        safe=True,
        edits=edits,
        dividend=steps.dividend[k],
        factor=factor,
    )


def _not_applied(
    bars: Bars, steps: Steps, convention: Convention, expected: np.ndarray, k: int, at: int
) -> Finding | None:
    step, wanted = float(steps.adjustment_step[at]), float(expected[at])
    rounding = _ROUNDING / float(steps.adjusted[at - 1]) + 2e-5
    split = float(np.log(steps.split[k])) if convention.close_is_raw else 0.0
    paid = wanted - split
    if paid < 4 * rounding or abs(step - split) > 0.25 * paid + rounding / 4:
        return None
    if _shown_near(steps, at, paid, rounding):
        return None
    return _cured(bars, steps, k, at, wanted - step, what=", which leaves it out", seen=_seen(bars, steps, k, at))


def _shown_near(steps: Steps, at: int, paid: float, rounding: float) -> bool:
    """The step is there a few rows away: the dividend is dated otherwise, and no return is lost."""
    near = np.arange(max(int(steps.start[at]) + 1, at - 5), min(int(steps.stop[at]), at + 6))
    return bool(np.any(np.abs(steps.adjustment_step[near] - paid) < 0.25 * paid + rounding / 4))


def _wrong_units(
    bars: Bars, steps: Steps, convention: Convention, expected: np.ndarray, k: int, at: int, share: float
) -> Finding | None:
    """The adjusted close takes 100 times the dividend, or a hundredth; or both do, unlike the other dividends."""
    split = float(np.log(steps.split[k])) if convention.close_is_raw else 0.0
    step = float(steps.adjustment_step[at]) - split
    others = steps.dividend[steps.start[k] : steps.stop[k]]
    others = others[(others > 0) & (np.arange(steps.start[k], steps.stop[k]) != k)]
    usual = float(np.median(others)) if len(others) >= 2 else np.nan
    row, right = steps.row[k : k + 1], float(steps.dividend[k])
    rounding = _ROUNDING / float(steps.adjusted[at - 1]) + 2e-5
    if abs(step - _one_step(steps, convention, k, right)) < max(0.1 * share, rounding):
        # applied as recorded: wrong only where the other dividends and the price say so
        if share > 0.25 and _alike(right / _UNITS, usual, 1.5) and abs(steps.price_step[k] + split) < share / 3:
            small = _one_step(steps, convention, k, right / _UNITS)
            factor = float(np.exp(step - small))
            edits: tuple[Edit, ...] = (
                Put("dividend", row, right / _UNITS),
                Scale(("adjusted_close",), steps.rows_before(bars, at), factor),
            )
            return finding(
                bars, KIND, row, message=f"{_seen(bars, steps, k, at)}; the others are about {usual:g}",
                cure=f"divide the dividend by 100 and multiply the adjusted close before it by {factor:.6g}",
                safe=True, edits=edits, dividend=right, factor=factor,
            )  # fmt: skip
        return None
    for units in (_UNITS, 1 / _UNITS):
        if right * units >= steps.close[k - 1]:
            continue
        other = _one_step(steps, convention, k, right * units)
        if abs(step - other) > 0.1 * other + rounding / 4 or other < 4 * rounding:
            continue
        if _alike(right * units, usual, 5):
            # the adjusted close is right, the dividend is not
            edits = (Put("dividend", row, right * units),)
            cure = f"write the dividend as {right * units:g}; the adjusted close stays"
        else:
            factor = float(np.exp(step - (float(expected[at]) - split)))
            edits = (Scale(("adjusted_close",), steps.rows_before(bars, at), factor),)
            cure = f"multiply the adjusted close before it by {factor:.6g}"
        what = f", as for a dividend of {right * units:g}"
        return finding(
            bars, KIND, row, message=_seen(bars, steps, k, at) + what, cure=cure, safe=True, edits=edits,
            dividend=right, applied=right * units,
        )  # fmt: skip
    return None


def _alike(dividend: float, usual: float, times: float) -> bool:
    return bool(np.isfinite(usual)) and 1 / times < dividend / usual < times


def _one_step(steps: Steps, convention: Convention, k: int, dividend: float) -> float:
    """The step of one dividend alone."""
    if convention.reinvested:
        return float(np.log1p(dividend / steps.close[k]))
    last = steps.close[k - 1] / (steps.split[k] if convention.close_is_raw else 1.0)
    return float(-np.log1p(-min(dividend / last, 0.99)))


def _impossible(bars: Bars, steps: Steps, convention: Convention, k: int, at: int) -> Finding | None:
    """More than the share was worth: units, or a reverse split that is not recorded."""
    dividend, close, last = float(steps.dividend[k]), float(steps.close[k]), float(steps.close[k - 1])
    split, row = float(steps.split[k]), steps.row[k : k + 1]
    choices = [("units", 1.0, dividend / _UNITS)]
    choices += [("split", ratio, dividend) for ratio in _MISSING_SPLITS] if convention.close_is_raw else []
    totals = [float(np.log(split * ratio * (close + paid) / last)) for _, ratio, paid in choices]
    best = int(np.argmin(np.abs(totals)))
    usual = local_deviation(steps.price_step, k, int(steps.start[k]), int(steps.stop[k]))
    if abs(totals[best]) > max(0.1, 4 * usual) or abs(steps.total_step[at]) < 3 * abs(totals[best]):
        return finding(
            bars, KIND, row, message=f"{_seen(bars, steps, k, at)}, more than the share was worth",
            cure="look up the dividend and correct the file", dividend=dividend,
        )  # fmt: skip
    what, ratio, paid = choices[best]
    factor = float(np.exp(steps.total_step[at] - totals[best]))
    fixed: Edit = Put("dividend", row, paid) if what == "units" else Put("split", row, split * ratio)
    cure = f"write the dividend as {paid:g}" if what == "units" else f"record a split of {ratio:g} on the same row"
    return finding(
        bars,
        KIND,
        row,
        message=f"{_seen(bars, steps, k, at)}, more than the share was worth; the total return would be "
        f"{np.expm1(totals[best]):+.2%} with {'a hundredth of it' if what == 'units' else f'a split of {ratio:g}'}",
        cure=f"{cure} and multiply the adjusted close before it by {factor:.6g}",
        safe=True,
        edits=(fixed, Scale(("adjusted_close",), steps.rows_before(bars, at), factor)),
        dividend=dividend,
        factor=factor,
    )


def _never_paid(bars: Bars, steps: Steps, k: int, at: int, share: float) -> Finding | None:
    """A large dividend on a day on which the price did not notice; a person must decide, so it is never safe."""
    usual = local_deviation(steps.price_step, k, int(steps.start[k]), int(steps.stop[k]))
    total = float(steps.total_step[at])
    quiet = abs(float(steps.price_step[k])) < 2 * usual
    if share < _LARGE or share < 6 * usual or not quiet or total < 6 * usual or steps.split[k] != 1:
        return None
    factor = float(np.exp(steps.adjustment_step[at]))
    edits: tuple[Edit, ...] = (
        Put("dividend", steps.row[k : k + 1], 0.0),
        Scale(("adjusted_close",), steps.rows_before(bars, at), factor),
    )
    return finding(
        bars, KIND, steps.row[k : k + 1],
        message=f"{_seen(bars, steps, k, at)}, though the price did not fall by it",
        cure=f"if it was not paid then: remove it and multiply the adjusted close before it by {factor:.6g}",
        edits=edits, dividend=steps.dividend[k], factor=factor,
    )  # fmt: skip
