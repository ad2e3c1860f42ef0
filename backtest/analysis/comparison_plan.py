"""A comparison before anything is trained: windows are fitted one by one, then traded side by side."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from backtest.analysis.comparison import Comparison
from backtest.analysis.comparison_books import Books, simulate_books
from backtest.analysis.performance import coefficient_of, mean_by_date, rank_correlations
from backtest.errors import SettingsError
from backtest.market import MarketPanel, SimulatedMarket
from backtest.simulation import SimulationResult, SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import (
    CombinatorialSplits,
    Samples,
    TrainingSettings,
    TuningSettings,
    WalkForward,
    Window,
    check_training,
    ensemble_labels,
    fit_objectives,
    one_thread,
    require_optuna,
    tune_objectives,
)
from backtest.training.runs import runs_of

__all__ = ["ComparisonPlan", "Progress", "WindowFit"]

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much)."""


@dataclass(frozen=True, eq=False)
class WindowFit:
    """What training in one window leaves: forecasts of its test rows, and what was chosen.

    Attributes:
        forecasts: objective -> (books, rows, N), NaN where there is none.
        holding_periods: objective -> what validation chose.
        records: objective -> what a report tells of the fit.
    """

    forecasts: Mapping[str, np.ndarray]
    holding_periods: Mapping[str, float]
    records: Mapping[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class ComparisonPlan:
    """A comparison before anything is trained: windows are fitted one by one, anywhere, and then finished here.

    Attributes:
        market, samples: the data.
        objectives, seeds: what is trained, in the order to show.
        solver: estimated.
        training, tuning, lag, level: as of `compare`.
        protocol, windows: how the history is cut, and the windows that come of it.
        settings: more settings to keep with the result.
    """

    market: MarketPanel | SimulatedMarket
    samples: Samples
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    solver: PositionSolver
    training: TrainingSettings
    tuning: TuningSettings | None
    protocol: WalkForward | CombinatorialSplits
    windows: tuple[Window, ...]
    lag: int
    level: float
    settings: Mapping[str, Any]

    @staticmethod
    def of(
        market: MarketPanel | SimulatedMarket,
        objectives: Sequence[str],
        *,
        solver: PositionSolver,
        seeds: int | Sequence[int],
        training: TrainingSettings | None = None,
        tuning: TuningSettings | None = None,
        walk_forward: WalkForward | None = None,
        combinatorial: CombinatorialSplits | None = None,
        max_windows: int | None = None,
        lag: int = 1,
        level: float = 0.95,
        settings: Mapping[str, Any] | None = None,
    ) -> ComparisonPlan:
        """Check what is asked for, estimate, and lay out the windows; arguments as `compare`."""
        seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
        if not seeds or len(set(seeds)) != len(seeds):
            raise SettingsError(f"seeds must be different and at least one, got {list(seeds)}")
        training = training or TrainingSettings()
        objectives = check_training(training, objectives, seeds=seeds)
        if tuning is not None:
            require_optuna()
            tuning.space_for(training)  # refused here, before anything is trained
        panel = market.panel if isinstance(market, SimulatedMarket) else market
        samples = Samples.of(panel, lag=lag)
        solver = solver.estimate(panel)
        first_row = max(samples.first_row, solver.first_row)
        rows = {"first_row": first_row, "n_rows": panel.n_periods, "lag": lag}
        protocol: WalkForward | CombinatorialSplits
        if combinatorial is not None:
            if walk_forward is not None:
                raise SettingsError("give walk_forward or combinatorial, which are two ways to cut a history, not both")
            protocol = combinatorial.settled(**rows)
        else:
            protocol = walk_forward or WalkForward.of_history(
                panel.n_periods - first_row, periods_per_year=panel.periods_per_year, max_windows=max_windows
            )
        return ComparisonPlan(
            market=market,
            samples=samples,
            objectives=objectives,
            seeds=seeds,
            solver=solver,
            training=training,
            tuning=tuning,
            protocol=protocol,
            windows=tuple(protocol.windows(**rows)),
            lag=lag,
            level=level,
            settings=settings or {},
        )

    @property
    def books(self) -> tuple[str, ...]:
        """Which seeds are in each book of an objective: one, or those whose forecasts it averages."""
        return ensemble_labels(self.seeds, self.training.ensemble)

    @property
    def panel(self) -> MarketPanel:
        """The panel that is traded."""
        return self.market.panel if isinstance(self.market, SimulatedMarket) else self.market

    @property
    def n_paths(self) -> int:
        """Backtest paths; walk-forward windows make one."""
        return self.protocol.n_paths

    @property
    def tested_rows(self) -> np.ndarray:
        """Rows with forecasts, increasing."""
        return np.unique(np.concatenate([window.test for window in self.windows]))

    def run(self, *, n_jobs: int | None = None, progress: Progress | None = None) -> Comparison:
        """Fit every window, side by side in processes, and finish; the result does not depend on how many.

        Args:
            n_jobs: processes; None takes one a core.
            progress: told how far the work is.
        """
        from joblib import Parallel, delayed

        count = len(self.windows)
        jobs = min(n_jobs or os.cpu_count() or 1, count)
        fits: list[WindowFit] = []
        if progress is not None:
            progress("training", 0, count)
        work = (delayed(self.fit_window)(number) for number in range(count))
        for number, fitted in enumerate(Parallel(n_jobs=jobs, return_as="generator")(work)):
            fits.append(fitted)
            _log_fit(self.panel, self.windows[number], number, count, fitted)
            if progress is not None:
                progress("training", len(fits), count)
        return self.finish(fits, progress=progress)

    @property
    def first_row(self) -> int:
        """First row with features and risk."""
        return max(self.samples.first_row, self.solver.first_row)

    def fit_window(self, number: int) -> WindowFit:
        """Train every objective and seed in one window; the result depends on nothing but the plan."""
        return self.fit(self.windows[number])

    def fit(self, window: Window) -> WindowFit:
        """Train every objective and seed in a window."""
        with one_thread():
            fit = fit_objectives if self.tuning is None else partial(tune_objectives, tuning=self.tuning)
            fitted = fit(
                self.samples,
                self.solver,
                self.objectives,
                train=window.train,
                validation=window.validation,
                seeds=self.seeds,
                settings=self.training,
            )
            return WindowFit(
                forecasts={name: fit.forecast(self.samples, window.test) for name, fit in fitted.items()},
                holding_periods={name: fit.holding_periods for name, fit in fitted.items()},
                records={name: fit.record() for name, fit in fitted.items()},
            )

    def finish(self, fits: Sequence[WindowFit], *, progress: Progress | None = None) -> Comparison:
        """Trade the forecasts of all windows, in their order, and set the results side by side."""
        panel, objectives, seeds, lag = self.panel, self.objectives, self.seeds, self.lag
        books = Books.of(self, fits)
        with one_thread():
            results = simulate_books(self, books, progress=progress)
            expected = _against_truth(self, results, books)
        targets = panel.targets(lag)
        correlations = {
            name: [rank_correlations(p, targets) for p in books.forecasts_of(number)]
            for number, name in enumerate(objectives)
        }
        coefficients = {
            name: tuple(np.array(part) for part in zip(*(coefficient_of(each)[:2] for each in of_books), strict=True))
            for name, of_books in correlations.items()
        }
        # Every model that validation judged, of the window that tried most.
        tried = [max(fitted.records[name]["n_tried"] for fitted in fits) for name in objectives]
        return Comparison(
            results=results,
            information_coefficients=coefficients,
            settings={
                **self.settings,
                "data": panel.name,
                "objectives": list(objectives),
                # One entry a book.
                "seeds": list(seeds if self.training.ensemble == 1 else self.books),
                "lag": lag,
                "level": self.level,
                "training": self.training.described(),
                "tuning": None if self.tuning is None else self.tuning.described(self.training),
                **_described_protocol(self.protocol),
                "windows": [_described(panel, window) for window in self.windows],
            },
            periods_per_year=panel.periods_per_year,
            n_trials=sum(tried),
            training={name: [dict(fitted.records[name]) for fitted in fits] for name in objectives},
            expected=expected,
            rank_correlations={name: mean_by_date(of_books, panel.dates) for name, of_books in correlations.items()},
            level=self.level,
            n_paths=self.n_paths,
        )


def _log_fit(panel: MarketPanel, window: Window, number: int, count: int, fit: WindowFit) -> None:
    chosen = ", ".join(f"{name} holding period {period:g}" for name, period in fit.holding_periods.items())
    tested = _described(panel, window)["test"]
    _log.info("trained: window %d of %d, to test %s: %s", number + 1, count, tested, chosen)


def _against_truth(
    plan: ComparisonPlan, results: Mapping[str, SimulationResult], books: Books
) -> dict[str, dict[str, float]] | None:
    """Return each objective's expected utility a year, its regret against the books that know `E[y]`, and the mean
    squared error of its forecasts of `E[y]`; None where `E[y]` is not known.

    Expected utility is `E[y]'q - C(q)`, so the noise of realized returns is not in it. The oracle forecasts `E[y]`
    and takes the best of the holding periods in hindsight.
    """
    market, solver = plan.market, plan.solver
    if not isinstance(market, SimulatedMarket):
        return None
    panel, lag = market.panel, market.lag
    rows = plan.tested_rows
    truth = market.expected_returns[rows]

    def utility(result: SimulationResult) -> np.ndarray:
        costs = sum((*result.costs.values(), *result.opinions.values()), np.zeros_like(result.gross))
        earned = np.einsum("bsn,sn->bs", result.positions, truth)
        return (earned - costs).mean(axis=1) * panel.periods_per_year

    choices = sorted({period for period, _ in plan.training.choices(depends_on_held=solver.depends_on_held)})
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
            "forecast_error": float(np.nanmean((books.forecasts_of(number)[:, rows] - truth) ** 2)),
        }
    return expected


def _described_protocol(protocol: WalkForward | CombinatorialSplits) -> dict[str, dict[str, Any]]:
    if isinstance(protocol, WalkForward):
        return {"walk_forward": asdict(protocol)}
    return {"combinatorial": asdict(protocol) | {"splits": protocol.n_splits, "paths": protocol.n_paths}}


def _described(panel: MarketPanel, window: Window) -> dict[str, str]:
    return {
        part: ", ".join(f"{panel.dates[run[0]]:%Y-%m-%d} to {panel.dates[run[-1]]:%Y-%m-%d}" for run in runs_of(rows))
        for part, rows in (("train", window.train), ("validation", window.validation), ("test", window.test))
    }
