"""The objectives a forecast model can be trained on. The first four stand side by side in a comparison by default.

    squared           mean (p - y)^2
    whitened          (p - y)' H^-1 (p - y), H the Hessian of the smooth part of C: generalised least squares
    aligned           -y'q(p) + C(q(p)): what the portfolio earns after its costs; its gradient is J (p - y)
    misaligned        -y'q(p): costs forgotten in the loss; the ablation. Its optimum is not E[y]
    rank_correlation  minus the correlation of p with the ranks of y, date by date; needs no solver and has no scale
    sharpe            minus the Sharpe ratio of y'q(p) - C(q(p)) over the rows of a minibatch
    spo_plus          a convex bound on regret; its gradient is 2 (q(2p - y) - q(y))
    fenchel_young     a convex loss about the positions best in hindsight; its gradient is q(p) - q(y)

and blends of them, "0.5 whitened + 0.5 aligned". Squared, whitened and aligned are all minimised in expectation by
`p = E[y | features]`; SPO+ is where `y` is spread symmetrically about it. `docs/objectives.md` has all the formulas.

Sources: Elmachtoub & Grigas (2022), "Smart Predict, then Optimize"; Donti, Amos & Kolter (2017), "Task-based end-to-end
model learning"; Butler & Kwon (2023), "Integrating prediction in mean-variance portfolio optimization"; Blondel,
Martins & Niculae (2020), "Learning with Fenchel-Young losses"; Aitken (1936) for generalised least squares; Moody &
Saffell (2001), "Learning to trade via direct reinforcement", for training on the Sharpe ratio.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.errors import CostError, SettingsError
from backtest.solver import PositionSolver
from backtest.solver.canonical import CanonicalProblem
from backtest.training.samples import Samples

__all__ = [
    "DECISION_OBJECTIVES",
    "DEFAULT_OBJECTIVES",
    "ERROR_OBJECTIVES",
    "OBJECTIVES",
    "Metric",
    "Objective",
    "blend",
    "check_objectives",
    "euclidean_metric",
    "risk_metric",
]

DEFAULT_OBJECTIVES = ("squared", "whitened", "aligned", "misaligned")
"""What a comparison shows unless told otherwise."""

ERROR_OBJECTIVES = ("squared", "whitened", "rank_correlation")
"""Objectives that compare forecasts with returns, without a solver."""

DECISION_OBJECTIVES = ("aligned", "misaligned", "sharpe", "spo_plus", "fenchel_young")
"""Objectives whose loss needs the solver."""

OBJECTIVES = (*ERROR_OBJECTIVES, *DECISION_OBJECTIVES)
"""All that can be asked for by one name; blends are made of them."""

_PART = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s+([a-z_]+)\s*")


@dataclass(frozen=True)
class Objective:
    """One objective, or a blend of several.

    Attributes:
        parts: (share, name) of each; shares are above 0 and add up to 1, names stand in the order of `OBJECTIVES`.
    """

    parts: tuple[tuple[float, str], ...]

    @staticmethod
    def of(text: str) -> Objective:
        """Read a `text`: a name from `OBJECTIVES`, or a blend, "0.5 whitened + 0.5 aligned".

        Raises:
            SettingsError: it is neither; the message says why.
        """
        pieces = text.split("+")
        if len(pieces) == 1 and not re.match(r"\s*[\d.]", text):
            _check_name(text, text)
            return Objective(((1.0, text),))
        parts = []
        for piece in pieces:
            found = _PART.fullmatch(piece)
            if found is None:
                raise SettingsError(
                    f"objective {text!r}: {piece.strip()!r} is no part of a blend: each is a share and a name, as in "
                    '"0.5 whitened + 0.5 aligned"'
                )
            _check_name(found[2], text)
            parts.append((float(found[1]), found[2]))
        names = [name for _, name in parts]
        if len(names) < 2 or len(set(names)) < len(names):
            raise SettingsError(f"objective {text!r}: a blend has two or more different parts, got {', '.join(names)}")
        total = sum(share for share, _ in parts)
        if min(share for share, _ in parts) <= 0 or abs(total - 1) > 1e-5:
            raise SettingsError(f"objective {text!r}: shares must be above 0 and add up to 1, they add up to {total:g}")
        ordered = sorted(parts, key=lambda part: OBJECTIVES.index(part[1]))
        return Objective(tuple((share / total, name) for share, name in ordered))

    @property
    def name(self) -> str:
        """How it is written: the one spelling of all that mean the same."""
        if len(self.parts) == 1:
            return self.parts[0][1]
        return " + ".join(f"{share:.6g} {name}" for share, name in self.parts)

    @property
    def on_path(self) -> bool:
        """Whether it is trained along the path from a warm start: what needs the solver, and every blend."""
        return len(self.parts) > 1 or self.parts[0][1] in DECISION_OBJECTIVES


def blend(*names: str, weights: Sequence[float] | None = None) -> str:
    """Return the objective that descends on several at once: "0.5 whitened + 0.5 aligned" for two names.

    The gradient of each, brought to the same size at the start of training, enters with its weight.

    Args:
        names: two or more from `OBJECTIVES`.
        weights: one a name, above 0, in any unit; None takes equal ones.

    Raises:
        SettingsError: a name is unknown or there twice, or a weight is not above 0.
    """
    weights = [1.0] * len(names) if weights is None else list(weights)
    if len(weights) != len(names) or not all(weight > 0 for weight in weights):
        raise SettingsError(f"blend: give each of {', '.join(names)} a weight above 0, got {weights}")
    shares = " + ".join(f"{weight / sum(weights):.9f} {name}" for weight, name in zip(weights, names, strict=True))
    return Objective.of(shares).name


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Return the `names`, each known and there once, blends in their one spelling.

    Raises:
        SettingsError: one is unknown or there twice, or there is none.
    """
    found = [Objective.of(name).name for name in names]
    if len(set(found)) != len(found) or not found:
        raise SettingsError(f"objectives must be different and at least one, got {list(names)}")
    return tuple(found)


def _check_name(name: str, text: str) -> None:
    if name not in OBJECTIVES:
        where = "" if name == text else f" in {text!r}"
        raise SettingsError(
            f"unknown objective {name!r}{where}: choose from {', '.join(OBJECTIVES)}, or blend them: "
            '"0.5 whitened + 0.5 aligned"'
        )


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
    scale_free = False

    @staticmethod
    def of_problem(problem: CanonicalProblem) -> Metric:
        """Return the metric of the smooth part (risk, ridge, exposure) of a problem of one row, all assets scored.

        Raises:
            CostError: an asset has no smooth cost of its own, so that `H` cannot be inverted.
        """
        diagonal, loadings = problem.diagonal[:1], problem.loadings[:1]
        _check_curved(diagonal)
        inverse = 1 / diagonal
        factor = _inner_factor(loadings[0], inverse[0]).unsqueeze(0)
        return Metric(inverse, loadings, torch.zeros(1, dtype=torch.long), factor)

    def losses(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return `(p - y)' H^-1 (p - y)` of each row (..., B); shapes as in `backtest.training.error_losses`."""
        return ((p - y) * self._weighted(p - y, rows)).sum(-1)

    def gradient(self, p: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Return the derivative of `losses` in the forecast, like `p`."""
        return 2 * self._weighted(p - y, rows)

    def _weighted(self, error: Tensor, rows: Tensor) -> Tensor:
        if rows.ndim == 1:
            return self.apply(error, rows)
        return torch.stack([self.apply(error[r], rows[r]) for r in range(len(rows))])

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
        _check_curved(diagonal)
        # Consecutive rows share a factor model until it is estimated anew.
        if not models or not torch.equal(loadings, models[-1]):
            models.append(loadings)
        model_of[row] = len(models) - 1
        inverse[row] = samples.scored[row] / diagonal
        inner = _inner_factor(loadings, inverse[row])
        if factor is None:
            factor = torch.eye(len(inner), dtype=torch.float64).repeat(n_periods, 1, 1)
        factor[row] = inner
    assert factor is not None
    return Metric(inverse, torch.stack(models), model_of, factor)


def _check_curved(diagonal: Tensor) -> None:
    if not bool((diagonal > 0).all()):
        raise CostError(
            "the whitened objective inverts the smooth part of C, and an asset has none of its own: "
            "add FactorRisk with specific risk, or Ridge"
        )


def _inner_factor(loadings: Tensor, inverse: Tensor) -> Tensor:
    """Return the Cholesky factor (k, k) of `I + G'D^-1 G` for `G` (N, k) and the diagonal of `D^-1` (N,)."""
    inner = loadings.mT @ (loadings * inverse.unsqueeze(-1))
    inner.diagonal().add_(1)
    return torch.linalg.cholesky(inner) if len(inner) else inner
