"""`backtest numerai`: train on Numerai's files, score, and write a submission and an upload."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from backtest.commands.options import JsonOption
from backtest.commands.shared import DATA, OUTPUT, PORTFOLIO, TRAINING, errors_as_messages, option
from backtest.commands.telling import LogOption, QuietOption, VerboseOption, telling

__all__ = ["numerai"]


def numerai(
    train: Annotated[Path, option(DATA, "Parquet file to train on, in the classic schema.")],
    validation: Annotated[Path, option(DATA, "Parquet file whose eras are reported, and decide nothing.")],
    live: Annotated[Path | None, option(DATA, "Parquet file to predict: its era X, or all its eras.")] = None,
    meta_model: Annotated[Path | None, option(DATA, "Parquet file of the meta model, for MMC and CWMM.")] = None,
    benchmarks: Annotated[Path | None, option(DATA, "Parquet file of benchmark models, for BMC.")] = None,
    coverage: Annotated[
        float, option(DATA, "Share of an era's rows that these must have, where they have the era. Default 0.8.")
    ] = 0.8,
    target: Annotated[
        str, option(DATA, "Column. Default target; a name that ends in 60 purges 12 eras, others 4.")
    ] = "target",
    features: Annotated[str, option(DATA, "Pattern of the features' names. Default feature*.")] = "feature*",
    features_json: Annotated[Path | None, option(DATA, "features.json, which names sets of features.")] = None,
    feature_set: Annotated[str | None, option(DATA, "Set of features.json to train on. Default all features.")] = None,
    exposure_set: Annotated[
        str,
        option(
            DATA,
            "Set of features.json whose exposure costs, and which FNC neutralises. Default small; without the file, "
            "the first 50 features.",
        ),
    ] = "small",
    train_eras: Annotated[str | None, option(DATA, "FIRST:LAST eras of the training file. Default all.")] = None,
    validation_eras: Annotated[str | None, option(DATA, "FIRST:LAST eras to report. Default all.")] = None,
    exposure: Annotated[float, option(PORTFOLIO, "Weight on squared exposure to each feature. Default 1.")] = 1.0,
    ridge: Annotated[float, option(PORTFOLIO, "Weight on the mean squared position. Default 0.01.")] = 0.01,
    l1: Annotated[float, option(PORTFOLIO, "Forecasts below it get no position; target units. Default 0.001.")] = 1e-3,
    position_limit: Annotated[
        float, option(PORTFOLIO, "Limit on each |position|, equal shares of the book. Default 10.")
    ] = 10.0,
    dollar_neutral: Annotated[
        bool, option(PORTFOLIO, "Positions sum to 0. Default yes.", "--dollar-neutral/--no-dollar-neutral")
    ] = True,
    objectives: Annotated[
        str, option(TRAINING, "Names separated by commas. Default squared,whitened,aligned,misaligned.")
    ] = "squared,whitened,aligned,misaligned",
    seeds: Annotated[int, option(TRAINING, "Models for each objective, a count. Default 2.")] = 2,
    hidden: Annotated[str, option(TRAINING, 'Units of each hidden layer; "" is a linear model. Default 32.')] = "32",
    epochs: Annotated[int, option(TRAINING, "Most passes over the training eras, of each objective. Default 5.")] = 5,
    rows_per_era: Annotated[
        int | None, option(TRAINING, "Train on so many rows of each era, drawn anew each pass. Default all.")
    ] = None,
    learning_rate: Annotated[float, option(TRAINING, "Of AdamW. Default 0.001.")] = 1e-3,
    selection: Annotated[
        float, option(TRAINING, "Share of the training eras, the last, that stop training. Default 0.2.")
    ] = 0.2,
    submit: Annotated[
        str | None,
        option(OUTPUT, "Objective to predict live rows with. Default the best CORR20v2 on the selection eras."),
    ] = None,
    out: Annotated[Path | None, option(OUTPUT, "CSV file of the submission: id,prediction. Needs --live.")] = None,
    upload: Annotated[Path | None, option(OUTPUT, "File for a model upload: predict.pkl.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log: LogOption = None,
) -> None:
    """Train on squared, whitened, aligned and misaligned objectives era by era, and score as Numerai does.

    Prints a table of scores with standard errors over eras. Ids do not persist from era to era in these data, so
    trading costs cannot be measured.
    """
    from backtest.errors import SettingsError

    with errors_as_messages(), telling(quiet=quiet, verbose=verbose, log=log) as teller:
        from backtest.numerai.era_costs import EraCosts
        from backtest.numerai.eras import era_range
        from backtest.numerai.files import NO_TRADING_COSTS
        from backtest.numerai.run import NumeraiSettings, predict_live, run_numerai
        from backtest.numerai.submission import write_submission
        from backtest.numerai.training import EraTraining
        from backtest.numerai.upload import write_upload

        if (live is None) != (out is None):
            raise SettingsError("--live and --out go together: one is read, the other written")
        settings = NumeraiSettings(
            train=train,
            validation=validation,
            train_eras=None if train_eras is None else era_range(train_eras),
            validation_eras=None if validation_eras is None else era_range(validation_eras),
            features=features,
            features_json=features_json,
            feature_set=feature_set,
            exposure_set=exposure_set,
            target=target,
            meta_model=meta_model,
            benchmarks=benchmarks,
            least_coverage=coverage,
            objectives=tuple(name.strip() for name in objectives.split(",") if name.strip()),
            seeds=seeds,
            selection=selection,
            costs=EraCosts(exposure=exposure, ridge=ridge, l1=l1, limit=position_limit, neutral=dollar_neutral),
            training=EraTraining(
                hidden=_sizes(hidden), epochs=epochs, rows_per_era=rows_per_era, learning_rate=learning_rate
            ),
            submit=submit,
        )
        run = run_numerai(settings, report=teller.say)
        told = [f"{run.described()}; {NO_TRADING_COSTS}\n", run.table.markdown()]
        if live is not None and out is not None:
            write_submission(out, predict_live(run, live))
            told.append(f"\nSubmission, {run.submitted}: {out}")
        if upload is not None:
            write_upload(upload, run.predict)
            told.append(f"Upload, {run.submitted}: {upload}")
        if as_json:
            json.dump(run.table.to_dict() | {"submitted": run.submitted}, sys.stdout, allow_nan=False)
            sys.stdout.write("\n")
        elif not quiet:
            typer.echo("\n".join(told))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",") if size.strip())
    except ValueError:
        raise typer.BadParameter(f"--hidden takes whole numbers separated by commas, got {text!r}") from None
