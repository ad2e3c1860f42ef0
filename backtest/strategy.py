"""The Strategy protocol, and the one loop that turns a strategy into forecasts without look-ahead.

A strategy sees the market through `history`, a panel cut at today: the future is not in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from backtest.errors import SettingsError, StrategyError
from backtest.market import MarketPanel
from backtest.python_files import classes_of, load_python_file, needed_arguments

__all__ = ["Strategy", "forecast", "grinold_forecast", "load_strategy", "trailing_volatility"]

WIDEST_SCORE = 3.0
"""Scores are cut here, in cross-sectional standard deviations: one outlier must not own the book."""


class Strategy(ABC):
    """Forecasts returns. Keeps what it learns on itself; its constructor arguments have defaults."""

    @abstractmethod
    def fit(self, history: MarketPanel) -> None:
        """Learn from `history`, rows 0..t; replaces what was learned before."""

    @abstractmethod
    def predict(self, history: MarketPanel) -> np.ndarray:
        """Return (N,) expected total return of the period after the fill, seen from the end of `history`.

        NaN is "no view": the name is not traded, and keeps what is held of it.
        """


def forecast(
    strategy: Strategy,
    panel: MarketPanel,
    *,
    first_row: int,
    refit_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Run a strategy through time; row t is made with `panel.until(t)` alone.

    Args:
        strategy: is fitted at `first_row`, so that its state changes.
        panel: the market.
        first_row: first row with a forecast; rows before it are the first fit's history.
        refit_every: rows between two fits; None fits once, at `first_row`.
        progress: called with (rows done, rows in all).

    Returns:
        (T, N) forecasts for `simulate`, NaN before `first_row`.

    Raises:
        StrategyError: a forecast has the wrong shape, is no number, or is infinite.
        SettingsError: `first_row` or `refit_every` is out of range.
    """
    if not 0 <= first_row < panel.n_periods:
        raise SettingsError(f"first_row is {first_row}: {panel.name} has rows 0..{panel.n_periods - 1}")
    if refit_every is not None and refit_every < 1:
        raise SettingsError(f"refit_every is {refit_every}: give a number of rows of at least 1, or None")
    forecasts = np.full((panel.n_periods, panel.n_assets), np.nan)
    total = panel.n_periods - first_row
    for done, row in enumerate(range(first_row, panel.n_periods)):
        history = panel.until(row)
        if done == 0 or (refit_every is not None and done % refit_every == 0):
            strategy.fit(history)
        forecasts[row] = checked_forecast(strategy, history)
        if progress is not None:
            progress(done + 1, total)
    return forecasts


def checked_forecast(strategy: Strategy, history: MarketPanel) -> np.ndarray:
    """Return the strategy's forecast at the last row of `history`, (N,) float64, or raise `StrategyError`."""
    name, date = type(strategy).__name__, f"{history.dates[-1]:%Y-%m-%d}"
    given = strategy.predict(history)
    try:
        values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StrategyError(f"{name}: {date}: predict returned {given!r}, not numbers: {error}") from error
    if values.shape != (history.n_assets,):
        raise StrategyError(f"{name}: {date}: predict returned shape {values.shape}, expected ({history.n_assets},)")
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise StrategyError(
            f"{name}: {date}: the forecast for {history.assets[infinite[0]]} is {values[infinite[0]]}: "
            "return a finite number, or NaN for no view"
        )
    return values


def grinold_forecast(signal: np.ndarray, volatility: np.ndarray, *, ic: float, horizon: int) -> np.ndarray:
    """Turn a signal of any unit into returns per period: `ic * volatility * score`, spread over its horizon.

    The score is the signal less its cross-sectional mean, over its cross-sectional standard deviation, cut at
    3.

    Args:
        signal: (N,) higher is better; NaN is no view.
        volatility: (N,) standard deviation of returns per period; NaN is no view.
        ic: correlation to expect between score and return over `horizon` periods, an opinion fixed
            beforehand.
        horizon: periods over which the signal is expected to pay.

    Returns:
        (N,) expected return per period, relative to the cross-section's mean; NaN where there is no view.

    Source: Grinold (1994), "Alpha Is Volatility Times IC Times Score".
    """
    known = np.isfinite(signal) & np.isfinite(volatility)
    view = np.full(len(signal), np.nan)
    if known.sum() < 2:  # a score compares names
        return view
    centred = signal[known] - signal[known].mean()
    spread = centred.std()
    score = np.clip(centred / spread, -WIDEST_SCORE, WIDEST_SCORE) if spread > 0 else np.zeros_like(centred)
    view[known] = ic * volatility[known] * score / np.sqrt(horizon)  # sigma sqrt(h) over h periods
    return view


def trailing_volatility(returns: np.ndarray, *, min_share: float = 0.8) -> np.ndarray:
    """Return (N,) standard deviations of `returns` (W, N); NaN where fewer than `min_share` are known."""
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    enough = count >= max(2.0, min_share * len(returns))
    mean = np.where(known, returns, 0.0).sum(axis=0) / np.maximum(count, 1)
    deviation = np.where(known, returns - mean, 0.0)
    return np.where(enough, np.sqrt((deviation**2).sum(axis=0) / np.maximum(count - 1, 1)), np.nan)


def load_strategy(path: str | Path) -> Strategy:
    """Return the strategy in the Python file at `path`: an instance of the one `Strategy` class that the file defines.

    Raises:
        SettingsError: there is no such file, or it cannot be run.
        StrategyError: it does not define exactly one strategy that takes no arguments.
    """
    found = classes_of(load_python_file(path), Strategy)
    if len(found) != 1:
        names = [strategy.__name__ for strategy in found]
        raise StrategyError(f"{path}: expected one class that extends backtest.Strategy, found {names or 'none'}")
    needed = needed_arguments(found[0])
    if needed:
        raise StrategyError(f"{path}: {found[0].__name__} needs {', '.join(needed)}: give its arguments defaults")
    return found[0]()
