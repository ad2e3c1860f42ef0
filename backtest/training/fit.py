"""Fit models for several objectives and seeds in one window, the same data, start, steps and choices for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from backtest.solver import PositionSolver
from backtest.training.choices import Choices
from backtest.training.error_losses import error_loss
from backtest.training.fitted import FittedObjective
from backtest.training.initial import initial_model
from backtest.training.linear import fit_linear
from backtest.training.loops import Trained, train_on_error, train_on_path
from backtest.training.models import TrainableModel, stack_replicas
from backtest.training.objectives import ERROR_OBJECTIVES, Metric, Objective, check_objectives
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings

__all__ = ["fit_objectives"]


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
    utility over seeds on validation, so all are tuned alike.

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel; its `holding_periods` is replaced by the choices in `settings`.
        objectives: names from `OBJECTIVES`, or blends; the result has them in their one spelling.
        train: row numbers, increasing; positions are not carried over a gap in them.
        validation: row numbers, consecutive.
        seeds: one model each.
        settings: how to train.
    """
    objectives = check_objectives(objectives)
    window = _Window(samples, solver, train, validation, tuple(seeds), settings)
    decisions = [name for name in objectives if Objective.of(name).on_path]
    warm = ("squared", "whitened") if decisions else ()
    errors = [name for name in ERROR_OBJECTIVES if name in (*objectives, *warm)]
    fits = {name: window.fit_error(name) for name in errors}
    utilities = window.choices.utilities({name: fit.network for name, (fit, _) in fits.items()}, by_period=False)
    fitted = {name: window.chosen(name, fit, utilities[name], details=found) for name, (fit, found) in fits.items()}
    if decisions:
        fitted |= window.fit_decisions(decisions, {name: fits[name][0].network for name in warm}, utilities)
    return {name: fitted[name] for name in objectives}


@dataclass(frozen=True, eq=False)
class _Window:
    """One window's data and settings. Arrays of utilities are (H, Z, S): holding periods, shrinkages, seeds."""

    samples: Samples
    solver: PositionSolver
    train: np.ndarray
    validation: np.ndarray
    seeds: tuple[int, ...]
    settings: TrainingSettings

    @property
    def choices(self) -> Choices:
        return Choices(self.samples, self.solver, self.validation, len(self.seeds), self.settings)

    def fit_error(self, name: str) -> tuple[Trained, dict[str, Any]]:
        """Fit an objective from `ERROR_OBJECTIVES`: one replica a seed; and what else was chosen."""
        rows = np.concatenate([self.train, self.validation])
        loss = error_loss(name, self.samples, self.solver, rows)
        scale = self.samples.target_scale(self.train)
        if self.settings.is_linear and isinstance(loss, Metric):
            closed = fit_linear(
                self.samples,
                loss,
                train=self.train,
                validation=self.validation,
                ridges=self.settings.ridge,
                n_replicas=len(self.seeds),
                scale=scale,
            )
            nothing = torch.zeros(len(self.seeds), dtype=torch.long)
            best = torch.full((len(self.seeds),), closed.validation_loss, dtype=torch.float64)
            trained = Trained(closed.network, best, nothing, torch.full_like(best, torch.nan), nothing)
            return trained, {"ridge": closed.ridge}
        trained = train_on_error(
            self.samples,
            initial_model(self.settings, n_features=self.samples.n_features, seeds=self.seeds, scale=scale),
            loss,
            train=self.train,
            validation=self.validation,
            seeds=self.seeds,
            settings=self.settings,
        )
        return trained, {}

    def fit_decisions(
        self, decisions: Sequence[str], warm: Mapping[str, TrainableModel], utilities: Mapping[str, np.ndarray]
    ) -> dict[str, FittedObjective]:
        """Fit all decision objectives in one batch: replicas in the order (objective, holding period, seed)."""
        choices, periods, n_seeds = self.choices, self.choices.periods, len(self.seeds)
        names = list(warm)
        model, shrinkage = choices.best_starts({name: utilities[name] for name in names})
        pool = stack_replicas([warm[name] for name in names])
        start = pool.replicas(torch.as_tensor(model * n_seeds + np.arange(n_seeds)).reshape(-1)).scaled(
            torch.tensor(self.settings.shrinkage)[torch.as_tensor(shrinkage).reshape(-1)]
        )
        per_objective = len(periods) * n_seeds
        everyone = torch.arange(per_objective).repeat(len(decisions))
        trained = train_on_path(
            self.samples,
            start.replicas(everyone),
            self.solver,
            train=self.train,
            validation=self.validation,
            seeds=self.seeds * (len(periods) * len(decisions)),
            holding_periods=torch.tensor(periods, dtype=torch.float64)
            .repeat_interleave(n_seeds)
            .repeat(len(decisions)),
            objectives=[name for name in decisions for _ in range(per_objective)],
            settings=self.settings,
        )
        tried = {
            name: trained.replicas(torch.arange(per_objective) + number * per_objective)
            for number, name in enumerate(decisions)
        }
        tried_utilities = choices.utilities({name: fit.network for name, fit in tried.items()}, by_period=True)
        fitted = {}
        for name in decisions:
            period = int(tried_utilities[name].mean(axis=2).argmax()) // len(self.settings.shrinkage)
            chosen = tried[name].replicas(torch.arange(n_seeds) + period * n_seeds)
            origin = tuple(names[index] for index in model[period])
            fitted[name] = self.chosen(name, chosen, tried_utilities[name], warm_start=origin)
        return fitted

    def chosen(
        self,
        name: str,
        trained: Trained,
        utility: np.ndarray,
        *,
        warm_start: tuple[str, ...] = (),
        details: Mapping[str, Any] | None = None,
    ) -> FittedObjective:
        """Return the fit under the choice that is best on validation, on average over seeds."""
        return self.choices.fitted(
            name,
            trained.network,
            utility,
            epoch=trained.epoch.numpy(),
            warm_start=warm_start,
            moved=float(trained.moved.mean()),
            failed=int(trained.failed.sum()),
            details=details,
        )
