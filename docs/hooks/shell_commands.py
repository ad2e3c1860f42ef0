"""Every command with its options, made of the commands themselves, so that the page cannot go stale."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

MARK = "<!-- commands -->"
PANELS = ("Arguments", "Data", "Portfolio", "Training", "Output", "Options")
"""Tables of a command, in this order; panels with other names would follow."""

PAGE = re.compile(r"\bdocs/([\w/-]+\.md)\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SPECIAL = re.compile(r"[\\`*_{}\[\]|~$]")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Put the commands where a page asks for them."""
    if MARK not in markdown:
        return markdown
    from typer.main import get_command

    from backtest.cli import app

    return markdown.replace(MARK, "\n".join(described(get_command(app), "backtest")))


def described(command: Any, name: str, parent: Any = None) -> Iterator[str]:
    """Yield the lines of a command: what it does, how it is called, a table for each panel; then its subcommands."""
    context = command.context_class(command, info_name=name, parent=parent)
    subcommands = command.list_commands(context) if hasattr(command, "list_commands") else []
    yield f"## {name}\n"
    # Typer keeps the line breaks of a docstring.
    yield "\n\n".join(shown(" ".join(part.split())) for part in (command.help or "").split("\n\n")) + "\n"
    yield f"    {name} {' '.join(command.collect_usage_pieces(context))}\n"
    tables = tables_of(command, context)
    for panel in [*[one for one in PANELS if one in tables], *[one for one in tables if one not in PANELS]]:
        yield f'<div class="options" markdown>\n\n| {panel} | |\n|---|---|'
        yield from tables[panel]
        yield "\n</div>\n"
    for each in subcommands:
        yield from described(command.get_command(context, each), f"{name} {each}", context)


def tables_of(command: Any, context: Any) -> dict[str, list[str]]:
    """Return the rows of each panel; `--help`, which every command has, is left out."""
    tables: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        names, text = record
        panel = getattr(parameter, "rich_help_panel", None)
        if not isinstance(panel, str):
            panel = "Arguments" if parameter.param_type_name == "argument" else "Options"
        # Choices and the two names of a switch may stand in two lines.
        code = html.escape(names).replace("|", "&#124;<wbr>").replace(" / ", " /<br>")
        said, required = re.subn(r" *\[required\]$", "", text)
        row = f"| <code>{code}</code> | {shown(said)}{' **Required.**' if required else ''} |"
        tables.setdefault(panel, []).append(row)
    return tables


def shown(text: str) -> str:
    """Return plain text as Markdown that reads the same, with links to the pages that it names."""
    parts = PAGE.split(html.escape(text, quote=False))
    plain = [SPECIAL.sub(lambda found: f"&#{ord(found[0])};", part) for part in parts[::2]]
    plain = [OPTION.sub(r"<code>\g<0></code>", part) for part in plain]
    links = [f"[{page.removesuffix('.md')}]({page})" for page in parts[1::2]]
    return "".join(piece for pair in zip(plain, [*links, ""], strict=True) for piece in pair)
