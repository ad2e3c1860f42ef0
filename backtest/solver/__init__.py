"""Positions from forecasts: the canonical problem, its Newton solver, its derivatives, and a slow reference."""

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.derivative import SolutionMap
from backtest.solver.feasibility import clashing_constraints
from backtest.solver.position_solver import PositionSolver
from backtest.solver.reference import ReferenceSolution, reference_solve
from backtest.solver.residuals import Multipliers, constraint_violation, optimality_residual
from backtest.solver.solution import Solution, Status
from backtest.solver.warm_start import WarmStarts

__all__ = [
    "CanonicalProblem",
    "Multipliers",
    "PositionSolver",
    "ReferenceSolution",
    "Solution",
    "SolutionMap",
    "Status",
    "WarmStarts",
    "clashing_constraints",
    "constraint_violation",
    "optimality_residual",
    "reference_solve",
]
