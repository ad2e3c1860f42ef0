"""Daily use: the model or strategy of a recorded run, today's prices and holdings in; orders out, with their reasons.

The forecast, the policy and the orders come from the code that made the run: the window that a backtest of today would
be trained on, the rows that it would be fitted on, the same decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.analysis.compare_strategies import forecast_schedule
from backtest.analysis.trade_reasons import TradeReasons, trade_reasons
from backtest.configuration import RunSettings, build_solver, load_panel, plan_comparison, read_settings
from backtest.errors import DataError, SettingsError
from backtest.market import MarketPanel
from backtest.market.small_tables import read_small_table
from backtest.simulation import DayOrders, Execution, SolverPolicy, orders_of_day
from backtest.solver import PositionSolver
from backtest.strategy import checked_forecast, load_strategy

__all__ = ["Day", "day_of_run", "read_holdings"]

_HOLDINGS = {"symbol": ("symbol", "ticker", "asset"), "shares": ("shares", "quantity", "position")}


@dataclass(frozen=True, eq=False)
class Day:
    """Orders of one day, and how they came about.

    Attributes:
        orders: what to trade.
        reasons: why each trade is no larger.
        untraded: the same for names with a forecast, or held, that are not traded; the largest forecasts first.
        source: what forecasts, in words.
        forecast_date: at whose close the forecast was made.
        solver: what decided.
    """

    orders: DayOrders
    reasons: TradeReasons
    untraded: TradeReasons
    source: str
    forecast_date: pd.Timestamp
    solver: PositionSolver


def day_of_run(
    run: str | Path,
    *,
    holdings: pd.Series,
    wealth: float,
    prices: str | Path | None = None,
    objective: str | None = None,
    book: int = 0,
    whole_shares: bool = True,
    panel: MarketPanel | None = None,
) -> Day:
    """Return the orders that a run places at the last close of its prices.

    The forecast is the one made `lag` periods before, as in the backtest. A model is trained on the window in which a
    backtest tests that period; a strategy is fitted where the backtest would have fitted it last.

    Args:
        run: folder of a run of `backtest compare` or `backtest run`, its config.json, or a TOML file of settings, whose
            windows or first forecast are then laid out on these prices.
        holdings: shares by symbol; a name that is left out is not held.
        wealth: positions and cash, in currency.
        prices: file of prices up to today; None takes the run's own.
        objective: which model of a comparison, or which strategy, by its file's stem or class; None takes aligned, or
            the only one.
        book: which seed, or ensemble, by number.
        whole_shares: round to whole shares that keep every limit.
        panel: the prices themselves, instead of a file, at the run's frequency and with its features.

    Raises:
        SettingsError: the run cannot be read, has no such objective or book, or a file of its own has changed since.
        LabelError, DataError: prices and holdings do not fit.
        SolverError: there is no decision today.
    """
    recorded = read_settings(run)
    recorded.check_files()
    settings = recorded.settings
    if settings.market is not None and panel is None:
        raise SettingsError(f"{run}: a run on a simulated market has no today: give one on prices")
    if prices is not None:
        settings = settings.model_copy(update={"prices": str(prices), "dataset": None})
    market = load_panel(settings) if panel is None else panel
    row = market.n_periods - 1 - settings.lag
    if row < 0:
        raise SettingsError(f"{market.name}: {market.n_periods} periods are too few for a lag of {settings.lag}")
    if settings.strategies:
        forecast, solver, source = _of_strategy(settings, market, row, objective)
    else:
        forecast, solver, source = _of_model(settings, market, row, objective, book)
    orders = orders_of_day(
        market,
        SolverPolicy(solver),
        forecast,
        costs=solver.costs,
        shares=holdings,
        wealth=wealth,
        execution=Execution(whole_shares=whole_shares),
    )
    return Day(
        orders,
        trade_reasons(orders, solver),
        trade_reasons(orders, solver, columns=_untraded(orders)),
        source,
        market.dates[row],
        solver,
    )


def read_holdings(path: str | Path) -> pd.Series:
    """Return what the CSV at `path` says is held: columns symbol and shares; other columns are not read.

    Shares are negative when short, indexed by symbol.

    Raises:
        DataError: a column is missing, or a number of shares is none; names file and line.
    """
    shares: dict[str, float] = {}
    for place, row in read_small_table(path, _HOLDINGS):
        symbol, text = row["symbol"], row["shares"]
        if not symbol or symbol in shares:
            raise DataError(f"{place}: {symbol or 'no symbol'}{' is there twice' if symbol else ''}: one line each")
        try:
            shares[symbol] = float(text)
        except ValueError:
            shares[symbol] = np.nan
        if not np.isfinite(shares[symbol]):
            raise DataError(f"{place}: {symbol}: {text!r} is no number of shares: write it in digits, as -1200")
    return pd.Series(shares, dtype=np.float64)


def _of_model(
    settings: RunSettings, market: MarketPanel, row: int, objective: str | None, book: int
) -> tuple[np.ndarray, PositionSolver, str]:
    names = settings.objectives
    name = objective or ("aligned" if "aligned" in names else names[0])
    if name not in names:
        raise SettingsError(f"the run has no objective {name!r}: choose from {', '.join(names)}")
    if settings.combinatorial is not None:
        raise SettingsError("a run on combinatorial splits trains on what came after: give one that walks forward")
    # What it starts from is trained with it; the others are not needed.
    plan = plan_comparison(settings.model_copy(update={"objectives": (name,)}), market)
    if not 0 <= book < len(plan.books):
        raise SettingsError(f"book is {book}: the run has {len(plan.books)}, numbered from 0")
    protocol = plan.protocol
    window = protocol.window_of(row, first_row=plan.first_row, lag=plan.lag)  # type: ignore[union-attr]
    fit = plan.fit(window)
    solver = replace(plan.solver, holding_periods=fit.holding_periods[name])
    trained = f"{market.dates[window.train[0]]:%Y-%m-%d} to {market.dates[window.train[-1]]:%Y-%m-%d}"
    source = f"{name}, seed {plan.books[book]}, trained on {trained}"
    return fit.forecasts[name][book, -1], solver, source


def _of_strategy(
    settings: RunSettings, market: MarketPanel, row: int, name: str | None
) -> tuple[np.ndarray, PositionSolver, str]:
    files = [Path(file) for file in settings.strategies]
    loaded = {file: load_strategy(file) for file in files if name is None or file.stem == name}
    if not loaded:
        loaded = {file: made for file in files if type(made := load_strategy(file)).__name__ == name}
    if len(loaded) != 1:
        raise SettingsError(
            f"{'no' if not loaded else len(loaded)} strategy of the run is {name!r}: name one of "
            f"{', '.join(file.stem for file in files)}"
        )
    ((file, strategy),) = loaded.items()
    solver = build_solver(settings, market).estimate(market)
    begun = None if settings.start is None else market.until(str(settings.start)).n_periods - 1
    first, every = forecast_schedule(market, solver, first_row=begun, refit_every=settings.refit_every)
    if row < first:
        raise SettingsError(f"the run begins on {market.dates[first]:%Y-%m-%d}: bring prices after it")
    fitted = first + (row - first) // every * every
    strategy.fit(market.until(fitted))
    forecast = checked_forecast(strategy, market.until(row))
    source = f"{type(strategy).__name__} ({file.name}), fitted on {market.dates[fitted]:%Y-%m-%d}"
    return forecast, solver, source


def _untraded(orders: DayOrders, *, most: int = 15) -> np.ndarray:
    """Return the columns that are not traded and either held or forecast, the largest forecasts first."""
    concerns = (orders.bought == 0) & ((orders.shares != 0) | np.isfinite(orders.forecast))
    at = np.flatnonzero(concerns)
    order = np.argsort(-np.abs(np.nan_to_num(orders.forecast[at])), kind="stable")
    return at[order][:most]
