"""The table of a sweep, its series, and what is best so far, judged on validation alone.

The table has one row for a model, cost, objective, seed and window. `window` is text: "0", "1" and so on for the
walk-forward windows in time order, and "all" for the test rows of all of them together. Rows of "all" are the totals;
means of the windows, weighted by `periods`, give them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pandas as pd

from backtest.analysis.comparison import Comparison
from backtest.analysis.comparison_plan import ComparisonPlan, WindowFit
from backtest.analysis.performance import information_coefficient, max_drawdown, mean_annual_return, sharpe_ratio
from backtest.analysis.summary import SeedSeries

__all__ = ["ALL", "KEYS", "best_so_far", "rows_of", "series_of", "totals"]

ALL = "all"
KEYS = ["model", "cost", "objective", "seed", "window"]


def rows_of(
    model: str, cost: str, comparison: Comparison, *, plan: ComparisonPlan, fits: Sequence[WindowFit]
) -> pd.DataFrame:
    """Return the rows of a cell: a total and a row a window for each objective and seed.

    Returns and costs are fractions of wealth a year, means over periods; a ruined book counts as 0 after the loss that
    ruined it. `seed` is the label of the book, text. `test_start` and `test_end` are the first and last date at which
    a result is known, so that they cut the series; `max_drawdown` of a window begins at its start.
    `validation_utility` is what the choice was made on: net utility a year on validation after the choice of holding
    period and shrinkage, the mean of the windows in a total; where seeds share a book, the mean of all seeds.
    `trials` counts the models of the cell; the table of a sweep has the sum over its cells.
    """
    coefficients = _coefficients_of_windows(plan, fits)
    parts = {ALL: slice(0, len(comparison.dates)), **{str(n): part for n, part in enumerate(_periods(plan))}}
    rows: list[dict[str, Any]] = []
    for objective, series in comparison.series.items():
        n_books = len(series.seeds)
        records = (comparison.training or {})[objective]
        chosen = np.array([_chosen_utility(record, n_books) for record in records])
        whole = np.broadcast_to(comparison.information_coefficients[objective][0], n_books)
        for number in range(n_books):
            for window, part in parts.items():
                total = window == ALL
                at = slice(None) if total else int(window)
                rows.append(
                    {
                        "model": model,
                        "cost": cost,
                        "objective": objective,
                        "seed": _label(objective, series.seeds[number]),
                        "window": window,
                        "test_start": comparison.dates[part.start],
                        "test_end": comparison.dates[part.stop - 1],
                        "validation_utility": float(chosen[at].mean(axis=0)[number] if total else chosen[at, number])
                        * comparison.periods_per_year,
                        **_measured(series, number, part, comparison.periods_per_year),
                        "information_coefficient": float(
                            whole[number] if total else coefficients[objective][at, number]
                        ),
                        "windows": len(records) if total else 1,
                        "trials": comparison.n_trials,
                        **_costs(series, number, part, comparison.periods_per_year),
                    }
                )
    return pd.DataFrame(rows)


def series_of(comparison: Comparison, plan: ComparisonPlan) -> pd.DataFrame:
    """Return a row for each objective, seed and test date, in this order: `net` and `utility` of the period.

    Both are fractions of wealth, 0 after a ruin. `date` is when the result is known, `window` as in the table.
    """
    window = np.concatenate([np.full(part.stop - part.start, str(n)) for n, part in enumerate(_periods(plan))])
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "objective": objective,
                    "seed": _label(objective, series.seeds[number]),
                    "window": window,
                    "date": comparison.dates,
                    "net": series.net[number],
                    "utility": series.utility[number],
                }
            )
            for objective, series in comparison.series.items()
            for number in range(len(series.seeds))
        ],
        ignore_index=True,
    )


def totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table that are of all test rows together."""
    return table[table["window"] == ALL]


def best_so_far(table: pd.DataFrame) -> pd.DataFrame:
    """Return every cell and objective, mean over seeds, the best on validation first within each cost level.

    Test results stand beside it and decide nothing: to choose by them would be to tune on the test.
    """
    numbers = ["validation_utility", "net", "utility", "sharpe", "turnover", "leverage"]
    grouped = totals(table).groupby(["cost", "model", "objective"], sort=False)
    mean = grouped[numbers].mean()
    mean["net, sd of seeds"] = grouped["net"].std()
    return mean.reset_index().sort_values(["cost", "validation_utility"], ascending=[True, False], ignore_index=True)


def _measured(series: SeedSeries, number: int, part: slice, year: float) -> dict[str, Any]:
    net = series.net[number, part]
    return {
        "net": float(mean_annual_return(net, periods_per_year=year)),
        "gross": float(series.gross[number, part].mean() * year),
        "utility": float(series.utility[number, part].mean() * year),
        "sharpe": float(sharpe_ratio(net, periods_per_year=year)),
        "max_drawdown": float(max_drawdown(net)),
        "turnover": float(series.turnover[number, part].mean() * year),
        "leverage": float(series.leverage[number, part].mean()),
        # Wealth stands before each period and after the last.
        "ruined": bool(series.ruined[number] and series.wealth[number, part.stop] <= 0),
        "periods": len(net),
    }


def _costs(series: SeedSeries, number: int, part: slice, year: float) -> dict[str, float]:
    return {f"cost: {name}": float(cost[number, part].mean() * year) for name, cost in series.costs.items()}


def _periods(plan: ComparisonPlan) -> list[slice]:
    """Return the periods of each window among those that are simulated: one a test row, without a gap."""
    ends = list(accumulate(len(window.test) for window in plan.windows))
    return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]


def _coefficients_of_windows(plan: ComparisonPlan, fits: Sequence[WindowFit]) -> dict[str, np.ndarray]:
    """Return each objective's mean rank correlation (windows, books) of forecasts with what followed."""
    targets = plan.panel.targets(plan.lag)
    return {
        name: np.array(
            [
                [information_coefficient(p, targets[window.test]).mean for p in fitted.forecasts[name]]
                for window, fitted in zip(plan.windows, fits, strict=True)
            ]
        )
        for name in plan.objectives
    }


def _chosen_utility(record: Mapping[str, Any], n_books: int) -> np.ndarray:
    """Return the utility a period on validation (books,) under the choice that was made: the best on average."""
    tried = np.asarray(record["validation_utility"], dtype=float)
    chosen: np.ndarray = tried[int(tried.mean(axis=1).argmax())]
    return chosen if len(chosen) == n_books else np.full(n_books, chosen.mean())


def _label(objective: str, book: str) -> str:
    """Return what tells a book from the others of its objective: "0" of "aligned, seed 0"."""
    return book.removeprefix(f"{objective}, ").removeprefix("seed ")
