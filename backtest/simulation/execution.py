"""How orders are filled: at which price, in whole shares or not, up to which part of the volume, with whose money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from backtest.errors import SettingsError
from backtest.simulation.quotes import Fill

__all__ = ["Execution"]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How orders are filled.

    Attributes:
        fill: "close" decides and fills at one close. "open" and "vwap" decide at a close and fill in the next row, at
            its open or its volume-weighted average price: the number of shares is that of the decision.
        whole_shares: round to whole shares, and repair what rounding breaks of the policy's constraints.
        max_participation: fraction of a row's dollar volume that one book's trade in one name may be; the rest is not
            filled. A name whose volume is unknown is not traded then. None is no limit.
        borrow_cash: False scales all purchases of a book down by one factor where it could not pay them, costs
            included, from cash and sales.

    Raises:
        SettingsError: the fill is unknown, or the participation is not above 0.
    """

    fill: Fill = "close"
    whole_shares: bool = False
    max_participation: float | None = None
    borrow_cash: bool = True

    def __post_init__(self) -> None:
        if self.fill not in get_args(Fill):
            raise SettingsError(f"Execution: fill is {self.fill!r}: give one of {', '.join(get_args(Fill))}")
        if self.max_participation is not None and not 0 < self.max_participation < np.inf:
            raise SettingsError(
                f"Execution: max_participation is {self.max_participation!r}: give a fraction of volume, as 0.1"
            )

    @property
    def next_row(self) -> bool:
        """Whether an order is filled in the row after its decision."""
        return self.fill != "close"
