"""The hash of a panel's data: equal for equal data, whatever its name and the bits of its NaN."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from backtest.market.panel import MarketPanel

__all__ = ["data_digest"]

_ALWAYS = ("returns", "prices", "dollar_volume", "cash_rate", "features", "tradable")
# left out when they are not known, so that panels of before keep their hash
_WHERE_KNOWN = ("open_prices", "vwap", "dividends", "splits", "volatility", "members")


def data_digest(panel: MarketPanel) -> str:
    """SHA-256, in hexadecimal, over labels, array bytes and corporate actions."""
    digest = hashlib.sha256()
    for labels in (panel.assets, panel.feature_names):
        digest.update(repr(list(labels)).encode())
    digest.update(np.ascontiguousarray(panel.dates.asi8).tobytes())
    digest.update(repr(panel.periods_per_year).encode())
    for field in (*_ALWAYS, *(f for f in _WHERE_KNOWN if getattr(panel, f) is not None)):
        values = getattr(panel, field)
        digest.update(f"{field}:{None if values is None else values.shape}".encode())
        if values is not None:
            # NaN has many bit patterns; all are one value here
            plain = values if values.dtype == bool else np.where(np.isnan(values), np.nan, values)
            digest.update(np.ascontiguousarray(plain).tobytes())
    for delisting in panel.delistings:
        told = (delisting.asset, delisting.date.isoformat(), delisting.delisting_return, delisting.reason)
        digest.update(repr(("delisting", *told)).encode())
    for spin_off in panel.spin_offs:
        told = (spin_off.parent, spin_off.child, spin_off.ratio, spin_off.date.isoformat())
        digest.update(repr(("spin-off", *told)).encode())
    return digest.hexdigest()
