"""Delisting returns: what holders got when a name left, from a table, or by a default that is asked for by name.

Prices end before the money does. Leaving the last return out makes strategies that buy losers look better than they
were (T. Shumway, The Delisting Bias in CRSP Data, Journal of Finance 52, 1997).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from backtest.errors import DataError, SettingsError
from backtest.market.corporate_actions import Delisting, placed_actions
from backtest.market.labels import parse_dates
from backtest.market.panel import MarketPanel
from backtest.market.small_tables import read_small_table
from backtest.market.total_returns import total_returns

__all__ = ["DELISTING_RETURNS", "DelistingReport", "read_delistings", "with_delistings"]

_log = logging.getLogger("backtest.market")

DELISTING_RETURNS: Mapping[str, float] = MappingProxyType(
    {
        "performance-nyse": -0.30,
        "performance-amex": -0.30,
        "performance-nasdaq": -0.55,
        "takeover": 0.0,
    }
)
"""Returns by reason, where nothing better is known. For poor performance: the mean of those found for NYSE and AMEX
(Shumway 1997) and for Nasdaq (T. Shumway and V. Warther, The Delisting Bias in CRSP's Nasdaq Data and Its Implications
for the Size Effect, Journal of Finance 54, 1999). A takeover pays about the last price. Never applied unless passed."""

_COLUMNS = {
    "symbol": ("symbol", "ticker", "asset"),
    "date": ("date", "delisting_date"),
    "return": ("return", "delisting_return"),
    "reason": ("reason",),
}
_LARGEST = 3.0  # a return above 300% is more likely a percentage


def read_delistings(path: str | Path, *, defaults: Mapping[str, float] | None = None) -> tuple[Delisting, ...]:
    """Read a CSV with the columns symbol, date, return and reason.

    Args:
        path: of the file; symbols are text, returns are fractions, one row a symbol.
        defaults: returns by reason, for rows whose return is empty, as `DELISTING_RETURNS`; each use is logged and
            written into the reason. None: an empty return is refused.

    Returns:
        One delisting a row of the file.

    Raises:
        DataError: a column, symbol or return is missing or impossible; names file, line and symbol.
        LabelError: a date cannot be read.
    """
    file = Path(path).name
    rows = read_small_table(path, _COLUMNS)
    dates = parse_dates([row["date"] for _, row in rows], f"{file}: dates") if rows else ()
    made: dict[str, Delisting] = {}
    for (place, row), date in zip(rows, dates, strict=True):
        symbol, reason = row["symbol"], row["reason"]
        if not symbol or symbol in made:
            raise DataError(
                f"{place}: {symbol or 'no symbol'}{' is there twice' if symbol else ''}: give one row a symbol"
            )
        value, told = _return_of(row, place, defaults)
        made[symbol] = Delisting(symbol, date, value, f"{reason}{told}")
    return tuple(made.values())


def _return_of(row: Mapping[str, str], place: str, defaults: Mapping[str, float] | None) -> tuple[float, str]:
    symbol, text, reason = row["symbol"], row["return"], row["reason"]
    if text:
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not -1 <= value <= _LARGEST:
            raise DataError(
                f"{place}: {symbol}: the return {text!r} is no fraction of -1 to {_LARGEST:g}: write -0.3 for -30%"
            )
        return value, ""
    if defaults is None or reason not in defaults:
        known = "none were passed" if defaults is None else f"there are {', '.join(map(repr, defaults))}"
        raise DataError(
            f"{place}: {symbol} has no return, and no default for the reason {reason!r} ({known}): write its return, "
            "or pass defaults=DELISTING_RETURNS and write one of its reasons"
        )
    _log.warning("%s: %s: delisting return %+.0f%% by default for %r", place, symbol, 100 * defaults[reason], reason)
    return float(defaults[reason]), f" (return {defaults[reason]:+.0%} by default)"


@dataclass(frozen=True)
class DelistingReport:
    """How delistings and a panel fit; `print` it for plain words.

    Attributes:
        placed: those that are in the panel now, dated on its rows.
        not_in_panel: symbols of delistings that the panel does not have.
        later: symbols that leave after the panel's last row; their delisting is not in it.
        by_default: of `placed`, those whose name has no row in the table and got the stated default.
        unexplained: names whose prices end early, and of which no delisting says why. Their holders keep them at the
            last price for good.
    """

    placed: tuple[Delisting, ...]
    not_in_panel: tuple[str, ...]
    later: tuple[str, ...]
    by_default: tuple[str, ...]
    unexplained: tuple[str, ...]

    def __str__(self) -> str:
        def told(labels: tuple[str, ...]) -> str:
            return f"{', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}" if labels else "none"

        return "\n".join(
            [
                f"{len(self.placed)} delistings placed, {len(self.by_default)} of them by the stated default: "
                f"{told(self.by_default)}",
                f"{len(self.not_in_panel)} of names that the panel does not have: {told(self.not_in_panel)}",
                f"{len(self.later)} after the panel's end: {told(self.later)}",
                f"{len(self.unexplained)} names end early without a delisting: {told(self.unexplained)}",
            ]
        )


def with_delistings(
    panel: MarketPanel, delistings: Iterable[Delisting], *, default: float | None = None, missing_rows: int = 21
) -> tuple[MarketPanel, DelistingReport]:
    """Add delistings to a panel; the return of the row counts the delisting return in.

    A date between rows becomes the last row at or before it, which may lie after the last price.

    Args:
        panel: with prices, or returns alone.
        delistings: as of `read_delistings`; those of names that the panel does not have are reported.
        default: delisting return of names whose price is missing in the last `missing_rows` rows or more, and that have
            no delisting: they leave at the first row without a price. None leaves them as they are, and reports them.
        missing_rows: rows without a price at the panel's end that make a name one that ended.

    Returns:
        The panel, and a report of what was added, moved and left.

    Raises:
        DataError: a name has prices after its delisting, or leaves before its first price or twice.
        SettingsError: the default is no return, or `missing_rows` is no number of rows.
    """
    if default is not None and not -1 <= default <= _LARGEST:
        raise SettingsError(f"with_delistings: default is {default!r}: give a fraction from -1 on, as -0.3")
    if missing_rows < 1:
        raise SettingsError(
            f"with_delistings: missing_rows is {missing_rows!r}: give a whole number of rows, 1 or more"
        )
    known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
    last = np.where(known.any(axis=0), panel.n_periods - 1 - known[::-1].argmax(axis=0), -1)
    placed, absent, later = [], [], []
    for delisting in delistings:
        if delisting.asset not in panel.assets:
            absent.append(delisting.asset)
        elif delisting.date > panel.dates[-1] and last[panel.assets.get_loc(delisting.asset)] == panel.n_periods - 1:
            later.append(delisting.asset)
        else:
            placed.append(_on_a_row(delisting, panel, last))
    told = {delisting.asset for delisting in (*panel.delistings, *placed)} | set(later)
    ended = np.flatnonzero((last >= 0) & (last < panel.n_periods - missing_rows)).tolist()
    unexplained = [c for c in ended if panel.assets[c] not in told]
    by_default = []
    if default is not None:
        reason = "no reason known (return by the stated default)"
        by_default = [Delisting(panel.assets[c], panel.dates[last[c] + 1], default, reason) for c in unexplained]
    added = (*placed, *by_default)
    report = DelistingReport(
        placed=added,
        not_in_panel=tuple(absent),
        later=tuple(later),
        by_default=tuple(delisting.asset for delisting in by_default),
        unexplained=() if by_default else tuple(panel.assets[c] for c in unexplained),
    )
    return (_with(panel, added) if added else panel), report


def _on_a_row(delisting: Delisting, panel: MarketPanel, last: np.ndarray) -> Delisting:
    column = panel.assets.get_loc(delisting.asset)
    row = int(panel.dates.searchsorted(delisting.date, side="right")) - 1
    place = f"{panel.name}: {delisting.asset} leaves on {delisting.date:%Y-%m-%d}"
    if last[column] > row:
        raise DataError(
            f"{place} and has prices until {panel.dates[last[column]]:%Y-%m-%d}: correct the date, or give the company "
            "that trades later a label of its own"
        )
    if last[column] < 0:
        raise DataError(f"{place} and has no price at all: remove it from the panel or from the delistings")
    return replace(delisting, date=panel.dates[row])


def _with(panel: MarketPanel, added: tuple[Delisting, ...]) -> MarketPanel:
    delistings = (*panel.delistings, *added)
    ordered = tuple(sorted(delistings, key=lambda delisting: delisting.date))
    actions = placed_actions(ordered, panel.spin_offs, dates=panel.dates, assets=panel.assets, where=panel.name)
    returns, tradable = panel.returns.copy(), panel.tradable.copy()
    earned = None
    if panel.prices is not None:
        earned = total_returns(panel.prices, dividends=panel.dividends, splits=panel.splits, actions=actions)
    for delisting in added:
        row, column = panel.row(delisting.date), panel.assets.get_loc(delisting.asset)
        tradable[row:, column] = False
        if earned is not None:
            returns[row, column] = earned[row, column]
        else:
            before = returns[row, column]
            returns[row, column] = (1 + (0.0 if np.isnan(before) else before)) * (1 + delisting.delisting_return) - 1
    return replace(panel, delistings=delistings, returns=returns, tradable=tradable)
