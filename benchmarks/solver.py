"""The Newton solver beside the CVXPY reference, on the same problems in one run: time, and by how much they differ.

    python benchmarks/solver.py [--sizes 100x10 431x15] [--batch 8] [--json]

Times are milliseconds of one thread for a whole batch, the best of several. Differences are the largest over the batch:
positions in fractions of wealth, objectives relative to the size of their terms, gradients of the aligned loss along a
random direction relative to the gradient's length, against central differences of the reference.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from backtest.costs import L1, BorrowFee, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.solver import CanonicalProblem, PositionSolver, reference_solve


def make_problem(n_assets: int, n_factors: int, n_rows: int) -> tuple[PositionSolver, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(n_assets)
    risk = FactorRisk(
        loadings=torch.as_tensor(rng.normal(size=(n_assets, n_factors)) * 0.01),
        specific_variance=torch.as_tensor(rng.uniform(1e-4, 9e-4, n_assets)),
    )
    costs = 5.0 * risk + TradingCost(half_spread=2.5e-4) + 1e-4 * L1() + BorrowFee(0.02, periods_per_year=252)
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(20 / n_assets), LeverageLimit(3)])
    shape = (n_rows, n_assets)
    rows = {
        "p": rng.normal(size=shape) * 1e-3,
        "y": rng.normal(size=shape) * 1e-2,
        "held": rng.normal(size=shape) * 2 / n_assets,
        "direction": rng.normal(size=shape) * 1e-3,
    }
    return solver, {name: torch.as_tensor(value) for name, value in rows.items()}


def milliseconds(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def reference_loss(problem: CanonicalProblem, p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    moved = CanonicalProblem(**{**vars(problem), "c": p})
    q = reference_solve(moved).q
    return problem.cost(q) - (y * q).sum(-1)


def measure(n_assets: int, n_factors: int, n_rows: int) -> dict[str, float]:
    solver, rows = make_problem(n_assets, n_factors, n_rows)
    p, y, held, direction = rows["p"], rows["y"], rows["held"], rows["direction"]
    build = milliseconds(lambda: solver.problem(p, held), repeats=5)
    solution = solver.solve(p, held)  # compiles, the first time
    forward = milliseconds(lambda: solver.solve(p, held), repeats=10)

    def backward() -> torch.Tensor:
        solution.__dict__.pop("solution_map", None)
        return solution.solution_map(p - y)

    gradient = backward()
    back = milliseconds(backward, repeats=10)

    problem = solution.problem
    start = time.perf_counter()
    reference = reference_solve(problem)
    slow = 1e3 * (time.perf_counter() - start)
    ours, theirs = problem.objective(solution.q), problem.objective(reference.q)
    size = problem.cost(reference.q) + (problem.c * reference.q).abs().sum(-1)
    step = 1e-6  # short: a kink between the two ends would be a difference of its own
    ends = [reference_loss(problem, p + sign * step * direction, y) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    slack = ((gradient * direction).sum(-1) - slope).abs() / (gradient.norm(dim=-1) * direction.norm(dim=-1))
    return {
        "n_assets": n_assets,
        "n_factors": n_factors,
        "batch": n_rows,
        "build_ms": build,
        "forward_ms": forward,
        "backward_ms": back,
        "steps": float(solution.iterations.double().mean()),
        "reference_ms": slow,
        "times_faster": slow / (forward + back),
        "position_difference": float((solution.q - reference.q).abs().max()),
        "objective_difference": float(((ours - theirs).abs() / size).max()),
        "gradient_difference": float(slack.max()),
        "residual": float(solution.residual.max()),
        "reference_residual": float(reference.residual.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["20x5", "100x10", "431x15", "1000x20"], help="assets x factors")
    parser.add_argument("--batch", type=int, default=8, help="rows in a batch")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(*(int(part) for part in size.split("x")), options.batch) for size in options.sizes]
    if options.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "results": results}, indent=1))
        return
    columns = list(results[0])
    width = max(map(len, columns)) + 2
    for name in columns:
        print(f"{name:{width}}" + "".join(f"{result[name]:>14.4g}" for result in results))


if __name__ == "__main__":
    main()
