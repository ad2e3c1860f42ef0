"""The documentation: every page is reachable, every link leads somewhere, every public name is there, examples run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
PAGE_OF = {
    **{
        f"backtest.{path.parent.name}": path.parent.name
        for path in sorted((ROOT / "backtest").glob("*/__init__.py"))
        if path.parent.name != "commands"
    },
    "backtest.market.features": "features",
    "backtest.daily": "daily",
}
"""The page of the API of each public module; `backtest.errors` is on its own as a whole."""
RUN = ["start", "concepts", "faq", *(f"how-to/{path.stem}" for path in sorted((DOCS / "how-to").glob("*.md")))]
"""Pages whose examples are run here; those of the others are run beside the tests of what they show."""

FENCE = re.compile(r"^( *)```.*?^\1```$", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    """A page's text without blocks of code, in which nothing is a link or a heading."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, made as a code host and the site both make them for headings of plain words."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", text_of(page), flags=re.MULTILINE))


def links_of(page: Path) -> list[str]:
    return [link for link in LINK.findall(text_of(page)) if not re.match(r"[a-z]+:", link)]


def documented(page: Path) -> list[str]:
    return re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def exported_by(module: str) -> list[str]:
    """`__all__` of a module, without modules in it, which have pages of their own."""
    found = importlib.import_module(module)
    return [name for name in found.__all__ if not inspect.ismodule(getattr(found, name))]


def hook_called(name: str):
    specification = importlib.util.spec_from_file_location(name, DOCS / "hooks" / f"{name}.py")
    hook = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(hook)
    return hook


def test_every_page_is_in_the_navigation_once():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1].split("\n\n")[0]
    listed = re.findall(r"([\w/-]+\.md)$", navigation, flags=re.MULTILINE)

    # The home page is the README.
    assert sorted(listed) == sorted(["index.md", *(str(page.relative_to(DOCS)) for page in PAGES)])


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_every_link_and_picture_leads_to_a_file_and_a_heading_in_it(page):
    for link in links_of(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page

        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors_of(target), link


def test_links_are_found():
    """The test above would pass on pages that it cannot read."""
    assert len(links_of(ROOT / "README.md")) > 15
    assert "the-canonical-problem" in anchors_of(DOCS / "solver.md")


@pytest.mark.parametrize("module", PAGE_OF)
def test_every_public_name_of_a_module_is_on_its_page_once(module):
    names = [f"{module}.{name}" for name in exported_by(module)]

    assert sorted(documented(DOCS / "api" / f"{PAGE_OF[module]}.md")) == sorted(names)


def test_every_public_module_is_on_the_first_page_of_the_api():
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")

    assert [module for module in (*PAGE_OF, "backtest.errors") if f"[`{module}`](" not in index] == []


def test_every_name_of_the_library_itself_is_on_the_first_page_of_the_api():
    index = DOCS / "api" / "index.md"
    linked = {link.rpartition(".")[2] for link in links_of(index) if "#" in link}
    shown = {name.rpartition(".")[2] for name in documented(index)}

    assert sorted(set(exported_by("backtest")) - linked - shown) == []


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=name_of)
def test_what_an_api_page_names_exists_and_says_what_it_is(page):
    for name in documented(page):
        module, _, attribute = name.rpartition(".")
        found = (
            importlib.import_module(name)
            if name == "backtest.errors"
            else getattr(importlib.import_module(module), attribute)
        )

        assert not inspect.isroutine(found) | inspect.isclass(found) or found.__doc__, name


@pytest.mark.parametrize("page", RUN)
def test_the_examples_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    namespace = {"__name__": "page"}

    for block in blocks:
        exec(compile(block, page, "exec"), namespace)

    assert blocks or page == "how-to/daily-orders", "nothing was run"


def test_formulas_need_nothing_from_the_network():
    """No font, script or style of the site is fetched when it is read."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    assert "font: false" in settings
    assert re.findall(r"https?://", settings) == []


def test_links_out_of_docs_lead_to_pages_of_the_site():
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    hook = hook_called("repository_pages")

    def rewritten(markdown, place):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=place))
        return hook.on_page_markdown(markdown, page=page, config=None, files=None)

    assert rewritten("[a](docs/solver.md#measured)", "index.md") == "[a](solver.md#measured)"
    assert rewritten("[a](../README.md) [b](data.md)", "faq.md") == "[a](index.md) [b](data.md)"
    assert rewritten("[a](../../strategies/x.py)", "how-to/y.md") == "[a](../repository/strategies/x.py.md)"
    assert rewritten("[a](https://x.org) [b](#here)", "faq.md") == "[a](https://x.org) [b](#here)"


def test_every_page_that_a_docstring_names_is_there():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "backtest").rglob("*.py")]
    named = {page for source in sources for page in re.findall(r"docs/[\w/-]+\.md\b", source)}

    assert named
    assert sorted(page for page in named if not (ROOT / page).is_file()) == []


@pytest.fixture(scope="module")
def read_for_the_site():
    """The package as the site's tool reads it."""
    griffe = pytest.importorskip("griffe", reason="the extra `docs` is not installed")
    extensions = re.search(r"extensions: \[(.*)\]", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))[1].split(", ")
    loaded = griffe.load_extensions(*(str(ROOT / path) for path in extensions))
    return griffe.load(
        "backtest", search_paths=[str(ROOT)], extensions=loaded, resolve_aliases=True, docstring_parser="google"
    )


def test_the_site_documents_what_is_imported_and_not_the_module_of_that_name(read_for_the_site):
    names = [name for page in sorted((DOCS / "api").glob("*.md")) for name in documented(page)]
    modules = [name for name in names if read_for_the_site[name.removeprefix("backtest.")].is_module]

    assert modules == ["backtest.errors"]


def test_the_site_shows_types_without_what_they_say_to_a_library(read_for_the_site):
    settings = read_for_the_site["configuration.RunSettings"]

    assert str(settings["seeds"].annotation) == "int"
    assert str(settings["position_limit"].annotation) == "float | None"


def test_parameters_that_a_docstring_describes_together_are_an_entry_each_on_the_site(read_for_the_site):
    (text,) = [
        part for part in read_for_the_site["costs.TradingCost"].docstring.parsed if part.kind.value == "attributes"
    ]
    fees = {entry.name: entry for entry in text.value if entry.name.endswith("_fee")}

    assert fees.keys() == {"buy_fee", "sell_fee"}
    assert str(fees["sell_fee"].annotation) == "Parameter"
    assert fees["buy_fee"].description == fees["sell_fee"].description


def test_pages_and_errors_that_docstrings_name_are_links_on_the_pages_of_the_api():
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    hook = hook_called("api_pages")

    def mended(html, place="api/solver.md"):
        return hook.on_page_content(
            html, page=SimpleNamespace(file=SimpleNamespace(src_uri=place)), config=None, files=None
        )

    assert mended("see docs/how-to/daily-orders.md.") == 'see <a href="../how-to/daily-orders.html">daily-orders</a>.'
    assert mended("see docs/solver.md", "faq.md") == "see docs/solver.md"
    assert mended("<code>DataError</code>") == (
        '<a href="errors.html#backtest.errors.DataError"><code>DataError</code></a>'
    )
    assert mended("<code>ValueError</code>") == "<code>ValueError</code>"
    assert mended('<p class="doc doc-class-bases">Bases: <code>_Record</code></p>') == ""
    assert "Cost" in mended('<p class="doc doc-class-bases">Bases: <code>Cost</code></p>')
