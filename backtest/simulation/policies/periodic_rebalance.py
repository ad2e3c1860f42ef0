"""A policy that decides once a week, month, quarter or year, or every so many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision
from backtest.simulation.policies.wrapping import WrappedPolicy, decide_some

__all__ = ["PeriodicRebalance"]

CALENDAR = ("week", "month", "quarter", "year")
NOT_YET = -1


@dataclass(frozen=True)
class PeriodicRebalance(WrappedPolicy):
    """Asks a policy at the first decision of each calendar period, and otherwise lets the books drift.

    A book that holds nothing is decided at once, on whatever row. A trade that could not be done, because a name
    had no price or the policy failed, is not made up for before the next period.

    Attributes:
        policy: what decides; its constraints hold when it decides, and may be left by drift in between.
        every: "week" (from Monday), "month", "quarter" or "year", by the date of the decision; or a number of rows,
            counted from the first decision of the run.

    Raises:
        SettingsError: `every` is none of these.
    """

    every: Literal["week", "month", "quarter", "year"] | int
    _period: np.ndarray = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64), kw_only=True, repr=False, compare=False
    )
    _first_row: np.ndarray = field(default_factory=lambda: np.array([NOT_YET]), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = isinstance(self.every, int | np.integer) and not isinstance(self.every, bool)
        if not (self.every in CALENDAR if isinstance(self.every, str) else whole and self.every >= 1):
            names = ", ".join(f'"{name}"' for name in CALENDAR)
            raise SettingsError(f"PeriodicRebalance: every is {self.every!r}: give {names} or a number of rows from 1")

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> PeriodicRebalance:
        """Return this policy with the calendar period of each row, and the policy within prepared."""
        policy = self.policy.prepare(dates, assets, lag=lag)
        return replace(self, policy=policy, _period=_periods(dates, self.every))

    def memory(self) -> dict[str, np.ndarray]:
        """Return the row of the first decision, and the memory of the policy within."""
        within = {f"policy.{name}": values for name, values in self.policy.memory().items()}
        return {"first_row": self._first_row.copy(), **within}

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take up the row of the first decision, and hand the rest to the policy within."""
        self._first_row[:] = memory["first_row"]
        within = {name: values for name, values in memory.items() if name.startswith("policy.")}
        self.policy.restore({name.removeprefix("policy."): values for name, values in within.items()})

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Return what the policy within decides where it is asked, and what is held elsewhere."""
        assert market.rows is not None
        row = int(market.rows[0])
        if self._first_row[0] == NOT_YET:
            self._first_row[0] = row
        empty = (held == 0).all(axis=1) & tradable.any(axis=1)
        return decide_some(self.policy, p, held, market, tradable, rows=empty | self._is_due(row))

    def _is_due(self, row: int) -> bool:
        first = int(self._first_row[0])
        if not isinstance(self.every, str):
            return (row - first) % int(self.every) == 0
        return row == first or bool(self._period[row] != self._period[row - 1])


def _periods(dates: pd.DatetimeIndex, every: str | int) -> np.ndarray:
    """Return the number of the calendar period of each date (T,); of nothing where periods are no calendar's."""
    if every == "week":
        # The first of January 1970 was a Thursday: three days after a Monday.
        days = dates.to_numpy(dtype="datetime64[D]").astype(np.int64)
        return np.asarray((days + 3) // 7)
    months = dates.to_numpy(dtype="datetime64[M]").astype(np.int64)
    length = {"month": 1, "quarter": 3, "year": 12}.get(str(every))
    return np.zeros(0, dtype=np.int64) if length is None else np.asarray(months // length)
