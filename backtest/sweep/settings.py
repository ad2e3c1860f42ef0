"""What a sweep is: the settings of one comparison, and what is varied in them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from backtest.configuration import RunSettings, settings_with_presets
from backtest.errors import SettingsError
from backtest.training import read_of

__all__ = ["Cell", "Sweep", "parts_of", "read_sweep"]

BETWEEN = "--"
"""Between the parts of a cell's name; no part holds it."""
TABLES = ("run", "models", "costs")
OF_RUN = ("objectives", "seeds")
"""Settings of the run that a model may have of its own; anything else in its table is of its training."""


@dataclass(frozen=True)
class Cell:
    """One comparison of a sweep.

    Attributes:
        model, cost: names of what is varied.
        settings: of the comparison; `backtest compare` with them gives the same result.
    """

    model: str
    cost: str
    settings: RunSettings

    @property
    def name(self) -> str:
        """Of its files; `parts_of` takes it apart."""
        return f"{self.model}{BETWEEN}{self.cost}"


@dataclass(frozen=True)
class Sweep:
    """Every combination of some models and some costs.

    Attributes:
        cells: one a combination, in the order of the file; their data are the same.
    """

    cells: tuple[Cell, ...]

    @staticmethod
    def of(document: Mapping[str, Any]) -> Sweep:
        """Read a document of three tables.

        Args:
            document: `run` has the settings of a comparison (see `backtest.configuration.RunSettings`); `models` has a
                table a model, of what is other in the settings' `training`, and of its own `objectives` and `seeds` if
                they are other; `costs` has a table a cost level, of what is other in their `costs`. Without models or
                costs there is one, "default", as the run has it.

        Raises:
            SettingsError: a key is unknown or a value is not allowed; the message names the cell and the key.
        """
        unknown = sorted(document.keys() - set(TABLES))
        if unknown:
            raise SettingsError(f"unknown keys {', '.join(unknown)}: a sweep has the tables {', '.join(TABLES)}")
        run = _table(document, "run")
        models, costs = (_tables(document, name) for name in ("models", "costs"))
        return Sweep(tuple(_cell(run, *model, *cost) for model, cost in product(models.items(), costs.items())))

    def described(self) -> dict[str, Any]:
        """Return all settings of all cells, by the cell's name."""
        return {cell.name: cell.settings.model_dump(mode="json") for cell in self.cells}


def parts_of(cell: str) -> tuple[str, str]:
    """Return model and cost of a cell, by its name."""
    model, cost = cell.split(BETWEEN)
    return model, cost


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep from a TOML file at `path`; what stands in it: docs/sweeps.md.

    Raises:
        SettingsError: it cannot be read, or does not say what a sweep is; the message names the place.
    """
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: cannot be read as TOML: {error}") from error
    try:
        return Sweep.of(document)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error


def _cell(run: Mapping[str, Any], model: str, of_model: Mapping[str, Any], cost: str, level: Any) -> Cell:
    document = {**run, **{key: of_model[key] for key in OF_RUN if key in of_model}}
    training = {key: value for key, value in of_model.items() if key not in OF_RUN}
    document["training"] = {**read_of(_table(run, "training"), training), **training}
    if level:
        document["costs"] = {**_table(run, "costs"), **level}
    if not document.keys() & {"prices", "dataset", "market"}:
        raise SettingsError("run: give prices, dataset or market: which data the sweep is about")
    if document.get("strategies"):
        raise SettingsError("run.strategies: a sweep trains models: compare strategies with backtest run")
    if document.get("combinatorial") is not None:
        raise SettingsError(
            "run.combinatorial: a sweep walks forward, for it chooses among many and its table is by window: leave it "
            "out, and check what was chosen with backtest compare --combinatorial"
        )
    try:
        return Cell(model, cost, settings_with_presets(document, quick=False))
    except SettingsError as error:
        raise SettingsError(f"models.{model} with costs.{cost}: {error}") from error


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, Mapping):
        raise SettingsError(f"{name} must be a table, got {table!r}")
    return dict(table)


def _tables(document: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    tables = _table(document, name) or {"default": {}}
    for key in tables:
        # It names files.
        if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", key):
            raise SettingsError(f"{name}.{key}: a name is made of letters, digits, '_', '.' and single '-'")
    return {key: _table(tables, key) for key in tables}
