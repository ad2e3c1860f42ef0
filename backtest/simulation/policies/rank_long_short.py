"""Long the names with the highest forecasts, short those with the lowest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from backtest.errors import SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation.policies.base import Policy

__all__ = ["RankLongShort"]


@dataclass(frozen=True)
class RankLongShort(Policy):
    """Ranks the names by forecast, holds the top long and the bottom short, and sells what lies between.

    Ranked are the names that have a forecast and can be traded. All others keep what they hold, which counts as part
    of its side: only what leverage leaves is given to ranked names. Of equal forecasts, the name that stands first in
    the panel ranks higher.

    Where the ranked names are fewer than both sides ask for, the sides shrink in proportion, so that no name is on
    both; neither side shrinks to nothing before the other, so a single ranked name is not held.

    Attributes:
        long: names to hold long: a count (an int), or a fraction of the ranked names (a float up to 1), rounded down
            but one at least; 0 for none.
        short: the same for those to sell short.
        leverage: sum of all absolute weights, half of it on each side; all of it long, or short, where the other side
            has no names.
        weights: "equal", or "rank": from 1 at the inner edge of a side, in steps of 1, to the most at its outer end.

    Raises:
        SettingsError: a setting is out of range.
    """

    long: int | float = 0.1
    short: int | float = 0.1
    leverage: float = 1.0
    weights: Literal["equal", "rank"] = "equal"

    def __post_init__(self) -> None:
        for name in ("long", "short"):
            value = getattr(self, name)
            count = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
            if not (count or (isinstance(value, float) and 0 <= value <= 1)):
                raise SettingsError(f"RankLongShort: {name} is {value!r}: give a count, or a fraction from 0.0 to 1.0")
        if self.long == 0 and self.short == 0:
            raise SettingsError("RankLongShort: long and short are both 0: give names to one side at least")
        if isinstance(self.long, float) and isinstance(self.short, float) and self.long + self.short > 1 + 1e-12:
            raise SettingsError(
                f"RankLongShort: long {self.long:g} and short {self.short:g} are more than all names: give at most 1"
            )
        if not 0 < self.leverage < np.inf:
            raise SettingsError(f"RankLongShort: leverage is {self.leverage!r}: give a number above 0")
        if self.weights not in ("equal", "rank"):
            raise SettingsError(f'RankLongShort: weights is {self.weights!r}: give "equal" or "rank"')

    def decide(self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray) -> np.ndarray:
        """Return the weights of both sides, 0 between them, and what is held in names that are not ranked."""
        ranked = tradable & np.isfinite(p)
        count = ranked.sum(axis=1, keepdims=True)
        n_long, n_short = self._sizes(count)
        order = np.argsort(np.where(ranked, -p, np.inf), axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(p.shape[1]), p.shape), axis=1)
        from_inside = (n_long - rank).clip(0), np.where(ranked, rank - (count - n_short) + 1, 0).clip(0)
        stuck = np.where(ranked, 0.0, held)
        sides = (self.long, self.short)
        share = self.leverage / (2 if all(sides) else 1)
        q = stuck.copy()
        for sign, wanted, steps in zip((1.0, -1.0), sides, from_inside, strict=True):
            if not wanted:
                continue
            score = (steps > 0).astype(float) if self.weights == "equal" else steps.astype(float)
            left = (share - (sign * stuck).clip(0).sum(axis=1, keepdims=True)).clip(0)
            q += sign * left * score / np.maximum(score.sum(axis=1, keepdims=True), 1.0)
        return q

    def _sizes(self, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many names are long, and short, (B, 1) each, of `count` ranked ones (B, 1)."""
        wanted = [
            np.maximum(np.floor(side * count + 1e-9), side > 0)
            if isinstance(side, float)
            else np.full(count.shape, float(side))
            for side in (self.long, self.short)
        ]
        room = np.minimum(count / (wanted[0] + wanted[1]), 1.0)
        # Rounding must not take a name from a whole number: 7 of 7 is 7.
        n_long, n_short = (np.floor(room * names + 1e-9).astype(int) for names in wanted)
        if self.long and self.short:
            pair = count >= 2
            n_long = np.where(pair, n_long.clip(1, np.maximum(count - 1, 1)), 0)
            n_short = np.where(pair, n_short.clip(1, np.maximum(count - n_long, 1)), 0)
        return n_long, n_short
