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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls

from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.costs import FactorRisk, LeverageLimit, TradingCost
from backtest.market import MarketPanel
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import Samples, TrainingSettings, WalkForward, one_thread
from backtest.training.choices import Choices
from backtest.training.error_losses import error_loss
from backtest.training.initial import initial_model
from backtest.training.loops import train_on_error, train_on_path

UNITS, LOOKBACK = 32, 252
SETTINGS = TrainingSettings(epochs=1, path_epochs=1, patience=10_000, hidden=(UNITS, UNITS), shrinkage=(0.3, 1.0))
PIECES = ("squared pass", "whitened pass", "aligned start", "aligned pass", "look at validation", "trading", "estimate")

ROWS = ("train", "validation", "test")


@dataclass(frozen=True)
class Size:
    """One point: T rows, N names, K features, S seeds, H holding periods, k factors."""

    T: int = 192
    N: int = 200
    K: int = 10
    S: int = 2
    H: int = 1
    k: int = 5

    @property
    def weights(self) -> int:
        """Weights of a network, nearly."""
        return self.K * UNITS + UNITS**2


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


def measured(size: Size, repeats: int) -> dict[str, float]:
    """Return seconds of each piece of work, and peaks of memory, at one point."""
    panel = panel_of(size)
    held_now = memory("VmRSS")
    estimate = seconds(lambda: solver_of(size).estimate(panel), repeats)
    solver, samples = solver_of(size).estimate(panel), Samples.of(panel)
    rows = np.arange(LOOKBACK, LOOKBACK + size.T)
    few = np.arange(LOOKBACK + size.T, LOOKBACK + size.T + 2)
    settings = replace(SETTINGS, holding_periods=tuple(4.0 + i for i in range(size.H)), shrinkage=(1.0,))
    seeds = tuple(range(size.S))
    network = initial_model(settings, n_features=size.K, seeds=seeds, scale=0.02)
    options = {"train": rows, "validation": few, "settings": settings}

    def errors(name: str) -> object:
        loss = error_loss(name, samples, solver, np.concatenate([rows, few]))
        return train_on_error(samples, network, loss, seeds=seeds, **options)

    def path(passes: int) -> object:
        return train_on_path(
            samples,
            network.replicas(torch.arange(size.S).repeat(size.H)),
            solver,
            seeds=seeds * size.H,
            holding_periods=torch.tensor(settings.holding_periods, dtype=torch.float64).repeat_interleave(size.S),
            objectives=["aligned"] * (size.S * size.H),
            **{**options, "settings": replace(settings, path_epochs=passes)},
        )

    def look() -> object:
        return Choices(samples, solver, rows, size.S, settings).utilities({"squared": network}, by_period=False)

    with torch.no_grad():
        forecasts = np.full((size.S, panel.n_periods, size.N), np.nan)
        forecasts[:, rows] = network.forecast(samples, torch.as_tensor(rows)).numpy()

    def trade() -> object:
        span = {"first_row": int(rows[0]) + 1, "last_row": int(rows[-1]) + 2}
        return simulate(panel, SolverPolicy(solver), forecasts, costs=solver.costs, lag=1, **span)

    result = {"estimate": estimate}
    result |= {f"{name} pass": seconds(partial(errors, name), repeats) for name in ("squared", "whitened")}
    result["look at validation"] = seconds(look, repeats)
    # Before its first pass a fit walks the path once without a gradient.
    one, three = seconds(lambda: path(1), repeats), seconds(lambda: path(3), repeats)
    result["aligned pass"] = (three - one) / 2
    result["aligned start"] = one - result["aligned pass"]
    result["trading"] = seconds(trade, repeats)
    result["training, MB"] = grown(lambda: path(1), held_now)
    result["trading, MB"] = grown(trade, memory("VmRSS")) + forecasts.nbytes / 2**20
    return result


def whole_window(size: Size) -> dict[str, float]:
    """Return seconds and peaks of one window of a comparison, from its estimates to its trades."""
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
    peak = grown(lambda: fits.append(plan.fit_window(0)), held_now)
    trained = time.process_time()
    finishing = grown(lambda: plan.finish([*fits]), memory("VmRSS"))
    traded = time.process_time()
    return {
        "estimate": estimated - begin,
        "training": trained - estimated,
        "trading": traded - trained,
        "training, MB": peak,
        "trading, MB": finishing,
        **{name: len(getattr(plan.windows[0], name)) for name in ROWS},
    }


def in_a_process(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Run `work` in a fork of this process, in which compiled code is loaded already."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=lambda: send.send(work(*arguments)))
    process.start()
    send.close()
    try:
        result: dict[str, float] = receive.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__}{arguments}: the process died, perhaps for want of memory") from None
    finally:
        process.join()
    return result


def books(piece: str, size: Size) -> int:
    return size.S if piece.endswith(("squared pass", "whitened pass", "trading")) else size.S * size.H


def terms(piece: str, size: Size, n_books: float) -> np.ndarray:
    """Return what the coefficients of a piece's seconds multiply."""
    if piece == "estimate":
        return size.T * np.array([1.0, size.N, size.N * LOOKBACK, 0.0])
    by_name = n_books * size.N
    return size.T * np.array(
        [
            1.0,
            by_name,
            by_name * size.weights * ("look" not in piece and piece != "trading"),
            by_name * size.k * (piece != "squared pass"),
        ]
    )


def memory_terms(piece: str, size: Size, n_books: float) -> np.ndarray:
    """Return what the coefficients of a piece's megabytes multiply, in millions of numbers."""
    rows = LOOKBACK + size.T
    if piece == "training, MB":
        return np.array(
            [1.0, rows * size.N * size.K / 1e6, n_books * size.N * (SETTINGS.batch_rows * UNITS + size.T) / 1e6]
        )
    return np.array([1.0, n_books * rows * size.N / 1e6, 0.0])


def fitted(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    coefficients: np.ndarray = nnls(features / values[:, None], np.ones(len(values)))[0]
    return coefficients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny points, once each")
    quick = parser.parse_args().quick
    points = (TINY, replace(TINY, N=24), replace(TINY, S=2)) if quick else POINTS
    held_out, repeats = (replace(TINY, N=30), 1) if quick else (HELD_OUT, 3)
    measured(TINY, 1)  # compiled code is loaded, once for all forks
    results = [in_a_process(measured, size, repeats) for size in points]

    coefficients = report_points(points, results)
    report_held_out(held_out, in_a_process(whole_window, held_out), coefficients)
    report_sweeps(coefficients)


def report_points(points: tuple[Size, ...], results: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Print each piece at each point beside what the model says; return the coefficients."""
    coefficients = {}
    for piece in (*PIECES, "training, MB", "trading, MB"):
        of_piece = memory_terms if piece.endswith("MB") else terms
        features = np.array([of_piece(piece, size, books(piece, size)) for size in points])
        values = np.array([result[piece] for result in results])
        coefficients[piece] = fitted(features, values)
        model = features @ coefficients[piece]
        print(f"\n{piece}: coefficients {', '.join(f'{c:.3g}' for c in coefficients[piece])}")
        print(
            f"  {'T':>5}{'N':>6}{'K':>4}{'S':>3}{'H':>3}{'k':>4}{'measured':>11}{'x base':>8}{'model':>9}{'off by':>8}"
        )
        for size, value, said in zip(points, values, model, strict=True):
            print(
                f"  {size.T:5}{size.N:6}{size.K:4}{size.S:3}{size.H:3}{size.k:4}{value:11.3f}"
                f"{value / values[0]:8.2f}{said:9.3f}{100 * (said / value - 1):+7.0f}%"
            )
    return coefficients


def predicted(size: Size, coefficients: dict[str, np.ndarray], *, window: dict[str, int]) -> dict[str, float]:
    """Return seconds of one window: `window` has train, validation, test, epochs, path_epochs, shrinkages."""

    def piece(name: str, rows: int, n_books: float) -> float:
        return float(terms(name, replace(size, T=rows), n_books) @ coefficients[name])

    train, validation = window["train"], window["validation"]
    replicas, tried = size.S * size.H, size.S * size.H * window["shrinkages"]
    errors = window["epochs"] * sum(piece(f"{name} pass", train, size.S) for name in ("squared", "whitened"))
    aligned = window["path_epochs"] * piece("aligned pass", train, replicas)
    aligned += piece("aligned start", train, replicas)
    looks = 0.0
    looks += (1 + window["path_epochs"]) * piece("look at validation", validation, replicas)
    looks += piece("look at validation", validation, 2 * tried) + piece("look at validation", validation, tried)
    return {"training": errors + aligned + looks, "trading": piece("trading", window["test"], 3 * size.S)}


def report_held_out(size: Size, result: dict[str, float], coefficients: dict[str, np.ndarray]) -> None:
    window = {name: int(result.pop(name)) for name in ROWS}
    said = predicted(size, coefficients, window=window | {"epochs": 3, "path_epochs": 2, "shrinkages": 2})
    said["estimate"] = float(terms("estimate", size, 1) @ coefficients["estimate"])
    said["training, MB"] = float(memory_terms("training, MB", size, size.S * size.H) @ coefficients["training, MB"])
    said["trading, MB"] = float(memory_terms("trading, MB", size, 3 * size.S) @ coefficients["trading, MB"])
    print(f"\nHeld out, a whole window of {window}: {size}")
    for name, value in result.items():
        print(
            f"  {name:14} measured {value:9.2f}, model {said[name]:9.2f}, off by {100 * (said[name] / value - 1):+.0f}%"
        )


def report_sweeps(coefficients: dict[str, np.ndarray]) -> None:
    """Print what 200 settings of 5,000 stocks over 20 years would cost: 4 seeds, 2 holding periods, 3 objectives."""
    for name, year in (("daily", 252), ("weekly", 52)):
        size = Size(T=20 * year, N=5000, K=20, S=4, H=2, k=15)
        length = {"train": 8 * year, "validation": 2 * year, "test": round(2.5 * year)}
        window = length | {"epochs": 30, "path_epochs": 8, "shrinkages": 3}
        n_windows = round((20 - 1 - 10) / 2.5)
        said = predicted(size, coefficients, window=window)
        trade = n_windows * said["trading"]
        estimate = float(terms("estimate", size, 1) @ coefficients["estimate"])
        hours = {key: value / 3600 for key, value in {**said, "trading": trade, "estimate": estimate}.items()}
        total = 200 * (n_windows * hours["training"] + hours["trading"])
        print(f"\n200 settings, 5,000 stocks, 20 years {name}, {n_windows} windows, 3 objectives, {size}")
        print(
            f"  a window {hours['training']:.2f} h, trading a cell {hours['trading']:.2f} h, estimates of a cell "
            f"{3600 * hours['estimate']:.0f} s; in all {total:,.0f} processor hours"
        )
        for label, cores in (("2 cores", 2), ("16 cores", 16), ("100 machines of 16", 1600)):
            rounds = -(-200 * n_windows // cores)
            train = rounds * hours["training"]
            print(
                f"  {label:20} training {train:10,.1f} h = {train / 24:7,.1f} days; "
                f"trading, one process: {200 * hours['trading']:8,.1f} h"
            )
        features = size.T * size.N * size.K
        train_mb = memory_terms("training, MB", size, size.S * size.H) @ coefficients["training, MB"]
        trade_mb = memory_terms("trading, MB", size, 3 * size.S) @ coefficients["trading, MB"]
        print(
            f"  data {8 * features / 1e9:.1f} GB of features and {5 * 8 * size.T * size.N / 1e9:.1f} GB beside them "
            f"a machine, once; a worker {train_mb / 1e3:.1f} GB of its own; trading a cell {trade_mb / 1e3:.1f} GB"
        )


if __name__ == "__main__":
    with one_thread():
        main()
