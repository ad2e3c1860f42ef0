"""The whole way: files in, every objective trained, scored on eras apart, and what the chosen one says of live rows.

Eras have three uses, with a purge between each two. The last `selection` share of the training eras stops training,
sets the scale and chooses what is submitted; validation eras are reported and decide nothing; all before are trained
on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.numerai.era_costs import EraCosts
from backtest.numerai.eras import LIVE, era_name, purge_eras, split_eras
from backtest.numerai.evaluation import score_eras
from backtest.numerai.files import EraFile
from backtest.numerai.joined_models import JoinedModels
from backtest.numerai.schema import feature_set
from backtest.numerai.score_table import ScoreTable
from backtest.numerai.scores import corr20v2
from backtest.numerai.training import EraModels, EraProblem, EraTraining, Report, train_eras
from backtest.numerai.upload import make_predict

__all__ = ["NumeraiRun", "NumeraiSettings", "predict_live", "run_numerai"]

MOST_EXPOSED = 50
"""Features that count as exposures when no set is named: more make every solve dearer."""


@dataclass(frozen=True, kw_only=True)
class NumeraiSettings:
    """What to run.

    Attributes:
        train, validation: files; they may be one, with eras named.
        train_eras, validation_eras: of the files, ranges; None takes all that are not live.
        features: pattern of the features' names.
        features_json, feature_set: the file and a set of it, instead of the pattern.
        exposure_set: set of `features_json` whose exposure costs and that FNC neutralises; without the file, the first
            `MOST_EXPOSED` features.
        target: column.
        meta_model, benchmarks: files to compare with; None leaves their scores out.
        least_coverage: share of an era's rows that these must have.
        objectives, seeds, selection: what is trained, and the share of eras that stops it.
        costs, training: of every objective alike.
        submit: the objective whose forecasts are for live rows; None takes the best CORR20v2 of the selection eras.

    Raises:
        SettingsError: `submit` is not trained, there is no seed, or a feature set is named without its file.
    """

    train: Path
    validation: Path
    train_eras: range | None = None
    validation_eras: range | None = None
    features: str = "feature*"
    features_json: Path | None = None
    feature_set: str | None = None
    exposure_set: str = "small"
    target: str = "target"
    meta_model: Path | None = None
    benchmarks: Path | None = None
    least_coverage: float = 0.8
    objectives: tuple[str, ...] = ("squared", "whitened", "aligned", "misaligned")
    seeds: int = 2
    selection: float = 0.2
    costs: EraCosts = field(default_factory=EraCosts)
    training: EraTraining = field(default_factory=EraTraining)
    submit: str | None = None

    def __post_init__(self) -> None:
        if self.submit is not None and self.submit not in self.objectives:
            raise SettingsError(f"submit {self.submit!r}: choose from what is trained, {', '.join(self.objectives)}")
        if self.seeds < 1:
            raise SettingsError(f"seeds must be at least 1, got {self.seeds}")
        if self.feature_set is not None and self.features_json is None:
            raise SettingsError("feature_set names a set of features.json: give features_json too")


@dataclass(frozen=True, eq=False)
class NumeraiRun:
    """What came out.

    Attributes:
        models: all objectives and seeds.
        table: scores on the validation eras.
        train, selection: (n,) numbers of the eras that were used for each.
        submitted: the objective that was chosen.
        predict: its seeds, as `backtest.numerai.upload` describes.
        features: names of what it takes.
    """

    models: EraModels
    table: ScoreTable
    train: np.ndarray
    selection: np.ndarray
    submitted: str
    predict: Callable[..., Any]
    features: tuple[str, ...]

    def described(self) -> str:
        """Return which eras were used for what, in words."""
        spans = ((self.train, "trained on"), (self.selection, "selected on"), (np.array(self.table.eras), "reported"))
        return ", ".join(f"{what} {len(e)} eras {era_name(int(e[0]))} to {era_name(int(e[-1]))}" for e, what in spans)


def run_numerai(settings: NumeraiSettings, *, report: Report = lambda message: None) -> NumeraiRun:
    """Train, score, and choose.

    Args:
        settings: what to run.
        report: told what happens.

    Raises:
        DataError, SettingsError: as the files, the eras and the training say.
    """
    features: str | Sequence[str] = settings.features
    if settings.features_json is not None and settings.feature_set is not None:
        features = feature_set(settings.features_json, settings.feature_set)
    files = [EraFile.open(p, features=features, target=settings.target) for p in (settings.train, settings.validation)]
    if files[0].columns.features != files[1].columns.features:
        files[1] = EraFile.open(settings.validation, features=files[0].columns.features, target=settings.target)
    for file in files:
        report(repr(file))
    names = files[0].columns.features
    exposed = _exposed(settings, names)
    reported = _chosen(files[1], settings.validation_eras)
    purge = purge_eras(settings.target)
    before = [era for era in _chosen(files[0], settings.train_eras) if era < reported[0] - purge]
    train, selection = split_eras(before, selection=settings.selection, purge=purge)
    problem = EraProblem(files[0], settings.costs, exposed)
    models = train_eras(
        problem,
        train=train.tolist(),
        selection=selection.tolist(),
        objectives=settings.objectives,
        seeds=range(settings.seeds),
        settings=settings.training,
        report=report,
    )
    submitted = settings.submit or _best(models, problem, selection.tolist())
    joined = [
        None if path is None else JoinedModels.read(path, least=settings.least_coverage)
        for path in (settings.meta_model, settings.benchmarks)
    ]
    table = score_eras(
        models,
        replace(problem, file=files[1]),
        reported,
        neutral=exposed,
        # A target reaches into one era less than are purged.
        lags=purge - 1,
        meta_model=joined[0],
        benchmarks=joined[1],
    )
    predict = make_predict(models.of(submitted), names, whole=files[0].columns.whole)
    return NumeraiRun(models, table, train, selection, submitted, predict, names)


def predict_live(run: NumeraiRun, path: str | Path) -> pd.Series:
    """Return predictions for a live file: its live era, or all its eras where it has none.

    Args:
        run: gives `predict`.
        path: Parquet, without a target or with an unknown one.

    Returns:
        Ranks in (0, 1), indexed by id.

    Raises:
        DataError: the file is none of Numerai's, or lacks a feature.
    """
    file = EraFile.open(path, features=run.features, target=None)
    eras = [LIVE] if LIVE in file.eras else list(file.eras)
    parts = []
    for batch in file.stream(eras, ids=True):
        assert batch.ids is not None
        index = pd.Index(batch.ids.tolist(), name="id")
        frame = pd.DataFrame(batch.features.T, index=index, columns=list(run.features))
        parts.append(run.predict(frame, None)["prediction"])
    return pd.concat(parts)


def _exposed(settings: NumeraiSettings, names: Sequence[str]) -> np.ndarray:
    if settings.features_json is None:
        return np.arange(min(MOST_EXPOSED, len(names)))
    place = {name: number for number, name in enumerate(names)}
    members = [place[name] for name in feature_set(settings.features_json, settings.exposure_set) if name in place]
    if not members:
        raise SettingsError(f"none of the exposure set {settings.exposure_set!r} is among the features trained on")
    return np.array(members)


def _chosen(file: EraFile, wanted: range | None) -> list[int]:
    found = [era for era in file.eras if era != LIVE and (wanted is None or era in wanted)]
    if not found:
        raise SettingsError(f"{file.path}: no eras to use: it has {file!r}")
    return found


def _best(models: EraModels, problem: EraProblem, eras: Sequence[int]) -> str:
    """Return the objective with the best mean CORR20v2 over eras and seeds."""
    scores = []
    for batch in problem.batches(eras):
        assert batch.target is not None
        scores.append(corr20v2(models.forecast(batch).numpy().T, batch.target))
    means = pd.Series(np.nanmean(scores, axis=0)).groupby(list(models.objectives), sort=False).mean()
    return str(means.idxmax())
