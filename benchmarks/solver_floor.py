"""The floor: the products that a Newton solve cannot avoid, by the machine's own BLAS.

One step of one row needs `G'WG` and two products with `G`. Their time, for as many steps as the solver took in each
row, is what a solver made of nothing else would take. NumPy's products run on the same thread.

`W` is 0 on stuck names, and a solver may leave those out of `G'WG`. So there are two floors: with all names in it, and
with no more than move at the optimum, which is less than any solver needs on its way there.
"""

from __future__ import annotations

import numpy as np
from solver_clock import timed
from solver_problem import Problem

__all__ = ["floor_seconds"]

REPEATS = 7


def floor_seconds(problem: Problem, steps: int, *, names: int | None = None) -> float:
    """Return the seconds of the products of `steps` Newton steps, summed over rows.

    Args:
        problem: whose `G` it is.
        steps: of all rows.
        names: how many enter `G'WG`; None is all.

    `G'WG` is taken by the faster of its two forms here: (WG)'G, and the square of sqrt(W) G, which NumPy gives to a
    routine that computes one triangle.
    """
    g = problem.loadings
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=len(g)), rng.normal(size=g.shape[1])
    transposed = np.ascontiguousarray(g.T)
    moving, moving_transposed = g[:names], np.ascontiguousarray(g[:names].T)
    weight = rng.uniform(size=len(moving))
    root = np.sqrt(weight)
    count = max(1, min(steps, int(2e8 / (g.size * g.shape[1]))))

    def general() -> None:
        for _ in range(count):
            (moving_transposed * weight) @ moving

    def triangle() -> None:
        for _ in range(count):
            scaled = moving_transposed * root
            scaled @ scaled.T

    def vectors() -> None:
        for _ in range(count):
            g @ v
            transposed @ x

    matrix = min(timed(form)[1] for form in (general, triangle) for _ in range(REPEATS))
    vector = min(timed(vectors)[1] for _ in range(REPEATS))
    return (matrix + vector) / count * steps
