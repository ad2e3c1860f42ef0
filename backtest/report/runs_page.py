"""Several recorded runs on one page: their verdicts, the measures of each objective, and the settings that differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from backtest.analysis.summary import spoken
from backtest.errors import DataError, SettingsError
from backtest.report.frame import framed, part
from backtest.report.tables import UNDEFINED, cell, flat_settings
from backtest.whole_files import write_text

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
    """A run as it was recorded: the name to show, and its document, `Comparison.to_dict`."""

    name: str
    document: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        """Dotted name -> text of every setting."""
        return dict(flat_settings(self.document["settings"]))


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read comparison.json of each folder (or the file itself), in the order given.

    Runs are named by the folder, and by more of its path where two would have one name.

    Raises:
        SettingsError: no folder, or one twice.
        DataError: a folder has no comparison.json, or it is not that of a run.
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
    return [Run("/".join(path.parts[-depth:]), _read(path / DOCUMENT)) for path in paths]


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
        f'<h3>{escape(run.name)}</h3><p class="verdict">{escape(run.document["verdict"])}.</p>' for run in runs
    )
    differing = settings_that_differ(runs)
    changed = _settings_table(runs, differing) if differing else '<p class="unit">None: all are the same.</p>'
    body = f"""<header><h1>{escape(title)}</h1></header>
<div class="grid">
<section class="card wide"><h2>Verdicts</h2>{verdicts}</section>
<section class="card wide"><h2>Measures</h2>
<p class="unit">A row an objective of a run. {escape(_dates_note(runs))}</p>
<div class="scroll">{_measures_table(runs)}</div></section>
<section class="card wide"><h2>Settings that differ</h2><div class="scroll">{changed}</div></section>
</div>"""
    scripts = f"""<script>{part("tables.js")}</script>"""
    return framed(title, body, scripts=scripts)


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
        '<table data-sort data-csv="measures"><thead><tr><th scope="col">run</th><th scope="col" class="text">objective'
        f"</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(value: float | None, factor: float, digits: int) -> str:
    return cell(float("nan") if value is None else factor * value, digits)


def _settings_table(runs: Sequence[Run], differing: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" class="text">{escape(run.name)}</th>' for run in runs)
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th>{"".join(f"<td class=text>{escape(text)}</td>" for text in texts)}</tr>'
        for key, texts in differing.items()
    )
    return (
        f'<table data-sort data-csv="settings-that-differ"><thead><tr><th scope="col">setting</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
