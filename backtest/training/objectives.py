"""The objectives a forecast model can be trained on. The first four stand side by side in a comparison by default.

    squared        mean (p - y)^2
    whitened       (p - y)' H^-1 (p - y), H the Hessian of the smooth part of C: generalised least squares
    aligned        -y'q(p) + C(q(p)): what the portfolio earns after its costs; its gradient is J (p - y)
    misaligned     -y'q(p): costs forgotten in the loss; the ablation. Its optimum is not E[y]
    spo_plus       a convex bound on regret; its gradient is 2 (q(2p - y) - q(y))
    fenchel_young  a convex loss about the positions best in hindsight; its gradient is q(p) - q(y)

Squared, whitened and aligned are all minimised in expectation by `p = E[y | features]`; SPO+ is where `y` is spread
symmetrically about it. The formulas of the last four are in `backtest.training.losses`.

Sources: Elmachtoub & Grigas (2022), "Smart Predict, then Optimize"; Donti, Amos & Kolter (2017), "Task-based end-to-end
model learning"; Butler & Kwon (2023), "Integrating prediction in mean-variance portfolio optimization"; Blondel,
Martins & Niculae (2020), "Learning with Fenchel-Young losses"; Aitken (1936) for generalised least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.errors import CostError, SettingsError
from backtest.solver import PositionSolver
from backtest.training.samples import Samples

__all__ = [
    "DECISION_OBJECTIVES",
    "DEFAULT_OBJECTIVES",
    "OBJECTIVES",
    "Metric",
    "check_objectives",
    "euclidean_metric",
    "risk_metric",
]

DEFAULT_OBJECTIVES = ("squared", "whitened", "aligned", "misaligned")
"""What a comparison shows unless told otherwise."""

DECISION_OBJECTIVES = ("aligned", "misaligned", "spo_plus", "fenchel_young")
"""Objectives whose loss needs the solver."""

OBJECTIVES = ("squared", "whitened", *DECISION_OBJECTIVES)
"""All that can be asked for."""


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each known and there once; raise `SettingsError` otherwise."""
    for name in names:
        if name not in OBJECTIVES:
            raise SettingsError(f"unknown objective {name!r}: choose from {', '.join(OBJECTIVES)}")
    if len(set(names)) != len(names) or not names:
        raise SettingsError(f"objectives must be different and at least one, got {list(names)}")
    return tuple(names)


@dataclass(frozen=True, eq=False)
class Metric:
    """`H^-1` of each row, restricted to the assets that are scored there.

    `H = G G' + diag(d)` is inverted by the Woodbury identity: `D^-1 - D^-1 G (I + G'D^-1 G)^-1 G'D^-1`.

    Attributes:
        inverse_diagonal: (T, N), `D^-1`; 0 where an asset is not scored.
        loadings: (M, N, k), `G` of each model.
        model_of: (T,) the model in force at each row.
        factor: (T, k, k) Cholesky factor of `I + G'D^-1 G`.
    """

    inverse_diagonal: Tensor
    loadings: Tensor
    model_of: Tensor
    factor: Tensor

    def apply(self, error: Tensor, rows: Tensor) -> Tensor:
        """Return `H^-1 error` for `error` (..., B, N) at `rows` (B,)."""
        weighted = error * self.inverse_diagonal[rows]
        if not self.loadings.shape[-1]:
            return weighted
        loadings = self.loadings[self.model_of[rows]]
        pulled = torch.einsum("...bn,bnk->...bk", weighted, loadings)
        solved = torch.cholesky_solve(pulled.unsqueeze(-1), self.factor[rows].expand(*pulled.shape, -1)).squeeze(-1)
        return weighted - self.inverse_diagonal[rows] * torch.einsum("...bk,bnk->...bn", solved, loadings)


def euclidean_metric(samples: Samples) -> Metric:
    """Return the metric of squared error: the identity on scored assets."""
    n_periods, n_assets = samples.scored.shape
    return Metric(
        samples.scored.double(),
        torch.zeros(1, n_assets, 0, dtype=torch.float64),
        torch.zeros(n_periods, dtype=torch.long),
        torch.zeros(n_periods, 0, 0, dtype=torch.float64),
    )


def risk_metric(samples: Samples, solver: PositionSolver, rows: np.ndarray) -> Metric:
    """Return the metric of the smooth part of `C` (risk, ridge, exposure), valid at `rows`.

    Args:
        samples: which assets are scored.
        solver: estimated on the samples' panel.
        rows: rows the metric will be asked for.

    Raises:
        CostError: an asset has no smooth cost of its own, so that `H` cannot be inverted.
    """
    n_periods, n_assets = samples.scored.shape
    blank = torch.zeros(1, n_assets, dtype=torch.float64)
    inverse = torch.zeros(n_periods, n_assets, dtype=torch.float64)
    model_of = torch.zeros(n_periods, dtype=torch.long)
    models: list[Tensor] = []
    factor: Tensor | None = None
    for row in rows.tolist():
        market = samples.panel.at([row + samples.lag])
        problem = solver.problem(blank, blank, market=market)
        diagonal, loadings = problem.diagonal[0], problem.loadings[0]
        if not bool((diagonal > 0).all()):
            raise CostError(
                "the whitened objective inverts the smooth part of C, and an asset has none of its own: "
                "add FactorRisk with specific risk, or Ridge"
            )
        # Consecutive rows share a factor model until it is estimated anew.
        if not models or not torch.equal(loadings, models[-1]):
            models.append(loadings)
        model_of[row] = len(models) - 1
        inverse[row] = samples.scored[row] / diagonal
        inner = loadings.mT @ (loadings * inverse[row].unsqueeze(-1))
        inner.diagonal().add_(1)
        if factor is None:
            factor = torch.eye(len(inner), dtype=torch.float64).repeat(n_periods, 1, 1)
        factor[row] = torch.linalg.cholesky(inner) if len(inner) else inner
    assert factor is not None
    return Metric(inverse, torch.stack(models), model_of, factor)
