"""Measure one solver on one problem: build, forward, backward, memory, and how right it is.

Backward is the vector-Jacobian product of `p - y`, the gradient in `p` of the aligned loss -y'q(p) + C(q(p)): at the
optimum grad C(q) and p differ only by what the derivative of `q` sends to 0. Every solver gets the same vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from solver_clock import peak_memory, timed
from solver_judge import Exact, judge
from solver_peers import Layer, Peer
from solver_problem import Problem, draw_problem

__all__ = ["Measured", "measure_ours", "measure_peer", "probe"]

PROBE = (100, 10)
LOOPED_ROWS = 8
"""Rows that tell the time of a peer that loops over rows."""


@dataclass(frozen=True)
class Measured:
    """One solver on one problem. Times are milliseconds for the whole batch.

    Attributes:
        solver: as printed.
        forward_ms, backward_ms, build_ms: best of `repeats`; the build is timed once.
        memory_mb: see `peak_memory`; of the rows that were run.
        objective_gap, position_error, gradient_error: see `Judgement`.
        violation: of the worst limit, over the rows that were run, as a fraction of wealth.
        rows: that were run; with fewer than the batch, times are multiplied up to it.
        repeats: timed runs.
        steps: Newton steps of all rows, ours only.
        note: why there are no numbers: not installed, skipped, or the error it failed with.
    """

    solver: str
    forward_ms: float = np.nan
    backward_ms: float = np.nan
    build_ms: float = np.nan
    memory_mb: float | None = None
    objective_gap: float = np.nan
    position_error: float = np.nan
    gradient_error: float = np.nan
    violation: float = np.nan
    rows: int = 0
    repeats: int = 0
    steps: int | None = None
    note: str = ""

    @property
    def total_ms(self) -> float:
        return self.forward_ms + self.backward_ms


Run = Callable[[], tuple[torch.Tensor, float, torch.Tensor, float, int | None]]
"""One forward and backward: weights, seconds, gradients, seconds, Newton steps."""


def measure_ours(problem: Problem, exact: list[Exact], *, autograd: bool, seconds: float = 1.0) -> Measured:
    """Measure the position solver, by its closed-form backward or by `solver(p, held)` and autograd."""
    solver, p, held, upstream = problem.ours, problem.p, problem.held, problem.p - problem.y

    def closed_form() -> tuple[torch.Tensor, float, torch.Tensor, float, int | None]:
        solution, forward = timed(lambda: solver.solve(p, held))
        gradient, backward = timed(lambda: solution.solution_map(upstream))
        return solution.q, forward, gradient, backward, int(solution.iterations.sum())

    run = _differentiated(solver, problem) if autograd else closed_form
    run()  # compiles, the first time
    name = "ours, autograd" if autograd else "ours"
    return _measured(name, problem, exact, problem.build_ours, lambda _: run, seconds=seconds)


def measure_peer(peer: Peer, problem: Problem, exact: list[Exact], *, row_seconds: float, budget: float) -> Measured:
    """Measure a peer, or say why not.

    Args:
        peer: the peer.
        problem: the batch.
        exact: solutions of its first rows.
        row_seconds: what a row is predicted to take, forward and backward.
        budget: seconds that one timed run may take.
    """
    if row_seconds > budget:
        return Measured(peer.name, note=f"skipped: a row is predicted to take {row_seconds:.2g} s, budget {budget:g} s")
    rows = min(problem.n_rows, int(budget / row_seconds))
    rows = rows if peer.batches else min(rows, LOOPED_ROWS)
    part = problem.first(rows)
    with warnings.catch_warnings():
        # Advice on settings; what matters of it is in the columns on accuracy.
        warnings.simplefilter("ignore", UserWarning)
        try:
            # A second run finds caches filled and workspaces allocated, if there is time for one.
            return _measured(
                peer.name,
                part,
                exact,
                lambda: peer.build(part),
                lambda layer: _differentiated(layer, part),
                seconds=min(2.0, budget / 4),
                batch=problem.n_rows,
            )
        except Exception as error:  # a peer that fails is reported with its own words
            return Measured(peer.name, note=f"failed: {type(error).__name__}: {' '.join(str(error).split())[:120]}")


def probe(peer: Peer) -> float:
    """Return the seconds of one row at a small size, after a run that loads and compiles what it needs."""
    problem = draw_problem(*PROBE, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            run = _differentiated(peer.build(problem), problem)
            run()
            _, forward, _, backward, _ = run()
        except Exception:  # measured again in the cell, where its error is reported
            return 1e-3
    return forward + backward


def _differentiated(layer: Layer, problem: Problem) -> Run:
    def run() -> tuple[torch.Tensor, float, torch.Tensor, float, int | None]:
        p = problem.p.clone().requires_grad_()
        q, forward = timed(lambda: layer(p, problem.held))
        _, backward = timed(lambda: q.backward(problem.p - problem.y))
        assert p.grad is not None
        return q.detach(), forward, p.grad, backward, None

    return run


def _measured(
    name: str,
    problem: Problem,
    exact: list[Exact],
    build: Callable[[], Any],
    runner: Callable[[Any], Run],
    *,
    seconds: float,
    batch: int | None = None,
) -> Measured:
    def first() -> Any:
        built, building = timed(build)
        run = runner(built)
        return run, building, run()

    (run, building, outcome), memory = peak_memory(first)
    taken = [(outcome[1], outcome[3])]
    while sum(map(sum, taken)) < seconds and len(taken) < 50:
        outcome = run()
        taken.append((outcome[1], outcome[3]))
    q, gradient = outcome[0].numpy(), outcome[2].numpy()
    verdict = judge(problem, exact, q, gradient)
    times = 1e3 * (batch or problem.n_rows) / problem.n_rows
    return Measured(
        solver=name,
        forward_ms=times * min(forward for forward, _ in taken),
        backward_ms=times * min(backward for _, backward in taken),
        build_ms=1e3 * building,
        memory_mb=memory,
        objective_gap=verdict.objective_gap,
        position_error=verdict.position_error,
        gradient_error=verdict.gradient_error,
        violation=problem.violation(q),
        rows=problem.n_rows,
        repeats=len(taken),
        steps=outcome[4],
    )
