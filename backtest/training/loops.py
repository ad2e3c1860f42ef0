"""The two training loops: on forecast error, and along the path through the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver
from backtest.training.descent import Descent
from backtest.training.error_losses import ErrorLoss, return_scale
from backtest.training.models import ForecastModel, TrainableModel
from backtest.training.path import Path, walk
from backtest.training.path_objectives import PathObjectives
from backtest.training.runs import chunks_of
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.stopping import BestOnValidation

__all__ = ["Trained", "evaluate_path", "train_on_error", "train_on_path"]


@dataclass(frozen=True, eq=False)
class Trained:
    """Models at their best on validation.

    Attributes:
        network: R replicas.
        validation_loss: (R,) of the objective trained on.
        epoch: (R,) the epoch that was best; 0 is the start.
        moved: (R,) share of usable assets whose position answered to the forecast, in the last step; NaN off the path.
        failed: (R,) rows that could not be solved, over all passes along the path.
    """

    network: TrainableModel
    validation_loss: Tensor
    epoch: Tensor
    moved: Tensor
    failed: Tensor

    def replicas(self, index: Tensor) -> Trained:
        """Return the replicas `index`."""
        return Trained(
            self.network.replicas(index),
            self.validation_loss[index],
            self.epoch[index],
            self.moved[index],
            self.failed[index],
        )


def train_on_error(
    samples: Samples,
    network: TrainableModel,
    loss: ErrorLoss,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
) -> Trained:
    """Minimise the mean of a loss of each row's forecasts and returns.

    A loss without scale leaves forecasts in no unit: they are brought to that of returns at the end, by the multiple
    that is nearest to the training targets across assets.

    Args:
        samples: features and targets.
        network: where to start, R replicas.
        loss: the loss, valid on both sets of rows.
        train, validation: row numbers.
        seeds: (R,) of each replica, for its own order of minibatches.
        settings: how to train.
    """
    descent = Descent(network, step_size=settings.step_size, weight_decay=settings.weight_decay)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    train_rows, validation_rows = torch.as_tensor(train), torch.as_tensor(validation)

    def validation_loss() -> Tensor:
        with torch.no_grad():
            p = descent.network.forecast(samples, validation_rows)
            return loss.losses(p, samples.target[validation_rows], validation_rows).sum(-1) / len(validation_rows)

    best = BestOnValidation(descent.network, validation_loss(), patience=settings.patience)
    for _ in range(settings.epochs):
        shuffled = torch.stack([train_rows[torch.randperm(len(train_rows), generator=order)] for order in orders])
        for rows in shuffled.split(settings.batch_rows, dim=1):
            p = descent.network.forecast(samples, rows)
            with torch.no_grad():
                gradient = loss.gradient(p, samples.target[rows], rows)
            descent.step(p, gradient)
        best.update(descent.network, validation_loss())
        if best.finished:
            break
    found = best.network
    if loss.scale_free:
        with torch.no_grad():
            p = found.forecast(samples, train_rows)
        found = found.scaled(return_scale(p, samples.target[train_rows], samples.scored[train_rows]))
    return Trained(found, best.loss, best.epoch, torch.full_like(best.loss, torch.nan), torch.zeros_like(best.epoch))


def train_on_path(
    samples: Samples,
    network: TrainableModel,
    solver: PositionSolver,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    holding_periods: Tensor,
    objectives: Sequence[str],
    settings: TrainingSettings,
) -> Trained:
    """Minimise losses along paths of positions, each replica its own.

    Chunks start from what the model held there in the pass before, so that positions are carried through the whole
    history although chunks are walked side by side; a first pass without steps fills in the starts. Where training
    rows have a gap, the run after it starts from nothing held. Without costs that depend on what is held, each row is
    a chunk of its own; it is in flat training too, and trades from nothing held.

    Validation starts from nothing held, with sharp kinks. Models stop on the utility realized there, trading costs
    whole: the fraction of them that enters decisions would reward trading too much. Misaligned ones stop on their own
    loss, or they would see the costs after all.

    Args:
        samples: features and targets.
        network: where to start, R replicas.
        solver: estimated on the samples' panel.
        train: row numbers, increasing; chunks stay within its runs of consecutive ones.
        validation: row numbers, consecutive.
        seeds: (R,) of each replica, for its own order of chunks.
        holding_periods: (R,) of each replica.
        objectives: (R,) names from `OBJECTIVES`, or blends.
        settings: how to train.
    """
    descent = Descent(network, step_size=settings.step_size, weight_decay=settings.weight_decay)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    aims = PathObjectives(objectives, samples, solver, train)
    carried = settings.path and solver.depends_on_held
    training = _Carried.nothing(samples, train, holding_periods=holding_periods[aims.owner])
    validating = _Carried.nothing(samples, validation, holding_periods=holding_periods)
    charged = torch.tensor([name != "misaligned" for name in objectives]).reshape(-1, 1, 1)
    chunks = torch.as_tensor(chunks_of(train, settings.chunk_length if carried else 1))
    validation_chunks = torch.as_tensor(chunks_of(validation, settings.chunk_length if solver.depends_on_held else 1))

    def validation_loss(rows: Tensor) -> Tensor:
        path = validating.walk_shared(solver, descent.network, rows, with_utility=True)
        assert path.utility is not None
        return -torch.where(charged, path.utility, path.earned).mean((1, 2))

    whole = validation_chunks.reshape(1, -1) if solver.depends_on_held else validation_chunks
    best = BestOnValidation(descent.network, validation_loss(whole), patience=settings.patience)
    if carried and len(aims.owner):
        training.walk_shared(
            _smoothed(solver, settings, n_assets=samples.n_assets, epoch=0),
            descent.network.replicas(aims.owner),
            chunks,
        )
    # Chunks of one row have as many decisions in a minibatch as chunks of many.
    batch = settings.batch_chunks * max(1, settings.chunk_length // chunks.shape[1])
    failed = torch.zeros(len(seeds), dtype=torch.long)
    moved = torch.full_like(best.loss, torch.nan)
    for epoch in range(settings.path_epochs):
        smooth = _smoothed(solver, settings, n_assets=samples.n_assets, epoch=epoch)

        def walked(p: Tensor, rows: Tensor, smooth: PositionSolver = smooth) -> Path:
            return training.walk(
                smooth,
                p,
                rows,
                carry=carried,
                objectives=aims.walked,
                weigh=aims.weigh,
                through_time=settings.through_time,
            )

        shuffled = torch.stack([chunks[torch.randperm(len(chunks), generator=order)] for order in orders])
        for rows in shuffled.split(batch, dim=1):
            p = descent.network.forecast(samples, rows)
            gradient, path = aims.gradient(p.detach(), rows, walked)
            descent.step(p, gradient)
            if path is not None:
                failed = failed.index_add(0, aims.owner, path.failed)
                moved = torch.where(aims.first < 0, torch.nan, path.moved[aims.first])
        best.update(descent.network, validation_loss(validation_chunks))
        if best.finished:
            break
    return Trained(best.network, best.loss, best.epoch, moved, failed)


def evaluate_path(
    samples: Samples,
    solver: PositionSolver,
    network: ForecastModel,
    rows: np.ndarray,
    *,
    holding_periods: Tensor,
) -> Path:
    """Walk `rows` from nothing held, as one chunk (R, 1, L), or each row by itself when nothing depends on `held`.

    The path carries its utility. Arguments are as in `train_on_path`.
    """
    book = _Carried.nothing(samples, rows, holding_periods=holding_periods)
    shape = (1, -1) if solver.depends_on_held else (-1, 1)
    return book.walk_shared(solver, network, torch.as_tensor(rows).reshape(shape), with_utility=True)


@dataclass(frozen=True, eq=False)
class _Carried:
    """What each replica held before the trade of each of some rows, when last they were walked.

    Attributes:
        samples: features and targets.
        first_row: row number of the first.
        held: (R, 1 + rows from the first to the last, gaps too, N), weights; written by every walk. What is held after
            the last row of a run is written into the gap that follows it, where nothing starts.
        holding_periods: (R,) of each replica.
    """

    samples: Samples
    first_row: int
    held: Tensor
    holding_periods: Tensor

    @staticmethod
    def nothing(samples: Samples, rows: np.ndarray, *, holding_periods: Tensor) -> _Carried:
        """Begin with nothing held at any of `rows`."""
        span = int(rows[-1]) - int(rows[0]) + 1
        held = torch.zeros(len(holding_periods), span + 1, samples.n_assets, dtype=torch.float64)
        return _Carried(samples, int(rows[0]), held, holding_periods)

    def walk(
        self,
        solver: PositionSolver,
        p: Tensor,
        rows: Tensor,
        *,
        carry: bool = True,
        **options: Any,
    ) -> Path:
        """Walk chunks `rows` (R, C, L) on forecasts `p` (R, C, L, N) from what was held there.

        Args:
            solver, p, rows: as in `walk`, as are `options`.
            carry: whether to write down what is held from now on.
        """
        place = rows - self.first_row
        replica = torch.arange(len(rows)).reshape(-1, 1)
        path = walk(
            self.samples,
            solver,
            p=p,
            rows=rows,
            held=self.held[replica, place[:, :, 0]],
            holding_periods=self.holding_periods,
            **options,
        )
        if carry:
            self.held[replica.unsqueeze(-1), place + 1] = path.held
        return path

    def walk_shared(
        self, solver: PositionSolver, network: ForecastModel, chunks: Tensor, *, with_utility: bool = False
    ) -> Path:
        """Walk chunks (C, L) that all replicas share."""
        with torch.no_grad():
            p = network.forecast(self.samples, chunks.reshape(-1))
        rows = chunks.expand(network.n_replicas, *chunks.shape)
        return self.walk(solver, p.reshape(*rows.shape, -1), rows, with_utility=with_utility)


def _smoothed(solver: PositionSolver, settings: TrainingSettings, *, n_assets: int, epoch: int) -> PositionSolver:
    """Return the solver with the smoothing of a pass along the path."""
    form = "huber" if settings.smoothing_form == "hard" else settings.smoothing_form
    return replace(solver, smoothing=settings.smoothing_at(epoch, n_assets), smoothing_form=form)
