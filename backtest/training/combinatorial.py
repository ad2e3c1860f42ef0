"""Combinatorial purged cross-validation: every choice of some folds as the test, and the rest to train on.

A history is cut into folds. Each split tests some of them and trains on the others, before and after; the tests of all
splits are put together to backtest paths, each of which covers the whole history once. Folds, choices and paths are
those of skfolio.

Three things are kept out of training. *Purge*: the label of row t, the return that its position earns, is known at
t + lag + 1; a row whose span [t, t + lag + 1] meets the span of a test row is left out, on either side. *Embargo*: rows
after a test block have features and risk estimates that look back into it; some of them are left out on top of the
purge. What looks back further than the embargo still sees the features of the block, though none of its labels beyond
what those features tell. *Validation* is purged from the training rows in the same way.

Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapters 7.4 (purging, embargo) and 12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb

import numpy as np

from backtest.errors import SettingsError
from backtest.training.runs import runs_of
from backtest.training.windows import Window

__all__ = ["CombinatorialSplits"]

MOST_SPLITS = 1000
"""Splits, each of which trains every model anew, above which a request is taken for a mistake."""


@dataclass(frozen=True)
class CombinatorialSplits:
    """How a history is cut into folds, and how many of them each split tests. Lengths are in periods.

    `C(folds, test_folds)` splits are trained, and make `C(folds - 1, test_folds - 1)` paths: 15 and 5 as it stands.

    Attributes:
        folds: at least 3; of equal length, but for the last, which has what is left over too.
        test_folds: folds tested by each split, at least 2 and fewer than `folds`.
        validation: rows that choose epochs and settings: the last of the longest run of training rows (the latest of
            equals). None is half of what purge and embargo leave of a fold between two tests.
        embargo: rows left out after each test block, on top of the purge. None is 1% of the history, as in the source;
            features of a year want more.

    Raises:
        SettingsError: a number is out of its range, or there are too many splits.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapters 7.4 and 12.4.
    """

    folds: int = 6
    test_folds: int = 2
    validation: int | None = None
    embargo: int | None = None

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise SettingsError(f"combinatorial: folds must be at least 3, got {self.folds}")
        if not 2 <= self.test_folds < self.folds:
            raise SettingsError(
                f"combinatorial: test_folds must be at least 2 and below folds ({self.folds}), got {self.test_folds}"
            )
        if self.n_splits > MOST_SPLITS:
            raise SettingsError(
                f"combinatorial: {self.test_folds} of {self.folds} folds make {self.n_splits:,} splits, each of which "
                f"trains every model anew: take fewer folds, for at most {MOST_SPLITS:,}"
            )
        if self.validation is not None and self.validation < 1:
            raise SettingsError(f"combinatorial: validation must be at least 1 period, got {self.validation}")
        if self.embargo is not None and self.embargo < 0:
            raise SettingsError(f"combinatorial: embargo must be at least 0 periods, got {self.embargo}")

    @property
    def n_splits(self) -> int:
        """Splits, each of which is trained."""
        return comb(self.folds, self.test_folds)

    @property
    def n_paths(self) -> int:
        """Backtest paths, each of which tests every row once."""
        return comb(self.folds - 1, self.test_folds - 1)

    def settled(self, *, first_row: int, n_rows: int, lag: int) -> CombinatorialSplits:
        """Return these splits with the lengths that were left open.

        Args:
            first_row: first row with features and risk.
            n_rows: T.
            lag: periods from the forecast to its fill.

        Raises:
            SettingsError: the folds are too short to be purged.
        """
        used = max(0, n_rows - lag - 1 - first_row)
        embargo = -(-used // 100) if self.embargo is None else self.embargo
        size, beside = used // self.folds, lag + 1 + embargo
        if beside >= size - 1:
            raise SettingsError(
                f"combinatorial: a fold has {size} rows ({used} in all), and {beside} rows beside a test block are "
                f"purged ({lag + 1}) or under embargo ({embargo}): take fewer folds than {self.folds}, a shorter "
                "embargo, or more data"
            )
        half = max(1, (size - beside - (lag + 1)) // 2)
        return replace(self, validation=half if self.validation is None else self.validation, embargo=embargo)

    def windows(self, *, first_row: int, n_rows: int, lag: int) -> list[Window]:
        """Return a window for each split, with the path of each of its test rows.

        Args:
            first_row: first row with features and risk.
            n_rows: T. All rows whose target is known, the last being T - lag - 2, are tested in every path.
            lag: periods from the forecast to its fill.

        Raises:
            SettingsError: the history is too short to leave rows to train or to validate on.
        """
        from skfolio.model_selection import CombinatorialPurgedCV

        settled = self.settled(first_row=first_row, n_rows=n_rows, lag=lag)
        assert settled.validation is not None
        purge = lag + 1
        splitter = CombinatorialPurgedCV(self.folds, self.test_folds, purged_size=purge, embargo_size=settled.embargo)
        rows = np.arange(first_row, n_rows - lag - 1)
        windows = []
        # skfolio counts the observations of what it is given, and looks at nothing else.
        splits = splitter.split(np.zeros((len(rows), 1)))
        for (known, tests), paths in zip(splits, splitter.get_path_ids(), strict=True):
            train, validation = _nested(rows[known], settled.validation, purge, self)
            windows.append(
                Window(
                    train,
                    validation,
                    rows[np.concatenate(tests)],
                    np.repeat(paths, [len(fold) for fold in tests]),
                )
            )
        return windows


def _nested(rows: np.ndarray, length: int, purge: int, splits: CombinatorialSplits) -> tuple[np.ndarray, np.ndarray]:
    """Return `rows` of a split in those to train and those to validate on, the latter the end of a run.

    What follows the run is a test block, or nothing: so only the training rows before validation are near enough to be
    purged.
    """
    runs = runs_of(rows) if len(rows) else []
    longest = max((len(run) for run in runs), default=0)
    place = max((number for number, run in enumerate(runs) if len(run) == longest), default=0)
    left = len(rows) - length - min(purge, longest - length)
    if longest < length or left < 1:
        raise SettingsError(
            f"combinatorial: a split has {len(rows)} rows to train on, {longest} of them in a row, which leaves none "
            f"beside a validation of {length} and its purge of {purge}: shorten validation or the embargo, take fewer "
            f"folds than {splits.folds}, or test fewer of them than {splits.test_folds}"
        )
    run = runs[place]
    kept = run[: max(0, longest - length - purge)]
    return np.concatenate([*runs[:place], kept, *runs[place + 1 :]]), run[longest - length :]
