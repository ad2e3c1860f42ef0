"""How a position answers to its own forecast: where it trades, where it holds, and where an error teaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.report.drawing import GRID, INK, MUTED, PALETTE, ZERO, blank_figure, see_through
from backtest.solver import PositionSolver
from backtest.training.curvature import map_diagonal

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["response_figure"]

_STYLES = ("solid", "dash", "dot", "dashdot")


def response_figure(
    solvers: Mapping[str, PositionSolver],
    p: Any,
    asset: Any,
    *,
    forecasts: Any,
    held: Any = None,
    market: MarketSnapshot | None = None,
) -> Figure:
    """Draw one name's position (above) and its derivative (below) against its own forecast, all else as it is.

    The derivative is the weight that the aligned gradient gives the name's error, next to nothing where it is 0: those
    stretches of the first solver are shaded, the no-trade zone and limits.

    Args:
        solvers: a name for each; the first is the one whose stretches are shaded.
        p: (N,) forecasts, array or Series.
        asset: the name's place in `p`, or its label where `p` is a Series.
        forecasts: (F,) increasing, of the one name; enough for a smooth line, some hundreds.
        held: (N,) weights before trading; None holds nothing.
        market: F times the same row, `panel.at(np.full(F, row))`, for costs that need the market.

    Raises:
        SettingsError: no such name; forecasts that do not increase.
        SolverError: a row could not be solved.
    """
    import plotly.graph_objects as go

    tried = np.asarray(forecasts, dtype=float)
    if tried.ndim != 1 or len(tried) < 2 or not (np.diff(tried) > 0).all():
        raise SettingsError("response figure: forecasts must be two or more increasing numbers")
    place = _place(p, asset)
    batch = np.tile(np.asarray(p, dtype=float), (len(tried), 1))
    batch[:, place] = tried
    before = np.zeros(batch.shape[1]) if held is None else np.asarray(held, dtype=float)
    figure = blank_figure(height=460)
    for number, (name, solver) in enumerate(solvers.items()):
        solution = solver.solve(batch, np.tile(before, (len(tried), 1)), market=market)
        q = np.asarray(solution.q)[:, place]
        slope = map_diagonal(solution).numpy()[:, place]
        line = {"color": PALETTE[number % len(PALETTE)], "width": 2.5, "dash": _STYLES[number % len(_STYLES)]}
        shared = {"x": 1e4 * tried, "name": name, "legendgroup": name, "mode": "lines", "line": line}
        figure.add_trace(go.Scatter(y=100 * q, hovertemplate="%{x:.1f} bp: %{y:.2f}%", **shared))
        # A hundredth: of a return to a weight, as % for each bp.
        figure.add_trace(
            go.Scatter(y=0.01 * slope, yaxis="y2", showlegend=False, hovertemplate="%{x:.1f} bp: %{y:.3f}", **shared)
        )
        if number == 0:
            for first, last in _stretches(slope <= 1e-9 * slope.max()):
                stays = abs(q[(first + last) // 2] - before[place]) < 1e-9
                _shade(figure, 1e4 * tried[first], 1e4 * tried[last], "no trade" if stays else "at a limit")
    if held is not None:
        figure.add_hline(
            100 * before[place],
            line={"color": MUTED, "width": 1, "dash": "dot"},
            annotation={"text": "held", "font": {"size": 12, "color": INK}, "x": 0, "xanchor": "left"},
        )
    small = {"font": {"size": 13, "color": INK}, "standoff": 8}
    axis = {**figure.layout.yaxis.to_plotly_json(), "automargin": True}
    figure.update_layout(
        hovermode="closest",
        xaxis={"anchor": "y2", "title": {"text": "forecast of the name, bp a period", **small}, "gridcolor": GRID},
        yaxis={**axis, "domain": [0.42, 1], "title": {"text": "position, % of wealth", **small}, "ticksuffix": "%"},
        yaxis2={
            **axis,
            "domain": [0, 0.32],
            "title": {"text": "slope, % per bp", **small},
            "rangemode": "tozero",
            "zeroline": True,
            "zerolinecolor": ZERO,
        },
    )
    return figure


def _place(p: Any, asset: Any) -> int:
    if isinstance(p, pd.Series) and asset in p.index:
        return int(p.index.get_indexer(pd.Index([asset]))[0])
    if not isinstance(p, pd.Series) and isinstance(asset, int | np.integer) and 0 <= asset < len(p):
        return int(asset)
    raise SettingsError(f"response figure: no name {asset!r} among the {len(p)} of p")


def _stretches(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first and last place of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


def _shade(figure: Figure, low: float, high: float, text: str) -> None:
    for axis in ("y domain", "y2 domain"):
        figure.add_shape(
            type="rect", x0=low, x1=high, y0=0, y1=1, yref=axis, fillcolor=see_through(MUTED, 0.22), line={"width": 0}
        )
    figure.add_annotation(
        x=(low + high) / 2,
        y=1,
        yref="y domain",
        yanchor="top",
        text=f"{text}:<br>no gradient",
        showarrow=False,
        font={"size": 12, "color": INK},
    )
