"""How much money a policy can run, in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest.report.drawing import INK, MUTED, PALETTE, ZERO, blank_figure, see_through

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis import Capacity

__all__ = ["capacity_figure", "short_sum"]


def capacity_figure(capacity: Capacity) -> Figure:
    """Draw gross and net return, % a year, against initial wealth; what costs take is shaded.

    Upright lines are at the wealths at which half of the net return is left, and none, where these are known. From
    one wealth to the next lines are straight, as they are read.
    """
    import plotly.graph_objects as go

    figure = blank_figure(height=380)
    wealth = capacity.table.index.to_numpy()
    labels = [short_sum(value) for value in wealth]
    net, gross = (100 * capacity.table[name].to_numpy() for name in ("net", "gross"))
    shared = {"x": wealth, "text": labels, "mode": "lines+markers", "hovertemplate": "%{text}: %{y:.1f}%"}
    figure.add_trace(go.Scatter(y=net, name="net", line={"color": PALETTE[0], "width": 2.5}, **shared))
    figure.add_trace(
        go.Scatter(
            y=gross,
            name="gross, before costs",
            line={"color": MUTED, "width": 2, "dash": "dash"},
            fill="tonexty",
            fillcolor=see_through(MUTED, 0.18),
            **shared,
        )
    )
    for where, what in ((capacity.half, "half of net"), (capacity.zero, "nothing left")):
        if np.isfinite(where):
            figure.add_vline(where, line={"color": INK, "width": 1, "dash": "dot"})
            figure.add_annotation(
                x=np.log10(where),
                y=1,
                yref="y domain",
                text=f"{what}: {short_sum(where)}",
                showarrow=False,
                xanchor="right",
                yanchor="top",
                xshift=-5,
                font={"size": 12, "color": INK},
            )
    figure.add_hline(0.0, line={"color": ZERO, "width": 1})
    decades = 10.0 ** np.arange(np.floor(np.log10(wealth[0])), np.ceil(np.log10(wealth[-1])) + 1)
    figure.update_xaxes(type="log", tickvals=decades, ticktext=[short_sum(value) for value in decades])
    figure.update_yaxes(ticksuffix="%")
    return figure


def short_sum(amount: float) -> str:
    """Say an amount of currency in three digits and a word: "2.5 M"."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= 0.9995 * size:
            return f"{amount / size:.3g} {letter}"
    return f"{amount:.3g}"
