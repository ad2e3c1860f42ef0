"""What is held, side by side: longs and shorts, how many names, and the risk that the model predicted for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.report.drawing import ZERO, add_line, blank_figure, rows_drawn
from backtest.report.over_time import has_volatility, trailing_figure, window_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison
    from backtest.simulation import SimulationResult

__all__ = [
    "has_predicted_risk",
    "names_held_figure",
    "predicted_volatility_figure",
    "risk_ratio_figure",
    "sides_figure",
]

_HEIGHT = 320
_HELD = 1e-6
"""A smaller weight, a fraction of wealth, is no position worth counting."""


def sides_figure(comparison: Comparison) -> Figure:
    """Longs above 0 and shorts below, each averaged over the quarter before each date."""
    figure = blank_figure(height=_HEIGHT)
    window = window_of(comparison, years=0.25)
    dates = comparison.dates[window - 1 :]
    kept = rows_drawn(len(dates))
    for name, result in comparison.results.items():
        gross, net = (np.nan_to_num(values).mean(axis=0) for values in (result.leverage, result.net_exposure))
        for side, values in (("longs", (gross + net) / 2), ("shorts", (net - gross) / 2)):
            mean = 100 * pd.Series(values).rolling(window).mean().to_numpy()[window - 1 :]
            add_line(figure, comparison, name, dates[kept], mean[kept], hover=f"{side} %{{y:.1f}}%")
            figure.data[-1].update(showlegend=side == "longs", meta=f"{name}, {side}")
    figure.add_hline(0.0, line={"color": ZERO, "width": 1})
    figure.update_yaxes(ticksuffix="%")
    return figure


def names_held_figure(comparison: Comparison) -> Figure:
    """How many names are held, averaged over the quarter before each date."""
    values = {name: _names_held(result) for name, result in comparison.results.items()}
    return trailing_figure(comparison, values, years=0.25, hover="%{y:.1f}", suffix="")


def _names_held(result: SimulationResult) -> np.ndarray:
    total = np.zeros(len(result.dates))
    for positions in result.positions:  # one by one: all at once would copy everything
        total += (np.abs(np.nan_to_num(positions)) > _HELD).sum(axis=1)
    return np.asarray(total / len(result.positions))


def has_predicted_risk(comparison: Comparison) -> bool:
    """Whether the costs have one risk model, and there are periods enough to set what came out beside it."""
    return has_volatility(comparison) and all(
        result.predicted_volatility is not None for result in comparison.results.values()
    )


def predicted_volatility_figure(comparison: Comparison) -> Figure:
    """What the risk model said the volatility would be, over the year before each date, annual."""
    figure = blank_figure(height=_HEIGHT)
    window, dates, kept = _rows(comparison)
    for name, result in comparison.results.items():
        annual = 100 * np.sqrt(comparison.periods_per_year) * _predicted(result, window).mean(axis=0)
        add_line(figure, comparison, name, dates[kept], annual[kept], hover="%{y:.1f}%")
    figure.update_yaxes(ticksuffix="%", rangemode="tozero")
    return figure


def risk_ratio_figure(comparison: Comparison) -> Figure:
    """Realized volatility over predicted volatility of the same year: 1 where the model was right."""
    figure = blank_figure(height=_HEIGHT)
    window, dates, kept = _rows(comparison)
    for name, result in comparison.results.items():
        realized = pd.DataFrame(comparison.series[name].net.T).rolling(window).std().to_numpy().T[:, window - 1 :]
        predicted = _predicted(result, window)
        known = (predicted > 0) & (realized > 0)
        ratio = np.divide(realized, predicted, out=np.zeros_like(realized), where=known)
        # A book that held nothing all year has no ratio.
        mean = np.where(known.any(axis=0), ratio.sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
        add_line(figure, comparison, name, dates[kept], mean[kept], hover="%{y:.2f}×")
    figure.add_hline(1.0, line={"color": ZERO, "width": 1})
    figure.update_yaxes(ticksuffix="×", rangemode="tozero")
    return figure


def _rows(comparison: Comparison) -> tuple[int, pd.DatetimeIndex, np.ndarray]:
    window = window_of(comparison, years=1.0)
    dates = comparison.dates[window - 1 :]
    return window, dates, rows_drawn(len(dates))


def _predicted(result: SimulationResult, window: int) -> np.ndarray:
    """Return the root mean square (B, S - window + 1) of what was predicted; a ruined book has no risk."""
    assert result.predicted_volatility is not None
    variance = np.square(np.nan_to_num(result.predicted_volatility))
    mean = pd.DataFrame(variance.T).rolling(window).mean().to_numpy().T[:, window - 1 :]
    return np.sqrt(np.maximum(mean, 0.0))
