"""Scores of eras in two pictures: how they add up over time, and which differences are more than luck."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from backtest.numerai.eras import era_name
from backtest.numerai.score_table import ScoreTable
from backtest.report.drawing import COLOURS, INK, MARKERS, MUTED, PALETTE, STYLES, blank_figure, see_through

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["era_figure", "score_difference_figure"]


def era_figure(table: ScoreTable, score: str) -> Figure:
    """Draw the running sum over eras of one score, mean over seeds, a line an objective.

    Args:
        table: of scores.
        score: its name, as "CORR20v2".

    Raises:
        SettingsError: there is no such score.
    """
    import plotly.graph_objects as go

    figure = blank_figure(height=380)
    for name in table.names:
        total = np.cumsum(np.nan_to_num(table.by_era(score, name)))
        figure.add_trace(
            go.Scatter(
                x=[era_name(era) for era in table.eras],
                y=total,
                name=escape(name),
                mode="lines",
                line={"color": _colour(table, name), "width": 2, "dash": STYLES.get(name, "solid")},
                hovertemplate="%{y:.4f}",
            )
        )
    figure.update_xaxes(type="category", nticks=12, showgrid=False, title_text="era")
    figure.update_yaxes(zeroline=True)
    return figure


def score_difference_figure(table: ScoreTable, base: str | None = None) -> Figure:
    """Draw how many standard errors each score of each objective is from the base's, a row a score.

    The band is two standard errors on each side: one difference in it is nothing to go by. Of many, one in twenty is
    outside by luck; the table's verdict counts them.

    Args:
        table: of scores.
        base: objective that is subtracted; None takes the first.

    Raises:
        SettingsError: there is no such objective.
    """
    import plotly.graph_objects as go

    base = table.names[0] if base is None else base
    others = [name for name in table.names if name != base]
    figure = blank_figure(height=60 + 30 * len(table.scores))
    figure.add_vrect(-2, 2, fillcolor=see_through(MUTED, 0.2), line={"width": 0}, layer="below")
    figure.add_vline(0, line={"color": INK, "width": 1})
    for number, name in enumerate(others):
        found = [table.difference(score, name, base) for score in table.scores]
        shift = 0.5 * ((number + 0.5) / len(others) - 0.5)  # side by side: one must not hide another
        figure.add_trace(
            go.Scatter(
                x=[one.mean / one.error if one.error > 0 else np.nan for one in found],
                y=[place + shift for place in range(len(found))],
                text=[
                    f"{score}: {one.mean:+.4f} ({one.error:.4f})"
                    for score, one in zip(table.scores, found, strict=True)
                ],
                name=escape(f"{name} less {base}"),
                mode="markers",
                marker={"color": _colour(table, name), "symbol": MARKERS.get(name, "cross"), "size": 9},
                hovertemplate="%{text}",
            )
        )
    figure.update_yaxes(
        range=[len(table.scores) - 0.5, -0.5], tickvals=list(range(len(table.scores))), ticktext=list(table.scores)
    )
    figure.update_layout(hovermode="closest")
    return figure


def _colour(table: ScoreTable, name: str) -> str:
    others = [one for one in table.names if one not in COLOURS]
    return COLOURS.get(name) or PALETTE[4 + others.index(name) % 4]
