"""What of an order is filled: nothing without a price, no more than a part of the volume, no more than cash can pay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["affordable_share", "participation_cap"]

ENOUGH = 1e-13
"""Cash left, as a fraction of wealth, at which purchases count as what cash can just pay."""

TIGHT = 1e-15
"""Width of the search, relative, that is rounding."""

MAX_STEPS = 100


def participation_cap(
    bought: np.ndarray, price: np.ndarray, volume: np.ndarray | None, fraction: float, *, whole: bool
) -> np.ndarray:
    """Return the orders `bought` (B, N), each cut to the fraction of a row's dollar volume that may be traded.

    Args:
        bought: (B, N) shares, negative when sold.
        price: (N,) currency a share; 0 where there is none.
        volume: (N,) currency traded in the row; NaN, or None for all names, is unknown and allows no trade.
        fraction: of the volume.
        whole: cut to whole shares.
    """
    dollars = np.zeros(len(price)) if volume is None else np.nan_to_num(volume)
    most = np.where(price > 0, fraction * dollars / np.where(price > 0, price, 1.0), 0.0)
    most = np.floor(most) if whole else most
    return np.where(np.abs(bought) <= most, bought, np.sign(bought) * most)


def affordable_share(left: Callable[[np.ndarray], np.ndarray], n_books: int) -> np.ndarray:
    """Return by how much (B,) purchases must be scaled, from 0 to 1, for cash to pay them and all costs.

    Args:
        left: cash left (B,), a fraction of wealth, when purchases are scaled by (B,); it falls with the scale, and its
            slope never rises, since costs are convex. NaN in stopped books.
        n_books: B.
    """
    low, high = np.zeros(n_books), np.ones(n_books)
    at_high = left(high)
    poor = at_high < 0
    if not poor.any():
        return high
    at_low = left(low)
    # A book that already owes cash buys nothing.
    search = poor & (at_low > 0)
    scale = np.where(poor, 0.0, 1.0)
    for _ in range(MAX_STEPS):
        if not search.any():
            break
        # `left` is concave: it lies above its chord, whose root is affordable, and below the true root.
        root = np.where(search, low + (high - low) * at_low / np.where(search, at_low - at_high, 1.0), scale)
        scale = np.where(search, root, scale)
        value = left(scale)
        low, at_low = np.where(search, scale, low), np.where(search, value, at_low)
        search = search & (value > ENOUGH)
        # Where the slope changes a lot the chord comes no closer: the middle halves what is left to search.
        middle = (low + high) / 2
        value = left(middle)
        under, over = search & (value >= 0), search & (value < 0)
        low, at_low = np.where(under, middle, low), np.where(under, value, at_low)
        high, at_high = np.where(over, middle, high), np.where(over, value, at_high)
        scale = np.where(under, middle, scale)
        search = search & ~(under & (value <= ENOUGH)) & (high - low > TIGHT * high)
    return scale
