"""Several recorded runs on one page: verdicts, wealth, differences, the way to net, measures, settings that differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.analysis.summary import spoken
from backtest.errors import DataError, SettingsError
from backtest.report.chart_cards import card_html, chart_scripts
from backtest.report.frame import framed, part
from backtest.report.recorded_series import SERIES, read_series
from backtest.report.runs_figures import differences_figure, gross_to_net_figure, has_differences, wealth_figures
from backtest.report.tables import UNDEFINED, breakable, cell, flat_settings, typeset
from backtest.whole_files import write_text

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["Run", "read_runs", "runs_html", "settings_that_differ", "write_runs"]

DOCUMENT = "comparison.json"
# Key of the document, words, unit, factor, digits; costs stand between gross and net.
_MEASURES = (
    ("net", "net", "% a year", 100, 2),
    ("utility", "net utility", "% a year", 100, 2),
    ("sharpe", "Sharpe ratio", "annual", 1, 2),
    ("deflated_sharpe", "deflated Sharpe", "probability", 1, 2),
    ("max_drawdown", "max drawdown", "%", 100, 1),
    ("turnover", "turnover", "× wealth a year", 1, 1),
    ("leverage", "leverage", "× wealth", 1, 2),
    ("information_coefficient", "IC", "rank correlation", 1, 4),
)


@dataclass(frozen=True)
class Run:
    """A run as it was recorded.

    Attributes:
        name: to show.
        document: `Comparison.to_dict`.
        series: its paths, as `backtest.report.recorded_series` keeps them; None where it kept none.
    """

    name: str
    document: Mapping[str, Any]
    series: pd.DataFrame | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Dotted name -> text of every setting."""
        return dict(flat_settings(self.document["settings"]))


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read comparison.json of each folder (or the file itself), in the order given.

    Runs are named by the folder, and by more of its path where two would have one name.

    Raises:
        SettingsError: no folder, or one twice.
        DataError: a folder has no comparison.json, or it is not that of a run; its series cannot be read.
    """
    paths = [Path(folder).resolve() for folder in folders]
    paths = [path.parent if path.name == DOCUMENT else path for path in paths]
    if not paths:
        raise SettingsError("no runs to compare: give the folders that `backtest compare` wrote")
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise SettingsError(f"{twice}: given twice: give each run once")
    depth = next(
        (d for d in range(1, 9) if len({path.parts[-d:] for path in paths}) == len(paths)),
        max(len(path.parts) for path in paths),
    )
    return [Run("/".join(path.parts[-depth:]), _read(path / DOCUMENT), read_series(path / SERIES)) for path in paths]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not there: give a folder that `backtest compare` or `backtest run` wrote") from error
    except ValueError as error:  # of JSON or of UTF-8
        raise DataError(f"{path}: not a JSON document ({error}): run it again") from error
    missing = {"verdict", "objectives", "settings", "sample"} - set(document if isinstance(document, dict) else ())
    if missing:
        raise DataError(f"{path}: has no {', '.join(sorted(missing))}: it is not the document of a run")
    return document


def settings_that_differ(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Dotted name -> its text in each run, of every setting that is not the same in all; a dash where it is not set."""
    settings = [run.settings for run in runs]
    keys = dict.fromkeys(key for each in settings for key in each)
    values = {key: [each.get(key, UNDEFINED) for each in settings] for key in keys}
    return {key: texts for key, texts in values.items() if len(set(texts)) > 1}


def write_runs(runs: Sequence[Run], path: str | Path) -> Path:
    """Write the page to `path`, whole or not at all."""
    path = Path(path)
    write_text(path, runs_html(runs))
    return path


def runs_html(runs: Sequence[Run]) -> str:
    """Return the page as text: self-contained, and forbidden the network by its own policy."""
    title = "1 run" if len(runs) == 1 else f"{len(runs)} runs side by side"
    verdicts = "".join(
        f'<h3>{escape(run.name)}</h3><p class="verdict">{escape(typeset(run.document["verdict"]))}.</p>' for run in runs
    )
    differing = settings_that_differ(runs)
    changed = _settings_table(runs, differing) if differing else '<p class="unit">None: all are the same.</p>'
    cards, figures = _charts(runs)
    body = f"""<header><h1>{escape(title)}</h1></header>
<div class="grid">
<section class="card wide"><h2>Verdicts</h2>{verdicts}</section>
{cards}
<section class="card wide"><h2>Measures</h2>
<p class="unit">A row an objective of a run. {escape(_dates_note(runs))}</p>
<div class="scroll">{_measures_table(runs)}</div></section>
<section class="card wide"><h2>Settings that differ</h2><div class="scroll">{changed}</div></section>
</div>"""
    scripts = f"{chart_scripts(figures)}<script>{part('tables.js')}</script>"
    return framed(title, body, scripts=scripts, images="data: blob:")


def _charts(runs: Sequence[Run]) -> tuple[str, dict[str, Figure]]:
    """The cards of all charts, and what is drawn in them by key."""
    figures: dict[str, Figure] = {}
    cards = []
    without = [run.name for run in runs if run.series is None]
    if without:
        told = escape(", ".join(without))
        cards.append(
            f'<section class="card wide"><h2>Wealth not recorded</h2><p class="unit">{told}: has no {SERIES}, which '
            "runs of this version write. Run it again from its config.json to see its wealth; its numbers are all "
            "below.</p></section>"
        )
    wealth = wealth_figures(runs)
    for number, (objective, figure) in enumerate(wealth.items()):
        key = f"wealth-{number}"
        figures[key] = figure
        unit = "multiple of the starting wealth, mean over seeds"
        span = "wide" if len(wealth) == 1 or (number == len(wealth) - 1 and number % 2 == 0) else ""
        cards.append(card_html(key, f"Wealth after costs: {objective}", unit, "A line a run.", span=span))
    if has_differences(runs):
        figures["differences"] = differences_figure(runs)
        cards.append(
            card_html(
                "differences",
                "Paired differences in net return",
                "% of wealth a year, mean over seeds",
                "Mark: the mean. Bar: its interval, at the level of its run; one that holds 0 shows no difference.",
                span="wide",
            )
        )
    figures["gross-to-net"] = gross_to_net_figure(runs)
    cards.append(
        card_html(
            "gross-to-net",
            "From gross to net",
            "% of wealth a year, mean over seeds",
            "Open mark: gross. Filled mark: net. The grey bar between is what costs and interest took; the table has "
            "each cost.",
            span="wide",
        )
    )
    return "".join(cards), figures


def _dates_note(runs: Sequence[Run]) -> str:
    spans = {(run.document["sample"]["first"], run.document["sample"]["last"]) for run in runs}
    if len(spans) == 1:
        first, last = next(iter(spans))
        return f"All from {first} to {last}."
    return "The runs are of different dates: their numbers are not of one market. " + " ".join(
        f"{run.name}: {run.document['sample']['first']} to {run.document['sample']['last']}." for run in runs
    )


def _measures_table(runs: Sequence[Run]) -> str:
    kinds = dict.fromkeys(kind for run in runs for o in run.document["objectives"].values() for kind in o["costs"])
    heads = [("gross", "% a year"), *((spoken(kind), "% a year") for kind in kinds)]
    heads += [(label, unit) for _, label, unit, _, _ in _MEASURES]
    head = "".join(f'<th scope="col">{escape(label)} <small>{escape(unit)}</small></th>' for label, unit in heads)
    rows = []
    for run in runs:
        for name, numbers in run.document["objectives"].items():
            costs = [_cell(numbers["costs"].get(kind), 100, 2) for kind in kinds]
            cells = [_cell(numbers["gross"], 100, 2), *costs]
            cells += [_cell(numbers.get(key), factor, digits) for key, _, _, factor, digits in _MEASURES]
            rows.append(
                f'<tr><th scope="row">{escape(run.name)}</th><td class="text">{escape(name)}</td>{"".join(cells)}</tr>'
            )
    return (
        '<table class="many" data-sort data-csv="measures"><thead><tr><th scope="col">run</th>'
        f'<th scope="col" class="text">objective</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _cell(value: float | None, factor: float, digits: int) -> str:
    return cell(float("nan") if value is None else factor * value, digits)


def _settings_table(runs: Sequence[Run], differing: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" class="text">{escape(run.name)}</th>' for run in runs)
    rows = "".join(
        f'<tr><th scope="row">{breakable(key)}</th>'
        f"{''.join(f'<td class=text>{escape(text)}</td>' for text in texts)}</tr>"
        for key, texts in differing.items()
    )
    return (
        '<table class="differing" data-sort data-csv="settings-that-differ"><thead><tr><th scope="col">setting</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
