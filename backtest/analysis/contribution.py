"""What each model contributes to a stake-weighted blend of forecasts, after the solver and its costs.

With stakes `s`, the blend is `m = sum_k s_k p_k / S`, `S = sum_k s_k`, and its realized utility `U = y'q(m) - C(q(m))`.
The gradient of `U` in the forecast is `J (y - m)`, `J` the derivative of the solution map, and the blend moves by
`dm / ds_k = (p_k - m) / S`. So the *true contribution* of model k,

    (p_k - m)' J (y - m)  =  S dU / ds_k,

is the gradient of utility in the stake times the total stake: the utility gained per unit by which the model's *share*
is raised, all other stakes as they are. Contributions weighted by stakes sum to 0, since scaling all stakes changes
nothing. With costs that are smooth and no constraints, `J = H^-1`, `H` the Hessian of `C`.

Source: murkyautomata (2023), Numerai forum, on true contribution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.solver import PositionSolver

__all__ = ["true_contribution"]


def true_contribution(
    solver: PositionSolver,
    forecasts: Any,
    target: Any,
    *,
    stakes: Any,
    held: Any = None,
    market: MarketSnapshot | None = None,
    tradable: Any = None,
) -> Tensor:
    """Return the true contribution of every model in every row (M, B), a fraction of wealth per period.

    Args:
        solver: maps the blend to positions.
        forecasts: (M, B, N) predicted returns `p_k` of M models, assets in one order.
        target: (B, N) realized returns `y` over the period that the forecasts are for; what is not known (NaN) in an
            asset that cannot be traded counts for nothing.
        stakes: (M,) weights of the models in the blend, at least 0, their sum above 0; they need not sum to 1.
        held: (B, N) weights before trading; None holds nothing.
        market: `panel.at(rows)`, for costs that need the market.
        tradable: (B, N) bool; None means all can be traded.

    Raises:
        SettingsError: stakes that are negative, not finite, or sum to 0; shapes that do not fit.
        SolverError: a row of the blend could not be solved.

    Source: murkyautomata (2023), Numerai forum: `(p_k - m)' J (y - m)`, with `m` the blend and `J` the derivative of
    positions in the forecast.
    """
    p = torch.as_tensor(forecasts, dtype=torch.float64)
    y = torch.as_tensor(target, dtype=torch.float64)
    weights = torch.as_tensor(stakes, dtype=torch.float64)
    if p.ndim != 3 or y.shape != p.shape[1:] or weights.shape != p.shape[:1]:
        raise SettingsError(
            f"forecasts {tuple(p.shape)}, target {tuple(y.shape)} and stakes {tuple(weights.shape)} do not fit: "
            "give (M, B, N), (B, N) and (M,)"
        )
    total = weights.sum()
    if not bool((weights >= 0).all()) or not 0 < float(total) < float("inf"):
        raise SettingsError(f"stakes must be finite, at least 0, and not all 0, got {weights.tolist()}")
    blend = torch.einsum("m,mbn->bn", weights / total, p)
    solution = solver.solve(blend, held, market=market, tradable=tradable)
    error, difference = y - blend, p - blend
    if tradable is not None:
        can = torch.as_tensor(tradable, dtype=torch.bool)
        error, difference = torch.where(can, error, 0.0), torch.where(can, difference, 0.0)
    return torch.einsum("mbn,bn->mb", difference, solution.solution_map(error))
