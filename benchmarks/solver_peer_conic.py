"""cvxpylayers: the problem in CVXPY, `p` and `held` its only parameters (DPP), factors as variables of their own.

Source: Agrawal et al. (2019), "Differentiable convex optimization layers".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from solver_problem import Problem

__all__ = ["cvxpy_layer", "cvxpy_program"]


def cvxpy_program(problem: Problem) -> tuple[Any, Any, Any, Any]:
    """Return the problem of one row in scaled units, its parameters `p` and `held`, and the variable `u = x / size`."""
    import cvxpy as cp

    part = problem.scaled()
    n_assets = problem.n_assets
    p, held = cp.Parameter(n_assets), cp.Parameter(n_assets)
    x, factor = cp.Variable(n_assets), cp.Variable(problem.n_factors)
    # |x| = x + 2 short and |x - held| = x - held + 2 sold, one inequality cheaper than two sides of each norm.
    short, sold = cp.Variable(n_assets), cp.Variable(n_assets)
    smooth = cp.sum_squares(factor) + cp.sum_squares(cp.multiply(np.sqrt(part.diagonal), x))
    kinks = part.spread * cp.sum(x + 2 * sold) + part.l1 * cp.sum(x + 2 * short) + part.fee * cp.sum(short)
    # cvxpylayers 1.2 loses `variable >= 0` with Moreau: CVXPY hands it over apart from A. Twice it stays in A.
    limits = [
        factor == part.loadings.T @ x,
        cp.sum(x) == 0,
        x <= 1,
        x >= -1,
        2 * short >= 0,
        short >= -x,
        2 * sold >= 0,
        sold >= held - x,
        cp.sum(x + 2 * short) <= part.leverage,
    ]
    return cp.Problem(cp.Minimize(smooth / 2 + kinks - p @ x), limits), p, held, x


def cvxpy_layer(
    *, solver: str | None = None, settings: dict[str, Any] | None = None, **options: Any
) -> Callable[[Problem], Any]:
    """Return a builder of the layer.

    Args:
        solver: as in `CvxpyLayer`; None is its default, diffcp.
        settings: of the layer as a whole.
        options: of each solve.
    """
    if solver is None:
        # One core for everybody; diffcp would start a thread pool.
        options = {**options, "n_jobs_forward": 1, "n_jobs_backward": 1}

    def build(problem: Problem) -> Any:
        from cvxpylayers.torch import CvxpyLayer

        part = problem.scaled()
        program, p, held, x = cvxpy_program(problem)
        layer = CvxpyLayer(program, parameters=[p, held], variables=[x], solver=solver, solver_args=settings)

        def solve(p: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            (u,) = layer(p / part.price, held / part.size, solver_args=options)
            return u * part.size

        return solve

    return build
