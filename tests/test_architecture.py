"""The shape of the library: imports go one way, heavy ones wait, files stay small, and `__all__` tells the truth."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "backtest"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = ("market", "costs", "solver", "training", "simulation", "analysis", "report")
"""From the lowest: each may import itself and those before it."""
LOWEST = {"errors", "python_files", "whole_files"}
ABOVE = {"cli", "commands", "configuration", "daily", "contracts", "numerai", "sweep", "__init__"}
"""Modules on top of the library; they may import any layer."""
# The three methods with which a user asks a comparison for its page and tables, each importing inside itself.
EXCEPTION = (Path("analysis/comparison.py"), "report", {"report", "render", "_repr_html_"})
HEAVY = (
    "arch",
    "cvxpy",
    "cvxpylayers",
    "dask",
    "distributed",
    "exchange_calendars",
    "lightgbm",
    "narwhals",
    "optuna",
    "plotly",
    "ray",
    "scipy.optimize",
    "scipy.stats",
    "skfolio",
    "vectorbt",
    "yfinance",
)
NUMBERS = ("numba", "numpy", "pandas", "pyarrow", "pydantic", "scipy", "torch")
"""What running a command needs, and neither `import backtest` nor `--help`."""


def part_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else "__init__"


def imports_of(path: Path) -> list[tuple[str, str | None]]:
    """The project's modules that a file imports anywhere, each with the function it is imported in, if any.

    Imports for type checking alone count too.
    """
    found: list[tuple[str, str | None]] = []

    def visit(node: ast.AST, function: str | None) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.Import):
            found.extend((alias.name, function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: a relative import"
            found.append((str(node.module), function))
            if node.module == "backtest":
                found.extend((f"backtest.{alias.name}", function) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(path.read_text()), None)
    return [(name, function) for name, function in found if name.split(".")[0] in ("backtest", "strategies")]


def allowed(part: str) -> set[str]:
    if part in LOWEST:
        return LOWEST
    if part == "strategy":
        return {"strategy", "market"} | LOWEST
    if part in ABOVE:
        return {*LAYERS, "strategy", *ABOVE} | LOWEST
    # `analysis` compares users' strategies, so it and what is above it know the protocol.
    strategy = {"strategy"} if LAYERS.index(part) >= LAYERS.index("analysis") else set()
    return {*LAYERS[: LAYERS.index(part) + 1]} | strategy | LOWEST


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    known = {*LAYERS, *LOWEST, *ABOVE, "strategy"}
    assert part in known, f"{part} is no known part of the library: place it in the order of layers"

    for module, function in imports_of(path):
        if module.startswith("strategies"):
            assert part == "cli", f"{relative} imports {module}: only the command line may"
            continue
        target = part_of(module)
        if (relative, target) == EXCEPTION[:2] and function in EXCEPTION[2]:
            continue
        if target not in known and module.startswith("backtest.") and module.count(".") == 1 and part in ABOVE:
            continue  # a name of the package itself
        assert target in allowed(part), f"{relative} imports {module}, which is above {part}"


def test_the_one_exception_is_still_needed():
    path, target, methods = EXCEPTION

    used = {function for module, function in imports_of(PACKAGE / path) if part_of(module) == target}

    assert used == methods


def loaded(code: str) -> set[str]:
    """Return the modules, and the packages they are in, that a fresh interpreter has after `code`."""
    # OMP_NUM_THREADS and the rest of the environment are the caller's.
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    names = done.stdout.split()
    return {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2)}


@pytest.mark.parametrize("code", ["import backtest", "import backtest.cli"])
def test_the_package_and_the_help_of_its_commands_load_no_numbers_at_all(code):
    assert loaded(code) & {*HEAVY, *NUMBERS, "strategies"} == set()


def test_the_library_loads_only_what_every_run_needs():
    modules = loaded("from backtest import *; import backtest.configuration")

    assert modules & {*HEAVY, "strategies"} == set()
    assert {"torch", "pandas", "backtest.analysis"} <= modules


def test_names_of_the_package_are_those_of_its_parts():
    import backtest
    from backtest.analysis import compare
    from backtest.costs import L1

    assert backtest.compare is compare
    assert backtest.costs.L1 is L1
    assert "simulate" in dir(backtest)
    with pytest.raises(AttributeError, match="simulat_market"):
        backtest.simulat_market  # noqa: B018


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_exported_name_exists_once_in_a_module_of_bearable_length(path):
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)

    names = getattr(module, "__all__", [])

    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_says_what_it_offers(layer):
    assert importlib.import_module(f"backtest.{layer}").__all__
