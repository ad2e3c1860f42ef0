"""Another future for a panel, to prove that nothing up to t depends on what comes after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.market.corporate_actions import placed_actions
from backtest.market.total_returns import total_returns

if TYPE_CHECKING:
    from backtest.market.panel import MarketPanel

__all__ = ["garbled_fields"]


def garbled_fields(panel: MarketPanel, first: int, seed: int) -> dict[str, Any]:
    """The time-dependent fields of `panel` with random, valid values in rows `first`...

    Missing returns and prices stay missing, so that `tradable` stays true; volume, volatility and features are
    known everywhere in the new future, and every cell has a split and, before a delisting, a dividend. Delistings
    and spin-offs keep their labels and dates and get other returns and ratios. Where there are prices, returns are
    the total returns of the new ones.

    Returns:
        new values by field name, for the fields that the panel has; rows before `first` keep their bits.
    """
    rng = np.random.default_rng(seed)
    garbled: dict[str, Any] = {}

    def put(field: str, draw: Any) -> None:
        values = getattr(panel, field)
        if values is not None:
            garbled[field] = values.copy()
            garbled[field][first:] = draw(values[first:].shape)

    put("returns", lambda shape: np.expm1(rng.normal(0.0, 0.1, shape)))
    put("dollar_volume", lambda shape: np.exp(rng.normal(15.0, 2.0, shape)))
    put("cash_rate", lambda shape: rng.uniform(0.0, 0.001, shape))
    put("features", lambda shape: rng.normal(0.0, 3.0, shape))
    put("volatility", lambda shape: np.exp(rng.normal(-4.0, 1.0, shape)))
    put("members", lambda shape: rng.random(shape) < 0.5)
    put("splits", lambda shape: np.exp(rng.normal(0.0, 0.1, shape)))
    cut = panel.dates[first] if first < panel.n_periods else None
    if cut is not None:
        garbled["delistings"] = tuple(
            replace(d, delisting_return=float(rng.uniform(-0.9, 0.5))) if d.date >= cut else d for d in panel.delistings
        )
        garbled["spin_offs"] = tuple(
            replace(s, ratio=float(s.ratio * rng.uniform(0.2, 0.9))) if s.date >= cut else s for s in panel.spin_offs
        )
    if panel.prices is not None:
        garbled |= _garbled_prices(panel, garbled, first, rng)
    garbled["returns"][np.isnan(panel.returns)] = np.nan
    return garbled


def _garbled_prices(
    panel: MarketPanel, garbled: dict[str, Any], first: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Prices, opens, VWAP and dividends that start from the past, and the total returns of them all."""
    found = {
        field: getattr(panel, field).copy()
        for field in ("prices", "open_prices", "vwap", "dividends")
        if getattr(panel, field) is not None
    }
    prices, splits = found["prices"], garbled.get("splits")
    mark = np.full(panel.n_assets, np.nan)
    for row in range(panel.n_periods):
        if splits is not None:
            mark = mark / splits[row]
        if row >= first:
            start = np.where(np.isnan(mark), np.exp(rng.normal(3.0, 1.0, mark.shape)), mark)
            drawn = {field: start * np.exp(rng.normal(0.0, 0.1, mark.shape)) for field in found}
            drawn["dividends"] = start * rng.uniform(1e-4, 1e-2, mark.shape)
            for field, values in found.items():
                values[row] = np.where(np.isnan(values[row]), np.nan, drawn[field])
        mark = np.where(np.isnan(prices[row]), mark, prices[row])
    actions = placed_actions(
        garbled.get("delistings", panel.delistings),
        garbled.get("spin_offs", panel.spin_offs),
        dates=panel.dates,
        assets=panel.assets,
        where=panel.name,
    )
    if "dividends" in found:
        for row, column in actions.delisted():
            found["dividends"][max(row + 1, first) :, column] = 0.0
    earned = total_returns(prices, dividends=found.get("dividends"), splits=splits, actions=actions)
    # the return of a first price is free: it stays as drawn
    returns = np.where(np.isnan(earned), garbled["returns"], earned)
    returns[:first] = panel.returns[:first]
    return {**found, "returns": returns}
