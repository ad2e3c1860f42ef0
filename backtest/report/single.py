"""Single charts for a notebook or a talk: those of the page, and empty ones in the same look for what it lacks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from backtest.errors import SettingsError
from backtest.report.charts import CHARTS
from backtest.report.drawing import CARD, PALETTE, blank_figure, rows_drawn

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison

__all__ = ["PALETTE", "blank_chart", "chart", "chart_names", "titled"]

_UNIT = "#57606a"
_ABOVE = 78  # pixels for title and unit
_LEGEND = 22  # and for a legend below them


def chart_names(comparison: Comparison | None = None) -> tuple[str, ...]:
    """Return the names of the charts, for `chart`: all of them, or those that a `comparison` has the data of."""
    return tuple(each.key for each in CHARTS if comparison is None or each.has_data(comparison))


def chart(comparison: Comparison, name: str, *, points: int = 400) -> Figure:
    """Return one chart of the page as a plotly figure, with its title, its unit and how to read it.

    Args:
        comparison: what to draw.
        name: of `chart_names`: "wealth", "difference", "costs", ...
        points: most dates of a line; the page draws 1,200, which makes a notebook's file large.

    Raises:
        SettingsError: there is no such chart, or the comparison lacks its data.
    """
    known = {each.key: each for each in CHARTS}
    if name not in known:
        raise SettingsError(f"no chart {name!r}: choose from {', '.join(known)}")
    if not known[name].has_data(comparison):
        raise SettingsError(
            f"the comparison has no data for {name!r}: choose from {', '.join(chart_names(comparison))}"
        )
    figure = known[name].draw(comparison)
    for trace in figure.select_traces(selector={"mode": "lines"}):
        kept = rows_drawn(len(trace.x), most=points)
        for field in ("x", "y", "customdata"):
            if (values := trace[field]) is not None:
                trace[field] = np.asarray(values)[kept]
    return titled(figure, known[name].title, known[name].unit)


def blank_chart(title: str, unit: str, *, height: int = 400) -> Figure:
    """Return an empty plotly figure in the look of the page.

    Args:
        title: what is drawn.
        unit: of the values, below the title.
        height: in pixels.
    """
    return titled(blank_figure(height=height), title, unit)


def titled(figure: Figure, title: str, unit: str) -> Figure:
    """Return a figure with a title above it, on white: those of the page have none, for theirs stand beside them.

    Args:
        figure: is changed, and returned.
        title: what is drawn.
        unit: of the values, below the title.
    """
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    figure.update_layout(
        title={
            "text": f"<b>{escape(title)}</b>",
            "subtitle": {"text": escape(unit), "font": {"size": 13, "color": _UNIT}},
            "x": 0,
            "xref": "paper",
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 14},
            "font": {"size": 16},
        },
        margin={"t": _ABOVE + _LEGEND, "l": 16, "r": max(24, figure.layout.margin.r or 0), "b": 16},
        height=(figure.layout.height or 400) + _ABOVE,
        paper_bgcolor=CARD,
        plot_bgcolor=CARD,
    )
    return figure
