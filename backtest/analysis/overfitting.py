"""How often the variant that was best in one half of the history is below the median in the other half.

Source: Bailey, Borwein, Lopez de Prado & Zhu, "The probability of backtest overfitting", J. Computational
Finance 20 (2017): combinatorially symmetric cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from backtest.analysis.series_checks import LEAST_PERIODS, variants_of
from backtest.errors import SettingsError

__all__ = ["Overfitting", "probability_of_overfitting"]

_PERIODS_A_BLOCK = 5  # a shorter block cuts the dependence between neighbouring periods away
_LEAST_BLOCKS = 4
_MOST_BLOCKS = 20  # 184,756 ways to halve; each two more blocks make four times as many
_NUMBERS_AT_ONCE = 4_000_000
_CONSTANT = 1e-14  # the rounding error of a constant series of returns


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What choosing the best variant in one half of the history gave in the other half, over all ways to halve.

    NaN with a `reason` when undefined.

    Attributes:
        probability: share of halvings in which the chosen variant is below the median of all variants in the other
            half; one that is the median itself counts one half. 0.5 is what choosing at random gives.
        logits: (C,) of the C halvings, ln(r / (1 - r)), with r the rank from below of the chosen variant in the other
            half over V + 1: negative is below the median.
        slope: of the straight line, by least squares, from the chosen variant's performance in the half that chose it
            to that in the other half. It is negative for any one variant, since the two halves add up to its whole
            history.
        probability_of_loss: share of halvings in which the chosen variant's performance in the other half is below
            zero.
        chosen: variant -> share of halvings that chose it, most often chosen first.
        n_blocks: blocks that the history was cut into.
        n_variants: V.
        n_periods: S.
        reason: why it is undefined; None where it is not.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2017), "The probability of backtest overfitting", J. Computational
    Finance 20.
    """

    probability: float
    logits: np.ndarray
    slope: float
    probability_of_loss: float
    chosen: dict[str, float]
    n_blocks: int
    n_variants: int
    n_periods: int
    reason: str | None = None

    @property
    def sentence(self) -> str:
        """What the halvings show, in one clause."""
        if self.reason is not None:
            return f"no probability of overfitting: {self.reason}"
        return (
            f"the variant chosen on one half of the periods was below the median of {self.n_variants} on the "
            f"other half in {100 * self.probability:.0f}% of {len(self.logits):,} ways to halve them, "
            f"and lost in {100 * self.probability_of_loss:.0f}%"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, the quantiles of the logits in place of all of them, and the sentence."""
        levels = (0.05, 0.25, 0.5, 0.75, 0.95)
        quantiles = np.quantile(self.logits, levels) if len(self.logits) else np.full(len(levels), np.nan)
        return {
            "probability": self.probability,
            "logit_quantiles": {f"{level:g}": float(q) for level, q in zip(levels, quantiles, strict=True)},
            "slope": self.slope,
            "probability_of_loss": self.probability_of_loss,
            "chosen": dict(self.chosen),
            "n_blocks": self.n_blocks,
            "n_halvings": len(self.logits),
            "n_variants": self.n_variants,
            "n_periods": self.n_periods,
            "reason": self.reason,
            "sentence": self.sentence,
        }


def probability_of_overfitting(
    variants: np.ndarray | pd.DataFrame,
    *,
    names: Sequence[str] | None = None,
    n_blocks: int = 16,
    performance: Literal["sharpe", "mean"] = "sharpe",
) -> Overfitting:
    """Cross-validate the choice of the best variant: combinatorially symmetric cross-validation.

    The S periods are cut into blocks in time order, of lengths that differ by one at most. Each of the ways to take
    half of the blocks gives one choice: the variant with the highest performance there, ranked by its performance in
    the other blocks. Every variant tried belongs in. Two variants that are equal count as tied: mean ranks.

    Args:
        variants: (S, V) net returns, or differences from a benchmark: a row a date, a column a variant.
        names: of the V variants; None takes the columns of a DataFrame, or numbers.
        n_blocks: an even number from 4 to 20. A short series takes fewer, so that each holds 5 periods at least: 4
            blocks at the fewest, and each half 20 periods.
        performance: "sharpe" or "mean", per period.

    Raises:
        SettingsError: an odd or unbearable number of blocks, or another performance.
        DataError: the variants are no table of numbers with a name each.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2017), "The probability of backtest overfitting", J. Computational
    Finance 20.
    """
    values, labels = variants_of(variants, names)
    n, n_variants = values.shape
    if n_blocks % 2 or not _LEAST_BLOCKS <= n_blocks <= _MOST_BLOCKS:
        raise SettingsError(f"n_blocks={n_blocks!r} must be an even number from {_LEAST_BLOCKS} to {_MOST_BLOCKS}")
    if performance not in ("sharpe", "mean"):
        raise SettingsError(f"performance={performance!r} must be 'sharpe' or 'mean'")
    n_blocks = min(n_blocks, max(_LEAST_BLOCKS, n // _PERIODS_A_BLOCK // 2 * 2))
    edges = np.arange(n_blocks) * n // n_blocks
    reason = _why_undefined(values, labels, edges, performance)
    if reason is not None:
        return Overfitting(np.nan, np.empty(0), np.nan, np.nan, {}, n_blocks, n_variants, n, reason)

    blocks = _Blocks.of(values, edges)
    taken = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    halves = np.zeros((len(taken), n_blocks))
    np.put_along_axis(halves, taken, 1.0, axis=1)
    at_once = max(1, _NUMBERS_AT_ONCE // n_variants)
    parts = [_choices(blocks, halves[i : i + at_once], performance) for i in range(0, len(halves), at_once)]
    chosen, inside, outside, rank = (np.concatenate(part) for part in zip(*parts, strict=True))
    relative = rank / (n_variants + 1)
    logits = np.log(relative / (1.0 - relative))
    # Half of V + 1 is exact in floating point, a logarithm of 1 is not always 0.
    probability = (rank < (n_variants + 1) / 2).mean() + 0.5 * (rank == (n_variants + 1) / 2).mean()
    spread = inside - inside.mean()
    slope = float(spread @ outside / (spread @ spread)) if spread.any() else np.nan
    counts = np.bincount(chosen, minlength=n_variants)
    return Overfitting(
        float(probability),
        logits,
        slope,
        float((outside < 0).mean()),
        {labels[i]: float(counts[i] / len(halves)) for i in np.argsort(-counts, kind="stable") if counts[i]},
        n_blocks,
        n_variants,
        n,
    )


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Of each block: its periods (K,), and sums (K, V) of deviations from the whole mean and of their squares."""

    periods: np.ndarray
    first: np.ndarray
    second: np.ndarray
    mean: np.ndarray  # (V,)

    @classmethod
    def of(cls, values: np.ndarray, edges: np.ndarray) -> _Blocks:
        mean = values.mean(axis=0)
        u = values - mean
        periods = np.diff(np.append(edges, len(values))).astype(float)
        return cls(periods, np.add.reduceat(u, edges, axis=0), np.add.reduceat(u**2, edges, axis=0), mean)

    def measured(self, taken: np.ndarray, performance: str) -> np.ndarray:
        """Performance (C, V) over the blocks `taken`, (C, K) of ones and zeros."""
        n = (taken @ self.periods)[:, None]
        moved = taken @ self.first / n
        if performance == "mean":
            return self.mean + moved
        variance = (taken @ self.second - n * moved**2) / (n - 1.0)
        return (self.mean + moved) / np.sqrt(variance)


def _choices(blocks: _Blocks, halves: np.ndarray, performance: str) -> tuple[np.ndarray, ...]:
    """The variant each of `halves` (C, K) chooses, its performance there and elsewhere, its rank elsewhere: (C,)."""
    inside, outside = blocks.measured(halves, performance), blocks.measured(1.0 - halves, performance)
    chosen, rows = inside.argmax(axis=1), np.arange(len(halves))
    got = outside[rows, chosen]
    rank = (outside < got[:, None]).sum(axis=1) + 0.5 * ((outside == got[:, None]).sum(axis=1) + 1.0)
    return chosen, inside[rows, chosen], got, rank


def _why_undefined(values: np.ndarray, labels: Sequence[str], edges: np.ndarray, performance: str) -> str | None:
    n, n_variants = values.shape
    if n_variants < 2:
        return "one variant leaves nothing to choose: give every variant that was tried"
    if n < 2 * LEAST_PERIODS:
        return f"{n} periods are too few to halve: at least {2 * LEAST_PERIODS} are needed"
    unknown = np.argwhere(~np.isfinite(values))
    if len(unknown):
        period, variant = unknown[0]
        return f"{labels[variant]}: the value of period {period} (counted from 0) is {values[period, variant]}"
    if performance == "mean":
        return None
    # A half whose blocks are all constant has no Sharpe ratio.
    highest, lowest = np.maximum.reduceat(values, edges, axis=0), np.minimum.reduceat(values, edges, axis=0)
    constant = (highest - lowest <= _CONSTANT * np.maximum(1.0, np.abs(highest))).sum(axis=0)
    worst = int(constant.argmax())
    if 2 * constant[worst] >= len(edges):
        return (
            f"{labels[worst]} is constant in {constant[worst]} of {len(edges)} blocks, so that a half may have no "
            "Sharpe ratio: leave the variant out, or choose by performance='mean'"
        )
    return None
