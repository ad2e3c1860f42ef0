"""One picture of where an objective puts its weight: by name, and by direction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from backtest.errors import SettingsError
from backtest.report.drawing import INK, ZERO, blank_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["weight_figure"]

COLOURS = {"squared": "#d55e00", "whitened": "#009e73", "aligned": "#0072b2"}
GAP = 0.02
"""Names left between two groups, as a share of all."""


def weight_figure(weights: pd.DataFrame, *, groups: Mapping[Hashable, str] | None = None, height: int = 640) -> Figure:
    """Draw the weights that objectives give names (above) and directions (below), each in units of its mean.

    Names go from the most to the least weight under aligned, group by group.

    Args:
        weights: a row an asset, as `backtest.training.gradient_weights` returns them.
        groups: a word for each asset, such as "cheap" and "dear"; groups stand in the order they are first met in.
        height: pixels.

    Raises:
        SettingsError: an asset has no group.
    """
    import plotly.graph_objects as go

    names = weights[weights["kind"] == "name"].pivot(index="item", columns="objective", values="relative").dropna()
    groups = dict.fromkeys(names.index, "") if groups is None else groups
    missing = [item for item in names.index if item not in groups]
    if missing:
        raise SettingsError(f"weight figure: {missing[0]!r} has no group ({len(missing)} assets have none)")
    order = list(dict.fromkeys(groups.values()))
    figure = blank_figure(height=height)
    objectives = [name for name in COLOURS if name in names.columns]
    places: dict[Hashable, float] = {}
    place = 0.0
    for group in order:
        members = [item for item in names.index if groups[item] == group]
        ranked = names.loc[members].sort_values("aligned", ascending=False, kind="stable").index
        places |= {item: place + number for number, item in enumerate(ranked, start=1)}
        if group and len(ranked):
            middle = place + (len(ranked) + 1) / 2
            figure.add_annotation(
                x=middle, y=1.0, yref="y domain", yanchor="bottom", text=escape(group), showarrow=False
            )
        place += len(ranked) + GAP * len(names)
        if group != order[-1]:
            figure.add_vline(place - GAP * len(names) / 2 + 0.5, line={"color": ZERO, "width": 1, "dash": "dot"})
    names = names.loc[list(places)]
    for objective in objectives:
        # Squared gives every name the same weight: a line, which the points of others do not hide.
        points = objective != "squared"
        figure.add_trace(
            go.Scatter(
                x=list(places.values()),
                y=names[objective],
                text=[escape(str(item)) for item in names.index],
                name=objective,
                legendgroup=objective,
                mode="markers" if points else "lines",
                marker={"color": COLOURS[objective], "size": 6},
                line={"color": COLOURS[objective], "width": 2},
                zorder=int(not points),
                hovertemplate="%{text}: %{y:.2f}",
            )
        )
    along = weights[weights["kind"].isin(["factor", "direction", "rest"])]
    for objective in objectives:
        of_one = along[along["objective"] == objective]
        figure.add_trace(
            go.Bar(
                x=[escape(str(item)) for item in of_one["item"]],
                y=of_one["relative"],
                text=[f"{value:.2f}" for value in of_one["relative"]],
                textposition="outside",
                name=objective,
                legendgroup=objective,
                showlegend=False,
                marker={"color": COLOURS[objective]},
                xaxis="x2",
                yaxis="y2",
                hovertemplate="%{x}: %{y:.3f}",
            )
        )
    axis = figure.layout.yaxis.to_plotly_json()
    title = {"text": "weight, mean = 1", "font": {"size": 13, "color": INK}}
    # Points that lie at 0 are to be seen whole, and so are the numbers above the bars.
    tops = [float(names[objectives].to_numpy().max()), max(1.0, float(along["relative"].max()))]
    ranges = [[-0.04 * tops[0], 1.08 * tops[0]], [min(0.0, float(along["relative"].min())), 1.15 * tops[1]]]
    figure.update_layout(
        barmode="group",
        bargap=0.25,
        hovermode="closest",
        xaxis={"domain": [0, 1], "anchor": "y", "showticklabels": False, "showgrid": False},
        xaxis_title={**title, "text": "names, from the most to the least weight under aligned"},
        yaxis={**axis, "domain": [0.5, 0.95], "title": title, "range": ranges[0]},
        xaxis2={"anchor": "y2", "automargin": True},
        yaxis2={**axis, "domain": [0, 0.38], "anchor": "x2", "title": title, "range": ranges[1]},
    )
    return figure
