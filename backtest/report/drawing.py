"""The look that all charts share: colours, line styles, axes, and how much of a long series is drawn.

Colours are Okabe & Ito's ("Color universal design", 2008), told apart by readers with any common colour
vision, and line styles repeat the distinction. Every colour that must change on a dark page is in `DARK`.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison

__all__ = [
    "CARD",
    "COLOURS",
    "DARK",
    "GRID",
    "INK",
    "MARKERS",
    "MUTED",
    "PALETTE",
    "STYLES",
    "ZERO",
    "add_band",
    "add_line",
    "blank_figure",
    "colour_of",
    "fill_of",
    "marker_of",
    "rows_drawn",
    "see_through",
    "short_name",
    "text_dates",
    "with_start",
]

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
"""Colours that readers with any common colour vision tell apart (Okabe & Ito, 2008), and two more."""

INK, GRID, ZERO, MUTED, CARD = "#1d2329", "#e1e4e8", "#8b949e", "#9aa3ad", "#ffffff"
COLOURS = {"aligned": "#0072b2", "squared": "#d55e00", "whitened": "#009e73", "misaligned": "#cc79a7"}
"""Colour of each objective, the same in every chart."""

STYLES = {"aligned": "solid", "squared": "dash", "whitened": "dot", "misaligned": "dashdot"}
"""Line style of each objective, in plotly's words."""

_SPARE = PALETTE[4:]
MARKERS = {"aligned": "circle", "squared": "square", "whitened": "triangle-up", "misaligned": "diamond"}
_SPARE_MARKERS = ("cross", "x", "star", "hexagon")
_SPARE_STYLES = ("solid", "dash", "dot", "dashdot")
# Light to dark. The two blues change places: the strong one is too dim on a dark page. Each has two
# spellings, one for lines and one for fills.
DARK = {
    INK: "#e6e9ec",
    GRID: "#333a41",
    ZERO: "#78828c",
    MUTED: "#6f7983",
    CARD: "#242b32",
    "#0072b2": "#56b4e9",
    "rgba(0,114,178": "rgba(86,180,233",
    "#56b4e9": "#0072b2",
    "rgba(86,180,233": "rgba(0,114,178",
}
_POINTS = 1200  # more than this many dates cannot be told apart on a screen


def blank_figure(*, height: int) -> Figure:
    """An empty chart of `height` pixels in the page's look, as wide as the page gives it."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "itemwidth": 30,
            "font": {"size": 12},
        },
        hovermode="x unified",
        hoverlabel={"font": {"color": INK}, "bgcolor": CARD, "bordercolor": GRID},
        dragmode=False,
    )
    axis = {
        "automargin": True,
        "gridcolor": GRID,
        "zerolinecolor": ZERO,
        "zerolinewidth": 1,
        "zeroline": False,
    }
    figure.update_xaxes(**axis, fixedrange=True)
    figure.update_yaxes(**axis, fixedrange=True, ticklabelstandoff=6)
    return figure


def add_line(
    figure: Figure,
    comparison: Comparison,
    name: str,
    dates: pd.DatetimeIndex,
    values: np.ndarray,
    *,
    hover: str,
    label: str | None = None,
) -> None:
    """Draw one objective's line; `label` replaces its name in the legend."""
    import plotly.graph_objects as go

    label = escape(label or name)
    figure.add_trace(
        go.Scatter(
            x=text_dates(dates),
            y=values.astype(np.float32),
            name=label,
            legendgroup=label,
            mode="lines",
            line={"color": colour_of(comparison, name), "width": 2, "dash": _style(comparison, name)},
            hovertemplate=hover,
            showlegend=True,
        )
    )


def add_band(
    figure: Figure,
    comparison: Comparison,
    name: str,
    dates: pd.DatetimeIndex,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """Shade from `low` to `high` in one objective's colour; it comes and goes with the objective's line."""
    import plotly.graph_objects as go

    edge = {"x": text_dates(dates), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    shared = {**edge, "showlegend": False, "legendgroup": escape(name)}
    figure.add_trace(go.Scatter(y=low.astype(np.float32), **shared))
    figure.add_trace(
        go.Scatter(y=high.astype(np.float32), fill="tonexty", fillcolor=fill_of(comparison, name, 0.16), **shared)
    )


def colour_of(comparison: Comparison, name: str) -> str:
    """An objective's colour, the same in every chart."""
    return COLOURS.get(name) or _SPARE[_unknown(comparison, name) % len(_SPARE)]


def _style(comparison: Comparison, name: str) -> str:
    return STYLES.get(name) or _SPARE_STYLES[_unknown(comparison, name) % len(_SPARE_STYLES)]


def marker_of(comparison: Comparison, name: str) -> str:
    """An objective's symbol, the same in every chart of points."""
    return MARKERS.get(name) or _SPARE_MARKERS[_unknown(comparison, name) % len(_SPARE_MARKERS)]


def _unknown(comparison: Comparison, name: str) -> int:
    return [other for other in comparison.results if other not in COLOURS].index(name)


def fill_of(comparison: Comparison, name: str, opacity: float) -> str:
    """An objective's colour, see-through."""
    return see_through(colour_of(comparison, name), opacity)


def see_through(colour: str, opacity: float) -> str:
    """A colour, "#0072b2", with its opacity, 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def rows_drawn(n: int, *, most: int = _POINTS) -> np.ndarray:
    """Row numbers to draw: all of them, or an even choice that keeps the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def with_start(dates: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The dates of wealth (S + 1,): one period before the first result, then each result."""
    step = dates[1] - dates[0] if len(dates) > 1 else pd.Timedelta(days=1)
    return dates.insert(0, dates[0] - step)


def text_dates(dates: pd.DatetimeIndex) -> list[str]:
    """Dates as plotly reads them."""
    return dates.strftime("%Y-%m-%d").tolist()


def short_name(name: str) -> str:
    """A name that leaves room for the chart on a phone; the legend and the tables have it whole."""
    return escape(name if len(name) <= 16 else f"{name[:15]}…")
