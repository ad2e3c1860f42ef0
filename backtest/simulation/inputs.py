"""What a simulation is given, checked and brought into one shape: forecasts, rows, names, initial wealth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import LabelError, SettingsError, SimulationError
from backtest.market import MarketPanel
from backtest.market.labels import check_increasing, require_same_labels
from backtest.market.tables import numeric_table
from backtest.simulation.policies import Policy, SideBySide

__all__ = ["read_forecasts", "read_names", "read_policy", "read_rows", "read_wealth", "read_weights"]


def read_policy(policy: Policy | Sequence[Policy]) -> Policy:
    """Return one policy for all books: of a sequence, one that asks each of its policies for its own book.

    Raises:
        SettingsError: it is no policy.
    """
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, Sequence) or not policy or not all(isinstance(each, Policy) for each in policy):
        raise SettingsError(f"policy is {policy!r}: give a Policy, or a list of them, one a book")
    return SideBySide(tuple(policy))


def read_weights(weights: Any, panel: MarketPanel, n_books: int, price: np.ndarray) -> np.ndarray:
    """Return the weights (B, N) that are held at the start; None is nothing.

    Raises:
        LabelError: a Series' labels differ from the panel's assets.
        SettingsError: the shape is wrong, a weight is not finite, or a name has no price (N,) at the start.
    """
    if weights is None:
        return np.zeros((n_books, panel.n_assets))
    if isinstance(weights, pd.Series):
        require_same_labels(weights.index, panel.assets, where="initial_weights", kind="asset")
        weights = weights.reindex(panel.assets).to_numpy()
    values = np.asarray(weights, dtype=np.float64)
    if values.shape not in ((panel.n_assets,), (n_books, panel.n_assets)) or not np.isfinite(values).all():
        raise SettingsError(
            f"initial_weights has shape {values.shape}: give finite weights ({panel.n_assets},), or "
            f"({n_books}, {panel.n_assets}), one row a book"
        )
    values = np.array(np.broadcast_to(values, (n_books, panel.n_assets)))
    unpriced = np.flatnonzero((values != 0).any(axis=0) & (price == 0))
    if len(unpriced):
        raise SettingsError(
            f"initial_weights: {panel.assets[unpriced[0]]} has no price at the first decision, or was delisted: "
            "start at another row, or give it 0"
        )
    return values


def read_forecasts(forecasts: Any, panel: MarketPanel, *, n_books: int | None = None) -> np.ndarray:
    """Return forecasts (B, T, N) float64 in the order of the panel's labels; None is no view.

    Args:
        forecasts: (T, N) or (B, T, N) in the panel's order, or a DataFrame of dates by assets: exactly the
            panel's assets in any order, and every date of the panel from its first to its last.
        panel: the market.
        n_books: B, where the policy has a number of books of its own; one forecast then serves them all.

    Raises:
        LabelError: an asset or date is missing or unknown.
        SimulationError: another shape, or an infinite forecast.
    """
    shape = (panel.n_periods, panel.n_assets)
    if forecasts is None:
        return np.broadcast_to(np.nan, (n_books or 1, *shape))
    if isinstance(forecasts, pd.DataFrame):
        values = _from_table(forecasts, panel)
    else:
        values = np.asarray(forecasts, dtype=np.float64)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[1:] != shape or not len(values):
        raise SimulationError(
            f"forecasts have shape {np.shape(forecasts)}, expected {shape} or (B, {shape[0]}, {shape[1]}): "
            "one row for each of the panel's dates, one column for each of its assets"
        )
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        book, row, column = infinite[0]
        raise SimulationError(
            f"forecasts: book {book}, row {row} ({panel.dates[row]:%Y-%m-%d}), {panel.assets[column]}: "
            f"{values[book, row, column]}: give a finite number, or NaN for no view"
        )
    if n_books is None or len(values) == n_books:
        return values
    if len(values) > 1:
        raise SimulationError(f"forecasts are for {len(values)} books, and the policy decides for {n_books}")
    return np.broadcast_to(values, (n_books, *shape))


def _from_table(frame: pd.DataFrame, panel: MarketPanel) -> np.ndarray:
    dates, assets, values = numeric_table(frame, "forecasts")
    check_increasing(dates, "forecasts: row labels")
    require_same_labels(assets, panel.assets, where="forecasts", kind="asset")
    if not len(dates):
        raise LabelError("forecasts: the table has no row: give one row a date of the panel")
    covered = panel.dates[(panel.dates >= dates[0]) & (panel.dates <= dates[-1])]
    require_same_labels(dates, covered, where="forecasts", kind="date")
    aligned = np.full((panel.n_periods, panel.n_assets), np.nan)
    aligned[panel.dates.get_indexer(dates)] = values[:, assets.get_indexer(panel.assets)]
    return aligned


def read_rows(
    panel: MarketPanel,
    forecasts: np.ndarray,
    *,
    lag: int,
    first_fill: int,
    first_row: int | None,
    last_row: int | None,
) -> tuple[int, int]:
    """Return the row of the first fill and the row of the last period's end.

    Left out, the first fill is that of the first forecast and the last period is that of the last forecast.

    Raises:
        SettingsError: a row or the lag is out of range.
    """
    if isinstance(lag, bool) or not isinstance(lag, int | np.integer) or lag < 0:
        raise SettingsError(f"lag is {lag!r}: give a whole number of rows: 1 for the next close, 0 for the same")
    with_view = np.flatnonzero(np.isfinite(forecasts).any(axis=(0, 2)))
    end = panel.n_periods - 1
    first, last = (int(with_view[0]), int(with_view[-1])) if len(with_view) else (0, end)
    start = first_row if first_row is not None else max(first + lag, first_fill)
    stop = last_row if last_row is not None else min(last + lag + 1, end)
    if not lag <= start < stop <= end:
        raise SettingsError(
            f"first_row {start} and last_row {stop} leave no period: the first fill is at row {lag} (the "
            f"lag) or later, its result is known one row after it, and {panel.name} ends at row {end}"
        )
    return int(start), int(stop)


def read_names(names: Sequence[str] | None, n_books: int) -> tuple[str, ...]:
    """Return one unique name a book; by default "portfolio", or "0", "1", ...

    Raises:
        SettingsError: the names are too many, too few, or repeat.
    """
    if names is None:
        return ("portfolio",) if n_books == 1 else tuple(str(book) for book in range(n_books))
    names = (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    if len(names) != n_books or len(set(names)) != n_books:
        raise SettingsError(f"names {list(names)} must be {n_books} different names, one a book")
    return names


def read_wealth(initial_wealth: Any, n_books: int) -> np.ndarray:
    """Return initial wealth (B,) in currency.

    Raises:
        SettingsError: it is not positive and finite, or not one number or one a book.
    """
    wealth = np.asarray(initial_wealth, dtype=np.float64)
    if wealth.shape not in ((), (n_books,)) or not (np.isfinite(wealth) & (wealth > 0)).all():
        raise SettingsError(
            f"initial_wealth is {initial_wealth!r}: give a positive number, or {n_books} of them, one a book"
        )
    return np.array(np.broadcast_to(wealth, (n_books,)))
