"""What cash earns and debt pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.costs.holding import DAYS_IN_A_YEAR
from backtest.errors import SettingsError
from backtest.market import MarketPanel

__all__ = ["Financing"]


@dataclass(frozen=True, kw_only=True)
class Financing:
    """Rates a year around the panel's cash rate, as a prime broker keeps them on three balances.

    The proceeds of short sales are one balance, at their value when the period begins. Cash without them is the other:
    a credit when positive, a debit when negative. A book of longs worth 1.5 and shorts worth 0.5 of its wealth has
    proceeds of 0.5 and owes 0.5. Without spreads this is one rate on all cash.

    Attributes:
        credit_spread: taken off the cash rate on a credit.
        debit_spread: added to the cash rate on a debit: the margin spread.
        proceeds_spread: taken off the cash rate on short proceeds; the rest is the short rebate.
        day_count: of the spreads: "actual/365", "actual/360", or None for equal periods.

    Raises:
        SettingsError: a spread is negative or not finite, or the day count is unknown.
    """

    credit_spread: float = 0.0
    debit_spread: float = 0.0
    proceeds_spread: float = 0.0
    day_count: str | None = None

    def __post_init__(self) -> None:
        for name in ("credit_spread", "debit_spread", "proceeds_spread"):
            if not 0 <= getattr(self, name) < np.inf:
                raise SettingsError(f"Financing: {name} is {getattr(self, name)!r}: give a rate a year, 0 or more")
        if self.day_count not in (None, *DAYS_IN_A_YEAR):
            raise SettingsError(f'Financing: day_count is {self.day_count!r}: give "actual/365", "actual/360" or None')

    def rates(self, panel: MarketPanel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rates of credits, debits and short proceeds on the dates of a `panel`, (T,) each.

        Fractions per period, earned over (t, t + 1] and known at t.
        """
        base = np.zeros(panel.n_periods) if panel.cash_rate is None else panel.cash_rate
        if self.day_count is None:
            years = np.full(panel.n_periods, 1.0 / panel.periods_per_year)
        else:
            days = panel.at(np.arange(panel.n_periods)).days
            assert days is not None
            years = days / DAYS_IN_A_YEAR[self.day_count]
        credit, debit, proceeds = (
            base + sign * spread * years
            for sign, spread in ((-1, self.credit_spread), (1, self.debit_spread), (-1, self.proceeds_spread))
        )
        return credit, debit, proceeds
