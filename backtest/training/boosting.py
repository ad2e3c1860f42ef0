"""Boosted trees (LightGBM) on squared, whitened and aligned error.

A tree is a Newton step: LightGBM takes the loss's gradient and a diagonal Hessian at every sample. Squared and whitened
error give `M (p - y)` and the diagonal of the metric `M`; the aligned loss gives `J (p - y)`, date by date, from the
solver along the path of held positions, and the diagonal of `J`, floored, since a name at a kink has none. Aligned
trees are added to the better of the squared and whitened ensembles, as networks start from the better of those fits.

Sources: Ke et al. (2017), "LightGBM"; Chen & Guestrin (2016), "XGBoost", equation 3, for the Newton step; Friedman
(2002), "Stochastic gradient boosting", for trees grown on a share of the data, here of the dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training.boosted_trees import BoostedTrees
from backtest.training.choices import Choices
from backtest.training.curvature import metric_diagonal, walk_with_curvature
from backtest.training.fitted import FittedObjective
from backtest.training.models import stack_replicas
from backtest.training.objectives import euclidean_metric, risk_metric
from backtest.training.runs import chunks_of
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.tree_growth import BoostingSettings, GrowingTrees, TreeData

__all__ = ["BOOSTING_OBJECTIVES", "fit_boosting"]

BOOSTING_OBJECTIVES = ("squared", "whitened", "aligned")


def fit_boosting(
    samples: Samples,
    solver: PositionSolver,
    objectives: Sequence[str],
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
    boosting: BoostingSettings | None = None,
) -> dict[str, FittedObjective]:
    """Grow one ensemble of trees a seed for every objective, and choose on validation as `fit_objectives` does.

    Squared and whitened stop on their own validation loss, aligned on the utility realized on validation. Needs the
    extra "boosting".

    Args:
        samples: features and targets.
        solver: estimated on the samples' panel; its `holding_periods` is replaced by the choices in `settings`.
        objectives: names from `BOOSTING_OBJECTIVES`.
        train, validation: row numbers, increasing; those of validation consecutive.
        seeds: one ensemble each: they draw the features and dates of every tree.
        settings: holding periods, shrinkage, sizing, smoothing and the chunks of the path.
        boosting: how trees are grown.
    """
    if not objectives or len(set(objectives)) != len(objectives) or not set(objectives) <= set(BOOSTING_OBJECTIVES):
        raise SettingsError(
            f"boosting: objectives must be different and from {', '.join(BOOSTING_OBJECTIVES)}, got {list(objectives)}"
        )
    data = TreeData.of(samples, train, validation)
    growing = boosting or BoostingSettings()
    window = _Window(samples, solver, train, validation, tuple(seeds), settings, growing, data)
    choices = Choices(samples, solver, validation, len(seeds), settings)
    errors = [name for name in ("squared", "whitened") if name in objectives or "aligned" in objectives]
    grown = {name: window.grow_on_error(name) for name in errors}
    utilities = choices.utilities({name: trees for name, (trees, _) in grown.items()}, by_period=False)
    fitted = {name: choices.fitted(name, trees, utilities[name], epoch=count) for name, (trees, count) in grown.items()}
    if "aligned" in objectives:
        fitted["aligned"] = window.fit_aligned({name: grown[name][0] for name in errors}, utilities, choices)
    return {name: fitted[name] for name in objectives}


@dataclass(frozen=True, eq=False)
class _Window:
    """One window's data and settings."""

    samples: Samples
    solver: PositionSolver
    train: np.ndarray
    validation: np.ndarray
    seeds: tuple[int, ...]
    settings: TrainingSettings
    boosting: BoostingSettings
    data: TreeData

    @property
    def scale(self) -> float:
        return self.samples.target_scale(self.train)

    def grow_on_error(self, name: str) -> tuple[BoostedTrees, np.ndarray]:
        """Grow one ensemble a seed on squared or whitened error; and how many trees (S,) each has."""
        rows = np.concatenate([self.train, self.validation])
        metric = euclidean_metric(self.samples) if name == "squared" else risk_metric(self.samples, self.solver, rows)
        diagonal = metric_diagonal(metric, self.train).numpy()
        unit = float(diagonal[diagonal > 0].mean())
        curvature = np.where(diagonal > 0, np.maximum(diagonal / unit, self.boosting.curvature_floor), 0.0)

        def pull(output: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, float]:
            """Return `M (p - y)` of outputs at rows, and the loss."""
            error = self.scale * torch.as_tensor(output) - self.samples.target[at]
            pulled = metric.apply(error, torch.as_tensor(at))
            return pulled.numpy(), float((error * pulled).sum())

        ensembles = [GrowingTrees(self.data, seed, self.boosting) for seed in self.seeds]
        for trees in ensembles:
            trees.look(pull(trees.validation, self.validation)[1])
            for number in range(1, self.boosting.trees + 1):
                on = trees.draws.random((len(self.train), 1)) < self.boosting.dates_share
                gradient = pull(trees.train, self.train)[0] / (self.scale * unit)
                trees.grow(gradient * on, curvature * on)
                if number % self.boosting.check_every == 0:
                    trees.look(pull(trees.validation, self.validation)[1])
                if trees.done:
                    break
        return GrowingTrees.best(ensembles, self.scale), np.array([trees.best_count for trees in ensembles])

    def fit_aligned(
        self, warm: dict[str, BoostedTrees], utilities: dict[str, np.ndarray], choices: Choices
    ) -> FittedObjective:
        """Add trees grown on the aligned loss to the better of `warm`, for each holding period and seed."""
        names, n_seeds = list(warm), len(self.seeds)
        model, shrinkage = choices.best_starts(utilities)
        start = stack_replicas(list(warm.values()))
        start = start.replicas(torch.as_tensor(model * n_seeds + np.arange(n_seeds)).reshape(-1)).scaled(
            torch.tensor(self.settings.shrinkage, dtype=torch.float64)[torch.as_tensor(shrinkage).reshape(-1)]
        )
        path = _GrowthOnPath.begin(self, start, choices)
        path.grow(choices)
        trees = start.plus(GrowingTrees.best(path.ensembles, self.scale))
        utility = choices.utilities({"aligned": trees}, by_period=True)["aligned"]
        period = int(utility.mean(axis=2).argmax()) // len(self.settings.shrinkage)
        mine = np.arange(n_seeds) + period * n_seeds
        return choices.fitted(
            "aligned",
            trees.replicas(torch.as_tensor(mine)),
            utility,
            epoch=np.array([path.ensembles[index].best_count for index in mine]),
            warm_start=tuple(names[index] for index in model[period]),
            moved=float(path.moved[mine].mean()),
            failed=int(path.failed[mine].sum()),
        )


@dataclass(eq=False)
class _GrowthOnPath:
    """Ensembles, one a holding period and seed, that grow together along the path of their own positions; R of them.

    Attributes:
        window: data and settings.
        solver: smoothed, for training.
        ensembles: what is added to the start.
        base, base_validation: (R, rows, N) forecasts of the start.
        periods: (R,) holding periods.
        chunks: (C, L) places in the training rows.
        held: (R, 1 + rows from the first to the last, gaps too, N) what each held before the trade of each row, when
            last it was walked; a run of consecutive rows starts from nothing.
        unit: (R,) mean curvature of its loss where there is any, at the start; 0 until it is measured.
        moved, failed: (R,) as in `CurvedPath`; failed adds up.
    """

    window: _Window
    solver: PositionSolver
    ensembles: list[GrowingTrees]
    base: Tensor
    base_validation: Tensor
    periods: Tensor
    chunks: np.ndarray
    held: Tensor
    unit: np.ndarray
    moved: Tensor
    failed: Tensor

    @staticmethod
    def begin(window: _Window, start: BoostedTrees, choices: Choices) -> _GrowthOnPath:
        """Begin from forecasts of `start`, with nothing held and no trees."""
        settings, samples, n_replicas = window.settings, window.samples, start.n_replicas
        carried = settings.path and window.solver.depends_on_held
        chunks = chunks_of(window.train, settings.chunk_length if carried else 1)
        span = int(window.train[-1] - window.train[0]) + 1
        form = settings.smoothing_form
        return _GrowthOnPath(
            window=window,
            solver=replace(
                window.solver,
                smoothing=settings.smoothing_at(settings.path_epochs - 1, samples.n_assets),
                smoothing_form="huber" if form == "hard" else form,
            ),
            ensembles=[
                GrowingTrees(window.data, seed, window.boosting) for _ in choices.periods for seed in window.seeds
            ],
            base=start.forecast(samples, torch.as_tensor(window.train)),
            base_validation=start.forecast(samples, torch.as_tensor(window.validation)),
            periods=torch.tensor(choices.periods, dtype=torch.float64).repeat_interleave(len(window.seeds)),
            chunks=np.searchsorted(window.train, chunks),
            held=torch.zeros(n_replicas, span + 1, samples.n_assets, dtype=torch.float64),
            unit=np.zeros(n_replicas),
            moved=torch.full((n_replicas,), torch.nan, dtype=torch.float64),
            failed=torch.zeros(n_replicas, dtype=torch.long),
        )

    def grow(self, choices: Choices) -> None:
        """Grow until all ensembles are done, each on its own draws of the chunks."""
        boosting = self.window.boosting
        everyone = np.arange(len(self.ensembles))
        self._look(choices, everyone)
        if self.chunks.shape[1] > 1:
            # A first pass without trees fills in what is held.
            for _ in self._gradients(everyone, np.repeat(self.chunks[None], len(everyone), axis=0)):
                pass
        count = max(1, round(boosting.dates_share * len(self.chunks)))
        for number in range(1, boosting.path_trees + 1):
            active = np.flatnonzero([not trees.done for trees in self.ensembles])
            if not len(active):
                break
            drawn = [self.ensembles[index].draws.permutation(len(self.chunks))[:count] for index in active]
            for index, gradient, curvature in self._gradients(active, self.chunks[np.stack(drawn)]):
                self.ensembles[index].grow(gradient, curvature)
            if number % boosting.check_every == 0:
                self._look(choices, active)

    def _look(self, choices: Choices, index: np.ndarray) -> None:
        p = self._forecast(index, self.base_validation, [self.ensembles[number].validation for number in index])
        for number, utility in zip(index, choices.utility(p, self.periods[index]), strict=True):
            self.ensembles[number].look(-float(utility))

    def _forecast(self, index: np.ndarray, base: Tensor, outputs: list[np.ndarray]) -> Tensor:
        return base[index] + self.window.scale * torch.as_tensor(np.stack(outputs))

    def _gradients(self, index: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Walk chunks at `places` (A, C, L); yield each ensemble's number and derivatives (T, N) in its output."""
        window, replica = self.window, np.arange(len(index)).reshape(-1, 1, 1)
        p = self._forecast(index, self.base, [self.ensembles[number].train for number in index])
        owner, rows = index.reshape(-1, 1, 1), window.train[places]
        slots = rows - window.train[0]
        path = walk_with_curvature(
            window.samples,
            self.solver,
            p=p[replica, places],
            rows=torch.as_tensor(rows),
            held=self.held[owner[..., 0], slots[..., 0]],
            holding_periods=self.periods[index],
        )
        if self.chunks.shape[1] > 1:
            self.held[owner, slots + 1] = path.held
        self.moved[index] = path.moved
        self.failed[index] += path.failed
        usable = window.samples.usable[rows]
        for number, owned in enumerate(index):
            curvature = path.curvature[number].numpy()
            if not self.unit[owned] and (curvature > 0).any():
                self.unit[owned] = curvature[curvature > 0].mean()
            unit = self.unit[owned] or 1.0
            gradients, curvatures = np.zeros((2, len(window.train), window.samples.n_assets))
            gradients[places[number]] = path.gradient[number].numpy() / (window.scale * unit)
            floored = np.maximum(curvature / unit, window.boosting.curvature_floor)
            curvatures[places[number]] = np.where(usable[number], floored, 0.0)
            yield int(owned), gradients, curvatures
