"""A chart that stands by itself, in a notebook or a file: with a title, its unit, and a ground of its own."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from backtest.report.drawing import CARD, GRID, INK, ZERO, blank_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["standalone"]

HEIGHT = 420  # pixels, where a figure has none of its own
EDGE, TITLE, UNIT, LEGEND = 14, 26, 20, 30
"""Pixels of the margin, and of what stands above the chart."""


def standalone(figure: Figure, title: str, *, unit: str = "", x: str = "", y: str = "") -> Figure:
    """Return a copy of a plotly figure in the look of the report, with a title.

    The charts of the report's page have their titles beside them; figures of `plotly.express` have a look of their
    own. This gives both the same one, on white, so that a picture is legible on a dark page too.

    Args:
        figure: any.
        title: what it shows, in one line.
        unit: of what is drawn, and how to read it; a smaller line below.
        x, y: titles of its axes; empty leaves them.
    """
    import plotly.graph_objects as go

    drawn = go.Figure(figure)
    height = drawn.layout.height or HEIGHT
    look = blank_figure(height=height).layout
    with_legend = drawn.layout.showlegend is not False and (
        len(drawn.data) > 1 or any(trace.showlegend for trace in drawn.data)
    )
    top = EDGE + TITLE + (UNIT if unit else 0) + (LEGEND if with_legend else 8)
    small = f"<br><span style='font-size:12px;font-weight:normal'>{escape(unit)}</span>" if unit else ""
    drawn.update_layout(
        template="none",
        height=height + top,
        font=look.font,
        legend={**look.legend.to_plotly_json(), "title": {"text": ""}},
        hoverlabel=look.hoverlabel,
        dragmode=False,
        paper_bgcolor=CARD,
        plot_bgcolor=CARD,
        margin={"l": EDGE, "r": max(EDGE, drawn.layout.margin.r or 0), "t": top, "b": EDGE},
        title={
            "text": f"<b>{escape(title)}</b>{small}",
            "font": {"size": 16, "color": INK},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": EDGE, "t": EDGE},
        },
    )
    axes = {"gridcolor": GRID, "zerolinecolor": ZERO, "zerolinewidth": 1, "automargin": True, "fixedrange": True}
    small_print = {"font": {"size": 13, "color": INK}, "standoff": 8}
    drawn.update_xaxes(**axes, **({"title": {"text": escape(x), **small_print}} if x else {}))
    drawn.update_yaxes(**axes, **({"title": {"text": escape(y), **small_print}} if y else {}))
    return drawn
