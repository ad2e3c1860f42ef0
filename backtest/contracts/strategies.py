"""The check of a strategy's contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backtest.errors import SettingsError, StrategyError
from backtest.market import MarketPanel
from backtest.strategy import Strategy, checked_forecast

__all__ = ["check_strategy"]


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
        SettingsError: `rows` are out of range or order, or the panel is none.
    """
    if not isinstance(panel, MarketPanel):
        raise SettingsError(
            f"panel is a {type(panel).__name__}: pass a MarketPanel; that of a simulated market is its .panel"
        )
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
            f"{float(first[number, column])!r}, and {float(second[number, column])!r} when {when}: {cure}"
        )
