"""The policy of this project: hold what the solver makes of the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backtest.costs import Constraint
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision, Policy
from backtest.solver import PositionSolver, Status
from backtest.solver.feasibility import clashing_constraints

__all__ = ["SolverPolicy"]


@dataclass(frozen=True)
class SolverPolicy(Policy):
    """Holds what `solver` makes of the forecast; names without a forecast keep their weight."""

    solver: PositionSolver

    @property
    def first_fill(self) -> int:  # type: ignore[override]
        """The first row at which everything that the solver's costs and constraints estimate is known."""
        return self.solver.first_row

    @property
    def constraints(self) -> Sequence[Constraint]:  # type: ignore[override]
        """Those of the solver."""
        return self.solver.constraints

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
