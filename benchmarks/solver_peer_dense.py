"""proxsuite and qpth: dense quadratic programs `min 1/2 z'Qz + q'z, A z = b, G z <= u` in torch.

`z` is (x, short part, part sold): `|x| = x + 2 short`, `|x - held| = x - held + 2 sold`. Factors are no variables
here: a dense solver gains nothing from them.

Sources: Bambade et al. (2024), "Leveraging augmented-Lagrangian techniques for differentiating over infeasible
quadratic programs"; Amos & Kolter (2017), "OptNet".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from solver_problem import Problem

__all__ = ["proxsuite_layer", "qpth_layer"]

RIDGE = 1e-6
"""qpth wants a positive definite Q: this much, in scaled units, on the parts that have no curvature."""


UNIT = 10.0
"""proxsuite calls rows infeasible that are not, where weights are about 1 or about 100; at 10 it solves them."""


@dataclass(frozen=True)
class _Program:
    """In scaled units; `linear` where p is 0, `bound` where held is 0."""

    quadratic: torch.Tensor
    linear: torch.Tensor
    equality: torch.Tensor
    inequality: torch.Tensor
    bound: torch.Tensor


def proxsuite_layer(problem: Problem) -> Any:
    """Return the layer of proxsuite."""
    from proxsuite.torch.qplayer import QPFunction

    part, program = problem.scaled(), _program(problem, ridge=0.0)
    solver = QPFunction()
    quadratic = program.quadratic / UNIT**2
    below = torch.full_like(program.bound, -1e20)

    def solve(p: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        q, u = _row(program, p / part.price, held / part.size)
        b = q.new_zeros(len(q), 1)
        matrices = (quadratic, q / UNIT, program.equality, b, program.inequality)
        z, _, _ = solver(*matrices, below.repeat(len(u), 1), UNIT * u)
        return z[:, : problem.n_assets] * (part.size / UNIT)

    return solve


def qpth_layer(problem: Problem) -> Any:
    """Return the layer of qpth."""
    from qpth.qp import QPFunction

    part, program = problem.scaled(), _program(problem, ridge=RIDGE)
    solver = QPFunction(verbose=-1)

    def solve(p: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        q, u = _row(program, p / part.price, held / part.size)
        z = solver(program.quadratic, q, program.inequality, u, program.equality, q.new_zeros(1))
        return z[:, : problem.n_assets] * part.size

    return solve


def _program(problem: Problem, *, ridge: float) -> _Program:
    part = problem.scaled()
    n_assets = problem.n_assets
    quadratic = np.diag(np.concatenate([part.diagonal, np.full(2 * n_assets, ridge)]))
    quadratic[:n_assets, :n_assets] += part.loadings @ part.loadings.T
    unit, zero = np.eye(n_assets), np.zeros((n_assets, n_assets))
    one, none = np.ones((1, n_assets)), np.zeros((1, n_assets))
    inequality = np.block(
        [
            [unit, zero, zero],  # x <= 1
            [-unit, zero, zero],  # -x <= 1
            [zero, -unit, zero],  # 0 <= short
            [-unit, -unit, zero],  # -x <= short
            [zero, zero, -unit],  # 0 <= sold
            [-unit, zero, -unit],  # held - x <= sold, last but one: see `_row`
            [one, 2 * one, none],  # leverage
        ]
    )
    bound = np.concatenate([np.ones(2 * n_assets), np.zeros(4 * n_assets), [part.leverage]])
    linear = np.repeat([part.l1 + part.spread, 2 * part.l1 + part.fee, 2 * part.spread], n_assets)
    parts = (quadratic, linear, np.hstack([one, none, none]), inequality, bound)
    return _Program(*(torch.as_tensor(array) for array in parts))


def _row(program: _Program, p: torch.Tensor, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return q and u, (B, n) and (B, m)."""
    n_assets = p.shape[-1]
    q = program.linear + torch.cat([-p, p.new_zeros(len(p), 2 * n_assets)], dim=-1)
    before = p.new_zeros(len(p), 5 * n_assets)
    u = program.bound - torch.cat([before, held, p.new_zeros(len(p), 1)], dim=-1)
    return q, u
