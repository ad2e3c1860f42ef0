"""Fit models for several objectives and seeds in one window, the same data, start, steps and choices for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from backtest.solver import PositionSolver
from backtest.training.boosting import BoostingLearner
from backtest.training.choices import Choices
from backtest.training.ensembles import ensemble_labels, ensembles_of
from backtest.training.fitted import FittedObjective
from backtest.training.gradient import GradientLearner
from backtest.training.learners import Fit, Learner, WindowData
from backtest.training.models import ForecastModel, stack_replicas
from backtest.training.objectives import ERROR_OBJECTIVES, Objective
from backtest.training.regressors import RegressorLearner, regressor_maker
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings

__all__ = ["check_training", "fit_objectives", "fit_with", "learner_of"]

Model = TypeVar("Model", bound=ForecastModel)


def fit_objectives(
    samples: Samples,
    solver: PositionSolver,
    objectives: Sequence[str],
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
) -> dict[str, FittedObjective]:
    """Train one model a seed on every objective, and choose holding period and shrinkage on validation.

    Squared and whitened are trained from the seed's initial parameters; those of a linear model are solved for, the
    same for all seeds. The decision objectives start from whichever of the two, shrunk as is best, earns the better
    utility on validation, seed by seed: a loss that passes through the solver has no gradient in assets that are not
    traded (SPO+ and Fenchel-Young: not traded with hindsight either), so it cannot start from nothing. Every objective
    stops on validation as its loop says, and its choice of holding period and shrinkage is the one with the best mean
    utility over books on validation, so all are tuned alike. A book is a seed, or the mean forecast of several.

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel; its `holding_periods` is replaced by the choices in `settings`.
        objectives: names from `OBJECTIVES`, or blends, that the model takes; the result has them in their one spelling.
        train: (n,) row numbers, increasing; positions are not carried over a gap in them.
        validation: (n,) row numbers, consecutive.
        seeds: one model each.
        settings: which model, and how to train.

    Returns:
        By objective, in the order asked for.

    Raises:
        SettingsError: as `check_training`.
    """
    check_training(settings, objectives, seeds=seeds)
    data = WindowData(samples, solver, train, validation, tuple(seeds), settings)
    return fit_with(learner_of(data), objectives)


def check_training(settings: TrainingSettings, objectives: Sequence[str], *, seeds: Sequence[int]) -> tuple[str, ...]:
    """Return the objectives in their one spelling, once all that can be known before training is as it must be.

    Args:
        settings: which model, and how to train.
        objectives: names from `OBJECTIVES`, or blends.
        seeds: one model each.

    Raises:
        SettingsError: the model cannot be trained on an objective, needs a package that is not installed, is no
            scikit-learn regressor or has no such parameter; or the ensembles do not use up the seeds.
    """
    found = settings.kind.taken(objectives)
    ensemble_labels(seeds, settings.ensemble)
    settings.kind.check_installed()
    if "regressor" in settings.kind.reads:
        regressor_maker(settings)
    return found


def learner_of(data: WindowData) -> Learner[Any]:
    """Return the way of training that the settings' model has."""
    reads = data.settings.kind.reads
    if "boosting" in reads:
        return BoostingLearner.of(data)
    return RegressorLearner(data) if "regressor" in reads else GradientLearner(data)


def fit_with(learner: Learner[Model], objectives: Sequence[str]) -> dict[str, FittedObjective]:
    """Fit objectives with one way of training, in the order of steps that `fit_objectives` describes.

    Args:
        learner: the way, in one window.
        objectives: names from `OBJECTIVES`, or blends, that its model takes.

    Returns:
        By objective, in the order asked for.
    """
    data, settings = learner.data, learner.data.settings
    objectives, size = settings.kind.taken(objectives), settings.ensemble
    choices = replace(data.choices, n_books=len(ensemble_labels(data.seeds, size)))
    decisions = [name for name in objectives if Objective.of(name).on_path]
    warm = ("squared", "whitened") if decisions else ()
    errors = {name: learner.fit_error(name) for name in ERROR_OBJECTIVES if name in (*objectives, *warm)}
    books = {name: ensembles_of(fit.model, size) for name, fit in errors.items()}
    utilities = choices.utilities(books, by_period=False)
    fitted = {name: _fitted(choices, name, fit, books[name], utilities[name]) for name, fit in errors.items()}
    if decisions:
        starts = {name: errors[name] for name in warm}
        # Models start seed by seed, each from what is best for itself, however they are traded afterwards.
        own = utilities if size == 1 else data.choices.utilities(_models(starts), by_period=False)
        fitted |= _fit_decisions(learner, choices, decisions, starts, {name: own[name] for name in warm})
    return {name: fitted[name] for name in objectives}


def _fit_decisions(
    learner: Learner[Model],
    choices: Choices,
    decisions: Sequence[str],
    starts: Mapping[str, Fit[Model]],
    utilities: Mapping[str, np.ndarray],
) -> dict[str, FittedObjective]:
    """Fit the objectives that start from others, each of these with its utilities (H, Z, S)."""
    settings, n_seeds = learner.data.settings, len(learner.data.seeds)
    origin, shrinkage = choices.best_starts(utilities)
    start = stack_replicas([fit.model for fit in starts.values()]).replicas(
        torch.as_tensor(origin * n_seeds + np.arange(n_seeds)).reshape(-1)
    )
    factors = torch.tensor(settings.shrinkage, dtype=torch.float64)[torch.as_tensor(shrinkage).reshape(-1)]
    fits = learner.fit_decisions(decisions, start, factors)
    books = {name: ensembles_of(fit.model, settings.ensemble) for name, fit in fits.items()}
    tried = choices.utilities(books, by_period=True)
    fitted = {}
    for name in decisions:
        period = choices.best(tried[name])[0]
        chosen = fits[name].replicas(torch.arange(n_seeds) + period * n_seeds)
        book = ensembles_of(chosen.model, settings.ensemble)
        warm_start = tuple(list(starts)[index] for index in origin[period])
        fitted[name] = _fitted(choices, name, chosen, book, tried[name], warm_start=warm_start)
    return fitted


def _models(fits: Mapping[str, Fit[Model]]) -> dict[str, ForecastModel]:
    return {name: fit.model for name, fit in fits.items()}


def _fitted(
    choices: Choices,
    name: str,
    fit: Fit[Model],
    book: ForecastModel,
    utility: np.ndarray,
    *,
    warm_start: tuple[str, ...] | None = None,
) -> FittedObjective:
    return choices.fitted(
        name,
        book,
        utility,
        epoch=fit.epoch.numpy(),
        warm_start=warm_start or ("",) * len(fit.epoch),
        moved=float(fit.moved.mean()),
        failed=int(fit.failed.sum()),
        details=fit.details,
    )
