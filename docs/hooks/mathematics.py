"""Formulas as MathML, which browsers draw by themselves: no script and nothing to fetch."""

from __future__ import annotations

import html
import re
from typing import Any

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, *, page: Any, config: Any, files: Any) -> str:
    """Replace what `pymdownx.arithmatex` marked as LaTeX."""
    from latex2mathml.converter import convert

    def inline(match: re.Match[str]) -> str:
        return convert(html.unescape(match[1]).strip())

    def display(match: re.Match[str]) -> str:
        return f'<div class="formula">{convert(html.unescape(match[1]).strip(), display="block")}</div>'

    return INLINE.sub(inline, DISPLAY.sub(display, content))
