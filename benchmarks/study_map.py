"""The map on simulated markets: where does the aligned objective beat whitened and squared error, and by how much?

A full grid of five properties of a market. In every cell one linear model is trained on 400 days for each objective,
its choices are made on 100 days after them, and it trades 300 days after those. What is compared is expected net
utility, `E[y]'q - C(q)` with the true `E[y]`, so that the luck of test days is not in it; draws of the market are
independent, and an interval is Student's t over them.

    python benchmarks/study_map.py [--draws N] [--jobs N] [--out map.parquet]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.costs import FactorLimit, FactorRisk, LeverageLimit, TradingCost
from backtest.market import SimulatedMarket, simulate_market
from backtest.solver import PositionSolver
from backtest.training import TrainingSettings, WalkForward

__all__ = ["AXES", "OBJECTIVES", "Place", "run_map", "run_place"]

OBJECTIVES = ("squared", "whitened", "aligned")
SIGNAL = 1e-3
RISK = 20.0 * 0.02**2
"""Risk aversion times variance: the same in every cell, so that noise makes learning harder and nothing else."""

TRAINING = TrainingSettings(hidden=(), holding_periods=(1.0, 2.0))
WINDOW = WalkForward(train=400, validation=100, test=300)
LAG = 1
N_PERIODS = WINDOW.train + WINDOW.validation + WINDOW.test + 3 * (LAG + 1)

AXES: dict[str, tuple[float, ...]] = {
    "noise": (10.0, 20.0, 40.0),
    "misspecification": (0.0, 0.6),
    "half_spread": (1.0, 4.0, 10.0),
    "cost_dispersion": (0.0, 1.0),
    "neutralised": (0.0, 0.5),
}


@dataclass(frozen=True)
class Place:
    """One market of the grid.

    Attributes:
        noise: standard deviation of an asset's return over that of its expected return (10 basis points a day).
        misspecification: share of the variance of the expected return that no linear model can fit.
        half_spread: mean over assets, basis points.
        cost_dispersion: standard deviation of its logarithm between assets.
        neutralised: share of the variance of every feature that lies along factors to which books are held neutral.
        draw: seed of the market.
    """

    noise: float
    misspecification: float
    half_spread: float
    cost_dispersion: float
    neutralised: float
    draw: int

    def market(self) -> SimulatedMarket:
        """Draw the market: 50 assets, 5 features, 5 factors."""
        return simulate_market(
            n_periods=N_PERIODS,
            seed=self.draw,
            lag=LAG,
            signal=SIGNAL,
            volatility=self.noise * SIGNAL,
            misspecification=self.misspecification,
            half_spread=self.half_spread * 1e-4,
            cost_dispersion=self.cost_dispersion,
            feature_factor_alignment=self.neutralised**0.5,
        )

    def solver(self, market: SimulatedMarket) -> PositionSolver:
        """Return the solver: true risk and costs, neutral to all factors, a leverage limit that seldom binds."""
        costs = (RISK / (self.noise * SIGNAL) ** 2) * FactorRisk(
            loadings=market.loadings,
            factor_covariance=market.factor_covariance,
            specific_variance=market.specific_variance,
        ) + TradingCost(half_spread=market.half_spread)
        return PositionSolver(costs, [FactorLimit(market.loadings, lower=0.0, upper=0.0), LeverageLimit(30.0)])


def run_place(place: Place) -> list[dict[str, float | str]]:
    """Train and trade in one market; a row an objective, utilities a year."""
    market = place.market()
    plan = ComparisonPlan.of(
        market, OBJECTIVES, solver=place.solver(market), seeds=1, training=TRAINING, walk_forward=WINDOW, lag=LAG
    )
    fit = plan.fit_window(0)
    comparison = plan.finish([fit])
    assert comparison.expected is not None
    return [
        {
            **asdict(place),
            "objective": name,
            "utility": found["expected_utility"],
            "oracle": found["oracle_utility"],
            "forecast_error": found["forecast_error"],
            "turnover": float(comparison.results[name].turnover.mean()),
            "leverage": float(comparison.results[name].leverage.mean()),
        }
        for name, found in comparison.expected.items()
    ]


def run_map(*, draws: int, n_jobs: int | None = None, n_places: int | None = None) -> pd.DataFrame:
    """Return a row for each place of the grid, or of `n_places` that are spread over it, draw and objective."""
    from joblib import Parallel, delayed

    grid = list(product(*AXES.values()))
    taken = grid[:: -(-len(grid) // n_places)] if n_places else grid
    places = [Place(*values, draw) for values in taken for draw in range(draws)]
    done = Parallel(n_jobs=n_jobs or -1)(delayed(run_place)(place) for place in places)
    return pd.DataFrame([row for rows in done for row in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=8, help="independent markets in each place of the grid")
    parser.add_argument("--jobs", type=int, default=None, help="processes; one a core unless given")
    parser.add_argument("--out", type=Path, default=Path("runs/map.parquet"))
    arguments = parser.parse_args()
    table = run_map(draws=arguments.draws, n_jobs=arguments.jobs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(arguments.out, index=False)
    print(table.groupby([*AXES, "objective"], sort=False)[["utility", "oracle", "leverage"]].mean().to_string())
