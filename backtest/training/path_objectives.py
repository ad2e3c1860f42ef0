"""What replicas descend on along a path, each its own objective: one gradient from the parts of each.

A part is walked by itself when its loss needs the solver; V parts are, of R replicas. Sharpe is walked as aligned, and
each row's gradient is weighed by what its utility does to the ratio. With `u` the utility `y'q - C(q)` of the n rows of
a minibatch, m its mean, s its standard deviation and `S = m / s`,

    dS/du_t = (1 - S (u_t - m) / s) / (n s),    dS/dp_t = -dS/du_t J (p_t - y_t).

The gradients of a blend's parts differ in units and by orders of magnitude. Each is divided by its norm in the first
minibatch in which it has one, and enters with its share: shares are those of the first step, and stay as the parts'
gradients grow or fade.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.solver import PositionSolver
from backtest.training.error_losses import ErrorLoss, error_loss
from backtest.training.objectives import ERROR_OBJECTIVES, Objective
from backtest.training.path import Path
from backtest.training.samples import Samples

__all__ = ["PathObjectives", "sharpe_weights"]

Walk = Callable[[Tensor, Tensor], Path]
"""Takes forecasts (V, C, L, N) and rows (V, C, L) to what their walk met."""


def sharpe_weights(loss: Tensor) -> Tensor:
    """Return the derivative of minus the Sharpe ratio of `-loss` in each loss, like `loss` (R, C, L).

    The ratio is that of a replica's C L rows, per period, with the standard deviation of all of them (not one less). It
    has no derivative where all are equal: the weights are 0 there.
    """
    utility = -loss.flatten(1)
    mean = utility.mean(1, keepdim=True)
    away = utility - mean
    deviation = away.square().mean(1, keepdim=True).sqrt()
    spread = deviation > 1e-12 * utility.abs().amax(1, keepdim=True)
    deviation = torch.where(spread, deviation, 1.0)
    weights = (1 - mean / deviation * away / deviation) / (utility.shape[1] * deviation)
    return torch.where(spread, weights, 0.0).reshape(loss.shape)


@dataclass(frozen=True, eq=False)
class _ErrorPart:
    """A part that needs no solver: where it stands among all parts, whose it is, and its loss."""

    number: int
    replica: int
    loss: ErrorLoss


class PathObjectives:
    """The objectives of R replicas.

    Attributes:
        owner: (V,) the replica of each part that is walked.
        walked: (V,) names from `ROW_OBJECTIVES`.
        first: (R,) the first walked part of each replica; -1 for none.
    """

    def __init__(self, objectives: Sequence[str], samples: Samples, solver: PositionSolver, rows: np.ndarray) -> None:
        """Lay out the parts of one objective a replica; `rows` are those to be trained on."""
        self._samples = samples
        parts = [(replica, *part) for replica, name in enumerate(objectives) for part in Objective.of(name).parts]
        whole = [len(Objective.of(name).parts) == 1 for name in objectives]
        self._share = torch.tensor([share for _, share, _ in parts], dtype=torch.float64)
        self._unit = torch.tensor([1.0 if whole[replica] else 0.0 for replica, _, _ in parts], dtype=torch.float64)
        solved = [number for number, (_, _, name) in enumerate(parts) if name not in ERROR_OBJECTIVES]
        names = [parts[number][2] for number in solved]
        self._solved = torch.tensor(solved, dtype=torch.long)
        self._ratio = torch.tensor([name == "sharpe" for name in names], dtype=torch.bool)
        self.walked = ["aligned" if name == "sharpe" else name for name in names]
        owners = [parts[number][0] for number in solved]
        self.owner = torch.tensor(owners, dtype=torch.long)
        self.first = torch.tensor([owners.index(r) if r in owners else -1 for r in range(len(objectives))])
        wanted = sorted({name for _, _, name in parts if name in ERROR_OBJECTIVES})
        losses = {name: error_loss(name, samples, solver, rows) for name in wanted}
        self._errors = [
            _ErrorPart(number, replica, losses[name])
            for number, (replica, _, name) in enumerate(parts)
            if name in losses
        ]

    def gradient(self, p: Tensor, rows: Tensor, walk: Walk) -> tuple[Tensor, Path | None]:
        """Return the derivative of every replica's objective in its forecasts, like `p`, and what the walk met.

        Args:
            p: (R, C, L, N) forecasts, without graph.
            rows: (R, C, L) row numbers.
            walk: walks the parts that need the solver; not called when none does.
        """
        total = torch.zeros_like(p)
        path = None
        if len(self.owner):
            path = walk(p[self.owner], rows[self.owner])
            assert path.gradient is not None
            total = total.index_add(0, self.owner, self._blended(path.gradient, self._solved))
        for part in self._errors:
            at, forecast = rows[part.replica].flatten(), p[part.replica].flatten(0, 1)
            found = part.loss.gradient(forecast, self._samples.target[at], at).reshape(p[:1].shape)
            total[part.replica] += self._blended(found, torch.tensor([part.number]))[0]
        return total, path

    def weigh(self, loss: Tensor) -> Tensor:
        """Return the weight of each walked row's gradient, given their losses (V, C, L)."""
        if not bool(self._ratio.any()):
            return torch.ones_like(loss)
        return torch.where(self._ratio.reshape(-1, 1, 1), sharpe_weights(loss), 1.0)

    def _blended(self, gradient: Tensor, parts: Tensor) -> Tensor:
        """Return the gradients (P, C, L, N) of `parts` (P,) in their units, times their shares."""
        size = gradient.flatten(1).norm(dim=1)
        self._unit[parts] = torch.where(self._unit[parts] > 0, self._unit[parts], size)
        unit = self._unit[parts]
        factor = self._share[parts] / torch.where(unit > 0, unit, 1.0)
        return factor.reshape(-1, 1, 1, 1) * gradient
