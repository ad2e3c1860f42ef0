"""Labelled tables to the fields of a panel, with the total returns that they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from backtest.market.checks import checked_array
from backtest.market.corporate_actions import Delisting, SpinOff, ordered_actions, placed_actions
from backtest.market.labels import check_increasing
from backtest.market.tables import aligned_fields, numeric_table
from backtest.market.total_returns import total_returns

__all__ = ["fields_from_prices", "fields_from_returns"]


def fields_from_prices(
    prices: pd.DataFrame,
    tables: Mapping[str, Any],
    delistings: Iterable[Delisting],
    spin_offs: Iterable[SpinOff],
    *,
    where: str,
) -> dict[str, Any]:
    """What `MarketPanel.from_prices` knows, by field name; its arguments and errors.

    Args:
        prices: (T, N).
        tables: the other tables by field, None where there is none; in any order of rows and columns.
        delistings: in any order.
        spin_offs: in any order.
        where: what is being read.
    """
    dates, assets, values = numeric_table(prices, f"{where}: prices")
    check_increasing(dates, f"{where}: prices: row labels")
    labels = (dates, assets)
    values = checked_array("prices", values, values.shape, where=where, labels=labels)
    fields = aligned_fields(dates, assets, where, tables)
    # before the returns are computed from them, and the constructor checks all the rest
    for field in fields.keys() & {"dividends", "splits"}:
        fields[field] = checked_array(field, fields[field], values.shape, where=where, labels=labels)
    leaving, born = ordered_actions(delistings, spin_offs, where)
    actions = placed_actions(leaving, born, dates=dates, assets=assets, where=where)
    returns = total_returns(values, dividends=fields.get("dividends"), splits=fields.get("splits"), actions=actions)
    return {
        "dates": dates,
        "assets": assets,
        "returns": returns,
        "prices": values,
        "delistings": leaving,
        "spin_offs": born,
        **fields,
    }


def fields_from_returns(
    returns: pd.DataFrame, tables: Mapping[str, Any], delistings: Iterable[Delisting], *, where: str
) -> dict[str, Any]:
    """What `MarketPanel.from_returns` knows, by field name; arguments as for `fields_from_prices`."""
    dates, assets, values = numeric_table(returns, f"{where}: returns")
    check_increasing(dates, f"{where}: returns: row labels")
    fields = aligned_fields(dates, assets, where, tables)
    leaving, _ = ordered_actions(delistings, (), where)
    actions = placed_actions(leaving, (), dates=dates, assets=assets, where=where)
    values = checked_array("returns", values, values.shape, where=where, labels=(dates, assets)).copy()
    for row, (columns, delisting_returns) in actions.delistings.items():
        before = values[row, columns]
        values[row, columns] = (1 + np.where(np.isnan(before), 0.0, before)) * (1 + delisting_returns) - 1
    return {"dates": dates, "assets": assets, "returns": values, "delistings": leaving, **fields}
