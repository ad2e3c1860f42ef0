"""What a cost of one's own costs in time: a simulation under it, over one under a shipped cost of the same size.

    python benchmarks/own_costs.py

Both are simulated in turn in one process, on 20 stocks by month, one thread, after a warm-up; ratios of processor time.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from backtest import PositionSolver, load_dataset, price_features, simulate, to_frequency
from backtest.costs import L1, Cost, DollarNeutral, FactorRisk, LeverageLimit, SeparableCost, TradingCost
from backtest.simulation import SolverPolicy

ROUNDS, PERIODS = 3, 24


class StampDuty(SeparableCost):
    """Paid by buyers: a line on each side."""

    def value(self, q, held, market):
        return 0.005 * (q - held).clamp(min=0)


class Tiers(SeparableCost):
    """Dearer from 5% on, and a square of the trade: lines and parabolas."""

    def value(self, q, held, market):
        return 2e-3 * q.abs() + 0.01 * (q.abs() - 0.05).clamp(min=0) + 0.1 * (q - held).square()

    def kinks(self, held, market):
        return (0.0, 0.05, -0.05)


class Impact(SeparableCost):
    """A power of the trade: no parabola."""

    def value(self, q, held, market):
        return 0.02 * (q - held).abs().clamp(min=1e-30).pow(1.5)


def main() -> None:
    panel = price_features(to_frequency(load_dataset("sp500-20"), "M"))
    forecasts = 0.01 * np.random.default_rng(0).normal(size=(panel.n_periods, panel.n_assets))
    shipped = 5.0 * FactorRisk(n_factors=5) + TradingCost(half_spread=1e-3) + 1e-4 * L1()
    costs: dict[str, Cost] = {
        "shipped": shipped + TradingCost(half_spread=25e-4),
        "lines": shipped + StampDuty(),
        "tiers": shipped + Tiers(),
        "power": shipped + Impact(),
    }
    policies = {
        name: SolverPolicy(PositionSolver(cost, [LeverageLimit(2), DollarNeutral()]).estimate(panel))
        for name, cost in costs.items()
    }

    def seconds(name: str, periods: int) -> float:
        policy = policies[name]
        start = time.process_time()
        simulate(panel, policy, forecasts, costs=policy.solver.costs, first_row=100, last_row=100 + periods)
        return time.process_time() - start

    torch.set_num_threads(1)
    for name in costs:
        seconds(name, 3)
    taken = {name: [] for name in costs}
    for _ in range(ROUNDS):
        for name in costs:
            taken[name].append(seconds(name, PERIODS))
    base = np.median(taken["shipped"])
    print(f"{PERIODS} decisions on {panel.n_assets} names, median of {ROUNDS} rounds: processor time")
    for name, times in taken.items():
        middle = float(np.median(times))
        print(f"{name:8s} {1e3 * middle / PERIODS:7.1f} ms a decision   {middle / base:6.1f} times the shipped cost")


if __name__ == "__main__":
    main()
