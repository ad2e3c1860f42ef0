"""Forecasts of several periods ahead: made at a row, one for each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import LabelError, SimulationError
from backtest.market.labels import parse_dates, require_same_labels
from backtest.market.tables import numeric_column

__all__ = ["StepForecasts", "read_step_forecasts"]


@dataclass(frozen=True, eq=False)
class StepForecasts:
    """Forecasts by row and step.

    Attributes:
        values: (T, H, N), row t made with data up to t; NaN is no view.
        lag: rows from a forecast to the decision that is made with it.
    """

    values: np.ndarray
    lag: int

    @property
    def horizon(self) -> int:
        """H."""
        return int(self.values.shape[1])

    @property
    def first_row(self) -> int:
        """First row of a decision that has a forecast for all steps of some asset."""
        seen = np.flatnonzero(np.isfinite(self.values).all(axis=1).any(axis=1))
        return int(seen[0]) + self.lag

    def at(self, row: int) -> np.ndarray:
        """Return the forecasts (H, N) for a decision at a row; NaN where there are none."""
        made = row - self.lag
        return self.values[made] if made >= 0 else np.full(self.values.shape[1:], np.nan)


def read_step_forecasts(given: Any, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> StepForecasts:
    """Return forecasts in the panel's order.

    Args:
        given: (T, H, N) in the panel's order, or a DataFrame with a row for each (date, step), steps 0 ... H - 1, and
            a column for each asset.
        dates: (T,) of the panel.
        assets: (N,) of the panel.
        lag: rows from a forecast to the decision that is made with it.

    Raises:
        LabelError: an asset is missing or unknown, a date is not the panel's, a (date, step) is there twice, or steps
            are not numbered from 0.
        SimulationError: another shape, an infinite forecast, or none at all.
    """
    labelled = isinstance(given, pd.DataFrame)
    values = _from_table(given, dates, assets) if labelled else np.array(given, dtype=np.float64)
    if values.ndim != 3 or (len(values), values.shape[2]) != (len(dates), len(assets)) or not values.shape[1]:
        raise SimulationError(
            f"MultiPeriod: forecasts have shape {np.shape(given)}: give ({len(dates)}, H, {len(assets)}): one row a "
            "date of the panel, one step a period, one column an asset"
        )
    if np.isinf(values).any():
        row, step, column = (int(i) for i in np.argwhere(np.isinf(values))[0])
        raise SimulationError(
            f"MultiPeriod: forecasts: {dates[row]:%Y-%m-%d}, step {step}, {assets[column]}: infinite: give a finite "
            "number, or NaN for no view"
        )
    if not np.isfinite(values).all(axis=1).any():
        raise SimulationError("MultiPeriod: no asset has a forecast for all steps on any date: nothing can be decided")
    return StepForecasts(values, lag)


def _from_table(frame: pd.DataFrame, dates: pd.DatetimeIndex, assets: pd.Index) -> np.ndarray:
    """Return a table with rows (date, step) as (T, H, N); what is not there is NaN."""
    where = "MultiPeriod: forecasts"
    if frame.index.nlevels != 2 or not len(frame):
        raise LabelError(f"{where}: rows are labelled by {list(frame.index.names)}: give two labels, (date, step)")
    require_same_labels(frame.columns, assets, where=where, kind="asset")
    days = parse_dates(pd.Index(frame.index.get_level_values(0)), f"{where}: row labels")
    steps = np.asarray(frame.index.get_level_values(1))
    horizon = len(np.unique(steps))
    if not np.isin(steps, np.arange(horizon)).all():
        raise LabelError(f"{where}: the steps are {sorted(set(steps.tolist()))[:5]}: number them 0, 1, 2, ...")
    rows = dates.get_indexer(days)
    if (rows < 0).any():
        raise LabelError(f"{where}: {days[int(np.argmin(rows))]} is no date of the panel: drop its rows")
    if frame.index.has_duplicates:
        raise LabelError(f"{where}: {frame.index[frame.index.duplicated()][0]} is there twice: keep one row")
    values = np.full((len(dates), horizon, len(assets)), np.nan)
    for place, asset in enumerate(assets):
        values[rows, steps.astype(int), place] = numeric_column(frame[asset], f"{where}: column {asset!r}")
    return values
