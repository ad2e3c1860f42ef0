"""How a file counts: a close before or after splits, dividends by which formula, and on which row.

Alpha Vantage: raw close, 1 = no split, A / C grows by s (1 + D / C) on the ex date. Yahoo: close adjusted for
splits, 0 = no split, A / C grows by 1 / (1 - D / C'), in weekly files one row late. Which it is, the rows vote on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market.bars import Bars
from backtest.market.finders.steps import Steps, steps_of

__all__ = ["Convention", "event_steps", "price_convention"]

_CODING_VOTES = 1.5
"""How many splits the coding of "no split" counts for."""


@dataclass(frozen=True)
class Convention:
    """How the close, splits and dividends of a file are to be read.

    Attributes:
        close_is_raw: the close falls by a split on its date; else it is adjusted for splits already.
        reinvested: a dividend is reinvested at the close of its ex date (factor 1 + D / C); else at the one before
            (factor 1 / (1 - D / C')).
        lag: rows after its date on which an event shows in the adjusted close: 0, or 1 in Yahoo's weekly files.
    """

    close_is_raw: bool
    reinvested: bool
    lag: int


def price_convention(bars: Bars, steps: Steps | None = None) -> Convention:
    """Read the convention off the rows; the coding of "no split" (0 or 1) decides what they leave open."""
    steps = steps or steps_of(bars)
    coded_zero = "split" in bars.table and bool((bars.values("split") == 0).any())
    votes = -_CODING_VOTES if coded_zero else _CODING_VOTES
    logs = np.log(steps.split)
    event = (np.abs(logs) > 0.05) & np.isfinite(steps.price_step)
    jumped = np.abs(steps.price_step[event] + logs[event]) < np.abs(steps.price_step[event])
    votes += jumped.sum() - (~jumped).sum()
    raw = bool(votes > 0)
    paid = (steps.dividend > 0) & np.isfinite(steps.price_step) & (steps.dividend < 0.5 * steps.close)
    choices = [Convention(raw, reinvested, lag) for lag in (0, 1) for reinvested in ((not coded_zero), coded_zero)]
    if not paid.any() or "adjusted_close" not in bars.table:
        return choices[0]
    errors = []
    rows = np.flatnonzero(paid)
    for choice in choices:
        expected = event_steps(steps, choice)
        at = rows + choice.lag
        at = at[at < steps.stop[rows]]
        missed = np.abs(steps.adjustment_step[at] - expected[at])
        errors.append(float(np.median(missed)) if len(missed) else np.inf)
    size = float(np.median(steps.dividend[rows] / steps.close[rows]))
    best = int(np.argmin(errors))
    # a file in which most dividends are not applied says nothing about how they would be
    return choices[best] if errors[best] < 0.2 * size else choices[0]


def event_steps(steps: Steps, convention: Convention) -> np.ndarray:
    """The steps e (K,) of the adjustment that the recorded splits and dividends say, on the rows where they show."""
    events = np.log(steps.split) if convention.close_is_raw else np.zeros(len(steps.row))
    if convention.reinvested:
        events = events + np.log1p(steps.dividend / steps.close)
    else:
        # a price before the ex date that is raw counts in shares of after the split
        last = steps.before(steps.close) / (steps.split if convention.close_is_raw else 1.0)
        share = np.where(np.isfinite(last), steps.dividend / last, 0.0)
        events = events - np.log1p(-np.minimum(share, 0.99))
    if not convention.lag:
        return events
    late = steps.before(events)
    return np.where(np.isfinite(late), late, 0.0)
