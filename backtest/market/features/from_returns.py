"""Features made of returns. Windows are rows of the panel and end at the row itself unless a lag is said.

Sums are of logarithmic returns, l = log(1 + return). A value is NaN where under 80% of its window is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market.features.declared import Feature, FeatureRows
from backtest.market.features.windows import WINDOWED, Arithmetic, highest, lagged, ratio, require_rows

__all__ = [
    "Beta",
    "DistanceFromHigh",
    "LaggedReturn",
    "MaximumReturn",
    "Momentum",
    "Reversal",
    "Volatility",
    "VolatilityRatio",
    "mean_of_known",
]


@dataclass(frozen=True)
class LaggedReturn(Feature):
    """The return of the period that ended `lag` rows ago; 0 is the last one.

    Attributes:
        lag: rows, 0 or more.

    Raises:
        SettingsError: the lag is no number of rows.
    """

    lag: int = 0

    def __post_init__(self) -> None:
        require_rows("LaggedReturn", lag=self.lag, least=0)

    @property
    def lookback(self) -> int:
        """Rows."""
        return self.lag + 1

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) fractions."""
        return lagged(rows["returns"], self.lag)


@dataclass(frozen=True)
class Momentum(Feature):
    """Sum of l over `window` rows, the last `skip` rows left out (Jegadeesh & Titman 1993).

    Attributes:
        window: rows that are summed, 1 or more.
        skip: rows left out at the end, 0 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int
    skip: int = 0
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("Momentum", window=self.window)
        require_rows("Momentum", skip=self.skip, least=0)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(self.window + self.skip)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms."""
        return lagged(self.arithmetic.total(_logs(rows), self.window), self.skip)


@dataclass(frozen=True)
class Reversal(Feature):
    """-sum of l over `window` rows (Jegadeesh 1990).

    Attributes:
        window: rows that are summed, 1 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int = 1
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("Reversal", window=self.window)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(self.window)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms."""
        return -self.arithmetic.total(_logs(rows), self.window)


@dataclass(frozen=True)
class Volatility(Feature):
    """Standard deviation of returns over `window` rows (Ang, Hodrick, Xing & Zhang 2006).

    Attributes:
        window: rows, 2 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("Volatility", window=self.window, least=2)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(self.window)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) return per period."""
        return self.arithmetic.deviation(rows["returns"], self.window)


@dataclass(frozen=True)
class VolatilityRatio(Feature):
    """Standard deviation of returns over `short` rows, divided by that over `long` rows; NaN where that is 0.

    Attributes:
        short: rows of the numerator, 2 or more.
        long: rows of the denominator, 2 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    short: int
    long: int
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("VolatilityRatio", short=self.short, long=self.long, least=2)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(max(self.short, self.long))

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) ratios."""
        returns = rows["returns"]
        return ratio(self.arithmetic.deviation(returns, self.short), self.arithmetic.deviation(returns, self.long))


@dataclass(frozen=True)
class MaximumReturn(Feature):
    """The largest return of the last `window` rows (Bali, Cakici & Whitelaw 2011).

    Attributes:
        window: rows, 1 or more.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int

    def __post_init__(self) -> None:
        require_rows("MaximumReturn", window=self.window)

    @property
    def lookback(self) -> int:
        """Rows."""
        return self.window

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) fractions."""
        return highest(rows["returns"], self.window)


@dataclass(frozen=True)
class DistanceFromHigh(Feature):
    """Log of the price over its highest in `window` rows, from returns; 0 at the high (George & Hwang 2004).

    Attributes:
        window: rows, 1 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("DistanceFromHigh", window=self.window)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(self.window)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms, 0 or below."""
        return self.arithmetic.fall(_logs(rows), self.window)


@dataclass(frozen=True)
class Beta(Feature):
    """Slope over `window` rows of a name's return on the mean return of the names known (Frazzini & Pedersen 2014).

    Attributes:
        window: rows, 2 or more.
        arithmetic: `WINDOWED`, whose value depends on the rows of its window alone, or `RUNNING` sums, whose last bits
            remember all rows before.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int
    arithmetic: Arithmetic = WINDOWED

    def __post_init__(self) -> None:
        require_rows("Beta", window=self.window, least=2)

    @property
    def lookback(self) -> int | None:
        """Rows."""
        return self.arithmetic.lookback(self.window)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) slopes."""
        returns = rows["returns"]
        market = np.broadcast_to(mean_of_known(returns)[:, None], returns.shape)
        return self.arithmetic.slope(returns, market, self.window)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean (R,) of the known values of each row, the same to the last bit in any order of columns."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    total = np.cumsum(np.where(np.isnan(ordered), 0.0, ordered), axis=1)[:, -1]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _logs(rows: FeatureRows) -> np.ndarray:
    # a total loss has log -inf, which would turn sums into NaN: floored at a loss of 1 - 1e-9
    return np.log1p(np.maximum(rows["returns"], -1 + 1e-9))
