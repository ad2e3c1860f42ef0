"""How well the solver did: statuses, residuals and steps of every decision, and how long decisions took."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.report.drawing import blank_figure, colour_of, with_csv
from backtest.report.tables import UNDEFINED, cell, labelled_table
from backtest.solver import Status

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from backtest.analysis.comparison import Comparison
    from backtest.simulation import SimulationResult

__all__ = [
    "HEALTH_NOTE",
    "TIMES_NOTE",
    "has_solves",
    "health_html",
    "iterations_figure",
    "residuals_figure",
    "times_html",
]

HEALTH_NOTE = (
    "decisions of all seeds and dates. Residual: relative error of the equations that the solver solves; up to 1e-9 "
    "counts as solved, up to 1e-6 as inaccurate. Otherwise nothing is traded. Quantiles are over decisions that have "
    "a solution"
)
TIMES_NOTE = (
    "wall-clock time from forecasts to weights. All books of one call are solved together, so that a single one has no "
    "time of its own. These are the only numbers of the page that differ when a run is repeated"
)
_HEIGHT = 320
_MOST_STEPS = 15  # more iterations share the last bar
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def has_solves(comparison: Comparison) -> bool:
    """Whether a solver was asked for any decision."""
    return any(bool(_asked(result).any()) for result in comparison.results.values())


def health_html(comparison: Comparison) -> str:
    """Statuses, residuals and steps: a column an objective."""
    results = list(comparison.results.values())
    rows: list[tuple[str, list[str]]] = [("decisions", [cell(float(_asked(r).sum()), 0) for r in results])]
    for status in Status:
        counts = [float((r.solve_statuses == status).sum()) for r in results]
        rows.append((status.name.lower().replace("_", " "), [cell(count, 0) for count in counts]))
    measures: list[tuple[str, Callable[[np.ndarray], float]]] = [
        ("median", lambda values: float(np.median(values))),
        ("99th percentile", lambda values: float(np.quantile(values, 0.99))),
        ("worst", lambda values: float(values.max())),
    ]
    for label, read in measures:
        rows.append((f"residual, {label}", [_small(_read(read, _residuals(r))) for r in results]))
    for label, read in [("mean", lambda values: float(values.mean())), *measures[1:2], ("most", measures[2][1])]:
        digits = 1 if label == "mean" else 0
        rows.append((f"iterations, {label}", [cell(_read(read, _iterations(r)), digits) for r in results]))
    return labelled_table("solver", "", list(comparison.results), rows, sorts=False)


def times_html(comparison: Comparison) -> str:
    """Milliseconds a decision took, a column a simulation; words where no time is known."""
    groups: dict[int, list[str]] = {}
    for name, result in comparison.results.items():
        groups.setdefault(id(result.times), []).append(name)
    known = {}
    for names in groups.values():
        times = comparison.results[names[0]].times
        if times is not None and np.isfinite(times.seconds).any():
            heading = "all objectives" if len(groups) == 1 < len(names) else ", ".join(names)
            known[heading] = (times.n_books, times.seconds[np.isfinite(times.seconds)])
    if not known:
        return "<p>Not known: the result was read from a file.</p>"
    measures: list[tuple[str, int, Callable[[int, np.ndarray], float]]] = [
        ("books decided in one call", 0, lambda books, _: float(books)),
        ("calls", 0, lambda _, seconds: float(len(seconds))),
        ("median call, ms", 2, lambda _, seconds: 1e3 * float(np.median(seconds))),
        ("99th percentile of calls, ms", 2, lambda _, seconds: 1e3 * float(np.quantile(seconds, 0.99))),
        ("slowest call, ms", 2, lambda _, seconds: 1e3 * float(seconds.max())),
        ("median call divided by its books, ms", 3, lambda books, seconds: 1e3 * float(np.median(seconds)) / books),
        ("all calls, s", 2, lambda _, seconds: float(seconds.sum())),
    ]
    rows = [(label, [cell(read(*each), digits) for each in known.values()]) for label, digits, read in measures]
    return labelled_table("decision-times", "", list(known), rows, sorts=False)


def residuals_figure(comparison: Comparison) -> Figure:
    """Share of decisions by the power of ten of their residual."""
    found = {name: _residuals(result) for name, result in comparison.results.items()}
    powers = {name: _powers(values) for name, values in found.items()}
    every = np.concatenate(list(powers.values()))
    finite = every[np.isfinite(every)]
    steps = range(int(finite.min()), int(finite.max()) + 1) if len(finite) else range(0)
    places: list[tuple[float, str]] = [(-np.inf, "0")] if len(finite) < len(every) else []
    places += [(float(power), f"10{str(power).translate(_SUPERSCRIPTS)}") for power in steps]
    return _bars(comparison, powers, places, "residual up to")


def iterations_figure(comparison: Comparison) -> Figure:
    """Share of decisions by the number of the solver's steps."""
    found = {name: np.minimum(_iterations(result), _MOST_STEPS) for name, result in comparison.results.items()}
    every = np.concatenate(list(found.values()))
    steps = range(int(every.min()), int(every.max()) + 1) if len(every) else range(0)
    places = [(float(n), f"≥{n}" if n == _MOST_STEPS else str(n)) for n in steps]
    return _bars(comparison, found, places, "iterations")


def _bars(comparison: Comparison, found: dict[str, np.ndarray], places: list[tuple[float, str]], what: str) -> Figure:
    import plotly.graph_objects as go

    figure = blank_figure(height=_HEIGHT)
    shares = {}
    for name, values in found.items():
        shares[name] = [100 * float((values == place).mean()) if len(values) else np.nan for place, _ in places]
        figure.add_trace(
            go.Bar(
                x=[text for _, text in places],
                y=np.array(shares[name]).round(3),
                name=escape(name),
                marker={"color": colour_of(comparison, name), "line": {"width": 0}},
                hovertemplate="%{y:.2f}%",
            )
        )
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_xaxes(type="category", tickangle=0, showgrid=False)
    figure.update_yaxes(ticksuffix="%", rangemode="tozero")
    return with_csv(figure, pd.DataFrame({what: [text for _, text in places], **shares}))


def _powers(residuals: np.ndarray) -> np.ndarray:
    """Return the power of ten that each residual is up to; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.ceil(np.log10(residuals)))


def _asked(result: SimulationResult) -> np.ndarray:
    return np.asarray(result.solve_statuses >= 0)


def _solved(result: SimulationResult) -> np.ndarray:
    return _asked(result) & (result.solve_statuses <= Status.INACCURATE)


def _residuals(result: SimulationResult) -> np.ndarray:
    return np.asarray(result.solve_residuals[_solved(result)])


def _iterations(result: SimulationResult) -> np.ndarray:
    return np.asarray(result.solve_iterations[_solved(result)], dtype=float)


def _read(read: Callable[[np.ndarray], float], values: np.ndarray) -> float:
    return read(values) if len(values) else float("nan")


def _small(value: float) -> str:
    if not np.isfinite(value):
        return f'<td data-value="">{UNDEFINED}</td>'
    mantissa, power = f"{value:.1e}".split("e")
    text = "0" if value == 0 else f"{mantissa}·10{str(int(power)).translate(_SUPERSCRIPTS)}"
    return f'<td data-value="{value!r}">{text}</td>'
