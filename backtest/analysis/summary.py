"""One objective's books, a row a seed, reduced to the numbers a comparison shows.

Period series are averaged over seeds first (equal stakes in every seed, reset each period) and over dates
second, so gross less each cost plus interest is net, exactly. Annual figures are arithmetic means times the
periods in a year, as fractions of wealth; the compounded path is what the wealth chart shows.

A ruined seed is not dropped, which would flatter the objective that ruined it: the loss that ruined it counts
in full, and every later period, in which it holds nothing, counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.analysis.performance import max_drawdown, mean_annual_return, sharpe_ratio
from backtest.analysis.sharpe_inference import deflated_sharpe_ratio
from backtest.errors import SimulationError

if TYPE_CHECKING:
    from backtest.simulation import SimulationResult

__all__ = ["Measure", "ObjectiveSummary", "SeedSeries", "measures", "members", "summarise"]

_TRADED = 1e-9  # a smaller change of weight is rounding
_IDENTITY = 1e-9


@dataclass(frozen=True, eq=False)
class SeedSeries:
    """Period series of one objective, (B, S) for B seeds and S dates, 0 after a ruin; fractions of wealth."""

    seeds: tuple[str, ...]
    dates: pd.DatetimeIndex
    wealth: np.ndarray
    gross: np.ndarray
    costs: Mapping[str, np.ndarray]
    interest: np.ndarray
    net: np.ndarray
    utility: np.ndarray
    turnover: np.ndarray
    leverage: np.ndarray
    names_traded: np.ndarray
    ruined: np.ndarray

    @classmethod
    def of(cls, objective: str, result: SimulationResult) -> SeedSeries:
        """Read a simulation whose rows are seeds; an unknown value before ruin is an error."""
        net = np.asarray(result.net, dtype=float)
        ruined = np.asarray(result.ruined, dtype=bool)
        # The ruined seed's run stops after its last known return.
        over = np.isnan(net) & (np.cumsum(np.isfinite(net), axis=1) == np.isfinite(net).sum(axis=1)[:, None])
        over &= ruined[:, None]

        def read(values: np.ndarray, name: str) -> np.ndarray:
            filled = np.where(over, 0.0, np.asarray(values, dtype=float))
            bad = np.argwhere(~np.isfinite(filled))
            if len(bad):
                seed, t = bad[0]
                raise SimulationError(
                    f"{objective}, seed {result.names[seed]!r}, {result.dates[t]:%Y-%m-%d}: "
                    f"{name} is {filled[seed, t]} though "
                    "the seed is not ruined: repair the forecasts or the simulation before comparing"
                )
            return filled

        trades = np.abs(np.asarray(result.positions) - np.asarray(result.held))
        series = cls(
            seeds=tuple(str(name) for name in result.names),
            dates=pd.DatetimeIndex(result.dates),
            wealth=np.where(np.isnan(result.wealth), 0.0, np.maximum(result.wealth, 0.0)),
            gross=read(result.gross, "gross"),
            costs={kind: read(values, kind) for kind, values in result.costs.items()},
            interest=read(result.interest, "interest"),
            net=read(net, "net"),
            utility=read(result.utility, "utility"),
            turnover=read(result.turnover, "turnover"),
            leverage=read(result.leverage, "leverage"),
            names_traded=(trades > _TRADED).mean(axis=2),
            ruined=ruined,
        )
        series._check_breakdown(objective)
        return series

    def _check_breakdown(self, objective: str) -> None:
        gap = np.abs(self.gross + self.interest - sum(self.costs.values()) - self.net)
        gap = np.where(self.ruined[:, None], 0.0, gap)
        seed, t = (int(i) for i in np.unravel_index(np.argmax(gap), gap.shape))
        if gap[seed, t] > _IDENTITY:
            raise SimulationError(
                f"{objective}, seed {self.seeds[seed]!r}, {self.dates[t]:%Y-%m-%d}: "
                f"gross plus interest less costs misses net by {gap[seed, t]:.3g} of "
                "wealth: a cost is missing from the simulation's `costs`"
            )


@dataclass(frozen=True)
class ObjectiveSummary:
    """One objective in numbers: fractions of wealth, a year where a rate.

    Attributes:
        objective: its name.
        seeds: names of its books: one a seed, or a seed and path where there are `n_paths`.
        gross: what positions earned, a year.
        costs: cost -> what was paid, a year, positive.
        interest: on cash, a year; negative where it was paid.
        net: gross less costs plus interest, a year.
        utility: net less risk and penalties, a year.
        sharpe: annual Sharpe ratio of the seed-average book.
        deflated_sharpe: probability that its true Sharpe ratio is above the best of all trials without skill.
        probabilistic_sharpe: probability that its true Sharpe ratio is above 0.
        turnover: traded value over wealth, a year.
        leverage: longs plus shorts over wealth, mean over dates.
        max_drawdown: <= 0, mean over seeds.
        worst_drawdown: <= 0, the deepest of all seeds.
        names_traded: share of names that are traded in a period.
        information_coefficient: mean rank correlation of forecasts with what followed.
        information_coefficient_t: its t statistic.
        net_by_seed: net of each of `seeds`, a year: the spread.
        ruined: those of `seeds` that lost all.
        expected: what only a simulated market knows, such as regret; fractions a year.
        notes: what a reader must know before trusting the numbers.
        n_paths: books of each seed, one a path of combinatorial splits.
    """

    objective: str
    seeds: tuple[str, ...]
    gross: float
    costs: Mapping[str, float]
    interest: float
    net: float
    utility: float
    sharpe: float
    deflated_sharpe: float
    probabilistic_sharpe: float
    turnover: float
    leverage: float
    max_drawdown: float
    worst_drawdown: float
    names_traded: float
    information_coefficient: float
    information_coefficient_t: float
    net_by_seed: tuple[float, ...]
    ruined: tuple[str, ...]
    expected: Mapping[str, float]
    notes: tuple[str, ...] = ()
    n_paths: int = 1

    @property
    def net_sd(self) -> float:
        """Standard deviation over seeds of annual net return (ddof 1); NaN with one seed."""
        return float(np.std(self.net_by_seed, ddof=1)) if len(self.net_by_seed) > 1 else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the summary in the words of the comparison's JSON document."""
        return {
            "gross": self.gross,
            "costs": dict(self.costs),
            "interest": self.interest,
            "net": self.net,
            "utility": self.utility,
            "sharpe": self.sharpe,
            "deflated_sharpe": self.deflated_sharpe,
            "probabilistic_sharpe": self.probabilistic_sharpe,
            "turnover": self.turnover,
            "leverage": self.leverage,
            "max_drawdown": self.max_drawdown,
            "worst_drawdown": self.worst_drawdown,
            "names_traded": self.names_traded,
            "information_coefficient": self.information_coefficient,
            "information_coefficient_t": self.information_coefficient_t,
            "net_over_seeds": {
                "min": min(self.net_by_seed),
                "max": max(self.net_by_seed),
                "sd": self.net_sd,
                "by_seed": dict(zip(self.seeds, self.net_by_seed, strict=True)),
            },
            "ruined": list(self.ruined),
            "expected": dict(self.expected),
            "notes": list(self.notes),
        }


def summarise(
    objective: str,
    series: SeedSeries,
    *,
    periods_per_year: float,
    n_trials: int,
    trial_sharpe_variance: float,
    information_coefficient: Sequence[Any] | None = None,
    expected: Mapping[str, float] | None = None,
    n_paths: int = 1,
) -> ObjectiveSummary:
    """Reduce one objective's series; `information_coefficient` is (mean, t), each a number or one a seed."""

    def annual(values: np.ndarray) -> float:
        return float(values.mean() * periods_per_year)

    book = series.net.mean(axis=0)
    deflated = deflated_sharpe_ratio(book, n_trials=n_trials, trial_sharpe_variance=trial_sharpe_variance)
    drawdowns = max_drawdown(series.net)
    ic = (np.nan, np.nan) if information_coefficient is None else information_coefficient
    ruined = tuple(seed for seed, lost in zip(series.seeds, series.ruined, strict=True) if lost)
    notes = []
    if ruined:
        notes.append(
            f"{objective}: {len(ruined)} of {len(series.seeds)} {members(n_paths)}s ruined ({', '.join(ruined)})"
        )
    if deflated.reason:
        notes.append(f"{objective}: no deflated Sharpe ratio: {deflated.reason}")
    return ObjectiveSummary(
        objective=objective,
        seeds=series.seeds,
        gross=annual(series.gross),
        costs={kind: annual(values) for kind, values in series.costs.items()},
        interest=annual(series.interest),
        net=annual(series.net),
        utility=annual(series.utility),
        sharpe=sharpe_ratio(book, periods_per_year=periods_per_year),
        deflated_sharpe=deflated.probability,
        probabilistic_sharpe=deflated.probabilistic,
        turnover=annual(series.turnover),
        leverage=float(series.leverage.mean()),
        max_drawdown=float(drawdowns.mean()),
        worst_drawdown=float(drawdowns.min()),
        names_traded=float(series.names_traded.mean()),
        information_coefficient=float(np.mean(ic[0])),
        information_coefficient_t=float(np.mean(ic[1])),
        net_by_seed=tuple(mean_annual_return(series.net, periods_per_year=periods_per_year).tolist()),
        ruined=ruined,
        expected=dict(expected or {}),
        notes=tuple(notes),
        n_paths=n_paths,
    )


@dataclass(frozen=True)
class Measure:
    """One line of the comparison's table: what it is, its unit, its digits, and how to get it."""

    group: str
    label: str
    unit: str
    digits: int
    read: Callable[[ObjectiveSummary], float]

    @property
    def title(self) -> str:
        """Label and unit, as a column name."""
        return f"{self.label} ({self.unit})"


_FORECAST_ERROR = Measure(
    "known only when simulated",
    "forecast error",
    "mean (p − E[y])², 1e-6",
    2,
    lambda summary: 1e6 * summary.expected.get("forecast_error", np.nan),
)


def measures(summaries: Sequence[ObjectiveSummary]) -> list[Measure]:
    """The lines of the table in reading order: gross to net, risk, activity, forecasts, seeds."""

    def percent(group: str, label: str, read: Callable[[ObjectiveSummary], float]) -> Measure:
        return Measure(group, label, "% a year", 2, lambda summary: 100.0 * read(summary))

    def named(field: str, key: str, missing: float) -> Callable[[ObjectiveSummary], float]:
        return lambda summary: getattr(summary, field).get(key, missing)

    kinds = dict.fromkeys(kind for summary in summaries for kind in summary.costs)
    known = dict.fromkeys(key for summary in summaries for key in summary.expected)
    has_error = known.pop("forecast_error", 0) is None
    charged_interest = any(summary.interest for summary in summaries)
    one = members(max((summary.n_paths for summary in summaries), default=1))
    return [
        percent("gross to net", "gross", lambda s: s.gross),
        *(percent("gross to net", spoken(kind), named("costs", kind, 0.0)) for kind in kinds),
        *([percent("gross to net", "interest", lambda s: s.interest)] if charged_interest else []),
        percent("gross to net", "net", lambda s: s.net),
        percent("gross to net", "net utility", lambda s: s.utility),
        *(percent("known only when simulated", spoken(key), named("expected", key, np.nan)) for key in known),
        *([_FORECAST_ERROR] if has_error else []),
        Measure("risk", "Sharpe ratio", "annual", 2, lambda s: s.sharpe),
        Measure("risk", "probabilistic Sharpe", "probability", 2, lambda s: s.probabilistic_sharpe),
        Measure("risk", "deflated Sharpe", "probability", 2, lambda s: s.deflated_sharpe),
        Measure("risk", "max drawdown", f"%, mean of {one}s", 1, lambda s: 100 * s.max_drawdown),
        Measure("risk", "worst drawdown", f"%, worst {one}", 1, lambda s: 100 * s.worst_drawdown),
        Measure("activity", "turnover", "× wealth a year", 1, lambda s: s.turnover),
        Measure("activity", "leverage", "× wealth", 2, lambda s: s.leverage),
        Measure("activity", "names traded", "% of names", 1, lambda s: 100 * s.names_traded),
        Measure("forecasts", "IC", "rank correlation", 4, lambda s: s.information_coefficient),
        Measure("forecasts", "IC", "t statistic", 1, lambda s: s.information_coefficient_t),
        percent(f"{one}s", "lowest net", lambda s: min(s.net_by_seed)),
        percent(f"{one}s", "highest net", lambda s: max(s.net_by_seed)),
        percent(f"{one}s", "sd of net", lambda s: s.net_sd),
        Measure(f"{one}s", "ruined", f"{one}s", 0, lambda s: float(len(s.ruined))),
    ]


def members(n_paths: int) -> str:
    """What an objective has several of: seeds, or books, one a seed and path."""
    return "seed" if n_paths == 1 else "book"


def spoken(key: str) -> str:
    """A key as words: `trading_cost` -> `trading cost`."""
    return key.replace("_", " ")
