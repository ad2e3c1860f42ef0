"""Settings to try side by side: every combination of some weights, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.errors import SettingsError

__all__ = ["Grid"]


class Grid:
    """Every combination of some settings, one a row of a batch.

        grid = Grid(risk_aversion=[1, 5, 25], trading=[0.5, 1, 2])
        costs = grid["risk_aversion"] * FactorRisk(n_factors=5) + grid["trading"] * TradingCost(half_spread=5e-4)

    Each of the 9 books of `SolverPolicy(PositionSolver(costs))` is, to the last bit, what its setting is alone.

    Args:
        settings: name -> the numbers to try, each once, finite.

    Attributes:
        settings: one dict a row, name -> number; the last name varies fastest.
        names: (B,) of the rows, "risk_aversion 1, trading 0.5".

    Raises:
        SettingsError: there is no setting, or one is no list of finite numbers, each once.
    """

    def __init__(self, **settings: Sequence[float]) -> None:
        if not settings:
            raise SettingsError("Grid: give a setting at least: Grid(risk_aversion=[1, 5, 25])")
        values = [_numbers(name, given) for name, given in settings.items()]
        self.settings: list[dict[str, float]] = [dict(zip(settings, row, strict=True)) for row in product(*values)]
        self.names: tuple[str, ...] = tuple(
            ", ".join(f"{name} {value:.12g}" for name, value in row.items()) for row in self.settings
        )

    def __len__(self) -> int:
        return len(self.settings)

    def __getitem__(self, name: str) -> Tensor:
        """Return one setting in all rows (B, 1): what a cost is multiplied by, or a limit is given.

        Raises:
            SettingsError: there is no such setting.
        """
        if name not in self.settings[0]:
            raise SettingsError(f"Grid has no setting {name!r}: its settings are {', '.join(self.settings[0])}")
        return torch.tensor([[row[name]] for row in self.settings], dtype=torch.float64)

    @property
    def table(self) -> pd.DataFrame:
        """The settings, a row for each of the B and a column for each setting, indexed by name."""
        return pd.DataFrame(self.settings, index=pd.Index(self.names, name="name"))


def _numbers(name: str, given: Any) -> list[float]:
    try:
        numbers = np.array([float(value) for value in given])
    except (TypeError, ValueError) as error:
        raise SettingsError(f"Grid: {name} must be a list of numbers, got {given!r}") from error
    if not len(numbers) or not np.isfinite(numbers).all() or len(set(numbers.tolist())) != len(numbers):
        raise SettingsError(f"Grid: {name} must be finite numbers, each once, and one at least; got {given!r}")
    return numbers.tolist()
