"""The site's pages that live outside docs/, so that links work both on a code host and on the site.

README.md is the home page. Every other file that a page links to (a strategy, a notebook) has a page of its own
under repository/. Nothing is copied by hand, so nothing can go stale.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!#)([^)\s#:]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".toml": "toml", ".txt": "text", "": "text"}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the home page, and a page for each file outside docs/ that a page links to, directly or through others."""
    waiting = ["README.md", *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    files.append(File.generated(config, "index.md", content=page_of("README.md")))
    while waiting:
        path = waiting.pop()
        if not path.endswith((".md", ".ipynb")):
            continue
        for match in LINK.finditer(prose_of(path)):
            target = target_of(match, path)
            if target in seen or target.startswith("docs/") or not (ROOT / target).is_file():
                continue
            seen.add(target)
            waiting.append(target)
            files.append(File.generated(config, place_on_site(target), content=page_of(target)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    path = path_in_repository(here)

    def rewritten(match: re.Match[str]) -> str:
        target = place_on_site(target_of(match, path))
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{match[2] or ''})"

    return LINK.sub(rewritten, markdown)


def target_of(match: re.Match[str], path: str) -> str:
    """Return what a link on the file `path` points to, as a path from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))


def place_on_site(path: str) -> str:
    """Return where a file of the repository stands on the site."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def path_in_repository(place: str) -> str:
    """Return the file that a page of the site was made of."""
    if place == "index.md":
        return "README.md"
    if not place.startswith("repository/"):
        return f"docs/{place}"
    path = place.removeprefix("repository/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def page_of(path: str) -> str:
    """Return a file as Markdown: as it is, or shown as code under its name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return "\n\n".join(parts_of(json.loads(text)))
    return f"# {path}\n\n```{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}```\n"


def prose_of(path: str) -> str:
    """Return what a page or a notebook says, in which links are looked for."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def parts_of(notebook: dict[str, Any]) -> Iterator[str]:
    """Say a notebook in Markdown, cell by cell: its prose, its code, and what the code printed and drew."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
            continue
        yield f"```python\n{source}\n```"
        for output in cell["outputs"]:
            data = {
                kind: "".join(part) for kind, part in output.get("data", {}).items() if isinstance(part, str | list)
            }
            if "image/png" in data:
                picture = data["image/png"].replace("\n", "")
                yield f'<img alt="chart" src="data:image/png;base64,{picture}">'
            elif "text/html" in data:
                # Without blank lines, which would end the block of HTML.
                yield re.sub(r"\n\s*", "\n", f'<div class="output">\n{data["text/html"]}\n</div>')
            else:
                printed = data.get("text/plain") or "".join(output.get("text", ""))
                yield f'<pre class="printed">{escape(printed)}</pre>'
