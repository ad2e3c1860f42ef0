"""The policy of this project: hold what the solver makes of the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from backtest.costs import Constraint
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision, Policy, Solves
from backtest.solver import PositionSolver, Status
from backtest.solver.feasibility import clashing_constraints
from backtest.solver.prepared import PreparedSolver

__all__ = ["SolverPolicy"]


@dataclass(frozen=True, eq=False)
class SolverPolicy(Policy):
    """Holds what `solver` makes of the forecast; names without a forecast keep their weight.

    Attributes:
        solver: estimated on the panel. Weights or limits of one number a row, (B, 1), make each book a setting of its
            own on the same forecast: see `backtest.costs.Grid`.
    """

    solver: PositionSolver
    _prepared: PreparedSolver | None = field(default=None, repr=False)

    @property
    def first_fill(self) -> int:  # type: ignore[override]
        """The first row at which everything that the solver's costs and constraints estimate is known."""
        return self.solver.first_row

    @property
    def n_books(self) -> int | None:  # type: ignore[override]
        """As many as costs or constraints have numbers, where these have one a book; else any."""
        return self.solver.n_rows

    @property
    def constraints(self) -> Sequence[Constraint]:  # type: ignore[override]
        """Those of the solver."""
        return self.solver.constraints

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> SolverPolicy:
        """Return this policy with all of its problem that stays the same worked out once for the run."""
        return self.prepared()

    def prepared(self) -> SolverPolicy:
        """Return this policy for decisions one after the other on the same assets and books."""
        return replace(self, _prepared=PreparedSolver(self.solver))

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Solve all rows at once; a row that fails is reported and spoils no other."""
        prepared = PreparedSolver(self.solver) if self._prepared is None else self._prepared
        free = tradable & np.isfinite(p)
        solution = prepared.solve(p, held, market=market, tradable=free)
        q = solution.q if free.all() else np.where(free, solution.q, held)
        failures: dict[int, str] = {}
        remarks: dict[int, str] = {}
        for row in np.flatnonzero(solution.statuses).tolist():
            status = Status(int(solution.statuses[row]))
            why = f"{status.name.lower()}: {status.text}"
            if status is Status.INFEASIBLE:
                why += f". Clashing: {', '.join(clashing_constraints(solution.problems[row]))}"
            (remarks if status is Status.INACCURATE else failures)[row] = why
        return Decision(q, failures, remarks, Solves(solution.statuses, solution.residuals, solution.iterations))
