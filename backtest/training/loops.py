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
        moved: (R,) share of usable assets whose position answered to the forecast, last epoch; NaN off the path.
        failed: rows along the path that could not be solved.
    """

    network: Network
    validation_loss: Tensor
    epoch: Tensor
    moved: Tensor
    failed: int

    def replicas(self, index: Tensor) -> Trained:
        """Return the replicas `index`."""
        return Trained(
            self.network.replicas(index),
            self.validation_loss[index],
            self.epoch[index],
            self.moved[index],
            self.failed,
        )


class _Descent:
    """AdamW on all replicas, with each replica's gradient clipped by its own norm."""

    def __init__(self, network: Network, settings: TrainingSettings) -> None:
        self.network = network.with_parameters([part.detach().clone().requires_grad_() for part in network.parameters])
        self._unit: Tensor | None = None
        self._optimizer = torch.optim.AdamW(
            self.network.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def step(self, p: Tensor, gradient: Tensor) -> None:
        """Move the parameters given forecasts `p` with a graph and the loss's derivative in them, like `p`."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._unit is None:
            # Losses differ in units; measured once, so that steps keep their sizes relative to each other.
            size = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
            self._unit = (size * self.network.scale).reshape(-1, *[1] * (gradient.ndim - 1))
        p.backward(gradient / self._unit)
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
    return Trained(best.network, best.loss, best.epoch, torch.full_like(best.loss, torch.nan), 0)


def train_on_path(
    samples: Samples,
    network: Network,
    solver: PositionSolver,
    *,
    train: np.ndarray,
    validation: np.ndarray,
    seeds: Sequence[int],
    holding_periods: Tensor,
    charged: Tensor,
    settings: TrainingSettings,
) -> Trained:
    """Minimise the aligned (`charged`) or misaligned loss along paths of positions.

    Chunks start from what the model held there in the pass before (nothing, in the first), so that positions are
    carried through the whole history although chunks are walked side by side. Without costs that depend on what is
    held, each row is a chunk of its own.

    Args:
        samples: features and targets.
        network: where to start, R replicas.
        solver: estimated on the samples' panel.
        train, validation: row numbers, consecutive.
        seeds: (R,) of each replica, for its own order of chunks.
        holding_periods: (R,) of each replica.
        charged: (R,) bool: True aligned, False misaligned.
        settings: how to train.
    """
    smooth = replace(solver, smoothing=settings.smoothing_for(samples.n_assets))
    descent = _Descent(network, settings)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    chunks = _chunks(train, settings, solver)
    held = torch.zeros(len(seeds), int(validation[-1]) + 2, samples.n_assets, dtype=torch.float64)

    validation_chunks = _chunks(validation, settings, solver)

    def validation_loss(rows: Tensor) -> Tensor:
        path = _walk_shared(
            samples, solver, descent.network, rows, held=held, holding_periods=holding_periods, charged=charged
        )
        return path.loss.mean((1, 2))

    # The first pass walks validation as one path, and leaves where later ones start their chunks.
    whole = validation_chunks.reshape(1, -1) if solver.depends_on_held else validation_chunks
    best = BestOnValidation(descent.network, validation_loss(whole), patience=settings.patience)
    # Chunks of one row have as many decisions in a minibatch as chunks of many.
    batch = settings.batch_chunks * max(1, settings.chunk_length // chunks.shape[1])
    failed = 0
    moved = torch.full_like(best.loss, torch.nan)
    for _ in range(settings.path_epochs):
        shuffled = torch.stack([chunks[torch.randperm(len(chunks), generator=order)] for order in orders])
        for rows in shuffled.split(batch, dim=1):
            p = _forecast(descent.network, samples, rows)
            with torch.no_grad():
                path = walk(
                    samples,
                    smooth,
                    p=p,
                    rows=rows,
                    held=_starts(held, rows),
                    holding_periods=holding_periods,
                    charged=charged,
                    with_gradient=True,
                )
                _keep(held, rows, path)
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
    charged: Tensor,
) -> Path:
    """Walk `rows` from nothing held, as one chunk (R, 1, L), or each row by itself when nothing depends on `held`.

    The path carries its utility. Arguments are as in `train_on_path`.
    """
    index = torch.as_tensor(rows)
    chunks = index.reshape(1, -1) if solver.depends_on_held else index.reshape(-1, 1)
    held = torch.zeros(network.n_replicas, int(rows[-1]) + 2, samples.n_assets, dtype=torch.float64)
    return _walk_shared(
        samples,
        solver,
        network,
        chunks,
        held=held,
        holding_periods=holding_periods,
        charged=charged,
        with_utility=True,
    )


def _walk_shared(
    samples: Samples,
    solver: PositionSolver,
    network: Network,
    chunks: Tensor,
    *,
    held: Tensor,
    holding_periods: Tensor,
    charged: Tensor,
    with_utility: bool = False,
) -> Path:
    """Walk chunks (C, L) that all replicas share, from `held` (R, rows, N), where the positions are left."""
    rows = chunks.expand(network.n_replicas, *chunks.shape)
    with torch.no_grad():
        path = walk(
            samples,
            solver,
            p=_forecast(network, samples, chunks.reshape(-1)).reshape(*rows.shape, samples.n_assets),
            rows=rows,
            held=_starts(held, rows),
            holding_periods=holding_periods,
            charged=charged,
            with_utility=with_utility,
        )
        _keep(held, rows, path)
    return path


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


def _starts(held: Tensor, rows: Tensor) -> Tensor:
    replica = torch.arange(len(rows)).unsqueeze(1)
    return held[replica, rows[:, :, 0]]


def _keep(held: Tensor, rows: Tensor, path: Path) -> None:
    replica = torch.arange(len(rows)).reshape(-1, 1, 1)
    held[replica, rows + 1] = path.held
