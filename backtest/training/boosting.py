"""Boosted trees (LightGBM) on squared, whitened and aligned error.

A tree is a Newton step: LightGBM takes the loss's gradient and a diagonal Hessian at every sample. Squared and whitened
error give `M (p - y)` and the diagonal of the metric `M`; the aligned loss gives `J (p - y)`, date by date, from the
solver along the path of held positions, and the diagonal of `J`, floored, since a name at a kink has none. Aligned
trees are added to the better of the squared and whitened ensembles, as networks start from the better of those fits.

Sources: Ke et al. (2017), "LightGBM"; Chen & Guestrin (2016), "XGBoost", equation 3, for the Newton step; Friedman
(2002), "Stochastic gradient boosting", for trees grown on a share of the data, here of the dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver
from backtest.training.boosted_trees import BoostedTrees
from backtest.training.curvature import metric_diagonal, walk_with_curvature
from backtest.training.learners import Fit, WindowData
from backtest.training.objectives import euclidean_metric, risk_metric
from backtest.training.runs import chunks_of
from backtest.training.tree_growth import GrowingTrees, TreeData

__all__ = ["BoostingLearner"]


@dataclass(frozen=True, eq=False)
class BoostingLearner:
    """Grows one ensemble of trees a seed; seeds draw the features and dates of every tree.

    Squared and whitened stop on their own validation loss, aligned on the utility realized on validation. Needs the
    extra "boosting".

    Attributes:
        data: the window.
        trees: its samples as LightGBM wants them.
    """

    data: WindowData
    trees: TreeData

    @staticmethod
    def of(data: WindowData) -> BoostingLearner:
        """Bin the features of a window."""
        return BoostingLearner(data, TreeData.of(data.samples, data.train, data.validation))

    def fit_error(self, name: str) -> Fit[BoostedTrees]:
        """Grow one ensemble a seed on squared or whitened error."""
        samples, growth, scale = self.data.samples, self.data.settings.boosting, self.data.scale
        train, validation = self.data.train, self.data.validation
        rows = np.concatenate([train, validation])
        metric = euclidean_metric(samples) if name == "squared" else risk_metric(samples, self.data.solver, rows)
        diagonal = metric_diagonal(metric, train).numpy()
        unit = float(diagonal[diagonal > 0].mean())
        curvature = np.where(diagonal > 0, np.maximum(diagonal / unit, growth.curvature_floor), 0.0)

        def pull(output: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, float]:
            """Return `M (p - y)` of outputs at rows, and the loss."""
            error = scale * torch.as_tensor(output) - samples.target[at]
            pulled = metric.apply(error, torch.as_tensor(at))
            return pulled.numpy(), float((error * pulled).sum())

        ensembles = [GrowingTrees(self.trees, seed, growth) for seed in self.data.seeds]
        for trees in ensembles:
            trees.look(pull(trees.validation, validation)[1])
            for number in range(1, growth.trees + 1):
                on = trees.draws.random((len(train), 1)) < growth.dates_share
                gradient = pull(trees.train, train)[0] / (scale * unit)
                trees.grow(gradient * on, curvature * on)
                if number % growth.check_every == 0:
                    trees.look(pull(trees.validation, validation)[1])
                if trees.done:
                    break
        return Fit.off_path(GrowingTrees.best(ensembles, scale), _counts(ensembles))

    def fit_decisions(
        self, names: Sequence[str], start: BoostedTrees, shrinkage: Tensor
    ) -> Mapping[str, Fit[BoostedTrees]]:
        """Add trees grown on the aligned loss, the only one of `names`."""
        start = start.scaled(shrinkage)
        path = _GrowthOnPath.begin(self, start)
        path.grow()
        trees = start.plus(GrowingTrees.best(path.ensembles, self.data.scale))
        fit = Fit(trees, _counts(path.ensembles), path.moved, path.failed)
        return dict.fromkeys(names, fit)


def _counts(ensembles: Sequence[GrowingTrees]) -> Tensor:
    return torch.tensor([trees.best_count for trees in ensembles])


@dataclass(eq=False)
class _GrowthOnPath:
    """Ensembles, one a holding period and seed, that grow together along the path of their own positions; R of them.

    Attributes:
        learner: the window.
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

    learner: BoostingLearner
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
    def begin(learner: BoostingLearner, start: BoostedTrees) -> _GrowthOnPath:
        """Begin from forecasts of `start`, with nothing held and no trees."""
        window, settings, samples = learner.data, learner.data.settings, learner.data.samples
        n_replicas, periods = start.n_replicas, window.choices.periods
        carried = settings.path and window.solver.depends_on_held
        chunks = chunks_of(window.train, settings.chunk_length if carried else 1)
        span = int(window.train[-1] - window.train[0]) + 1
        form = settings.smoothing_form
        return _GrowthOnPath(
            learner=learner,
            solver=replace(
                window.solver,
                smoothing=settings.smoothing_at(0, samples.n_assets),
                smoothing_form="huber" if form == "hard" else form,
            ),
            ensembles=[GrowingTrees(learner.trees, seed, settings.boosting) for _ in periods for seed in window.seeds],
            base=start.forecast(samples, torch.as_tensor(window.train)),
            base_validation=start.forecast(samples, torch.as_tensor(window.validation)),
            periods=torch.tensor(periods, dtype=torch.float64).repeat_interleave(len(window.seeds)),
            chunks=np.searchsorted(window.train, chunks),
            held=torch.zeros(n_replicas, span + 1, samples.n_assets, dtype=torch.float64),
            unit=np.zeros(n_replicas),
            moved=torch.full((n_replicas,), torch.nan, dtype=torch.float64),
            failed=torch.zeros(n_replicas, dtype=torch.long),
        )

    def grow(self) -> None:
        """Grow until all ensembles are done, each on its own draws of the chunks."""
        growth = self.learner.data.settings.boosting
        everyone = np.arange(len(self.ensembles))
        self._look(everyone)
        if self.chunks.shape[1] > 1:
            # A first pass without trees fills in what is held.
            for _ in self._gradients(everyone, np.repeat(self.chunks[None], len(everyone), axis=0)):
                pass
        count = max(1, round(growth.dates_share * len(self.chunks)))
        for number in range(1, growth.path_trees + 1):
            active = np.flatnonzero([not trees.done for trees in self.ensembles])
            if not len(active):
                break
            drawn = [self.ensembles[index].draws.permutation(len(self.chunks))[:count] for index in active]
            for index, gradient, curvature in self._gradients(active, self.chunks[np.stack(drawn)]):
                self.ensembles[index].grow(gradient, curvature)
            if number % growth.check_every == 0:
                self._look(active)

    def _look(self, index: np.ndarray) -> None:
        p = self._forecast(index, self.base_validation, [self.ensembles[number].validation for number in index])
        for number, utility in zip(index, self.learner.data.choices.utility(p, self.periods[index]), strict=True):
            self.ensembles[number].look(-float(utility))

    def _forecast(self, index: np.ndarray, base: Tensor, outputs: list[np.ndarray]) -> Tensor:
        return base[index] + self.learner.data.scale * torch.as_tensor(np.stack(outputs))

    def _gradients(self, index: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Walk chunks at `places` (A, C, L); yield each ensemble's number and derivatives (T, N) in its output."""
        window, replica = self.learner.data, np.arange(len(index)).reshape(-1, 1, 1)
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
            floored = np.maximum(curvature / unit, window.settings.boosting.curvature_floor)
            curvatures[places[number]] = np.where(usable[number], floored, 0.0)
            yield int(owned), gradients, curvatures
