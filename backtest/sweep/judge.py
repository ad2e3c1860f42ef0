"""Judge the finished cells of a sweep: every variant that was tried counts.

The verdict is about net returns of aligned less squared and less whitened (where there is no aligned: whitened less
squared) of every model and cost level. Of so many intervals some leave zero out by luck, so a difference counts as
shown only if its interval at the level `1 - (1 - level) / m` does, for `m` intervals (Bonferroni: it holds whatever the
dependence between them, which is strong on one history; Dunn, J. American Statistical Association 56, 1961).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.analysis.difference import paired_difference
from backtest.analysis.overfitting import probability_of_overfitting
from backtest.analysis.performance import sharpe_ratio
from backtest.analysis.sharpe_inference import deflated_sharpe_ratio
from backtest.analysis.significance import BootstrapInterval, stationary_bootstrap_interval
from backtest.analysis.superior_ability import SuperiorAbility, superior_ability
from backtest.errors import DataError, SettingsError
from backtest.market import SimulatedMarket
from backtest.sweep.judgement import CellDifference, CostLevel, Judgement, VariantResult
from backtest.sweep.table import totals
from backtest.sweep.workplace import Workplace

__all__ = ["CellSeries", "judge", "judge_cells"]

PAIRS = (("aligned", "squared"), ("aligned", "whitened"), ("whitened", "squared"))
HEADLINE = PAIRS[:2]
BENCHMARK = "squared"
RESAMPLES_A_PAIR = 100
"""Resamples for each interval that must hold together: its quantile then has five beyond it at a level of 95%."""


@dataclass(frozen=True, eq=False)
class CellSeries:
    """What a finished cell earned.

    Attributes:
        model, cost: of the cell.
        dates: (S,) when each period's result is known.
        net, utility: objective -> (seeds, S) a period, fractions of wealth.
        validation_utility: objective -> net utility on validation a year, mean over seeds.
        trials: models that were trained.
    """

    model: str
    cost: str
    dates: pd.DatetimeIndex
    net: Mapping[str, np.ndarray]
    utility: Mapping[str, np.ndarray]
    validation_utility: Mapping[str, float]
    trials: int

    @staticmethod
    def of(rows: pd.DataFrame, series: pd.DataFrame) -> CellSeries:
        """Read a cell's rows of the table and its series."""
        whole = totals(rows)
        dates = pd.DatetimeIndex(series["date"].unique())

        def books(quantity: str) -> dict[str, np.ndarray]:
            return {
                str(objective): part[quantity].to_numpy().reshape(-1, len(dates))
                for objective, part in series.groupby("objective", sort=False)
            }

        return CellSeries(
            model=str(whole["model"].iloc[0]),
            cost=str(whole["cost"].iloc[0]),
            dates=dates,
            net=books("net"),
            utility=books("utility"),
            validation_utility={
                str(name): float(part["validation_utility"].mean()) for name, part in whole.groupby("objective")
            },
            trials=int(whole["trials"].iloc[0]),
        )


def judge(folder: str | Path) -> Judgement:
    """Judge what is finished in the `folder` of a sweep; nothing is trained or traded again.

    A sweep that was cut off is judged on its finished cells, and says so.

    Raises:
        SettingsError: it is not the folder of a sweep, or no cell is finished.
    """
    place = Workplace(Path(folder).resolve())
    settings = place.settings()
    finished = [name for name in settings if place.is_finished(name)]
    if not finished:
        raise SettingsError(f"{place.folder}: 0 of {len(settings)} cells are finished: run the sweep first")
    market = place.market()
    panel = market.panel if isinstance(market, SimulatedMarket) else market
    # The run's, and so those of all cells.
    any_cell = settings[finished[0]]
    return judge_cells(
        [CellSeries.of(place.rows(name), place.series(name)) for name in finished],
        n_cells=len(settings),
        periods_per_year=panel.periods_per_year,
        level=any_cell.level,
        lag=any_cell.lag,
    )


def judge_cells(
    cells: Sequence[CellSeries],
    *,
    n_cells: int,
    periods_per_year: float,
    level: float = 0.95,
    lag: int = 1,
    seed: int = 0,
    n_resamples: int = 2000,
) -> Judgement:
    """Judge finished cells; their order changes nothing.

    Args:
        cells: at least one; those of one cost level on the same dates.
        n_cells: how many the sweep has.
        periods_per_year: of the series.
        level, seed, n_resamples: of the intervals and tests, as of `Comparison`.
        lag: periods from a decision to its fill.

    Raises:
        DataError: cells of one cost level have other dates.
    """
    cells = sorted(cells, key=lambda cell: (cell.cost, cell.model))
    trials = sum(cell.trials for cell in cells)
    bootstrap = {"level": level, "seed": seed, "n_resamples": n_resamples, "block": None}
    differences = [
        found
        for cell in cells
        for found in _differences(cell, bootstrap=bootstrap, periods_per_year=periods_per_year, lag=lag)
    ]
    family = _family(differences)
    by_cell = {(cell.model, cell.cost): cell for cell in cells}
    together = {
        number: _together(differences[number], by_cell, len(family), bootstrap, periods_per_year)
        for number in family
        if differences[number].difference.interval.excludes_zero
    }
    levels = [
        _judged(cost, list(group), trials=trials, bootstrap=bootstrap, periods_per_year=periods_per_year)
        for cost, group in groupby(cells, key=lambda cell: cell.cost)
    ]
    dates = cells[0].dates
    return Judgement(
        levels=tuple(levels),
        differences=tuple(replace(found, together=together.get(i)) for i, found in enumerate(differences)),
        n_family=len(family),
        n_finished=len(cells),
        n_cells=n_cells,
        trials=trials,
        sample=(
            f"{len(cells)} of {n_cells} cells, {trials:,} models tried, {len(dates):,} dates from "
            f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}"
        ),
    )


def _differences(
    cell: CellSeries, *, bootstrap: Mapping[str, Any], periods_per_year: float, lag: int
) -> list[CellDifference]:
    found = []
    for pair in PAIRS:
        if not set(pair) <= cell.net.keys():
            continue
        for quantity, series in (("net", cell.net), ("utility", cell.utility)):
            a, b = (series[name] for name in pair)
            difference = paired_difference(
                pair, quantity, a, b, bootstrap=bootstrap, periods_per_year=periods_per_year, lag=lag, brief=True
            )
            by_seed = tuple(((a - b).mean(axis=1) * periods_per_year).tolist())
            found.append(CellDifference(cell.model, cell.cost, difference, by_seed))
    return found


def _family(differences: Sequence[CellDifference]) -> list[int]:
    """Return which differences the verdict is about."""
    net = [
        number
        for number, found in enumerate(differences)
        if found.difference.quantity == "net" and found.difference.interval.reason is None
    ]
    headline = [i for i in net if (differences[i].difference.a, differences[i].difference.b) in HEADLINE]
    return headline or net


def _together(
    found: CellDifference,
    cells: Mapping[tuple[str, str], CellSeries],
    count: int,
    bootstrap: Mapping[str, Any],
    periods_per_year: float,
) -> BootstrapInterval:
    net = cells[found.model, found.cost].net
    paired = (net[found.difference.a] - net[found.difference.b]).mean(axis=0)
    wider = {
        "level": 1 - (1 - bootstrap["level"]) / count,
        "n_resamples": max(bootstrap["n_resamples"], RESAMPLES_A_PAIR * count),
    }
    return stationary_bootstrap_interval(paired, **{**bootstrap, **wider}).scaled(periods_per_year)


def _judged(
    cost: str, cells: Sequence[CellSeries], *, trials: int, bootstrap: Mapping[str, Any], periods_per_year: float
) -> CostLevel:
    dates = cells[0].dates
    for cell in cells:
        if not cell.dates.equals(dates):
            raise DataError(
                f"{cell.model} and {cells[0].model} under costs {cost} were not tested on the same dates: "
                f"{len(cell.dates)} and {len(dates)}, which cannot be compared"
            )
    # By name, so that the order of the cells breaks no tie.
    keys = sorted((cell.model, name) for cell in cells for name in cell.net)
    by_model = {cell.model: cell for cell in cells}
    variants = {key: _variant(by_model[key[0]], key[1], periods_per_year) for key in keys}
    books, utilities = (
        np.stack([getattr(by_model[model], quantity)[name].mean(axis=0) for model, name in keys], axis=1)
        for quantity in ("net", "utility")
    )
    best = sorted(variants.values(), key=lambda variant: -variant.validation_utility)
    chosen = best[0]
    at = keys.index((chosen.model, chosen.objective))
    sharpes = np.concatenate([sharpe_ratio(by_model[m].net[name], periods_per_year=1) for m, name in keys])
    known = sharpes[np.isfinite(sharpes)]
    return CostLevel(
        cost=cost,
        variants=tuple(best),
        hindsight=max(variants.values(), key=lambda variant: variant.utility),
        rank=1 + sum(variant.utility > chosen.utility for variant in variants.values()),
        overfitting=probability_of_overfitting(
            utilities, names=[variant.name for variant in variants.values()], performance="mean"
        ),
        superior_ability=_superior(best, books, list(variants.values()), bootstrap),
        sharpe=deflated_sharpe_ratio(
            books[:, at],
            n_trials=trials,
            trial_sharpe_variance=float(known.var(ddof=1)) if len(known) > 1 else np.nan,
        ),
        trials=trials,
    )


def _variant(cell: CellSeries, objective: str, periods_per_year: float) -> VariantResult:
    net = cell.net[objective]
    of_seeds = net.mean(axis=1) * periods_per_year
    return VariantResult(
        model=cell.model,
        objective=objective,
        validation_utility=float(cell.validation_utility[objective]),
        net=float(of_seeds.mean()),
        utility=float(cell.utility[objective].mean() * periods_per_year),
        sharpe=float(sharpe_ratio(net.mean(axis=0), periods_per_year=periods_per_year)),
        net_sd=float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else np.nan,
        n_seeds=len(net),
    )


def _superior(
    best: Sequence[VariantResult], books: np.ndarray, variants: Sequence[VariantResult], bootstrap: Mapping[str, Any]
) -> SuperiorAbility | None:
    """Test all variants of a cost level against one of squared error: the best of these on validation.

    That is what a researcher who knows of no other objective would trade, and it is named without looking at a test
    row. One benchmark gives one p-value a cost level. With the squared error of each model as benchmark there would be
    one for each model, of which the reader takes the smallest, and a weak model's would be beaten by any other model.
    So this test is of the whole choice, model and objective; the pairs of one model speak of the objective alone.
    """
    benchmark = next((variant for variant in best if variant.objective == BENCHMARK), None)
    others = [number for number, variant in enumerate(variants) if variant is not benchmark]
    if benchmark is None or not others:
        return None
    return superior_ability(
        books[:, others],
        books[:, next(number for number, variant in enumerate(variants) if variant is benchmark)],
        seed=bootstrap["seed"],
        names=[variants[number].name for number in others],
        n_resamples=bootstrap["n_resamples"],
        benchmark_name=benchmark.name,
    )
