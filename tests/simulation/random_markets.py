"""Random markets with everything that can happen to a share, and random orders for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from backtest.costs import (
    BorrowFee,
    CashFloor,
    Cost,
    DollarNeutral,
    HoldingFee,
    LeverageLimit,
    LongFee,
    PositionLimit,
    Ridge,
    TradingCost,
)
from backtest.errors import CostError
from backtest.market import Delisting, MarketPanel, SpinOff
from backtest.simulation import Decision, Execution, Financing, MissingPrices, Policy, SolverPolicy
from backtest.solver import PositionSolver

__all__ = ["FAILS", "Given", "Rates", "Run", "made_run", "random_panel", "rerun", "runs"]

FAILS = 9.0
"""A forecast of at least this much makes `Given` fail for that book."""


class Given(Policy):
    """Holds the forecast where there is one; a forecast from `FAILS` on is a book for which it has no decision."""

    def decide(self, p, held, market, tradable):
        failing = np.flatnonzero((np.nan_to_num(p) >= FAILS).any(axis=1)).tolist()
        q = np.where(np.isnan(p), held, p)
        q[failing] = np.nan
        return Decision(q, dict.fromkeys(failing, "told to"))


@dataclass(frozen=True)
class Rates:
    """Every number that a cash cost knows; each is 0 where the cost is not there."""

    half_spread: float = 0.0
    buy_fee: float = 0.0
    sell_fee: float = 0.0
    quadratic: float = 0.0
    impact: float = 0.0
    exponent: float = 1.5
    borrow: float = 0.0
    long: float = 0.0
    holding: float = 0.0
    day_count: str | None = None
    lookback: int = 4

    def cost(self, panel: MarketPanel) -> Cost:
        """Return the library's cost of these rates, estimated on the panel."""
        trading = TradingCost(
            half_spread=self.half_spread,
            buy_fee=self.buy_fee,
            sell_fee=self.sell_fee,
            quadratic=self.quadratic,
            impact=self.impact,
            exponent=self.exponent,
            lookback=self.lookback,
        )
        fees = BorrowFee(self.borrow, day_count=self.day_count) + LongFee(self.long, day_count=self.day_count)
        # Two costs of one class, one of them scaled.
        costs = trading + fees + HoldingFee(self.holding / 2) + 0.5 * HoldingFee(self.holding)
        return costs.estimate(panel)


@dataclass(frozen=True, repr=False)
class Run:
    """All that a run is given. It shows as the choices that made it, see `rerun`."""

    panel: MarketPanel
    forecasts: np.ndarray
    wealth: np.ndarray
    weights: np.ndarray
    rates: Rates
    options: dict[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Given)
    choices: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"rerun({list(self.choices)!r}, n_books={len(self.wealth)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would write out every array.
        printer.text(repr(self))

    def book(self, number: int) -> Run:
        """Return the run of one of the books alone."""
        one = slice(number, number + 1)
        return replace(self, forecasts=self.forecasts[one], wealth=self.wealth[one], weights=self.weights[one])


def random_panel(
    rng: np.random.Generator,
    *,
    n_rows: int = 12,
    n_assets: int = 4,
    gaps: float = 0.0,
    actions: float = 0.0,
    delistings: int = 0,
    spin_offs: int = 0,
    members: bool = False,
    move: float = 0.05,
    business_days: bool = True,
    priced: bool = True,
) -> MarketPanel:
    """Return a market.

    Args:
        rng: of everything.
        n_rows, n_assets: T and N.
        gaps: part of all prices, opens, averages, volumes and volatilities that are missing.
        actions: part of all cells with a dividend, and with a split.
        delistings: names that leave on some row, at most; two of them on one row now and then.
        spin_offs: at most.
        members: some names are out of the universe now and then.
        move: standard deviation of a period's log return.
        business_days: weekends have no row.
        priced: False gives a panel of returns alone.
    """
    shape = (n_rows, n_assets)
    index = pd.date_range("2020-01-01", periods=n_rows, freq="B" if business_days else "D")
    labels = [f"N{i}" for i in range(n_assets)]

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=index, columns=labels)

    def holes(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(shape) < gaps, np.nan, values)

    leaving = rng.choice(n_assets, size=min(delistings, n_assets), replace=False).tolist()
    ends = np.full(n_assets, n_rows)
    ends[leaving] = rng.integers(1, n_rows, len(leaving))
    if len(leaving) > 1 and rng.random() < 0.3:
        ends[leaving[1]] = ends[leaving[0]]
    # Without prices a return of -1 hides what the last mark was.
    returns_at_end = [-1.0, -0.3, 0.0, 0.25] if priced else [-0.9, -0.3, 0.0, 0.25]
    over = np.arange(n_rows)[:, None] > ends
    gone = [Delisting(labels[i], index[ends[i]], float(rng.choice(returns_at_end)), "told to") for i in leaving]
    common = {
        "dollar_volume": table(holes(np.exp(rng.normal(6.0, 2.0, shape)) * (rng.random(shape) > 0.1))),
        "members": table(rng.random(shape) < 0.85) if members else None,
        "cash_rate": rng.uniform(-1e-4, 5e-4, n_rows),
        "periods_per_year": 252,
    }
    moves = rng.normal(0.0, move, shape)
    if not priced:
        returns = holes(np.expm1(moves))
        returns[over] = np.nan
        return MarketPanel.from_returns(table(returns), delistings=gone, **common)
    splits = np.where(rng.random(shape) < actions, rng.choice([2.0, 3.0, 0.1, 1.5, 0.5], shape), 1.0)
    whole = np.exp(rng.normal(3.0, 1.0, n_assets) + np.cumsum(moves, axis=0)) / np.cumprod(splits, axis=0)
    prices = np.where(over, np.nan, holes(whole))
    opens, averages = (np.where(over, np.nan, holes(whole * np.exp(rng.normal(0.0, move, shape)))) for _ in range(2))
    dividends = np.where((rng.random(shape) < actions) & ~over, whole * rng.exponential(0.02, shape), 0.0)
    born: dict[tuple[int, int, int], SpinOff] = {}
    for _ in range(spin_offs):
        parent, child = rng.choice(n_assets, size=2, replace=False).tolist() if n_assets > 1 else (0, 0)
        row = int(rng.integers(1, n_rows))
        # A child has a price by then, and one to be marked at before it trades.
        if parent == child or row > min(ends[parent], ends[child]) or not np.isfinite(prices[:row, child]).any():
            continue
        born[row, parent, child] = SpinOff(labels[parent], labels[child], float(rng.uniform(0.05, 0.5)), index[row])
    return MarketPanel.from_prices(
        table(prices),
        open_prices=table(opens),
        vwap=table(averages),
        dividends=table(dividends),
        splits=table(splits),
        volatility=table(holes(np.exp(rng.normal(-4.0, 1.0, shape)) * (rng.random(shape) > 0.1))),
        delistings=gone,
        spin_offs=born.values(),
        **common,
    )


def made_run(
    choose: Callable[[Sequence[Any]], Any],
    *,
    n_books: int = 1,
    fills: Sequence[str] = ("close", "open", "vwap"),
    ends: bool = True,
    solver: bool = False,
    whole: bool = False,
) -> Run:
    """Return a run of `n_books` books: the market, forecasts with gaps and failures, and every setting.

    Args:
        choose: picks one of some things, simple ones first.
        n_books: B.
        fills: to choose from. At the close a panel of returns alone is one of the choices.
        ends: names can be delisted.
        solver: the policy can be that of a solver, whose limits clash where what cannot be traded breaks them.
        whole: orders can be in whole shares.
    """
    no_or_yes = (False, True)
    fill = choose(fills)
    priced = choose((True, False)) if fill == "close" else True
    rng = np.random.default_rng(choose(range(100_000)))
    n_rows, n_assets = choose(range(6, 17)), choose(range(1, 6))
    panel = random_panel(
        rng,
        n_rows=n_rows,
        n_assets=n_assets,
        gaps=choose((0.0, 0.1, 0.4)),
        actions=choose((0.0, 0.2)),
        delistings=choose(range(4)) if ends else 0,
        spin_offs=choose(range(5)),
        members=choose(no_or_yes),
        move=choose((0.05, 0.001, 0.3)),
        business_days=choose(no_or_yes),
        priced=priced,
    )
    forecasts = rng.normal(0.0, choose((0.1, 0.5)), (n_books, n_rows, n_assets))
    if choose(no_or_yes):
        forecasts = np.abs(forecasts)
    forecasts[rng.random(forecasts.shape) < choose((0.0, 0.3))] = np.nan
    forecasts[rng.random((n_books, n_rows)) < choose((0.0, 0.2)), 0] = FAILS
    day_count = choose((None, "actual/365", "actual/360"))
    rates = Rates(
        half_spread=choose((0.0, 0.001)),
        buy_fee=choose((0.0, 0.002)),
        sell_fee=choose((0.0, 0.003)),
        quadratic=choose((0.0, 0.01)),
        impact=choose((0.0, 1.0)),
        exponent=choose((1.5, 1.2, 2.0)),
        borrow=choose((0.0, 0.1)),
        long=choose((0.0, 0.02)),
        holding=choose((0.0, 0.0005)),
        day_count=day_count,
    )
    execution = Execution(
        fill=fill,
        max_participation=choose((None, 0.05, 1.0)),
        borrow_cash=choose((True, False)),
        whole_shares=priced and whole and choose(no_or_yes),
    )
    financing = Financing(
        credit_spread=choose((0.0, 0.01)),
        debit_spread=choose((0.0, 0.05)),
        proceeds_spread=choose((0.0, 0.02)),
        day_count=day_count,
    )
    after, lost = choose(((None, 0.0), (1, -0.3), (3, -1.0), (2, 0.1))) if ends else (None, 0.0)
    lag = choose(range(0 if fill == "close" else 1, 4))
    first = lag if fill == "close" else lag - 1
    estimated = _first_estimate(panel, rates)
    if estimated > n_rows - 2:
        rates = replace(rates, impact=0.0)
    elif rates.impact:
        first = max(first, estimated)
    weights = np.zeros((n_books, n_assets))
    if choose(no_or_yes):
        weights = rng.normal(0.0, 0.3, weights.shape)
        weights[:, ~panel.tradable[first]] = 0.0
    wealth = rng.choice([1.0, 1e3, 1e6], n_books) if choose(no_or_yes) else np.full(n_books, 1000.0)
    missing = None if after is None else MissingPrices(after=after, delisting_return=lost)
    options = {"lag": lag, "first_row": first, "last_row": n_rows - 1}
    options |= {"execution": execution, "financing": financing, "missing": missing}
    policy = _solver_policy(rates.cost(panel), choose) if solver and choose(no_or_yes) else Given()
    return Run(panel, forecasts, wealth, weights, rates, options, policy)


def _solver_policy(costs: Cost, choose: Callable[[Sequence[Any]], Any]) -> SolverPolicy:
    limits = choose(((), (DollarNeutral(), PositionLimit(0.2)), (LeverageLimit(0.3), CashFloor(0.9))))
    return SolverPolicy(PositionSolver(Ridge(1.0) + costs, limits))


@st.composite
def runs(draw: st.DrawFn, **limits: Any) -> Run:
    """Draw what `made_run` returns; arguments as there."""
    choices: list[Any] = []

    def choose(some: Sequence[Any]) -> Any:
        choices.append(draw(st.sampled_from(some)))
        return choices[-1]

    return replace(made_run(choose, **limits), choices=tuple(choices))


def rerun(choices: Sequence[Any], **limits: Any) -> Run:
    """Return the run that showed as these choices; with the `limits` it was drawn with."""
    left = iter(choices)
    return made_run(lambda _: next(left), **limits)


def _first_estimate(panel: MarketPanel, rates: Rates) -> int:
    """Return the first row at which impact can be estimated; T where there is none."""
    try:
        return rates.cost(panel).first_row
    except CostError:
        return panel.n_periods
