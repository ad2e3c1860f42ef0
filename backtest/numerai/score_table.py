"""Scores by era, summarised for each objective: means with standard errors, Sharpe ratios, drawdowns, differences."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from backtest.errors import SettingsError
from backtest.numerai.era_statistics import EraStatistics

__all__ = ["ScoreTable"]

JUDGED = ("CORR20v2", "utility")
"""Scores whose differences the verdict is about."""

FEWEST = 3
"""Stretches of eras that hardly overlap below which nothing is judged."""

_WHOLE = ("CORR20v2", "MMC", "utility")
"""Scores that are shown with Sharpe ratio and drawdown too."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of T eras, S kinds, M models (objectives by seeds).

    Attributes:
        values: (T, S, M); NaN where an era has no such score.
        eras: (T,) numbers.
        scores: S names.
        objectives, seeds: (M,) of each model.
        lags: of the standard errors, how many later eras the target of one overlaps.
        notes: what was left out, in words.
    """

    values: np.ndarray
    eras: tuple[int, ...]
    scores: tuple[str, ...]
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    lags: int
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives, each once, in order."""
        return tuple(dict.fromkeys(self.objectives))

    def by_era(self, score: str, objective: str) -> np.ndarray:
        """Return the mean over seeds (T,) of a `score` of an `objective`, by era.

        Raises:
            SettingsError: there is no such score or objective.
        """
        if score not in self.scores or objective not in self.objectives:
            raise SettingsError(f"no {score!r} of {objective!r}: there are {self.scores} of {self.names}")
        return self._models(score, objective).mean(axis=1)

    def statistics(self, score: str, objective: str) -> EraStatistics:
        """Return the statistics over eras of a `score` of an `objective`, mean over seeds."""
        return EraStatistics.of(self.by_era(score, objective), lags=self.lags)

    def difference(self, score: str, objective: str, base: str) -> EraStatistics:
        """Return the statistics over eras of the difference of two objectives, era by era.

        Args:
            score: one of `scores`.
            objective: of the first.
            base: the objective to take off.
        """
        return EraStatistics.of(self.by_era(score, objective) - self.by_era(score, base), lags=self.lags)

    def spread(self, score: str, objective: str) -> float:
        """Return the standard deviation over seeds of a `score` of an `objective`, mean over eras; NaN for one seed."""
        means = _mean(self._models(score, objective))
        return float(means.std(ddof=1)) if len(means) > 1 else float("nan")

    def markdown(self) -> str:
        """Return the tables and the verdict as Markdown, numbers in the form "mean (standard error)"."""
        lines = [self._head("score"), "|---" * (len(self.names) + 1) + "|"]
        for score in self.scores:
            lines += self._rows(score)
        if len(self.names) > 1:
            lines += ["", self._head(f"less {self.names[0]}", self.names[1:]), "|---" * len(self.names) + "|"]
            for score in self.scores:
                cells = [self.difference(score, name, self.names[0]) for name in self.names[1:]]
                lines.append(_row(score, [_pair(cell.mean, cell.error) for cell in cells]))
            lines += ["", self.verdict()]
        lines += ["", *(f"{note}." for note in self.notes)] if self.notes else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return eras, notes, the verdict where there is more than one objective, and the statistics of every score by
        objective; differences are from the first, None where a number cannot be had.
        """
        base, several = self.names[0], len(self.names) > 1
        return {
            "eras": list(self.eras),
            "seeds": sorted(set(self.seeds)),
            "verdict": self.verdict() if several else None,
            "notes": list(self.notes),
            "scores": {
                score: {name: _plain(self.statistics(score, name)) for name in self.names} for score in self.scores
            },
            "differences": {
                score: {name: _plain(self.difference(score, name, base)) for name in self.names[1:]}
                for score in self.scores
            },
        }

    def verdict(self) -> str:
        """Return in plain words which differences from the first objective are more than luck, and which are not.

        Tests are two-sided, at 5% in all together (Bonferroni), with one degree of freedom less than there are
        stretches of `lags` + 2 eras, which keeps 5% at 52 eras and more.
        """
        base, others = self.names[0], self.names[1:]
        judged = [score for score in JUDGED if score in self.scores]
        shown = []
        for score in judged:
            for name in others:
                found = self.difference(score, name, base)
                freedom = max(1, found.n_eras // (self.lags + 2) - 1)
                bar = float(stdtrit(freedom, 1 - 0.025 / (len(judged) * len(others))))
                if found.error > 0 and abs(found.mean) > bar * found.error:
                    shown.append(f"{name} {'above' if found.mean > 0 else 'below'} {base} in {score}")
        where = f"{len(self.eras)} eras, {len(set(self.seeds))} seed{'s' if len(set(self.seeds)) > 1 else ''}"
        if len(self.eras) < FEWEST * (self.lags + 2):
            return f"Too few eras to tell a difference from luck ({where}; {FEWEST * (self.lags + 2)} are needed)."
        if not shown:
            return f"No difference shown from {base} in {' or '.join(judged)} ({where}, 5% in all tests together)."
        return f"Shown ({where}, 5% in all tests together): {'; '.join(shown)}. No other difference is."

    def _models(self, score: str, objective: str) -> np.ndarray:
        chosen = [i for i, name in enumerate(self.objectives) if name == objective]
        return self.values[:, self.scores.index(score)][:, chosen]

    def _head(self, first: str, names: tuple[str, ...] | None = None) -> str:
        return _row(first, list(names or self.names))

    def _rows(self, score: str) -> list[str]:
        found = [self.statistics(score, name) for name in self.names]
        rows = [_row(score, [_pair(one.mean, one.error) for one in found])]
        if score in _WHOLE:
            rows.append(_row(f"{score}, Sharpe ratio", [_pair(one.sharpe, one.sharpe_error, 2) for one in found]))
            rows.append(_row(f"{score}, drawdown", [_number(one.drawdown) for one in found]))
        if score in JUDGED and len(set(self.seeds)) > 1:
            rows.append(_row(f"{score}, spread over seeds", [_number(self.spread(score, name)) for name in self.names]))
        return rows


def _plain(found: EraStatistics) -> dict[str, float | int | None]:
    return {name: None if value != value else value for name, value in asdict(found).items()}


def _mean(values: np.ndarray) -> np.ndarray:
    there = ~np.isnan(values).any(axis=1)
    return values[there].mean(axis=0) if there.any() else np.full(values.shape[1], np.nan)


def _row(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _number(value: float, digits: int = 4) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _pair(mean: float, error: float, digits: int = 4) -> str:
    return "-" if np.isnan(mean) else f"{_number(mean, digits)} ({_number(error, digits)})"
