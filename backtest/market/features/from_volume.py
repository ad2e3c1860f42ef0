"""Features made of dollar volume. Windows are rows of the panel and end at the row itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.market.features.declared import Feature, FeatureRows
from backtest.market.features.windows import WINDOWED, require_rows

__all__ = ["Illiquidity", "LogDollarVolume", "VolumeShock"]


@dataclass(frozen=True)
class LogDollarVolume(Feature):
    """Log of the mean dollar volume of `window` rows; NaN where nothing was traded.

    Attributes:
        window: rows, 1 or more.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int

    def __post_init__(self) -> None:
        require_rows("LogDollarVolume", window=self.window)

    @property
    def lookback(self) -> int:
        """Rows."""
        return self.window

    @property
    def needs(self) -> tuple[str, ...]:
        """Volume alone."""
        return ("dollar_volume",)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms of currency a period."""
        return _log(WINDOWED.mean(rows["dollar_volume"], self.window))


@dataclass(frozen=True)
class VolumeShock(Feature):
    """Log of the mean dollar volume of `short` rows over that of `long` rows (Gervais, Kaniel & Mingelgrin 2001).

    Attributes:
        short: rows of the recent mean, 1 or more.
        long: rows of the usual mean, 1 or more.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    short: int
    long: int

    def __post_init__(self) -> None:
        require_rows("VolumeShock", short=self.short, long=self.long)

    @property
    def lookback(self) -> int:
        """Rows."""
        return max(self.short, self.long)

    @property
    def needs(self) -> tuple[str, ...]:
        """Volume alone."""
        return ("dollar_volume",)

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms; NaN where nothing was traded in one of the windows."""
        volume = rows["dollar_volume"]
        return _log(WINDOWED.mean(volume, self.short)) - _log(WINDOWED.mean(volume, self.long))


@dataclass(frozen=True)
class Illiquidity(Feature):
    """Log of the mean of |return| / dollar volume over `window` rows with volume (Amihud 2002).

    Attributes:
        window: rows, 1 or more.

    Raises:
        SettingsError: a number of rows is out of range.
    """

    window: int

    def __post_init__(self) -> None:
        require_rows("Illiquidity", window=self.window)

    @property
    def lookback(self) -> int:
        """Rows."""
        return self.window

    @property
    def needs(self) -> tuple[str, ...]:
        """Returns and volume."""
        return ("returns", "dollar_volume")

    def values(self, rows: FeatureRows) -> np.ndarray:
        """(R, N) logarithms; a row without volume counts as unknown, NaN where the name never moved."""
        volume = rows["dollar_volume"]
        moved = np.divide(np.abs(rows["returns"]), volume, out=np.full(volume.shape, np.nan), where=volume > 0)
        return _log(WINDOWED.mean(moved, self.window))


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0)
