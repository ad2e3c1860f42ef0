"""The way from gross to net, a bar a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from backtest.analysis.summary import spoken
from backtest.errors import SettingsError
from backtest.report.drawing import INK, MUTED, PALETTE, blank_figure, see_through, short_name, with_csv
from backtest.report.tables import number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis import Attribution

__all__ = ["Block", "attribution_figure", "steps_figure"]


@dataclass(frozen=True)
class Block:
    """One book's steps.

    Attributes:
        name: its heading.
        colour: of its totals.
        steps: (label, fraction of wealth a year), costs negative. The first and the last are totals, drawn from 0; the
            others begin where the one before ended.
    """

    name: str
    colour: str
    steps: Sequence[tuple[str, float]]


def steps_figure(blocks: Sequence[Block]) -> Figure:
    """Draw blocks below each other, each from its first total by its steps to its last, % of wealth a year."""
    import plotly.graph_objects as go

    labels, ends = [], []
    bars: dict[str, list[Any]] = {"y": [], "x": [], "base": [], "color": [], "text": []}
    table: list[dict[str, Any]] = []
    row = 0.0
    for block in blocks:
        labels.append((row, f"<b>{short_name(block.name)}</b>"))
        running, last = 0.0, len(block.steps) - 1
        for place, (label, value) in enumerate(block.steps):
            row += 1.0
            total = place in (0, last)
            start, end = (0.0, 100 * value) if total else (running, running + 100 * value)
            running = end
            labels.append((row, escape(label)))
            bars["y"].append(row)
            bars["x"].append(end - start)
            bars["base"].append(start)
            bars["color"].append(see_through(block.colour, 1.0 if place == last else 0.5) if total else MUTED)
            bars["text"].append(f"{number(100 * value, 2 if abs(value) < 1 else 1, sign=True)}%")
            table.append({"book": block.name, "step": label, "% a year": 100 * value})
            ends += [start, end]
        row += 1.4
    # As tall as the two charts beside it on a wide page, if rows of a bearable height can be.
    figure = blank_figure(height=int(60 + row * min(max(24.0, 620 / row), 36.0)))
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=bars["y"],
            x=bars["x"],
            base=bars["base"],
            marker={"color": bars["color"], "line": {"width": 0}},
            width=0.72,
            hoverinfo="skip",
            showlegend=False,
        )
    )
    figure.update_layout(
        barmode="overlay",
        margin={"r": 72},
        annotations=[  # in a column of their own, where no bar or narrow screen can hide them
            {
                "text": text,
                "x": 1,
                "xref": "paper",
                "xanchor": "left",
                "xshift": 8,
                "y": y,
                "showarrow": False,
                "font": {"size": 12, "color": INK},
            }
            for y, text in zip(bars["y"], bars["text"], strict=True)
        ],
    )
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low) or 1.0
    figure.update_xaxes(range=[low - 0.04 * room, high + 0.04 * room])
    figure.update_xaxes(ticksuffix="%", zeroline=True, nticks=4, tickangle=0)
    figure.update_yaxes(
        range=[row - 0.6, -0.6],
        tickvals=[y for y, _ in labels],
        ticktext=[text for _, text in labels],
        showgrid=False,
        zeroline=False,
    )
    return with_csv(figure, pd.DataFrame(table))


def attribution_figure(attribution: Attribution, names: Sequence[str] | None = None) -> Figure:
    """Draw each book's gross return, what each part of each cost takes away, and the net return left.

    Args:
        attribution: from `attribute`; with the costs and the panel of the run, a trading cost comes in its parts.
        names: of the books to draw, in this order; None draws all.

    Raises:
        SettingsError: no book has this name.
    """
    by_year = attribution.total["per_year"]
    known = list(by_year.index.get_level_values("name").unique())
    chosen = known if names is None else list(names)
    if missing := [name for name in chosen if name not in known]:
        raise SettingsError(f"attribution figure: there is no book {missing[0]!r}: give names from {', '.join(known)}")
    return steps_figure(
        [Block(name, PALETTE[number % len(PALETTE)], _steps(by_year.loc[name])) for number, name in enumerate(chosen)]
    )


def _steps(lines: pd.Series) -> list[tuple[str, float]]:
    """Return one book's lines: the delisting is a part of gross, and interest that is none needs no bar."""
    shown = lines.drop("of it delisting")
    if not shown["interest"]:
        shown = shown.drop("interest")
    return [(spoken(str(label)), float(value)) for label, value in shown.items()]
