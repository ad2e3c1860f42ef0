"""Securities that are not what their label says: another company under the ticker, or a copy of another column."""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.finders.steps import steps_of
from backtest.market.findings import Drop, Edit, Finding, Rename, finding

__all__ = ["find_identical_columns", "find_ticker_reuse"]

_LEAST_GAP = 90
"""Calendar days without a price after which a jump may be another company."""
_LEAST_RATIO = 3.0


def find_ticker_reuse(bars: Bars) -> list[Finding]:
    """Find gaps of 90 days or more after which the price is a third or three times what it was: two companies."""
    if not bars.price_fields:
        return []
    steps = steps_of(bars)
    days = bars.dates.asi8[steps.row] / 86_400e9
    gap = days - steps.before(days)
    moved = np.abs(steps.total_step + np.log(steps.split))
    found: list[Finding] = []
    for k in np.flatnonzero(
        (gap >= _LEAST_GAP) & (moved > np.log(_LEAST_RATIO)) & (np.abs(steps.total_step) > 1)
    ).tolist():
        rows = steps.rows_before(bars, k)
        # rows of earlier holders of the ticker keep the label that their own finding gives them
        earlier = [f for f in found if f.symbol == str(bars.symbols[bars.codes[steps.row[k]]])]
        if earlier:
            rows = rows[len(earlier[-1].edits[0].rows) :] if isinstance(earlier[-1].edits[0], Rename) else rows
        last = bars.dates[steps.row[k - 1]]
        symbol = str(bars.symbols[bars.codes[steps.row[k]]])
        label = f"{symbol}.until-{last:%Y-%m-%d}"
        message = (
            f"no price for {gap[k]:.0f} days after {last:%Y-%m-%d} ({steps.close[k - 1]:g}), then "
            f"{steps.close[k]:g} on {bars.dates[steps.row[k]]:%Y-%m-%d}: another company under the ticker"
        )
        edits: tuple[Edit, ...] = (Rename(rows, label),)
        found.append(
            finding(
                bars, "reuse", rows, message=message, cure=f"name the rows before the gap {label!r}", edits=edits,
                gap_days=gap[k], ratio=np.exp(steps.price_step[k]),
            )
        )  # fmt: skip
    return found


def find_identical_columns(bars: Bars) -> list[Finding]:
    """Find securities with the same known closes on the same dates as another (10 of them or more)."""
    price, stamps = bars.values(bars.price), bars.dates.asi8
    starts = bars.starts()
    seen: dict[tuple[bytes, bytes], int] = {}
    found = []
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        known = np.isfinite(price[start:stop])
        if known.sum() < 10:
            continue
        key = (price[start:stop][known].tobytes(), stamps[start:stop][known].tobytes())
        first = seen.setdefault(key, start)
        if first != start:
            other = bars.symbols[bars.codes[first]]
            rows = np.arange(start, stop)
            edits: tuple[Edit, ...] = (Drop(rows),)
            message = f"all {int(known.sum())} closes are those of {other!r}"
            cure = f"one is a copy: drop it, or correct {other!r}"
            found.append(finding(bars, "identical", rows, message=message, cure=cure, edits=edits))
    return found
