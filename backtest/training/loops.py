"""The two training loops: on forecast error in a metric, and along the path through the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver
from backtest.training.models import Network
from backtest.training.objectives import Metric
from backtest.training.path import Path, walk
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.stopping import BestOnValidation

__all__ = ["Trained", "evaluate_path", "train_on_error", "train_on_path"]

GRADIENT_CLIP = 5.0
"""Largest norm of one replica's gradient, in units of the first one in its forecasts."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Networks at their best on validation.

    Attributes:
        network: R replicas.
        validation_loss: (R,) of the objective trained on.
        epoch: (R,) the epoch that was best; 0 is the start.
        moved: (R,) share of usable assets whose position answered to the forecast, in the last step; NaN off the path.
        failed: (R,) rows that could not be solved, over all passes along the path.
    """

    network: Network
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


class _Descent:
    """AdamW on all replicas, with each replica's gradient clipped by its own norm."""

    def __init__(self, network: Network, settings: TrainingSettings) -> None:
        self.network = network.with_parameters([part.detach().clone().requires_grad_() for part in network.parameters])
        self._unit = torch.zeros(network.n_replicas, dtype=torch.float64)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters, lr=settings.step_size, weight_decay=settings.weight_decay
        )

    def step(self, p: Tensor, gradient: Tensor) -> None:
        """Move the parameters given forecasts `p` with a graph and the loss's derivative in them, like `p`."""
        self._optimizer.zero_grad(set_to_none=True)
        # Losses differ in units; measured once, so that steps keep their sizes relative to each other. A replica whose
        # positions are all stuck has no gradient to measure yet.
        size = gradient.flatten(1).norm(dim=1) * self.network.scale
        self._unit = torch.where(self._unit > 0, self._unit, size)
        unit = torch.where(self._unit > 0, self._unit, 1.0)
        p.backward(gradient / unit.reshape(-1, *[1] * (gradient.ndim - 1)))
        square = torch.zeros(self.network.n_replicas)
        for parameter in self.network.parameters:
            assert parameter.grad is not None
            square += parameter.grad.flatten(1).square().sum(1)
        shrink = (GRADIENT_CLIP / square.sqrt().clamp(min=1e-30)).clamp(max=1.0)
        for parameter in self.network.parameters:
            assert parameter.grad is not None
            parameter.grad *= shrink.reshape(-1, 1, 1)
        self._optimizer.step()


def train_on_error(
    samples: Samples,
    network: Network,
    metric: Metric,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    settings: TrainingSettings,
) -> Trained:
    """Minimise the mean of `(p - y)' H^-1 (p - y)` over rows; `metric` is `H^-1`.

    Args:
        samples: features and targets.
        network: where to start, R replicas.
        metric: the metric, valid on both sets of rows.
        train, validation: row numbers.
        seeds: (R,) of each replica, for its own order of minibatches.
        settings: how to train.
    """
    descent = _Descent(network, settings)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    train_rows, validation_rows = torch.as_tensor(train), torch.as_tensor(validation)

    def validation_loss() -> Tensor:
        with torch.no_grad():
            error = _forecast(descent.network, samples, validation_rows) - samples.target[validation_rows]
            return (error * metric.apply(error, validation_rows)).sum((-1, -2)) / len(validation_rows)

    best = BestOnValidation(descent.network, validation_loss(), patience=settings.patience)
    for _ in range(settings.epochs):
        shuffled = torch.stack([train_rows[torch.randperm(len(train_rows), generator=order)] for order in orders])
        for rows in shuffled.split(settings.batch_rows, dim=1):
            p = _forecast(descent.network, samples, rows)
            with torch.no_grad():
                error = p - samples.target[rows]
                gradient = torch.stack([metric.apply(error[r], rows[r]) for r in range(len(rows))])
            descent.step(p, gradient)
        best.update(descent.network, validation_loss())
        if best.finished:
            break
    return Trained(
        best.network, best.loss, best.epoch, torch.full_like(best.loss, torch.nan), torch.zeros_like(best.epoch)
    )


def train_on_path(
    samples: Samples,
    network: Network,
    solver: PositionSolver,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    holding_periods: Tensor,
    objectives: Sequence[str],
    settings: TrainingSettings,
) -> Trained:
    """Minimise losses that need the solver along paths of positions, each replica its own.

    Chunks start from what the model held there in the pass before, so that positions are carried through the whole
    history although chunks are walked side by side; a first pass without steps fills in the starts. Without costs that
    depend on what is held, each row is a chunk of its own.

    Validation starts from nothing held, with sharp kinks. Models stop on the utility realized there, trading costs
    whole: the fraction of them that enters decisions would reward trading too much. Misaligned ones stop on their own
    loss, or they would see the costs after all.

    Args:
        samples: features and targets.
        network: where to start, R replicas.
        solver: estimated on the samples' panel.
        train, validation: row numbers, consecutive.
        seeds: (R,) of each replica, for its own order of chunks.
        holding_periods: (R,) of each replica.
        objectives: (R,) names from `DECISION_OBJECTIVES`.
        settings: how to train.
    """
    smooth = replace(solver, smoothing=settings.smoothing_for(samples.n_assets))
    descent = _Descent(network, settings)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    training = _Carried.nothing(samples, train, holding_periods=holding_periods)
    validating = _Carried.nothing(samples, validation, holding_periods=holding_periods)
    charged = torch.tensor([name != "misaligned" for name in objectives]).reshape(-1, 1, 1)
    chunks, validation_chunks = _chunks(train, settings, solver), _chunks(validation, settings, solver)

    def validation_loss(rows: Tensor) -> Tensor:
        path = validating.walk_shared(solver, descent.network, rows, with_utility=True)
        assert path.utility is not None
        return -torch.where(charged, path.utility, path.earned).mean((1, 2))

    whole = validation_chunks.reshape(1, -1) if solver.depends_on_held else validation_chunks
    best = BestOnValidation(descent.network, validation_loss(whole), patience=settings.patience)
    if solver.depends_on_held:
        training.walk_shared(smooth, descent.network, chunks)
    # Chunks of one row have as many decisions in a minibatch as chunks of many.
    batch = settings.batch_chunks * max(1, settings.chunk_length // chunks.shape[1])
    failed = torch.zeros(len(seeds), dtype=torch.long)
    moved = torch.full_like(best.loss, torch.nan)
    for _ in range(settings.path_epochs):
        shuffled = torch.stack([chunks[torch.randperm(len(chunks), generator=order)] for order in orders])
        for rows in shuffled.split(batch, dim=1):
            p = _forecast(descent.network, samples, rows)
            path = training.walk(smooth, p.detach(), rows, objectives=objectives)
            assert path.gradient is not None
            descent.step(p, path.gradient)
            failed, moved = failed + path.failed, path.moved
        best.update(descent.network, validation_loss(validation_chunks))
        if best.finished:
            break
    return Trained(best.network, best.loss, best.epoch, moved, failed)


def evaluate_path(
    samples: Samples,
    solver: PositionSolver,
    network: Network,
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
    """What each replica held before the trade of each of some consecutive rows, when last they were walked.

    Attributes:
        samples: features and targets.
        first_row: row number of the first.
        held: (R, rows + 1, N), weights; written by every walk.
        holding_periods: (R,) of each replica.
    """

    samples: Samples
    first_row: int
    held: Tensor
    holding_periods: Tensor

    @staticmethod
    def nothing(samples: Samples, rows: np.ndarray, *, holding_periods: Tensor) -> _Carried:
        """Begin with nothing held at any of `rows`."""
        held = torch.zeros(len(holding_periods), len(rows) + 1, samples.n_assets, dtype=torch.float64)
        return _Carried(samples, int(rows[0]), held, holding_periods)

    def walk(
        self,
        solver: PositionSolver,
        p: Tensor,
        rows: Tensor,
        *,
        objectives: Sequence[str] | None = None,
        with_utility: bool = False,
    ) -> Path:
        """Walk chunks `rows` (R, C, L) on forecasts `p` (R, C, L, N) from what was held there."""
        place = rows - self.first_row
        replica = torch.arange(len(rows)).reshape(-1, 1)
        path = walk(
            self.samples,
            solver,
            p=p,
            rows=rows,
            held=self.held[replica, place[:, :, 0]],
            holding_periods=self.holding_periods,
            objectives=objectives,
            with_utility=with_utility,
        )
        self.held[replica.unsqueeze(-1), place + 1] = path.held
        return path

    def walk_shared(
        self, solver: PositionSolver, network: Network, chunks: Tensor, *, with_utility: bool = False
    ) -> Path:
        """Walk chunks (C, L) that all replicas share."""
        with torch.no_grad():
            p = _forecast(network, self.samples, chunks.reshape(-1))
        rows = chunks.expand(network.n_replicas, *chunks.shape)
        return self.walk(solver, p.reshape(*rows.shape, -1), rows, with_utility=with_utility)


def _forecast(network: Network, samples: Samples, rows: Tensor) -> Tensor:
    """Return forecasts (R, ..., N) for `rows` (...), shared by all replicas, or (R, ...)."""
    shared = rows.ndim == 1
    features = samples.features[rows]
    flat = features.reshape(*(() if shared else (len(rows),)), -1, samples.n_features)
    shape = (network.n_replicas, *rows.shape[int(not shared) :], samples.n_assets)
    return network(flat).reshape(shape)


def _chunks(rows: np.ndarray, settings: TrainingSettings, solver: PositionSolver) -> Tensor:
    """Cut consecutive rows into chunks (C, L), the most recent rows first to be kept when they do not divide."""
    length = min(settings.chunk_length, len(rows)) if solver.depends_on_held else 1
    count = len(rows) // length
    return torch.as_tensor(rows[len(rows) - count * length :]).reshape(count, length)
