"""`backtest compare`: models trained on what the portfolio does against models trained on squared error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.commands.options import (
    CostFileOption,
    CostOption,
    DatasetOption,
    FrequencyOption,
    JsonOption,
    LagOption,
    LeverageOption,
    Market,
    NeutralOption,
    OutOption,
    PositionLimitOption,
    PricesOption,
    given,
    shared_settings,
    with_source,
)
from backtest.commands.runs import carry_out_and_write
from backtest.commands.shared import DATA, OUTPUT, TRAINING, errors_as_messages, option
from backtest.commands.telling import LogOption, QuietOption, Telling, VerboseOption, telling
from backtest.errors import SettingsError

if TYPE_CHECKING:
    from backtest.configuration import RunSettings

__all__ = ["compare"]


def compare(
    prices: PricesOption = None,
    dataset: DatasetOption = None,
    market: Annotated[
        Market | None, option(DATA, "Simulated market instead of prices: daily, and its truth is known.")
    ] = None,
    market_seed: Annotated[int | None, option(DATA, "Draw of the simulated market, a whole number. Default 0.")] = None,
    frequency: FrequencyOption = None,
    objectives: Annotated[
        str | None,
        option(
            TRAINING,
            "Names separated by commas. Default squared,whitened,aligned,misaligned; also rank_correlation, sharpe, "
            "spo_plus, fenchel_young, and blends such as '0.5 whitened + 0.5 aligned'.",
        ),
    ] = None,
    seeds: Annotated[int | None, option(TRAINING, "Models for each objective, a count. Default 4.")] = None,
    model: Annotated[
        str | None,
        option(
            TRAINING,
            "linear, mlp, gru, convolution, boosted_trees, or a scikit-learn class such as "
            "sklearn.ensemble.ExtraTreesRegressor. Default mlp.",
            metavar="NAME",
        ),
    ] = None,
    ensemble: Annotated[
        int | None,
        option(TRAINING, "Seeds whose forecasts are averaged into one book; it divides --seeds. Default 1."),
    ] = None,
    hidden: Annotated[
        str | None, option(TRAINING, 'Units of each hidden layer; "" is a linear model. Default 32,32.')
    ] = None,
    tune: Annotated[
        int | None,
        option(
            TRAINING,
            "Settings tried for each objective in each window, a count, judged on validation alone (docs/tuning.md). "
            "Default none: those that stand.",
        ),
    ] = None,
    combinatorial: Annotated[
        str | None,
        option(
            TRAINING,
            "Instead of walking forward, test every choice of TEST of FOLDS folds, trained on the others, before and "
            "after: a check of robustness (docs/protocol.md). Counts: 6,2 trains 15 times, for 5 paths.",
            metavar="FOLDS,TEST",
        ),
    ] = None,
    quick: Annotated[
        bool,
        option(
            TRAINING,
            "A first look in under 30 seconds once the solver is compiled: 2 seeds, fewer windows and passes.",
            "--quick",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        option(TRAINING, "Processes that train, a count; no result depends on it. Default one a core; 1 with --quick."),
    ] = None,
    cost: CostOption = None,
    leverage: LeverageOption = None,
    position_limit: PositionLimitOption = None,
    dollar_neutral: NeutralOption = None,
    lag: LagOption = None,
    cost_file: CostFileOption = None,
    level: Annotated[float | None, option(OUTPUT, "Level of the intervals, a probability. Default 0.95.")] = None,
    config: Annotated[
        Path | None,
        option(
            OUTPUT,
            "TOML file of settings, before which options go; or config.json of an earlier run, to repeat it to the "
            "last bit.",
        ),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log: LogOption = None,
) -> None:
    """Compare models trained on squared error with models trained on what the portfolio earns after its costs.

    Trains on each objective, walk forward or on combinatorial splits; maps forecasts to positions under costs and
    limits; simulates; and says whether the difference is more than luck.
    """
    with errors_as_messages(), telling(quiet=quiet, verbose=verbose, log=log) as teller:
        from backtest.configuration import Recorded, read_settings, settings_with_presets

        options = given(
            market=None if market is None else market.value,
            market_seed=market_seed,
            objectives=None if objectives is None else _names(objectives),
            seeds=seeds,
            level=level,
            training=given(model=model, ensemble=ensemble, hidden=None if hidden is None else _sizes(hidden)) or None,
            tuning=None if tune is None else {"trials": tune},
            combinatorial=None if combinatorial is None else _folds(combinatorial),
            **shared_settings(
                prices, dataset, frequency, cost, cost_file, leverage, position_limit, dollar_neutral, lag
            ),
        )
        if config is not None:
            recorded = read_settings(config, options=options, quick=quick)
            if recorded.settings.strategies:
                raise SettingsError(f"{config}: it compares strategies: use backtest run {config}")
        else:
            recorded = Recorded(settings_with_presets(with_source(options), quick=quick))
            if objectives is None:
                _say_what_is_left_out(recorded.settings, teller)
        # Two small windows are trained sooner here than a second process has started.
        jobs = jobs or (1 if quick else None)
        carry_out_and_write(recorded, jobs=jobs, out=out, as_json=as_json, teller=teller)


def _say_what_is_left_out(settings: RunSettings, teller: Telling) -> None:
    from backtest.training import DEFAULT_OBJECTIVES

    left_out = [name for name in DEFAULT_OBJECTIVES if name not in settings.objectives]
    if left_out:
        teller.say(
            f"{settings.training.kind.title} cannot be trained on {', '.join(left_out)}: compared are "
            f"{', '.join(settings.objectives)}"
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in _names(text)]
    except ValueError:
        raise typer.BadParameter(f"--hidden takes whole numbers separated by commas, got {text!r}") from None


def _folds(text: str) -> dict[str, int]:
    try:
        folds, test_folds = (int(count) for count in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--combinatorial takes two whole numbers, folds and how many of them to test, like 6,2, got {text!r}"
        ) from None
    return {"folds": folds, "test_folds": test_folds}
