"""Policies: from a forecast, what is held and the market as known, to the weights to hold.

A policy sees the forecast made `lag` rows before the fill, and of the market what is known at the close at
which the fill happens: features, volume and risk estimates up to there, the weights held, and what can be
traded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from backtest.errors import DataError, LabelError
from backtest.market import MarketSnapshot
from backtest.market.labels import require_same_labels
from backtest.market.tables import numeric_table
from backtest.solver import PositionSolver, Status
from backtest.solver.feasibility import clashing_constraints

__all__ = ["Decision", "EqualWeight", "Policy", "SolverPolicy", "TargetWeights"]


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights, with what went wrong on the way to them.

    Attributes:
        q: (B, N) weights to hold, fractions of wealth just before the trade. A failed row's are not read.
        failures: row -> why it has no decision.
        remarks: row -> what its decision lacks.
    """

    q: np.ndarray
    failures: Mapping[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)


class Policy(ABC):
    """Decides weights. Has no memory: two calls with the same arguments give the same weights.

    Attributes:
        first_fill: first panel row at which it can trade; the simulator starts there or later by default.
    """

    first_fill: int = 0

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> Policy:
        """Return this policy with its labelled inputs checked against the panel's labels (T,) and (N,)."""
        return self

    @abstractmethod
    def decide(
        self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray
    ) -> np.ndarray | Decision:
        """Return the weights to hold, or a `Decision` that also says what failed.

        Args:
            p: (B, N) forecasts, made `lag` rows before the fill; NaN is no view.
            held: (B, N) weights just before the trade.
            market: the market at the close of the fill: one row that all B share.
            tradable: (B, N) bool, can be traded at the fill. Other names stay as they are, whatever is asked
                for.
        """


@dataclass(frozen=True)
class SolverPolicy(Policy):
    """Holds what `solver` makes of the forecast; names without a forecast keep their weight."""

    solver: PositionSolver

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Solve all rows at once; a row that fails is reported and spoils no other."""
        free = tradable & np.isfinite(p)
        solution = self.solver.solve(np.where(free, p, 0.0), held, market=market, tradable=free, on_failure="hold")
        failures: dict[int, str] = {}
        remarks: dict[int, str] = {}
        for row in torch.nonzero(solution.statuses != Status.SOLVED).flatten().tolist():
            status = Status(int(solution.statuses[row]))
            why = f"{status.name.lower()}: {status.text}"
            if status is Status.INFEASIBLE:
                problem = solution.problem.rows(torch.tensor([row]))
                why += f". Clashing: {', '.join(clashing_constraints(problem))}"
            (remarks if status is Status.INACCURATE else failures)[row] = why
        return Decision(np.where(free, solution.q, held), failures, remarks)


@dataclass(frozen=True)
class EqualWeight(Policy):
    """Wealth in equal parts in all names that can be traded; what is stuck in other names stays there."""

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the same weight for every tradable name."""
        stuck = np.where(tradable, 0.0, held).sum(axis=1, keepdims=True)
        count = tradable.sum(axis=1, keepdims=True)
        return np.where(tradable, (1.0 - stuck) / np.maximum(count, 1), held)


@dataclass(frozen=True, eq=False)
class TargetWeights(Policy):
    """Holds the weights of a table: row `d` is decided at the close of `d` and filled `lag` rows later.

    On dates that are not in the table nothing is traded, so a table of months rebalances a daily panel
    monthly. A weight for a name that cannot be traded at the fill is not filled then, and not made up for
    before the table's next date.

    Attributes:
        weights: dates by assets, fractions of wealth, finite; exactly the panel's assets, in any order, and
            dates of the panel as timestamps or text. Becomes a copy with timestamps and float64 columns.

    Raises:
        LabelError: a row label is not a date or there twice; by `simulate`, when an asset is missing or
            unknown, or a date is not in the panel.
        DataError: a cell is not a finite number.
    """

    weights: pd.DataFrame
    first_fill: int = 0

    def __post_init__(self) -> None:
        dates, assets, values = numeric_table(self.weights, "TargetWeights")
        if not len(dates):
            raise LabelError("TargetWeights: the table has no row: give one row a rebalancing date")
        if not dates.is_unique:
            twice = dates[dates.duplicated()][0]
            raise LabelError(f"TargetWeights: the date {twice:%Y-%m-%d} is there twice: keep one row")
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise DataError(
                f"TargetWeights: {dates[row]:%Y-%m-%d}, {assets[column]}: the weight is "
                f"{values[row, column]}: write 0 for no position"
            )
        object.__setattr__(self, "weights", pd.DataFrame(values, index=dates, columns=assets))

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> TargetWeights:
        """Return these targets dated by their fill, assets in the panel's order."""
        require_same_labels(self.weights.columns, assets, where="TargetWeights", kind="asset")
        decided = dates.get_indexer(self.weights.index)
        if (decided < 0).any():
            unknown = self.weights.index[int(np.argmin(decided))]
            raise LabelError(
                f"TargetWeights: {unknown} is no date of the panel, which has {len(dates)} from "
                f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}: give its dates, or drop the row"
            )
        in_time = decided + lag < len(dates)
        if not in_time.any():
            raise LabelError(
                f"TargetWeights: no row can be filled: the first, {self.weights.index.min()}, is filled "
                f"{lag} rows later, and the panel ends on {dates[-1]:%Y-%m-%d}"
            )
        filled = self.weights.loc[in_time, assets].set_axis(dates[decided[in_time] + lag])
        return replace(self, weights=filled, first_fill=int(decided.min()) + lag)

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the table's row for the date of the market, or what is held."""
        assert market.dates is not None
        row = int(self.weights.index.get_indexer(market.dates[:1])[0])
        if row < 0:
            return held
        return np.broadcast_to(self.weights[market.assets].to_numpy()[row], held.shape)
