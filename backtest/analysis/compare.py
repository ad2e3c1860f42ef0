"""`compare`: train on every objective, walk forward, trade after costs, and set the results side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from backtest.analysis.comparison import Comparison
from backtest.analysis.performance import information_coefficient
from backtest.errors import SettingsError
from backtest.market import MarketPanel, MarketSnapshot, SimulatedMarket
from backtest.simulation import Decision, Policy, SimulationResult, SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import (
    DEFAULT_OBJECTIVES,
    FittedObjective,
    Samples,
    TrainingSettings,
    WalkForward,
    Window,
    check_objectives,
    fit_objectives,
    one_thread,
)

__all__ = ["Progress", "compare"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much)."""


def compare(
    market: MarketPanel | SimulatedMarket,
    objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    *,
    solver: PositionSolver,
    seeds: int | Sequence[int] = 4,
    training: TrainingSettings | None = None,
    walk_forward: WalkForward | None = None,
    max_windows: int | None = None,
    lag: int = 1,
    level: float = 0.95,
    n_jobs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare forecasting models trained on different objectives by what their portfolios earn after costs.

    The same data, model, initial seeds, solver, costs, dates and choices for every objective; epochs and holding
    period are chosen on validation inside each walk-forward window. All books are then simulated in one pass.

    Args:
        market: a panel with features, or a simulated market, for which regret against the true expected return is
            reported too.
        objectives: from `backtest.training.OBJECTIVES`, in the order to show.
        solver: maps forecasts to positions; what its costs estimate is estimated here, causally.
        seeds: how many (0, 1, ...), or which.
        training: how models are trained.
        walk_forward: windows; None takes lengths that suit the history.
        max_windows: most windows, where their lengths are left to the history.
        lag: periods from a forecast to its fill.
        level: of the intervals.
        n_jobs: processes; None takes one a core.
        settings: more settings to keep with the result.
        progress: told how far the work is.

    Raises:
        SettingsError: an unknown objective, too short a history.
        DataError: the panel has no features.
    """
    objectives = check_objectives(objectives)
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise SettingsError(f"seeds must be different and at least one, got {seeds}")
    training = training or TrainingSettings()
    panel = market.panel if isinstance(market, SimulatedMarket) else market
    samples = Samples.of(panel, lag=lag)
    solver = solver.estimate(panel)
    first_row = max(samples.first_row, solver.first_row)
    walk_forward = walk_forward or WalkForward.of_history(
        panel.n_periods - first_row, periods_per_year=panel.periods_per_year, max_windows=max_windows
    )
    windows = walk_forward.windows(first_row=first_row, n_rows=panel.n_periods, lag=lag)

    fits = _fit_windows(samples, solver, objectives, windows, seeds, training, n_jobs=n_jobs, progress=progress)
    books = _Books(
        np.full((len(objectives), len(seeds), panel.n_periods, panel.n_assets), np.nan),
        np.ones((panel.n_periods, len(objectives), len(seeds))),
    )
    for window, fitted in zip(windows, fits, strict=True):
        for number, name in enumerate(objectives):
            forecasts, fit = fitted[name]
            books.forecasts[number][:, window.test] = forecasts
            # Decisions are made at the fill, and the last window's go on to the end.
            books.holding_periods[window.test[0] + lag :, number] = fit.holding_periods
    with one_thread():
        results = _simulate(panel, solver, books, objectives, seeds, windows, lag=lag, progress=progress)
        expected = (
            _against_truth(market, solver, results, books.forecasts, training, windows)
            if isinstance(market, SimulatedMarket)
            else None
        )
    targets = panel.targets(lag)
    coefficients = {
        name: tuple(
            np.array(part)
            for part in zip(*(information_coefficient(p, targets)[:2] for p in books.forecasts[number]), strict=True)
        )
        for number, name in enumerate(objectives)
    }
    choices = len(training.choices(depends_on_held=solver.depends_on_held))
    return Comparison(
        results=results,
        information_coefficients=coefficients,
        settings={
            **(settings or {}),
            "data": panel.name,
            "objectives": list(objectives),
            "seeds": seeds,
            "lag": lag,
            "level": level,
            "training": asdict(training),
            "walk_forward": asdict(walk_forward),
            "windows": [_described(panel, window) for window in windows],
        },
        periods_per_year=panel.periods_per_year,
        n_trials=len(objectives) * len(seeds) * choices,
        training={name: [fitted[name][1].record() for fitted in fits] for name in objectives},
        expected=expected,
        level=level,
    )


@dataclass(frozen=True, eq=False)
class _Books:
    """Forecasts (objectives, seeds, T, N), and the holding periods (T, objectives, seeds) in force at each fill."""

    forecasts: np.ndarray
    holding_periods: np.ndarray


@dataclass(frozen=True, eq=False)
class _WindowedPolicy(Policy):
    """The solver, with the holding period that validation chose for the window of each fill, by book."""

    solver: PositionSolver
    holding_periods: np.ndarray  # (T, B)
    # The policy of the window at hand, prepared, by its holding periods.
    _now: dict[bytes, Policy] = field(default_factory=dict, repr=False)

    def decide(
        self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray
    ) -> np.ndarray | Decision:
        """Solve all books at once."""
        assert market.rows is not None
        periods = self.holding_periods[int(market.rows[0])]
        key = periods.tobytes()
        if key not in self._now:
            self._now.clear()
            self._now[key] = SolverPolicy(replace(self.solver, holding_periods=torch.as_tensor(periods))).prepared()
        return self._now[key].decide(p, held, market, tradable)


def _fit_windows(
    samples: Samples,
    solver: PositionSolver,
    objectives: Sequence[str],
    windows: Sequence[Window],
    seeds: Sequence[int],
    training: TrainingSettings,
    *,
    n_jobs: int | None,
    progress: Progress | None,
) -> list[dict[str, tuple[np.ndarray, FittedObjective]]]:
    """Fit every window, side by side in processes; the results do not depend on how many."""
    from joblib import Parallel, delayed

    jobs = min(n_jobs or os.cpu_count() or 1, len(windows))
    work = (delayed(_fit_window)(samples, solver, objectives, window, seeds, training) for window in windows)
    fits = []
    if progress is not None:
        progress("training", 0, len(windows))
    for fitted in Parallel(n_jobs=jobs, return_as="generator")(work):
        fits.append(fitted)
        if progress is not None:
            progress("training", len(fits), len(windows))
    return fits


def _fit_window(
    samples: Samples,
    solver: PositionSolver,
    objectives: Sequence[str],
    window: Window,
    seeds: Sequence[int],
    training: TrainingSettings,
) -> dict[str, tuple[np.ndarray, FittedObjective]]:
    with one_thread():
        fitted = fit_objectives(
            samples,
            solver,
            objectives,
            train=window.train,
            validation=window.validation,
            seeds=seeds,
            settings=training,
        )
        return {name: (fit.forecast(samples, window.test), fit) for name, fit in fitted.items()}


def _simulate(
    panel: MarketPanel,
    solver: PositionSolver,
    books: _Books,
    objectives: Sequence[str],
    seeds: Sequence[int],
    windows: Sequence[Window],
    *,
    lag: int,
    progress: Progress | None,
) -> dict[str, SimulationResult]:
    """Trade the books of all objectives and seeds in one pass."""
    n_books = len(objectives) * len(seeds)
    result = simulate(
        panel,
        _WindowedPolicy(solver, books.holding_periods.reshape(panel.n_periods, n_books)),
        books.forecasts.reshape(n_books, panel.n_periods, panel.n_assets),
        costs=solver.costs,
        lag=lag,
        first_row=int(windows[0].test[0]) + lag,
        last_row=int(windows[-1].test[-1]) + lag + 1,
        names=[f"{name}, seed {seed}" for name in objectives for seed in seeds],
        progress=None if progress is None else lambda done, total: progress("simulating", done, total),
    )
    return {
        name: result.books(slice(number * len(seeds), (number + 1) * len(seeds)))
        for number, name in enumerate(objectives)
    }


def _against_truth(
    market: SimulatedMarket,
    solver: PositionSolver,
    results: Mapping[str, SimulationResult],
    forecasts: np.ndarray,
    training: TrainingSettings,
    windows: Sequence[Window],
) -> dict[str, dict[str, float]]:
    """Return each objective's expected utility a year, its regret against the books that know `E[y]`, and the mean
    squared error of its forecasts (objectives, seeds, T, N) of `E[y]`.

    Expected utility is `E[y]'q - C(q)`, so the noise of realized returns is not in it. The oracle forecasts `E[y]`
    and takes the best of the holding periods in hindsight.
    """
    panel, lag = market.panel, market.lag
    rows = np.arange(windows[0].test[0], windows[-1].test[-1] + 1)
    truth = market.expected_returns[rows]

    def utility(result: SimulationResult) -> np.ndarray:
        costs = sum((*result.costs.values(), *result.opinions.values()), np.zeros_like(result.gross))
        earned = np.einsum("bsn,sn->bs", result.positions, truth)
        return (earned - costs).mean(axis=1) * panel.periods_per_year

    choices = sorted({period for period, _ in training.choices(depends_on_held=solver.depends_on_held)})
    oracle = simulate(
        panel,
        SolverPolicy(replace(solver, holding_periods=torch.tensor(choices, dtype=torch.float64))),
        np.repeat(market.expected_returns[None], len(choices), axis=0),
        costs=solver.costs,
        lag=lag,
        first_row=int(rows[0]) + lag,
        last_row=int(rows[-1]) + lag + 1,
        names=[f"oracle, holding periods {choice:g}" for choice in choices],
    )
    best = float(utility(oracle).max())
    expected = {}
    for number, (name, result) in enumerate(results.items()):
        mean = float(utility(result).mean())
        expected[name] = {
            "expected_utility": mean,
            "oracle_utility": best,
            "regret": best - mean,
            "forecast_error": float(np.nanmean((forecasts[number][:, rows] - truth) ** 2)),
        }
    return expected


def _described(panel: MarketPanel, window: Window) -> dict[str, str]:
    return {
        part: f"{panel.dates[rows[0]]:%Y-%m-%d} to {panel.dates[rows[-1]]:%Y-%m-%d}"
        for part, rows in (("train", window.train), ("validation", window.validation), ("test", window.test))
    }
