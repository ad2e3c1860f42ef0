"""The table of a sweep: one row a cell, objective and seed; and what is best so far, judged on validation alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from backtest.analysis.comparison import Comparison
from backtest.analysis.performance import max_drawdown, mean_annual_return, sharpe_ratio
from backtest.sweep.settings import Cell

__all__ = ["KEYS", "best_so_far", "rows_of"]

KEYS = ["model", "cost", "objective", "seed"]


def rows_of(cell: Cell, comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row an objective and seed, and path where there are several of them.

    Returns and costs are fractions of wealth a year, means over periods; `validation_utility` is what the choice was
    made on: net utility a year on the validation rows of all windows, after the choice of holding period and shrinkage.
    """
    year, training = comparison.periods_per_year, comparison.training or {}
    rows: list[dict[str, Any]] = []
    for objective, result in comparison.results.items():
        records = training[objective]
        chosen = np.array([_chosen_utility(record) for record in records]).mean(axis=0)
        coefficients = comparison.information_coefficients[objective][0]
        for number in range(comparison.n_books):
            seed, path = divmod(number, comparison.n_paths)
            net = result.net[number]
            row = {
                "model": cell.model,
                "cost": cell.cost,
                "objective": objective,
                "seed": comparison.settings["seeds"][seed],
                "validation_utility": float(chosen[seed]) * year,
                "net": float(mean_annual_return(net, periods_per_year=year)),
                "gross": float(result.gross[number].mean() * year),
                "utility": float(result.utility[number].mean() * year),
                "sharpe": float(sharpe_ratio(net, periods_per_year=year)),
                "max_drawdown": float(max_drawdown(net)),
                "turnover": float(result.turnover[number].mean() * year),
                "leverage": float(result.leverage[number].mean()),
                "information_coefficient": float(coefficients[number]),
                "ruined": bool(result.ruined[number]),
                "periods": int(result.net.shape[1]),
                "windows": len(records),
                "trials": comparison.n_trials,
            }
            if comparison.n_paths > 1:
                row["path"] = path + 1
            row |= {f"cost: {name}": float(cost[number].mean() * year) for name, cost in result.costs.items()}
            rows.append(row)
    return rows


def best_so_far(table: pd.DataFrame) -> pd.DataFrame:
    """Return every cell and objective, mean over seeds, the best on validation first within each cost level.

    Test results stand beside it and decide nothing: to choose by them would be to tune on the test.
    """
    numbers = ["validation_utility", "net", "utility", "sharpe", "turnover", "leverage"]
    grouped = table.groupby(["cost", "model", "objective"], sort=False)
    mean = grouped[numbers].mean()
    mean["net, sd of seeds"] = grouped["net"].std()
    return mean.reset_index().sort_values(["cost", "validation_utility"], ascending=[True, False], ignore_index=True)


def _chosen_utility(record: dict[str, Any]) -> np.ndarray:
    """Return the utility a period on validation (seeds,) under the choice that was made: the best on average."""
    tried = np.asarray(record["validation_utility"], dtype=float)
    chosen: np.ndarray = tried[int(tried.mean(axis=1).argmax())]
    return chosen
