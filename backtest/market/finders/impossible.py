"""Values that cannot be: infinite, zero or negative prices, negative volume, dividends and splits."""

from __future__ import annotations

import numpy as np

from backtest.market.bars import Bars
from backtest.market.findings import Edit, Finding, Put, finding

__all__ = ["find_impossible_values"]

KIND = "impossible"


def find_impossible_values(bars: Bars) -> list[Finding]:
    """Find prices that are infinite or not positive, and negative or infinite volumes, dividends and splits.

    An adjusted close is made anew from the close where the rows on both sides are adjusted by one factor; everything
    else becomes missing.
    """
    found = []
    codes = bars.codes
    for field in bars.fields:
        if field == "return":
            continue
        values = bars.values(field)
        # NaN compares as False
        wrong = np.isinf(values) | ((values <= 0) if field in bars.price_fields else (values < 0))
        rows = np.flatnonzero(wrong)
        for code in np.unique(codes[rows]).tolist():
            mine = rows[codes[rows] == code]
            new = _rebuilt(bars, mine) if field == "adjusted_close" and "close" in bars.table else None
            rebuilt = new is not None and bool(np.isfinite(new).all())
            edits: tuple[Edit, ...] = (Put(field, mine, np.nan if new is None else new),)
            verb = "is" if len(mine) == 1 else "are"
            message = f"{len(mine)} {field} {verb} impossible, first {values[mine[0]]:g} at {bars.place(int(mine[0]))}"
            cure = "make it from the close and the adjustment on both sides" if rebuilt else "make them missing"
            if new is not None and not rebuilt and np.isfinite(new).any():
                cure = "make them from the close where the adjustment on both sides is one, else missing"
            found.append(finding(bars, KIND, mine, message=message, cure=cure, safe=rebuilt, edits=edits))
    return found


def _rebuilt(bars: Bars, rows: np.ndarray) -> np.ndarray:
    """Adjusted closes (len(rows),) by the factor of the nearest good rows on both sides, NaN where they differ."""
    close, adjusted, codes = bars.values("close"), bars.values("adjusted_close"), bars.codes
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = adjusted / close
    good = np.flatnonzero((factor > 1e-9) & (factor < 1e9) & (close > 0) & np.isfinite(close))
    made = np.full(len(rows), np.nan)
    after = np.searchsorted(good, rows)
    for n, (row, k) in enumerate(zip(rows.tolist(), after.tolist(), strict=True)):
        near = [int(good[j]) for j in (k - 1, k) if 0 <= j < len(good) and codes[good[j]] == codes[row]]
        if len(near) == 2 and abs(factor[near[0]] / factor[near[1]] - 1) < 1e-4 and close[row] > 0:
            made[n] = close[row] * factor[near[0]]
    return made
