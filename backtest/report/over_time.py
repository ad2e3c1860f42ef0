"""How drawdown, trading, exposure, risk and skill go with time: a line an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.analysis.performance import drawdown
from backtest.report.drawing import add_line, blank_figure, rows_drawn

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison

__all__ = [
    "correlation_figure",
    "drawdown_figure",
    "has_correlations",
    "has_volatility",
    "leverage_figure",
    "months_of",
    "names_traded_figure",
    "net_exposure_figure",
    "trailing_figure",
    "turnover_figure",
    "volatility_figure",
    "window_of",
]

_HEIGHT = 320
_TROUGHS = 300  # drawdowns are drawn by their deepest point in each of so many stretches
_LEAST_PERIODS = 8  # fewer have no standard deviation worth drawing


def drawdown_figure(comparison: Comparison) -> Figure:
    """How far wealth is below its highest so far, averaged over seeds."""
    figure = blank_figure(height=_HEIGHT)
    kept = rows_drawn(len(comparison.dates), most=_TROUGHS)
    for name, series in comparison.series.items():
        fall = drawdown(series.net).mean(axis=0)
        deepest = np.minimum.reduceat(fall, kept)  # thinning must not lose the troughs
        add_line(figure, comparison, name, comparison.dates[kept], 100 * deepest, hover="%{y:.1f}%")
    figure.update_yaxes(ticksuffix="%", zeroline=True)
    return figure


def turnover_figure(comparison: Comparison) -> Figure:
    """Trades over the year before each date, as a multiple of wealth."""
    year = comparison.periods_per_year
    values = {name: year * series.turnover.mean(axis=0) for name, series in comparison.series.items()}
    return trailing_figure(comparison, values, years=1.0, hover="%{y:.1f}×", suffix="×")


def names_traded_figure(comparison: Comparison) -> Figure:
    """Share of names whose weight is changed, averaged over the year before each date."""
    values = {name: 100 * series.names_traded.mean(axis=0) for name, series in comparison.series.items()}
    return trailing_figure(comparison, values, years=1.0, hover="%{y:.1f}%", suffix="%")


def leverage_figure(comparison: Comparison) -> Figure:
    """Longs plus shorts, averaged over the quarter before each date."""
    values = {name: series.leverage.mean(axis=0) for name, series in comparison.series.items()}
    return trailing_figure(comparison, values, years=0.25, hover="%{y:.2f}×", suffix="×")


def net_exposure_figure(comparison: Comparison) -> Figure:
    """Longs less shorts, averaged over the quarter before each date; 0 after a ruin, as everywhere."""
    values = {
        name: 100 * np.nan_to_num(result.net_exposure).mean(axis=0) for name, result in comparison.results.items()
    }
    figure = trailing_figure(comparison, values, years=0.25, hover="%{y:.1f}%", suffix="%")
    neutral = max(float(np.abs(value).max()) for value in values.values()) < 1.0
    # Rounding errors of a neutral book must not look like positions.
    figure.update_yaxes(range=[-1.0, 1.0] if neutral else None, rangemode="normal", zeroline=True)
    return figure


def volatility_figure(comparison: Comparison) -> Figure:
    """Standard deviation of net return over the year before each date, annual, averaged over seeds."""
    figure = blank_figure(height=_HEIGHT)
    window = window_of(comparison, years=1.0)
    dates = comparison.dates[window - 1 :]
    kept = rows_drawn(len(dates))
    for name, series in comparison.series.items():
        spread = pd.DataFrame(series.net.T).rolling(window).std().mean(axis=1).to_numpy()[window - 1 :]
        annual = 100 * np.sqrt(comparison.periods_per_year) * spread
        add_line(figure, comparison, name, dates[kept], annual[kept], hover="%{y:.1f}%")
    figure.update_yaxes(ticksuffix="%", rangemode="tozero")
    return figure


def has_volatility(comparison: Comparison) -> bool:
    """Whether there are periods enough."""
    return len(comparison.dates) >= _LEAST_PERIODS


def correlation_figure(comparison: Comparison) -> Figure:
    """The months' mean rank correlations of forecasts and returns, added up; the hover has each month's own."""
    figure = blank_figure(height=_HEIGHT)
    for name, months in months_of(comparison).items():
        line = months.cumsum()
        add_line(figure, comparison, name, pd.PeriodIndex(line.index).to_timestamp(), line.to_numpy(), hover="")
        figure.data[-1].update(
            customdata=months.to_numpy().round(4), hovertemplate="%{y:.2f}, this month %{customdata:+.3f}"
        )
    figure.update_xaxes(hoverformat="%B %Y")
    figure.update_yaxes(zeroline=True)
    return figure


def has_correlations(comparison: Comparison) -> bool:
    """Whether the comparison was given rank correlations by date, and there are any."""
    return any(len(values) for values in (comparison.rank_correlations or {}).values())


def months_of(comparison: Comparison) -> Mapping[str, pd.Series]:
    """Return the mean rank correlation of each month with forecasts, by period, objective by objective."""
    return {
        name: values.groupby(pd.DatetimeIndex(values.index).to_period("M")).mean()
        for name, values in (comparison.rank_correlations or {}).items()
    }


def window_of(comparison: Comparison, *, years: float) -> int:
    """Return the number of periods in so many years, at most half of those there are."""
    return max(1, min(round(years * comparison.periods_per_year), len(comparison.dates) // 2))


def trailing_figure(
    comparison: Comparison, values: Mapping[str, np.ndarray], *, years: float, hover: str, suffix: str
) -> Figure:
    """Draw the mean of each objective's values (S,) over the years before each date."""
    figure = blank_figure(height=_HEIGHT)
    window = window_of(comparison, years=years)
    dates = comparison.dates[window - 1 :]
    kept = rows_drawn(len(dates))
    highest = 0.0
    for name, value in values.items():
        trailing = pd.Series(value).rolling(window).mean().to_numpy()[window - 1 :]
        add_line(figure, comparison, name, dates[kept], trailing[kept], hover=hover)
        highest = max(highest, float(trailing.max()))
    # A line at its limit must not lie on the edge.
    figure.update_yaxes(ticksuffix=suffix, range=[0.0, 1.06 * highest or 1.0])
    return figure
