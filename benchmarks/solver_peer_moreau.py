"""moreau's own torch layer: `min 1/2 z'Pz + q'z, A z + s = b, s in K`, sparse, with the cones that hold on z itself.

Two forms, because neither is the faster one at all sizes: "epigraph" (x, short part, part sold, factors), where
`|x| = x + 2 short` and `|x - held| = x - held + 2 sold`; and "split" (long and short part, bought and sold, factors).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from solver_problem import Problem, Scaled

__all__ = ["moreau_layer"]


@dataclass(frozen=True)
class Form:
    """`z` of the quadratic program; only `q` and `b` differ from row to row, and linearly in `p` and `held`.

    Attributes:
        quadratic: (n,), the diagonal of P.
        linear: (n,), q where p is 0.
        forecast: (n, N), by which -p enters q.
        equality, inequality: rows of A: `= b`, then `<= b`.
        bound: (m,), b where held is 0.
        trade: (m, N), by which held enters b.
        positive: variables that are at least 0.
        weights: (N, n), x from z.
    """

    quadratic: np.ndarray
    linear: np.ndarray
    forecast: sparse.csr_array
    equality: sparse.csr_array
    inequality: sparse.csr_array
    bound: np.ndarray
    trade: sparse.csr_array
    positive: np.ndarray
    weights: sparse.csr_array


def moreau_layer(form: str) -> Callable[[Problem], Any]:
    """Return a builder of the layer for the form "epigraph" or "split"."""
    shape = {"epigraph": _epigraph, "split": _split}[form]

    def build(problem: Problem) -> Any:
        import moreau
        from moreau.torch import Solver

        part = problem.scaled()
        program = shape(part)
        n_variables = len(program.quadratic)
        every = np.arange(n_variables)
        curved = every[program.quadratic > 0]
        matrix = sparse.csr_array((program.quadratic[curved], (curved, curved)), shape=(n_variables, n_variables))
        rows = sparse.vstack([program.equality, program.inequality]).tocsr()
        rows.sort_indices()
        n_equal, n_rows = program.equality.shape[0], rows.shape[0]
        held_above_0 = moreau.DirectConeSpec(kind="nonneg", indices=program.positive.tolist())
        solver = Solver(
            n_variables,
            n_rows,
            *(torch.as_tensor(side.astype(np.int64)) for side in (matrix.indptr, matrix.indices)),
            *(torch.as_tensor(side.astype(np.int64)) for side in (rows.indptr, rows.indices)),
            moreau.Cones(num_zero_cones=n_equal, num_nonneg_cones=n_rows - n_equal, dir_cones=[held_above_0]),
            moreau.Settings(device="cpu", batch_size=problem.n_rows, enable_grad=True, solver="ipm"),
        )
        values = torch.as_tensor(matrix.data), torch.as_tensor(rows.data)
        linear, bound = torch.as_tensor(program.linear), torch.as_tensor(program.bound)
        forecast, trade, weights = (
            torch.sparse_csr_tensor(
                torch.as_tensor(map_.indptr.astype(np.int64)),
                torch.as_tensor(map_.indices.astype(np.int64)),
                torch.as_tensor(map_.data),
                map_.shape,
                check_invariants=True,
            )
            for map_ in (program.forecast, program.trade, program.weights)
        )

        def solve(p: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
            q = linear - (forecast @ (p / part.price).T).T
            b = bound + (trade @ (held / part.size).T).T
            z = solver.solve(*values, q.contiguous(), b.contiguous()).x
            return (weights @ z.T).T * part.size

        return solve

    return build


def _epigraph(part: Scaled) -> Form:
    n_assets, n_factors = part.loadings.shape
    one, none = np.ones((1, n_assets)), np.zeros((1, n_assets))
    unit, zero = sparse.eye_array(n_assets), sparse.csr_array((n_assets, n_assets))
    beside = sparse.csr_array((n_assets, n_factors))
    stack = [
        [unit, zero, zero, beside],  # x <= 1
        [-unit, zero, zero, beside],  # -x <= 1
        [-unit, -unit, zero, beside],  # -x <= short
        [-unit, zero, -unit, beside],  # held - x <= sold
        [one, 2 * one, none, np.zeros((1, n_factors))],
    ]
    equal = [
        [one, none, none, np.zeros((1, n_factors))],
        [part.loadings.T, *2 * [sparse.csr_array((n_factors, n_assets))], -sparse.eye_array(n_factors)],
    ]
    first = sparse.csr_array(sparse.hstack([unit, zero, zero, beside]))
    above = 1 + n_factors
    places = above + 3 * n_assets + np.arange(n_assets)
    n_rows = above + 4 * n_assets + 1
    return Form(
        quadratic=np.concatenate([part.diagonal, np.zeros(2 * n_assets), np.ones(n_factors)]),
        linear=np.repeat(
            [part.l1 + part.spread, 2 * part.l1 + part.fee, 2 * part.spread, 0.0],
            [n_assets, n_assets, n_assets, n_factors],
        ),
        forecast=first.T.tocsr(),
        equality=_block(equal),
        inequality=_block(stack),
        bound=np.concatenate([np.zeros(above), np.ones(2 * n_assets), np.zeros(2 * n_assets), [part.leverage]]),
        trade=sparse.csr_array((-np.ones(n_assets), (places, np.arange(n_assets))), shape=(n_rows, n_assets)),
        positive=np.arange(n_assets, 3 * n_assets),
        weights=first,
    )


def _split(part: Scaled) -> Form:
    n_assets, n_factors = part.loadings.shape
    one, none = np.ones((1, n_assets)), np.zeros((1, n_assets))
    unit, zero = sparse.eye_array(n_assets), sparse.csr_array((n_assets, n_assets))
    beside, below = sparse.csr_array((n_assets, n_factors)), sparse.csr_array((n_factors, n_assets))
    tail = np.zeros((1, n_factors))
    equal = [
        [unit, -unit, -unit, unit, beside],  # x - (bought - sold) = held
        [one, -one, none, none, tail],
        [part.loadings.T, -part.loadings.T, below, below, -sparse.eye_array(n_factors)],
    ]
    stack = [[unit, zero, zero, zero, beside], [zero, unit, zero, zero, beside], [one, one, none, none, tail]]
    weights = sparse.csr_array(sparse.hstack([unit, -unit, zero, zero, beside]))
    n_rows = n_assets + 1 + n_factors + 2 * n_assets + 1
    every = np.arange(n_assets)
    return Form(
        # A name is never long and short at once, so the square of its weight is the sum of the two squares.
        quadratic=np.concatenate([part.diagonal, part.diagonal, np.zeros(2 * n_assets), np.ones(n_factors)]),
        linear=np.repeat([part.l1, part.l1 + part.fee, part.spread, part.spread, 0.0], [n_assets] * 4 + [n_factors]),
        forecast=weights.T.tocsr(),
        equality=_block(equal),
        inequality=_block(stack),
        bound=np.concatenate([np.zeros(n_assets + 1 + n_factors), np.ones(2 * n_assets), [part.leverage]]),
        trade=sparse.csr_array((np.ones(n_assets), (every, every)), shape=(n_rows, n_assets)),
        positive=np.arange(4 * n_assets),
        weights=weights,
    )


def _block(parts: list[list[Any]]) -> sparse.csr_array:
    return sparse.csr_array(sparse.block_array([[sparse.csr_array(part) for part in row] for row in parts]))
