"""The losses of rows that each have their own decision objective, from one solve.

The problems of all rows are stacked: the forecast of every row; then, for SPO+ and Fenchel-Young, its label, the
realized return; then, for SPO+, `2p - y`. The formulas are in `backtest.training.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.solver import Solution
from backtest.training.losses import shortfall

__all__ = ["ROW_OBJECTIVES", "RowLosses"]

ROW_OBJECTIVES = ("aligned", "misaligned", "spo_plus", "fenchel_young")
"""Objectives that are the mean of a loss of each row by itself."""


@dataclass(frozen=True, eq=False)
class RowLosses:
    """Where in the stack the problems of B rows are.

    Attributes:
        rows: (S,) the row of each problem; the first B are the rows' own forecasts.
        charged: (B, 1) bool, whether the loss contains `C`: all but misaligned.
        convex: (L,) rows of SPO+ and Fenchel-Young.
        best, label: (L,) where in the stack their two optima are: of `2p - y` (SPO+) or `p`, and of `y`.
        slope: (L, 1) derivative in `p` of the forecast of `best`: 2 or 1.
    """

    rows: Tensor
    charged: Tensor
    convex: Tensor
    best: Tensor
    label: Tensor
    slope: Tensor

    @staticmethod
    def of(objectives: Sequence[str]) -> RowLosses:
        """Lay out the problems of one row for each of `objectives`, names from `ROW_OBJECTIVES`."""
        n_rows = len(objectives)
        convex = [row for row, name in enumerate(objectives) if name in ("spo_plus", "fenchel_young")]
        ahead = [row for row in convex if objectives[row] == "spo_plus"]
        place_ahead = {row: n_rows + len(convex) + number for number, row in enumerate(ahead)}
        return RowLosses(
            rows=torch.tensor([*range(n_rows), *convex, *ahead], dtype=torch.long),
            charged=torch.tensor([name != "misaligned" for name in objectives]).unsqueeze(-1),
            convex=torch.tensor(convex, dtype=torch.long),
            best=torch.tensor([place_ahead.get(row, row) for row in convex], dtype=torch.long),
            label=n_rows + torch.arange(len(convex)),
            slope=torch.tensor([2.0 if row in place_ahead else 1.0 for row in convex], dtype=torch.float64)[:, None],
        )

    def target(self, p: Tensor, y: Tensor, scored: Tensor) -> Tensor:
        """Return what the losses take for the realized return (B, N): where it is not scored, what leaves no error."""
        return torch.where(scored, y, torch.where(self.charged, p, 0.0))

    def forecasts(self, p: Tensor, target: Tensor) -> Tensor:
        """Return the forecasts of the stack (S, N)."""
        ahead = self.rows[len(p) + len(self.convex) :]
        return torch.cat([p, target[self.convex], 2 * p[ahead] - target[ahead]])

    def any_of(self, problems: Tensor) -> Tensor:
        """Return for which rows (B,) any of their `problems` (S,) is True."""
        return torch.zeros(len(self.charged), dtype=torch.long).index_add(0, self.rows, problems.long()) > 0

    def losses(self, q: Tensor, cost: Tensor, p: Tensor, target: Tensor) -> Tensor:
        """Return the loss (B,) of each row, with the graphs of positions, costs and forecasts.

        Args:
            q: (S, N) positions of the stack.
            cost: (S,) their `C`.
            p: (B, N) forecasts.
            target: (B, N), of `target`.
        """
        n_rows = len(p)
        loss = torch.where(self.charged.squeeze(-1), cost[:n_rows], 0.0) - (target * q[:n_rows]).sum(-1)
        if not len(self.convex):
            return loss
        best, label = self.best, self.label
        forecast = self.forecasts(p, target)[best]
        short = shortfall(forecast, q=q[label], cost=cost[label], best=q[best], best_cost=cost[best])
        return loss.index_copy(0, self.convex, short)

    def judge(self, solution: Solution, p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (B,) and its derivative in the forecast (B, N), given what was held.

        Args:
            solution: of the stack, float64.
            p: (B, N) forecasts.
            target: (B, N), of `target`.
        """
        q, n_rows = solution.q, len(p)
        error = torch.zeros_like(q)
        error[:n_rows] = torch.where(self.charged, p, 0.0) - target
        gradient = solution.solution_map(error)[:n_rows]
        if len(self.convex):
            gradient[self.convex] = self.slope * (q[self.best] - q[self.label])
        return self.losses(q, solution.problem.cost(q), p, target), gradient
