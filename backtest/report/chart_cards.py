"""Charts in a page: a card each, their data as JSON, and the scripts that draw them and save them as CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from backtest.report.drawing import DARK
from backtest.report.frame import part

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["card_html", "chart_scripts"]


def card_html(key: str, title: str, unit: str, caption: str, *, span: str = "") -> str:
    """Return the place of one chart.

    Args:
        key: of its data.
        title: escaped here, as unit and caption are.
        unit: of its axes, below the title.
        caption: how to read it.
        span: "wide" across the page, "tall" beside two others, or "".
    """
    title, unit = escape(title), escape(unit)
    return (
        f'<figure class="card {span}"><h2>{title}</h2><p class="unit">{unit}</p>'
        f'<div data-chart="{escape(key)}" role="img" aria-label="{title}, {unit}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def chart_scripts(figures: Mapping[str, Figure]) -> str:
    """Return the scripts that draw figures, by key, where `card_html` left place for them; plotly is inlined once."""
    from plotly.offline import get_plotlyjs

    data = "".join(
        f'<script type="application/json" id="data-{escape(key)}">{_inert(figure.to_json())}</script>'
        for key, figure in figures.items()
    )
    return f"""<script type="application/json" id="palette">{_inert(json.dumps(DARK))}</script>
{data}
<script>{get_plotlyjs()}</script>
<script>{part("page.js")}</script>"""


def _inert(text: str) -> str:
    """JSON that cannot close the script element it stands in."""
    return text.replace("<", "\\u003c")
