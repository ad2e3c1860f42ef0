"""How the cost of a comparison grows, and what a large sweep would cost: measured points, a model fitted to them.

    python benchmarks/scale.py            about three minutes of one processor
    python benchmarks/scale.py --quick    tiny points, to see that it runs

Seven pieces of work are timed at each point, in a process of its own and on one thread, by processor time (other
programs count little), the median of some repeats. Each piece is T rows of R books, and is fitted with

    seconds = T (a + R N (b + c W + d k)),    W = K U + U^2

N names, K features, U units in each of two hidden layers, k factors of the risk model; relative errors are minimised,
and no coefficient is below 0. `estimate` is T rows of `a + b N + c N L`, with L the rows of its look back. Memory is
what the process grew by, at its peak. One point, larger than all others, is not in the fit: a whole window, from
estimates to trades.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from scale_model import LOOKBACK, ROWS, SETTINGS, Size, report_held_out, report_points, report_sweeps

from backtest.analysis import information_coefficient
from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.costs import FactorRisk, LeverageLimit, TradingCost
from backtest.market import MarketPanel
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import Samples, WalkForward, one_thread
from backtest.training.choices import Choices
from backtest.training.error_losses import error_loss
from backtest.training.initial import initial_model
from backtest.training.loops import train_on_error, train_on_path
from backtest.training.path import walk

BASE = Size()
POINTS = (
    BASE,
    replace(BASE, T=576),
    replace(BASE, N=50),
    replace(BASE, N=800),
    replace(BASE, K=60),
    replace(BASE, S=8),
    replace(BASE, H=4),
    replace(BASE, k=30),
    replace(BASE, N=800, k=30),
    Size(T=256, N=500, K=30, S=3, H=2, k=15),
)
HELD_OUT = Size(T=240, N=2000, K=20, S=2, H=2, k=15)
TINY = Size(T=40, N=12, K=3, S=1, H=1, k=2)


def panel_of(size: Size) -> MarketPanel:
    """Return random returns with random features: `LOOKBACK` rows to estimate from, and T more."""
    rng = np.random.default_rng(0)
    n_rows = LOOKBACK + size.T + 4
    returns = 0.01 * rng.normal(size=(n_rows, 1)) + 0.02 * rng.normal(size=(n_rows, size.N))
    frame = pd.DataFrame(returns, index=pd.bdate_range("2015-01-01", periods=n_rows)).add_prefix("N")
    features = rng.normal(size=(n_rows, size.N, size.K))
    panel = MarketPanel.from_returns(frame, periods_per_year=252)
    return panel.with_features(features, tuple(f"x{i}" for i in range(size.K)))


def solver_of(size: Size) -> PositionSolver:
    risk = FactorRisk(n_factors=size.k, lookback=LOOKBACK, refit_every=21)
    return PositionSolver(5.0 * risk + TradingCost(half_spread=5e-4), [LeverageLimit(2.0)])


def seconds(work: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return median(took)


def memory(name: str) -> float:
    """Megabytes of this process, now ("VmRSS") or at most ("VmHWM") since its peak was set back."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def grown(work: Callable[[], object], before: float) -> float:
    """Return the megabytes above `before` that this process holds at most while it works."""
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return memory("VmHWM") - before


def work_of(size: Size, panel: MarketPanel) -> dict[str, Callable[[], object]]:
    """Return each piece of work of one point, ready to be done."""
    solver, samples = solver_of(size).estimate(panel), Samples.of(panel)
    rows = np.arange(LOOKBACK, LOOKBACK + size.T)
    few = np.arange(LOOKBACK + size.T, LOOKBACK + size.T + 2)
    settings = replace(SETTINGS, holding_periods=tuple(4.0 + i for i in range(size.H)), shrinkage=(1.0,))
    seeds = tuple(range(size.S))
    network = initial_model(settings, n_features=size.K, seeds=seeds, scale=0.02)
    many = network.replicas(torch.arange(size.S).repeat(size.H))
    periods = torch.tensor(settings.holding_periods, dtype=torch.float64).repeat_interleave(size.S)
    options = {"train": rows, "validation": few}

    def errors(name: str) -> object:
        loss = error_loss(name, samples, solver, np.concatenate([rows, few]))
        return train_on_error(samples, network, loss, seeds=seeds, settings=settings, **options)

    def path(passes: int) -> object:
        return train_on_path(
            samples,
            many,
            solver,
            seeds=seeds * size.H,
            holding_periods=periods,
            objectives=["aligned"] * (size.S * size.H),
            settings=replace(settings, path_epochs=passes),
            **options,
        )

    def start() -> object:
        # Before its first pass a fit walks all chunks at once, without a gradient.
        length = settings.chunk_length
        chunks = torch.as_tensor(rows[: size.T // length * length]).reshape(-1, length)
        with torch.no_grad():
            p = many.forecast(samples, chunks.reshape(-1)).reshape(many.n_replicas, *chunks.shape, size.N)
        held = torch.zeros(many.n_replicas, len(chunks), size.N, dtype=torch.float64)
        every = chunks.expand(many.n_replicas, *chunks.shape)
        return walk(samples, solver, p=p, rows=every, held=held, holding_periods=periods)

    def look() -> object:
        return Choices(samples, solver, rows, size.S, settings).utilities({"squared": network}, by_period=False)

    def trade() -> object:
        forecasts = np.full((size.S, panel.n_periods, size.N), np.nan)
        with torch.no_grad():
            forecasts[:, rows] = network.forecast(samples, torch.as_tensor(rows)).numpy()
        targets = panel.targets(1)
        span = {"first_row": int(rows[0]) + 1, "last_row": int(rows[-1]) + 2}
        result = simulate(panel, SolverPolicy(solver), forecasts, costs=solver.costs, lag=1, **span)
        return result, [information_coefficient(p, targets) for p in forecasts]

    return {
        "estimate": lambda: solver_of(size).estimate(panel),
        "squared pass": partial(errors, "squared"),
        "whitened pass": partial(errors, "whitened"),
        "aligned start": start,
        "one pass": partial(path, 1),
        "three passes": partial(path, 3),
        "look at validation": look,
        "trading": trade,
    }


def measured(size: Size, repeats: int) -> dict[str, float]:
    """Return the megabytes that training adds to a new process, and seconds of each piece of work, at one point."""
    panel = panel_of(size)
    before = memory("VmRSS")
    megabytes = grown(lambda: work_of(size, panel)["one pass"](), before)
    for work in work_of(TINY, panel_of(TINY)).values():
        work()  # compiled code is loaded
    result = {name: seconds(work, repeats) for name, work in work_of(size, panel).items()}
    result["aligned pass"] = (result.pop("three passes") - result.pop("one pass")) / 2
    return result | {"training, MB": megabytes}


def traded(size: Size) -> dict[str, float]:
    """Return the megabytes that trading adds to a new process."""
    panel = panel_of(size)
    before = memory("VmRSS")
    return {"trading, MB": grown(lambda: work_of(size, panel)["trading"](), before)}


def whole_window(size: Size) -> dict[str, float]:
    """Return seconds and peaks of one window of a comparison, from its estimates to its trades."""
    for work in work_of(TINY, panel_of(TINY)).values():
        work()
    panel = panel_of(size)
    held_now = memory("VmRSS")
    part = size.T // 5
    settings = replace(SETTINGS, epochs=3, path_epochs=2, holding_periods=tuple(4.0 + i for i in range(size.H)))
    begin = time.process_time()
    plan = ComparisonPlan.of(
        panel,
        ["squared", "whitened", "aligned"],
        solver=solver_of(size),
        seeds=size.S,
        training=settings,
        walk_forward=WalkForward(train=size.T - 2 * part, validation=part, test=10_000),
    )
    estimated = time.process_time()
    fits: list[Any] = []
    training = grown(lambda: fits.append(plan.fit_window(0)), held_now)
    trained = time.process_time()
    finishing = grown(lambda: plan.finish([*fits]), held_now)
    traded = time.process_time()
    return {
        "estimate": estimated - begin,
        "training": trained - estimated,
        "trading": traded - trained,
        "training, MB": training,
        "trading, MB": finishing,
        **{name: len(getattr(plan.windows[0], name)) for name in ROWS},
    }


def in_a_process(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Run `work` in a new process: its memory is its own, and no thread of this one is in its way."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(alone, work, *arguments).result()


def alone(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with one_thread():
        return work(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny points, once each")
    quick = parser.parse_args().quick
    points = (TINY, replace(TINY, N=24), replace(TINY, S=2)) if quick else POINTS
    held_out, repeats = (replace(TINY, N=30), 1) if quick else (HELD_OUT, 3)
    results = [in_a_process(measured, size, repeats) | in_a_process(traded, size) for size in points]

    coefficients = report_points(points, results)
    report_held_out(held_out, in_a_process(whole_window, held_out), coefficients)
    report_sweeps(coefficients)


if __name__ == "__main__":
    main()
