"""How long money lies: calendar days from each date to the next."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["calendar_days"]


def calendar_days(dates: pd.DatetimeIndex, periods_per_year: float) -> np.ndarray:
    """Calendar days from each date to the next one.

    What follows the last date is not known: it gets the usual gap after its day of the week (the median of those
    before it; so 3 after a Friday of a daily panel), or that of all dates, or 365 / periods_per_year when alone.

    Args:
        dates: (T,) increasing.
        periods_per_year: 252, 52 or 12.

    Returns:
        (T,) float64.
    """
    days = np.empty(len(dates))
    days[:-1] = np.diff(dates.asi8) / 86_400e9
    weekday = dates.day_of_week
    alike = weekday[:-1] == weekday[-1]
    known = days[:-1][alike] if alike.any() else days[:-1]
    days[-1] = np.median(known) if len(known) else max(round(365 / periods_per_year), 1)
    return days
