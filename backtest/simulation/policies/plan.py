"""A plan of H trades: the optimisation problem of one book at one decision.

With `x_0` what is held and `d` the discount, over the weights `x_1 ... x_H` after each trade,

    minimise  sum_s d^s (C(x_s) - p_s'x_s) + d^(s-1) K(x_s - x_(s-1))
    subject to  the limits on weights for each x_s, the limits on trades for each x_s - x_(s-1),
                x_s = x_0 for names that cannot be traded,  x_H = goal where there is one.

What a period earns and costs comes one period after the trade at its start, and so counts once more discounted. Drift
is left out: weights stay between trades as they are. Costs and limits are those known at the decision, in every step.

Source: Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", section 5; the discount is that of Garleanu
& Pedersen (2013), equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backtest.costs import Power
from backtest.solver.canonical import CanonicalProblem
from backtest.solver.conic_program import first_row

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a plan is made from.

    Attributes:
        position: one row, assets held 0: `C` and the limits on weights, as a problem in x.
        trade: one row, assets held 0: `K` and the limits on trades, as a problem in x - x_prev.
        forecasts: (H, N), `p_s`, return of each asset in the period after trade s.
        held: (N,) weights before the first trade.
        stuck: (N,) bool, names that keep their weight throughout.
        goal: (N,) weights at the end; None leaves them free.
        discount: `d`.
    """

    position: CanonicalProblem
    trade: CanonicalProblem
    forecasts: np.ndarray
    held: np.ndarray
    stuck: np.ndarray
    goal: np.ndarray | None
    discount: float

    @property
    def shape(self) -> tuple[int, int]:
        """(H, N)."""
        horizon, n_assets = self.forecasts.shape
        return horizon, n_assets

    @property
    def end(self) -> np.ndarray | None:
        """(N,) weights at the end, those of stuck names at what is held; None where the end is free."""
        return None if self.goal is None else np.where(self.stuck, self.held, self.goal)

    @cached_property
    def price(self) -> float:
        """What a unit of weight earns or costs: the unit of returns in the program."""
        rates = [self.forecasts]
        for problem in (self.position, self.trade):
            rates.append(first_row(problem.c))
            for ramp in problem.ramps:
                rates += [first_row(ramp.left), first_row(ramp.right)]
        price = max(float(np.abs(rate).max()) for rate in rates)
        return price if price > 0 else 1.0

    @cached_property
    def size(self) -> float:
        """A typical weight, that of the optimum without limits or of the limits: the unit of weights in the program."""
        n = self.shape[1]
        curvature = first_row(self.position.diagonal, n) + (first_row(self.position.loadings) ** 2).sum(axis=1)
        typical = np.median(curvature)
        free = self.price / typical if typical > 0 else np.inf
        for curve in self.trade.curves:
            rate = curve.exponent * np.median(first_row(curve.weight, n)) if isinstance(curve, Power) else 0.0
            if isinstance(curve, Power) and rate > 0:
                free = min(free, (self.price / rate) ** (1 / (curve.exponent - 1)))
        sizes = [self.held, *([] if self.goal is None else [self.goal])]
        for part in (self.position.lower, self.position.upper, self.position.leverage):
            bound = first_row(part)
            sizes.append(bound[np.isfinite(bound)])
        reach = max(float(np.abs(part).max(initial=0.0)) for part in sizes)
        size = min(free, reach) if reach > 0 else free
        return float(size) if 0 < size < np.inf else 1.0
