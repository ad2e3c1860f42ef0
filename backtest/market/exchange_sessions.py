"""A panel against an exchange's calendar: sessions that are missing, rows on days without one.

Calendars are those of the package exchange_calendars (Apache-2.0), by ISO code ("XNYS", "XLON") or alias ("NYSE").
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["SessionReport", "missing_sessions", "suggest_calendar"]

_CANDIDATES = (
    "XNYS",
    "XLON",
    "XTKS",
    "XHKG",
    "XSHG",
    "XKRX",
    "XBOM",
    "XFRA",
    "XPAR",
    "XAMS",
    "XMIL",
    "XMAD",
    "XSWX",
    "XSTO",
    "XTSE",
    "XASX",
    "BVMF",
    "XTAI",
    "XSES",
    "XJSE",
    "24/5",
    "24/7",
)
_DAILY = 200  # periods a year from which a panel counts as daily


@dataclass(frozen=True, eq=False)
class SessionReport:
    """What a calendar says of a panel; `print` it for plain words.

    Attributes:
        calendar: code of the calendar.
        sessions: how many there are from the panel's first to its last date.
        missing_rows: (M,) sessions that are no row of the panel, so missing for every name.
        extra_rows: (E,) rows of the panel on days without a session.
        gaps: a row for each run of sessions without a price of a name, inside its life (from its first to its last
            known price): symbol, first, last, sessions. Sessions of `missing_rows` are not repeated here.
        extra_prices: a row for each of `extra_rows` on which a name has a price: date, symbols (how many), example.
    """

    calendar: str
    sessions: int
    missing_rows: pd.DatetimeIndex
    extra_rows: pd.DatetimeIndex
    gaps: pd.DataFrame
    extra_prices: pd.DataFrame

    def __str__(self) -> str:
        count = int(self.gaps["sessions"].sum())
        lines = [
            f"{self.calendar}: {self.sessions} sessions",
            f"{len(self.missing_rows)} sessions are no row: {_days(self.missing_rows)}",
            f"{len(self.extra_rows)} rows are no session: {_days(self.extra_rows)}",
            f"{count} sessions without a price inside a name's life, in {len(self.gaps)} runs of "
            f"{self.gaps['symbol'].nunique()} names",
        ]
        longest = self.gaps.sort_values("sessions", ascending=False, kind="stable").head(5)
        for gap in longest.to_dict("records"):
            lines.append(f"  {gap['symbol']}: {gap['sessions']} from {_days([gap['first']])} to {_days([gap['last']])}")
        return "\n".join(lines)


def missing_sessions(panel: MarketPanel, calendar: str) -> SessionReport:
    """Compare the rows of a daily panel with the sessions of an exchange.

    Args:
        panel: daily; a price is known where it has one, or without prices where it has a return.
        calendar: code or alias, as "XNYS"; `suggest_calendar(panel)` finds the best.

    Raises:
        SettingsError: there is no such calendar.
        DataError: the panel is not daily, or reaches beyond what the calendar knows.
    """
    _require_daily(panel)
    sessions = _sessions(calendar, panel.dates[0], panel.dates[-1])
    is_session = np.asarray(panel.dates.isin(sessions))
    known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
    extra = np.flatnonzero(~is_session)
    extra = extra[known[extra].any(axis=1)]
    return SessionReport(
        calendar=calendar,
        sessions=len(sessions),
        missing_rows=sessions.difference(panel.dates),
        extra_rows=panel.dates[~is_session],
        gaps=_gaps(known[is_session], panel.dates[is_session], panel.assets),
        extra_prices=pd.DataFrame(
            {
                "date": panel.dates[extra],
                "symbols": known[extra].sum(axis=1),
                "example": panel.assets[known[extra].argmax(axis=1)] if len(extra) else [],
            }
        ),
    )


def suggest_calendar(panel: MarketPanel, candidates: Sequence[str] = _CANDIDATES) -> pd.DataFrame:
    """Rank calendars by how well their sessions are the rows of a daily panel, over its last ten years.

    Args:
        panel: daily.
        candidates: codes to try; the largest exchanges unless given.

    Returns:
        A row for each calendar, the best first: calendar, agreement (days that are session and row, as a share of
        those that are either), missing (sessions that are no row), extra (rows that are no session). Calendars that
        do not reach over these years have NaN and stand last. Several exchanges of one country agree: the first is one
        of them.

    Raises:
        SettingsError: there is no such calendar.
        DataError: the panel is not daily.
    """
    _require_daily(panel)
    dates = panel.dates[panel.dates >= panel.dates[-1] - pd.DateOffset(years=10)]
    found = []
    for calendar in candidates:
        try:
            sessions = _sessions(calendar, dates[0], dates[-1])
        except DataError:
            found.append((calendar, np.nan, np.nan, np.nan))
            continue
        both = len(dates.intersection(sessions))
        found.append((calendar, both / len(dates.union(sessions)), len(sessions) - both, len(dates) - both))
    table = pd.DataFrame(found, columns=["calendar", "agreement", "missing", "extra"])
    return table.sort_values("agreement", ascending=False, kind="stable", ignore_index=True)


def _sessions(calendar: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    try:
        import exchange_calendars
    except ImportError as error:
        raise SettingsError(
            "calendars come with the package exchange_calendars, which is not installed: pip install exchange_calendars"
        ) from error
    with warnings.catch_warnings():
        # the package (4.13) calls what pandas 3.1 deprecates
        warnings.filterwarnings("ignore", category=getattr(pd.errors, "Pandas4Warning", DeprecationWarning))
        try:
            # a day more on either side: a calendar must have two sessions at least
            day = pd.Timedelta(days=14)
            made = exchange_calendars.get_calendar(calendar, start=first - day, end=last + day)
        except exchange_calendars.errors.InvalidCalendarName as error:
            raise SettingsError(
                f"no calendar is called {calendar!r}: give a code as XNYS, XLON or XTKS "
                "(exchange_calendars.get_calendar_names())"
            ) from error
        except ValueError as error:
            raise DataError(
                f"calendar {calendar} does not reach from {first:%Y-%m-%d} to {last:%Y-%m-%d} ({error}): "
                "cut the panel to the years that it knows"
            ) from error
    sessions = pd.DatetimeIndex(made.sessions.to_numpy(dtype="datetime64[ns]"))
    return sessions[(sessions >= first) & (sessions <= last)]


def _gaps(known: np.ndarray, dates: pd.DatetimeIndex, assets: pd.Index) -> pd.DataFrame:
    """Runs of unknown rows of each column between known ones."""
    found: list[tuple[str, pd.Timestamp, pd.Timestamp, int]] = []
    for column in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)).tolist():
        rows = np.flatnonzero(known[:, column])
        for place in np.flatnonzero(np.diff(rows) > 1).tolist():
            first, last = int(rows[place]) + 1, int(rows[place + 1]) - 1
            found.append((assets[column], dates[first], dates[last], last - first + 1))
    return pd.DataFrame(found, columns=["symbol", "first", "last", "sessions"])


def _require_daily(panel: MarketPanel) -> None:
    if panel.periods_per_year < _DAILY:
        raise DataError(
            f"{panel.name}: {panel.periods_per_year:g} periods a year: sessions are days, so check the daily panel "
            "before it is resampled"
        )
    odd = np.flatnonzero(panel.dates != panel.dates.normalize())
    if len(odd):
        raise LabelError(
            f"{panel.name}: row {odd[0]} is at {panel.dates[odd[0]]}, not at midnight: pass dates of trading days"
        )


def _days(days: Sequence[pd.Timestamp] | pd.DatetimeIndex) -> str:
    if not len(days):
        return "none"
    return ", ".join(f"{day:%Y-%m-%d}" for day in days[:6]) + (", ..." if len(days) > 6 else "")
