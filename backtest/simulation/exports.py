"""A result in the hands of other programs: tables in files, and a vectorbt portfolio."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from backtest.errors import SettingsError, SimulationError
from backtest.market.whole_file import whole_file

if TYPE_CHECKING:
    from backtest.simulation.result import SimulationResult

__all__ = ["Orders", "orders_of", "to_portfolio", "write_tables"]


def write_tables(result: SimulationResult, folder: str | Path, kind: Literal["parquet", "csv"]) -> None:
    """Write paths, positions, trades and events to a folder, each file whole or not at all."""
    write = {"parquet": _write_parquet, "csv": _write_csv}[kind]
    tables: dict[str, Iterable[pd.DataFrame]] = {
        "paths": (table.reset_index() for table in (_book(result, i).to_frame() for i in range(len(result.names)))),
        "positions": (_positions(_book(result, i)) for i in range(len(result.names))),
        "trades": (_book(result, i).trades for i in range(len(result.names))),
        "events": [result.events],
    }
    for name, parts in tables.items():
        with whole_file(Path(folder) / f"{name}.{kind}") as file:
            write(file, parts)


def _book(result: SimulationResult, book: int) -> SimulationResult:
    return result.books(slice(book, book + 1))


def _positions(result: SimulationResult) -> pd.DataFrame:
    """Return the positions that are not nil of a result of one book, a row each."""
    weights = result.positions[0]
    period, column = np.nonzero((weights != 0) & np.isfinite(weights))
    weight = weights[period, column]
    table = {
        "name": pd.Index(result.names).take(np.zeros(len(period), dtype=int)),
        "date": result.trade_dates.take(period),
        "asset": result.assets.take(column),
    }
    if result.counts_shares:
        table |= {"shares": result.shares[0][period, column], "price": result.fill_prices[period, column]}
    return pd.DataFrame(table | {"value": weight * result.fill_wealth[0, period], "weight": weight})


def _write_parquet(file: IO[bytes], parts: Iterable[pd.DataFrame]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for part in parts:
        table = pa.Table.from_pandas(part, schema=_schema(part), preserve_index=False)
        if writer is None:
            writer = pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _schema(frame: pd.DataFrame) -> Any:
    """Return the types of a table's columns, which an empty column does not tell."""
    import pyarrow as pa

    types = {"date": pa.timestamp("ns"), **dict.fromkeys(("name", "asset", "kind", "detail"), pa.string())}
    return pa.schema([(column, types.get(column, pa.float64())) for column in frame.columns])


def _write_csv(file: IO[bytes], parts: Iterable[pd.DataFrame]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    for place, part in enumerate(parts):
        part.to_csv(text, index=False, header=place == 0)
    text.flush()
    # The caller closes the file.
    text.detach()


@dataclass(frozen=True, eq=False)
class Orders:
    """The filled trades of one book as a table of orders; M rows, at most one order a row and name.

    Attributes:
        close: (M, N) price at which each row ends.
        size: (M, N) shares bought, negative when sold; NaN is no order. A delisting is a sale, where orders are filled
            in the next row a row late, and never after the last row.
        price: (M, N) of each order.
        fees: (M, N) currency that each order costs.
        cash: at the start, currency.
    """

    close: pd.DataFrame
    size: pd.DataFrame
    price: pd.DataFrame
    fees: pd.DataFrame
    cash: float


def orders_of(result: SimulationResult, name: str | None = None, *, charged: Sequence[str] | None = None) -> Orders:
    """Return the orders of one book; arguments and errors as those of `SimulationResult.to_vectorbt`."""
    book = result.book(name)
    if not result.counts_shares:
        raise SimulationError("orders are of shares, and the panel has only returns: use MarketPanel.from_prices")
    delistings = _delistings(result, book)
    # A ruined book ends with the period that ruined it.
    n_periods = int(np.isfinite(result.net[book]).sum())
    late = result.before_fill is not None
    dates = result.fill_dates[:1].append(result.dates[:n_periods])
    at_fill = result.fill_prices[:n_periods]
    at_end = at_fill * (1.0 + result.returns_from_fill[:n_periods])
    close = np.vstack([at_fill[:1], at_end] if late else [at_fill, at_end[-1:]])
    alone = _book(result, book)
    traded, after = alone.shares_traded[0, :n_periods], alone.shares[0, :n_periods]

    size, price, fees = np.full(close.shape, np.nan), close.copy(), np.zeros(close.shape)
    first = 1 if late else 0
    rows = slice(first, first + n_periods)
    size[rows] = np.where(traded != 0, traded, np.nan)
    price[rows] = at_fill
    fees[rows] = _fees(result, book, n_periods, charged)
    if late:
        _lay_late(result, book, size, price, close)
    else:
        # What is held at the start is bought there, for nothing.
        size[0] = np.where(after[0] != traded[0], after[0], size[0])
    for period, column in delistings:
        row = period + 1 + first
        if period >= n_periods or after[period, column] == 0:
            continue
        # vectorbt takes no price of 0.
        left = max(at_end[period, column], np.finfo(float).tiny)
        close[period + 1, column] = left
        if row <= n_periods:
            size[row, column], price[row, column] = -after[period, column], left
    close = pd.DataFrame(np.where(close > 0, close, np.nan)).bfill().ffill().fillna(1.0).to_numpy()
    price = np.where(np.isfinite(size), price, close)

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=dates, columns=result.assets)

    return Orders(table(close), table(size), table(price), table(fees), cash=float(result.wealth[book, 0]))


def _delistings(result: SimulationResult, book: int) -> list[tuple[int, int]]:
    """Return period and column of the delistings of one book; refuse what an order table cannot hold."""
    events = result.events[result.events["name"] == result.names[book]]
    for _, event in events[events["kind"].isin(["split", "spin-off"])].iterrows():
        raise SimulationError(
            f"{event['name']}: {event['date']:%Y-%m-%d}: {event['asset']} had a {event['kind']}, and an order table "
            "has none: simulate with adjusted prices"
        )
    events = events[events["kind"] == "delisted"]
    periods, columns = (
        labels.get_indexer(pd.Index(events[column]))
        for labels, column in ((result.dates, "date"), (result.assets, "asset"))
    )
    return list(zip(periods.tolist(), columns.tolist(), strict=True))


def _lay_late(result: SimulationResult, book: int, size: np.ndarray, price: np.ndarray, close: np.ndarray) -> None:
    """Lay out what orders filled in the next row need besides: what is held at the start, and what a ruin sells."""
    assert result.before_fill is not None
    alone = _book(result, book)
    started = alone.shares[0, 0] - alone.shares_traded[0, 0]
    gained = result.before_fill[book, 0] * result.wealth[book, 0]
    gone = np.flatnonzero((started == 0) & (gained != 0))
    if len(gone):
        raise SimulationError(
            f"{result.names[book]}: {result.dates[0]:%Y-%m-%d}: the book was ruined before its first fill, and no "
            f"order says how many shares of {result.assets[gone[0]]} it had: start without them"
        )
    # The close before the first fill is known of what is held there, from what it gained on the way.
    there = started != 0
    close[0, there] = price[0, there] = result.fill_prices[0, there] - gained[there] / started[there]
    size[0, there] = started[there]
    last = len(size) - 2
    if result.fill_wealth[book, last] <= 0:
        # All was lost before this fill, and all is sold at its prices.
        sold = alone.shares[0, last - 1]
        size[last + 1] = np.where(sold != 0, -sold, np.nan)


def _fees(result: SimulationResult, book: int, n_periods: int, charged: Sequence[str] | None) -> np.ndarray:
    """Return what each trade pays (n_periods, N), currency: the costs of its period by the value of the trades."""
    if charged is None:
        charged = [cost for cost in result.costs if cost.startswith("trading_cost")]
    unknown = [cost for cost in charged if cost not in result.costs]
    if unknown:
        raise SettingsError(f"no cost {unknown[0]!r} was charged: charged= takes some of {list(result.costs)}")
    paid = sum((result.costs[cost][book, :n_periods] for cost in charged), np.zeros(n_periods))
    weight = np.abs(result.positions[book, :n_periods] - result.held[book, :n_periods])
    total = weight.sum(axis=1)
    a_unit = np.divide(paid * result.wealth[book, :n_periods], total, out=np.zeros_like(total), where=total > 0)
    return weight * a_unit[:, None]


def to_portfolio(result: SimulationResult, name: str | None = None, *, charged: Sequence[str] | None = None) -> Any:
    """Return a `vectorbt.Portfolio`; see `SimulationResult.to_vectorbt`."""
    orders = orders_of(result, name, charged=charged)
    try:
        vectorbt: Any = import_module("vectorbt")
    except ImportError as error:
        raise SettingsError(
            f"to_vectorbt needs vectorbt, which cannot be imported ({error}): pip install 'aligned-backtest[peers]'"
        ) from error
    try:
        return vectorbt.Portfolio.from_orders(
            orders.close,
            size=orders.size,
            price=orders.price,
            size_type="amount",
            direction="both",
            fixed_fees=orders.fees,
            init_cash=orders.cash,
            cash_sharing=True,
            group_by=True,
            # Sales first, since they pay for purchases; and nothing is cut in silence.
            call_seq="auto",
            allow_partial=False,
            raise_reject=True,
        )
    except vectorbt.portfolio.enums.RejectedOrderError as error:
        raise SimulationError(
            f"{result.names[result.book(name)]}: vectorbt refuses an order ({error}): it does not lend, and the book "
            "buys for more than its cash and short proceeds; simulate with Execution(borrow_cash=False)"
        ) from error
