"""Results of random runs, drawn by a seed alone: what is made of a result is judged on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from random_markets import Given, Run, made_run

from backtest.simulation import SimulationResult, simulate

__all__ = ["drawn_run", "simulated", "size_of"]


def drawn_run(seed: int, **limits: Any) -> Run:
    """Return a run; limits are those of `made_run`."""
    rng = np.random.default_rng(seed)
    return made_run(lambda some: some[int(rng.integers(len(some)))], **limits)


def simulated(run: Run) -> SimulationResult:
    """Return what the simulator makes of a run."""
    return simulate(
        run.panel,
        Given(),
        run.forecasts,
        costs=run.rates.cost(run.panel),
        initial_wealth=run.wealth,
        initial_weights=run.weights,
        **run.options,
    )


def size_of(result: SimulationResult, book: int) -> float:
    """Return the currency of which rounding is a fraction: the most that a book had on either side, or was worth."""
    alive = np.isfinite(result.net[book])
    if not alive.any():
        return float(result.wealth[book, 0])
    return float((result.wealth[book, :-1][alive] * (1.0 + result.leverage[book, alive])).max())
