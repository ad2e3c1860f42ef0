"""Finders: one for each kind of problem, each a function of bars alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backtest.errors import SettingsError
from backtest.market.bars import Bars
from backtest.market.finders.dividends import find_dividend_faults
from backtest.market.finders.identity import find_identical_columns, find_ticker_reuse
from backtest.market.finders.impossible import find_impossible_values
from backtest.market.finders.rows import find_duplicate_rows, find_frequency_faults
from backtest.market.finders.splits import find_split_faults
from backtest.market.finders.still import find_backfilled_history, find_stale_runs, find_zero_volume
from backtest.market.finders.units import find_unit_errors
from backtest.market.findings import Finding, Findings

__all__ = ["FINDERS", "find_problems"]

FINDERS: dict[str, Callable[[Bars], list[Finding]]] = {
    "duplicates": find_duplicate_rows,
    "frequency": find_frequency_faults,
    "reuse": find_ticker_reuse,
    "units": find_unit_errors,
    "impossible": find_impossible_values,
    "splits": find_split_faults,
    "dividends": find_dividend_faults,
    "backfill": find_backfilled_history,
    "stale": find_stale_runs,
    "zero_volume": find_zero_volume,
    "identical": find_identical_columns,
}
"""By kind, in the order in which repairs are made: rows, then who they belong to, then levels, then steps."""


def find_problems(bars: Bars, kinds: Iterable[str] | None = None) -> Findings:
    """Find what is wrong with bars; nothing is changed.

    Args:
        bars: of prices; bars of returns are only looked through for repeated rows.
        kinds: of problems to look for, all of `FINDERS` when left out.

    Raises:
        SettingsError: there is no such kind.
    """
    wanted = list(FINDERS) if kinds is None else list(kinds)
    unknown = [kind for kind in wanted if kind not in FINDERS]
    if unknown:
        raise SettingsError(f"no finder is called {unknown[0]!r}: choose among {', '.join(FINDERS)}")
    if not bars.price_fields:
        wanted = [kind for kind in wanted if kind in ("duplicates", "frequency")]
    return Findings(found for kind in wanted for found in FINDERS[kind](bars))
