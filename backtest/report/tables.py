"""The comparison's tables, for console and HTML: a line a measure, so that they fit a phone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.analysis.summary import measures

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from backtest.analysis.comparison import Comparison, Difference

__all__ = [
    "UNDEFINED",
    "breakable",
    "cell",
    "comparison_html",
    "comparison_table",
    "differences_html",
    "flat_settings",
    "labelled_table",
    "measures_html",
    "number",
    "paths_html",
    "print_comparison",
    "settings_html",
    "training_html",
    "typeset",
]

UNDEFINED = "–"


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with the digits worth reading, a true minus sign, and a dash where there is none."""
    if not np.isfinite(value):
        return UNDEFINED
    digits = 0 if abs(value) >= 1000 else digits
    rounded = round(value, digits) + 0.0  # + 0.0: no "-0.00"
    return f"{rounded:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def cell(value: float, digits: int, *, sign: bool = False) -> str:
    """A number in a table: shown with the digits worth reading, kept whole for sorting and for the CSV file."""
    kept = f' data-value="{float(value)!r}"' if np.isfinite(value) else ' data-value=""'
    return f"<td{kept}>{number(value, digits, sign=sign)}</td>"


def labelled_table(
    key: str,
    corner: str,
    heads: Sequence[str],
    body: Sequence[tuple[str, Sequence[str]]],
    *,
    sorts: bool = True,
    kind: str = "",
) -> str:
    """A table that downloads, and sorts unless its rows are of different kinds.

    Args:
        key: name of its CSV file.
        corner: head of the labels.
        heads: of the other columns.
        body: a row has its label and its cells, which are HTML.
        sorts: whether a click on a head sorts.
        kind: its class in the page's style.
    """
    # A head stands where its column does: words to the left, numbers to the right.
    words = [bool(body) and body[0][1][place].startswith("<td class=text") for place in range(len(heads))]
    head = "".join(
        f'<th scope="col"{" class=text" if left else ""}>{escape(text)}</th>'
        for text, left in zip(heads, words, strict=True)
    )
    rows = "".join(f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>' for label, cells in body)
    sort = " data-sort" if sorts else ""
    return (
        f'<table class="{kind}"{sort} data-csv="{key}"><thead><tr><th scope="col">{escape(corner)}</th>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def typeset(sentence: str) -> str:
    """Minus and times signs where they are meant, not inside names; intervals that are not broken over lines."""
    sentence = re.sub(r"\[([^\]]*), ([^\]]*)\]", "[\\1,\u00a0\\2]", sentence)
    return re.sub(r"(?<![\w])-(?=[\s\d])", "−", re.sub(r" x (?=\d)", " × ", sentence))


def comparison_table(comparison: Comparison) -> Table:
    """Return the measures of every objective of a `comparison` as a `rich` table: a row a measure."""
    from rich.markup import escape as plain_markup
    from rich.table import Table

    summaries = list(comparison.objectives.values())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in comparison.objectives:
        table.add_column(plain_markup(name), justify="right")
    table.add_column("unit", style="dim")
    for position, (_, lines) in enumerate(groupby(measures(summaries), key=lambda line: line.group)):
        if position:
            table.add_row()
        for line in lines:
            values = [number(line.read(summary), line.digits) for summary in summaries]
            table.add_row(
                plain_markup(line.label),
                *values,
                plain_markup(line.unit),
                style="bold" if line.label == "net" else None,
            )
    return table


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print the verdict, the table, what stands behind the verdict, and what a reader must know before trusting it.

    A `comparison` is printed on `console`, a `rich` one; None is standard output.
    """
    from rich.console import Console

    console = console or Console()
    console.print(comparison.verdict, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print()
    console.print(comparison_table(comparison))
    if comparison.readings:
        console.print()
    for reading in comparison.readings:
        console.print(reading, markup=False, highlight=False, soft_wrap=True)
    for note in comparison.notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)


def comparison_html(comparison: Comparison) -> str:
    """Return verdict and table of a `comparison` as one HTML fragment for a notebook cell."""
    notes = "".join(f"<p>Note: {escape(note)}</p>" for note in comparison.notes)
    return f"<div><p><strong>{escape(comparison.verdict)}</strong></p>{measures_html(comparison)}{notes}</div>"


def measures_html(comparison: Comparison) -> str:
    """Every measure: a group of lines per question, a column per objective."""
    summaries = list(comparison.objectives.values())
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in comparison.objectives)
    body = []
    for group, lines in groupby(measures(summaries), key=lambda line: line.group):
        body.append(f'<tbody><tr><th colspan="{len(summaries) + 1}" scope="rowgroup">{escape(group)}</th></tr>')
        for line in lines:
            cells = "".join(cell(line.read(summary), line.digits) for summary in summaries)
            emphasis = ' class="key"' if line.label == "net" else ""
            body.append(
                f'<tr{emphasis}><th scope="row">{escape(line.label)} <small>{escape(line.unit)}</small></th>'
                f"{cells}</tr>"
            )
        body.append("</tbody>")
    return f'<table class="measures" data-csv="measures"><thead><tr><td></td>{head}</tr></thead>{"".join(body)}</table>'


def differences_html(comparison: Comparison) -> str:
    """Every pair of objectives: the difference a year, its interval, how many seeds share its sign, the difference of
    Sharpe ratios, the years that showing such a difference would need, and the difference at equal risk."""
    rows = []
    for quantity, label in (("net", "net return"), ("utility", "net utility")):
        rows.append(f'<tbody><tr><th colspan="7" scope="rowgroup">{label}</th></tr>')
        for d in (d for d in comparison.differences if d.quantity == quantity):
            i = d.interval
            interval = (
                f"[{number(100 * i.low, 2)}, {number(100 * i.high, 2)}]"
                if i.reason is None
                else f"<small>{escape(i.reason)}</small>"
            )
            rows.append(
                f"<tr{' class=key' if i.excludes_zero else ''}>"
                f'<th scope="row">{escape(d.a)} −&nbsp;{escape(d.b)}</th>'
                f"{cell(100 * i.mean, 2, sign=True)}<td>{interval}</td>"
                f"<td>{d.seeds_above_zero} of {d.n_seeds}</td><td>{_sharpe(d)}</td>"
                f"{cell(d.power.years_needed, 1)}<td>{_equal_risk(d)}</td></tr>"
            )
        rows.append("</tbody>")
    return (
        '<table class="differences" data-sort data-csv="pairs"><thead><tr><th scope="col">pair</th>'
        '<th scope="col">% a year</th>'
        f'<th scope="col">{100 * comparison.level:g}% interval</th><th scope="col">seeds above 0</th>'
        '<th scope="col">Sharpe difference</th><th scope="col">years needed</th>'
        '<th scope="col">% a year at equal risk</th></tr></thead>'
        f"{''.join(rows)}</table>"
    )


def _sharpe(difference: Difference) -> str:
    test = difference.sharpe
    if test is None:
        return ""
    p_value = "&lt; 0.001" if test.p_value < 1e-3 else number(test.p_value, 3)
    return f"{number(test.difference, 2, sign=True)} <small>p {p_value}</small>"


def _equal_risk(difference: Difference) -> str:
    rescaled = difference.equal_risk
    if rescaled is None:
        return ""
    i = rescaled.interval
    return f"{number(100 * i.mean, 2, sign=True)} <small>[{number(100 * i.low, 2)}, {number(100 * i.high, 2)}]</small>"


def paths_html(comparison: Comparison) -> str:
    """How the net Sharpe ratio of every objective spreads over backtest paths, and how often the first is ahead."""
    lead = next(spread.objective for spread in comparison.paths if spread.lead is None)
    rows = "".join(
        f'<tr><th scope="row">{escape(spread.objective)}</th><td>{number(spread.mean, 2)}</td>'
        f"<td>{number(spread.sd, 2)}</td><td>{number(spread.lowest, 2)}</td>"
        f"<td>{UNDEFINED if spread.lead_ahead is None else number(100 * spread.lead_ahead, 0)}</td></tr>"
        for spread in comparison.paths
    )
    return (
        '<table class="paths" data-sort data-csv="paths"><thead><tr><th scope="col">objective</th>'
        '<th scope="col">mean</th><th scope="col">sd</th>'
        f'<th scope="col">lowest</th><th scope="col">% of paths in which {escape(lead)} is above</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def settings_html(settings: Mapping[str, Any]) -> str:
    """Every setting, nested names joined by dots."""
    rows = "".join(
        f'<tr><th scope="row">{breakable(key)}</th><td>{escape(value)}</td></tr>'
        for key, value in flat_settings(settings)
    )
    return f'<table class="settings" data-csv="settings"><tbody>{rows}</tbody></table>'


def breakable(name: str) -> str:
    """A dotted name that may be broken behind its dots and underscores."""
    return re.sub(r"([._])", r"\1<wbr>", escape(name))


def flat_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(dotted name, text) of every setting."""
    return _flat(settings, exact=True)


def training_html(training: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The scalar fields of every training record, a line a window, objective by objective."""
    parts = []
    for objective, records in training.items():
        flat = [dict(_flat(record, exact=False)) for record in records]
        keys = list(dict.fromkeys(key for record in flat for key in record))
        head = "".join(f'<th scope="col">{escape(key.replace("_", " "))}</th>' for key in keys)
        rows = "".join(
            f'<tr><th scope="row">{number_of}</th>'
            + "".join(f"<td>{escape(record.get(key, UNDEFINED))}</td>" for key in keys)
            + "</tr>"
            for number_of, record in enumerate(flat, start=1)
        )
        parts.append(
            f'<h3>{escape(objective)}</h3><div class=scroll><table data-sort data-csv="training-{escape(objective)}">'
            f"<thead><tr><th scope=col>window</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    return "".join(parts)


def _flat(value: Mapping[str, Any], prefix: str = "", *, exact: bool) -> list[tuple[str, str]]:
    """(dotted name, text) of every leaf. Without `exact`, digits are cut and lists in lists left out."""
    pairs: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            pairs += _flat(item, f"{name}.", exact=exact) or [(name, UNDEFINED)]
        elif exact and isinstance(item, list) and item and all(isinstance(element, Mapping) for element in item):
            for number_of, element in enumerate(item, start=1):
                pairs += _flat(element, f"{name}.{number_of}.", exact=exact)
        elif not isinstance(item, list):
            pairs.append((name, _text(item, exact=exact)))
        elif exact or not any(isinstance(element, list | Mapping) for element in item):
            pairs.append((name, ", ".join(_text(element, exact=exact) for element in item) or UNDEFINED))
    return pairs


def _text(value: Any, *, exact: bool) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) and not exact else str(value) or UNDEFINED
