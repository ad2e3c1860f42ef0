"""Wealth, the paired difference, the way from gross to net, and the spread over seeds, as plotly figures."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.analysis.summary import spoken
from backtest.report.drawing import (
    INK,
    ZERO,
    add_band,
    add_line,
    blank_figure,
    colour_of,
    fill_of,
    log_ticks,
    rows_drawn,
    short_name,
    text_dates,
    with_csv,
    with_start,
)
from backtest.report.steps import Block, steps_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison

__all__ = ["cost_figure", "difference_figure", "seeds_figure", "wealth_figure"]


def wealth_figure(comparison: Comparison) -> Figure:
    """Mean wealth over seeds of each objective, with the band from the lowest to the highest seed."""
    figure = blank_figure(height=400)
    dates = with_start(comparison.dates)
    kept = rows_drawn(len(dates))
    paths = {name: series.wealth[:, kept] / series.wealth[:, :1] for name, series in comparison.series.items()}
    means = {name: path.mean(axis=0) for name, path in paths.items()}
    lowest = min(float(mean[mean > 0].min()) for mean in means.values())
    # One lucky seed must not flatten the rest.
    highest = max(float(min(paths[name].max(), 3.0 * mean.max())) for name, mean in means.items())
    floor = 0.0
    if highest / lowest > 4:  # a linear axis would hide the start
        floor = max(lowest, 1e-2)
        figure.update_yaxes(
            type="log",
            range=[np.log10(floor) - 0.05, np.log10(highest) + 0.05],
            tickvals=log_ticks(floor, highest),
            tickformat="~g",
        )
        floor /= 10.0  # a ruined seed has no logarithm: draw it below the axis
    for name, path in paths.items():
        low, high = np.maximum(path.min(axis=0), floor), np.maximum(path.max(axis=0), floor)
        add_band(figure, comparison, name, dates[kept], low, high)
        add_line(figure, comparison, name, dates[kept], np.maximum(means[name], floor), hover="%{y:.3f}")
    figure.add_hline(1.0, line={"color": ZERO, "width": 1})
    return figure


def cost_figure(comparison: Comparison) -> Figure:
    """Gross return, what each cost takes away, and the net return left, as steps from left to right."""
    blocks = []
    interest_shown = any(s.interest for s in comparison.objectives.values())
    for name, summary in comparison.objectives.items():
        steps = [("gross", summary.gross)]
        steps += [(spoken(kind), -value) for kind, value in summary.costs.items()]
        steps += [("interest", summary.interest)] if interest_shown else []
        blocks.append(Block(name, colour_of(comparison, name), (*steps, ("net", summary.net))))
    return steps_figure(blocks)


def difference_figure(comparison: Comparison) -> Figure:
    """Cumulative paired difference in net return, with the interval for its mean as a cone."""
    import plotly.graph_objects as go

    figure = blank_figure(height=400)
    dates = with_start(comparison.dates)
    kept = rows_drawn(len(dates))
    years = np.arange(len(dates)) / comparison.periods_per_year
    for difference in comparison.headline:
        total = np.concatenate([[0.0], comparison.paired(difference.a, difference.b).mean(axis=0).cumsum()])
        interval, rival = difference.interval, difference.b
        label = f"{difference.a} − {difference.b}"
        if interval.reason is None:
            cone = [100 * bound * years[[0, -1]] for bound in (interval.low, interval.high)]
            figure.add_trace(
                go.Scatter(
                    x=text_dates(dates[[0, -1, -1, 0]]),
                    y=np.concatenate([cone[0], cone[1][::-1]]),
                    fill="toself",
                    fillcolor=fill_of(comparison, rival, 0.13),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=label,
                )
            )
        add_line(figure, comparison, rival, dates[kept], 100 * total[kept], hover="%{y:.2f}%", label=label)
    figure.update_yaxes(ticksuffix="%", zeroline=True)
    return figure


def seeds_figure(comparison: Comparison) -> Figure:
    """Annual net return of every seed: a ring each, a cross where the seed was ruined, a bar at the mean."""
    import plotly.graph_objects as go

    names = list(comparison.objectives)
    figure = blank_figure(height=90 + 48 * len(names))
    for position, (name, summary) in enumerate(comparison.objectives.items()):
        lost = np.isin(summary.seeds, summary.ruined)
        colour = colour_of(comparison, name)
        figure.add_trace(
            go.Scatter(
                x=100 * np.array(summary.net_by_seed),
                y=np.full(len(summary.seeds), position),
                mode="markers",
                marker={
                    "symbol": np.where(lost, "x-thin", "circle-open").tolist(),
                    "size": 11,
                    "color": colour,
                    "line": {"width": 2, "color": colour},
                },
                text=[escape(seed) for seed in summary.seeds],
                hovertemplate="%{text}: %{x:.2f}%<extra></extra>",
                showlegend=False,
            )
        )
        figure.add_shape(
            type="line",
            x0=100 * summary.net,
            x1=100 * summary.net,
            y0=position - 0.3,
            y1=position + 0.3,
            line={"color": INK, "width": 3},
        )
    figure.update_xaxes(ticksuffix="%", zeroline=True, nticks=5, tickangle=0)
    figure.update_yaxes(
        range=[len(names) - 0.5, -0.5],
        tickvals=list(range(len(names))),
        ticktext=[short_name(name) for name in names],
        showgrid=False,
        zeroline=False,
    )
    figure.update_layout(hovermode="closest")
    table = [
        {"objective": name, "seed": seed, "net % a year": 100 * net, "ruined": seed in summary.ruined}
        for name, summary in comparison.objectives.items()
        for seed, net in zip(summary.seeds, summary.net_by_seed, strict=True)
    ]
    return with_csv(figure, pd.DataFrame(table))
