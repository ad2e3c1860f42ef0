"""Tuning: every objective gets the same number of trials in the same space of settings, judged on validation alone.

Each objective has a study of its own (Optuna, tree-structured Parzen estimator, Bergstra et al. 2011) with the same
seed, so that all are offered the same settings until enough is known to tell good ones from bad. The first trial is
the settings as they stand. A trial's value is the mean over books of net utility on validation under the best holding
period and shrinkage. A trial whose first books are below the median of the trials before it is given up (Golovin et
al. 2017, section 3.2.2, the median stopping rule), and is counted all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from backtest.errors import BacktestError, SolverError
from backtest.solver import PositionSolver
from backtest.training.fit import check_training, fit_with, learner_of
from backtest.training.fitted import FittedObjective
from backtest.training.learners import Fit, Learner, WindowData
from backtest.training.samples import Samples
from backtest.training.search_space import SearchSpace
from backtest.training.settings import TrainingSettings
from backtest.training.tuning_settings import TuningSettings, require_optuna

if TYPE_CHECKING:
    import optuna

__all__ = ["tune_objectives"]

NEVER_PRUNED = 4
"""Trials of a study that are finished whatever their first books say; the median needs some to be one."""

PATH_ONLY = (
    "path_epochs",
    "chunk_length",
    "batch_chunks",
    "smoothing",
    "smoothing_start",
    "smoothing_form",
    "path",
    "through_time",
)
"""Settings that no fit of an error of forecasts looks at; trials that are other in them alone share those fits."""


def tune_objectives(
    samples: Samples,
    solver: PositionSolver,
    objectives: Sequence[str],
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
    tuning: TuningSettings,
) -> dict[str, FittedObjective]:
    """Fit every objective under the settings that are best for it on validation, all with the same budget of trials.

    The result is never worse on validation than that of `fit_objectives` with the same settings, which is the first
    trial, to the last bit. What is returned is what the best trial trained; its record has all trials under "tuning",
    and `n_tried` counts every model that validation judged, those of pruned and failed trials included.

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel.
        objectives: names from `OBJECTIVES`, or blends, that the model takes.
        train: (n,) row numbers, increasing.
        validation: (n,) row numbers, consecutive.
        seeds: one model each.
        settings: what is tried first, and holds for what is not tuned.
        tuning: how much is tried, and where.

    Returns:
        By objective, in the order asked for.

    Raises:
        SettingsError: Optuna is missing, or the space does not go with the settings.
        BacktestError: a trial could not be trained; the message has its settings. A trial whose utility is merely not
            finite is counted as failed; if all are, that is a SolverError.

    Source: Bergstra et al. (2011), "Algorithms for hyper-parameter optimization", the sampler, by Optuna (Akiba et al.
    2019).
    """
    optuna = require_optuna()
    objectives = check_training(settings, objectives, seeds=seeds)
    space = tuning.space_for(settings)
    window = _Window(WindowData(samples, solver, train, validation, tuple(seeds), settings))
    with _quiet(optuna):
        return {name: _Search(window, name, space, tuning).run() for name in objectives}


@dataclass(frozen=True)
class _Trial:
    """What came of one trial: its settings, its utility a period on validation, and how many models were judged."""

    settings: TrainingSettings
    state: str
    value: float | None
    n_tried: int


@dataclass(frozen=True, eq=False)
class _Window:
    """The data and seeds of a window, and the fits that its trials share."""

    given: WindowData
    _errors: dict[str, Fit[Any]] = field(default_factory=dict, repr=False)

    @property
    def n_books(self) -> int:
        return len(self.given.seeds) // self.given.settings.ensemble

    @property
    def n_first_books(self) -> int:
        """How many books a trial may be given up after: a quarter, but two where that leaves some to save.

        One replica is multiplied by other code than several are, so a lone seed may differ in the last digits from the
        same one in company.
        """
        return max(self.n_books // 4, min(2, self.n_books - 1))

    def fit(self, objective: str, settings: TrainingSettings, *, first: bool = False) -> FittedObjective:
        """Fit an objective, with all books or the first."""
        count = self.n_first_books * settings.ensemble if first else None
        seeds = self.given.seeds[:count]
        check_training(settings, [objective], seeds=seeds)
        learner = learner_of(replace(self.given, settings=settings, seeds=seeds))
        return fit_with(_Remembering(learner, self._errors), [objective])[objective]

    def first_value(self, fit: FittedObjective) -> float:
        """Return the mean utility of the first books under the choice that is best for them."""
        choices = self.given.settings.choices(depends_on_held=self.given.solver.depends_on_held)
        # Without a finer search of the scale, in which the other books would have a say.
        return float(fit.validation_utility[: len(choices), : self.n_first_books].mean(axis=1).max())


@dataclass(frozen=True, eq=False)
class _Remembering:
    """A learner that fits an error once for all trials, of all objectives, that differ in nothing that it looks at."""

    learner: Learner[Any]
    errors: dict[str, Fit[Any]]

    @property
    def data(self) -> WindowData:
        return self.learner.data

    def fit_error(self, name: str) -> Fit[Any]:
        described = {key: value for key, value in self.data.settings.described().items() if key not in PATH_ONLY}
        key = repr((name, self.data.seeds, sorted(described.items())))
        if key not in self.errors:
            self.errors[key] = self.learner.fit_error(name)
        return self.errors[key]

    def fit_decisions(self, names: Sequence[str], start: Any, shrinkage: Tensor) -> Mapping[str, Fit[Any]]:
        return self.learner.fit_decisions(names, start, shrinkage)


class _Search:
    """The trials of one objective."""

    def __init__(self, window: _Window, objective: str, space: SearchSpace, tuning: TuningSettings) -> None:
        import optuna

        self.window, self.objective, self.space, self.tuning = window, objective, space, tuning
        self.study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=tuning.seed, n_startup_trials=tuning.startup),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=NEVER_PRUNED),
        )
        self.trials: list[_Trial] = []
        self.best: FittedObjective | None = None
        self.best_trial, self.best_value = -1, -math.inf

    @property
    def may_prune(self) -> bool:
        return self.tuning.pruning and self.window.n_books > 1

    def run(self) -> FittedObjective:
        """Try as often as asked, and return the best fit; of equals the one tried first."""
        place = self.space.place_of_base()
        if place is not None:
            self.study.enqueue_trial(place)
        for number in range(self.tuning.trials):
            if number == 0 and place is None:
                # What stands is outside the space, so the sampler cannot be told of it.
                self._try(self.space.base, None)
                continue
            trial = self.study.ask(self.space.distributions())
            self._try(self.space.base if number == 0 else None, trial)
        return self._result()

    def _try(self, settings: TrainingSettings | None, trial: optuna.Trial | None) -> None:
        """Train under settings, or else those the trial asks for, and note what came of it."""
        from optuna.trial import TrialState

        place = {} if trial is None else trial.params
        try:
            settings = settings or self.space.settings(place)
            fit, pruned = self._fit(settings, trial)
        except BacktestError as error:
            shown = place if settings is None else self.space.described(settings)
            raise type(error)(
                f"tuning {self.objective}, trial {len(self.trials) + 1} of {self.tuning.trials} with {shown}: {error}"
            ) from error
        value = float(fit.validation_utility.mean(axis=1).max())
        finite = math.isfinite(value)
        state = ("pruned" if pruned else "complete") if finite else "failed"
        self.trials.append(_Trial(settings, state, value if finite else None, fit.n_tried))
        if trial is not None and state == "complete":
            self.study.tell(trial, value)
        elif trial is not None:
            self.study.tell(trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)
        if state == "complete" and value > self.best_value:
            self.best, self.best_trial, self.best_value = fit, len(self.trials) - 1, value

    def _fit(self, settings: TrainingSettings, trial: optuna.Trial | None) -> tuple[FittedObjective, bool]:
        """Return the fit, and whether it was given up after the first books."""
        if trial is None or not self.may_prune:
            return self.window.fit(self.objective, settings), False
        if sum(each.state == "complete" for each in self.trials) < NEVER_PRUNED:
            fit = self.window.fit(self.objective, settings)
            _report(trial, self.window.first_value(fit))
            return fit, False
        begun = self.window.fit(self.objective, settings, first=True)
        if not _report(trial, self.window.first_value(begun)) or trial.should_prune():
            return begun, True
        return self.window.fit(self.objective, settings), False

    def _result(self) -> FittedObjective:
        if self.best is None:
            tried = [self.space.described(trial.settings) for trial in self.trials]
            raise SolverError(
                f"tuning {self.objective}: no trial has a finite utility on validation; settings tried: {tried}"
            )
        states = [trial.state for trial in self.trials]
        found = {
            "trials": len(self.trials),
            "pruned": states.count("pruned"),
            "failed": states.count("failed"),
            "pruning": self.may_prune,
            "chosen": self.best_trial,
            "settings": self.space.described(self.trials[self.best_trial].settings),
            "tried": [
                {"state": trial.state, "value": trial.value, "settings": self.space.described(trial.settings)}
                for trial in self.trials
            ],
        }
        n_tried = sum(trial.n_tried for trial in self.trials)
        return replace(self.best, details={**self.best.details, "n_tried": n_tried, "tuning": found})


def _report(trial: optuna.Trial, value: float) -> bool:
    """Tell the pruner of the first books; return whether there is a number to tell."""
    if math.isfinite(value):
        trial.report(value, step=0)
    return math.isfinite(value)


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    """Keep Optuna from telling of every trial, and leave its logging as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
