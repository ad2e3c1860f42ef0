"""The `backtest` command. Results go to standard output; progress and messages to standard error."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.commands import data
from backtest.commands.check import check
from backtest.commands.numerai import numerai
from backtest.commands.positions import positions
from backtest.commands.report import report
from backtest.commands.shared import DATA, OUTPUT, PORTFOLIO, TRAINING, errors_as_messages, option
from backtest.errors import SettingsError

if TYPE_CHECKING:
    from backtest.analysis import Comparison

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Backtest cost-aware portfolios: does training on what the portfolio does beat squared error?",
)
app.command()(positions)
app.command()(check)
app.command()(report)
app.add_typer(data.app, name="data")
app.command()(numerai)


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


@app.command()
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
    level: Annotated[float | None, option(OUTPUT, "Level of the intervals, a probability. Default 0.95.")] = None,
    config: Annotated[Path | None, option(OUTPUT, "config.json of an earlier run: repeat it to the last bit.")] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models trained on squared error with models trained on what the portfolio earns after its costs.

    Trains on each objective, walk forward or on combinatorial splits; maps forecasts to positions under costs and
    limits; simulates; and says whether the difference is more than luck.
    """
    from backtest.configuration import settings_with_presets

    options = _given(
        market=None if market is None else market.value,
        market_seed=market_seed,
        objectives=None if objectives is None else _names(objectives),
        seeds=seeds,
        level=level,
        training=_given(model=model, ensemble=ensemble, hidden=None if hidden is None else _sizes(hidden)) or None,
        tuning=None if tune is None else {"trials": tune},
        combinatorial=None if combinatorial is None else _folds(combinatorial),
        **_shared(prices, dataset, frequency, cost, leverage, position_limit, dollar_neutral, lag),
    )
    with errors_as_messages():
        if config is not None:
            if options or quick:
                others = ", ".join([*options, *(["quick"] if quick else [])])
                raise SettingsError(f"--config repeats a run as it was and takes no other settings, got {others}")
            settings, recorded_hash = _recorded(config)
        else:
            settings, recorded_hash = settings_with_presets(_with_source(options), quick=quick), None
            if objectives is None:
                _say_what_is_left_out(settings)
        # Two small windows are trained sooner here than a second process has started.
        _compare(settings, recorded_hash, jobs=jobs or (1 if quick else None), out=out, as_json=as_json)


@app.command()
def run(
    strategies: Annotated[
        list[Path], typer.Argument(help="Python files, each with one Strategy; several are compared.")
    ],
    prices: PricesOption = None,
    dataset: DatasetOption = None,
    frequency: FrequencyOption = None,
    start: Annotated[
        str | None,
        option(DATA, "Date of the first forecast, YYYY-MM-DD. Default after 5 years, or 40% of a shorter history."),
    ] = None,
    refit_every: Annotated[
        int | None, option(TRAINING, "Periods between two fits of a strategy. Default a year.")
    ] = None,
    cost: CostOption = None,
    leverage: LeverageOption = None,
    position_limit: PositionLimitOption = None,
    dollar_neutral: NeutralOption = None,
    lag: LagOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest the strategies in Python files after costs, and compare them when there are several."""
    from backtest.configuration import settings_with_presets

    options = _given(**_shared(prices, dataset, frequency, cost, leverage, position_limit, dollar_neutral, lag))
    with errors_as_messages():
        settings = settings_with_presets(_with_source(options), quick=False)
        _run(settings, strategies, start=start, refit_every=refit_every, out=out, as_json=as_json)


@app.command()
def sweep(
    config: Annotated[
        Path,
        typer.Argument(
            help="TOML file: [run] has the settings of a comparison, [models.NAME] what is other in its training, or "
            "its own objectives and seeds, [costs.NAME] what is other in its costs."
        ),
    ],
    engine: Annotated[
        str,
        option(
            TRAINING,
            "local, ray://HOST:PORT, ray://auto or dask://HOST:PORT; no result depends on it. Default local.",
        ),
    ] = "local",
    jobs: Annotated[
        int | None, option(TRAINING, "Tasks at a time, a count. Default one a core, or all that a cluster has.")
    ] = None,
    out: Annotated[
        Path | None, option(OUTPUT, "Folder of the sweep, which all workers see. Default runs/CONFIG.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare objectives for every combination of models and costs; goes on where it was cut off.

    Ends with a judgement of all variants together: the choice on validation, its overfitting, and what is more than
    luck.
    """
    with errors_as_messages():
        from backtest.analysis.comparison import plain
        from backtest.sweep import judge, read_sweep, run_sweep
        from backtest.sweep.display import live_report, shown

        settings = read_sweep(config)
        folder = out or Path("runs") / config.stem
        with live_report() as report:
            table = run_sweep(settings, folder, engine=engine, n_jobs=jobs, report=report)
        judgement = judge(folder)
        judgement.write(folder / "judgement.json")
        if as_json:
            document = plain({"table": table.to_dict(orient="records"), "judgement": judgement.to_dict()})
            json.dump(document, sys.stdout, allow_nan=False)
            sys.stdout.write("\n")
            return
        from rich.console import Console

        Console().print(shown(table))
        typer.echo("\n".join(judgement.lines))
        typer.echo(f"\nTable: {folder / 'sweep.parquet'}, judgement: {folder / 'judgement.json'}")


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Say the version, or go on to a command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("aligned-backtest"))
        raise typer.Exit


def _compare(settings: Any, recorded_hash: str | None, *, jobs: int | None, out: Path | None, as_json: bool) -> None:
    from backtest.configuration import describe_run, load_market, plan_comparison, source_name

    market = load_market(settings)
    data_hash = describe_run(settings, market)["data_hash"]
    if recorded_hash not in (None, data_hash):
        raise SettingsError(
            f"the data are not those of the recorded run: their hash is {data_hash[:12]}, "
            f"the run's {str(recorded_hash)[:12]}. Bring the data of that time back, or start a new run"
        )
    plan = plan_comparison(settings, market)
    with _progress() as progress:
        comparison = plan.run(n_jobs=jobs, progress=progress)
    _finish(comparison, dict(plan.settings), name=source_name(settings), out=out, as_json=as_json)


def _run(
    settings: Any,
    files: list[Path],
    *,
    start: str | None,
    refit_every: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from backtest.analysis import compare_strategies
    from backtest.configuration import build_solver, describe_run, load_panel, source_name
    from backtest.strategy import load_strategy

    panel = load_panel(settings)
    description = describe_run(settings, panel) | {"strategies": [str(file) for file in files]}
    strategies = {}
    for file in files:
        strategy = load_strategy(file)
        name = type(strategy).__name__
        strategies[name if name not in strategies else f"{name} ({file.name})"] = strategy
    first_row = None if start is None else panel.until(start).n_periods - 1
    with _progress() as progress:
        comparison = compare_strategies(
            panel,
            strategies,
            solver=build_solver(settings, panel),
            lag=settings.lag,
            first_row=first_row,
            refit_every=refit_every,
            settings=description,
            progress=progress,
        )
    # With more data, as on the next day, these would be others.
    description |= {key: comparison.settings[key] for key in ("first_forecast", "refit_every")}
    name = f"{'-'.join(strategies).lower()}-{source_name(settings)}"
    _finish(comparison, description, name=name, out=out, as_json=as_json)


def _finish(comparison: Comparison, description: dict[str, Any], *, name: str, out: Path | None, as_json: bool) -> None:
    """Write the run's folder, and print the verdict and the table, or the JSON document."""
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    if out is None:
        # The folder is named after what decides the run: the same settings and data write the same folder.
        out = Path("runs") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    page = comparison.report(out)
    (out / "config.json").write_text(text, encoding="utf-8")
    if as_json:
        json.dump(comparison.to_dict(), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
        return
    comparison.render()
    typer.echo(f"Report: {page}")


def _say_what_is_left_out(settings: Any) -> None:
    from backtest.training import DEFAULT_OBJECTIVES

    left_out = [name for name in DEFAULT_OBJECTIVES if name not in settings.objectives]
    if left_out:
        typer.echo(
            f"{settings.training.kind.title} cannot be trained on {', '.join(left_out)}: compared are "
            f"{', '.join(settings.objectives)}",
            err=True,
        )


def _recorded(config: Path) -> tuple[Any, str]:
    from backtest.configuration import parse_settings

    try:
        document = json.loads(config.read_text(encoding="utf-8"))
        return parse_settings(document["settings"]), document["data_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{config}: not the config.json of a run: {error}") from error


def _shared(
    prices: Path | None,
    dataset: str | None,
    frequency: Frequency | None,
    cost: list[str] | None,
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
        "costs": _costs(cost),
        "leverage": leverage,
        "position_limit": position_limit,
        "dollar_neutral": dollar_neutral,
        "lag": lag,
    }


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_source(options: dict[str, Any]) -> dict[str, Any]:
    return options if options.keys() & {"prices", "dataset", "market"} else {"dataset": "sp500-20", **options}


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


def _costs(costs: list[str] | None) -> dict[str, float] | None:
    if not costs:
        return None
    parsed: dict[str, float] = {}
    for text in costs:
        name, _, number = text.partition("=")
        try:
            parsed[name.strip().replace("-", "_")] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--cost takes NAME=NUMBER, like half_spread=5, got {text!r}") from None
    return parsed


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


if __name__ == "__main__":
    app()
