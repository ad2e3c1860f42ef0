"""Walk-forward windows: train, choose on validation, test on what comes after; purged and embargoed.

Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapter 7 (purging and embargo).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from backtest.errors import SettingsError

__all__ = ["Block", "WalkForward", "Window"]


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive test rows of one window that are traded in one backtest path.

    Attributes:
        path: number of the path.
        places: where they are in the window's `test`.
        rows: their row numbers.
    """

    path: int
    places: slice
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Window:
    """Row numbers of one window, each increasing.

    Walk-forward windows have `train`, then `validation`, then `test`, each consecutive. Those of
    `backtest.training.CombinatorialSplits` have gaps in `train` and `test`, and may train on rows after those tested.

    Attributes:
        train, validation, test: row numbers, (n,) each.
        path: (n,) for the n rows of `test`, number of the backtest path in which each test row is traded; None where
            there is only one.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    path: np.ndarray | None = None

    @property
    def blocks(self) -> list[Block]:
        """The test rows, cut where they are not consecutive and where the path changes."""
        path = np.zeros(len(self.test), dtype=int) if self.path is None else self.path
        cuts = np.flatnonzero((np.diff(self.test) > 1) | (np.diff(path) != 0)) + 1
        edges = [0, *cuts.tolist(), len(self.test)]
        return [Block(int(path[a]), slice(a, b), self.test[a:b]) for a, b in pairwise(edges)]


@dataclass(frozen=True)
class WalkForward:
    """How a history is cut into windows. All lengths are in periods.

    Attributes:
        train: rows trained on, at most; the first windows have what there is.
        validation: rows that choose epochs and settings.
        test: rows forecast by one fit; windows follow each other without overlap, so each row is tested once.
        embargo: rows left out before validation and before test, on top of the purge.
        minimum_train: rows the first window trains on, at most `train`; None is `train`.

    Raises:
        SettingsError: a length is out of its range.
    """

    train: int
    validation: int
    test: int
    embargo: int = 0
    minimum_train: int | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            if getattr(self, name) < 1:
                raise SettingsError(f"walk-forward: {name} must be at least 1 period, got {getattr(self, name)}")
        if self.embargo < 0:
            raise SettingsError(f"walk-forward: embargo must be at least 0 periods, got {self.embargo}")
        if self.minimum_train is not None and not 1 <= self.minimum_train <= self.train:
            raise SettingsError(
                f"walk-forward: minimum_train must be from 1 to train ({self.train}), got {self.minimum_train}"
            )

    @property
    def n_paths(self) -> int:
        """1: each row is tested once."""
        return 1

    @staticmethod
    def of_history(n_rows: int, *, periods_per_year: float, max_windows: int | None = None) -> WalkForward:
        """Return windows of 8 years of training, 2 of validation, 2.5 of test, or shares of a shorter history.

        Args:
            n_rows: rows that have features and risk.
            periods_per_year: of the panel.
            max_windows: most windows; tests are made longer to keep to it.
        """
        year = periods_per_year
        train = max(1, round(min(8 * year, 0.45 * n_rows)))
        validation = max(1, round(min(2 * year, 0.15 * n_rows)))
        test = max(1, round(min(2.5 * year, 0.15 * n_rows)))
        if max_windows is not None:
            test = max(test, -(-(n_rows - train - validation) // max_windows))
        return WalkForward(train=train, validation=validation, test=test, embargo=round(year / 12))

    def windows(self, *, first_row: int, n_rows: int, lag: int) -> list[Window]:
        """Return the windows of rows `first_row` to `n_rows - 1`.

        The target of row t is known at row `t + lag + 1`. Rows whose target is not known when the next part begins
        are purged, so no label reaches into a later part.

        Args:
            first_row: first row with features and risk.
            n_rows: T.
            lag: periods from the forecast to its fill.

        Raises:
            SettingsError: the history is too short for one window.
        """
        end = n_rows - lag - 1  # the rows whose result is known
        first_test = self._first_test(first_row, end=end, lag=lag)
        starts = range(first_test, end, self.test)
        return [self._window(start, min(start + self.test, end), first_row=first_row, lag=lag) for start in starts]

    def window_of(self, row: int, *, first_row: int, lag: int) -> Window:
        """Return the window in which a row is tested, up to that row: what forecasts of today are trained on.

        Args:
            row: a panel row.
            first_row: first row with features and risk.
            lag: periods from the forecast to its fill.

        Raises:
            SettingsError: the row is before the first that is tested.
        """
        first_test = self._first_test(first_row, end=row + 1, lag=lag)
        start = first_test + (row - first_test) // self.test * self.test
        return self._window(start, row + 1, first_row=first_row, lag=lag)

    def _gap(self, lag: int) -> int:
        return lag + 1 + self.embargo

    def _first_test(self, first_row: int, *, end: int, lag: int) -> int:
        minimum = self.train if self.minimum_train is None else self.minimum_train
        first_test = first_row + minimum + self.validation + 2 * self._gap(lag)
        if first_test >= end:
            raise SettingsError(
                f"walk-forward: the first test row would be {first_test}, but the history ends before it: the last "
                f"row that can be tested is {end - 1}: shorten train ({minimum}) or validation ({self.validation}), or "
                "bring more data"
            )
        return first_test

    def _window(self, start: int, stop: int, *, first_row: int, lag: int) -> Window:
        gap = self._gap(lag)
        validation_end = start - gap
        validation_start = validation_end - self.validation
        train_end = validation_start - gap
        train_start = max(first_row, train_end - self.train)
        return Window(
            np.arange(train_start, train_end), np.arange(validation_start, validation_end), np.arange(start, stop)
        )
