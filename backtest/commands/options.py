"""Options that several commands have, and what becomes of them: the settings of a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backtest.commands.shared import DATA, OUTPUT, PORTFOLIO, option

__all__ = [
    "CostFileOption",
    "CostOption",
    "DatasetOption",
    "Frequency",
    "FrequencyOption",
    "JsonOption",
    "LagOption",
    "LeverageOption",
    "Market",
    "NeutralOption",
    "OutOption",
    "PositionLimitOption",
    "PricesOption",
    "given",
    "shared_settings",
    "with_source",
]


class Frequency(StrEnum):
    """Length of a period."""

    DAY = "D"
    WEEK = "W"
    MONTH = "M"


class Market(StrEnum):
    """Simulated markets, whose truth is known."""

    SIMULATED = "simulated"
    CORRELATED = "correlated"
    LIQUIDITY = "liquidity"


PricesOption = Annotated[Path | None, option(DATA, "CSV or Parquet file of prices, wide or long.")]
DatasetOption = Annotated[
    str | None, option(DATA, "Bundled data set: sp500-20 (20 US stocks, 1990-2022), which is the default.")
]
FrequencyOption = Annotated[
    Frequency | None, option(DATA, "Period that prices are resampled to: D day, W week, M month. Default W.")
]
CostOption = Annotated[
    list[str] | None,
    option(
        PORTFOLIO,
        "One cost; repeat for more. half_spread: bp of the traded value, each way (default 5). impact: b in the "
        "square-root law of impact, about 1 (0), for a book of wealth: currency (1e8). l1: bp of |position| a period, "
        "a penalty (1). borrow: % of short positions a year (0). risk_aversion: g in g/2 q'Sigma q (5). "
        "factors: a count, of the risk model (5).",
        "--cost",
        metavar="NAME=NUMBER",
    ),
]
CostFileOption = Annotated[
    list[Path] | None,
    option(
        PORTFOLIO,
        "Python file with costs and constraints of your own, added to these; repeat for more. backtest check FILE says "
        "whether they keep their contract.",
        "--cost-file",
        metavar="FILE.py",
    ),
]
LeverageOption = Annotated[
    float | None, option(PORTFOLIO, "Limit on longs plus shorts, multiples of wealth. Default 2.")
]
PositionLimitOption = Annotated[
    float | None, option(PORTFOLIO, "Limit on each |position|, fraction of wealth. Default none.")
]
NeutralOption = Annotated[
    bool | None,
    option(PORTFOLIO, "Longs and shorts are worth the same. Default yes.", "--dollar-neutral/--no-dollar-neutral"),
]
LagOption = Annotated[
    int | None, option(PORTFOLIO, "Periods from a forecast to its fill; 0 fills at its own close. Default 1.")
]
OutOption = Annotated[
    Path | None, option(OUTPUT, "Folder for report.html, comparison.json and config.json. Default runs/NAME.")
]
JsonOption = Annotated[bool, option(OUTPUT, "Print the result as one JSON document.", "--json")]


def shared_settings(
    prices: Path | None,
    dataset: str | None,
    frequency: Frequency | None,
    cost: list[str] | None,
    cost_file: list[Path] | None,
    leverage: float | None,
    position_limit: float | None,
    dollar_neutral: bool | None,
    lag: int | None,
) -> dict[str, Any]:
    """Return the options that all commands share, as settings; what was not given is None."""
    return {
        "prices": None if prices is None else str(prices),
        "dataset": dataset,
        "frequency": None if frequency is None else frequency.value,
        "costs": _costs(cost, cost_file),
        "leverage": leverage,
        "position_limit": position_limit,
        "dollar_neutral": dollar_neutral,
        "lag": lag,
    }


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def with_source(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with a source of data: the default one where none was given."""
    return options if options.keys() & {"prices", "dataset", "market"} else {"dataset": "sp500-20", **options}


def _costs(costs: list[str] | None, files: list[Path] | None) -> dict[str, Any] | None:
    parsed: dict[str, Any] = {"files": [str(file) for file in files]} if files else {}
    for text in costs or []:
        name, _, number = text.partition("=")
        try:
            parsed[name.strip().replace("-", "_")] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--cost takes NAME=NUMBER, like half_spread=5, got {text!r}") from None
    return parsed or None
