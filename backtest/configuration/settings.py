"""The record of a run, in the units of the command line: basis points, percent a year, periods."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtest.errors import SettingsError
from backtest.training import (
    DEFAULT_OBJECTIVES,
    CombinatorialSplits,
    TrainingSettings,
    TuningSettings,
    WalkForward,
    check_training,
)

__all__ = ["OF_MODELS", "CostSettings", "RunSettings", "parse_settings"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CostSettings(_Record):
    """What positions cost. A simulated market brings its own cash costs and risk.

    Attributes:
        half_spread: bp of the traded value, each way.
        impact: b in b volatility (trade / volume)^1/2; needs volumes.
        wealth: currency that is traded, for the impact.
        l1: bp of |position| a period; a penalty, not charged.
        borrow: % of short positions a year.
        risk_aversion: g in g/2 q'Sigma q; a penalty, not charged.
        factors: of the risk model, estimated from returns; a count.
        files: Python files with costs and constraints of your own, added to these; see `costs_of_file`.
    """

    half_spread: Annotated[float, Field(ge=0)] = 5.0
    impact: Annotated[float, Field(ge=0)] = 0.0
    wealth: Annotated[float, Field(gt=0)] = 1e8
    l1: Annotated[float, Field(ge=0)] = 1.0
    borrow: Annotated[float, Field(ge=0)] = 0.0
    risk_aversion: Annotated[float, Field(gt=0)] = 5.0
    factors: Annotated[int, Field(ge=0)] = 5
    files: tuple[str, ...] = ()


class RunSettings(_Record):
    """Settings of `backtest compare` and `backtest run`.

    Attributes:
        prices: file of prices; or
        dataset: name of a bundled data set; or
        market: name of a simulated market.
        market_seed: of the simulated market.
        frequency: D, W or M; what prices are resampled to. Simulated markets are daily.
        strategies: Python files, each with one Strategy, to compare; none compares models trained on the objectives.
        start: date of the strategies' first forecast; None is after 5 years, or 40% of a shorter history.
        refit_every: periods between two fits of a strategy; None is a year.
        objectives: what models are trained on; names from `backtest.training.OBJECTIVES`.
        seeds: how many models for each objective; `training.ensemble` of them make a book.
        costs: what positions cost.
        leverage: limit on longs plus shorts, in multiples of wealth.
        position_limit: limit on each position, fraction of wealth; None for none.
        dollar_neutral: whether longs and shorts are worth the same.
        lag: periods from a forecast to its fill.
        level: of the intervals.
        training: how models are trained.
        tuning: what of that is tuned, and how long, the same for every objective; None for nothing.
        walk_forward: windows, in periods; None takes lengths that suit the history.
        combinatorial: test every choice of some folds instead of walking forward (docs/protocol.md).
        max_windows: most windows, when their lengths are left to the history; each costs one training.
    """

    prices: str | None = None
    dataset: str | None = None
    market: Literal["simulated", "correlated", "liquidity"] | None = None
    market_seed: int = 0
    frequency: Literal["D", "W", "M"] = "W"
    strategies: tuple[str, ...] = ()
    start: datetime.date | None = None
    refit_every: Annotated[int, Field(ge=1)] | None = None
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    seeds: Annotated[int, Field(ge=1, le=1000)] = 4
    costs: CostSettings = CostSettings()
    leverage: Annotated[float, Field(gt=0)] = 2.0
    position_limit: Annotated[float, Field(gt=0)] | None = None
    dollar_neutral: bool = True
    lag: Annotated[int, Field(ge=0)] = 1
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    training: TrainingSettings = TrainingSettings()
    tuning: TuningSettings | None = None
    walk_forward: WalkForward | None = None
    combinatorial: CombinatorialSplits | None = None
    max_windows: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [name for name in ("prices", "dataset", "market") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"give one of prices, dataset and market, got {sources or 'none'}")
        return self

    @model_validator(mode="after")
    def _what_is_trained(self) -> Self:
        # Nothing that was asked for is left aside without a word.
        unread = OF_MODELS if self.strategies else OF_STRATEGIES
        asked = [name for name in unread if getattr(self, name) != type(self).model_fields[name].default]
        if asked and self.strategies:
            raise ValueError(f"{', '.join(asked)}: of models, which are not trained where there are strategies")
        if asked:
            raise ValueError(f"{', '.join(asked)}: of strategies, and there are none")
        if self.strategies:
            return self
        check_training(self.training, self.objectives, seeds=range(self.seeds))
        if self.tuning is not None:
            self.tuning.space_for(self.training)
        if self.walk_forward is not None and self.combinatorial is not None:
            raise ValueError("give walk_forward or combinatorial, which are two ways to cut a history, not both")
        return self


OF_STRATEGIES = ("start", "refit_every")
OF_MODELS = ("objectives", "seeds", "training", "tuning", "walk_forward", "combinatorial", "max_windows")
"""Settings that only strategies, or only models, read."""


def parse_settings(document: Mapping[str, Any]) -> RunSettings:
    """Return the settings in a `document`, such as the "settings" of a run's config.json.

    Raises:
        SettingsError: a key is unknown, or a value out of its range; names each, and what is allowed there.
    """
    try:
        return RunSettings.model_validate(document)
    except ValidationError as error:
        raise SettingsError("; ".join(_told(fault) for fault in error.errors())) from error


def _told(fault: Any) -> str:
    """Say what is wrong with a key, and what is allowed."""
    place = ".".join(str(part) for part in fault["loc"]) or "settings"
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"{place}: unknown key: {meant}there are {', '.join(known)}"
    if fault["type"] in ("model_type", "dataclass_type"):
        return f"{place}: must be a table, with some of {', '.join(_keys(fault['loc']))} (got {fault['input']!r})"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # A message about the whole document would only be drowned by it.
    return f"{place}: {message}" + (
        "" if isinstance(fault["input"], Mapping | BaseModel) else f" (got {fault['input']!r})"
    )


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the table at a place of a run's settings may have."""
    table: Any = RunSettings
    for part in place:
        table = _table_of(get_type_hints(table)[str(part)])
    return (
        [field.name for field in dataclasses.fields(table)]
        if dataclasses.is_dataclass(table)
        else [*table.model_fields]
    )


def _table_of(hint: Any) -> Any:
    """Return the class of a table in a type such as `Table | None`."""
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        return next(found for part in get_args(hint) if (found := _table_of(part)) is not None)
    return hint if dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, BaseModel)) else None
