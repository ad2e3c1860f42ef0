"""The shell on the pages: every command that they show can be called so, and the page of commands has every option."""

from __future__ import annotations

import html
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.main import get_command

from backtest.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
UsageError = typer.BadParameter.__mro__[1]  # typer's own, or click's in older versions
COMMAND = get_command(app)
CONTEXT = COMMAND.context_class(COMMAND, info_name="backtest")

LINE = re.compile(r"^ *(?:\$ )?(?:\S*bin/)?backtest (?P<call>[a-z-].*?)\\?$", flags=re.MULTILINE)
INLINE = re.compile(r"`backtest (?P<call>[a-z-][^`]*)`")


def calls_on(page: Path) -> list[str]:
    """What is called on a page, without comments, redirections, and what goes on in the next line."""
    text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
    found = [*LINE.finditer(text), *INLINE.finditer(text)]
    return [" ".join(re.sub(r"( #|\s[|>] ).*$", "", match["call"], flags=re.DOTALL).split()) for match in found]


def command_of(words: list[str]) -> tuple[object, object, list[str]]:
    """The command that words call, its context, and the words left for it."""
    command, context = COMMAND, CONTEXT
    while words and hasattr(command, "list_commands") and words[0] in command.list_commands(context):
        name, *words = words
        command = command.get_command(context, name)
        context = command.context_class(command, info_name=name, parent=context)
    return command, context, words


def parsed(call: str) -> None:
    """Parse a call as the shell would, and run nothing; a fault is an error of the command line."""
    command, context, words = command_of(shlex.split(call))
    values, left, _ = command.make_parser(context).parse_args(args=list(words))
    assert left == [], left
    for parameter in command.get_params(context):
        given = values.get(parameter.name)
        if isinstance(given, str) and given not in ("...", "N", "T", "V"):
            parameter.process_value(context, given)


CALLS = [
    pytest.param(call, id=f"{page.relative_to(ROOT)}: {call[:60]}")
    for page in PROSE
    for call in dict.fromkeys(calls_on(page))
]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_on_the_pages_has_known_commands_options_and_values(call):
    parsed(call)


@pytest.mark.parametrize(
    "call",
    [
        "nothing",
        "compare --nothing",
        "compare --seeds many",
        "compare --market nowhere",
        "data nothing",
        "report a --x",
    ],
)
def test_a_call_that_the_shell_refuses_is_refused_here(call):
    """The test above would pass if it parsed nothing."""
    with pytest.raises((AssertionError, UsageError)):
        parsed(call)


def test_calls_are_found_in_blocks_in_prose_and_over_several_lines(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `backtest compare --quick`:\n\n    backtest run a.py \\\n        --lag 1   # twice\n\n"
        "```\nbacktest compare --json > result.json\n```\n"
    )

    assert calls_on(page) == ["run a.py --lag 1", "compare --json", "compare --quick"]
    assert len(CALLS) > 40


def every_command(command=COMMAND, name="backtest", context=CONTEXT):
    yield name, command, context
    for each in command.list_commands(context) if hasattr(command, "list_commands") else []:
        found = command.get_command(context, each)
        yield from every_command(found, f"{name} {each}", found.context_class(found, info_name=each, parent=context))


@pytest.fixture(scope="module")
def page_of_commands():
    specification = importlib.util.spec_from_file_location("shell_commands", DOCS / "hooks" / "shell_commands.py")
    hook = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(hook)
    return hook.on_page_markdown((DOCS / "shell.md").read_text(encoding="utf-8"), page=None, config=None, files=None)


def test_the_page_of_commands_has_every_option_of_every_command_in_its_panel(page_of_commands):
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page_of_commands, flags=re.DOTALL | re.MULTILINE))

    assert sections.keys() == {name for name, _, _ in every_command()}
    for name, command, context in every_command():
        tables = dict(
            re.findall(r"^\| (\w+) \| \|\n\|---\|---\|\n(.*?)\n\n", sections[name], flags=re.DOTALL | re.MULTILINE)
        )
        for option in command.get_params(context):
            if "--help" in option.opts:
                continue
            panel = option.rich_help_panel or ("Arguments" if option.param_type_name == "argument" else "Options")
            names = option.opts if option.param_type_name == "option" else [option.name]
            rows = [row for row in tables[panel].splitlines() if all(one in row.split("</code>")[0] for one in names)]
            assert rows, (name, option.name)
            said = [html.unescape(row.split("</code> | ", 1)[1]).removesuffix(" |") for row in rows]
            said = [re.sub("</?code>", "", text) for text in said]
            words = re.sub(r"docs/([\w/-]+)\.md", r"[\1](\1.md)", " ".join(option.help.split()))
            assert any(text.startswith(words) for text in said), (name, option.name)
            assert any(text.endswith("**Required.**") for text in said) == option.required, (name, option.name)


def test_a_row_of_the_page_of_commands_has_two_cells_whatever_its_option_says(page_of_commands):
    rows = [line for line in page_of_commands.splitlines() if line.startswith("| ")]

    assert len(rows) > 100
    assert [row for row in rows if row.count("|") != 3] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_calls_of_the_first_pages_run_as_they_stand(tmp_path):
    """On prices that we draw; a folder called runs/NAME on a page is that of the last run."""
    dates = pd.bdate_range("2018-01-01", "2023-12-29")
    random = np.random.default_rng(0)
    steps = random.normal(3e-4, 0.012, (len(dates), 5)) + random.normal(0, 0.008, (len(dates), 1))
    prices = pd.DataFrame(100 * np.exp(steps.cumsum(axis=0)), dates, ["AAPL", "KO", "MSFT", "XOM", "PG"])
    prices.iloc[:-5].round(2).to_csv(tmp_path / "prices.csv", index_label="date")
    prices.round(2).to_csv(tmp_path / "today.csv", index_label="date")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    held = (DOCS / "how-to" / "daily-orders.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "StampDuty" in block]
    (lines,) = re.findall(r"^    symbol,shares\n(?:    .+\n)+", held, flags=re.MULTILINE)
    (tmp_path / "my_cost.py").write_text(block, encoding="utf-8")
    (tmp_path / "held.csv").write_text(textwrap.dedent(lines), encoding="utf-8")
    shutil.copytree(ROOT / "strategies", tmp_path / "strategies")
    shutil.copy(ROOT / "strategies" / "reversal.py", tmp_path / "my_strategy.py")
    pages = [DOCS / "start.md", *sorted((DOCS / "how-to").glob("*.md"))]
    calls = dict.fromkeys(call for page in pages for call in calls_on(page) if " " in call)

    assert len(calls) >= 10
    for call in calls:
        ran = sorted((tmp_path / "runs").glob("*"), key=lambda folder: folder.stat().st_mtime)
        words = [word.replace("runs/NAME", f"runs/{ran[-1].name}" if ran else word) for word in shlex.split(call)]
        done = subprocess.run(
            [sys.executable, "-m", "backtest.cli", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{call}\n{done.stdout}\n{done.stderr}"
