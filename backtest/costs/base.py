"""The Cost protocol and its algebra: `5.0 * FactorRisk(...) + TradingCost(...) + 1e-4 * L1()`.

One cost object serves the solver, the training loss, the simulator and the report. *Cash* costs are charged by the
simulator; the others are opinions (risk, penalties): they move decisions and are never charged.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from html import escape
from numbers import Real

from torch import Tensor

from backtest.costs.described import described
from backtest.costs.terms import CostTerms
from backtest.costs.terms_key import believed_key
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["Cost", "ScaledCost", "SumOfCosts", "snake_case"]

_MOST_SHOWN = 200  # characters of one cost in a notebook


class Cost(ABC):
    """A convex cost of holding `q` after holding `held`, a fraction of wealth per period.

    Attributes:
        cash: True when the simulator charges it; False for an opinion.
        paid_per_trade: True when it is paid once, at the trade, while a forecast earns every period the position is
            held. The solver divides such costs by its `holding_periods`; the simulator charges them whole.
    """

    cash: bool = False
    paid_per_trade: bool = False

    @abstractmethod
    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the cost by asset (B, N); its sum over assets is the cost of the row.

        Args:
            q: (B, N) weights after trading.
            held: (B, N) weights before trading.
            market: the market at the B rows; None where the cost needs nothing of it.
        """

    @abstractmethod
    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return the pieces this cost adds to the canonical problem.

        Args:
            held: (B, N) weights before trading.
            market: the market at the B rows; None where the cost needs nothing of it.
        """

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Return what the terms are a function of, so that a solver of many like problems lowers the cost once.

        Two markets with equal keys, of the same assets, give the same terms, in which `held` stands, if at all, as the
        tensor that `terms` was given and not in a number worked out from it. None: lower the cost anew each time.

        Args:
            market: the market at the rows that are about to be solved; None where the cost needs nothing of it.
        """
        return None

    def estimate(self, panel: MarketPanel) -> Cost:
        """Return this cost with everything it estimates fitted to `panel`, row `t` from rows up to `t` alone."""
        return self

    def realized(self, panel: MarketPanel) -> Cost:
        """Return this cost as it is charged: at row `t`, with what came out in row `t` instead of what was expected.

        Args:
            panel: the market that the book is traded in.
        """
        return self

    @property
    def parts(self) -> tuple[tuple[str, Cost], ...]:
        """The summands as (name, cost), names unique: two costs of one class are two parts."""
        return ((snake_case(type(self).__name__), self),)

    @property
    def first_row(self) -> int:
        """First panel row at which everything the cost estimates is known."""
        return 0

    @property
    def depends_on_held(self) -> bool:
        """Whether the cost depends on what was held before."""
        return self.paid_per_trade

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return SumOfCosts((*_summands(self), *_summands(other)))

    def __mul__(self, weight: float) -> Cost:
        if not isinstance(weight, Real | Tensor):
            return NotImplemented
        scaled = tuple(ScaledCost(weight, cost) for cost in _summands(self))
        return scaled[0] if len(scaled) == 1 else SumOfCosts(scaled)

    __rmul__ = __mul__

    def _repr_html_(self) -> str:
        def row(name: str, cost: Cost) -> str:
            text = repr(cost) if isinstance(cost, ScaledCost) else described(cost)
            text = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
            counted = "charged" if cost.cash else "an opinion"
            return f"<tr><td>{escape(name)}</td><td>{counted}</td><td><code>{escape(text)}</code></td></tr>"

        rows = "".join(row(name, cost) for name, cost in self.parts)
        return f"<table><thead><tr><th>cost</th><th>counted as</th><th>made of</th></tr></thead>{rows}</table>"


@dataclass(frozen=True)
class ScaledCost(Cost):
    """`weight` times one cost; a sum is scaled summand by summand.

    Attributes:
        weight: a number, or a tensor (B, 1) with one weight a row; not negative.
        cost: what is scaled.

    Raises:
        CostError: the weight is negative or not finite.
    """

    weight: float | Tensor
    cost: Cost

    def __post_init__(self) -> None:
        lowest = float(self.weight.detach().min()) if isinstance(self.weight, Tensor) else float(self.weight)
        if not 0 <= lowest < float("inf"):
            raise CostError(f"a cost can be scaled by a finite number of at least 0, got {lowest!r}")

    def __repr__(self) -> str:
        return f"{described(self.weight)} × {described(self.cost)}"

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the scaled cost by asset (B, N)."""
        return self.weight * self.cost.value(q, held, market)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return the scaled pieces."""
        return self.cost.terms(held, market).scaled(self.weight)

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """That of the cost it scales."""
        return believed_key(self.cost, market)

    def estimate(self, panel: MarketPanel) -> Cost:
        """Return the scaled cost with its estimates fitted."""
        return ScaledCost(self.weight, self.cost.estimate(panel))

    def realized(self, panel: MarketPanel) -> Cost:
        """Return the scaled cost as it is charged."""
        return ScaledCost(self.weight, self.cost.realized(panel))

    @property
    def first_row(self) -> int:
        """That of the cost it scales."""
        return self.cost.first_row

    @property
    def depends_on_held(self) -> bool:
        """Whether the cost it scales depends on what was held before."""
        return self.cost.depends_on_held

    @property
    def cash(self) -> bool:  # type: ignore[override]
        """Whether the scaled cost is charged by the simulator."""
        return self.cost.cash

    @property
    def paid_per_trade(self) -> bool:  # type: ignore[override]
        """Whether the scaled cost is paid once, at the trade."""
        return self.cost.paid_per_trade

    @property
    def parts(self) -> tuple[tuple[str, Cost], ...]:
        """The parts of the cost it scales, each scaled."""
        return tuple((name, ScaledCost(self.weight, part)) for name, part in self.cost.parts)


@dataclass(frozen=True)
class SumOfCosts(Cost):
    """A sum of costs. Two costs of one class stay two costs, and both count.

    Attributes:
        summands: one cost at least, in the order in which they were added; none of them is itself a sum.
    """

    summands: tuple[Cost, ...]

    def __repr__(self) -> str:
        return " + ".join(repr(cost) if isinstance(cost, ScaledCost) else described(cost) for cost in self.summands)

    def value(self, q: Tensor, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the summed cost by asset (B, N)."""
        total = self.summands[0].value(q, held, market)
        for cost in self.summands[1:]:
            total = total + cost.value(q, held, market)
        return total

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> CostTerms:
        """Return the pieces of all summands."""
        return sum((cost.terms(held, market) for cost in self.summands), CostTerms())

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Those of all summands; None where one has none."""
        keys = tuple(believed_key(cost, market) for cost in self.summands)
        return None if None in keys else keys

    def estimate(self, panel: MarketPanel) -> Cost:
        """Return the sum with every estimate fitted."""
        return SumOfCosts(tuple(cost.estimate(panel) for cost in self.summands))

    def realized(self, panel: MarketPanel) -> Cost:
        """Return the sum of all summands as they are charged."""
        return SumOfCosts(tuple(cost.realized(panel) for cost in self.summands))

    @property
    def first_row(self) -> int:
        """The latest of its summands'."""
        return max(cost.first_row for cost in self.summands)

    @property
    def depends_on_held(self) -> bool:
        """Whether any summand depends on what was held before."""
        return any(cost.depends_on_held for cost in self.summands)

    @property
    def parts(self) -> tuple[tuple[str, Cost], ...]:
        """All summands as (name, cost); a repeated name gets a number."""
        return tuple(_numbered(part for cost in self.summands for part in cost.parts))


def _summands(cost: Cost) -> tuple[Cost, ...]:
    return cost.summands if isinstance(cost, SumOfCosts) else (cost,)


def snake_case(name: str) -> str:
    """Return a class name as the name of a part: "TradingCost" is "trading_cost"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _numbered(parts: Iterator[tuple[str, Cost]]) -> Iterator[tuple[str, Cost]]:
    # A part can come with a number already, from a sum within.
    taken: set[str] = set()
    for name, cost in parts:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        yield unique, cost
