"""One page that a reader can keep: all in one HTML file, nothing fetched, light or dark.

The page forbids itself the network by its own content security policy. Plotly is inlined once; each chart's
data are JSON, drawn again in the other palette when the reader's preference changes. Files are replaced whole
or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.analysis.comparison import plain
from backtest.analysis.summary import members
from backtest.report.chart_cards import card_html, chart_scripts
from backtest.report.charts import CHARTS, SOLVER_CHARTS, Chart, charts_of
from backtest.report.details import EVENTS_NOTE, assets_html, events_html, months_html
from backtest.report.frame import framed, part
from backtest.report.recorded_series import SERIES, write_series
from backtest.report.solver_health import HEALTH_NOTE, TIMES_NOTE, has_solves, health_html, times_html
from backtest.report.tables import (
    differences_html,
    measures_html,
    number,
    paths_html,
    settings_html,
    training_html,
    typeset,
)
from backtest.whole_files import write_text

if TYPE_CHECKING:
    from backtest.analysis.comparison import Comparison, Difference

__all__ = ["page_html", "without_clock", "write_report"]

CLOCK = ("<!-- what the clock said -->", "<!-- no clock from here on -->")
"""Around the one part of the page that is not the same when a run is repeated."""


def write_report(comparison: Comparison, directory: str | Path) -> Path:
    """Write report.html, comparison.json and series.parquet of a `comparison` into `directory`, made if need be.

    Each file is written beside its place and moved into it, so that an interrupted run never leaves half a file.

    Returns:
        The path of the page.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(comparison.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
    write_text(folder / "comparison.json", document + "\n")
    write_series(comparison, folder / SERIES)
    page = folder / "report.html"
    write_text(page, page_html(comparison))
    return page


def page_html(comparison: Comparison) -> str:
    """The whole page as text: the verdict in words, the charts, every number, every setting."""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in comparison.notes)
    title = _headline(comparison)
    body = f"""<header>
<p class="kicker">{escape(" · ".join(comparison.results))}</p>
<h1>{escape(title)}</h1>
{"".join(_clause(difference) for difference in comparison.headline)}
{"".join(f'<p class="sample">{escape(typeset(reading))}.</p>' for reading in comparison.readings)}
<p class="sample">{escape(comparison.sample[0].upper() + comparison.sample[1:])}. {_reading(comparison)}</p>
{notes}
</header>
<div class="grid">
{"".join(_card(chart, comparison) for chart in charts_of(comparison, CHARTS))}
{"".join(_sections(comparison))}
</div>"""
    figures = {chart.key: chart.draw(comparison) for chart in charts_of(comparison)}
    scripts = f"{chart_scripts(figures)}<script>{part('tables.js')}</script>"
    return framed(title, body, scripts=scripts, images="data: blob:")


def without_clock(page: str) -> str:
    """Return a page without the times of its decisions: of a run that is repeated it has the same bytes."""
    before, rest = page.split(CLOCK[0])
    return before + rest.split(CLOCK[1])[1]


def _headline(comparison: Comparison) -> str:
    if not comparison.headline:
        return f"{next(iter(comparison.results))}: nothing to compare"
    by_conclusion: dict[str, list[str]] = {}
    for difference in comparison.headline:
        conclusion = "no interval" if difference.interval.reason else difference.conclusion
        by_conclusion.setdefault(conclusion, []).append(difference.b)
    subject = comparison.headline[0].a
    clauses = []
    for conclusion, others in by_conclusion.items():
        named = " or ".join(others) if conclusion.startswith("no ") else " and ".join(others)
        if conclusion.startswith("no "):
            clauses.append(f"{conclusion} between {subject} and {named}")
        else:
            clauses.append(f"{conclusion} than {named}")
    text = "; ".join(clauses)
    return text[0].upper() + text[1:]


def _clause(difference: Difference) -> str:
    return f'<p class="verdict">{escape(typeset(difference.sentence))}.</p>'


def _reading(comparison: Comparison) -> str:
    if not comparison.headline:
        return ""
    first = comparison.headline[0]
    agree = " and ".join(f"of {d.b} in {d.seeds_above_zero} of {d.n_seeds}" for d in comparison.headline)
    block = number(first.interval.block, 1)
    return escape(
        f"Seed by seed, {first.a} is ahead {agree}. Intervals are stationary block bootstraps over dates "
        f"({first.interval.n_resamples:,} resamples, mean block {block} periods)."
    )


def _pairs_note(comparison: Comparison) -> str:
    count = len(comparison.differences)
    return (
        f"{count} intervals, each at {100 * comparison.level:g}% on its own: of so many, some miss by chance "
        "alone. Shaded where zero is outside. Sharpe test: Ledoit and Wolf 2008, bootstrap. Years needed: to show a "
        "true difference of this size four times in five. At equal risk: the second book scaled, costs in "
        "proportion, to the volatility of the first, in hindsight"
    )


def _card(chart: Chart, comparison: Comparison) -> str:
    # Where each seed has a book in several paths, every line and ring is of books.
    member = members(comparison.n_paths)
    title, unit, caption = (text.replace("seed", member) for text in (chart.title, chart.unit, chart.caption))
    return card_html(chart.key, title, unit, caption, span=chart.span)


def _sections(comparison: Comparison) -> Iterator[str]:
    arithmetic = "annual rates are arithmetic means, so gross less costs is net"
    yield _section("Every measure", arithmetic, measures_html(comparison))
    if comparison.paths:
        spread = (
            "annual net Sharpe ratio of each path's seed-average book; paths share data, so their spread is no "
            "standard error"
        )
        yield _section(f"Over {comparison.n_paths} backtest paths", spread, paths_html(comparison))
    if comparison.differences:
        yield _section("Every pair", _pairs_note(comparison), differences_html(comparison))
    if has_solves(comparison):
        yield from (_card(chart, comparison) for chart in charts_of(comparison, SOLVER_CHARTS))
        yield _section("Solver health", HEALTH_NOTE, health_html(comparison))
    else:
        yield _section("Solver health", "", "<p>No solver was asked: the weights came from rules.</p>")
    yield f"{CLOCK[0]}{_section('Time of decisions', TIMES_NOTE, times_html(comparison))}{CLOCK[1]}"
    yield _section("Solver and market events", EVENTS_NOTE, events_html(comparison))
    yield _folded(
        "Month by month",
        "net return, % of the month's first wealth, mean over seeds; information "
        "coefficient, mean rank correlation of the month's forecasts",
        months_html(comparison),
    )
    yield _folded(
        "Asset by asset", "mean |weight|, % of wealth; cost, % of all that the objective paid", assets_html(comparison)
    )
    if comparison.training:
        yield (
            '<details class="card wide"><summary>Training, window by window</summary>'
            f"{training_html(plain(comparison.training))}</details>"
        )
    yield _folded("Every setting", "", settings_html(plain(comparison.settings)))


def _section(title: str, unit: str, body: str) -> str:
    below = f'<p class="unit">{escape(_sentences(unit))}</p>' if unit else ""
    head = f"<h2>{escape(title)}</h2>{below}"
    return f'<section class="card wide">{head}<div class="scroll">{body}</div></section>'


def _sentences(text: str) -> str:
    """A note of several sentences begins and ends as one; a unit stays as it is."""
    return f"{text[0].upper()}{text[1:]}." if ". " in text else text


def _folded(title: str, unit: str, body: str) -> str:
    return (
        f'<details class="card wide"><summary>{escape(title)}</summary><p class="unit">{escape(_sentences(unit))}</p>'
        f'<div class="scroll">{body}</div></details>'
    )
