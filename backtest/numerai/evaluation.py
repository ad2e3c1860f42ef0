"""Scores of trained models on eras they have not seen.

Beside Numerai's scores, of the forecasts: `gross`, what the positions would have earned, `y'q`; `utility`, that less
`C(q)`; and `TC`, true contribution by the closed form `(p_k - m)' J (y - m)`, m the mean of all models' forecasts
(`backtest.analysis.contribution`), about 0 for all when they are alike. These three are in 1/10,000 of the target's
unit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from backtest.analysis.contribution import true_contribution
from backtest.errors import DataError
from backtest.numerai.era_batch import EraBatch
from backtest.numerai.joined_models import JoinedModels
from backtest.numerai.score_table import ScoreTable
from backtest.numerai.scores import (
    benchmark_contribution,
    contribution,
    corr20v2,
    correlation_with_meta_model,
    feature_exposure,
    feature_neutral_correlation,
    top_bottom_correlation,
)
from backtest.numerai.training import EraModels, EraProblem

__all__ = ["SCORES", "score_eras"]

SCORES = (
    "CORR20v2",
    "MMC",
    "BMC",
    "FNC",
    "TB200",
    "exposure, max",
    "exposure, rms",
    "CWMM",
    "gross",
    "utility",
    "TC",
)

UNIT = 1e4


def score_eras(
    models: EraModels,
    problem: EraProblem,
    eras: Iterable[int],
    *,
    neutral: np.ndarray,
    lags: int,
    meta_model: JoinedModels | None = None,
    benchmarks: JoinedModels | None = None,
) -> ScoreTable:
    """Score every model on every era, reading each once.

    Args:
        models: trained on other eras.
        problem: the file with these eras, and the costs.
        eras: numbers.
        neutral: (k,) numbers of the features that FNC neutralises.
        lags: how many later eras a target overlaps, for the standard errors.
        meta_model: for MMC and CWMM, which are left out without it.
        benchmarks: for BMC, left out without it.

    Raises:
        DataError: no era has targets; a joined file covers too little of one.

    Source: docs.numer.ai, "Scoring"; `numerai-tools`, which computes the same, is what the tests compare with.
    """
    joined = meta_model is not None or benchmarks is not None
    found, numbers = [], []
    for batch in problem.batches(sorted(eras), ids=joined):
        numbers.append(batch.era)
        found.append(_scores(models, problem, batch, neutral, meta_model, benchmarks))
    if not found:
        raise DataError(f"{problem.file.path}: none of the eras to score has targets")
    notes = [join.summary() for join in (meta_model, benchmarks) if join is not None]
    values = np.stack(found)
    there = ~np.isnan(values).all(axis=(0, 2))
    absent = [name for name, has in zip(SCORES, there, strict=True) if not has]
    if absent:
        notes.append(f"not there: {', '.join(absent)}")
    return ScoreTable(
        values=values[:, there],
        eras=tuple(numbers),
        scores=tuple(name for name, has in zip(SCORES, there, strict=True) if has),
        objectives=models.objectives,
        seeds=models.seeds,
        lags=lags,
        notes=tuple(notes),
    )


def _scores(
    models: EraModels,
    problem: EraProblem,
    batch: EraBatch,
    neutral: np.ndarray,
    meta_model: JoinedModels | None,
    benchmarks: JoinedModels | None,
) -> np.ndarray:
    """Return the scores (S, M) of one era."""
    assert batch.target is not None
    forecast = models.forecast(batch)
    p, y = forecast.numpy().T, batch.target
    nothing = np.full(p.shape[1], np.nan)
    rows = dict.fromkeys(SCORES, nothing)
    rows["CORR20v2"] = corr20v2(p, y)
    rows["TB200"] = top_bottom_correlation(p, y)
    rows["FNC"] = feature_neutral_correlation(p, batch.raw(neutral), y)
    rows["exposure, max"], rows["exposure, rms"] = feature_exposure(p, batch.raw(np.arange(len(batch.features))))
    if meta_model is not None and (other := meta_model.of(batch)) is not None:
        there = np.isfinite(other).all(axis=1)
        rows["MMC"] = contribution(p[there], other[there, 0], y[there])
        rows["CWMM"] = correlation_with_meta_model(p[there], other[there, 0])
    if benchmarks is not None and (other := benchmarks.of(batch)) is not None:
        there = np.isfinite(other).all(axis=1)
        rows["BMC"] = benchmark_contribution(p[there], other[there], y[there])
    centred = torch.from_numpy(batch.centred_target())
    solver = problem.costs.solver(batch, problem.exposed)
    with torch.no_grad():
        solution = solver.solve(forecast)
        gross = solution.q @ centred
        rows["gross"] = UNIT * gross.numpy()
        rows["utility"] = UNIT * (gross - solution.problem.cost(solution.q)).numpy()
        if len(forecast) > 1:
            stakes = torch.ones(len(forecast))
            own = true_contribution(solver, forecast[:, None], centred[None], stakes=stakes)
            rows["TC"] = UNIT * own[:, 0].numpy()
    return np.stack([rows[name] for name in SCORES])
