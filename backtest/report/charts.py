"""The comparison's charts in the order of the page, each with its title, unit and how to read it.

Titles and units live beside the chart in the page, where they wrap on a narrow screen; axes carry
unit suffixes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.report.by_asset import asset_cost_figure, has_costs, holdings_figure
from backtest.report.exposure import (
    has_predicted_risk,
    names_held_figure,
    predicted_volatility_figure,
    risk_ratio_figure,
    sides_figure,
)
from backtest.report.figures import cost_figure, difference_figure, seeds_figure, wealth_figure
from backtest.report.over_time import (
    correlation_figure,
    drawdown_figure,
    has_correlations,
    has_volatility,
    leverage_figure,
    names_traded_figure,
    net_exposure_figure,
    turnover_figure,
    volatility_figure,
)
from backtest.report.solver_health import has_solves, iterations_figure, residuals_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison

__all__ = ["CHARTS", "SOLVER_CHARTS", "Chart", "charts_of"]


@dataclass(frozen=True)
class Chart:
    """One chart of the page: where it is, what it shows, how to read it, and how to draw it."""

    key: str
    title: str
    unit: str
    caption: str
    span: str  # "wide" across the page, "tall" beside two others, or ""
    draw: Callable[[Comparison], Figure]
    has_data: Callable[[Comparison], bool] = lambda comparison: True


def charts_of(comparison: Comparison, charts: Sequence[Chart] | None = None) -> list[Chart]:
    """Return those of some charts, or of all, that a comparison has the data of."""
    asked = (*CHARTS, *SOLVER_CHARTS) if charts is None else charts
    return [chart for chart in asked if chart.has_data(comparison)]


CHARTS = (
    Chart(
        "wealth",
        "Wealth after costs",
        "multiple of the starting wealth",
        "Line: mean over seeds. Band: lowest to highest seed.",
        "wide",
        wealth_figure,
    ),
    Chart(
        "difference",
        "Paired difference in net return, added up",
        "% of wealth since the start",
        "Shaded: where the line would end if its mean were anywhere in the interval. A shape that holds the "
        "zero line means no difference is shown.",
        "wide",
        difference_figure,
    ),
    Chart(
        "costs",
        "From gross to net",
        "% of wealth a year, mean over seeds",
        "Each grey step is what one kind of cost takes; risk and penalties are opinions and are not charged.",
        "tall",
        cost_figure,
    ),
    Chart(
        "seeds",
        "Spread over seeds",
        "annual net return of each seed, %",
        "Ring: one seed. Upright bar: their mean. Cross: a seed that was ruined.",
        "",
        seeds_figure,
    ),
    Chart(
        "drawdown",
        "Drawdown after costs",
        "% below the highest wealth so far, mean over seeds",
        "The start counts as a high.",
        "",
        drawdown_figure,
    ),
    Chart(
        "turnover",
        "Turnover",
        "multiples of wealth traded a year",
        "Mean over seeds and over the year up to each date.",
        "",
        turnover_figure,
    ),
    Chart(
        "names",
        "Share of names traded",
        "% of all names, each period",
        "Mean over seeds and over the year up to each date.",
        "",
        names_traded_figure,
    ),
    Chart(
        "leverage",
        "Leverage",
        "longs plus shorts, multiples of wealth",
        "Mean over seeds and over the quarter up to each date.",
        "",
        leverage_figure,
    ),
    Chart(
        "exposure",
        "Net exposure",
        "longs less shorts, % of wealth",
        "Mean over seeds and over the quarter up to each date. A book held dollar neutral stays at 0.",
        "",
        net_exposure_figure,
    ),
    Chart(
        "sides",
        "Longs and shorts",
        "% of wealth, longs above 0 and shorts below",
        "Mean over seeds and over the quarter up to each date.",
        "",
        sides_figure,
    ),
    Chart(
        "held",
        "Names held",
        "number of names with a position",
        "Mean over seeds and over the quarter up to each date.",
        "",
        names_held_figure,
    ),
    Chart(
        "predicted",
        "Risk as predicted",
        "volatility by the risk model, % a year",
        "What the costs' risk model said at each decision, root mean square over the year up to each date, annual; "
        "mean over seeds.",
        "",
        predicted_volatility_figure,
        has_predicted_risk,
    ),
    Chart(
        "volatility",
        "Risk as realized",
        "volatility of net return, % a year",
        "Standard deviation over the year up to each date, annual; mean over seeds.",
        "",
        volatility_figure,
        has_volatility,
    ),
    Chart(
        "ratio",
        "Realized over predicted risk",
        "ratio of the two volatilities",
        "Of the year up to each date, mean over seeds. At 1 the risk model was right; above it, risk was larger than "
        "it said.",
        "",
        risk_ratio_figure,
        has_predicted_risk,
    ),
    Chart(
        "correlation",
        "Information coefficient by month, added up",
        "rank correlation of forecast and return, mean of each month, summed",
        "A line that climbs has skill; the steeper, the more. Every month is in the table below.",
        "",
        correlation_figure,
        has_correlations,
    ),
    Chart(
        "holdings",
        "Top holdings over time",
        "weight, % of wealth, mean over seeds",
        "The names with the largest positions over all objectives, largest first. Blue is long, orange is short.",
        "wide",
        holdings_figure,
    ),
    Chart(
        "assets",
        "Cost by asset",
        "% of all that the objective paid, over all dates and seeds",
        "The names that cost most over all objectives. Every name is in the table below.",
        "wide",
        asset_cost_figure,
        has_costs,
    ),
)

SOLVER_CHARTS = (
    Chart(
        "residuals",
        "Residuals of the solver",
        "% of decisions, by the power of ten that their residual is up to",
        "Relative error of the equations that the solver solves, over decisions that have a solution.",
        "",
        residuals_figure,
        has_solves,
    ),
    Chart(
        "iterations",
        "Iterations of the solver",
        "% of decisions, by the number of its steps",
        "Newton steps, or steps of the interior-point method where a cost needs one.",
        "",
        iterations_figure,
        has_solves,
    ),
)
"""Charts that stand with the solver's tables, behind those of money."""
