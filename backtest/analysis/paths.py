"""How one objective fares over the backtest paths of combinatorial splits.

Every path covers all dates once, with forecasts of models that were trained on the other folds. Paths share dates, and
models share data, so they are far from independent: the spread over paths says how much the answer hangs on what was
trained on, and is no standard error. Averaging over paths averages training out, and not the luck of the dates.

Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapter 12.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backtest.analysis.performance import sharpe_ratio

__all__ = ["PathSpread", "mean_over_paths", "path_spreads"]

HINDSIGHT = (
    "models were trained on data after the test too, so this checks robustness and is no record of what could have "
    "been earned"
)


@dataclass(frozen=True)
class PathSpread:
    """Annual net Sharpe ratios of one objective, each of the seed-average book of one path.

    Attributes:
        objective: its name.
        sharpe: of each path.
        lead: the objective it is set against: aligned, where there is one; None for the lead itself.
        lead_ahead: share of paths in which the lead has the larger Sharpe ratio; None for the lead itself, and where a
            ratio is undefined.

    Paths share dates and models share data, so the spread says how much hangs on what was trained on; it is no standard
    error.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapter 12.4.
    """

    objective: str
    sharpe: tuple[float, ...]
    lead: str | None = None
    lead_ahead: float | None = None

    @property
    def mean(self) -> float:
        """Mean over paths; that of the book of all paths is further from 0, for models that differ diversify."""
        return float(np.mean(self.sharpe))

    @property
    def sd(self) -> float:
        """Standard deviation over paths (ddof 1); no standard error, since paths share data."""
        return float(np.std(self.sharpe, ddof=1))

    @property
    def lowest(self) -> float:
        """The least of all paths."""
        return float(np.min(self.sharpe))

    def to_dict(self) -> dict[str, Any]:
        """Return the spread in the words of the comparison's JSON document."""
        return asdict(self) | {"mean": self.mean, "sd": self.sd, "lowest": self.lowest}


def mean_over_paths(values: np.ndarray, n_paths: int) -> np.ndarray:
    """Return the mean (S, T) over paths of each seed's books (S * n_paths, T), paths moving fastest."""
    if n_paths == 1:
        return values
    mean: np.ndarray = values.reshape(-1, n_paths, values.shape[-1]).mean(axis=1)
    return mean


def path_spreads(
    net: Mapping[str, np.ndarray], *, n_paths: int, periods_per_year: float, lead: str
) -> tuple[PathSpread, ...]:
    """Return the spread of every objective, in their order.

    Args:
        net: objective -> net returns (S * n_paths, T), paths moving fastest.
        n_paths: how many paths.
        periods_per_year: of the returns.
        lead: the objective that the others are set against.
    """
    sharpes = {
        name: sharpe_ratio(
            values.reshape(-1, n_paths, values.shape[-1]).mean(axis=0), periods_per_year=periods_per_year
        )
        for name, values in net.items()
    }
    spreads = []
    for name, sharpe in sharpes.items():
        gap = sharpes[lead] - sharpe
        other = name != lead
        spreads.append(
            PathSpread(
                objective=name,
                sharpe=tuple(np.asarray(sharpe).tolist()),
                lead=lead if other else None,
                lead_ahead=float((gap > 0).mean()) if other and np.isfinite(gap).all() else None,
            )
        )
    return tuple(spreads)


def spread_in_words(spreads: tuple[PathSpread, ...]) -> str:
    """The lead's spread and how often it is ahead, in one clause."""
    lead = next(spread for spread in spreads if spread.lead is None)
    count = len(lead.sharpe)
    ahead = [
        f"above {spread.objective} in {round(spread.lead_ahead * count)} of {count}"
        for spread in spreads
        if spread.lead_ahead is not None
    ]
    clauses = [
        f"{lead.objective}: net Sharpe ratio {lead.mean:.2f}, mean of {count} paths (sd {lead.sd:.2f}, lowest "
        f"{lead.lowest:.2f})",
        *ahead,
        "paths share data, so their spread is no standard error",
    ]
    return "; ".join(clauses)
