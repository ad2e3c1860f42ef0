"""What the API's pages need besides what is read off the sources.

Docstrings name a page as `docs/solver.md`, which a reader of the source can open: here it is a link. A base class that
is private is left out. An error is a link, also where the module that names it does not import it.
"""

from __future__ import annotations

import re
from typing import Any

PAGE = re.compile(r"(?<![\w/])docs/([\w/-]+)\.md\b")

PRIVATE_BASE = re.compile(r'<p class="doc doc-class-bases">\s*Bases: <code>(<[^>]*>)*_\w+(</\w+>)*</code></p>')

ERROR = re.compile(r'<code>(?:<span title="\w+">)?(\w+Error)(?:</span>)?</code>')


def on_page_content(content: str, *, page: Any, config: Any, files: Any) -> str:
    """Mend a page of the API."""
    if not page.file.src_uri.startswith("api/"):
        return content
    from backtest import errors

    def linked(found: re.Match[str]) -> str:
        known = found[1] in errors.__all__
        return f'<a href="errors.html#backtest.errors.{found[1]}">{found[0]}</a>' if known else found[0]

    content = ERROR.sub(linked, PRIVATE_BASE.sub("", content))
    return PAGE.sub(lambda found: f'<a href="../{found[1]}.html">{found[1].rpartition("/")[2]}</a>', content)
