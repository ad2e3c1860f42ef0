"""How much money policies can run, in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from backtest.report.drawing import INK, PALETTE, ZERO, blank_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis import Capacity

__all__ = ["capacity_figure", "short_sum"]


def capacity_figure(capacities: Mapping[str, Capacity]) -> Figure:
    """Draw net return of each policy, % a year, against initial wealth, and gross return as a thinner, dashed line.

    A diamond is where half of the net return at the smallest wealth is left, and a cross where nothing is; the legend
    says so too. Lines between wealths are straight in the logarithm, as these two are read.

    Args:
        capacities: a name for each policy, from `capacity_curve`.
    """
    import plotly.graph_objects as go

    figure = blank_figure(height=400)
    for number, (name, capacity) in enumerate(capacities.items()):
        colour, label = PALETTE[number % len(PALETTE)], escape(name)
        ends = (
            (capacity.half, capacity.table["net"].iloc[0] / 2, "half left at", "diamond"),
            (capacity.zero, 0.0, "nothing at", "x"),
        )
        known = [end for end in ends if np.isfinite(end[0])]
        said = "".join(f", {what} {short_sum(wealth)}" for wealth, _, what, _ in known)
        table = capacity.table
        net, gross = 100 * table["net"], 100 * table["gross"]
        shared = {"x": table.index, "text": [short_sum(wealth) for wealth in table.index]}
        figure.add_trace(
            go.Scatter(
                **shared,
                y=net,
                name=label + said,
                mode="lines+markers",
                line={"color": colour, "width": 2.5},
                hovertemplate="%{text}: %{y:.1f}%",
            )
        )
        figure.add_trace(
            go.Scatter(
                **shared,
                y=gross,
                name=f"{label}, gross",
                showlegend=False,
                mode="lines",
                line={"color": colour, "width": 1.5, "dash": "dash"},
                hovertemplate="%{text}: %{y:.1f}%",
            )
        )
        for wealth, level, _, symbol in known:
            figure.add_trace(
                go.Scatter(
                    x=[wealth],
                    y=[100 * level],
                    mode="markers",
                    marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 1, "color": INK}},
                    showlegend=False,
                    hoverinfo="skip",
                )
            )
    wealths = np.concatenate([capacity.table.index.to_numpy() for capacity in capacities.values()])
    decades = 10.0 ** np.arange(np.floor(np.log10(wealths.min())), np.ceil(np.log10(wealths.max())) + 1)
    figure.add_hline(0.0, line={"color": ZERO, "width": 1})
    figure.update_xaxes(type="log", tickvals=decades, ticktext=[short_sum(value) for value in decades])
    figure.update_yaxes(ticksuffix="%")
    figure.update_layout(hovermode="closest")
    return figure


def short_sum(amount: float) -> str:
    """Say an amount of currency in three digits and a letter: "2.5 M"."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= 0.9995 * size:
            return f"{amount / size:.3g} {letter}"
    return f"{amount:.3g}"
