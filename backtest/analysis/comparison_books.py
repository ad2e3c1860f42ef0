"""The books of a comparison: forecasts of all windows put together to paths, and traded side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from backtest.market import MarketSnapshot
from backtest.simulation import Decision, Policy, SimulationResult, SolverPolicy, simulate
from backtest.solver import PositionSolver

if TYPE_CHECKING:
    from backtest.analysis.comparison_plan import ComparisonPlan, Progress, WindowFit

__all__ = ["Books", "simulate_books"]


@dataclass(frozen=True, eq=False)
class Books:
    """What every book trades on: O objectives, S seeds or ensembles of them, and H paths (walk-forward makes one).

    Attributes:
        forecasts: (O, S, H, T, N), NaN where there is none.
        holding_periods: (T, O, S, H), those in force at each fill.
    """

    forecasts: np.ndarray
    holding_periods: np.ndarray

    @staticmethod
    def of(plan: ComparisonPlan, fits: Sequence[WindowFit]) -> Books:
        """Put the blocks of each path together, in the order of time."""
        panel, shape = plan.panel, (len(plan.objectives), len(plan.books), plan.n_paths)
        books = Books(
            np.full((*shape, panel.n_periods, panel.n_assets), np.nan),
            np.ones((panel.n_periods, *shape)),
        )
        blocks = [(block, fitted) for window, fitted in zip(plan.windows, fits, strict=True) for block in window.blocks]
        for block, fitted in sorted(blocks, key=lambda pair: pair[0].rows[0]):
            for number, name in enumerate(plan.objectives):
                books.forecasts[number][:, block.path, block.rows] = fitted.forecasts[name][:, block.places]
                # Decisions are made at the fill, and the last block's go on to the end.
                fills = slice(block.rows[0] + plan.lag, None)
                books.holding_periods[fills, number, :, block.path] = fitted.holding_periods[name]
        return books

    def forecasts_of(self, objective: int) -> np.ndarray:
        """Return the forecasts (S * H, T, N) of one objective's books, paths moving fastest."""
        return self.forecasts[objective].reshape(-1, *self.forecasts.shape[-2:])


@dataclass(frozen=True, eq=False)
class _WindowedPolicy(Policy):
    """The solver, with the holding period that validation chose for the window of each fill, by book."""

    solver: PositionSolver
    holding_periods: np.ndarray  # (T, B)
    # The policy of the window at hand, prepared, by its holding periods.
    _now: dict[bytes, Policy] = field(default_factory=dict, repr=False)

    def decide(
        self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray
    ) -> np.ndarray | Decision:
        """Solve all books at once."""
        assert market.rows is not None
        periods = self.holding_periods[int(market.rows[0])]
        key = periods.tobytes()
        if key not in self._now:
            self._now.clear()
            self._now[key] = SolverPolicy(replace(self.solver, holding_periods=torch.as_tensor(periods))).prepared()
        return self._now[key].decide(p, held, market, tradable)


def simulate_books(plan: ComparisonPlan, books: Books, *, progress: Progress | None) -> dict[str, SimulationResult]:
    """Trade the books of all objectives in one pass: objective -> S * H books, paths moving fastest."""
    panel, rows = plan.panel, plan.tested_rows
    per_objective = len(plan.books) * plan.n_paths
    n_books = len(plan.objectives) * per_objective
    paths = [f", path {path + 1}" for path in range(plan.n_paths)] if plan.n_paths > 1 else [""]
    seed = "seed" if plan.training.ensemble == 1 else "seeds"
    result = simulate(
        panel,
        _WindowedPolicy(plan.solver, books.holding_periods.reshape(panel.n_periods, n_books)),
        books.forecasts.reshape(n_books, panel.n_periods, panel.n_assets),
        costs=plan.solver.costs,
        lag=plan.lag,
        first_row=int(rows[0]) + plan.lag,
        last_row=int(rows[-1]) + plan.lag + 1,
        names=[f"{name}, {seed} {book}{path}" for name in plan.objectives for book in plan.books for path in paths],
        progress=None if progress is None else lambda done, total: progress("simulating", done, total),
    )
    return {
        name: result.books(slice(number * per_objective, (number + 1) * per_objective))
        for number, name in enumerate(plan.objectives)
    }
