"""Era-wise training: a batch is one era, read when it is needed; objectives and seeds side by side in one pass.

Every replica (an objective and a seed) sees the same eras in the same order, with the same budget. All objectives of a
seed start from one model, trained on squared error for `warm_up` passes, since positions that are stuck at 0 teach the
decision objectives nothing. What is kept of each is its best parameters on the selection eras by its own loss, after
one pass of its own at least.
Selection eras come after the training eras, with a purge between; what is reported later is neither.

Memory: one piece of a file (see `backtest.numerai.files`), one era as float32, and the activations of the replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.errors import DataError, SettingsError
from backtest.numerai.era_batch import EraBatch
from backtest.numerai.era_costs import EraCosts
from backtest.numerai.era_losses import EraLosses
from backtest.numerai.files import EraFile
from backtest.training.descent import Descent
from backtest.training.models import Network
from backtest.training.stopping import BestOnValidation

__all__ = ["EraModels", "EraProblem", "EraTraining", "descent_of", "train_eras", "train_pass"]

SCALES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Multiples of the forecasts among which the selection eras choose, by what the positions earn there after costs."""

LEAST_ROWS = 20
"""Rows with a target below which an era is passed over."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class EraTraining:
    """How models are trained.

    Attributes:
        hidden: units of each hidden layer; none is a linear model.
        epochs: most passes over the training eras, for every objective.
        warm_up: passes on squared error before that, which all objectives share.
        patience: passes without a better loss on the selection eras after which a replica stops.
        learning_rate, weight_decay: of AdamW.
        rows_per_era: train on that many rows of each era, drawn anew each pass; None takes all.

    Raises:
        SettingsError: a number is out of its range.
    """

    hidden: tuple[int, ...] = (32,)
    epochs: int = 5
    warm_up: int = 1
    patience: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    rows_per_era: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("warm_up", 0), ("patience", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"training: {name} must be at least {least}, got {getattr(self, name)}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise SettingsError("training: learning_rate must be above 0, and weight_decay at least 0")
        if self.rows_per_era is not None and self.rows_per_era < LEAST_ROWS:
            raise SettingsError(f"training: rows_per_era must be at least {LEAST_ROWS}, got {self.rows_per_era}")


@dataclass(frozen=True, eq=False)
class EraProblem:
    """What is learned from: a file, its costs, and which features count as exposures.

    Attributes:
        file: with the target.
        costs: of every era.
        exposed: (k,) numbers of the features that are the columns of `F`.
    """

    file: EraFile
    costs: EraCosts
    exposed: np.ndarray

    def batches(self, eras: Iterable[int], *, seed: int | None = None, ids: bool = False) -> Iterator[EraBatch]:
        """Give the rows of each era whose target is known; eras with fewer than `LEAST_ROWS` are passed over.

        Args:
            eras: numbers of those wanted.
            seed: for a random order; None is the order of the file.
            ids: whether batches carry the ids of their rows.

        Yields:
            One batch an era.
        """
        for batch in self.file.stream(eras, seed=seed, ids=ids):
            known = batch.known()
            if len(known) >= LEAST_ROWS:
                yield known


@dataclass(frozen=True, eq=False)
class EraModels:
    """Trained models.

    Attributes:
        network: R replicas, in the order (objective, seed), their `scale` included.
        objectives, seeds: (R,) of each.
        epoch: (R,) the pass that was best on the selection eras, from 1.
        scale: (R,) the multiple of the forecasts that was best there, from `SCALES`.
    """

    network: Network
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    epoch: Tensor
    scale: Tensor

    def forecast(self, batch: EraBatch) -> Tensor:
        """Return forecasts (R, N) float64 of an era, `batch`, in the units of the target."""
        with torch.no_grad():
            return self.network(batch.inputs())

    def of(self, objective: str) -> Network:
        """Return the replicas of one `objective`, a seed each."""
        return self.network.replicas(torch.tensor([i for i, name in enumerate(self.objectives) if name == objective]))


def train_eras(
    problem: EraProblem,
    *,
    train: Sequence[int],
    selection: Sequence[int],
    objectives: Sequence[str],
    seeds: Sequence[int] = (0,),
    settings: EraTraining | None = None,
    report: Report = lambda message: None,
) -> EraModels:
    """Train every objective and seed.

    Args:
        problem: the file and its costs.
        train, selection: numbers of eras that share none, purged between (see `split_eras`).
        objectives: names from `ERA_OBJECTIVES`, each once.
        seeds: one replica each of every objective.
        settings: how to train; None takes the defaults.
        report: told what happens.

    Raises:
        SettingsError: eras that are in both, or none.
        DataError: no training era has targets.
    """
    settings = settings or EraTraining()
    if set(train) & set(selection) or not len(train) or not len(selection):
        raise SettingsError("train and selection must be different eras, at least one each")
    if len(set(objectives)) != len(objectives):
        raise SettingsError(f"objectives must be different, got {list(objectives)}")
    losses = EraLosses(tuple(name for name in objectives for _ in seeds))
    network = _initial(problem, train, seeds, settings)
    warm = EraLosses(("squared",) * len(seeds))
    descent = descent_of(network, settings)
    for number in range(settings.warm_up):
        mean = train_pass(problem, descent, warm, train, settings=settings, seed=-1 - number)
        report(f"warm-up {number + 1}: mean squared error {float(mean.mean()):.6f}")
    start = descent.network.replicas(torch.arange(len(seeds)).repeat(len(objectives)))
    assert isinstance(start, Network)
    descent = descent_of(start, settings)
    # Not the start, which is the same for all: each objective is judged by what it taught.
    never = torch.full((start.n_replicas,), torch.inf, dtype=torch.float64)
    best = BestOnValidation(descent.network, never, patience=settings.patience)
    for number in range(settings.epochs):
        train_pass(problem, descent, losses, train, settings=settings, seed=number)
        now = descent.network
        assert isinstance(now, Network)
        loss = _loss(problem, now, losses, selection)
        best.update(now, loss)
        spread = ", ".join(f"{name} {float(part.mean()):.6f}" for name, part in _by_objective(losses, loss))
        report(f"pass {number + 1}: loss on the selection eras: {spread}")
        if best.finished:
            break
    assert isinstance(best.network, Network)
    scale = _best_scale(problem, best.network, selection)
    return EraModels(
        network=best.network.scaled(scale),
        objectives=losses.objectives,
        seeds=tuple(seeds) * len(objectives),
        epoch=best.epoch,
        scale=scale,
    )


def train_pass(
    problem: EraProblem,
    descent: Descent,
    losses: EraLosses,
    eras: Iterable[int],
    *,
    settings: EraTraining,
    seed: int,
) -> Tensor:
    """Take one step on every era and return the mean loss (R,) that each replica met.

    Args:
        problem: the file and its costs.
        descent: of R replicas; moved.
        losses: of the R replicas.
        eras: numbers.
        settings: of which `rows_per_era` is read.
        seed: of this pass: of the order of eras, and of rows where they are drawn.
    """
    random = np.random.default_rng([seed % 2**32, 1])
    total, count = torch.zeros(len(losses.objectives), dtype=torch.float64), 0
    for whole in problem.batches(eras, seed=seed % 2**32):
        batch = whole
        if settings.rows_per_era is not None and len(batch) > settings.rows_per_era:
            batch = batch.rows(np.sort(random.choice(len(batch), settings.rows_per_era, replace=False)))
        network = descent.network
        assert isinstance(network, Network)
        p = network(batch.inputs())
        solver = problem.costs.solver(batch, problem.exposed, training=True)
        with torch.no_grad():
            loss, gradient = losses.judge(solver, p.detach(), _target(batch), era=batch.era)
        descent.step(p, gradient)
        total, count = total + loss, count + 1
    if not count:
        raise DataError(f"{problem.file.path}: none of the eras to train on has {LEAST_ROWS} rows with a target")
    return total / count


def _initial(problem: EraProblem, train: Sequence[int], seeds: Sequence[int], settings: EraTraining) -> Network:
    first = next(problem.batches(sorted(train)), None)
    if first is None:
        raise DataError(f"{problem.file.path}: none of the eras to train on has {LEAST_ROWS} rows with a target")
    scale = float(_target(first).square().mean().sqrt())
    return Network.initial(len(first.features), hidden=settings.hidden, seeds=seeds, scale=scale)


def descent_of(network: Network, settings: EraTraining) -> Descent:
    """Return a descent that begins at a network's parameters."""
    return Descent(network, step_size=settings.learning_rate, weight_decay=settings.weight_decay)


def _target(batch: EraBatch) -> Tensor:
    return torch.from_numpy(batch.centred_target())


def _loss(problem: EraProblem, network: Network, losses: EraLosses, eras: Sequence[int]) -> Tensor:
    """Return the mean loss (R,) over eras, with sharp kinks."""
    total, count = torch.zeros(network.n_replicas, dtype=torch.float64), 0
    with torch.no_grad():
        for batch in problem.batches(eras):
            solver = problem.costs.solver(batch, problem.exposed)
            loss, _ = losses.judge(solver, network(batch.inputs()), _target(batch), era=batch.era)
            total, count = total + loss, count + 1
    if not count:
        raise DataError(f"{problem.file.path}: none of the selection eras has {LEAST_ROWS} rows with a target")
    return total / count


def _best_scale(problem: EraProblem, network: Network, eras: Sequence[int]) -> Tensor:
    """Return the multiple (R,) from `SCALES` whose positions earn most after costs over eras."""
    utility = torch.zeros(len(SCALES), network.n_replicas, dtype=torch.float64)
    losses = EraLosses(("aligned",) * network.n_replicas)
    with torch.no_grad():
        for batch in problem.batches(eras):
            p, y = network(batch.inputs()), _target(batch)
            solver = problem.costs.solver(batch, problem.exposed)
            for number, factor in enumerate(SCALES):
                utility[number] -= losses.judge(solver, factor * p, y, era=batch.era)[0]
    return torch.tensor(SCALES, dtype=torch.float64)[utility.argmax(0)]


def _by_objective(losses: EraLosses, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    for name in dict.fromkeys(losses.objectives):
        yield name, values[[i for i, own in enumerate(losses.objectives) if own == name]]
