"""A canonical problem as the arrays of the compiled method, kept while only forecasts and holdings change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from backtest.solver.canonical import CanonicalProblem
from backtest.solver.compiled_kinks import ELSEWHERE, HELD, ZERO, tabulate_kinks
from backtest.solver.compiled_response import Arrays, known_curves
from backtest.solver.dual import Dual, multiplier_parts

__all__ = ["PreparedArrays"]


@dataclass(frozen=True, eq=False)
class PreparedArrays:
    """The arrays of B rows.

    Attributes:
        problem: what they are of.
        diagonal: (B | 1, N), above 0.
        arrays: what does not change; the rest is empty. None where a break is no kink: all is made anew by `Dual`.
        kind: (n_factors, n_free, n_leverage, n_turnover).
        kinks: what `tabulate_kinks` takes; None where a break is no kink.
        norms: the breaks of leverage and turnover in that table.
        n_breaks: M, of that table.
    """

    problem: CanonicalProblem
    diagonal: np.ndarray
    arrays: Arrays | None
    kind: tuple[int, int, int, int]
    kinks: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None
    norms: tuple[int, int]
    n_breaks: int

    @staticmethod
    def of(problem: CanonicalProblem) -> PreparedArrays | None:
        """Return the arrays of a problem without forecast; None when the compiled method alone cannot solve it.

        Args:
            problem: its diagonal is above 0 in the rows that are wanted; elsewhere what comes out is no solution.
        """
        if problem.smooth or problem.quadratic or not known_curves(problem.curves):
            return None
        diagonal = _curved(problem.diagonal)
        kinks, norms, n_breaks = _kinks_of(problem)
        n_factors, n_equalities = problem.loadings.shape[-1], problem.equality[1].shape[-1]
        kind = (n_factors, n_factors + n_equalities, problem.leverage.shape[-1], problem.turnover.shape[-1])
        arrays = None if kinks is None else _without_breaks(problem, diagonal, n_breaks)
        return PreparedArrays(problem, diagonal.numpy(), arrays, kind, kinks, norms, n_breaks)

    def rows(
        self, forecast: np.ndarray, held: np.ndarray, tradable: np.ndarray
    ) -> tuple[Arrays, tuple[int, int, int, int]]:
        """Return the arrays with a forecast, weights held and a mask, all (B, N); and the kind.

        What is held must be what the problem's `held` has by now.
        """
        lower, upper = self.problem.lower.numpy(), self.problem.upper.numpy()
        if not tradable.all():
            lower, upper = np.where(tradable, lower, held), np.where(tradable, upper, held)
        earned = forecast - self.problem.linear.numpy()
        if self.arrays is None:
            problem = replace(
                self.problem, c=torch.from_numpy(earned), lower=torch.from_numpy(lower), upper=torch.from_numpy(upper)
            )
            return Arrays.of(Dual.of(problem, torch.from_numpy(self.diagonal))), self.kind
        old = self.arrays
        n_rows, n_assets = held.shape
        wide = (n_rows, self.n_breaks, n_assets)
        place, below, above = np.empty(wide), np.empty(wide), np.empty(wide)
        signs = [np.empty(wide) if wanted else old.sign_below for wanted in (self.kind[2], self.kind[2])]
        trades = [np.empty(wide) if wanted else old.trade_below for wanted in (self.kind[3], self.kind[3])]
        scale = np.empty(held.shape)
        tabulate_kinks(self.diagonal, held, self.kinks, self.norms, (place, below, above, *signs, *trades, scale))
        arrays = old._replace(
            c=earned,
            held=held,
            place=place,
            below=below,
            above=above,
            sign_below=signs[0],
            sign_above=signs[1],
            trade_below=trades[0],
            trade_above=trades[1],
            lower=lower,
            upper=upper,
            scale=scale,
            anchor=place,
            level=above,
        )
        return arrays, self.kind


def _curved(diagonal: Tensor) -> Tensor:
    """Return the diagonal, 1 where it is 0: in rows that are not solved so."""
    return torch.where(diagonal > 0, diagonal, 1.0)


def _without_breaks(problem: CanonicalProblem, diagonal: Tensor, n_breaks: int) -> Arrays:
    """Return the arrays of a problem of kinks, empty where they hold what changes from call to call."""
    columns, offset, softness = (np.ascontiguousarray(part.numpy()) for part in multiplier_parts(problem))
    first = np.ascontiguousarray(1 / diagonal.numpy())
    empty, no_breaks, no_curves = np.empty((1, 0)), np.zeros((1, 1, 1)), np.zeros((1, 0, first.shape[1]))
    return Arrays(
        c=empty,
        held=empty,
        columns=columns,
        offset=offset,
        softness=softness,
        place=no_breaks,
        below=no_breaks,
        above=no_breaks,
        # Between kinks the flexibility is the same on every segment.
        flexibility=np.repeat(first[:, None], n_breaks, axis=1),
        sign_below=no_breaks,
        sign_above=no_breaks,
        trade_below=no_breaks,
        trade_above=no_breaks,
        first=first,
        lower=empty,
        upper=empty,
        kinds=np.zeros((1, 0), dtype=np.int64),
        centre=no_curves,
        weight=no_curves,
        extra=no_curves,
        scale=empty,
        anchor=no_breaks,
        level=no_breaks,
    )


def _kinks_of(
    problem: CanonicalProblem,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None, tuple[int, int], int]:
    """Return what `tabulate_kinks` takes, None where a break is no kink; the breaks of the norms; and M."""
    if problem.bends or problem.curves or any(ramp.end is not None for ramp in problem.ramps):
        return None, (-1, -1), 0
    n_assets = problem.held.shape[1]
    at = np.array([_place_of(ramp.start, problem.held) for ramp in problem.ramps], dtype=np.int64)

    def stacked(parts: list[Tensor]) -> np.ndarray:
        if not parts:
            return np.zeros((1, 0, n_assets))
        return np.ascontiguousarray(torch.stack(torch.broadcast_tensors(*parts), dim=1).numpy())

    nowhere = problem.held.new_zeros(1, n_assets)
    starts = [ramp.start if kind == ELSEWHERE else nowhere for ramp, kind in zip(problem.ramps, at, strict=True)]
    kinks = (at, stacked(starts), stacked([r.left for r in problem.ramps]), stacked([r.right for r in problem.ramps]))
    n_breaks, norms = len(at), []
    for kind, limit in ((ZERO, problem.leverage), (HELD, problem.turnover)):
        # The jump of a norm shares the place of a kink that is there already.
        known = np.flatnonzero(at == kind)
        norms.append(int(known[0]) if len(known) else n_breaks)
        if not limit.shape[-1]:
            norms[-1] = -1
        elif not len(known):
            n_breaks += 1
    return kinks, (norms[0], norms[1]), max(n_breaks, 1)


def _place_of(start: Tensor, held: Tensor) -> int:
    if start is held:
        return HELD
    return ELSEWHERE if bool(start.any()) else ZERO
