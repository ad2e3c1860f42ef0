"""The long tables of the page: what happened, month by month, and asset by asset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.report.by_asset import cost_shares, mean_weights
from backtest.report.over_time import months_of
from backtest.report.tables import cell, labelled_table

if TYPE_CHECKING:
    from backtest.analysis.comparison import Comparison

__all__ = ["EVENTS_NOTE", "assets_html", "events_html", "months_html"]

EVENTS_NOTE = (
    "counts over all seeds and dates. Failed: there was no decision and all was held. Inaccurate: solved at low "
    "precision. A clash of constraints, and every other reason, stands in the result's events"
)
_ALWAYS = ("failed", "inaccurate")
"""Events of the solver, told even where there are none."""


def events_html(comparison: Comparison) -> str:
    """Decisions asked for, and how many events of each kind there were, a column an objective."""
    results = comparison.results
    counts = {name: result.events["kind"].value_counts() for name, result in results.items()}
    kinds = dict.fromkeys([*_ALWAYS, *(kind for found in counts.values() for kind in sorted(found.index))])
    rows = [("decisions", [int(np.isfinite(result.net).sum()) for result in results.values()])]
    rows += [(kind, [int(found.get(kind, 0)) for found in counts.values()]) for kind in kinds]
    training = comparison.training or {}
    failures = [[record.get("failed") for record in map(_mapping, training.get(name, ()))] for name in results]
    if all(found and None not in found for found in failures):
        rows.append(("failed in training", [sum(int(count or 0) for count in found) for found in failures]))
    body = [(label, [cell(value, 0) for value in values]) for label, values in rows]
    return labelled_table("events", "kind", list(results), body)


def months_html(comparison: Comparison) -> str:
    """Net return of each month, compounded within it, and its mean rank correlation."""
    months = pd.DatetimeIndex(comparison.dates).to_period("M")
    net = {
        name: (1 + pd.Series(series.net.mean(axis=0))).groupby(months).prod() - 1
        for name, series in comparison.series.items()
    }
    skill = months_of(comparison)
    index = next(iter(net.values())).index
    for values in skill.values():
        index = index.union(values.index)
    heads = [f"{name}, net %" for name in net] + [f"{name}, IC" for name in skill]
    columns = [(100 * values.reindex(index), 2) for values in net.values()]
    columns += [(values.reindex(index), 3) for values in skill.values()]
    body = [
        (str(month), [cell(float(values.iloc[row]), digits) for values, digits in columns])
        for row, month in enumerate(index)
    ]
    return labelled_table("months", "month", heads, body, kind="narrow")


def assets_html(comparison: Comparison) -> str:
    """Mean size of each name's position, and its share of the costs."""
    results = comparison.results
    sizes = [100 * np.abs(mean_weights(result)).mean(axis=0) for result in results.values()]
    shares = [100 * cost_shares(result) for result in results.values()]
    heads = [f"{name}, |weight| %" for name in results] + [f"{name}, cost %" for name in results]
    assets = next(iter(results.values())).assets
    body = [
        (str(asset), [cell(float(values[place]), 2) for values in [*sizes, *shares]])
        for place, asset in enumerate(assets)
    ]
    return labelled_table("assets", "asset", heads, body, kind="narrow")


def _mapping(record: Any) -> dict[str, Any]:
    return dict(record) if isinstance(record, dict) else vars(record)
