"""How much money a policy can run: net return against wealth, where costs such as market impact grow with wealth.

One simulation of B books, the same policy with B initial wealths, is the whole curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.costs import Cost
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation import Policy, SimulationResult, simulate
from backtest.simulation.inputs import read_forecasts

__all__ = ["Capacity", "capacity_curve"]


@dataclass(frozen=True, eq=False, repr=False)
class Capacity:
    """Net return against wealth.

    Attributes:
        table: one row a wealth, the smallest first, indexed by initial wealth, currency. Columns: gross, "cost: ..." of
            each cost, interest and net, mean returns a year; turnover, multiples of wealth a year; volatility a year;
            ruined. After a ruin every period counts as 0.
        half: wealth, currency, at which net return is half of what it is at the smallest wealth.
        zero: wealth, currency, at which net return is 0.
        notes: why a wealth is not known (NaN).
        result: of the simulation, books in the order they were given.

    Between two rows net return is taken to be linear in the logarithm of wealth.
    """

    table: pd.DataFrame
    half: float
    zero: float
    notes: tuple[str, ...]
    result: SimulationResult

    @classmethod
    def of(cls, result: SimulationResult) -> Capacity:
        """Read the curve off a run, `result`, whose books differ in nothing but initial wealth.

        Raises:
            SettingsError: two books start with the same wealth, or there is one book.
        """
        wealth = result.wealth[:, 0]
        if len(wealth) < 2 or len(np.unique(wealth)) < len(wealth):
            raise SettingsError(f"initial wealth of the books is {wealth.tolist()}: give two or more that differ")

        def yearly(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.nan_to_num(values).mean(axis=1) * result.periods_per_year)

        columns = {
            "gross": yearly(result.gross),
            **{f"cost: {name}": yearly(values) for name, values in result.costs.items()},
            "interest": yearly(result.interest),
            "net": yearly(result.net),
            "turnover": yearly(result.turnover),
            "volatility": pd.DataFrame(np.nan_to_num(result.net).T).std().to_numpy() * np.sqrt(result.periods_per_year),
            "ruined": result.ruined,
        }
        table = pd.DataFrame(columns, index=pd.Index(wealth, name="wealth")).sort_index()
        net = table["net"].to_numpy()
        notes: list[str] = []
        if net[0] <= 0:
            notes.append(f"net return is {net[0]:.4g} a year at the smallest wealth already: try smaller ones")
            return cls(table, np.nan, np.nan, tuple(notes), result)
        found = []
        for what, level in (("half", net[0] / 2), ("0", 0.0)):
            reached = _crossing(np.log(table.index.to_numpy()), net, level)
            if np.isnan(reached):
                notes.append(
                    f"net return is {net[-1]:.4g} a year at the largest wealth and never falls to {what}"
                    f"{' of what it is at the smallest' if what == 'half' else ''}: try larger ones"
                )
            found.append(float(np.exp(reached)))
        half, zero = found
        return cls(table, half, zero, tuple(notes), result)

    def __repr__(self) -> str:
        table = self.table.drop(columns="ruined") if not self.table["ruined"].any() else self.table
        shown = table.set_axis([f"{wealth:,.6g}" for wealth in table.index]).rename_axis("wealth").round(4)
        lines = [shown.to_string(), f"net return is half at {self.half:,.4g} and 0 at {self.zero:,.4g}", *self.notes]
        return "\n".join(lines)


def _crossing(x: np.ndarray, values: np.ndarray, level: float) -> float:
    """Return where the line through the points first comes down to a level that it starts above; NaN where never."""
    below = np.flatnonzero(values <= level)
    if not len(below):
        return np.nan
    after = int(below[0])
    before = after - 1
    share = (values[before] - level) / (values[before] - values[after])
    return float(x[before] + share * (x[after] - x[before]))


def capacity_curve(
    panel: MarketPanel,
    policy: Policy,
    forecasts: Any = None,
    *,
    costs: Cost | None,
    wealths: Sequence[float] | np.ndarray,
    **settings: Any,
) -> Capacity:
    """Simulate one policy with several initial wealths, all in one pass.

    Args:
        panel: the market.
        policy: one for all books; a solver must know the wealth of its row, as `TradingCost` does without `wealth=`.
        forecasts: one forecast for all books, (T, N) or a table; None for a policy that needs none.
        costs: as for `simulate`.
        wealths: (B,) currency, two or more that differ, above 0.
        settings: all else that `simulate` takes, but names and initial wealth.

    Raises:
        SettingsError: wealths that are not positive, or the same; several forecasts.
        BacktestError: as of `simulate`.
    """
    initial = np.asarray(wealths, dtype=float)
    if initial.ndim != 1 or len(initial) < 2 or not (np.isfinite(initial) & (initial > 0)).all():
        raise SettingsError(f"wealths are {wealths!r}: give two or more positive amounts of currency")
    if len(np.unique(initial)) < len(initial):
        raise SettingsError(f"wealths are {initial.tolist()}: give each once")
    p = read_forecasts(forecasts, panel)
    if len(p) != 1:
        raise SettingsError(f"capacity_curve takes one forecast for all wealths, and these are {len(p)}: give one")
    names = [f"{wealth:.15g}" for wealth in initial.tolist()]
    every = np.broadcast_to(p, (len(initial), *p.shape[1:]))
    return Capacity.of(simulate(panel, policy, every, costs=costs, initial_wealth=initial, names=names, **settings))
