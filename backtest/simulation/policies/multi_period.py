"""Plan H trades ahead, do the first, and plan again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from backtest.costs import Constraint
from backtest.errors import SettingsError, SimulationError
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Decision, Policy, Solves
from backtest.simulation.policies.fixed_weights import FixedWeights
from backtest.simulation.policies.plan import Plan
from backtest.simulation.policies.plan_program import PlanProgram, structure_of
from backtest.simulation.policies.plan_split import SplitSolver
from backtest.simulation.policies.step_forecasts import StepForecasts, read_step_forecasts
from backtest.solver import PositionSolver, Status
from backtest.solver.feasibility import clashing_constraints

__all__ = ["MultiPeriod"]

Forecaster = Callable[[np.ndarray, MarketSnapshot], np.ndarray]


@dataclass(frozen=True, eq=False)
class MultiPeriod(Policy):
    """Makes the best plan of H trades for the forecasts of H periods, and does its first trade.

    The plan and its mathematics stand in `plan`. A trading cost counts whole at each trade, and a forecast in each
    period the position is kept, so the plan itself weighs the one against the other: leave `holding_periods` of the
    solver at 1. Solved by CVXPY and Clarabel, one book at a time, through a parametrised program that is built at the
    first decision: slow, and within 1e-7 of the best weights. A cost of the user's own needs a method `expression`, and
    then the program is built at each decision.

    A name that cannot be traded, or has no forecast (NaN) for some step, keeps its weight over the whole plan.

    Attributes:
        solver: costs and constraints, those of positions for each planned position, those of trades for each planned
            trade; estimated on the panel of the simulation.
        horizon: H, number of periods; may be left out where `forecasts` is an array or a table.
        forecasts: of each step, the return in the period that starts s rows after the fill, s = 0 ... H - 1:
            an array (T, H, N) in the panel's order, row t made with data up to t;
            a DataFrame with rows (date, step) and a column for each of the panel's assets; a missing date has no
            forecast;
            a function of the run's forecasts p (B, N) and the market at the decision that returns (B, H, N), as
            `lambda p, market: p[:, None] * 0.9 ** np.arange(5)[:, None]`;
            None: the run's forecast, the same for each step.
        discount: what a period later counts, in (0, 1].
        terminal: weights at the end of the plan, as `FixedWeights` takes them, or the number 0 for cash; None leaves
            them free.

    Raises:
        SettingsError: `horizon`, `discount` or `terminal` is out of range; at the first decision, when a cost depends
            on what was held in another way than by the trade.
        SimulationError: forecasts have another shape.
        LabelError: by `simulate`, when an asset or a date is not the panel's.
        SolverError: at the first decision, when a cost of the user's has no CVXPY form.
        CostError: such a form is not convex.

    Source: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", section 5.
    """

    solver: PositionSolver
    horizon: int | None = None
    forecasts: Any = None
    discount: float = 1.0
    terminal: Any = None
    _table: StepForecasts | None = field(default=None, kw_only=True, repr=False)
    _programs: dict[Any, PlanProgram] = field(default_factory=dict, init=False, repr=False)
    _split: list[SplitSolver] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.solver, PositionSolver):
            raise SettingsError(f"MultiPeriod: solver must be a PositionSolver, got {self.solver!r}")
        needs = self.forecasts is None or callable(self.forecasts)
        whole = isinstance(self.horizon, int | np.integer) and not isinstance(self.horizon, bool)
        if not (self.horizon is None and not needs) and not (whole and self.horizon is not None and self.horizon >= 1):
            raise SettingsError(f"MultiPeriod: horizon is {self.horizon!r}: give a number of periods from 1")
        if not 0 < self.discount <= 1:
            raise SettingsError(f"MultiPeriod: discount is {self.discount!r}: give more than 0, at most 1")

    @property
    def first_fill(self) -> int:  # type: ignore[override]
        """First row at which the solver's estimates and the forecasts are known."""
        return max(self.solver.first_row, 0 if self._table is None else self._table.first_row)

    @property
    def constraints(self) -> Sequence[Constraint]:  # type: ignore[override]
        """Those of the solver."""
        return self.solver.constraints

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> MultiPeriod:
        """Return this policy with its forecasts and its end in the panel's order, and no program yet.

        Raises:
            SettingsError: the horizon is not that of the forecasts.
            LabelError: labels of an input are not the panel's.
        """
        table = self._table
        if self.forecasts is not None and not callable(self.forecasts):
            table = read_step_forecasts(self.forecasts, dates, assets, lag=lag)
            if self.horizon not in (None, table.horizon):
                raise SettingsError(
                    f"MultiPeriod: horizon is {self.horizon}, and the forecasts have {table.horizon} steps: leave "
                    "horizon out"
                )
        terminal = self.terminal
        if terminal is not None:
            weights = np.full(len(assets), float(terminal)) if np.ndim(terminal) == 0 else terminal
            terminal = FixedWeights(weights).prepare(dates, assets, lag=lag).weights
        horizon = self.horizon if table is None else table.horizon
        return replace(self, horizon=horizon, terminal=terminal, _table=table)

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> Decision:
        """Plan each book, and return the weights after its first trade; a book that fails spoils no other."""
        forecasts = self._forecasts(p, market)
        free = tradable & np.isfinite(forecasts).all(axis=1)
        q = held.copy()
        failures: dict[int, str] = {}
        remarks: dict[int, str] = {}
        solves = Solves.none(len(held))
        rows = np.flatnonzero(free.any(axis=1))
        if not len(rows):
            return Decision(q)
        if not self._split:
            self._split.append(SplitSolver.of(self.solver, held, market))
        position, trade = self._split[0].problems(held, market)
        for row in rows.tolist():
            index = torch.tensor([row])
            plan = Plan(
                position.rows(index),
                trade.rows(index),
                np.where(free[row], forecasts[row], 0.0),
                held[row],
                ~free[row],
                self.terminal,
                self.discount,
            )
            weights, status, residual, steps = self._program(plan).solve(plan)
            solves.statuses[row], solves.residuals[row], solves.iterations[row] = status, residual, steps
            if status in (Status.SOLVED, Status.INACCURATE):
                q[row] = np.where(free[row], weights[0], held[row])
            if status is Status.INACCURATE:
                remarks[row] = f"inaccurate: {status.text}"
            elif status is not Status.SOLVED:
                failures[row] = self._why(status, row, forecasts, held, market, free)
        return Decision(q, failures, remarks, solves)

    def _forecasts(self, p: np.ndarray, market: MarketSnapshot) -> np.ndarray:
        """Return the forecasts of all books (B, H, N); NaN is no view."""
        assert self.horizon is not None
        shape = (len(p), self.horizon, p.shape[1])
        if self._table is not None:
            assert market.rows is not None
            return np.broadcast_to(self._table.at(int(market.rows[0])), shape)
        if self.forecasts is None:
            return np.broadcast_to(p[:, None], shape)
        found = np.asarray(self.forecasts(p.copy(), market), dtype=np.float64)
        if found.shape != shape or np.isinf(found).any():
            raise SimulationError(
                f"MultiPeriod: the forecasts of a decision have shape {found.shape}, expected {shape} (books, steps, "
                "assets), finite or NaN"
            )
        return found

    def _program(self, plan: Plan) -> PlanProgram:
        structure = structure_of(plan)
        if structure is None:
            return PlanProgram(plan)
        if structure not in self._programs:
            self._programs[structure] = PlanProgram(plan)
        return self._programs[structure]

    def _why(
        self,
        status: Status,
        row: int,
        forecasts: np.ndarray,
        held: np.ndarray,
        market: MarketSnapshot,
        free: np.ndarray,
    ) -> str:
        """Return the reason for which a book has no plan; constraints that clash in the first step are named."""
        why = f"{status.name.lower()}: {status.text}"
        if status is not Status.INFEASIBLE:
            return why
        first, before, mask = (
            torch.as_tensor(part) for part in (np.where(free, forecasts[:, 0], 0.0), held.copy(), free)
        )
        problem = self.solver.problem(first, before, market=market, tradable=mask).rows(torch.tensor([row]))
        clash = clashing_constraints(problem)
        if clash:
            return f"{why}. Clashing: {', '.join(clash)}"
        end = "" if self.terminal is None else ", with the terminal weights"
        return f"{why}. They can hold together after the first trade, and not after all {self.horizon}{end}"
