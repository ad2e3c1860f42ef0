"""What all pages have around them: one HTML file that is forbidden the network by its own policy."""

from __future__ import annotations

from html import escape
from importlib.resources import files

__all__ = ["framed", "part"]


def framed(title: str, body: str, *, scripts: str = "", images: str = "data:") -> str:
    """Return a whole page.

    Args:
        title: of the window; escaped here.
        body: HTML of the main part.
        scripts: `<script>` elements behind it; a page without them allows none.
        images: sources of images that the policy allows.
    """
    allowed = "script-src 'unsafe-inline'; " if scripts else ""
    policy = f"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src {images}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{part("page.css")}</style>
</head>
<body>
<main>
{body}
</main>
{scripts}
</body>
</html>
"""


def part(name: str) -> str:
    """Return a file that stands beside the code: a style or a script."""
    return files("backtest.report").joinpath(name).read_text(encoding="utf-8")
