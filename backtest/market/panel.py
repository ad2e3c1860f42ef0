"""MarketPanel: everything known about a market, dates by assets, checked once and never changed.

Row t is known at the close of `dates[t]`. `until` is the only way to slice in time, and it keeps row numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import pandas as pd

from backtest.errors import DataError, LabelError
from backtest.market.checks import checked_array, refuse_cells
from backtest.market.garbling import garbled_fields
from backtest.market.labels import check_increasing, parse_assets, parse_dates
from backtest.market.snapshot import MarketSnapshot
from backtest.market.tables import aligned_series, aligned_table, numeric_table

__all__ = ["MarketPanel"]

_TIMED = ("returns", "prices", "dollar_volume", "cash_rate", "features", "tradable")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MarketPanel:
    """T dates by N assets of market data; arrays are read-only float64 copies.

    Attributes:
        dates: (T,) strictly increasing, without time zone.
        assets: (N,) unique text labels.
        returns: (T, N) total return, as a fraction, of the period that ends at row t (close t-1 to close t).
            NaN = unknown. After missing prices, the return of the row where the price is back is the return
            since the last known price: what a holder earns who was marked at the last price meanwhile.
        prices: (T, N) positive, adjusted for dividends and splits; NaN = no price.
        dollar_volume: (T, N) currency traded in the period that ends at row t; NaN = unknown.
        cash_rate: (T,) fraction per period, known at t, earned over (t, t+1].
        features: (T, N, K) known at the close of t; NaN = not available.
        feature_names: K unique names.
        tradable: (T, N) bool: a price is known at the close of t. Left out, it is where `prices` (or, without
            prices, `returns`) is known.
        periods_per_year: 252 (daily), 52 (weekly), 12 (monthly) or any positive number.
        name: of the data, for messages and reports.

    Raises:
        LabelError: dates or assets are repeated, unordered, of the wrong kind, or carry a time zone.
        DataError: a shape is wrong, or a value is impossible (infinite, a return below -1, a price <= 0).
    """

    dates: pd.DatetimeIndex
    assets: pd.Index
    returns: np.ndarray
    prices: np.ndarray | None = None
    dollar_volume: np.ndarray | None = None
    cash_rate: np.ndarray | None = None
    features: np.ndarray | None = None
    feature_names: tuple[str, ...] = ()
    tradable: np.ndarray = None  # type: ignore[assignment]  # derived when left out
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
        shapes = {
            "returns": (rows, columns),
            "prices": (rows, columns),
            "dollar_volume": (rows, columns),
            "cash_rate": (rows,),
            "features": (rows, columns, len(self.feature_names)),
        }
        labels = (self.dates, self.assets, self.feature_names)
        for field, shape in shapes.items():
            values = getattr(self, field)
            if values is not None:
                put(self, field, checked_array(field, values, shape, where=self.name, labels=labels))
        self._check_features()
        put(self, "tradable", self._checked_tradable())

    def _check_features(self) -> None:
        names = self.feature_names
        if self.features is None and names:
            raise DataError(f"{self.name}: feature_names {names} without features: pass both or neither")
        if any(not isinstance(n, str) or not n for n in names) or len(set(names)) != len(names):
            raise LabelError(f"{self.name}: feature_names {names} must be unique, non-empty text")

    def _checked_tradable(self) -> np.ndarray:
        known = np.isfinite(self.returns if self.prices is None else self.prices)
        tradable = known if self.tradable is None else np.array(self.tradable)
        if tradable.dtype != bool or tradable.shape != known.shape:
            raise DataError(
                f"{self.name}: tradable is {tradable.dtype} of shape {tradable.shape}, "
                f"expected bool of shape {known.shape}"
            )
        if self.prices is not None:
            refuse_cells(
                tradable & ~known,
                self.prices,
                "is no price although tradable is True there: mark it False",
                where=f"{self.name}: prices",
                labels=(self.dates, self.assets),
            )
        tradable.setflags(write=False)
        return tradable

    @classmethod
    def from_prices(
        cls,
        prices: pd.DataFrame,
        *,
        dollar_volume: pd.DataFrame | None = None,
        cash_rate: pd.Series | np.ndarray | float | None = None,
        periods_per_year: float,
        name: str = "panel",
    ) -> Self:
        """Build a panel from prices adjusted for dividends and splits.

        Row 0 has no return. A missing price makes the name untradable and its return NaN at that row; when
        the price is back, its return is the one since the last known price.

        Args:
            prices: (T, N) dates by assets, positive, NaN = no price.
            dollar_volume: (T, N) currency per period, the same labels in any order.
            cash_rate: (T,) labelled or in order, or one number; fraction per period.
            periods_per_year: 252, 52 or 12.
            name: for messages and reports.

        Raises:
            LabelError: labels are missing, extra, repeated, unordered or of the wrong kind.
            DataError: a cell is not a number, or a price is not positive.
        """
        dates, assets, values = numeric_table(prices, f"{name}: prices")
        check_increasing(dates, f"{name}: prices: row labels")
        values = checked_array("prices", values, values.shape, where=name, labels=(dates, assets))
        return cls(
            dates=dates,
            assets=assets,
            returns=_returns_of(values),
            prices=values,
            dollar_volume=None
            if dollar_volume is None
            else aligned_table(dollar_volume, dates, assets, f"{name}: dollar_volume"),
            cash_rate=None if cash_rate is None else aligned_series(cash_rate, dates, f"{name}: cash_rate"),
            periods_per_year=periods_per_year,
            name=name,
        )

    @classmethod
    def from_returns(
        cls,
        returns: pd.DataFrame,
        *,
        dollar_volume: pd.DataFrame | None = None,
        cash_rate: pd.Series | np.ndarray | float | None = None,
        periods_per_year: float,
        name: str = "panel",
    ) -> Self:
        """Build a panel without prices from total returns per period (fractions).

        A name is tradable at the close of t where its return at t is known. Arguments and errors otherwise as
        for `from_prices`.
        """
        dates, assets, values = numeric_table(returns, f"{name}: returns")
        return cls(
            dates=dates,
            assets=assets,
            returns=values,
            dollar_volume=None
            if dollar_volume is None
            else aligned_table(dollar_volume, dates, assets, f"{name}: dollar_volume"),
            cash_rate=None if cash_rate is None else aligned_series(cash_rate, dates, f"{name}: cash_rate"),
            periods_per_year=periods_per_year,
            name=name,
        )

    def __repr__(self) -> str:
        known = [f for f in ("prices", "dollar_volume", "cash_rate") if getattr(self, f) is not None]
        return (
            f"MarketPanel({self.name!r}, {self.n_periods} periods {self.dates[0]:%Y-%m-%d} to "
            f"{self.dates[-1]:%Y-%m-%d}, {self.n_assets} assets, {self.n_features} features, "
            f"{self.periods_per_year:g} a year, with {', '.join(['returns', *known])})"
        )

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
        digest = hashlib.sha256()
        for labels in (self.assets, self.feature_names):
            digest.update(repr(list(labels)).encode())
        digest.update(np.ascontiguousarray(self.dates.asi8).tobytes())
        digest.update(repr(self.periods_per_year).encode())
        for field in _TIMED:
            values = getattr(self, field)
            digest.update(f"{field}:{None if values is None else values.shape}".encode())
            if values is not None:
                # NaN has many bit patterns; all are one value here
                plain = values if values.dtype == bool else np.where(np.isnan(values), np.nan, values)
                digest.update(np.ascontiguousarray(plain).tobytes())
        return digest.hexdigest()

    def row(self, date: str | pd.Timestamp) -> int:
        """Row number of a date of the panel.

        Raises:
            LabelError: the panel has no such date; names its neighbours.
        """
        stamp = self._stamp(date)
        row = int(self.dates.searchsorted(stamp))
        if row < self.n_periods and self.dates[row] == stamp:
            return row
        near = [f"{d:%Y-%m-%d}" for d in self.dates[max(row - 1, 0) : row + 1]]
        raise LabelError(f"{self.name}: no row is dated {stamp}: the nearest are {' and '.join(near)}")

    def until(self, t: int | str | pd.Timestamp) -> Self:
        """Cut the panel after row t: rows 0..t, with their numbers.

        Args:
            t: a row number (not negative), or a date: the last row at or before it.

        Returns:
            A panel whose arrays are views of the first rows, so cutting at every step costs nothing.

        Raises:
            LabelError: the row is outside the panel, or the date is before its first.
        """
        last = self._row_until(t)
        if last == self.n_periods - 1:
            return self
        return self._unchecked(
            dates=self.dates[: last + 1],
            **{f: None if getattr(self, f) is None else getattr(self, f)[: last + 1] for f in _TIMED},
        )

    def with_features(self, features: np.ndarray, names: Sequence[str]) -> Self:
        """Replace the features by (T, N, K) values with K names.

        Raises:
            DataError: the shape is wrong or a value is infinite.
            LabelError: the names are not unique text.
        """
        return replace(self, features=features, feature_names=tuple(names))

    def select(self, assets: Iterable[str]) -> Self:
        """Keep the named assets, in the order given.

        Raises:
            LabelError: a label is unknown or there twice.
        """
        wanted = parse_assets([assets] if isinstance(assets, str) else assets, f"{self.name}: select")
        unknown = wanted.difference(self.assets)
        if len(unknown):
            raise LabelError(f"{self.name}: select: no assets {', '.join(unknown)}: choose among {self._some()}")
        columns = self.assets.get_indexer(wanted)
        by_asset = [f for f in _TIMED if f != "cash_rate" and getattr(self, f) is not None]
        return replace(self, assets=wanted, **{f: getattr(self, f)[:, columns] for f in by_asset})

    def at(self, rows: int | Sequence[int] | np.ndarray, *, wealth: float | np.ndarray | None = None) -> MarketSnapshot:
        """What costs see at the given rows.

        Args:
            rows: one row number, or (B,) of them, in any order.
            wealth: currency to invest, one number or one for each problem; for costs that grow with it.

        Raises:
            LabelError: a row number is outside 0..T-1.
        """
        index = np.atleast_1d(np.asarray(rows))
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise LabelError(f"{self.name}: at: expected row numbers, one or (B,), got {index.dtype} {index.shape}")
        outside = index[(index < 0) | (index >= self.n_periods)]
        if len(outside):
            raise LabelError(f"{self.name}: at: row {outside[0]} is outside 0..{self.n_periods - 1}")
        return MarketSnapshot(
            assets=self.assets,
            rows=index.copy(),
            dates=self.dates[index],
            dollar_volume=None if self.dollar_volume is None else self.dollar_volume[index],
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

        Returns, prices, volume, cash rate and features of rows t+1.. are drawn anew (valid, large moves);
        labels, `tradable` and where returns are missing stay. Rows 0..t keep their bits.

        Args:
            t: the last row that keeps its values (row number, or date as in `until`).
            seed: of the random values.
        """
        return replace(self, **cast(Any, garbled_fields(self, self._row_until(t) + 1, seed)))

    def _some(self) -> str:
        """The first labels, for messages."""
        return ", ".join(self.assets[:10]) + (", ..." if self.n_assets > 10 else "")

    def _stamp(self, date: Any) -> pd.Timestamp:
        return parse_dates([date], f"{self.name}: date")[0]

    def _row_until(self, t: int | str | pd.Timestamp) -> int:
        if isinstance(t, (int, np.integer)) and not isinstance(t, bool):
            if not 0 <= t < self.n_periods:
                raise LabelError(f"{self.name}: row {t} is outside 0..{self.n_periods - 1}")
            return int(t)
        stamp = self._stamp(t)
        row = int(self.dates.searchsorted(stamp, side="right")) - 1
        if row < 0:
            raise LabelError(f"{self.name}: {stamp} is before the first row, {self.dates[0]:%Y-%m-%d}")
        return row

    def _unchecked(self, **changes: Any) -> Self:
        """A copy with some fields changed to parts of checked ones, which need no second check."""
        panel = object.__new__(type(self))
        for field in fields(self):
            object.__setattr__(panel, field.name, changes.get(field.name, getattr(self, field.name)))
        return panel


def _returns_of(prices: np.ndarray) -> np.ndarray:
    """Returns (T, N) between known prices: NaN where the price is missing or is the first."""
    marked = pd.DataFrame(prices).ffill().to_numpy()
    returns = np.full(prices.shape, np.nan)
    returns[1:] = prices[1:] / marked[:-1] - 1
    return returns
