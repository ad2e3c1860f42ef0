"""Where training through the solver must win: two simulated markets, over independent draws of each.

    python benchmarks/simulated_markets.py [correlated | liquidity] [--draws N]

Correlated: a well-specified signal under strongly correlated noise and a short training sample. Whitened and aligned
must both beat squared. Liquidity: one linear model for names cheap and dear to hold (DESIGN.md, section 4, "Where
alignment must win"). Aligned must come near the oracle, which knows E[y | x], while squared and whitened lose money.

A difference is between books on the same draw; its interval is Student's t over draws, which are independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from time import perf_counter

import numpy as np
import torch
from scipy import stats

from backtest.costs import Cost, FactorRisk, HoldingFee, LeverageLimit
from backtest.market import SimulatedMarket, correlated_market, liquidity_market
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import Samples, TrainingSettings, WalkForward, fit_objectives, one_thread

__all__ = ["CORRELATED", "LIQUIDITY", "Outcome", "Setting", "run_draw", "run_draws", "t_interval"]

BASIS_POINT = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What one book did out of sample: means over days, as fractions; error is the mean of (p - E[y])^2."""

    realized: float
    expected: float
    error: float


@dataclass(frozen=True)
class Setting:
    """A market and how to trade and train on it; rows are days. One model a draw and objective."""

    market: Callable[..., SimulatedMarket]
    objectives: tuple[str, ...]
    risk_aversion: float
    leverage: float
    train: int
    validation: int
    test: int
    training: TrainingSettings

    def draw(self, seed: int) -> SimulatedMarket:
        """Return the market of one draw, long enough for one walk-forward window."""
        gaps = 2 * 2 + 2  # purge before validation and before test, and the last target
        return self.market(seed, n_periods=self.train + self.validation + self.test + gaps)


LINEAR = TrainingSettings(hidden=(), shrinkage=(1.0,), epochs=60, path_epochs=60)
CORRELATED = Setting(
    correlated_market,
    ("squared", "whitened", "aligned"),
    risk_aversion=5.0,
    leverage=10.0,
    train=100,
    validation=50,
    test=400,
    training=LINEAR,
)
LIQUIDITY = Setting(
    liquidity_market,
    ("squared", "whitened", "aligned"),
    risk_aversion=20.0,
    leverage=30.0,
    train=400,
    validation=100,
    test=400,
    training=LINEAR,
)


def run_draw(setting: Setting, seed: int) -> dict[str, Outcome]:
    """Train on one draw, trade the days after, and return each objective's outcome and the oracle's."""
    market = setting.draw(seed)
    panel = market.panel
    costs: Cost = setting.risk_aversion * FactorRisk(
        loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance)
    )
    if market.holding_fee.any():
        costs = costs + HoldingFee(np.array(market.holding_fee))
    solver = PositionSolver(costs, [LeverageLimit(setting.leverage)])
    (window,) = WalkForward(train=setting.train, validation=setting.validation, test=setting.test).windows(
        first_row=0, n_rows=panel.n_periods, lag=market.lag
    )
    samples = Samples.of(panel, lag=market.lag)
    with one_thread():
        fits = fit_objectives(
            samples,
            solver,
            setting.objectives,
            train=window.train,
            validation=window.validation,
            seeds=(0,),
            settings=setting.training,
        )
        truth = market.expected_returns[window.test]
        tested = {name: fit.forecast(samples, window.test)[0] for name, fit in fits.items()} | {"oracle": truth}
        forecasts = np.full((len(tested), panel.n_periods, panel.n_assets), np.nan)
        forecasts[:, window.test] = np.stack(list(tested.values()))
        result = simulate(
            panel,
            SolverPolicy(solver),
            forecasts,
            costs=costs,
            lag=market.lag,
            first_row=int(window.test[0]) + market.lag,
            last_row=int(window.test[-1]) + market.lag + 1,
            names=list(tested),
        )
    cost = sum((*result.costs.values(), *result.opinions.values()), np.zeros_like(result.gross))
    expected = np.einsum("bsn,sn->bs", result.positions, truth) - cost
    return {
        name: Outcome(
            float((result.gross - cost)[book].mean()), float(expected[book].mean()), float(np.mean((p - truth) ** 2))
        )
        for book, (name, p) in enumerate(tested.items())
    }


def run_draws(setting: Setting, seeds: range) -> dict[str, dict[str, np.ndarray]]:
    """Return book -> measure ("realized", "expected", "error") -> one value a draw."""
    draws = [run_draw(setting, seed) for seed in seeds]
    return {
        book: {measure: np.array([asdict(draw[book])[measure] for draw in draws]) for measure in asdict(draws[0][book])}
        for book in draws[0]
    }


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Return mean, low and high of Student's interval for the mean of independent `values`."""
    mean, error = float(values.mean()), float(stats.sem(values))
    half = error * float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def _described(setting: Setting) -> str:
    named = {field.name: getattr(setting, field.name) for field in fields(setting) if field.name != "market"}
    return ", ".join(f"{name}={value}" for name, value in named.items())


def report(name: str, setting: Setting, outcomes: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Print a setting, each book, and the differences to squared."""
    n_draws = len(outcomes["oracle"]["realized"])
    print(f"\n{name}: {n_draws} draws of {setting.market.__name__}; {_described(setting)}")
    print(f"{'bp a day (standard error over draws)':38}{'realized utility':>18}{'expected utility':>18}   (p - E[y])^2")
    for book, measures in outcomes.items():
        cells = [
            f"{measures[m].mean() / BASIS_POINT:8.2f} ({stats.sem(measures[m]) / BASIS_POINT:.2f})".rjust(18)
            for m in ("realized", "expected")
        ]
        print(f"  {book:36}{''.join(cells)}   {measures['error'].mean():.2e}")
    for book in outcomes:
        if book in ("squared", "oracle"):
            continue
        for measure in ("realized", "expected"):
            difference = outcomes[book][measure] - outcomes["squared"][measure]
            mean, low, high = (value / BASIS_POINT for value in t_interval(difference))
            above = int((difference > 0).sum())
            print(
                f"  {book} - squared, {measure} utility: {mean:+.2f} bp a day, "
                f"95% interval [{low:.2f}, {high:.2f}], above 0 in {above} of {n_draws} draws"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    settings = {"correlated": (CORRELATED, 16), "liquidity": (LIQUIDITY, 8)}
    parser.add_argument("market", nargs="?", choices=list(settings), help="one market; both when left out")
    parser.add_argument("--draws", type=int, help="independent draws of each market")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, (setting, draws) in settings.items():
        if arguments.market in (None, name):
            began = perf_counter()
            report(name, setting, run_draws(setting, range(arguments.draws or draws)))
            print(f"  {perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
