"""Losses of forecasts that are judged by the positions they lead to, on tensors.

With `q(c) = argmax_x c'x - C(x)` over the positions that limits and what is held allow, `J` the derivative of `q`, and
`C*(c) = c'q(c) - C(q(c))` the conjugate of `C`:

    aligned         C(q(p)) - y'q(p)                                    gradient J (p - y)
    misaligned      -y'q(p)                                             gradient -J y
    regret          y'q(y) - C(q(y)) - [y'q(p) - C(q(p))]               gradient J (p - y)
    SPO+            C*(2p - y) - 2 p'q(y) + y'q(y) + C(q(y))            gradient 2 (q(2p - y) - q(y))
    Fenchel-Young   C*(p) + C(q(y)) - p'q(y)                            gradient q(p) - q(y)

Regret is aligned loss plus `C*(y)`, which no forecast changes. The last three are one quantity, the `shortfall` under
some forecast of one position from the best one: of `q(p)` under `y`; of `q(y)` under `2p - y`; of `q(y)` under `p`. So
all are at least 0, and 0 at `p = y`. SPO+ is never below regret. With a purely quadratic `C`, Fenchel-Young is regret
and SPO+ four times regret. The last two are convex in `p`, and have a gradient in assets whose position is stuck at a
kink, where `q(y)` is not. In expectation SPO+ is minimised by `E[y]` where `y` is spread symmetrically about it;
Fenchel-Young by `p` with `q(p) = E[q(y)]`, which is another where `q` bends.

Where `y` is NaN the return is not known: the asset counts as forecast without error, `y = p` there, taken as data (for
misaligned, which has no error, as earning nothing, `y = 0`).

Sources: Elmachtoub & Grigas (2022), "Smart Predict, then Optimize", definition 3 and theorem 1, with the known cost `C`
as one more decision whose coefficient is forecast exactly; Blondel, Martins & Niculae (2020), "Learning with
Fenchel-Young losses", with the label `q(y)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backtest.errors import SettingsError, SolverError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver, Solution

__all__ = ["aligned_loss", "fenchel_young_loss", "misaligned_loss", "regret", "shortfall", "spo_plus_loss"]


def aligned_loss(
    solver: PositionSolver,
    p: Tensor,
    y: Tensor,
    held: Tensor | None = None,
    *,
    market: MarketSnapshot | None = None,
    tradable: Tensor | None = None,
) -> Tensor:
    """Return `C(q(p)) - y'q(p)`, what the positions cost less what they earn; differentiable in `p`, once.

    The gradient is `J (p - y)`, with `J` the derivative of `q`, and reuses the solve; `y`, `held` and the costs are
    data (for their derivatives use `solver(p, held)`, which has all). `C` is the solver's: with its smoothing, and with
    trading costs divided by its holding periods.

    Args:
        solver: gives `q` and `C`.
        p: (B, N) or (N,) forecasts, return per period.
        y: realized returns, like `p` or (N,); NaN where not known, which counts as forecast without error.
        held: (B, N) or (N,) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) or (N,) bool; an asset that cannot be traded keeps its weight and gets no gradient.

    Returns:
        (B,), or a scalar for `p` (N,); a return per period.

    Raises:
        SettingsError: shapes do not fit.
        InfeasibleError, UnboundedError, SolverError: a row could not be solved.

    Source: murkyautomata (2023), Numerai forum; with constraints, the regret of Elmachtoub & Grigas (2022), "Smart
    Predict, then Optimize", less what no forecast changes.
    """
    rows = _Rows.read(solver, p, y, held, market, tradable)
    own = rows.solve(rows.p)
    return rows.differentiable(p, own.cost - (rows.y * own.q).sum(-1), own.map(rows.p - rows.y))


def misaligned_loss(
    solver: PositionSolver,
    p: Tensor,
    y: Tensor,
    held: Tensor | None = None,
    *,
    market: MarketSnapshot | None = None,
    tradable: Tensor | None = None,
) -> Tensor:
    """Return `-y'q(p)`, the ablation that forgets costs; differentiable in `p`, once, with gradient `-J y`.

    Args:
        solver: gives `q` and `C`.
        p: (B, N) or (N,) forecasts, return per period.
        y: realized returns, like `p` or (N,); NaN where not known, which counts as earning nothing.
        held: (B, N) or (N,) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) or (N,) bool; an asset that cannot be traded keeps its weight and gets no gradient.

    Returns:
        (B,), or a scalar for `p` (N,); a return per period.

    Raises:
        SettingsError: shapes do not fit.
        InfeasibleError, UnboundedError, SolverError: a row could not be solved.

    Source: murkyautomata (2023), Numerai forum.
    """
    rows = _Rows.read(solver, p, y, held, market, tradable)
    own, earned = rows.solve(rows.p), torch.where(rows.known, rows.y, 0.0)
    return rows.differentiable(p, -(earned * own.q).sum(-1), own.map(-earned))


def regret(
    solver: PositionSolver,
    p: Tensor,
    y: Tensor,
    held: Tensor | None = None,
    *,
    market: MarketSnapshot | None = None,
    tradable: Tensor | None = None,
) -> Tensor:
    """Return what `q(p)` earns less, after `C`, than `q(y)`, the best in hindsight; at least 0.

    It is the aligned loss plus the conjugate `C*(y) = y'q(y) - C(q(y))`, which no forecast changes; its gradient is `J
    (p - y)`.

    Args:
        solver: gives `q` and `C`.
        p: (B, N) or (N,) forecasts, return per period.
        y: realized returns, like `p` or (N,); NaN where not known, which counts as forecast without error.
        held: (B, N) or (N,) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) or (N,) bool; an asset that cannot be traded keeps its weight and gets no gradient.

    Returns:
        (B,), or a scalar for `p` (N,); a return per period.

    Raises:
        SettingsError: shapes do not fit.
        InfeasibleError, UnboundedError, SolverError: a row could not be solved.

    Source: Elmachtoub & Grigas (2022), "Smart Predict, then Optimize", definition 1.
    """
    rows = _Rows.read(solver, p, y, held, market, tradable)
    own, label = rows.solve(rows.p), rows.solve(rows.y)
    value = shortfall(rows.y, q=own.q, cost=own.cost, best=label.q, best_cost=label.cost)
    return rows.differentiable(p, value, own.map(rows.p - rows.y))


def spo_plus_loss(
    solver: PositionSolver,
    p: Tensor,
    y: Tensor,
    held: Tensor | None = None,
    *,
    market: MarketSnapshot | None = None,
    tradable: Tensor | None = None,
) -> Tensor:
    """Return the SPO+ loss `C*(2p - y) - 2 p'q(y) + y'q(y) + C(q(y))`, convex in `p` and never below regret.

    Its gradient is `2 (q(2p - y) - q(y))`. In expectation it is minimised by `E[y]` where `y` is spread symmetrically
    about it.

    Args:
        solver: gives `q` and `C`.
        p: (B, N) or (N,) forecasts, return per period.
        y: realized returns, like `p` or (N,); NaN where not known, which counts as forecast without error.
        held: (B, N) or (N,) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) or (N,) bool; an asset that cannot be traded keeps its weight and gets no gradient.

    Returns:
        (B,), or a scalar for `p` (N,); a return per period.

    Raises:
        SettingsError: shapes do not fit.
        InfeasibleError, UnboundedError, SolverError: a row could not be solved.

    Source: Elmachtoub & Grigas (2022), "Smart Predict, then Optimize", definition 3 and theorem 1, with the known cost
    `C` as one more decision whose coefficient is forecast exactly.
    """
    rows = _Rows.read(solver, p, y, held, market, tradable)
    ahead = 2 * rows.p - rows.y
    best, label = rows.solve(ahead), rows.solve(rows.y)
    value = shortfall(ahead, q=label.q, cost=label.cost, best=best.q, best_cost=best.cost)
    return rows.differentiable(p, value, 2 * (best.q - label.q))


def fenchel_young_loss(
    solver: PositionSolver,
    p: Tensor,
    y: Tensor,
    held: Tensor | None = None,
    *,
    market: MarketSnapshot | None = None,
    tradable: Tensor | None = None,
) -> Tensor:
    """Return the Fenchel-Young loss `C*(p) + C(q(y)) - p'q(y)` with label `q(y)`, convex in `p`.

    Its gradient is `q(p) - q(y)`. In expectation it is minimised by `p` with `q(p) = E[q(y)]`, which is not `E[y]`
    where `q` bends.

    Args:
        solver: gives `q` and `C`.
        p: (B, N) or (N,) forecasts, return per period.
        y: realized returns, like `p` or (N,); NaN where not known, which counts as forecast without error.
        held: (B, N) or (N,) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) or (N,) bool; an asset that cannot be traded keeps its weight and gets no gradient.

    Returns:
        (B,), or a scalar for `p` (N,); a return per period.

    Raises:
        SettingsError: shapes do not fit.
        InfeasibleError, UnboundedError, SolverError: a row could not be solved.

    Source: Blondel, Martins & Niculae (2020), "Learning with Fenchel-Young losses", definition 2.
    """
    rows = _Rows.read(solver, p, y, held, market, tradable)
    own, label = rows.solve(rows.p), rows.solve(rows.y)
    value = shortfall(rows.p, q=label.q, cost=label.cost, best=own.q, best_cost=own.cost)
    return rows.differentiable(p, value, own.q - label.q)


def shortfall(forecast: Tensor, *, q: Tensor, cost: Tensor, best: Tensor, best_cost: Tensor) -> Tensor:
    """Return how much less than the best positions under a forecast others earn there after costs, (B,).

    Args:
        forecast: (B, N).
        q, cost: (B, N) positions and (B,) their `C`.
        best, best_cost: the same of `q(forecast)`.
    """
    # Differences first: each of the two sides can be many times their difference.
    return (forecast * (best - q)).sum(-1) - (best_cost - cost)


@dataclass(frozen=True, eq=False)
class _Solved:
    """Positions (B, N) and their cost (B,)."""

    q: Tensor
    cost: Tensor
    solution: Solution

    def map(self, error: Tensor) -> Tensor:
        """Return `J error`."""
        return self.solution.solution_map(error)


@dataclass(frozen=True, eq=False)
class _Rows:
    """A loss's inputs as float64 data, each (B, N): `y` is `p` where it is not `known`.

    Problems that share `held` are solved one batch after the other, not stacked: costs may have one value a row.
    """

    solver: PositionSolver
    p: Tensor
    y: Tensor
    held: Tensor
    known: Tensor
    market: MarketSnapshot | None
    tradable: Tensor | None

    @staticmethod
    def read(
        solver: PositionSolver,
        p: Tensor,
        y: Tensor,
        held: Tensor | None,
        market: MarketSnapshot | None,
        tradable: Tensor | None,
    ) -> _Rows:
        if not isinstance(p, Tensor) or p.ndim not in (1, 2):
            what = f"shape {tuple(p.shape)}" if isinstance(p, Tensor) else f"type {type(p).__name__}"
            raise SettingsError(f"the loss of a forecast: p has {what}: give a tensor (B, N) or (N,)")
        forecast = torch.atleast_2d(p.detach()).double()

        def like_forecast(value: Any, name: str) -> Tensor:
            tensor = torch.atleast_2d(torch.as_tensor(value, device=p.device).detach())
            if tensor.shape[-1] != forecast.shape[-1] or tensor.shape[0] not in (1, len(forecast)):
                raise SettingsError(
                    f"the loss of a forecast: {name} has shape {tuple(tensor.shape)}, p has {tuple(forecast.shape)}"
                )
            return tensor.expand(forecast.shape)

        mask = None if tradable is None else like_forecast(tradable, "tradable").bool()
        if mask is not None:
            # What cannot be traded needs no forecast, and NaN times a weight of 0 is NaN.
            forecast = torch.where(mask, forecast, 0.0)
        target = like_forecast(y, "y").double()
        known = ~torch.isnan(target)
        return _Rows(
            solver=solver,
            p=forecast,
            y=torch.where(known, target, forecast),
            held=torch.zeros_like(forecast) if held is None else like_forecast(held, "held").double(),
            known=known,
            market=market,
            tradable=mask,
        )

    def solve(self, forecast: Tensor) -> _Solved:
        """Solve for the positions of a forecast (B, N); raise when a row cannot be solved."""
        with torch.no_grad():
            solution = self.solver.solve(forecast, self.held, market=self.market, tradable=self.tradable)
            return _Solved(solution.q, solution.problem.cost(solution.q), solution)

    @staticmethod
    def differentiable(p: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """Return the loss `value` (B,) with its `gradient` (B, N) in `p`, in the shape and precision of `p`."""
        loss: Tensor = _WithGradient.apply(p, value.detach().reshape(p.shape[:-1]), gradient.detach().reshape(p.shape))
        return loss


class _WithGradient(torch.autograd.Function):
    """A loss of each row whose gradient is known."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(p, gradient.to(p.dtype))
        return value.to(p.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        gradient: Tensor = _WithoutGradient.apply(*ctx.saved_tensors)
        return outer[0].unsqueeze(-1) * gradient, None, None


class _WithoutGradient(torch.autograd.Function):
    """A first derivative: one that was cut off from `p` would make second ones silently 0."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, gradient: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        raise SolverError(
            "the loss of a forecast has no second derivative here: write the loss with q = solver(p, held), which has"
        )
