"""What training on each objective earned after costs, and whether the differences are more than luck.

Differences are paired (`backtest.analysis.difference`): the seed-average series of one objective less that of
another, date by date. Their interval is a stationary block bootstrap over dates
(`backtest.analysis.significance`). It speaks of the dates and not of the seeds; how many seeds agree with its
sign stands beside it. What each number says: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.analysis.difference import Difference, paired_difference
from backtest.analysis.paths import HINDSIGHT, PathSpread, mean_over_paths, path_spreads, spread_in_words
from backtest.analysis.performance import sharpe_ratio
from backtest.analysis.summary import ObjectiveSummary, SeedSeries, measures, members, summarise
from backtest.analysis.superior_ability import SuperiorAbility, superior_ability
from backtest.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from backtest.simulation import SimulationResult

__all__ = ["Comparison", "Difference"]

QUANTITIES = ("net", "utility")
# In a pair the name that stands first here is `a`, so that a positive difference speaks for it.
_ORDER = ("aligned", "spo_plus", "fenchel_young", "sharpe", "rank_correlation", "whitened", "misaligned", "squared")
_OTHERS = _ORDER.index("whitened") - 0.5  # blends and users' own: before what they are to be measured against
_BENCHMARK = "squared"
# DESIGN: aligned is never shown against squared error alone.
_HEADLINE = (("aligned", "squared"), ("aligned", "whitened"))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The same books under several training objectives, side by side.

    Attributes:
        results: objective -> simulation whose batch rows are the seeds, or ensembles of them; one set of dates and one
            number of seeds for all.
        information_coefficients: objective -> (mean, t statistic), each a number or an array with one a book.
        settings: every setting of the run, shown and stored as it is.
        periods_per_year: 252, 52 or 12.
        n_trials: every model tried on these dates, hyper-parameters included, for the deflated Sharpe ratio.
        training: objective -> records of its training, one a window (mappings or dataclasses).
        expected: objective -> what only a simulated market knows, such as {"expected_utility": .., "regret": ..},
            fractions a year.
        rank_correlations: objective -> the rank correlation of forecasts and returns of each date, mean over its books,
            indexed by the date of the forecast.
        level: confidence of the intervals.
        seed: of their bootstrap.
        n_resamples: of their bootstrap.
        block: mean block length, periods; None chooses it. See `stationary_bootstrap_interval`.
        n_paths: backtest paths of combinatorial splits, in which every seed, or ensemble, has a book each: batch rows
            are then seeds x paths, paths moving fastest.

    Raises:
        SettingsError: no result; results that are not of the same dates and number of seeds; a name without a result.
    """

    results: Mapping[str, SimulationResult]
    information_coefficients: Mapping[str, Sequence[Any]]
    settings: Mapping[str, Any]
    periods_per_year: float
    n_trials: int
    training: Mapping[str, Sequence[Any]] | None = None
    expected: Mapping[str, Mapping[str, float]] | None = None
    rank_correlations: Mapping[str, pd.Series] | None = None
    level: float = 0.95
    seed: int = 0
    n_resamples: int = 2000
    block: float | None = None
    n_paths: int = 1

    def __post_init__(self) -> None:
        if not self.results:
            raise SettingsError("results is empty: give at least one objective's simulation")
        for key in ("information_coefficients", "training", "expected", "rank_correlations"):
            unknown = sorted(set(getattr(self, key) or {}) - set(self.results))
            if unknown:
                raise SettingsError(f"{key} names {unknown}, which have no result: there are {list(self.results)}")
        first, *others = self.results
        dates, n_seeds = pd.DatetimeIndex(self.results[first].dates), len(self.results[first].names)
        for name in others:
            other = pd.DatetimeIndex(self.results[name].dates)
            if not dates.equals(other):
                odd = dates.symmetric_difference(other)
                raise SettingsError(
                    f"{name} and {first} were not simulated on the same dates: {len(odd)} differ, "
                    f"the first {odd.min():%Y-%m-%d}"
                )
            if len(self.results[name].names) != n_seeds:
                raise SettingsError(
                    f"{name} has {len(self.results[name].names)} seeds and {first} {n_seeds}: "
                    "train both on the same seeds"
                )
        if self.n_paths < 1 or n_seeds % self.n_paths:
            raise SettingsError(f"{n_seeds} books are not those of seeds in each of {self.n_paths} paths")

    @property
    def dates(self) -> pd.DatetimeIndex:
        """(S,) dates at which each period's result is known."""
        return pd.DatetimeIndex(next(iter(self.results.values())).dates)

    @property
    def n_books(self) -> int:
        """Books of every objective: one a seed and path."""
        return len(next(iter(self.results.values())).names)

    @property
    def n_seeds(self) -> int:
        """Seeds of every objective."""
        return self.n_books // self.n_paths

    @cached_property
    def series(self) -> Mapping[str, SeedSeries]:
        """Objective -> its period series, (books, S) each."""
        return {name: SeedSeries.of(name, result) for name, result in self.results.items()}

    @cached_property
    def objectives(self) -> Mapping[str, ObjectiveSummary]:
        """Objective -> its numbers."""
        sharpes = np.concatenate([sharpe_ratio(s.net, periods_per_year=1) for s in self.series.values()])
        known = sharpes[np.isfinite(sharpes)]
        variance = float(known.var(ddof=1)) if len(known) > 1 else np.nan
        return {
            name: summarise(
                name,
                series,
                periods_per_year=self.periods_per_year,
                n_trials=self.n_trials,
                trial_sharpe_variance=variance,
                information_coefficient=self.information_coefficients.get(name),
                expected=(self.expected or {}).get(name),
                n_paths=self.n_paths,
            )
            for name, series in self.series.items()
        }

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Every pair of objectives, in net return and net utility, aligned against its rivals first."""
        names = sorted(self.results, key=lambda name: _ORDER.index(name) if name in _ORDER else _OTHERS)
        pairs = sorted(combinations(names, 2), key=lambda p: _HEADLINE.index(p) if p in _HEADLINE else len(_HEADLINE))
        return tuple(self._difference(a, b, quantity) for a, b in pairs for quantity in QUANTITIES)

    def paired(self, a: str, b: str, quantity: str = "net") -> np.ndarray:
        """Return one objective less another (seeds, S), a row for each seed: fractions per period.

        Args:
            a: an objective.
            b: the objective to take off.
            quantity: "net" or "utility".
        """
        return self._by_seed(a, quantity) - self._by_seed(b, quantity)

    def _by_seed(self, objective: str, quantity: str) -> np.ndarray:
        return mean_over_paths(getattr(self.series[objective], quantity), self.n_paths)

    def _difference(self, a: str, b: str, quantity: str) -> Difference:
        return paired_difference(
            (a, b),
            quantity,
            self._by_seed(a, quantity),
            self._by_seed(b, quantity),
            bootstrap={
                "level": self.level,
                "seed": self.seed,
                "n_resamples": self.n_resamples,
                "block": self.block,
            },
            periods_per_year=self.periods_per_year,
            lag=int(self.settings.get("lag", 1)),
        )

    @cached_property
    def paths(self) -> tuple[PathSpread, ...]:
        """How each objective's Sharpe ratio spreads over the paths of combinatorial splits; empty without them."""
        if self.n_paths == 1:
            return ()
        return path_spreads(
            {name: series.net for name, series in self.series.items()},
            n_paths=self.n_paths,
            periods_per_year=self.periods_per_year,
            lead=self.headline[0].a if self.headline else next(iter(self.results)),
        )

    @cached_property
    def superior_ability(self) -> SuperiorAbility | None:
        """Whether the best objective truly earns more than squared error, counting how many there are to be best.

        None without squared error, or with nothing beside it. Seed-average net returns: `superior_ability`.
        """
        others = [name for name in self.results if name != _BENCHMARK]
        if _BENCHMARK not in self.results or not others:
            return None
        return superior_ability(
            np.stack([self.series[name].net.mean(axis=0) for name in others], axis=1),
            self.series[_BENCHMARK].net.mean(axis=0),
            seed=self.seed,
            names=others,
            n_resamples=self.n_resamples,
            block=self.block,
            benchmark_name=_BENCHMARK,
        )

    @property
    def headline(self) -> tuple[Difference, ...]:
        """The net differences of the verdict: aligned against its rivals, or the first two objectives."""
        net = [difference for difference in self.differences if difference.quantity == "net"]
        chosen = [difference for difference in net if (difference.a, difference.b) in _HEADLINE]
        return tuple(chosen or net[:1])

    @property
    def sample(self) -> str:
        """Seeds and dates behind the verdict, in words."""
        size = self.settings.get("training", {}).get("ensemble", 1)
        books = ("seed", "seeds") if size == 1 else (f"ensemble of {size} seeds", f"ensembles of {size} seeds")
        seeds = f"one {books[0]}" if self.n_seeds == 1 else f"mean of {self.n_seeds} {books[1]}"
        dates = f"{len(self.dates):,} dates from {self.dates[0]:%Y-%m-%d} to {self.dates[-1]:%Y-%m-%d}"
        if self.n_paths == 1:
            return f"{seeds}, {dates}"
        return f"{seeds} in each of {self.n_paths} paths, {dates}; {HINDSIGHT}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before trusting the numbers: ruined seeds, measures that are undefined."""
        return tuple(note for summary in self.objectives.values() for note in summary.notes)

    @property
    def readings(self) -> tuple[str, ...]:
        """What stands behind the verdict, a line each: power and equal risk of its pairs, and the best of all."""
        lines = [spread_in_words(self.paths)] if self.paths else []
        for difference in self.headline:
            pair = f"{difference.a} - {difference.b}"
            if difference.power.reason is None:
                # How long it would need is said by the verdict, where nothing is shown.
                lines.append(f"{pair}: {difference.power.could_show}")
            if difference.at_equal_risk is not None:
                lines.append(f"{pair}: {difference.at_equal_risk}")
        if self.superior_ability is not None and self.superior_ability.n_variants > 1:
            lines.append(self.superior_ability.sentence)
        return tuple(lines)

    @property
    def verdict(self) -> str:
        """The answer in one line."""
        clauses = [difference.sentence for difference in self.headline] or [self._alone()]
        ruined = [
            f"{name}: {len(summary.ruined)} of {self.n_books} {members(self.n_paths)}s ruined"
            for name, summary in self.objectives.items()
            if summary.ruined
        ]
        return f"{'; '.join(clauses + ruined)} ({self.sample})"

    def _alone(self) -> str:
        name, summary = next(iter(self.objectives.items()))
        cost = sum(summary.costs.values())
        return (
            f"{name}: net {100 * summary.net:+.1f}% a year after costs of {100 * cost:.1f}%, "
            f"Sharpe ratio {summary.sharpe:.2f}"
        )

    def table(self) -> pd.DataFrame:
        """Return one row an objective, one column a measure with its unit in its name."""
        summaries = list(self.objectives.values())
        columns = {m.title: [m.read(summary) for summary in summaries] for m in measures(summaries)}
        return pd.DataFrame(columns, index=pd.Index(list(self.objectives), name="objective"))

    def pairs(self) -> pd.DataFrame:
        """Return one row a pair and quantity: the difference a year, its interval, whether that leaves zero out.

        Also how many seeds are above 0, and the smallest true difference that a history of this length could show.
        """
        columns = {
            "difference (% a year)": [100 * d.interval.mean for d in self.differences],
            "low (% a year)": [100 * d.interval.low for d in self.differences],
            "high (% a year)": [100 * d.interval.high for d in self.differences],
            "shown": [d.interval.excludes_zero for d in self.differences],
            "seeds above 0": [f"{d.seeds_above_zero} of {d.n_seeds}" for d in self.differences],
            "could show (% a year)": [
                100 * d.power.smallest_difference * self.periods_per_year for d in self.differences
            ],
        }
        index = pd.MultiIndex.from_tuples(
            [(d.quantity, f"{d.a} - {d.b}") for d in self.differences], names=["quantity", "pair"]
        )
        return pd.DataFrame(columns, index=index)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole result as plain values that strict JSON can hold: fractions a year, and None for NaN."""
        document = {
            "verdict": self.verdict,
            "objectives": {name: summary.to_dict() for name, summary in self.objectives.items()},
            "differences": [difference.to_dict() for difference in self.differences],
            "superior_ability": None if self.superior_ability is None else self.superior_ability.to_dict(),
            "settings": self.settings,
            "sample": {
                "n_seeds": self.n_seeds,
                "n_paths": self.n_paths,
                "n_dates": len(self.dates),
                "first": f"{self.dates[0]:%Y-%m-%d}",
                "last": f"{self.dates[-1]:%Y-%m-%d}",
                "periods_per_year": self.periods_per_year,
                "n_trials": self.n_trials,
            },
            "notes": self.notes,
        }
        if self.paths:
            document["paths"] = [spread.to_dict() for spread in self.paths]
        if self.training is not None:
            document["training"] = self.training
        return plain(document)

    # Imports go report -> analysis. The three methods below are the one exception, each inside the method:
    # they are how a user asks for the page and the tables, and `comparison.report(directory)` is the call the
    # design promises.

    def report(self, directory: str | Path) -> Path:
        """Write report.html, comparison.json and series.parquet into `directory`, made if need be.

        Returns:
            The path of the page.
        """
        from backtest.report import write_report

        return write_report(self, directory)

    def render(self, console: Console | None = None) -> None:
        """Print the verdict and the table, on `console` or, without one, on standard output."""
        from backtest.report import print_comparison

        print_comparison(self, console)

    def _repr_html_(self) -> str:
        from backtest.report import comparison_html

        return comparison_html(self)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.results)}; {self.sample})"


def plain(value: Any) -> Any:
    """`value` in types that strict JSON can hold: None for NaN and infinities, text for the unknown."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, np.ndarray | pd.Index | pd.Series):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
