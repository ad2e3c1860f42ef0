"""The losses of one era for replicas that each have their own objective, from one metric and one solve.

The formulas are those of `backtest.training.objectives` and `backtest.training.losses`, and so is the code. The squared
error is divided by N and the others are returns of a book in equal shares, so that eras of different sizes weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.errors import SettingsError, SolverError
from backtest.numerai.eras import era_name
from backtest.solver import PositionSolver
from backtest.training.objectives import Metric
from backtest.training.row_losses import ROW_OBJECTIVES, RowLosses

__all__ = ["ERA_OBJECTIVES", "EraLosses"]

ERA_OBJECTIVES = ("squared", "whitened", *ROW_OBJECTIVES)
"""What can be trained on an era at a time."""


@dataclass(frozen=True, eq=False)
class EraLosses:
    """The objectives of R replicas.

    Attributes:
        objectives: (R,) names from `ERA_OBJECTIVES`.

    Raises:
        SettingsError: a name is unknown, or there is none.
    """

    objectives: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [name for name in self.objectives if name not in ERA_OBJECTIVES]
        if unknown or not self.objectives:
            raise SettingsError(f"objectives {unknown}: choose from {', '.join(ERA_OBJECTIVES)}")

    def judge(self, solver: PositionSolver, p: Tensor, y: Tensor, *, era: int) -> tuple[Tensor, Tensor]:
        """Return the loss (R,) of each replica and its derivative in the forecasts (R, N).

        Args:
            solver: of the era.
            p: (R, N) float64 forecasts.
            y: (N,) float64 targets less their mean, all known.
            era: its number, for messages.

        Raises:
            SolverError: the era could not be solved.
        """
        loss, gradient = p.new_empty(len(p)), torch.empty_like(p)
        for name in ("squared", "whitened"):
            rows = self._rows((name,))
            if len(rows):
                error = p[rows] - y
                weighted = error / len(y) if name == "squared" else _whitened(solver, error)
                loss[rows], gradient[rows] = (error * weighted).sum(-1), 2 * weighted
        rows = self._rows(ROW_OBJECTIVES)
        if len(rows):
            loss[rows], gradient[rows] = self._decisions(solver, rows, p[rows], y, era)
        return loss, gradient

    def _rows(self, names: Sequence[str]) -> Tensor:
        return torch.tensor([row for row, name in enumerate(self.objectives) if name in names], dtype=torch.long)

    def _decisions(self, solver: PositionSolver, rows: Tensor, p: Tensor, y: Tensor, era: int) -> tuple[Tensor, Tensor]:
        losses = RowLosses.of([self.objectives[row] for row in rows.tolist()])
        target = y.expand_as(p)
        try:
            solution = solver.solve(losses.forecasts(p, target))
        except SolverError as error:
            raise type(error)(f"era {era_name(era)}: {error}") from error
        return losses.judge(solution, p, target)


def _whitened(solver: PositionSolver, error: Tensor) -> Tensor:
    blank = error.new_zeros(1, error.shape[-1])
    metric = Metric.of_problem(solver.problem(blank, blank))
    return metric.apply(error.unsqueeze(-2), torch.zeros(1, dtype=torch.long)).squeeze(-2)
