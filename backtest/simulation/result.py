"""What a simulation returns: the path of every book, and everything that happened on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from backtest.errors import SettingsError, SimulationError
from backtest.simulation.decision_times import DecisionTimes
from backtest.simulation.exports import to_portfolio, write_tables
from backtest.simulation.saving import read_fields, write_fields
from backtest.simulation.trades import round_trips_of, trades_of

__all__ = ["SimulationResult"]

SHARED = ("fill_prices", "returns_from_fill")
"""Arrays that all books share."""

ByAsset = Literal["positions", "held", "shares", "shares_traded", "gains"]

NOT_SAVED = "times"
"""The one field that is not the same when a run is repeated."""

MOST_SHOWN = 10
"""Books in a printed result."""


@dataclass(frozen=True, eq=False, repr=False)
class SimulationResult:
    """B books over S periods; j is decided at the close of `fill_dates[j]`, its result known at `dates[j]`.

    Returns and costs are fractions of wealth at the decision, `gross + interest - sum(costs) = net`. Weights, and what
    is made of them, are fractions of wealth just before the fill, which is the same where orders are filled at the
    close they are decided at. All values of a book are NaN after the period in which it was ruined.

    Attributes:
        names: (B,) of the books.
        dates: (S,) date at which each period's result is known.
        fill_dates: (S,) date of each decision, one panel row before `dates`; `trade_dates` are those of the fills.
        assets: (N,) labels.
        periods_per_year: of the panel.
        wealth: (B, S + 1) currency; the first is initial wealth, then after each period.
        gross: (B, S) return of the positions, before costs and interest.
        costs: name -> (B, S) of each cash cost, as charged.
        interest: (B, S) earned on cash after trades and costs; negative when paid.
        net: (B, S) return of wealth.
        opinions: name -> (B, S) of each cost that is not charged.
        utility: (B, S) net less all opinions.
        predicted: (B, S) what the forecasts said that the positions would earn in the period.
        delisting: (B, S) part of `gross` that delistings took or gave, on the last marks.
        turnover: (B, S) sum of |trade|.
        leverage: (B, S) sum of |weight| after trading.
        net_exposure: (B, S) sum of weights after trading.
        predicted_volatility: (B, S) standard deviation of the period's return that the risk model predicted for the
            positions taken; None where the costs have none, or more than one.
        solve_statuses: (B, S) int8, how the solver's problem of each decision ended, a `backtest.solver.Status`; -1
            where no solver was asked.
        solve_residuals: (B, S) relative error by which the solver judged it, solved up to 1e-9: of its dual's
            gradient, from which constraints and exposures are missed, or of all optimality conditions where the method
            has no such measure. NaN where none was asked.
        solve_iterations: (B, S) int32, Newton steps or steps of the interior-point method; -1 where none was asked.
        positions: (B, S, N) weights after trading.
        held: (B, S, N) weights before trading.
        before_fill: (B, S, N) what each name earned from the decision to the fill, a fraction of wealth at the
            decision; None where orders are filled at the close they are decided at.
        fill_wealth: (B, S) currency, just before each fill.
        fill_prices: (S, N) currency a share, at which each trade was filled; for names that could not be traded what
            they were last worth, 0 before their first price. 1 in a panel without prices.
        returns_from_fill: (S, N) return of each name from the fill to the end of the period, with all it pays out.
        asset_costs: name -> (B, N) currency, each cash cost by name over all periods.
        counts_shares: False when the panel has no prices.
        whole_shares: positions are whole numbers of shares.
        ruined: (B,) bool, wealth fell to 0 or below and the book was stopped.
        events: one row for each thing out of the ordinary: date, name, asset, kind, detail. Kinds: "failed"
            (no decision, all held), "inaccurate" (a solve at low precision), "untradable" (an order that could
            not be placed), "unfilled" (an order that was not filled, or not whole), "rounding" (a limit that whole
            shares exceed), "left the universe" (sold), "missing price" (held at its last one), "split", "dividend",
            "spin-off", "delisted", "ruined".
        times: wall-clock time of each decision; None in a result that was loaded.
    """

    names: tuple[str, ...]
    dates: pd.DatetimeIndex
    fill_dates: pd.DatetimeIndex
    assets: pd.Index
    periods_per_year: float
    wealth: np.ndarray
    gross: np.ndarray
    costs: Mapping[str, np.ndarray]
    interest: np.ndarray
    net: np.ndarray
    opinions: Mapping[str, np.ndarray]
    utility: np.ndarray
    predicted: np.ndarray
    delisting: np.ndarray
    turnover: np.ndarray
    leverage: np.ndarray
    net_exposure: np.ndarray
    predicted_volatility: np.ndarray | None
    solve_statuses: np.ndarray
    solve_residuals: np.ndarray
    solve_iterations: np.ndarray
    positions: np.ndarray
    held: np.ndarray
    before_fill: np.ndarray | None
    fill_wealth: np.ndarray
    fill_prices: np.ndarray
    returns_from_fill: np.ndarray
    asset_costs: Mapping[str, np.ndarray]
    counts_shares: bool
    whole_shares: bool
    ruined: np.ndarray
    events: pd.DataFrame
    times: DecisionTimes | None = None

    def __repr__(self) -> str:
        """Return what there is, and a line a book: means of its periods, a year where a rate."""
        n_books = len(self.names)
        head = (
            f"SimulationResult: {n_books} book{'' if n_books == 1 else 's'}, {len(self.dates)} periods "
            f"{self.dates[0]:%Y-%m-%d} to {self.dates[-1]:%Y-%m-%d}, {len(self.assets)} assets, "
            f"{len(self.events)} events, {self.ruined.sum()} ruined"
        )
        lines = [head, self._shown(slice(0, MOST_SHOWN)).to_string()]
        if n_books > MOST_SHOWN:
            lines.append(f"... and {n_books - MOST_SHOWN} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *_ = repr(self).split("\n", 1)
        more = f"<p>... and {len(self.names) - MOST_SHOWN} more</p>" if len(self.names) > MOST_SHOWN else ""
        return f"<p>{escape(head)}</p>{self._shown(slice(0, MOST_SHOWN)).to_html()}{more}"

    def _shown(self, index: slice) -> pd.DataFrame:
        some = self.books(index)
        returns = {"gross": some.gross, "costs": sum(some.costs.values(), np.zeros_like(some.net))}
        returns |= {"interest": some.interest, "net": some.net}
        year = self.periods_per_year
        numbers = {f"{name} %": _mean(values) * 100 * year for name, values in returns.items()}
        numbers["volatility %"] = pd.DataFrame(some.net.T).std().to_numpy() * 100 * np.sqrt(year)
        numbers |= {"turnover": _mean(some.turnover) * year, "leverage": _mean(some.leverage)}
        wealth = some.wealth[np.arange(len(some.names)), np.isfinite(some.net).sum(axis=1)]
        texts = {label: [f"{value:.2f}" for value in values.tolist()] for label, values in numbers.items()}
        return pd.DataFrame(
            {"wealth": [f"{value:.6g}" for value in wealth.tolist()], **texts}
            | ({"": np.where(some.ruined, "ruined", "")} if some.ruined.any() else {}),
            index=list(some.names),
        )

    def books(self, index: slice) -> SimulationResult:
        """Return the result of some of the books, `index` being a slice of their order; arrays are views."""
        names = self.names[index]
        by_book: dict[str, Any] = {
            field.name: value[index]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray) and field.name not in SHARED
        }
        return replace(
            self,
            **by_book,
            names=names,
            costs={name: values[index] for name, values in self.costs.items()},
            opinions={name: values[index] for name, values in self.opinions.items()},
            asset_costs={name: values[index] for name, values in self.asset_costs.items()},
            events=self.events[self.events["name"].isin(names)].reset_index(drop=True),
        )

    def book(self, name: str | None = None) -> int:
        """Return the place of the book `name` in the first axis; a result of one book needs no name.

        Raises:
            SettingsError: no book has this name, or there are several and none is named.
        """
        if name is None and len(self.names) == 1:
            return 0
        if name not in self.names:
            some = ", ".join(self.names[:MOST_SHOWN]) + (", ..." if len(self.names) > MOST_SHOWN else "")
            what = "there are several books" if name is None else f"there is no book {name!r}"
            raise SettingsError(f"{what}: give the name of one of {some}")
        return self.names.index(name)

    @property
    def trade_dates(self) -> pd.DatetimeIndex:
        """(S,) date of each fill: that of the decision, or one row later where orders are filled at the next row."""
        return self.fill_dates if self.before_fill is None else self.dates

    @property
    def shares(self) -> np.ndarray:
        """(B, S, N) shares held after each fill.

        Raises:
            SimulationError: the panel has no prices.
        """
        return self._shares_of(self.positions)

    @property
    def shares_traded(self) -> np.ndarray:
        """(B, S, N) shares bought at each fill, negative when sold.

        Raises:
            SimulationError: the panel has no prices.
        """
        return self._shares_of(self.positions - self.held)

    def _shares_of(self, weights: np.ndarray) -> np.ndarray:
        if not self.counts_shares:
            raise SimulationError("shares need prices, and the panel has only returns: use MarketPanel.from_prices")
        value = weights * self.fill_wealth[:, :, None]
        # A name that has no price yet cannot be held.
        shares = np.divide(value, self.fill_prices, out=np.zeros_like(value), where=self.fill_prices > 0)
        if not self.whole_shares:
            return shares
        # Weights are rounded in their last digit; the shares behind them are whole, but for what a split or spin-off
        # leaves from the open to the close.
        whole = np.rint(shares)
        return np.where(np.abs(shares - whole) <= 1e-6, whole, shares)

    def gains(self, name: str | None = None) -> np.ndarray:
        """Return what each asset of the book `name` gained in each period (S, N), currency, before costs and interest.

        The sum over names is `gross` times the wealth at the decision. What a spin-off gives is a gain of the parent in
        that period, up to the fill or, where orders are filled at the close, up to its end.
        """
        book = self.book(name)
        wealth = self.fill_wealth[book, :, None]
        after = self.positions[book] * wealth * self.returns_from_fill
        return after if self.before_fill is None else self.before_fill[book] * self.wealth[book, :-1, None] + after

    def by_asset(self, what: ByAsset, name: str | None = None) -> pd.DataFrame:
        """Return a table (S, N) of one book: the date of each fill by asset, and for "gains" that of the period's end.

        Args:
            what: "positions" and "held" are weights, "shares" and "shares_traded" shares, "gains" currency.
            name: of the book; None where there is one.

        Raises:
            SettingsError: another table, or no such book.
            SimulationError: shares of a panel without prices.
        """
        if what not in get_args(ByAsset):
            raise SettingsError(f"there is no table {what!r} by asset: give one of {', '.join(get_args(ByAsset))}")
        book = self.book(name)
        if what == "gains":
            return pd.DataFrame(self.gains(name), index=self.dates, columns=self.assets)
        values = getattr(self.books(slice(book, book + 1)), what)[0]
        return pd.DataFrame(values, index=self.trade_dates, columns=self.assets)

    @property
    def trades(self) -> pd.DataFrame:
        """One row a filled trade, by book, date of the fill and asset.

        Columns: name, date, asset; where the panel has prices shares and price; value (currency at the fill price) and
        weight (a fraction of wealth just before the fill). Shares, value and weight are negative for sales.
        """
        return trades_of(self)

    def round_trips(self) -> pd.DataFrame:
        """Return one row a lot, from its entry to its exit, first in, first out; a partial exit splits a lot.

        Columns: name, asset, side ("long" or "short"); entry and exit, dates; reason: "trade", "open" (still held at
        the end, no exit), "delisted", "ruined" (the book was stopped) or "fractions in cash" (what a split left);
        where the panel has prices entry_price and exit_price, as traded then; entry_value, exit_value (currency,
        negative for a short; NaN where no trade closed it); gain, currency, before costs and interest, all that was
        paid out included. The gains of all lots add up to `gains()`.

        What no trade bought, initial positions and spin-offs, enters at its worth at the next fill. What was held at
        the start by a book ruined before the first fill has side "unknown" and a gain, nothing else.
        """
        return round_trips_of(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a book and period, indexed by name and date; a column a cost, as "cost: trading_cost"."""
        columns = {
            "wealth": self.wealth[:, 1:],
            "gross": self.gross,
            **{f"cost: {name}": values for name, values in self.costs.items()},
            "interest": self.interest,
            "net": self.net,
            **{f"opinion: {name}": values for name, values in self.opinions.items()},
            "utility": self.utility,
            "predicted": self.predicted,
            "delisting": self.delisting,
            "turnover": self.turnover,
            "leverage": self.leverage,
            "net_exposure": self.net_exposure,
        }
        index = pd.MultiIndex.from_product([self.names, self.dates], names=["name", "date"])
        return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)

    def to_parquet(self, folder: str | Path) -> None:
        """Write paths, positions, trades and events to `folder` as Parquet files of these names.

        `paths` is `to_frame`; `positions` has one row a position that is not nil after a fill: name, date, asset,
        where the panel has prices shares and price, value and weight. Each file is there whole or not at all. They are
        for other programs to read: `save` keeps everything.
        """
        write_tables(self, folder, "parquet")

    def to_csv(self, folder: str | Path) -> None:
        """Write the files of `to_parquet` into `folder` as CSV; numbers have all their digits."""
        write_tables(self, folder, "csv")

    def to_quantstats_returns(self) -> pd.DataFrame:
        """Return net returns (S, B), simple, one column a book, for `quantstats` and the like.

        A period is one of the panel's, a day in a daily panel. After a book's ruin it is 0: nothing is left to earn.
        """
        returns = pd.DataFrame(self.net.T, index=self.dates.rename("date"), columns=list(self.names))
        return returns.mask(returns.isna() & self.ruined, 0.0)

    def to_vectorbt(self, name: str | None = None, *, charged: Sequence[str] | None = None) -> Any:
        """Return a `vectorbt.Portfolio` of one book: its filled trades, at their prices, with what they cost.

        A cost is spread over the trades of its period by their value. Where all costs are of trades, without interest,
        dividends and splits, the value of the portfolio is `wealth` to rounding; where orders are filled at a close,
        less what the trades of that close cost, which `wealth` counts in the period that they begin.

        vectorbt has no borrow fees, no interest and no dividends: these are left out, and its value differs by them.
        It does not lend: a book whose purchases cost more than cash and short proceeds pay is refused. It has no
        splits and no spin-offs: refused too. A delisting is a sale for what it paid.

        Args:
            name: of the book; None where there is one.
            charged: names of the costs that are paid at trades; None takes trading_cost, and trading_cost_2, ...

        Raises:
            SettingsError: vectorbt is not installed; no such book or cost.
            SimulationError: the book has what vectorbt cannot represent, or the panel has no prices.
        """
        return to_portfolio(self, name, charged=charged)

    def save(self, path: str | Path) -> None:
        """Write all but `times` to one file at `path`, which is there whole or, if cut off, as it was before.

        See `load`.
        """
        write_fields(Path(path), {name: getattr(self, name) for name in _saved()})

    @classmethod
    def load(cls, path: str | Path) -> SimulationResult:
        """Return what `save` wrote to `path`, every number with the same bits.

        Raises:
            DataError: the file is not there, damaged, cut short, of another kind or of another version.
        """
        return cls(**read_fields(Path(path), _saved()))


def _saved() -> tuple[str, ...]:
    return tuple(field.name for field in fields(SimulationResult) if field.name != NOT_SAVED)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean (B,) over the periods that are known."""
    return np.asarray(np.nansum(values, axis=1) / np.isfinite(values).sum(axis=1))
