"""The study on real prices: 504 US stocks by week, two models, three cost levels, eight seeds.

Everything here was set before any result was seen, and what is not named is the library's default. The sweep can be
cut off and goes on where it was; how many processes work on it changes no digit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from backtest.sweep import Sweep, run_sweep
from backtest.sweep.run import Report
from backtest.whole_files import whole_file

__all__ = ["DOCUMENT", "FALSE_BEFORE", "FALSE_WEEKS", "OBJECTIVES", "PANEL", "run_real", "without_false_prices"]

PANEL = Path(__file__).resolve().parents[2] / "shared" / "data" / "panels" / "us_large_cap_weekly_1999_2021.parquet"

OBJECTIVES = ("squared", "whitened", "aligned", "0.5 whitened + 0.5 aligned")

FALSE_BEFORE = {"ANTM": "2002-03-22", "KSU": "2000-07-14", "ZBRA": "2004-08-27"}
"""Weeks that end with a split that their adjusted prices lack: such a name begins to be known after it."""

FALSE_WEEKS = {"TRMB": "2007-02-23"}
"""A price that is twice what it was, for one week: it counts as missing."""

DOCUMENT: dict[str, Any] = {
    "run": {
        "frequency": "W",
        "objectives": list(OBJECTIVES),
        "seeds": 8,
        # 102 rows are what the history before 2005 leaves for the first window; later ones train on up to 8 years.
        "walk_forward": {"train": 416, "minimum_train": 102, "validation": 104, "test": 122, "embargo": 4},
        "training": {"epochs": 20, "path_epochs": 4},
        "costs": {"factors": 15},
    },
    "models": {"linear": {"hidden": []}, "network": {"hidden": [32, 32]}},
    "costs": {
        "low": {"half_spread": 2},
        "middle": {"half_spread": 10},
        # Ten points and the impact of a book of 100 million dollars: names differ in what they cost.
        "high": {"half_spread": 10, "impact": 1.0, "wealth": 1e8},
    },
}


def without_false_prices(prices: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a long table (week_ending, symbol, ...) that are not known to be false."""
    false = pd.Series(False, index=prices.index)
    for symbol, last in FALSE_BEFORE.items():
        false |= (prices["symbol"] == symbol) & (prices["week_ending"] <= pd.Timestamp(last))
    for symbol, week in FALSE_WEEKS.items():
        false |= (prices["symbol"] == symbol) & (prices["week_ending"] == pd.Timestamp(week))
    return prices[~false]


def run_real(
    folder: Path, *, n_jobs: int | None = None, quick: bool = False, report: Report | None = None
) -> pd.DataFrame:
    """Run the sweep, or go on with it, and return its table.

    Args:
        folder: where it is kept.
        n_jobs: processes.
        quick: two seeds, two windows and one pass, to see that all works; no result is worth anything.
        report: told how far it is.
    """
    prices = folder / "prices.parquet"
    if not prices.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(prices) as file:
            without_false_prices(pd.read_parquet(PANEL)).to_parquet(file, index=False)
    run = {**DOCUMENT["run"], "prices": str(prices)}
    if quick:
        run |= {"seeds": 2, "walk_forward": {"train": 416, "validation": 52, "test": 400, "embargo": 4}}
        run["training"] = {"epochs": 1, "path_epochs": 1, "holding_periods": [4.0]}
    return run_sweep(Sweep.of({**DOCUMENT, "run": run}), folder, n_jobs=n_jobs, report=report)
