"""A plan of trades as a CVXPY program with parameters: built once, filled at every decision (DPP).

Weights are counted in units of `plan.size` and the objective in `plan.price plan.size`, since a conic solver's
tolerances are absolute. All H steps share the parameters of costs and limits.

Source: Agrawal et al. (2019), "Differentiable convex optimization layers", section 4, for disciplined parametrised
programming (DPP).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from backtest.costs import Power, Root
from backtest.simulation.policies.plan import Plan
from backtest.simulation.policies.plan_parts import KINDS, PlanParts, kept_limits
from backtest.solver.conic import REFUSALS
from backtest.solver.conic_kkt import ConicSystem
from backtest.solver.conic_program import ATTEMPTS, clarabel_options, first_row
from backtest.solver.solution import INACCURATE, Status

__all__ = ["PlanProgram", "structure_of"]

SOLVED = 1e-8
"""Residual up to which a plan counts as solved. Market impact, whose cones are sharp where nothing is traded,
seldom gets below 1e-9; the weights are then within 1e-7 of the optimum's. Quadratic plans end at 1e-15."""


def structure_of(plan: Plan) -> Hashable | None:
    """Return what plans must share to be solved by one program; None for a plan that needs its own.

    That is one with a cost of the user's, whose CVXPY expression holds the numbers of its day.
    """
    parts: list[Hashable] = [plan.shape, plan.discount, bool(plan.stuck.any()), plan.goal is None]
    for problem in (plan.position, plan.trade):
        if problem.smooth or any(not isinstance(curve, Power | Root) for curve in problem.curves):
            return None
        limits = [kept_limits(problem, kind) for kind in KINDS]
        quadratic = [limit.terms for limit in problem.quadratic]
        parts += [
            problem.loadings.shape[-1],
            bool(problem.diagonal.any()),
            tuple(ramp.end is None for ramp in problem.ramps),
            len(problem.bends),
            tuple((type(curve), getattr(curve, "exponent", 0.0)) for curve in problem.curves),
            *(np.isfinite(first_row(bound, plan.shape[1])).tobytes() for bound in (problem.lower, problem.upper)),
            problem.equality[1].shape[-1],
            tuple((used.tobytes(), hard.tobytes()) for used, hard in limits),
            tuple((terms.linear is None, terms.diagonal is None) for terms in quadratic),
            tuple(tuple(block.shape[-1] for block in terms.loadings) for terms in quadratic),
        ]
    return tuple(parts)


class PlanProgram:
    """The program of all plans of one structure.

    Args:
        plan: one of them.

    Raises:
        SolverError: a cost of the user's has no CVXPY form (a method `expression`).
        CostError: such a form is not convex by the rules of CVXPY.
    """

    def __init__(self, plan: Plan) -> None:
        import cvxpy as cp

        horizon, n = plan.shape
        self.weights = cp.Variable((horizon, n))
        parts = PlanParts(cp, plan)
        steps, first = np.eye(horizon) - np.eye(horizon, k=-1), np.eye(horizon, 1)
        held = parts.given((1, n), lambda plan: plan.held[None] / plan.size)
        # A variable, and not an expression of the parameter, so that parameters may multiply it.
        trades = cp.Variable((horizon, n))
        parts.sides.append(trades == steps @ self.weights - first @ held)
        paid = plan.discount ** np.arange(float(horizon))
        earned = plan.discount * paid
        forecasts = parts.given((horizon, n), lambda plan: earned[:, None] * plan.forecasts / plan.price)
        parts.cost = -cp.sum(cp.multiply(forecasts, self.weights))
        parts.add_costs(lambda plan: plan.position, self.weights, earned)
        parts.add_costs(lambda plan: plan.trade, trades, paid)
        parts.add_limits(lambda plan: plan.position, self.weights, earned, stays=lambda plan: plan.held)
        parts.add_limits(lambda plan: plan.trade, trades, paid, stays=lambda plan: np.zeros(n))
        if plan.end is not None:
            end = parts.given((n,), lambda plan: np.asarray(plan.end) / plan.size)
            parts.sides.append(self.weights[horizon - 1] == end)
        before_end = self.weights if plan.end is None else self.weights[: horizon - 1]
        if plan.stuck.any() and before_end.size:
            each = np.ones((before_end.shape[0], 1))
            stuck = parts.given((1, n), lambda plan: plan.stuck[None].astype(float))
            kept = parts.given((1, n), lambda plan: np.where(plan.stuck, plan.held, 0.0)[None] / plan.size)
            parts.sides.append(cp.multiply(each @ stuck, before_end) == each @ kept)
        self.program = cp.Problem(cp.Minimize(parts.cost), parts.sides)
        self._reads, self._solver = parts.reads, cp.CLARABEL

    def solve(self, plan: Plan) -> tuple[np.ndarray, Status, float, int]:
        """Return the weights (H, N) of a plan, how its solve ended, its relative residual, and the steps it took.

        Without a solution the weights are NaN and the residual is infinite.
        """
        for parameter, read in self._reads:
            parameter.value = read(plan)
        best = (np.full(plan.shape, np.nan), Status.FAILED, np.inf)
        steps = 0
        data, chain, _ = self.program.get_problem_data(self._solver, enforce_dpp=True, solver_opts={})
        system = ConicSystem.of(data)
        start = data["param_prob"].var_id_to_col[self.weights.id]
        for tolerance, regularisation in ATTEMPTS:
            # Cold: what a solve ends at must not depend on which book or day came before.
            raw = chain.solve_via_data(
                self.program, data, warm_start=False, solver_opts=clarabel_options(tolerance, regularisation)
            )
            steps += int(raw.iterations)
            word = str(raw.status)
            refusal = REFUSALS.get(word.removeprefix("Almost"))
            if refusal is not None:
                if best[2] > INACCURATE:
                    best = (best[0], refusal, np.inf)
                if word in REFUSALS:
                    break
                continue
            x, s, z = (np.asarray(part, dtype=float) for part in (raw.x, raw.s, raw.z))
            residual = _residual(system, x, s, z)
            if residual < best[2] and residual <= INACCURATE:
                weights = x[start : start + self.weights.size].reshape(plan.shape, order="F") * plan.size
                best = (weights, Status.SOLVED if residual <= SOLVED else Status.INACCURATE, residual)
            if best[2] <= SOLVED:
                break
        return *best, steps


def _residual(system: ConicSystem, x: np.ndarray, s: np.ndarray, z: np.ndarray) -> float:
    """Return by how much a solution misses stationarity, feasibility and a gap of 0, relative to 1 or what is larger.

    Weights and prices are about 1 in the units of a program; where the best plan is to hold nothing, all is 0, and
    rounding must not be measured by rounding.
    """
    force, bend = system.matrix.T @ z, system.quadratic @ x
    stationarity = _share(bend + system.linear + force, bend, system.linear, force)
    feasibility = _share(system.matrix @ x + s - system.right, abs(system.matrix) @ np.abs(x), s, system.right)
    return max(stationarity, feasibility, _share(s @ z, x @ bend, system.linear @ x))


def _share(rest: Any, *parts: Any) -> float:
    """Return the largest of `rest` as a share of the largest of the parts, or of 1."""
    return float(np.abs(rest).max(initial=0.0) / max(1.0, *(np.abs(part).max(initial=0.0) for part in parts)))
