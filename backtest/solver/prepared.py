"""A position solver for many like problems, one after the other: what stays the same is worked out once.

In a simulation costs, limits and risk are the same from day to day, or change once a month, and each day brings a
forecast and what is held. Here a cost is lowered again when its `terms_key` changes, the problem is added up when any
part did, and rows are handed to the compiled method as arrays. A row is to the last bit what it is alone, and depends
on nothing that was solved before: what the compiled method cannot do, or does not solve, is solved row by row.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from backtest.costs import CostTerms, LimitTerms
from backtest.costs.terms_key import believed_key
from backtest.market import MarketSnapshot
from backtest.solver.canonical import CanonicalProblem, add_up, lower_cost, mask_untradable, named_limits
from backtest.solver.compiled import maximise_arrays
from backtest.solver.optimise import weak_assets
from backtest.solver.position_solver import PositionSolver
from backtest.solver.prepared_arrays import PreparedArrays
from backtest.solver.solution import SOLVED, Status
from backtest.solver.solve_problem import solve_problem

__all__ = ["PreparedSolution", "PreparedSolver"]

_SOLVED, _FAILED = int(Status.SOLVED), int(Status.FAILED)


@dataclass(frozen=True)
class PreparedSolution:
    """Positions of B rows.

    Attributes:
        q: (B, N) weights after trading; what was held in a row that has no solution.
        statuses: (B,) int8 of `Status`.
        residuals: (B,) relative error that each row is judged by, of the solver's own equations; NaN of bad input.
        iterations: (B,) int32, Newton steps, or steps of the interior-point method.
        problems: the problem of each row, of one row, whose status is not "solved"; valid until the next call.
    """

    q: np.ndarray
    statuses: np.ndarray
    residuals: np.ndarray
    iterations: np.ndarray
    problems: dict[int, CanonicalProblem] = field(default_factory=dict)


class PreparedSolver:
    """Solves B problems at a time, of the same books and assets from call to call.

    Attributes:
        solver: what is prepared; its costs and constraints are not changed while this is in use.
    """

    def __init__(self, solver: PositionSolver) -> None:
        self.solver = solver
        self._costs = [cost for _, cost in solver.costs.parts]
        self._keys: list[Hashable | None] = []
        self._held = torch.empty(0, 0, dtype=torch.float64)
        self._parts: list[CostTerms | None] = []
        self._limits: list[LimitTerms | None] = []
        self._problem: CanonicalProblem | None = None
        self._arrays: PreparedArrays | None = None
        self._by_arrays = np.empty(0, dtype=bool)

    def solve(
        self, p: np.ndarray, held: np.ndarray, *, market: MarketSnapshot | None, tradable: np.ndarray
    ) -> PreparedSolution:
        """Return optimal positions for every row.

        Args:
            p: (B, N) predicted return of each asset over the period after the fill; not read where an asset cannot be
                traded.
            held: (B, N) weights before trading.
            market: the market, as costs need it.
            tradable: (B, N) bool; an asset that cannot be traded keeps its weight.
        """
        with torch.no_grad():
            q, forecast = held.copy(), np.where(tradable, p, 0.0)
            statuses = np.full(len(p), _FAILED, dtype=np.int8)
            residuals, iterations = np.full(len(p), np.nan), np.zeros(len(p), dtype=np.int32)
            if not (np.isfinite(held).all() and np.isfinite(forecast).all()):
                bad = ~(np.isfinite(held) & np.isfinite(forecast)).all(axis=1)
                statuses[bad] = Status.BAD_INPUT
                forecast, held = np.where(bad[:, None], 0.0, forecast), np.where(bad[:, None], 0.0, held)
            base = self._lowered(held, market)
            if self._arrays is not None:
                x, solved, error, steps = self._solve_arrays(self._arrays, forecast, tradable)
                solved &= self._by_arrays & (statuses == _FAILED)
                q[solved], statuses[solved] = x[solved], _SOLVED
                residuals[solved], iterations[solved] = error[solved], steps[solved]
            problems: dict[int, CanonicalProblem] = {}
            for row in np.flatnonzero(statuses == _FAILED).tolist():
                # What the compiled method does not solve is solved alone, so that no row depends on the others.
                problem = self._row(base, forecast, tradable, row)
                optimum, found, judged = solve_problem(problem, torch.zeros(1, dtype=torch.bool))
                statuses[row], residuals[row] = int(found[0]), float(judged[0])
                iterations[row] = int(optimum.iterations[0])
                if statuses[row] != _SOLVED:
                    problems[row] = problem
                if statuses[row] <= Status.INACCURATE:
                    q[row] = optimum.x[0].numpy()
            return PreparedSolution(q, statuses, residuals, iterations, problems)

    def _lowered(self, held: np.ndarray, market: MarketSnapshot | None) -> CanonicalProblem:
        """Return the problem but for its forecast, which is 0, and what cannot be traded."""
        if self._held.shape != held.shape:
            # The terms that are kept refer to this tensor: what it holds is changed in place from now on.
            self._held = torch.empty(held.shape, dtype=torch.float64)
            self._keys, self._problem = [], None
        self._held.numpy()[:] = held
        constraints = self.solver.constraints
        keys = [believed_key(part, market) for part in (*self._costs, *constraints)]
        fresh = len(self._keys) != len(keys)
        same = [not fresh and key is not None and key == old for key, old in zip(keys, self._keys or keys, strict=True)]
        # Smoothing works out new places from the weights held, which the sum of the terms does not refer to any more.
        if self._problem is not None and all(same) and self.solver.smoothing == 0:
            return self._problem
        if fresh:
            self._parts, self._limits = [None] * len(self._costs), [None] * len(constraints)
        periods = torch.as_tensor(self.solver.holding_periods, dtype=torch.float64).reshape(-1, 1)
        for number, cost in enumerate(self._costs):
            if not same[number]:
                self._parts[number] = lower_cost(cost, self._held, market, periods)
        for number, limit in enumerate(constraints):
            if not same[len(self._costs) + number]:
                self._limits[number] = limit.terms(self._held, market)
        parts = [part for part in self._parts if part is not None]
        limits = [limit for limit in self._limits if limit is not None]
        problem = add_up(
            torch.zeros_like(self._held),
            self._held,
            parts,
            named_limits(constraints, limits),
            smoothing=self.solver.smoothing,
            smoothing_form=self.solver.smoothing_form,
        )
        self._keys, self._problem = keys, problem
        weak = weak_assets(problem).any(-1).numpy()
        self._by_arrays = np.broadcast_to(~weak, len(held))
        self._arrays = PreparedArrays.of(problem) if self._by_arrays.any() else None
        return problem

    def _solve_arrays(
        self, arrays: PreparedArrays, forecast: np.ndarray, tradable: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the weights (B, N) that the compiled method finds, which rows it solves, errors and steps (B,)."""
        rows, kind = arrays.rows(forecast, self._held.numpy(), tradable)
        _, x, _, error, unbounded, steps = maximise_arrays(rows, kind, None)
        solved: np.ndarray = (error <= SOLVED) & ~unbounded
        if not np.isfinite(x).all() or (rows.lower > rows.upper).any():
            solved &= np.isfinite(x).all(axis=1) & ~(rows.lower > rows.upper).any(axis=1)
        return x, solved, error, steps

    def _row(self, base: CanonicalProblem, forecast: np.ndarray, tradable: np.ndarray, row: int) -> CanonicalProblem:
        """Return the problem of one row."""
        index = torch.tensor([row])
        one = base.rows(index)
        earned = torch.from_numpy(forecast[row : row + 1].copy())
        one = replace(one, c=earned - one.linear, held=one.held.clone())
        return mask_untradable(one, torch.from_numpy(tradable[row : row + 1]))
