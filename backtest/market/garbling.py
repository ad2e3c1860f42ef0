"""Another future for a panel, to prove that nothing up to t depends on what comes after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from backtest.market.panel import MarketPanel

__all__ = ["garbled_fields"]


def garbled_fields(panel: MarketPanel, first: int, seed: int) -> dict[str, np.ndarray]:
    """The time-dependent fields of `panel` with random, valid values in rows `first`...

    Missing returns and prices stay missing, so that `tradable` stays true; volume and features are known
    everywhere in the new future.

    Returns:
        new arrays by field name, for the fields that the panel has; rows before `first` keep their bits.
    """
    rng = np.random.default_rng(seed)
    draws = {
        "returns": lambda shape: np.expm1(rng.normal(0.0, 0.1, shape)),
        "prices": lambda shape: np.exp(rng.normal(3.0, 1.0, shape)),
        "dollar_volume": lambda shape: np.exp(rng.normal(15.0, 2.0, shape)),
        "cash_rate": lambda shape: rng.uniform(0.0, 0.001, shape),
        "features": lambda shape: rng.normal(0.0, 3.0, shape),
    }
    fields = {}
    for field, draw in draws.items():
        values = getattr(panel, field)
        if values is None:
            continue
        garbled = values.copy()
        future = draw(values[first:].shape)
        if field in ("returns", "prices"):
            future = np.where(np.isnan(values[first:]), np.nan, future)
        garbled[first:] = future
        fields[field] = garbled
    return fields
