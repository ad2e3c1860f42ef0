"""Fit models for several objectives and seeds in one window, the same data, start, steps and choices for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backtest.solver import PositionSolver
from backtest.training.loops import Trained, evaluate_path, train_on_error, train_on_path
from backtest.training.models import Network, stack_replicas
from backtest.training.objectives import DECISION_OBJECTIVES, check_objectives, euclidean_metric, risk_metric
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings

__all__ = ["FittedObjective", "fit_objectives"]


@dataclass(frozen=True, eq=False)
class FittedObjective:
    """One objective's models in one window.

    Attributes:
        objective: its name.
        network: one replica a seed, shrunk as validation chose.
        holding_periods, shrinkage: what validation chose, one value for all seeds.
        validation_utility: (choices, S) mean utility a period on validation, for each choice and seed.
        epoch: (S,) the epoch that was best on validation; for decision objectives counted from the warm start.
        warm_start: (S,) name of the objective whose fit was started from; empty text for none.
        moved: share of usable assets whose position answered to the forecast in training; NaN off the path.
        failed: rows along training paths that could not be solved.
    """

    objective: str
    network: Network
    holding_periods: float
    shrinkage: float
    validation_utility: np.ndarray
    epoch: np.ndarray
    warm_start: tuple[str, ...]
    moved: float
    failed: int

    def forecast(self, samples: Samples, rows: np.ndarray) -> np.ndarray:
        """Return forecasts (S, len(rows), N), NaN where an asset has no features or cannot be filled."""
        with torch.no_grad():
            features = samples.features[rows]
            p = self.network(features.reshape(-1, samples.n_features))
        p = p.reshape(self.network.n_replicas, len(rows), samples.n_assets)
        return torch.where(samples.usable[rows], p, torch.nan).numpy()

    def record(self) -> dict[str, object]:
        """Return what a report tells of this fit."""
        return {
            "objective": self.objective,
            "holding_periods": self.holding_periods,
            "shrinkage": self.shrinkage,
            "validation_utility": self.validation_utility.tolist(),
            "epoch": self.epoch.tolist(),
            "warm_start": list(self.warm_start),
            "moved": self.moved,
            "failed": self.failed,
        }


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

    Squared and whitened are trained from the seed's initial parameters. The decision objectives start from whichever
    of the two, shrunk as is best, earns the better utility on validation, seed by seed: a loss that passes through the
    solver has no gradient in assets that are not traded (SPO+ and Fenchel-Young: not traded with hindsight either), so
    it cannot start from nothing. Every objective stops on validation as its loop says, and its choice of holding period
    and shrinkage is the one with the best mean utility over seeds on validation, so all are tuned alike.

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel; its `holding_periods` is replaced by the choices in `settings`.
        objectives: names from `OBJECTIVES`.
        train, validation: row numbers, consecutive.
        seeds: one model each.
        settings: how to train.
    """
    check_objectives(objectives)
    window = _Window(samples, solver, train, validation, tuple(seeds), settings)
    decisions = [name for name in objectives if name in DECISION_OBJECTIVES]
    errors = [name for name in ("squared", "whitened") if name in objectives or decisions]
    fits = {name: window.fit_error(name) for name in errors}
    utilities = window.utilities({name: fit.network for name, fit in fits.items()}, by_period=False)
    fitted = {name: window.chosen(name, fits[name], utilities[name]) for name in errors}
    if decisions:
        fitted |= window.fit_decisions(decisions, {name: fits[name].network for name in errors}, utilities)
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
    def periods(self) -> tuple[float, ...]:
        choices = self.settings.choices(depends_on_held=self.solver.depends_on_held)
        return tuple(dict.fromkeys(period for period, _ in choices))

    def fit_error(self, name: str) -> Trained:
        """Fit squared or whitened: one replica a seed."""
        start = Network.initial(
            self.samples.n_features,
            hidden=self.settings.hidden,
            seeds=self.seeds,
            scale=self.samples.target_scale(self.train),
        )
        rows = np.concatenate([self.train, self.validation])
        metric = euclidean_metric(self.samples) if name == "squared" else risk_metric(self.samples, self.solver, rows)
        return train_on_error(
            self.samples,
            start,
            metric,
            train=self.train,
            validation=self.validation,
            seeds=self.seeds,
            settings=self.settings,
        )

    def fit_decisions(
        self, decisions: Sequence[str], warm: Mapping[str, Network], utilities: Mapping[str, np.ndarray]
    ) -> dict[str, FittedObjective]:
        """Fit all decision objectives in one batch: replicas in the order (objective, holding period, seed)."""
        n_periods, n_seeds, n_shrinkages = len(self.periods), len(self.seeds), len(self.settings.shrinkage)
        names = list(warm)
        # (H, errors * Z, S): the best start for each holding period and seed.
        options = np.concatenate([utilities[name] for name in names], axis=1)
        best = options.argmax(axis=1)
        error, shrinkage = np.divmod(best, n_shrinkages)
        pool = stack_replicas([warm[name] for name in names])
        start = pool.replicas(torch.as_tensor(error * n_seeds + np.arange(n_seeds)).reshape(-1)).scaled(
            torch.tensor(self.settings.shrinkage)[torch.as_tensor(shrinkage).reshape(-1)]
        )
        per_objective = n_periods * n_seeds
        everyone = torch.arange(per_objective).repeat(len(decisions))
        trained = train_on_path(
            self.samples,
            start.replicas(everyone),
            self.solver,
            train=self.train,
            validation=self.validation,
            seeds=self.seeds * (n_periods * len(decisions)),
            holding_periods=torch.tensor(self.periods, dtype=torch.float64)
            .repeat_interleave(n_seeds)
            .repeat(len(decisions)),
            objectives=[name for name in decisions for _ in range(per_objective)],
            settings=self.settings,
        )
        tried = {
            name: trained.replicas(torch.arange(per_objective) + number * per_objective)
            for number, name in enumerate(decisions)
        }
        tried_utilities = self.utilities({name: fit.network for name, fit in tried.items()}, by_period=True)
        fitted = {}
        for name in decisions:
            period = int(tried_utilities[name].mean(axis=2).argmax()) // n_shrinkages
            chosen = tried[name].replicas(torch.arange(n_seeds) + period * n_seeds)
            origin = tuple(names[index] for index in error[period])
            fitted[name] = self.chosen(name, chosen, tried_utilities[name], warm_start=origin)
        return fitted

    def utilities(self, networks: Mapping[str, Network], *, by_period: bool) -> dict[str, np.ndarray]:
        """Return the mean utility a period on validation (H, Z, S) of each network under every choice, in one walk.

        Args:
            networks: one replica a seed; or, `by_period`, one a holding period and seed.
            by_period: whether each holding period has replicas of its own.
        """
        n_periods, n_shrinkages, n_seeds = len(self.periods), len(self.settings.shrinkage), len(self.seeds)
        shape = (len(networks), n_periods, n_shrinkages, n_seeds)
        per_network = n_periods * n_seeds if by_period else n_seeds
        owner = per_network * torch.arange(len(networks)).reshape(-1, 1, 1, 1) + torch.arange(n_seeds)
        if by_period:
            owner = owner + n_seeds * torch.arange(n_periods).reshape(-1, 1, 1)
        shrinkage = torch.tensor(self.settings.shrinkage).reshape(-1, 1).expand(shape)
        periods = torch.tensor(self.periods, dtype=torch.float64).reshape(-1, 1, 1).expand(shape)
        pool = stack_replicas(list(networks.values())).replicas(owner.expand(shape).reshape(-1))
        path = evaluate_path(
            self.samples,
            self.solver,
            pool.scaled(shrinkage.reshape(-1)),
            self.validation,
            holding_periods=periods.reshape(-1),
        )
        assert path.utility is not None
        return dict(zip(networks, path.utility.mean((1, 2)).reshape(shape).numpy(), strict=True))

    def chosen(
        self, name: str, trained: Trained, utility: np.ndarray, *, warm_start: tuple[str, ...] = ()
    ) -> FittedObjective:
        """Return the fit under the choice that is best on validation, on average over seeds."""
        n_shrinkages = len(self.settings.shrinkage)
        period, shrinkage = divmod(int(utility.mean(axis=2).argmax()), n_shrinkages)
        factor = self.settings.shrinkage[shrinkage]
        return FittedObjective(
            objective=name,
            network=trained.network.scaled(torch.full((len(self.seeds),), factor)),
            holding_periods=self.periods[period],
            shrinkage=factor,
            validation_utility=utility.reshape(-1, len(self.seeds)),
            epoch=trained.epoch.numpy(),
            warm_start=warm_start or ("",) * len(self.seeds),
            moved=float(trained.moved.mean()),
            failed=int(trained.failed.sum()),
        )
