"""Checks that users run on their own strategies, costs and features before trusting a backtest of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.costs import Cost, Ridge
from backtest.costs.checking import CheckedCost, Kink
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.costs.cvxpy_cost import CvxpyCost, market_rows
from backtest.errors import CostError, SettingsError, StrategyError
from backtest.market import MarketPanel, MarketSnapshot
from backtest.market.features.checking import check_feature
from backtest.solver import PositionSolver
from backtest.strategy import Strategy, checked_forecast

__all__ = ["CostReport", "check_cost", "check_feature", "check_strategy"]

BY_ROW = ("rows", "dates", "dollar_volume", "features", "wealth")
"""Fields of a market snapshot with one entry for each of its rows."""

SAME_VALUE = 1e-9
"""Largest difference, relative, between a cost and its own terms or CVXPY expression."""

SIZE = 0.1
"""Weight around which a cost is compared with its CVXPY expression."""

TOLERANCES = (1e-13, 1e-11, 1e-9)
"""Of Clarabel, in the order they are tried."""

SAME_POSITION = 1e-5
"""Largest difference between positions with a cost and with its CVXPY expression, relative to the largest of them."""


def check_strategy(
    strategy_factory: Callable[[], Strategy], panel: MarketPanel, *, rows: Sequence[int] | None = None
) -> None:
    """Check that a strategy keeps its contract on `panel`; say in plain words what it breaks.

    At each of `rows` in turn the strategy is fitted and asked for a forecast, from the history up to there.
    Checked are: one finite or NaN number an asset; a view of at least one name at the last of `rows`; the
    same bits from a second, fresh strategy; history left untouched; and no look-ahead: after everything
    behind a row is replaced by noise, all forecasts up to that row keep their bits. What a strategy reads
    from elsewhere than `history` cannot be garbled here.

    Args:
        strategy_factory: makes a fresh strategy, as `Momentum` or `lambda: Momentum(skip_months=0)`.
        panel: a market with features, if the strategy needs them.
        rows: increasing row numbers, none of them the panel's last; None takes one half, three quarters, and
            all but the last row of the panel.

    Raises:
        StrategyError: the strategy breaks its contract.
        SettingsError: `rows` are out of range or order.
    """
    last = panel.n_periods - 1
    checked = np.unique([last // 2, 3 * last // 4, last - 1]) if rows is None else np.asarray(rows, dtype=int)
    if not len(checked) or checked[0] < 0 or checked[-1] >= last or (np.diff(checked) <= 0).any():
        raise SettingsError(f"rows {checked.tolist()} must increase, within 0..{last - 1}")
    name = type(_made(strategy_factory)).__name__
    shown = replace(panel)  # a copy, so that what a strategy may spoil is not the caller's
    first = _walk(strategy_factory, shown, checked)
    if shown.data_hash != panel.data_hash:
        raise StrategyError(f"{name} changes the history it is given: work on a copy")
    if np.isnan(first[-1]).all():
        raise StrategyError(
            f"{name} has no view on any name on {panel.dates[checked[-1]]:%Y-%m-%d}: every forecast is NaN. "
            "Check on a longer panel, or return numbers"
        )
    _compare(
        first,
        _walk(strategy_factory, panel, checked),
        checked,
        panel,
        what=f"{name} is not deterministic",
        when="the same run was repeated",
        cure="draw random numbers from a generator seeded in fit",
    )
    for count, cut in enumerate(checked, start=1):
        garbled = _walk(strategy_factory, panel.garbled_after(int(cut)), checked[:count])
        _compare(
            first[:count],
            garbled,
            checked[:count],
            panel,
            what=f"{name} looks ahead",
            when=f"everything after {panel.dates[cut]:%Y-%m-%d} was replaced by noise",
            cure="use nothing that is not in history",
        )


def _made(strategy_factory: Callable[[], Strategy]) -> Strategy:
    strategy = strategy_factory()
    if not isinstance(strategy, Strategy):
        raise StrategyError(f"the factory made {strategy!r}, which is no Strategy: pass its class or a maker of one")
    return strategy


def _walk(strategy_factory: Callable[[], Strategy], panel: MarketPanel, rows: np.ndarray) -> np.ndarray:
    """Return the forecasts (R, N) of one fresh strategy, refitted at each of `rows`."""
    strategy = _made(strategy_factory)
    forecasts = np.empty((len(rows), panel.n_assets))
    for number, row in enumerate(rows):
        history = panel.until(int(row))
        strategy.fit(history)
        forecasts[number] = checked_forecast(strategy, history)
    return forecasts


def _compare(
    first: np.ndarray,
    second: np.ndarray,
    rows: np.ndarray,
    panel: MarketPanel,
    *,
    what: str,
    when: str,
    cure: str,
) -> None:
    different = np.argwhere((first != second) & ~(np.isnan(first) & np.isnan(second)))
    if len(different):
        number, column = different[0]
        raise StrategyError(
            f"{what}: its forecast for {panel.assets[column]} on {panel.dates[rows[number]]:%Y-%m-%d} was "
            f"{first[number, column]!r}, and {second[number, column]!r} when {when}: {cure}"
        )


@dataclass(frozen=True)
class CostReport:
    """What `check_cost` found of a cost that keeps its contract; `print` it for plain words.

    Attributes:
        name: class of the cost.
        shape: (B, N) it was checked on.
        separable: whether each asset's cost depends on its own weight alone.
        lowest: lowest cost of an asset (separable) or row met.
        kinks: where the slope jumps or is vertical; None for a CVXPY expression, whose kinks are not looked for.
        findings: what is allowed, but may not be meant.
        value_gap: largest relative difference from the CVXPY expression; None without one.
        position_gap: the same of positions, solved with either.
    """

    name: str
    shape: tuple[int, int]
    separable: bool
    lowest: float
    kinks: tuple[Kink, ...] | None
    findings: tuple[str, ...]
    value_gap: float | None
    position_gap: float | None

    def __str__(self) -> str:
        lines = [
            f"{self.name} keeps its contract on {self.shape[0]} rows of {self.shape[1]} assets:",
            "  convex, finite and of the right shape; rows do not depend on each other",
            "  each asset's cost depends on its own weight alone"
            if self.separable
            else "  the weights of a row count together",
            f"  lowest cost met: {self.lowest:.6g}",
            *(f"  kink at {kink}" for kink in self.kinks or ()),
            *(["  no kinks"] if self.kinks == () else []),
            "  nothing in CVXPY to compare with"
            if self.value_gap is None
            else f"  agrees with its CVXPY expression: values to {self.value_gap:.1g}, positions to "
            f"{self.position_gap:.1g}",
            *(f"  note: {finding}" for finding in self.findings),
        ]
        return "\n".join(lines)


def check_cost(
    cost: Cost, *, n_assets: int = 8, market: MarketSnapshot | None = None, held: Any = None, seed: int = 0
) -> CostReport:
    """Check that a cost keeps its contract; say in plain words what it breaks.

    The cost is tried at random weights, and along lines through them at scales from a millionth to eight times wealth:
    what it does elsewhere is not seen. Checked are: shape, finite numbers, the same answer twice, inputs left alone;
    rows, and assets of a SeparableCost, that do not depend on each other; derivatives against differences; `value`
    against `terms`; a cash cost that is never negative; convexity; whether it depends on `held` as it says; kinks; and
    where there is an `expression`, that it is convex for CVXPY and gives the same costs and the same positions.

    Args:
        cost: any cost, a user's own above all.
        n_assets: N, where neither `market` nor `held` says it.
        market: `panel.at(rows)`, for costs that need the market.
        held: (N,) or (B, N) weights before trading; None draws them.
        seed: of the random weights.

    Raises:
        CostError: the cost breaks its contract; if it is not convex, with the two points that prove it.
    """
    if not isinstance(cost, Cost):
        raise CostError(f"{cost!r} is no Cost: pass an object of a class derived from SeparableCost or SmoothCost")
    checked = CheckedCost(cost, _held(held, market, n_assets=n_assets, seed=seed), market, seed)
    with torch.no_grad():
        checked.check_calls()
        checked.check_rows_and_assets()
        checked.check_derivatives()
        if isinstance(cost, CvxpyCost):
            # Convex by the rules of CVXPY, or its value would have been refused.
            lowest = float(checked.value(checked.q).sum(-1).min())
            return CostReport(checked.name, checked.shape, False, lowest, None, (), None, None)
        lowest, kinks, findings = checked.scan()
        checked.check_curvature()
        findings += checked.check_held()
        _check_terms(checked)
        gaps = _check_expression(checked)
    return CostReport(checked.name, checked.shape, checked.apart, lowest, kinks, tuple(findings), *gaps)


def _held(held: Any, market: MarketSnapshot | None, *, n_assets: int, seed: int) -> Tensor:
    """Return weights held (B, N): the user's, or random ones, 0 in the first asset."""
    n_rows = _n_rows(market)
    if held is not None:
        given = torch.as_tensor(np.array(held, dtype=float))
        return given.expand(n_rows, -1).clone() if given.ndim == 1 else given
    if market is not None and market.assets is not None:
        n_assets = len(market.assets)
    drawn = torch.as_tensor(np.random.default_rng(seed).normal(size=(n_rows, n_assets)) * 0.1)
    drawn[:, 0] = 0.0
    return drawn


def _n_rows(market: MarketSnapshot | None) -> int:
    return max((len(part) for name in BY_ROW if (part := getattr(market, name, None)) is not None), default=3)


def _check_terms(checked: CheckedCost) -> None:
    """Check that what the solver minimises is the cost's value."""
    for size in (0.01, 0.2, 2.0):
        q = checked.q * (size / 0.2)
        problem = PositionSolver(checked.cost).problem(torch.zeros_like(q), checked.held, market=checked.market)
        value = checked.value(q).expand(q.shape)
        gap = (problem.cost(q) - value.sum(-1)).abs()
        if bool((gap > SAME_VALUE * value.abs().sum(-1).max()).any()):
            row = int(gap.argmax())
            raise CostError(
                f"{checked.name}: its terms cost {float(problem.cost(q)[row])!r} in row {row}, its value "
                f"{float(value[row].sum())!r}: the solver would minimise another cost than is charged"
            )


def _check_expression(checked: CheckedCost) -> tuple[float | None, float | None]:
    """Compare row 0 with the cost's CVXPY expression; return the gaps between values and between positions."""
    cost = checked.cost
    if not isinstance(cost, SeparableCost | SmoothCost):
        return None, None
    import cvxpy as cp

    held = checked.held[0].numpy()
    u = cp.Variable(len(held))
    expression = cost.expression(SIZE * u, held.copy(), market_rows(checked.market, np.array([0])))
    if expression is None:
        return None, None
    if not expression.is_scalar() or not expression.is_convex():
        raise CostError(
            f"{checked.name}.expression has shape {expression.shape} and curvature {expression.curvature}: return one "
            "convex number, the sum over assets, by the rules of CVXPY (https://www.cvxpy.org/tutorial/dcp)"
        )
    value_gap = 0.0
    for q in (checked.held, torch.zeros_like(checked.q), 0.01 * checked.q, checked.q, 10 * checked.q):
        u.value = q[0].numpy() / SIZE
        theirs, ours = float(expression.value), checked.value(q)[0]
        gap = abs(theirs - float(ours.sum())) / max(float(checked.value(checked.q)[0].abs().sum()), 1e-300)
        value_gap = max(value_gap, gap)
        if not gap <= SAME_VALUE:
            raise CostError(
                f"{checked.name}: its CVXPY expression costs {theirs!r} where its value is {float(ours.sum())!r}, at "
                f"weights {q[0].tolist()} after {held.tolist()}"
            )
    return value_gap, _position_gap(checked, u, expression)


def _position_gap(checked: CheckedCost, u: Any, expression: Any) -> float:
    """Return the largest relative gap in row 0 between positions by the solver and by CVXPY with the expression."""
    import cvxpy as cp

    price = checked.slope_size(SIZE)
    ridge = price / SIZE
    p = 3 * price * checked.q / checked.q.abs().max()
    objective = expression / price + cp.sum_squares(u) * (SIZE / 2) - (SIZE / price) * p[0].numpy() @ u
    program = cp.Problem(cp.Minimize(objective))
    for tolerance in TOLERANCES:
        with warnings.catch_warnings():
            # CVXPY warns of an inaccurate solution; here it is tried again.
            warnings.simplefilter("ignore", UserWarning)
            limits = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas", "tol_ktratio"), tolerance)
            program.solve(solver=cp.CLARABEL, **limits, static_regularization_constant=1e-12)
        if program.status == "optimal":
            break
    else:
        raise CostError(f"{checked.name}: CVXPY calls a problem with its expression and a ridge {program.status}")
    solver = PositionSolver(Ridge(ridge) + checked.cost)
    ours = solver.solve(p, checked.held, market=checked.market).q[0].numpy()
    theirs = SIZE * u.value
    gap = np.abs(ours - theirs).max() / max(np.abs(ours).max(), np.abs(theirs).max(), 1e-300)
    if not gap <= SAME_POSITION:
        asset = int(np.abs(ours - theirs).argmax())
        raise CostError(
            f"{checked.name}: with its CVXPY expression the position in asset {asset} is {theirs[asset]!r}, with its "
            f"value {ours[asset]!r}"
        )
    return float(gap)
