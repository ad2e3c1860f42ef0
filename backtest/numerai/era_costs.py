"""The costs that classic data have, and one era's solver: exposure, concentration, L1, limits, neutrality.

An era is one problem with its own N names and its own exposures. So that eras of different sizes weigh alike, the costs
are stated for `w = N q`, positions in units of an equal share of the book:

    C(q) = exposure / 2 |F'q|^2 + ridge / 2 mean(w^2) + l1 mean(|w|),     |w| <= limit,  sum(q) = 0 where neutral

`F` (N, k) are features of a chosen set, mean 0 and standard deviation 1 in the era, so `F'q` is the mean of w times the
feature: the book's exposure. `y` is the target less its mean in the era. All costs are opinions; trading costs cannot
be known (see `backtest.numerai.files`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.costs import L1, Constraint, Cost, DollarNeutral, Exposure, PositionLimit, Ridge
from backtest.errors import SettingsError
from backtest.numerai.era_batch import EraBatch
from backtest.solver import PositionSolver

__all__ = ["EraCosts"]


@dataclass(frozen=True)
class EraCosts:
    """Costs of any era.

    Attributes:
        exposure: weight on the squared exposure to each feature of the set; target units per squared exposure.
        ridge: weight on the mean squared position, above 0.
        l1: weight on the mean position in size: forecasts below it get none; target units.
        limit: largest position in size, in equal shares of the book; None is none.
        neutral: whether positions sum to 0.
        smoothing: width over which the kinks of L1 are smoothed in training, in equal shares.

    Raises:
        SettingsError: a weight is negative or not finite, or the ridge or the limit is not above 0.
    """

    exposure: float = 1.0
    ridge: float = 0.01
    l1: float = 0.001
    limit: float | None = 10.0
    neutral: bool = True
    smoothing: float = 0.2

    def __post_init__(self) -> None:
        for name in ("exposure", "l1", "smoothing"):
            if not 0 <= getattr(self, name) < np.inf:
                raise SettingsError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 < self.ridge < np.inf:
            raise SettingsError(f"ridge must be above 0, or nothing bounds the positions, got {self.ridge}")
        if self.limit is not None and not self.limit > 0:
            raise SettingsError(f"limit must be above 0 equal shares, or None, got {self.limit}")

    def solver(self, batch: EraBatch, exposed: np.ndarray, *, training: bool = False) -> PositionSolver:
        """Return the solver of one era.

        Args:
            batch: the era.
            exposed: (k,) numbers of the features that are the columns of `F`.
            training: whether kinks are smoothed.
        """
        n = len(batch)
        costs: Cost = Ridge(self.ridge * n)
        if self.l1:
            costs = costs + L1(self.l1)
        if self.exposure and len(exposed):
            costs = costs + self.exposure * Exposure(loadings=batch.loadings(exposed))
        limits: list[Constraint] = [DollarNeutral()] if self.neutral else []
        if self.limit is not None:
            limits.append(PositionLimit(self.limit / n))
        return PositionSolver(costs, limits, smoothing=self.smoothing / n if training else 0.0)
