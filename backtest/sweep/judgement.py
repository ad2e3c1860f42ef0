"""What the finished cells of a sweep show, all variants counted: records, and the words for them.

A *variant* is an objective of a model under a cost level; its book is the mean over its seeds, date by date. Variants
under different costs are not candidates for the same choice, so each cost level is judged alone. What each number says:
docs/sweeps.md and docs/statistics.md. The numbers are made by `backtest.sweep.judge`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from backtest.analysis.comparison import plain
from backtest.analysis.difference import Difference, interval_in_words
from backtest.analysis.overfitting import Overfitting
from backtest.analysis.sharpe_inference import DeflatedSharpe
from backtest.analysis.significance import BootstrapInterval
from backtest.analysis.superior_ability import SuperiorAbility
from backtest.whole_files import whole_file

__all__ = ["CellDifference", "CostLevel", "Judgement", "VariantResult"]

MOST_NAMED = 3
MOST_PAIRS = 48
"""Lines of pairs that are printed; all are in the file."""


@dataclass(frozen=True)
class VariantResult:
    """What one variant earned out of sample, mean over seeds: fractions of wealth a year.

    `validation_utility` is net utility on validation, by which it is chosen. `sharpe` is the annual Sharpe ratio of the
    seed-average book, `net_sd` the standard deviation over seeds of net (NaN with one).
    """

    model: str
    objective: str
    validation_utility: float
    net: float
    utility: float
    sharpe: float
    net_sd: float
    n_seeds: int

    @property
    def name(self) -> str:
        """Model and objective."""
        return f"{self.model} {self.objective}"

    @property
    def sentence(self) -> str:
        """What it earned, in one clause."""
        spread = f" (sd of {self.n_seeds} seeds {100 * self.net_sd:.1f})" if np.isfinite(self.net_sd) else ""
        return (
            f"{self.name}: net {100 * self.net:+.1f}% a year{spread}, net utility {100 * self.utility:+.1f}%, "
            f"Sharpe ratio {self.sharpe:.2f}"
        )


@dataclass(frozen=True)
class CostLevel:
    """All variants under one cost level.

    variants: best on validation first; the first is the `chosen` one. hindsight: the one with the best net utility out
    of sample, which nobody could have known. rank: of the chosen one by net utility out of sample, 1 is best.
    overfitting: of choosing among the variants by mean net utility, as the sweep chooses. superior_ability: of the net
    returns of all others against those of the squared error variant that is best on validation; None where no model was
    trained on squared error, or nothing else was. sharpe: of the chosen one, deflated by every trial of the sweep.
    """

    cost: str
    variants: tuple[VariantResult, ...]
    hindsight: VariantResult
    rank: int
    overfitting: Overfitting
    superior_ability: SuperiorAbility | None
    sharpe: DeflatedSharpe
    trials: int

    @property
    def chosen(self) -> VariantResult:
        """The variant with the best net utility on validation."""
        return self.variants[0]

    @property
    def lines(self) -> tuple[str, ...]:
        """What is known of this level, a line each."""
        n = len(self.variants)
        superior = (
            "no test of superior ability: it needs a model trained on squared error, and another variant"
            if self.superior_ability is None
            else self.superior_ability.sentence
        )
        return (
            f"chosen on validation: {self.chosen.sentence}; rank {self.rank} of {n} by net utility out of sample",
            f"best in hindsight, which nobody could know: {self.hindsight.sentence}",
            f"choosing by mean net utility: {self.overfitting.sentence}",
            superior,
            f"true Sharpe ratio of {self.chosen.name} above 0: probability {_probability(self.sharpe.probabilistic)}; "
            f"above the best of {self.trials:,} models without skill: {_probability(self.sharpe.probability)}"
            + (f" ({self.sharpe.reason})" if self.sharpe.reason else ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as mappings."""
        test = self.superior_ability
        return {
            "cost": self.cost,
            "variants": [asdict(variant) for variant in self.variants],
            "chosen_on_validation": asdict(self.chosen) | {"rank_out_of_sample": self.rank},
            "best_in_hindsight": asdict(self.hindsight),
            "overfitting": self.overfitting.to_dict(),
            "superior_ability": None if test is None else test.to_dict(),
            "sharpe": asdict(self.sharpe),
            "lines": list(self.lines),
        }


@dataclass(frozen=True)
class CellDifference:
    """A paired difference of two objectives of one model under one cost level.

    by_seed: the seeds' own differences, a year. together: where the interval leaves zero out, the interval at which
    *all* intervals of the verdict hold at once (Bonferroni); None elsewhere and for what is not in the verdict.
    """

    model: str
    cost: str
    difference: Difference
    by_seed: tuple[float, ...]
    together: BootstrapInterval | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it is more than luck, all intervals of the verdict counted."""
        return self.together is not None and self.together.excludes_zero

    @property
    def line(self) -> str:
        """The difference, what this history could show, and the spread over seeds."""
        d = self.difference
        power = f"; {d.power.could_show}" if d.power.reason is None else ""
        seeds = f"; above 0 in {d.seeds_above_zero} of {d.n_seeds} seeds"
        spread = f", sd {100 * self.by_seed_sd:.1f}%" if np.isfinite(self.by_seed_sd) else ""
        return f"{self.model}, {self.cost}: {d.sentence}{power}{seeds}{spread}"

    @property
    def by_seed_sd(self) -> float:
        """Standard deviation of the seeds' differences (ddof 1); NaN with one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Everything as mappings."""
        return {
            "model": self.model,
            "cost": self.cost,
            **self.difference.to_dict(),
            "by_seed": list(self.by_seed),
            "by_seed_sd": self.by_seed_sd,
            "interval_of_all_together": None if self.together is None else asdict(self.together),
            "sentence": self.difference.sentence,
        }


@dataclass(frozen=True, repr=False)
class Judgement:
    """What the finished cells of a sweep show.

    Attributes:
        levels: one a cost level.
        differences: of every model and cost, net return and net utility.
        n_family: intervals that the verdict is about: the net differences of aligned less squared and less whitened.
        n_finished: cells that are judged.
        n_cells: cells of the sweep.
        trials: every model that was trained in the finished cells.
        sample: seeds and dates behind the verdict, in words.
    """

    levels: tuple[CostLevel, ...]
    differences: tuple[CellDifference, ...]
    n_family: int
    n_finished: int
    n_cells: int
    trials: int
    sample: str

    @property
    def verdict(self) -> str:
        """The answer in one line; a difference counts as shown only when all of its kind are counted together."""
        if not self.n_family:
            return (
                "Nothing to compare: no model has an interval between two of aligned, whitened and squared "
                f"({self.sample})"
            )
        shown = [found for found in self.differences if found.is_shown]
        alone = sum(found.together is not None for found in self.differences)
        aligned = any(found.difference.a == "aligned" for found in self.differences)
        pairs = "aligned less squared or whitened" if aligned else "whitened less squared"
        notes = [f"net return, {pairs}", self.sample]
        if shown:
            named = [
                f"{found.model}, {found.cost}: {found.difference.a} - {found.difference.b} net "
                f"{interval_in_words(found.together)}"
                for found in shown[:MOST_NAMED]
                if found.together is not None
            ]
            more = f"; and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
            of_all = f"{len(shown)} of {_counted(self.n_family)}, all counted together"
            head = f"A difference is shown in {of_all}: {'; '.join(named)}{more}"
        else:
            head = f"No difference shown in any of {_counted(self.n_family)}"
            if alone:
                notes.insert(1, f"{_intervals(alone)} zero out, none does when all are counted together")
        return f"{head} ({'; '.join(notes)})"

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it in words: the verdict first."""
        blocks = [self.verdict]
        for level in self.levels:
            blocks += ["", f"Costs {level.cost}, {len(level.variants)} variants, seed means", *_indented(level.lines)]
        if self.differences:
            blocks += ["", "Pairs of one model", *_indented(found.line for found in self.differences[:MOST_PAIRS])]
        if len(self.differences) > MOST_PAIRS:
            blocks.append(f"  ... and {len(self.differences) - MOST_PAIRS} more")
        return tuple(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole judgement as plain values that strict JSON can hold: fractions a year, and None for NaN."""
        document: dict[str, Any] = plain(
            {
                "verdict": self.verdict,
                "cells": {"finished": self.n_finished, "of": self.n_cells},
                "trials": self.trials,
                "pairs_in_verdict": self.n_family,
                "levels": [level.to_dict() for level in self.levels],
                "differences": [found.to_dict() for found in self.differences],
            }
        )
        return document

    def write(self, path: Path) -> None:
        """Write it to `path` as strict JSON, the file whole or as it was."""
        with whole_file(path) as file:
            file.write((json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n").encode())

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        def listed(lines: tuple[str, ...]) -> str:
            return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"

        parts = [f"<p><b>{escape(self.verdict)}</b></p>"]
        for level in self.levels:
            parts.append(f"<p>Costs {escape(level.cost)}, {len(level.variants)} variants</p>{listed(level.lines)}")
        if self.differences:
            parts.append(f"<p>Pairs of one model</p>{listed(tuple(found.line for found in self.differences))}")
        return "".join(parts)


def _indented(lines: Any) -> list[str]:
    return [f"  {line}" for line in lines]


def _probability(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "unknown"


def _counted(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs} pairs"


def _intervals(count: int) -> str:
    return "1 interval alone leaves" if count == 1 else f"{count} intervals alone leave"
