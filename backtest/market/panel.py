"""MarketPanel: everything known about a market, dates by assets, checked once and never changed.

Row t is known at the close of `dates[t]`. `until` is the only way to slice in time, and it keeps row numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from html import escape
from typing import Any, Self, cast

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.action_checks import checked_tradable, refuse_impossible_actions
from backtest.market.building import fields_from_prices, fields_from_returns
from backtest.market.calendar_days import calendar_days
from backtest.market.checks import checked_array, checked_flags
from backtest.market.corporate_actions import Delisting, PlacedActions, SpinOff, ordered_actions, placed_actions
from backtest.market.digest import data_digest
from backtest.market.garbling import garbled_fields
from backtest.market.labels import check_increasing, parse_assets, parse_dates, row_of, row_until
from backtest.market.snapshot import MarketSnapshot
from backtest.market.total_returns import refuse_other_returns

__all__ = ["MarketPanel"]

# numbers by date and asset that a panel can have beside its returns
_TABLES = ("prices", "open_prices", "vwap", "dividends", "splits", "dollar_volume", "volatility")
# arrays with a row a date; all but the cash rate have a column an asset
_TIMED = ("returns", *_TABLES, "members", "cash_rate", "features", "tradable")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MarketPanel:
    """T dates by N assets of market data; arrays are read-only float64 copies.

    Attributes:
        dates: (T,) strictly increasing, without time zone.
        assets: (N,) unique text labels.
        returns: (T, N) total return, as a fraction, of the period that ends at row t (close t-1 to close t).
            NaN = unknown. After missing prices, the return of the row where the price is back is the return
            since the last known price: what a holder earns who was marked at the last price meanwhile.
            It counts dividends, splits, spin-offs and delistings (the formula: `backtest.market.total_returns`).
        prices: (T, N) positive, at the close; NaN = no price. Raw, as traded, where `dividends` or `splits` are
            given; adjusted for both otherwise. Known returns must be the total returns of the prices, to 1e-6.
        open_prices: (T, N) at the open of the period that ends at row t, between close t-1 and close t, in the units
            of `prices`; NaN = none.
        vwap: (T, N) volume-weighted average price of that period, in the units of `prices`; NaN = none.
        dividends: (T, N) currency a share that goes ex in that period, a share as counted after its split; 0 = none.
        splits: (T, N) shares after for each share before, effective at the open of that period; 1 = none.
        dollar_volume: (T, N) currency traded in the period that ends at row t; NaN = unknown.
        volatility: (T, N) realized volatility of that period, return per period; NaN = unknown.
        members: (T, N) bool, in the universe as known at the close of t; None = always. A name that is no member
            can have prices and be held.
        cash_rate: (T,) fraction per period, known at t, earned over (t, t+1].
        features: (T, N, K) known at the close of t; NaN = not available.
        feature_names: K unique names.
        tradable: (T, N) bool: a price is known at the close of t. Left out, it is where `prices` (or, without
            prices, `returns`) is known, up to the row before a delisting.
        delistings: names that leave, each at the close of a row; nothing is known of them after it. Without
            prices, the return of that row must be known, with delisting_return counted in. In order of time.
        spin_offs: shares given to holders at the open of a row. In order of time.
        periods_per_year: 252 (daily), 52 (weekly), 12 (monthly) or any positive number.
        name: of the data, for messages and reports.

    Raises:
        LabelError: dates or assets are repeated, unordered, of the wrong kind, or carry a time zone.
        DataError: a shape is wrong, a value is impossible (infinite, a return below -1, a price <= 0), or fields
            contradict each other (a return that is not that of the prices, a price after a delisting).
    """

    dates: pd.DatetimeIndex
    assets: pd.Index
    returns: np.ndarray
    prices: np.ndarray | None = None
    open_prices: np.ndarray | None = None
    vwap: np.ndarray | None = None
    dividends: np.ndarray | None = None
    splits: np.ndarray | None = None
    dollar_volume: np.ndarray | None = None
    volatility: np.ndarray | None = None
    members: np.ndarray | None = None
    cash_rate: np.ndarray | None = None
    features: np.ndarray | None = None
    feature_names: tuple[str, ...] = ()
    tradable: np.ndarray = None  # type: ignore[assignment]  # derived when left out
    delistings: tuple[Delisting, ...] = ()
    spin_offs: tuple[SpinOff, ...] = ()
    periods_per_year: float
    name: str = "panel"

    def __post_init__(self) -> None:
        put = object.__setattr__  # the documented way to normalise fields of a frozen dataclass
        put(self, "dates", parse_dates(self.dates, f"{self.name}: dates"))
        check_increasing(self.dates, f"{self.name}: dates")
        put(self, "assets", parse_assets(self.assets, f"{self.name}: assets"))
        put(self, "feature_names", tuple(self.feature_names))
        put(self, "periods_per_year", float(self.periods_per_year))
        if not (np.isfinite(self.periods_per_year) and self.periods_per_year > 0):
            raise DataError(f"{self.name}: periods_per_year is {self.periods_per_year}: give 252, 52 or 12")
        rows, columns = len(self.dates), len(self.assets)
        if not (rows and columns):
            raise DataError(f"{self.name}: {rows} dates and {columns} assets: a panel needs one of each at least")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("returns", *_TABLES), (rows, columns))
        shapes |= {"cash_rate": (rows,), "features": (rows, columns, len(self.feature_names))}
        labels = (self.dates, self.assets, self.feature_names)
        for field, shape in shapes.items():
            values = getattr(self, field)
            if values is not None:
                put(self, field, checked_array(field, values, shape, where=self.name, labels=labels))
        self._check_features()
        if self.members is not None:
            put(self, "members", checked_flags("members", self.members, (rows, columns), where=self.name))
        delistings, spin_offs = ordered_actions(self.delistings, self.spin_offs, self.name)
        put(self, "delistings", delistings)
        put(self, "spin_offs", spin_offs)
        actions = self._placed_actions()
        put(self, "tradable", checked_tradable(self, actions))
        refuse_impossible_actions(self, actions)
        if self.prices is not None:
            refuse_other_returns(
                self.returns,
                self.prices,
                dividends=self.dividends,
                splits=self.splits,
                actions=actions,
                where=self.name,
                labels=labels,
            )

    def _placed_actions(self) -> PlacedActions:
        return placed_actions(self.delistings, self.spin_offs, dates=self.dates, assets=self.assets, where=self.name)

    def _check_features(self) -> None:
        names = self.feature_names
        if self.features is None and names:
            raise DataError(f"{self.name}: feature_names {names} without features: pass both or neither")
        if any(not isinstance(n, str) or not n for n in names) or len(set(names)) != len(names):
            raise LabelError(f"{self.name}: feature_names {names} must be unique, non-empty text")

    @classmethod
    def from_prices(
        cls,
        prices: pd.DataFrame,
        *,
        open_prices: pd.DataFrame | None = None,
        vwap: pd.DataFrame | None = None,
        dividends: pd.DataFrame | None = None,
        splits: pd.DataFrame | None = None,
        dollar_volume: pd.DataFrame | None = None,
        volatility: pd.DataFrame | None = None,
        members: pd.DataFrame | None = None,
        cash_rate: pd.Series | np.ndarray | float | None = None,
        delistings: Iterable[Delisting] = (),
        spin_offs: Iterable[SpinOff] = (),
        periods_per_year: float,
        name: str = "panel",
    ) -> Self:
        """Build a panel from prices: adjusted ones alone, or raw ones with their dividends and splits.

        Row 0 has no return. A missing price makes the name untradable and its return NaN at that row; when
        the price is back, its return is the one since the last known price, with every dividend and split in
        between. At a delisting the return ends at the price of that row (or the last known one) times
        1 + delisting_return.

        Args:
            prices: (T, N) dates by assets, positive, NaN = no price. Raw when dividends or splits are given,
                else adjusted for both.
            open_prices: (T, N) at the open of the period that ends at each row; like all tables here, with the same
                labels in any order.
            vwap: (T, N) volume-weighted average price of the period.
            dividends: (T, N) currency a share, on the ex date; 0 or NaN = none.
            splits: (T, N) shares after for each share before, on the first date at the new price; 1 or NaN = none.
            dollar_volume: (T, N) currency per period.
            volatility: (T, N) realized volatility, return per period.
            members: (T, N) True and False, or 1 and 0: in the universe as known at the close.
            cash_rate: (T,) labelled or in order, or one number; fraction per period.
            delistings: names that leave.
            spin_offs: shares given to holders.
            periods_per_year: 252, 52 or 12.
            name: for messages and reports.

        Raises:
            LabelError: labels are missing, extra, repeated, unordered or of the wrong kind.
            DataError: a cell is not a number, or impossible, or fields contradict each other.
        """
        tables = {"open_prices": open_prices, "vwap": vwap, "dividends": dividends, "splits": splits}
        tables |= {"dollar_volume": dollar_volume, "volatility": volatility, "members": members}
        made = fields_from_prices(prices, {**tables, "cash_rate": cash_rate}, delistings, spin_offs, where=name)
        return cls(**made, periods_per_year=periods_per_year, name=name)

    @classmethod
    def from_returns(
        cls,
        returns: pd.DataFrame,
        *,
        dollar_volume: pd.DataFrame | None = None,
        volatility: pd.DataFrame | None = None,
        members: pd.DataFrame | None = None,
        cash_rate: pd.Series | np.ndarray | float | None = None,
        delistings: Iterable[Delisting] = (),
        periods_per_year: float,
        name: str = "panel",
    ) -> Self:
        """Build a panel without prices from total returns per period (fractions).

        A name is tradable at the close of t where its return at t is known. At a delisting the name first earns the
        return of that row (0 where it is NaN), then delisting_return.

        Args:
            returns: (T, N) dates by assets, total return of the period that ends at each row, a fraction; NaN =
                unknown.
            dollar_volume: (T, N) currency per period; like all tables here, with the same labels in any order.
            volatility: (T, N) realized volatility, return per period.
            members: (T, N) True and False, or 1 and 0: in the universe as known at the close.
            cash_rate: (T,) labelled or in order, or one number; fraction per period.
            delistings: names that leave.
            periods_per_year: 252, 52 or 12.
            name: for messages and reports.

        Raises:
            LabelError: labels are missing, extra, repeated, unordered or of the wrong kind.
            DataError: a cell is not a number, or impossible, or fields contradict each other.
        """
        tables = {"dollar_volume": dollar_volume, "volatility": volatility, "members": members}
        made = fields_from_returns(returns, {**tables, "cash_rate": cash_rate}, delistings, where=name)
        return cls(**made, periods_per_year=periods_per_year, name=name)

    def __repr__(self) -> str:
        known = [f for f in (*_TABLES, "members", "cash_rate") if getattr(self, f) is not None]
        known += [
            f"{len(events)} {kind}{'' if len(events) == 1 else 's'}"
            for kind, events in (("delisting", self.delistings), ("spin-off", self.spin_offs))
            if events
        ]
        return (
            f"MarketPanel({self.name!r}, {self.n_periods} periods {self.dates[0]:%Y-%m-%d} to "
            f"{self.dates[-1]:%Y-%m-%d}, {self.n_assets} assets, {self.n_features} features, "
            f"{self.periods_per_year:g} a year, with {', '.join(['returns', *known])})"
        )

    def _repr_html_(self) -> str:
        known = np.isfinite(self.returns)
        facts = {
            "periods": f"{self.n_periods:,}, {self.dates[0]:%Y-%m-%d} to {self.dates[-1]:%Y-%m-%d}",
            "periods a year": f"{self.periods_per_year:g}",
            "assets": f"{self.n_assets:,}",
            "returns known": f"{100 * known.mean():.1f}%",
            "features": f"{self.n_features:,}",
        }
        table = pd.DataFrame({"": facts}).to_html(header=False)
        return f"<p>MarketPanel {escape(str(self.name))}</p>{table}"

    @property
    def n_periods(self) -> int:
        """T, the number of dates."""
        return len(self.dates)

    @property
    def n_assets(self) -> int:
        """N, the number of assets."""
        return len(self.assets)

    @property
    def n_features(self) -> int:
        """K, the number of features; 0 without features."""
        return len(self.feature_names)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256, in hexadecimal, over labels and array bytes: equal for equal data, whatever its name."""
        return data_digest(self)

    @cached_property
    def days(self) -> np.ndarray:
        """Calendar days (T,) from each row's date to the next row's; at the last row, the usual gap.

        The usual gap is the median of those after the same day of the week: 3 days after the Friday on which
        a daily panel ends.
        """
        days = calendar_days(self.dates, self.periods_per_year)
        days.setflags(write=False)
        return days

    def row(self, date: str | pd.Timestamp) -> int:
        """Return the row number of a `date` of the panel, text or timestamp.

        Raises:
            LabelError: the panel has no such date; names its neighbours.
        """
        return row_of(date, self.dates, self.name)

    def until(self, t: int | str | pd.Timestamp) -> Self:
        """Cut the panel after row t: rows 0..t, with their numbers.

        Args:
            t: a row number (not negative), or a date: the last row at or before it.

        Returns:
            A panel whose arrays are views of the first rows, so cutting at every step costs nothing. Delistings
            and spin-offs dated later are not in it.

        Raises:
            LabelError: the row is outside the panel, or the date is before its first.
        """
        last = row_until(t, self.dates, self.name)
        if last == self.n_periods - 1:
            return self
        end = self.dates[last]
        return self._unchecked(
            dates=self.dates[: last + 1],
            delistings=tuple(d for d in self.delistings if d.date <= end),
            spin_offs=tuple(s for s in self.spin_offs if s.date <= end),
            **{f: None if getattr(self, f) is None else getattr(self, f)[: last + 1] for f in _TIMED},
        )

    def with_features(self, features: np.ndarray, names: Sequence[str]) -> Self:
        """Replace the features.

        Args:
            features: (T, N, K) known at the close of each row; NaN where not available.
            names: K of them, each once.

        Raises:
            DataError: the shape is wrong or a value is infinite.
            LabelError: the names are not unique text.
        """
        return replace(self, features=features, feature_names=tuple(names))

    def select(self, assets: Iterable[str]) -> Self:
        """Keep the named `assets`, in the order given, with their delistings and the spin-offs among them.

        Raises:
            LabelError: a label is unknown or there twice, or a parent is kept without a child that it spun off, whose
                value is part of the parent's return (a child can be kept alone).
        """
        wanted = parse_assets([assets] if isinstance(assets, str) else assets, f"{self.name}: select")
        unknown = wanted.difference(self.assets)
        if len(unknown):
            raise LabelError(f"{self.name}: select: no assets {', '.join(unknown)}: choose among {self._some()}")
        for spin_off in self.spin_offs:
            if spin_off.parent in wanted and spin_off.child not in wanted:
                raise LabelError(
                    f"{self.name}: select: {spin_off.parent!r} without {spin_off.child!r}, which it spun off on "
                    f"{spin_off.date:%Y-%m-%d} and whose shares its holders received: keep {spin_off.child!r} too"
                )
        columns = self.assets.get_indexer(wanted)
        by_asset = [f for f in _TIMED if f != "cash_rate" and getattr(self, f) is not None]
        return replace(
            self,
            assets=wanted,
            delistings=tuple(d for d in self.delistings if d.asset in wanted),
            spin_offs=tuple(s for s in self.spin_offs if s.parent in wanted),
            **{f: getattr(self, f)[:, columns] for f in by_asset},
        )

    def at(self, rows: int | Sequence[int] | np.ndarray, *, wealth: float | np.ndarray | None = None) -> MarketSnapshot:
        """What costs see at the given rows.

        Args:
            rows: one row number, or (B,) of them, in any order.
            wealth: currency to invest, one number, or (B,) with one for each row; for costs that grow with it.

        Raises:
            LabelError: a row number is outside 0..T-1.
        """
        if type(rows) is int and 0 <= rows < self.n_periods:
            # One row of a simulation after the other: views of read-only arrays, and no copy.
            index: Any = slice(rows, rows + 1)
            return self._snapshot(index, np.array([rows]), wealth)
        index = np.atleast_1d(np.asarray(rows))
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise LabelError(f"{self.name}: at: expected row numbers, one or (B,), got {index.dtype} {index.shape}")
        outside = index[(index < 0) | (index >= self.n_periods)]
        if len(outside):
            raise LabelError(f"{self.name}: at: row {outside[0]} is outside 0..{self.n_periods - 1}")
        return self._snapshot(index, index.copy(), wealth)

    def _snapshot(self, index: Any, rows: np.ndarray, wealth: float | np.ndarray | None) -> MarketSnapshot:
        return MarketSnapshot(
            assets=self.assets,
            rows=rows,
            calendar=self.dates,
            dollar_volume=None if self.dollar_volume is None else self.dollar_volume[index],
            volatility=None if self.volatility is None else self.volatility[index],
            days=self.days[index],
            features=None if self.features is None else self.features[index],
            feature_names=self.feature_names,
            periods_per_year=self.periods_per_year,
            wealth=None if wealth is None else np.array(wealth, dtype=float, ndmin=1),
        )

    def targets(self, lag: int = 1) -> np.ndarray:
        """Training targets: y[t] = returns[t + lag + 1], the first return earned by a forecast made at row t.

        Args:
            lag: rows between a forecast and its fill; 0 fills at the forecast's own close.

        Returns:
            (T, N), a new array; NaN in the last lag + 1 rows and where the return is unknown.

        Raises:
            DataError: the lag is negative or no whole number.
        """
        if isinstance(lag, bool) or not isinstance(lag, (int, np.integer)) or lag < 0:
            raise DataError(f"{self.name}: targets: lag is {lag!r}: give a whole number of rows, 0 or more")
        targets = np.full(self.returns.shape, np.nan)
        known = self.returns[lag + 1 :]
        targets[: len(known)] = known
        return targets

    def garbled_after(self, t: int | str | pd.Timestamp, seed: int = 0) -> Self:
        """The same panel with another future: random values in every row after t, for tests of look-ahead.

        Every value of rows t+1.. is drawn anew (valid, large moves), as are the returns of delistings and the
        ratios of spin-offs dated there; returns stay those of the prices. Labels, dates, `tradable` and where prices
        and returns are missing stay. Rows 0..t keep their bits.

        Args:
            t: the last row that keeps its values (row number, or date as in `until`).
            seed: of the random values.
        """
        return replace(self, **cast(Any, garbled_fields(self, row_until(t, self.dates, self.name) + 1, seed)))

    def _some(self) -> str:
        """The first labels, for messages."""
        return ", ".join(self.assets[:10]) + (", ..." if self.n_assets > 10 else "")

    def _unchecked(self, **changes: Any) -> Self:
        """A copy with some fields changed to parts of checked ones, which need no second check."""
        panel = object.__new__(type(self))
        for field in fields(self):
            object.__setattr__(panel, field.name, changes.get(field.name, getattr(self, field.name)))
        return panel
