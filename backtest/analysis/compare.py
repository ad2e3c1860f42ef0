"""`compare`: train on every objective, walk forward, trade after costs, and set the results side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest.analysis.comparison import Comparison
from backtest.analysis.comparison_plan import ComparisonPlan, Progress
from backtest.market import MarketPanel, SimulatedMarket
from backtest.solver import PositionSolver
from backtest.training import CombinatorialSplits, TrainingSettings, TuningSettings, WalkForward, default_objectives

__all__ = ["compare"]


def compare(
    market: MarketPanel | SimulatedMarket,
    objectives: Sequence[str] | None = None,
    *,
    solver: PositionSolver,
    seeds: int | Sequence[int] = 4,
    training: TrainingSettings | None = None,
    tuning: TuningSettings | None = None,
    walk_forward: WalkForward | None = None,
    combinatorial: CombinatorialSplits | None = None,
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
        objectives: from `backtest.training.OBJECTIVES`, in the order to show; None takes `DEFAULT_OBJECTIVES`, less
            those that the model cannot be trained on.
        solver: maps forecasts to positions; what its costs estimate is estimated here, causally.
        seeds: how many (0, 1, ...), or which.
        training: which model, how it is trained, and how many seeds a book averages.
        tuning: how much of that is tuned, with the same budget for every objective, on validation inside each window
            (docs/tuning.md); None tunes nothing.
        walk_forward: windows; None takes lengths that suit the history.
        combinatorial: test every choice of some folds instead, trained on the others, before and after: a check of
            robustness. Every seed then has one book a path (docs/protocol.md).
        max_windows: most windows, where their lengths are left to the history.
        lag: periods from a forecast to its fill.
        level: of the intervals.
        n_jobs: processes; None takes one a core.
        settings: more settings to keep with the result.
        progress: told how far the work is.

    Raises:
        SettingsError: an unknown objective, or one that the model cannot be trained on; what it needs is not installed;
            too short a history.
        DataError: the panel has no features.
    """
    training = training or TrainingSettings()
    plan = ComparisonPlan.of(
        market,
        default_objectives(training.model) if objectives is None else objectives,
        solver=solver,
        seeds=seeds,
        training=training,
        tuning=tuning,
        walk_forward=walk_forward,
        combinatorial=combinatorial,
        max_windows=max_windows,
        lag=lag,
        level=level,
        settings=settings,
    )
    return plan.run(n_jobs=n_jobs, progress=progress)
