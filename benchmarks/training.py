"""What an epoch of aligned training costs beside one of squared error, on the same model and data, in one run.

    python benchmarks/training.py                N = 500 with an MLP of 256 x 2; N = 5,000 with 500 features
    python benchmarks/training.py --small        the first alone

32 dates make a minibatch of both: the aligned one walks 4 chunks of 8 dates each, with spread, borrow fee, factor risk
and a leverage limit. One seed, one thread. The time of an epoch is the difference between a fit of several epochs and
one of a single one, so that neither set-up nor validation counts; the best of some rounds, alternating.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from solver_clock import describe_clock, on_one_core, timed

if __name__ == "__main__":
    on_one_core()

import numpy as np
import pandas as pd
import torch

from backtest.costs import BorrowFee, FactorRisk, LeverageLimit, TradingCost
from backtest.market import MarketPanel
from backtest.solver import PositionSolver
from backtest.training import Samples, TrainingSettings
from backtest.training.error_losses import error_loss
from backtest.training.loops import train_on_error, train_on_path
from backtest.training.models import Network

ROUNDS, EPOCHS = 3, 3


@dataclass(frozen=True)
class Size:
    """One size, and by how much an aligned epoch may be dearer."""

    n_assets: int
    n_features: int
    n_dates: int
    most: float


SIZES = (Size(500, 20, 256, 2.0), Size(5000, 500, 64, 1.3))


def panel_of(size: Size) -> MarketPanel:
    """Return random returns with random features."""
    rng = np.random.default_rng(0)
    n_rows = size.n_dates + 12
    frame = pd.DataFrame(
        rng.normal(0, 0.02, (n_rows, size.n_assets)), index=pd.bdate_range("2015-01-01", periods=n_rows)
    ).add_prefix("N")
    panel = MarketPanel.from_returns(frame, periods_per_year=252)
    features = rng.normal(size=(n_rows, size.n_assets, size.n_features))
    return panel.with_features(features, tuple(f"x{i}" for i in range(size.n_features)))


def epochs_of(size: Size) -> dict[str, float]:
    """Return seconds an epoch of each objective."""
    samples = Samples.of(panel_of(size), lag=1)
    rng = np.random.default_rng(1)
    risk = FactorRisk(rng.normal(size=(size.n_assets, 15)) * 0.003, specific_variance=np.full(size.n_assets, 0.02**2))
    solver = PositionSolver(
        5.0 * risk + TradingCost(half_spread=5e-4) + BorrowFee(0.01, periods_per_year=252), [LeverageLimit(2.0)]
    )
    settings = TrainingSettings(hidden=(256, 256), batch_rows=32, chunk_length=8, batch_chunks=4, patience=100)
    start = Network.initial(size.n_features, hidden=settings.hidden, seeds=(0,), scale=0.002)
    train, validation = np.arange(size.n_dates), np.arange(size.n_dates + 2, size.n_dates + 4)
    loss = error_loss("squared", samples, solver, np.concatenate([train, validation]))
    shared = {"train": train, "validation": validation, "seeds": (0,)}

    def squared(epochs: int) -> object:
        return train_on_error(samples, start, loss, settings=replace(settings, epochs=epochs), **shared)

    def aligned(epochs: int) -> object:
        return train_on_path(
            samples,
            start,
            solver,
            holding_periods=torch.tensor([4.0], dtype=torch.float64),
            objectives=["aligned"],
            settings=replace(settings, path_epochs=epochs),
            **shared,
        )

    fits = {"squared": squared, "aligned": aligned}
    best = dict.fromkeys(fits, np.inf)
    for _ in range(ROUNDS):
        for name, fit in fits.items():
            many, one = timed(lambda fit=fit: fit(1 + EPOCHS))[1], timed(lambda fit=fit: fit(1))[1]
            best[name] = min(best[name], (many - one) / EPOCHS)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the first size alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_clock())
    print(f"  {'':44}{'squared':>10}{'aligned':>10}{'ratio':>8}")
    for size in SIZES[:1] if options.small else SIZES:
        best = epochs_of(size)
        ratio = best["aligned"] / best["squared"]
        what = f"{size.n_assets} names, {size.n_features} features, {size.n_dates} dates, MLP 256 x 2"
        verdict = "met" if ratio <= size.most else "NOT MET"
        print(
            f"  {what:44}{best['squared']:9.2f}s{best['aligned']:9.2f}s{ratio:8.2f}   at most {size.most:g}: {verdict}",
            flush=True,
        )


if __name__ == "__main__":
    main()
