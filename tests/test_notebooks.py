"""The notebooks: their files are clean, they read well without being run, and running them gives what they keep."""

from __future__ import annotations

import base64
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed")
pytest.importorskip("nbclient", reason="the extra `notebooks` is not installed")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
FILES = sorted(FOLDER.glob("*.ipynb"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
MACHINE_PATH = re.compile(r"(?:/(?:home|root|tmp|Users|usr|opt|work|var|mnt)/|[A-Z]:\\\\)")
RELATIVE, COUNTED = 1e-2, 1e-3
"""How far a number may be from the one that is kept, with a decimal point and without: processors add in different
orders, and what divides by nearly nothing magnifies it (0.3% was seen between one thread and two)."""

specification = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
execute: Any = importlib.util.module_from_spec(specification)
specification.loader.exec_module(execute)

each_notebook = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook: Any) -> Iterator[Any]:
    for cell in code_cells(notebook):
        yield from cell.outputs


def texts_of(cell: Any) -> str:
    """All that a cell printed or showed as text or as a table, warnings and pictures left out."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        if "data" in output:
            parts += [output.data[kind] for kind in ("text/plain", "text/html") if kind in output.data]
    return "\n".join("".join(part) for part in parts)


def numbers_drawn(figure: Any) -> dict[str, np.ndarray]:
    """The numbers of a plotly figure's traces, by the place where they stand."""
    found: dict[str, np.ndarray] = {}

    def visit(value: Any, place: str) -> None:
        if isinstance(value, dict) and {"dtype", "bdata"} <= set(value):
            found[place] = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"]).astype(float)
        elif isinstance(value, dict):
            for key, item in value.items():
                visit(item, f"{place}.{key}")
        elif isinstance(value, list) and value and all(isinstance(item, int | float | None) for item in value):
            found[place] = np.array([np.nan if item is None else item for item in value], dtype=float)
        elif isinstance(value, list):
            for at, item in enumerate(value):
                visit(item, f"{place}[{at}]")
        elif isinstance(value, int | float):
            found[place] = np.array([value], dtype=float)

    visit(figure["data"], "data")
    return found


def test_there_are_notebooks():
    """The tests of each would pass on an empty folder."""
    assert [file.stem for file in FILES] != []


@each_notebook
def test_the_file_is_valid_and_holds_nothing_of_the_machine(file):
    notebook = read(file)
    text = file.read_text(encoding="utf-8")

    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert [cell.id for cell in notebook.cells] == [f"cell-{n}" for n in range(1, len(notebook.cells) + 1)]
    assert notebook.metadata == execute.METADATA
    assert [cell.metadata for cell in notebook.cells if cell.metadata] == []
    assert MACHINE_PATH.findall(text) == []
    assert len(text) < 700_000


@each_notebook
def test_every_cell_was_run_in_order_without_errors_or_warnings(file):
    notebook = read(file)
    cells = code_cells(notebook)

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for output in outputs_of(notebook) if output.output_type == "error"] == []
    assert [output for output in outputs_of(notebook) if output.get("name") == "stderr"] == []


@each_notebook
def test_every_chart_has_a_title_and_a_picture_beside_it(file):
    figures = execute.figures_of(read(file))

    assert figures
    for data in figures:
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
        assert data[execute.PLOTLY]["layout"]["title"]["text"]


@each_notebook
def test_it_begins_with_what_it_shows_and_ends_with_what_to_read_next(file):
    cells = read(file).cells

    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert len(cells[0].source.split("\n\n")) > 1, "a title, and below it what the notebook shows"
    assert cells[-1].cell_type == "markdown"
    assert cells[-1].source.startswith("## Read next")
    assert LINK.search(cells[-1].source)


@each_notebook
def test_cells_are_short(file):
    cells = read(file).cells

    assert [c.id for c in cells if c.cell_type == "code" and len(c.source.splitlines()) > 25] == []
    assert sum(c.cell_type == "markdown" for c in cells) >= len(cells) / 3


@each_notebook
def test_every_link_leads_to_a_file_of_the_project(file):
    for cell in read(file).cells:
        for link in LINK.findall(cell.source) if cell.cell_type == "markdown" else []:
            if re.match(r"[a-z]+:", link) or link.startswith("#"):
                continue
            target = (FOLDER / link.partition("#")[0]).resolve()

            assert target.is_relative_to(ROOT), link
            assert target.is_file(), link


@each_notebook
def test_it_reaches_for_nothing_that_an_installed_library_lacks(file):
    for cell in code_cells(read(file)):
        assert not re.search(r"sys\.path|\.\./|os\.chdir|^[!%]|from (tests|benchmarks)", cell.source, re.MULTILINE)


@pytest.mark.slow
@each_notebook
def test_running_it_anew_gives_what_it_keeps(file, capsys):
    kept = read(file)

    new, seconds = execute.run_notebook(kept)

    with capsys.disabled():
        print(f"\n{file.name}: {seconds:.1f} s")
    for before, after in zip(code_cells(kept), code_cells(new), strict=True):
        assert_same_text(texts_of(before), texts_of(after), before.id)
    assert [output for output in outputs_of(new) if output.get("name") == "stderr"] == []
    for before, after in zip(execute.figures_of(kept), execute.figures_of(new), strict=True):
        assert_same_figure(before[execute.PLOTLY], after[execute.PLOTLY])


def assert_same_text(kept: str, new: str, place: str) -> None:
    """Words must be the same; numbers nearly, or but for one in the last digit that is shown."""
    assert without_numbers(new) == without_numbers(kept), place
    for before, after in zip(NUMBER.findall(kept), NUMBER.findall(new), strict=True):
        allowed = COUNTED * abs(value_of(before))
        if "." in before and "e" not in before.lower():
            allowed = max(RELATIVE * abs(value_of(before)), 1.01 * 10.0 ** -len(before.partition(".")[2]))

        assert abs(value_of(before) - value_of(after)) <= allowed, (place, before, after)


def without_numbers(text: str) -> str:
    """The words alone: pandas pads and colours by width, so that spaces say nothing."""
    return re.sub(r"\s+", " ", NUMBER.sub("#", text))


def value_of(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def assert_same_figure(kept: Any, new: Any) -> None:
    before, after = numbers_drawn(kept), numbers_drawn(new)

    assert list(before) == list(after)
    for place, values in before.items():
        scale = np.nanmax(np.abs(values), initial=0.0)
        np.testing.assert_allclose(after[place], values, rtol=RELATIVE, atol=RELATIVE * scale, err_msg=place)


def test_a_stale_output_is_found():
    """The comparison would be worth nothing if it passed on anything."""
    assert_same_text("net 1.2% of 1,136", "net 1.3% of 1,136", "one in the last digit")
    for stale in ("net 1.5% of 1,136", "gross 1.2% of 1,136", "net 1.2% of 1,140", "net -1.2% of 1,136", "net 1.2%"):
        with pytest.raises((AssertionError, ValueError)):
            assert_same_text("net 1.2% of 1,136", stale, "stale")
    with pytest.raises(AssertionError):
        assert_same_figure({"data": [{"y": [1.0, 2.0]}]}, {"data": [{"y": [1.0, 2.1]}]})
