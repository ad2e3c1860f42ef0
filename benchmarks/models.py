"""Time one pass over the data of each model: 504 names, 10 features, 600 rows, one thread, one seed.

    python benchmarks/models.py

Training rows are the first 470, validation the last 127. "epoch" is a pass of the gradient loop on squared error with
its look at validation; for the closed form it is the whole fit, for boosted trees one tree. "path epoch" is a pass of
the aligned objective along the path, in chunks of 13 rows, with its two looks at validation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from backtest.costs import DollarNeutral, FactorRisk, LeverageLimit, TradingCost
from backtest.market import simulate_market
from backtest.solver import PositionSolver
from backtest.training import BoostingSettings, Samples, TrainingSettings, fit_objectives, one_thread
from backtest.training.initial import initial_model
from backtest.training.linear import fit_linear
from backtest.training.loops import train_on_error, train_on_path
from backtest.training.objectives import euclidean_metric, risk_metric

TRAIN, VALIDATION = np.arange(470), np.arange(470, 597)
SETTINGS = TrainingSettings(epochs=1, path_epochs=1, holding_periods=(4.0,), shrinkage=(1.0,))
MODELS = {
    "linear": replace(SETTINGS, model="linear"),
    "perceptron 32 x 2": SETTINGS,
    "convolution 32 x 2, history 12": replace(SETTINGS, model="convolution"),
    "recurrent 32, history 12": replace(SETTINGS, model="gru", hidden=(32,)),
}


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: other programs on the machine count little."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    market = simulate_market(504, 600, 10, seed=0, n_factors=5, half_spread=5e-4)
    samples = Samples.of(market.panel)
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    costs = 5.0 * risk + TradingCost(half_spread=5e-4)
    solver = PositionSolver(costs, [DollarNeutral(), LeverageLimit(2.0)]).estimate(market.panel)
    scale = samples.target_scale(TRAIN)
    squared, whitened = euclidean_metric(samples), risk_metric(samples, solver, np.arange(597))
    common = {"train": TRAIN, "validation": VALIDATION}

    print(f"{'model':<34} {'epoch':>9} {'path epoch':>11}   seconds")
    for name, metric in (("squared", squared), ("whitened", whitened)):
        linear = {"ridges": SETTINGS.ridge, "n_replicas": 1, "scale": scale}
        took = seconds(partial(fit_linear, samples, metric, **common, **linear))
        print(f"{f'closed form, {name}':<34} {took:9.2f}")
    on_path = {"holding_periods": torch.tensor([4.0], dtype=torch.float64), "objectives": ["aligned"]}
    for name, settings in MODELS.items():
        start = initial_model(settings, n_features=10, seeds=(0,), scale=scale)
        options = {**common, "seeds": (0,), "settings": settings}
        if name == "linear":
            train_on_path(samples, start, solver, **on_path, **options)  # compiled code is loaded on the first call
        one = seconds(partial(train_on_error, samples, start, squared, **options))
        path = seconds(partial(train_on_path, samples, start, solver, **on_path, **options))
        print(f"{name:<34} {one:9.2f} {path:11.2f}")

    def trees(**counts: int) -> float:
        growth = BoostingSettings(check_every=5, patience=1000, **counts)
        settings = TrainingSettings(model="boosted_trees", holding_periods=(4.0,), shrinkage=(1.0,), boosting=growth)
        return seconds(lambda: fit_objectives(samples, solver, ["aligned"], **common, seeds=(0,), settings=settings))

    base, error, path = trees(trees=5, path_trees=5), trees(trees=25, path_trees=5), trees(trees=5, path_trees=15)
    print(f"{'boosted trees, squared + whitened':<34} {(error - base) / 40:9.3f} {(path - base) / 10:11.3f}   a tree")


if __name__ == "__main__":
    with one_thread():
        main()
