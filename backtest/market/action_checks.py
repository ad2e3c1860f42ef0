"""A panel against its corporate actions: nothing trades after a delisting, nothing is given without a price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest.errors import DataError
from backtest.market.checks import checked_flags, refuse_cells
from backtest.market.corporate_actions import PlacedActions

if TYPE_CHECKING:
    from backtest.market.panel import MarketPanel

__all__ = ["checked_tradable", "refuse_impossible_actions"]

_NEED_PRICES = ("open_prices", "vwap", "dividends", "splits", "spin_offs")


def checked_tradable(panel: MarketPanel, actions: PlacedActions) -> np.ndarray:
    """Where a price is known at the close and the shares outlive it: given and checked, or derived.

    Returns:
        (T, N) bool, read-only.

    Raises:
        DataError: True where there is no price, or at or after a delisting; or no bool of that shape.
    """
    known = np.isfinite(panel.returns if panel.prices is None else panel.prices)
    if panel.tradable is None:
        for row, column in actions.delisted():
            known[row:, column] = False
        known.setflags(write=False)
        return known
    tradable = checked_flags("tradable", panel.tradable, known.shape, where=panel.name)
    if panel.prices is not None:
        refuse_cells(
            tradable & ~known,
            panel.prices,
            "is no price although tradable is True there: mark it False",
            where=f"{panel.name}: prices",
            labels=(panel.dates, panel.assets),
        )
    for row, column in actions.delisted():
        _refuse_rows(
            panel,
            "tradable",
            tradable[row:, column],
            row,
            column,
            f"is True although {panel.assets[column]!r} is delisted at the close of {panel.dates[row]:%Y-%m-%d}: "
            "mark it False from that row on, or leave tradable out (None)",
        )
    return tradable


def refuse_impossible_actions(panel: MarketPanel, actions: PlacedActions) -> None:
    """Refuse data that a delisting or a spin-off contradicts.

    Raises:
        DataError: dividends, splits, spin-offs, opens or VWAP without prices; a value after a delisting; an unknown
            return at a delisting without prices; a spin-off of a child that has no price yet.
    """
    if panel.prices is None:
        for field in _NEED_PRICES:
            value = getattr(panel, field)
            if value is not None and len(value):
                raise DataError(f"{panel.name}: {field} without prices: pass prices too, or leave {field} out")
    for row, column in actions.delisted():
        _refuse_life_after(panel, row, column)
    for row, (parents, children, _) in actions.spin_offs.items():
        for parent, child in zip(parents, children, strict=True):
            if not np.isfinite(_prices(panel)[: row + 1, child]).any():
                raise DataError(
                    f"{panel.name}: prices: row {row} ({panel.dates[row]:%Y-%m-%d}), column "
                    f"{panel.assets[child]!r}: no price is known by then, when {panel.assets[parent]!r} spins it "
                    "off: add its price, or date the spin-off on the first row where it has one"
                )


def _refuse_life_after(panel: MarketPanel, row: int, column: int) -> None:
    told = f"comes after the delisting of {panel.assets[column]!r} at the close of {panel.dates[row]:%Y-%m-%d}"
    for field in ("prices", "open_prices", "vwap", "returns"):
        values = getattr(panel, field)
        if values is not None:
            later = np.isfinite(values[row + 1 :, column])
            cure = "write NaN, or give a company that comes back a label of its own"
            _refuse_rows(panel, field, later, row + 1, column, f"{told}: {cure}")
    if panel.dividends is not None:
        later = panel.dividends[row + 1 :, column] > 0
        cure = "write 0, and count what is paid later in delisting_return"
        _refuse_rows(panel, "dividends", later, row + 1, column, f"{told}: {cure}")
    if panel.prices is None and np.isnan(panel.returns[row, column]):
        raise DataError(
            f"{panel.name}: returns: row {row} ({panel.dates[row]:%Y-%m-%d}), column {panel.assets[column]!r}: the "
            "return of the period of its delisting is unknown: write it, with delisting_return counted in, or "
            "use from_returns, which does that"
        )


def _refuse_rows(panel: MarketPanel, field: str, wrong: np.ndarray, start: int, column: int, reason: str) -> None:
    """Raise on the first True of `wrong` (R,), which are cells of one column from row `start` on."""
    if not wrong.any():
        return
    row = start + int(np.argmax(wrong))
    value = getattr(panel, field)[row, column]
    shown = "" if field == "tradable" else f"{value:g} "
    count = int(wrong.sum())
    more = f" ({count} such cells)" if count > 1 else ""
    raise DataError(
        f"{panel.name}: {field}: row {row} ({panel.dates[row]:%Y-%m-%d}), column {panel.assets[column]!r}: "
        f"{shown}{reason}{more}"
    )


def _prices(panel: MarketPanel) -> np.ndarray:
    assert panel.prices is not None  # spin-offs without prices were refused
    return panel.prices
