"""Problems that only a cone solver can solve, because a cost is a CVXPY expression: one row at a time, slowly.

Clarabel's solution is refined by Newton steps on the optimality system of the cone program, and the derivative in the
forecast is that of the same system.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs.cvxpy_cost import CvxpyFunction
from backtest.errors import SolverError
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic_kkt import SINGULAR, ConicSystem
from backtest.solver.conic_program import ATTEMPTS, SHARP, ConicProgram, clarabel_options, conic_program
from backtest.solver.residuals import Multipliers
from backtest.solver.solution import INACCURATE, SOLVED, Status

__all__ = ["ConicMap", "ConicSolution", "needs_cone_solver", "solve_conic"]

REFUSALS = {"PrimalInfeasible": Status.INFEASIBLE, "DualInfeasible": Status.UNBOUNDED}


@dataclass(frozen=True, eq=False)
class ConicMap:
    """The derivative of the positions in the forecast, for each row; made when it is first asked for.

    Attributes:
        rows: for each row, what its derivative is computed from; None where it is 0.
        like: a tensor of the batch's type and device.
    """

    rows: tuple[_RowMap | None, ...]
    like: Tensor

    def __call__(self, r: Tensor) -> Tensor:
        """Return `J r` (B, N) for `r` (B, N).

        Raises:
            SolverError: a row's expression needs exponential or power cones, or its positions are not a function of
                the forecast.
        """
        result = torch.zeros_like(r)
        for row, of_row in enumerate(self.rows):
            if of_row is not None:
                result[row] = torch.as_tensor(of_row.dense(row), dtype=r.dtype, device=r.device) @ r[row]
        return result

    def dense(self) -> Tensor:
        """Return `J` as a matrix (B, N, N)."""
        count = self.like.shape[-1]
        rows = [
            np.zeros((count, count)) if of_row is None else of_row.dense(row) for row, of_row in enumerate(self.rows)
        ]
        return torch.as_tensor(np.stack(rows), dtype=self.like.dtype, device=self.like.device)

    def silenced(self, rows: Tensor) -> ConicMap:
        """Return the map with a derivative of 0 in `rows` (B,) bool."""
        kept = tuple(None if silent else of_row for silent, of_row in zip(rows.tolist(), self.rows, strict=True))
        return replace(self, rows=kept)


@dataclass(frozen=True, eq=False)
class ConicSolution:
    """Positions of a batch of B problems in N assets, found by a cone solver.

    Attributes:
        x: (B, N) weights; NaN in a row without a solution.
        statuses: (B,) int8 tensor of `Status`.
        residual: (B,) relative violation of the cone program's optimality conditions; infinite without a solution.
        iterations: (B,) of the interior-point method.
        multipliers: of the constraints; NaN in a row without a solution.
        solution_map: the derivative of the weights in the forecast; 0 in a row without a solution.
    """

    x: Tensor
    statuses: Tensor
    residual: Tensor
    iterations: Tensor
    multipliers: Multipliers
    solution_map: ConicMap


def needs_cone_solver(problem: CanonicalProblem) -> bool:
    """Return whether some cost of the problem is a CVXPY expression."""
    return any(isinstance(function, CvxpyFunction) for function in problem.smooth)


def solve_conic(problem: CanonicalProblem) -> ConicSolution:
    """Solve every row of a canonical problem with CVXPY and Clarabel, with derivatives in the forecast.

    Args:
        problem: B problems, of any pieces that have a CVXPY form.

    Raises:
        SolverError: a piece has no CVXPY form.
        CostError: an expression is not a convex scalar by the rules of CVXPY.
    """
    like = problem.c
    index = torch.arange(len(like), device=like.device)
    rows = [_solve_row(problem.rows(index[row : row + 1])) for row in range(len(like))]

    def column(values: list[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=like.device)

    return ConicSolution(
        x=torch.as_tensor(np.stack([row.x for row in rows]), dtype=like.dtype, device=like.device),
        statuses=column([int(row.status) for row in rows], torch.int8),
        residual=column([row.residual for row in rows], like.dtype),
        iterations=column([row.iterations for row in rows], torch.int64),
        multipliers=Multipliers(
            *(torch.cat([getattr(row.multipliers, part.name) for row in rows]) for part in fields(Multipliers))
        ),
        solution_map=ConicMap(tuple(row.derivative for row in rows), like.detach()),
    )


@dataclass(eq=False)
class _RowMap:
    """What the derivative of one row is computed from.

    Attributes:
        system: the cone program.
        v: its solution, `s - z`.
        columns: (N,) the variables that are the weights.
        unit: weight per return of the scaled program.
        matrix: (N, N) the derivative, once it is known.
    """

    system: ConicSystem
    v: np.ndarray
    columns: np.ndarray
    unit: float
    matrix: np.ndarray | None = None

    def dense(self, row: int) -> np.ndarray:
        """Return the derivative (N, N); `row` is for messages."""
        if self.matrix is None:
            if self.system.others:
                raise SolverError(
                    f"row {row}: a cost expression needs exponential, power or semidefinite cones, whose derivative is "
                    "not available: write it with linear, quadratic, norm and maximum terms, or solve without gradients"
                )
            matrix, error = self.system.derivative(self.v, self.columns)
            if not error <= SINGULAR:
                raise SolverError(
                    f"row {row}: the positions are not a function of the forecast here: some combination of assets has "
                    "no risk and no cost that curves. Add Ridge or specific risk to have a derivative"
                )
            self.matrix = self.unit * (matrix + matrix.T) / 2
        return self.matrix


@dataclass(frozen=True, eq=False)
class _Row:
    x: np.ndarray
    status: Status
    residual: float
    iterations: int
    multipliers: Multipliers
    derivative: _RowMap | None


def _solve_row(problem: CanonicalProblem) -> _Row:
    import cvxpy as cp

    conic = conic_program(problem)
    nothing = np.full(problem.c.shape[-1], np.nan)
    best = _Row(nothing, Status.FAILED, np.inf, 0, conic.multipliers(problem.c), None)
    data, chain, inverse = conic.program.get_problem_data(cp.CLARABEL, solver_opts={})
    system = ConicSystem.of(data)
    start = data["param_prob"].var_id_to_col[conic.u.id]
    columns = start + np.arange(len(nothing))
    for tolerance, regularisation in ATTEMPTS:
        options = clarabel_options(tolerance, regularisation)
        raw = chain.solve_via_data(conic.program, data, solver_opts=options)
        word = str(raw.status)
        status = REFUSALS.get(word.removeprefix("Almost"))
        if status is not None:
            if best.residual > INACCURATE:
                best = replace(best, status=status)
            if word in REFUSALS:
                break
            continue
        found = _read(problem, conic, system, columns, (raw, chain, inverse))
        if found.residual < best.residual and found.residual <= INACCURATE:
            best = found
        if best.residual <= SHARP:
            break
    return best


def _read(
    problem: CanonicalProblem,
    conic: ConicProgram,
    system: ConicSystem,
    columns: np.ndarray,
    answer: tuple[Any, Any, Any],
) -> _Row:
    """Refine what Clarabel found, and read it in the units of the problem."""
    raw, chain, inverse = answer
    x, s, z = (np.asarray(part, dtype=float) for part in (raw.x, raw.s, raw.z))
    v = s - z
    residual = system.error(x, s, z)
    if not system.others and np.isfinite(residual):
        closer, v_closer = system.refined(x, s, z)
        s_closer = system.projected(v_closer)
        error = system.error(closer, s_closer, s_closer - v_closer)
        if error <= residual:
            x, v, z, residual = closer, v_closer, s_closer - v_closer, error
    # CVXPY reads the duals of its own constraints from a solution of Clarabel's form.
    refined = SimpleNamespace(
        status="Solved", x=x, z=z, obj_val=raw.obj_val, solve_time=raw.solve_time, iterations=raw.iterations
    )
    conic.program.unpack_results(refined, chain, inverse)
    return _Row(
        conic.weights(),
        Status.SOLVED if residual <= SOLVED else Status.INACCURATE,
        residual,
        int(raw.iterations),
        conic.multipliers(problem.c),
        _RowMap(system, v, columns, conic.size / conic.price),
    )
