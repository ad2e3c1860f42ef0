"""Total returns of raw prices: what the holder of a share earned, with splits, dividends, spin-offs, delistings.

One share at the last known price p_s is, at the close of t, G(s, t) shares of price p_t, plus what they were given
since: with G(s, u) the product of the splits of rows s+1..u,

    return_t = [G(s, t) p_t + sum over u = s+1..t of G(s, u) (dividend_u + sum of ratio x mark of the child at u)] / p_s
               - 1

At a delisting p_t is the price of that row, or p_s / G(s, t) where it has none, times 1 + delisting_return. In the
loop all is counted in shares of today, so that without events a return is p_t / p_s - 1 to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backtest.market.checks import refuse_cells
from backtest.market.corporate_actions import PlacedActions

__all__ = ["refuse_other_returns", "total_returns"]

_TOLERANCE = 1e-6


def total_returns(
    prices: np.ndarray,
    *,
    dividends: np.ndarray | None = None,
    splits: np.ndarray | None = None,
    actions: PlacedActions | None = None,
) -> np.ndarray:
    """Total returns since the last known price, as fractions.

    Args:
        prices: (T, N) raw and positive, NaN = none; adjusted prices when nothing else is given.
        dividends: (T, N) currency a share as counted after the row's split, 0 = none; None = none at all.
        splits: (T, N) shares after for each share before, 1 = none; None = none at all.
        actions: delistings and spin-offs by row.

    Returns:
        (T, N); NaN where the price is missing (but at a delisting) or is the first.
    """
    returns = np.empty(prices.shape)
    for row, earned in enumerate(_rows(prices, dividends, splits, actions or PlacedActions())):
        returns[row] = earned
    return returns


def refuse_other_returns(
    returns: np.ndarray,
    prices: np.ndarray,
    *,
    dividends: np.ndarray | None,
    splits: np.ndarray | None,
    actions: PlacedActions,
    where: str,
    labels: Sequence[Any],
) -> None:
    """Refuse known returns that are not the total returns of the prices, to 1e-6.

    Unknown returns, and those of a name's first price, are not checked.

    Raises:
        DataError: such a return, or one where there is no price; names the cell and the cure.
    """
    wrong = np.zeros(returns.shape, dtype=bool)
    expected = None
    first = np.ones(returns.shape[1], dtype=bool)
    for row, earned in enumerate(_rows(prices, dividends, splits, actions)):
        known = np.isfinite(returns[row])
        same = np.abs(earned - returns[row]) <= _TOLERANCE * (1 + np.abs(earned))
        priced = np.isfinite(prices[row])
        wrong[row] = known & ~same & ~(first & priced)
        first &= ~priced
        if expected is None and wrong[row].any():
            expected = float(earned[int(np.argmax(wrong[row]))])
    if expected is None:
        return
    refuse_cells(
        wrong,
        returns,
        "is known where there is no price: write NaN, the return when the price is back counts it all"
        if np.isnan(expected)
        else f"is not the total return of the prices, {expected:g}, with splits, dividends, spin-offs and delistings "
        "counted: leave the returns to from_prices, or correct prices and events",
        where=f"{where}: returns",
        labels=labels,
    )


def _rows(
    prices: np.ndarray, dividends: np.ndarray | None, splits: np.ndarray | None, actions: PlacedActions
) -> Iterator[np.ndarray]:
    """The returns (N,) of each row in turn: one row of temporaries, however long the panel is."""
    n_assets = prices.shape[1]
    # last known price, and what was given since, for one share of today
    mark, given = np.full(n_assets, np.nan), np.zeros(n_assets)
    nobody = (np.empty(0, dtype=np.intp), np.empty(0))
    for row, price in enumerate(prices):
        if splits is not None:
            mark, given = mark / splits[row], given / splits[row]
        if dividends is not None:
            given = given + dividends[row]
        known = np.isfinite(price)
        worth = np.where(known, price, mark)
        gone, delisting_returns = actions.delistings.get(row, nobody)
        worth[gone] *= 1 + delisting_returns
        if row in actions.spin_offs:
            parents, children, ratios = actions.spin_offs[row]
            given = given.copy()
            np.add.at(given, parents, ratios * worth[children])
        settled = known
        settled[gone] = True
        yield np.where(settled, (worth + given) / mark - 1, np.nan)
        mark = worth
        given = np.where(settled, 0.0, given)
        mark[gone] = np.nan
