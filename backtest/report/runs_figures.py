"""Several recorded runs in charts: their wealth, their paired differences, and what costs took of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from backtest.report.drawing import INK, MUTED, ZERO, blank_figure, log_ticks, rows_drawn, text_dates, with_csv

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["RecordedRun", "differences_figure", "gross_to_net_figure", "has_differences", "wealth_figures"]

# Okabe & Ito's colours, marks and dashes: a run has the same in every chart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "hexagon")
_ROW = 24
_LONGEST = 22
_LOG_ABOVE = 4.0
"""Wealth that grows by more than this factor is drawn on a logarithmic axis."""


class RecordedRun(Protocol):
    """What the charts read; `backtest.report.runs_page.Run` is one."""

    @property
    def name(self) -> str:
        """What the run is called."""

    @property
    def document(self) -> Mapping[str, Any]:
        """`Comparison.to_dict`."""

    @property
    def series(self) -> pd.DataFrame | None:
        """Its paths; None where it kept none."""


@dataclass(frozen=True)
class _Row:
    """A line of a chart: which run, and its numbers in %; or the head of a group, without a run."""

    label: str
    run: int | None = None
    values: tuple[float, ...] = ()
    group: str = ""


def wealth_figures(runs: Sequence[RecordedRun]) -> dict[str, Figure]:
    """Objective -> the wealth of each run that kept its series, mean over seeds; empty where none did."""
    import plotly.graph_objects as go

    kept = {number: run.series for number, run in enumerate(runs) if run.series is not None}
    figures = {}
    for objective in dict.fromkeys(name for series in kept.values() for name in series["objective"]):
        figure = blank_figure(height=340)
        lowest, highest = np.inf, 0.0
        for number, series in kept.items():
            path = series[series["objective"] == objective]
            if path.empty:
                continue
            drawn = path.iloc[rows_drawn(len(path))]
            wealth = drawn["wealth"].to_numpy()
            lowest = min(lowest, float(wealth[wealth > 0].min()))
            highest = max(highest, float(wealth.max()))
            figure.add_trace(
                go.Scatter(
                    x=text_dates(pd.DatetimeIndex(drawn["date"])),
                    y=wealth.astype(np.float32),
                    name=escape(_short(runs[number].name)),
                    meta=runs[number].name,
                    mode="lines",
                    line={"color": _of(_COLOURS, number), "width": 2, "dash": _of(_DASHES, number)},
                    hovertemplate="%{y:.3f}",
                    showlegend=True,
                )
            )
        if highest / lowest > _LOG_ABOVE:
            low, high = np.log10(max(lowest, 1e-2)) - 0.05, np.log10(highest) + 0.05
            ticks = log_ticks(10**low, 10**high)
            figure.update_yaxes(type="log", range=[low, high], tickvals=ticks, tickformat="~g")
        figure.add_hline(1.0, line={"color": ZERO, "width": 1})
        figures[objective] = figure
    return figures


def has_differences(runs: Sequence[RecordedRun]) -> bool:
    """Whether any run compared objectives."""
    return bool(_differences(runs))


def differences_figure(runs: Sequence[RecordedRun]) -> Figure:
    """The difference in net return of each pair, a dot with its interval for each run that has the pair."""
    import plotly.graph_objects as go

    rows = _differences(runs)
    figure = _rows_figure(rows)
    for place, row in enumerate(rows):
        if row.run is None:
            continue
        mean, low, high = row.values
        colour = _of(_COLOURS, row.run)
        if np.isfinite(low):
            figure.add_shape(type="line", x0=low, x1=high, y0=place, y1=place, line={"color": colour, "width": 3})
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[place],
                mode="markers",
                marker={"symbol": _of(_SYMBOLS, row.run), "size": 11, "color": colour},
                hovertemplate=_interval_words(low, high),
                name=escape(runs[row.run].name),
                showlegend=False,
            )
        )
    ends = [value for row in rows for value in row.values if np.isfinite(value)]
    _fit(figure, [0.0, *ends])
    columns = ("% a year", "low", "high")
    return with_csv(figure, _table(rows, runs, "pair", columns))


def gross_to_net_figure(runs: Sequence[RecordedRun]) -> Figure:
    """Gross and net return of each objective of each run, joined by what costs took."""
    import plotly.graph_objects as go

    objectives = dict.fromkeys(name for run in runs for name in run.document["objectives"])
    rows = []
    for objective in objectives:
        rows.append(_Row(f"<b>{escape(_short(objective))}</b>"))
        for number, run in enumerate(runs):
            numbers = run.document["objectives"].get(objective)
            if numbers is not None:
                values = tuple(_percent(numbers[key]) for key in ("gross", "net"))
                rows.append(_Row(escape(_short(run.name)), number, values, objective))
    figure = _rows_figure(rows)
    for place, row in enumerate(rows):
        if row.run is None:
            continue
        gross, net = row.values
        colour = _of(_COLOURS, row.run)
        figure.add_shape(type="line", x0=gross, x1=net, y0=place, y1=place, line={"color": MUTED, "width": 5})
        for value, word, filled in ((gross, "gross", False), (net, "net", True)):
            symbol = _of(_SYMBOLS, row.run)
            figure.add_trace(
                go.Scatter(
                    x=[value],
                    y=[place],
                    mode="markers",
                    marker={
                        "symbol": symbol if filled else f"{symbol}-open",
                        "size": 11,
                        "color": colour,
                        "line": {"width": 2, "color": colour},
                    },
                    hovertemplate=f"{word} %{{x:.2f}}%<extra></extra>",
                    showlegend=False,
                )
            )
    _fit(figure, [0.0, *(value for row in rows for value in row.values if np.isfinite(value))])
    return with_csv(figure, _table(rows, runs, "objective", ("gross % a year", "net % a year")))


def _differences(runs: Sequence[RecordedRun]) -> list[_Row]:
    """The net differences of all runs, grouped by pair, behind a head each."""
    found: dict[tuple[str, str], list[_Row]] = {}
    for number, run in enumerate(runs):
        for each in run.document.get("differences", ()):
            if each["quantity"] != "net":
                continue
            low, high = each["interval"] or (None, None)
            values = (_percent(each["mean"]), _percent(low), _percent(high))
            pair = (each["a"], each["b"])
            found.setdefault(pair, []).append(_Row(escape(_short(run.name)), number, values, f"{pair[0]} - {pair[1]}"))
    heads = {pair: f"<b>{escape(_short(pair[0]))} − {escape(_short(pair[1]))}</b>" for pair in found}
    return [row for pair, rows in found.items() for row in (_Row(heads[pair]), *rows)]


def _rows_figure(rows: Sequence[_Row]) -> Figure:
    figure = blank_figure(height=56 + _ROW * len(rows))
    figure.add_vline(0.0, line={"color": ZERO, "width": 1})
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[row.label for row in rows],
        showgrid=False,
        tickfont={"color": INK},
    )
    figure.update_xaxes(ticksuffix="%", nticks=4, tickangle=0)
    figure.update_layout(hovermode="closest")
    return figure


def _fit(figure: Figure, ends: Sequence[float]) -> None:
    low, high = min(ends), max(ends)
    room = 0.06 * ((high - low) or 1.0)
    figure.update_xaxes(range=[low - room, high + room])


def _table(rows: Sequence[_Row], runs: Sequence[RecordedRun], group: str, columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {group: row.group, "run": runs[row.run].name, **dict(zip(columns, row.values, strict=True))}
            for row in rows
            if row.run is not None
        ]
    )


def _interval_words(low: float, high: float) -> str:
    interval = f"<br>interval [{low:.2f}, {high:.2f}]%" if np.isfinite(low) else "<br>no interval"
    return f"%{{x:.2f}}%{interval}"


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100.0 * value


def _short(name: str) -> str:
    """The end of a name, which is what tells paths apart."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _of(choices: Sequence[str], number: int) -> str:
    return choices[number % len(choices)]
