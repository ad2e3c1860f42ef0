"""`PositionSolver`: costs and constraints in, positions out; with derivatives, batched."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Constraint, Cost
from backtest.errors import InfeasibleError, SettingsError, SolverError, UnboundedError
from backtest.market import MarketPanel, MarketSnapshot
from backtest.solver.canonical import CanonicalProblem, SmoothingForm, assemble
from backtest.solver.conic import needs_cone_solver
from backtest.solver.derivative import SolutionMap, attach
from backtest.solver.feasibility import clashing_constraints, endless_direction
from backtest.solver.inner import count_multipliers
from backtest.solver.inputs import Batch, read_batch
from backtest.solver.optimum import Optimum
from backtest.solver.solution import DerivativeMap, Solution, Status
from backtest.solver.solve_problem import solve_problem
from backtest.solver.warm_start import WarmStarts, check_keys

__all__ = ["PositionSolver"]

OnFailure = Literal["raise", "hold", "nan"]


@dataclass(frozen=True, eq=False)
class PositionSolver:
    """Maps forecasts to positions: `q(p) = argmax_x p'x - C(x)` subject to constraints.

    Each row of a batch is a problem of its own; a failed row spoils no other. The problem and its derivatives are
    written down in docs/solver.md.

    Attributes:
        costs: `C`.
        constraints: limits that all must hold.
        holding_periods: scalar or (B,): costs that are paid once a trade count for this many periods less, since the
            forecast is earned in each period the position is held. The simulator charges them whole.
        smoothing: weight on each side over which kinks are smoothed, for training; 0 leaves them.
        smoothing_form: "huber" or "sqrt", what kinks are smoothed to (see `backtest.solver.canonical.add_up`).

    Raises:
        SettingsError: costs or constraints are none, a holding period is not above 0, or the smoothing is unknown or
            negative.

    Source: Qi & Sun (1993), "A nonsmooth version of Newton's method", and Bertsekas (1982), "Projected Newton methods
    for optimization problems with simple constraints": semismooth Newton ascent on the dual.
    """

    costs: Cost
    constraints: Sequence[Constraint] = ()
    holding_periods: float | Tensor = 1.0
    smoothing: float = 0.0
    smoothing_form: SmoothingForm = "huber"

    def __post_init__(self) -> None:
        if not isinstance(self.costs, Cost):
            raise SettingsError(f"costs must be a Cost, got {self.costs!r}")
        for constraint in self.constraints:
            if not isinstance(constraint, Constraint):
                raise SettingsError(f"constraints must be Constraint objects, got {constraint!r}")
        if not bool((torch.as_tensor(self.holding_periods) > 0).all()):
            raise SettingsError(f"holding_periods must be above 0, got {self.holding_periods!r}")
        if self.smoothing < 0:
            raise SettingsError(f"smoothing must be at least 0, got {self.smoothing!r}")
        if self.smoothing_form not in get_args(SmoothingForm):
            raise SettingsError(f'smoothing_form must be "huber" or "sqrt", got {self.smoothing_form!r}')

    @property
    def depends_on_held(self) -> bool:
        """Whether positions depend on what was held before."""
        return self.costs.depends_on_held or any(limit.depends_on_held for limit in self.constraints)

    @property
    def first_row(self) -> int:
        """First panel row at which everything that costs and constraints estimate is known."""
        return max([self.costs.first_row, *(limit.first_row for limit in self.constraints)])

    @property
    def n_rows(self) -> int | None:
        """How many rows a batch must have, as costs, limits or holding periods of one number a row ask; None is any.

        Raises:
            SettingsError: they ask for different numbers.
        """
        counts = {len(part) for part in _one_a_row((self.costs, tuple(self.constraints)))}
        periods = torch.as_tensor(self.holding_periods)
        counts |= {periods.numel()} - {1}
        if len(counts) > 1:
            raise SettingsError(
                f"costs, constraints and holding_periods have {sorted(counts)} rows: give each one number for every "
                "row of the batch, or one for all"
            )
        return counts.pop() if counts else None

    def estimate(self, panel: MarketPanel) -> PositionSolver:
        """Return this solver with everything its costs and constraints estimate fitted to `panel`, causally."""
        constraints = tuple(limit.estimate(panel) for limit in self.constraints)
        return replace(self, costs=self.costs.estimate(panel), constraints=constraints)

    def solve(
        self,
        p: Any,
        held: Any = None,
        *,
        market: MarketSnapshot | None = None,
        tradable: Any = None,
        start: Tensor | WarmStarts | None = None,
        keys: Sequence[Hashable] | None = None,
        on_failure: OnFailure = "raise",
    ) -> Solution:
        """Return optimal positions for every row, without gradients.

        Args:
            p: (N,) or (B, N) predicted return of each asset over the period after the fill; NumPy, torch, Series or
                DataFrame. NaN is allowed where an asset cannot be traded.
            held: weights before trading, like `p`; None holds nothing.
            market: `panel.at(rows)`, for costs that need the market.
            tradable: (N,) or (B, N) bool; an asset that cannot be traded keeps its weight. None means all can.
            start: (B, R) multipliers to start from, `optimum.point.z` of an earlier solution of like problems; or a
                `WarmStarts`, which keeps them from call to call.
            keys: names of the B rows in the `WarmStarts`; None takes the panel rows of `market`.
            on_failure: "raise" an error; "hold" what was held; or "nan".

        Raises:
            InfeasibleError, UnboundedError, SolverError: when a row fails and `on_failure` is "raise".
        """
        with torch.no_grad():
            given = read_batch(p, held, market, tradable)
            batch, bad_input = _without_bad_rows(given)
            problem = self.problem(batch.p, batch.held, market=batch.market, tradable=batch.tradable)
            first = None
            if isinstance(start, WarmStarts):
                keys = check_keys(_keys(keys, batch), len(batch.p))
                first = start.recall(keys, count_multipliers(problem), batch.p)
            elif not needs_cone_solver(problem):
                first = start
            optimum, statuses, _ = solve_problem(problem, bad_input, first)
            if isinstance(start, WarmStarts) and isinstance(optimum, Optimum):
                assert keys is not None
                start.remember(keys, optimum.point.z, statuses <= Status.INACCURATE)
            x, iterations = optimum.x, optimum.iterations
            q = self._settle(x, given, problem, statuses, on_failure)
            return Solution(batch.like_input(q), statuses, iterations, problem, optimum)

    def __call__(
        self,
        p: Any,
        held: Any = None,
        *,
        market: MarketSnapshot | None = None,
        tradable: Any = None,
        on_failure: OnFailure = "raise",
    ) -> Tensor:
        """Return optimal positions as a tensor that is differentiable in `p`, `held` and every tensor in the costs.

        Assets stand in the order of `p`. The derivative is that of the solution map: 0 for assets stuck at a kink or a
        limit (exactly on its edge too), and in rows that failed.

        Args:
            p: (N,) or (B, N) predicted return of each asset over the period after the fill, as in `solve`.
            held: (N,) or (B, N) weights before trading; None holds nothing.
            market: `panel.at(rows)`, for costs that need the market.
            tradable: (N,) or (B, N) bool; an asset that cannot be traded keeps its weight. None means all can.
            on_failure: "raise" an error; "hold" what was held; or "nan".

        Returns:
            Weights (N,) or (B, N), as `p`.

        Raises:
            InfeasibleError, UnboundedError, SolverError: when a row fails and `on_failure` is "raise"; and when a
                derivative is asked for that a cost given as a CVXPY expression does not have.

        Source: the implicit function theorem at the solution; docs/solver.md.
        """
        solution = self.solve(p, held, market=market, tradable=tradable, on_failure=on_failure)
        given = read_batch(p, held, market, tradable)
        batch, _ = _without_bad_rows(given)
        problem = self.problem(batch.p, batch.held, market=batch.market, tradable=batch.tradable)
        failed = (solution.statuses > Status.INACCURATE).unsqueeze(-1)
        optimum = solution.optimum
        if not isinstance(optimum, Optimum):
            if _moves(problem):
                raise SolverError(
                    "a cost given as a CVXPY expression has derivatives in the forecast alone: detach held and the "
                    "parameters, or write the cost in torch (SeparableCost, SmoothCost)"
                )
            q: Tensor = _ForecastToPosition.apply(problem.c, optimum.x, solution.solution_map, True)
        elif problem.curves or problem.smooth or problem.quadratic or _moves(problem):
            assert isinstance(solution.solution_map, SolutionMap)
            q = attach(problem, optimum, solution.solution_map)
        else:
            q = _ForecastToPosition.apply(problem.c, optimum.point.x, solution.solution_map, False)
        if bool(failed.any()):
            q = torch.where(failed, given.held.detach() if on_failure == "hold" else torch.nan, q)
        return batch.in_shape(q)

    def problem(
        self, p: Tensor, held: Tensor, *, market: MarketSnapshot | None = None, tradable: Tensor | None = None
    ) -> CanonicalProblem:
        """Return the canonical problem that `solve` solves.

        Args:
            p: (B, N) predicted returns.
            held: (B, N) weights before trading.
            market: `panel.at(rows)`, for costs that need the market.
            tradable: (B, N) bool; None means all can be traded.
        """
        periods = torch.as_tensor(self.holding_periods, dtype=p.dtype, device=p.device).reshape(-1, 1)
        return assemble(
            p,
            held,
            costs=self.costs,
            constraints=self.constraints,
            market=market,
            tradable=tradable,
            holding_periods=periods,
            smoothing=self.smoothing,
            smoothing_form=self.smoothing_form,
        )

    def _settle(
        self, x: Tensor, given: Batch, problem: CanonicalProblem, statuses: Tensor, on_failure: OnFailure
    ) -> Tensor:
        """Return weights (B, N) with failed rows as `on_failure` wants them."""
        failed = statuses > Status.INACCURATE
        if not bool(failed.any()):
            return x
        if on_failure == "raise":
            self._raise(given, problem, statuses)
        return torch.where(failed.unsqueeze(-1), given.held if on_failure == "hold" else torch.nan, x)

    def _raise(self, given: Batch, problem: CanonicalProblem, statuses: Tensor) -> None:
        failed = torch.nonzero(statuses > Status.INACCURATE).squeeze(-1)
        row = int(failed[0])
        status = Status(int(statuses[row]))
        message = f"row {row} of {len(statuses)}: {status.text}"
        if len(failed) > 1:
            message += f" ({len(failed)} rows failed)"
        if status is Status.BAD_INPUT:
            raise SolverError(f"{message}. {_first_bad(given, row)}")
        one = problem.rows(failed[:1])
        if status is Status.INFEASIBLE:
            raise InfeasibleError(f"{message}. Clashing: {', '.join(clashing_constraints(one))}")
        if status is Status.UNBOUNDED:
            assets = [repr(_label(given, int(asset))) for asset in endless_direction(one)]
            raise UnboundedError(f"{message}. Assets: {', '.join(assets[:5])}{', ...' if len(assets) > 5 else ''}")
        raise SolverError(message)


def _keys(keys: Sequence[Hashable] | None, batch: Batch) -> Sequence[Hashable] | None:
    rows = None if batch.market is None else batch.market.rows
    return rows.tolist() if keys is None and rows is not None else keys


def _label(given: Batch, asset: int) -> Any:
    return asset if given.market is None or given.market.assets is None else given.market.assets[asset]


def _first_bad(given: Batch, row: int) -> str:
    """Return the first input of a row that is not finite: its asset, and its value."""
    usable = torch.isfinite(given.p[row])
    if given.tradable is not None:
        usable = usable | ~given.tradable[row]
    name, values, usable = (
        ("p", given.p, usable) if not bool(usable.all()) else ("held", given.held, torch.isfinite(given.held[row]))
    )
    asset = int(torch.nonzero(~usable)[0])
    return f"Asset {_label(given, asset)!r}: {name} is {float(values[row, asset])}"


class _ForecastToPosition(torch.autograd.Function):
    """Positions as a function of the forecast alone: backward is one small solve."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, q: Tensor, solution_map: DerivativeMap, once: bool) -> Tensor:
        ctx.solution_map, ctx.once = solution_map, once
        ctx.save_for_backward(c)
        return q.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = ctx.solution_map(gradients[0])
        if torch.is_grad_enabled() and ctx.once:
            raise SolverError("a cost given as a CVXPY expression has first derivatives only")
        if torch.is_grad_enabled():
            # Between kinks the derivative does not depend on the forecast: a second one is 0, not missing.
            gradient = gradient + 0.0 * ctx.saved_tensors[0]
        return gradient, None, None, None


def _moves(problem: CanonicalProblem) -> bool:
    """Return whether anything but `c` carries a graph."""
    parts = {part.name: getattr(problem, part.name) for part in fields(problem) if part.name not in ("c", "limits")}
    return any(tensor.requires_grad for tensor in _tensors(tuple(parts.values())))


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for member in part:
            yield from _tensors(member)
    elif is_dataclass(part):
        for each in fields(part):
            yield from _tensors(getattr(part, each.name))


def _one_a_row(part: Any) -> Iterator[Any]:
    """Yield the parameters (B, 1) with B > 1 of costs and constraints, which have one number a row of a batch."""
    if isinstance(part, Tensor | np.ndarray):
        if part.ndim == 2 and part.shape[1] == 1 and part.shape[0] > 1:
            yield part
    elif isinstance(part, tuple | list):
        for member in part:
            yield from _one_a_row(member)
    elif isinstance(part, Cost | Constraint) and is_dataclass(part):
        for each in fields(part):
            # Loadings on one factor have that shape too.
            if each.name not in ("loadings", "matrix"):
                yield from _one_a_row(getattr(part, each.name))


def _without_bad_rows(batch: Batch) -> tuple[Batch, Tensor]:
    """Return the batch with unusable rows emptied, and which they are (B,); untradable assets need no forecast."""
    usable = torch.isfinite(batch.p)
    forecast = batch.p
    if batch.tradable is not None:
        forecast = torch.where(batch.tradable, forecast, 0.0)
        usable = usable | ~batch.tradable
    bad = ~(usable.all(-1) & torch.isfinite(batch.held).all(-1))
    if bool(bad.any()):
        keep = ~bad.unsqueeze(-1)
        forecast = torch.where(keep, forecast, 0.0)
        return replace(batch, p=forecast, held=torch.where(keep, batch.held, 0.0)), bad
    return replace(batch, p=forecast), bad
