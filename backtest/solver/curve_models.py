"""Where to start with a user's own curves: at the solution of the problem with parabolas in their place.

Between two of its breaks a curve is replaced by the parabola that has its slopes at both. Most costs that people write
are of that kind and so replaced exactly: fees, taxes, tiers, squares. The model is solved by the compiled method; what
its multipliers are worth, the iterations on the curves themselves find out.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backtest.costs import Bend, Ramp
from backtest.costs.curves import Curve
from backtest.costs.custom_curve import CustomCurve
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.dual import Dual
from backtest.solver.maximise import maximise
from backtest.solver.optimise import weak_assets

__all__ = ["start_from_model"]

OUTSIDE = 1.0
"""Distance, in weight, over which the curvature beyond the outermost breaks is taken."""

LARGEST = 1e6
"""Slopes are cut here: a vertical one has no parabola."""


def start_from_model(problem: CanonicalProblem) -> Tensor | None:
    """Return multipliers (B, R) to start from; 0 in a row whose model has none.

    None where the problem has no curve of a user's, or is not solved by the dual alone. A row's are what they are for
    that row alone.

    Args:
        problem: B rows, without gradients.
    """
    own = [curve for curve in problem.curves if isinstance(curve, CustomCurve)]
    if not own or problem.smooth or problem.quadratic or bool(weak_assets(problem).any()):
        return None
    model = replace(problem, curves=tuple(curve for curve in problem.curves if curve not in own))
    for curve in own:
        model = _with_parabolas(model, curve)
    start = maximise(Dual.of(model, model.diagonal)).z
    return torch.where(torch.isfinite(start).all(-1, keepdim=True), start, 0.0)


def _with_parabolas(problem: CanonicalProblem, curve: Curve) -> CanonicalProblem:
    """Return the problem with parabolas added, one for each stretch between the breaks of `curve`."""
    held = problem.held
    places = [place.expand_as(held) for place in curve.breaks] or [torch.zeros_like(held)]
    finite = [torch.where(torch.isfinite(place), place, 0.0) for place in places]
    place = torch.stack(finite).sort(0).values
    sides = [curve.sides(each) for each in place]
    below, above = (torch.stack([side[number] for side in sides]) for number in (0, 1))
    reach = torch.full_like(held, OUTSIDE)
    steep_below = (below[0] - curve.slope(place[0] - reach)) / reach
    steep_above = (curve.slope(place[-1] + reach) - above[-1]) / reach
    # Of places that coincide the first has the jump.
    first = torch.cat([torch.ones_like(place[:1], dtype=torch.bool), place[1:] > place[:-1]])
    nothing = torch.zeros_like(held)
    ramps = [
        Ramp(place[k], nothing, _slope(torch.where(first[k], above[k] - below[k], 0.0))) for k in range(len(place))
    ]
    for k in range(1, len(place)):
        apart = torch.where(first[k], place[k], place[k - 1] + OUTSIDE)
        climb = torch.where(first[k], below[k] - above[k - 1], 0.0)
        ramps.append(Ramp(place[k - 1], nothing, _slope(climb), apart))
    bends = (Bend(place[0], _slope(steep_below), nothing), Bend(place[-1], nothing, _slope(steep_above)))
    lowest = below[0].nan_to_num(nan=0.0, posinf=LARGEST, neginf=-LARGEST)
    return replace(problem, c=problem.c - lowest, ramps=(*problem.ramps, *ramps), bends=(*problem.bends, *bends))


def _slope(rise: Tensor) -> Tensor:
    return rise.nan_to_num(nan=0.0, posinf=LARGEST).clamp(0.0, LARGEST)
