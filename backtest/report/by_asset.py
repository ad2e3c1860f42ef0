"""What is held, and what it costs, name by name."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.report.drawing import (
    CARD,
    INK,
    blank_figure,
    colour_of,
    marker_of,
    rows_drawn,
    short_name,
    text_dates,
    with_csv,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison
    from backtest.simulation import SimulationResult

__all__ = ["asset_cost_figure", "cost_shares", "has_costs", "holdings_figure", "mean_weights"]

_HELD, _COSTLY = 8, 15
"""Names shown in the charts of holdings and of costs."""
_STRETCHES = 80
"""Cells of one name's row; each is the mean of a stretch of dates."""
_ROW, _GAP = 18, 36
_FOOT = 76  # pixels of dates and colour bar


def holdings_figure(comparison: Comparison) -> Figure:
    """Weights of the names with the largest positions, a block an objective and a row a name."""
    import plotly.graph_objects as go

    weights = {name: mean_weights(result) for name, result in comparison.results.items()}
    sizes = np.mean([np.abs(value).mean(axis=0) for value in weights.values()], axis=0)
    top = np.argsort(-sizes, kind="stable")[:_HELD]
    assets = next(iter(comparison.results.values())).assets
    starts = rows_drawn(len(comparison.dates), most=_STRETCHES + 1)[:-1] if len(comparison.dates) > 1 else np.array([0])
    lengths = np.diff([*starts, len(comparison.dates)])
    drawn = {name: 100 * np.add.reduceat(value[:, top], starts, axis=0).T / lengths for name, value in weights.items()}
    most = max(float(np.abs(value).max()) for value in drawn.values()) or 1.0
    block = _GAP + _ROW * len(top)
    inner = block * len(drawn)
    figure = blank_figure(height=inner + _FOOT)
    axis = {
        "automargin": True,
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
        "ticklabelstandoff": 4,
        "ticks": "",
    }
    for number, (name, value) in enumerate(drawn.items()):
        suffix = "" if number == 0 else str(number + 1)
        high = 1 - (number * block + _GAP) / inner
        low = max(0.0, high - _ROW * len(top) / inner)  # rounding must not take it below the chart
        figure.add_trace(
            go.Heatmap(
                x=text_dates(comparison.dates[starts]),
                y=[short_name(str(assets[place])) for place in top],
                z=value.round(2),
                yaxis=f"y{suffix}",
                coloraxis="coloraxis",
                name=escape(name),
                hovertemplate="%{y}, from %{x}: %{z:+.1f}%<extra></extra>",
                ygap=1,
            )
        )
        figure.update_layout({f"yaxis{suffix}": {**axis, "domain": [low, high], "autorange": "reversed"}})
        figure.add_annotation(
            text=f"<b>{escape(name)}</b>",
            x=0,
            xref="paper",
            xanchor="left",
            y=high,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"size": 13, "color": INK},
        )
    figure.update_layout(
        hovermode="closest",
        margin={"t": 0},
        coloraxis={
            "cmin": -most,
            "cmax": most,
            "colorscale": [[0, "#d55e00"], [0.5, CARD], [1, "#0072b2"]],
            "colorbar": {
                "orientation": "h",
                "x": 0.5,
                "y": 0,
                "yanchor": "top",
                "ypad": 34,
                "thickness": 10,
                "len": 0.9,
                "ticksuffix": "%",
                "nticks": 5,
                "outlinewidth": 0,
            },
        },
    )
    figure.update_xaxes(anchor=f"y{len(drawn)}" if len(drawn) > 1 else "y", showgrid=False, nticks=6)
    return figure


def asset_cost_figure(comparison: Comparison) -> Figure:
    """The share of each objective's costs that the costliest names took, largest first."""
    import plotly.graph_objects as go

    shares = {name: cost_shares(result) for name, result in comparison.results.items()}
    top = np.argsort(-np.mean(list(shares.values()), axis=0), kind="stable")[:_COSTLY]
    assets = next(iter(comparison.results.values())).assets
    labels = [short_name(str(assets[place])) for place in top]
    figure = blank_figure(height=80 + max(24, 8 * len(shares)) * len(top))
    for number, (name, share) in enumerate(shares.items()):
        shift = 0.6 * ((number + 0.5) / len(shares) - 0.5)  # side by side: one must not hide another
        colour = colour_of(comparison, name)
        figure.add_trace(
            go.Scatter(
                x=(100 * share[top]).round(3),
                y=[place + shift for place in range(len(top))],
                text=labels,
                mode="markers",
                name=escape(name),
                marker={"symbol": marker_of(comparison, name), "size": 8, "color": colour},
                hovertemplate="%{text}: %{x:.2f}%",
            )
        )
    figure.update_xaxes(ticksuffix="%", rangemode="tozero", nticks=6, tickangle=0)
    figure.update_yaxes(
        range=[len(top) - 0.4, -0.6],
        tickvals=list(range(len(top))),
        ticktext=labels,
    )
    figure.update_layout(hovermode="closest")
    columns = {f"{name}, % of its costs": 100 * share[top] for name, share in shares.items()}
    return with_csv(figure, pd.DataFrame({"asset": [str(assets[place]) for place in top], **columns}))


def has_costs(comparison: Comparison) -> bool:
    """Whether every objective paid something, so that it has shares."""
    return all(sum(costs.sum() for costs in r.asset_costs.values()) > 0 for r in comparison.results.values())


def mean_weights(result: SimulationResult) -> np.ndarray:
    """Return the weights (S, N) after each trade, mean over books; a ruined book holds nothing."""
    total = np.zeros(result.positions.shape[1:])
    for positions in result.positions:  # one by one: all at once would copy everything
        total += np.nan_to_num(positions)
    return np.asarray(total / len(result.positions))


def cost_shares(result: SimulationResult) -> np.ndarray:
    """Return the share (N,) of all that the books paid in cash costs that each name took; NaN where nothing was."""
    paid = sum((costs.sum(axis=0) for costs in result.asset_costs.values()), np.zeros(len(result.assets)))
    total = float(paid.sum())
    return np.asarray(paid / total) if total > 0 else np.full(len(paid), np.nan)
