"""Everything that decides a run, in one record that is written beside its result and can be run again.

Units are those of the command line: basis points, percent a year, periods. Library objects are built from them here.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.costs import (
    L1,
    BorrowFee,
    Constraint,
    Cost,
    DollarNeutral,
    FactorRisk,
    HoldingFee,
    LeverageLimit,
    PositionLimit,
    TradingCost,
)
from backtest.errors import SettingsError
from backtest.market import (
    MarketPanel,
    SimulatedMarket,
    correlated_market,
    liquidity_market,
    load_dataset,
    price_features,
    read_prices,
    simulate_market,
    to_frequency,
)
from backtest.solver import PositionSolver
from backtest.training import (
    DEFAULT_OBJECTIVES,
    CombinatorialSplits,
    TrainingSettings,
    TuningSettings,
    WalkForward,
    check_training,
    default_objectives,
    read_of,
    require_optuna,
)

__all__ = [
    "CostSettings",
    "RunSettings",
    "build_solver",
    "describe_run",
    "load_market",
    "load_panel",
    "parse_settings",
    "plan_comparison",
    "settings_with_presets",
    "source_name",
]

BASIS_POINT = 1e-4
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A first look: fewer models, one holding period, fewer passes, longer test windows.
    "quick": {
        "seeds": 2,
        "max_windows": 2,
        "training": {
            "epochs": 5,
            "path_epochs": 2,
            "patience": 2,
            "holding_periods": [4.0],
            "boosting": {"trees": 60, "path_trees": 10},
        },
    },
    # The setting in which alignment must win (liquidity_market): one linear model for names cheap and dear to hold.
    "liquidity": {
        "seeds": 4,
        "leverage": 30.0,  # seldom binding: a limit that binds leaves the scale of a forecast undetermined
        "dollar_neutral": False,
        "costs": {"risk_aversion": 20.0, "l1": 0.0},
        "training": {"hidden": [], "shrinkage": [1.0]},
        "walk_forward": {"train": 400, "validation": 100, "test": 600, "embargo": 2},
    },
    "correlated": {
        "leverage": 10.0,
        "costs": {"l1": 0.0},
        "training": {"hidden": [], "shrinkage": [1.0]},
        "walk_forward": {"train": 200, "validation": 50, "test": 720, "embargo": 2},
    },
    "simulated": {"leverage": 5.0, "costs": {"l1": 0.0}, "training": {"holding_periods": [1.0, 2.0]}},
}
"""Settings that stand in for the defaults under `--quick` and on each simulated market; options given go before. Of
those of training, the ones that the model at hand reads."""

PACKAGES = ("aligned-backtest", "numpy", "pandas", "torch", "numba", "scipy", "arch", "skfolio")


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
    """

    half_spread: Annotated[float, Field(ge=0, description="bp of the traded value, each way")] = 5.0
    impact: Annotated[float, Field(ge=0, description="b in b volatility (trade / volume)^1/2; needs volumes")] = 0.0
    wealth: Annotated[float, Field(gt=0, description="currency that is traded, for the impact")] = 1e8
    l1: Annotated[float, Field(ge=0, description="bp of |position| a period; a penalty, not charged")] = 1.0
    borrow: Annotated[float, Field(ge=0, description="% of short positions a year")] = 0.0
    risk_aversion: Annotated[float, Field(gt=0, description="g in g/2 q'Sigma q; a penalty, not charged")] = 5.0
    factors: Annotated[int, Field(ge=0, description="factors of the risk model, estimated from returns")] = 5


class RunSettings(_Record):
    """Settings of `backtest compare` and `backtest run`.

    Attributes:
        prices: file of prices; or
        dataset: name of a bundled data set; or
        market: name of a simulated market.
        market_seed: of the simulated market.
        frequency: D, W or M; what prices are resampled to. Simulated markets are daily.
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
        check_training(self.training, self.objectives, seeds=range(self.seeds))
        if self.tuning is not None:
            self.tuning.space_for(self.training)
        if self.walk_forward is not None and self.combinatorial is not None:
            raise ValueError("give walk_forward or combinatorial, which are two ways to cut a history, not both")
        return self


def settings_with_presets(options: Mapping[str, Any], *, quick: bool) -> RunSettings:
    """Return the settings for the options given, with the presets that apply where an option is not given.

    Without objectives they are the default ones, less those that the model cannot be trained on.

    Args:
        options: fields of `RunSettings`, those that were given.
        quick: whether the preset of a first look applies.

    Raises:
        SettingsError: a key is unknown, or a value out of its range.
    """
    preset: dict[str, Any] = {}
    for name in (options.get("market"), "quick" if quick else None):
        preset = _merged(preset, PRESETS.get(name or "", {}))
    if options.get("combinatorial") is not None:
        # A preset's windows are those of the way that is not taken.
        preset.pop("walk_forward", None)
    given, shared = options.get("training", {}), preset.get("training", {})
    own = given if isinstance(given, Mapping) else {}  # parsing refuses what is no table
    if "model" in own:
        # A model that is asked for by name is not the preset's, nor are its layers.
        shared = {key: value for key, value in shared.items() if key != "hidden"}
    document = _merged({**preset, "training": read_of(shared, own)}, options)
    return parse_settings({"objectives": default_objectives(own.get("model", "mlp")), **document})


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_settings(document: Mapping[str, Any]) -> RunSettings:
    """Return the settings in a `document`, such as the "settings" of a run's config.json.

    Raises:
        SettingsError: a key is unknown, or a value out of its range; names each, and what is allowed.
    """
    try:
        return RunSettings.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']} (got {fault['input']!r})"
            for fault in error.errors()
        )
        raise SettingsError(faults) from error


def load_market(settings: RunSettings) -> MarketPanel | SimulatedMarket:
    """Return the market of a run's `settings`: prices at its frequency with price features, or a simulated market.

    Raises:
        DataError: the file of prices cannot be read.
    """
    if settings.market is not None:
        seed, lag = settings.market_seed, settings.lag
        if settings.market == "liquidity":
            return liquidity_market(seed, lag=lag)
        if settings.market == "correlated":
            return correlated_market(seed, lag=lag)
        return simulate_market(seed=seed, lag=lag, misspecification=0.5, cost_dispersion=1.0, n_periods=2000)
    return load_panel(settings)


def load_panel(settings: RunSettings) -> MarketPanel:
    """Return the prices of a run's `settings` at its frequency, with price features.

    Raises:
        DataError: the file of prices cannot be read.
        SettingsError: there is no such data set, or prices are coarser than the frequency.
    """
    panel = load_dataset(settings.dataset) if settings.dataset else read_prices(str(settings.prices))
    return price_features(to_frequency(panel, settings.frequency))


def build_solver(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> PositionSolver:
    """Return the solver of a run's `settings`: estimated risk and the costs asked for, or a simulated `market`'s own.

    Raises:
        SettingsError: impact is asked for in a simulated market, which has no volumes.
    """
    costs = settings.costs
    total: Cost
    if isinstance(market, SimulatedMarket):
        if costs.impact:
            raise SettingsError("costs.impact: a simulated market has no volumes; leave it at 0, or bring prices")
        total = costs.risk_aversion * FactorRisk(
            loadings=market.loadings,
            factor_covariance=market.factor_covariance,
            specific_variance=market.specific_variance,
        )
        if market.half_spread.any():
            total = total + TradingCost(half_spread=market.half_spread)
        if market.holding_fee.any():
            total = total + HoldingFee(market.holding_fee)
    else:
        total = costs.risk_aversion * FactorRisk(n_factors=costs.factors) + TradingCost(
            half_spread=costs.half_spread * BASIS_POINT,
            impact=costs.impact,
            # A book of constant size: what is compared are returns, not how a book outgrows its market.
            wealth=costs.wealth if costs.impact else None,
        )
    if costs.l1:
        total = total + costs.l1 * BASIS_POINT * L1()
    if costs.borrow:
        total = total + BorrowFee(costs.borrow / 100)
    limits: list[Constraint] = [LeverageLimit(settings.leverage)]
    if settings.dollar_neutral:
        limits.append(DollarNeutral())
    if settings.position_limit is not None:
        limits.append(PositionLimit(settings.position_limit))
    return PositionSolver(total, limits)


def plan_comparison(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> ComparisonPlan:
    """Return the comparison that `settings` ask for on a `market`, before anything is trained.

    Raises:
        SettingsError: the history is too short, or what the model needs is not installed.
    """
    plan = ComparisonPlan.of(
        market,
        settings.objectives,
        solver=build_solver(settings, market),
        seeds=settings.seeds,
        training=settings.training,
        tuning=settings.tuning,
        walk_forward=settings.walk_forward,
        combinatorial=settings.combinatorial,
        max_windows=settings.max_windows,
        lag=settings.lag,
        level=settings.level,
    )
    return replace(plan, settings=describe_run(_with_windows(settings, plan), market))


def describe_run(settings: RunSettings, market: MarketPanel | SimulatedMarket) -> dict[str, Any]:
    """Return what a run of `settings` on a `market` writes beside its result: settings, versions, data hash."""
    panel = market.panel if isinstance(market, SimulatedMarket) else market
    needed = settings.training.kind.package
    packages = PACKAGES if needed is None else (*PACKAGES, needed.name)
    if settings.tuning is not None:
        require_optuna()
        packages = (*packages, "optuna")
    return {
        "settings": settings.model_dump(mode="json"),
        "data_hash": panel.data_hash,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _with_windows(settings: RunSettings, plan: ComparisonPlan) -> RunSettings:
    """Return the settings with the lengths of the windows, where these were left to the history.

    A record of a run must have them: with more data, as on the next day, they would be others.
    """
    return settings.model_copy(update={"walk_forward": plan.protocol}) if settings.combinatorial is None else settings


def source_name(settings: RunSettings) -> str:
    """Return a short name of the data of a run's `settings`, for its folder."""
    if settings.market is not None:
        return settings.market
    name = settings.dataset or Path(str(settings.prices)).stem
    return f"{name}-{settings.frequency}"
