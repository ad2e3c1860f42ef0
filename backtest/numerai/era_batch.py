"""One era in memory: features as they are stored, targets, ids; checked once, turned into numbers when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.errors import DataError
from backtest.numerai.eras import era_name

__all__ = ["EraBatch"]

MIDDLE, SPREAD = 2.0, 2.0**0.5
"""Mean and standard deviation of an integer feature with equal shares of 0 to 4."""


@dataclass(frozen=True, eq=False)
class EraBatch:
    """The N rows of an era, or of a part of it.

    Attributes:
        era: its number.
        features: (K, N) int8, or float32 in older files; column-major, as Parquet stores them.
        missing: (K,) bool, features that are not there in this era: all 2, or all one value or NaN for floats.
        target: (N,) float64 between 0 and 1; NaN where not known; None where the file has none.
        ids: (N,) text, or None where not asked for.
    """

    era: int
    features: np.ndarray
    missing: np.ndarray
    target: np.ndarray | None
    ids: np.ndarray | None = None

    @staticmethod
    def checked(
        place: str,
        era: int,
        features: np.ndarray,
        target: np.ndarray | None,
        *,
        ids: np.ndarray | None,
        names: Sequence[str],
        first_row: int,
    ) -> EraBatch:
        """Check an era's values.

        Args:
            place: the file, for messages.
            era: its number.
            features: (K, N) int8 0 to 4, or float32 0 to 1.
            target: (N,) between 0 and 1, NaN where not known; None where there is none.
            ids: (N,) text, or None where not asked for.
            names: of the K features.
            first_row: number in the file of the first row, for messages.

        Raises:
            DataError: a feature or target outside its range, a missing value, an id that is twice in the era.
        """
        low, high = features.min(axis=1), features.max(axis=1)
        if features.dtype == np.int8:
            bad, most = (low < 0) | (high > 4), 4
            missing = (low == MIDDLE) & (high == MIDDLE)
        else:
            whole = np.isnan(features).all(axis=1)
            # NaN is in neither range, so a column with some is bad here.
            bad, most = ~((low >= 0) & (high <= 1)) & ~whole, 1
            missing = whole | (low == high)
        where = f"{place}: era {era_name(era)}"
        if bad.any():
            column = int(np.argmax(bad))
            values = features[column]
            row = int(np.argmax(~((values >= 0) & (values <= most))))
            gap = np.isnan(values[row])
            cure = "a missing value: fill it with the middle, 0.5" if gap else f"it must be 0 to {most}"
            raise DataError(f"{where}, row {first_row + row}: {names[column]} is {values[row]}: {cure}")
        if target is not None and (wrong := ~np.isnan(target) & ~((target >= 0) & (target <= 1))).any():
            row = int(np.argmax(wrong))
            raise DataError(f"{where}, row {first_row + row}: target is {target[row]}: it must be 0 to 1, or NaN")
        if ids is not None and len(set(ids)) < len(ids):
            seen: set[str] = set()
            twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise DataError(f"{where}: id {twice!r} is there more than once: drop the row that repeats it")
        return EraBatch(era, features, missing, target, ids)

    def __len__(self) -> int:
        return self.features.shape[1]

    def inputs(self) -> Tensor:
        """Return what a model sees, (N, K) float32 of mean about 0 and size about 1; what is missing is 0.

        Integers are `(x - 2) / sqrt(2)`. Floats are less their mean in the era, over their standard deviation there,
        which are known when a forecast is made.
        """
        if self.features.dtype == np.int8:
            # Column-major, as it came: the product with the first layer takes it so, without a copy.
            return (torch.from_numpy(self.features).float() - MIDDLE).div_(SPREAD).T
        return torch.from_numpy(_standardised(self.features, self.missing)).T

    def loadings(self, index: np.ndarray) -> np.ndarray:
        """Return the features `index` (k,) as exposures (N, k): mean 0, standard deviation 1 in the era; missing 0."""
        chosen = self.features[index].astype(np.float64)
        return _standardised(chosen, self.missing[index]).T

    def raw(self, index: np.ndarray) -> np.ndarray:
        """Return the features `index` (k,) that are not missing, as they are, (N, k') float64."""
        return self.features[index[~self.missing[index]]].T.astype(np.float64)

    def centred_target(self) -> np.ndarray:
        """Return the target (N,) less its mean over the known rows of the era; NaN where not known.

        Raises:
            DataError: the era has no target.
        """
        if self.target is None:
            raise DataError(f"era {era_name(self.era)} has no target")
        known = self.target[~np.isnan(self.target)]
        return self.target - (known.mean() if len(known) else 0.0)

    def rows(self, index: np.ndarray) -> EraBatch:
        """Return the rows `index` (n,)."""
        return replace(
            self,
            features=self.features[:, index],
            target=None if self.target is None else self.target[index],
            ids=None if self.ids is None else self.ids[index],
        )

    def known(self) -> EraBatch:
        """Return the rows whose target is known."""
        if self.target is None:
            return self.rows(np.arange(0))
        there = ~np.isnan(self.target)
        return self if there.all() else self.rows(np.flatnonzero(there))


def _standardised(features: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return features (K, N) less their means over their standard deviations; 0 where missing or constant."""
    kept = np.where(missing[:, None], 0, features)
    centred = kept - kept.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    varies = deviation > 1e-6
    return np.where(varies, centred / np.where(varies, deviation, 1), 0).astype(features.dtype)
