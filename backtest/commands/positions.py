"""`backtest positions`: today's orders of a recorded run, and why each is no larger."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.commands.shared import DATA, OUTPUT, PORTFOLIO, errors_as_messages, option

if TYPE_CHECKING:
    from backtest.daily import Day

__all__ = ["positions"]


def positions(
    config: Annotated[Path, option(DATA, "Folder of a run of compare or run, or its config.json.")],
    wealth: Annotated[float, option(PORTFOLIO, "Value of positions and cash, in currency.")],
    prices: Annotated[Path | None, option(DATA, "Prices up to today, CSV or Parquet. Default the run's own.")] = None,
    holdings: Annotated[
        Path | None, option(PORTFOLIO, "CSV with the columns symbol and shares. Default nothing is held.")
    ] = None,
    objective: Annotated[
        str | None, option(PORTFOLIO, "Model of a comparison, or strategy by its file's stem. Default aligned.")
    ] = None,
    book: Annotated[int, option(PORTFOLIO, "Which seed, or ensemble of seeds, from 0. Default 0.")] = 0,
    fractions: Annotated[bool, option(PORTFOLIO, "Fractions of shares instead of whole ones.", "--fractions")] = False,
    out: Annotated[
        Path | None, option(OUTPUT, "CSV of the orders; a page beside it explains each. Default orders-DATE.csv.")
    ] = None,
    as_json: Annotated[bool, option(OUTPUT, "Print the orders as one JSON document.", "--json")] = False,
) -> None:
    """Write today's orders of a recorded run: shares to trade, expected costs, limits checked, and why not more.

    The forecast is made as the backtest made it, lag periods before the last date of the prices: a model is trained
    on the window that a backtest of that date has. Orders are for the close of the last date.
    """
    with errors_as_messages():
        import pandas as pd

        from backtest.daily import day_of_run, read_holdings
        from backtest.report.orders_page import write_orders

        held = pd.Series(dtype=float) if holdings is None else read_holdings(holdings)
        day = day_of_run(
            config,
            holdings=held,
            wealth=wealth,
            prices=prices,
            objective=objective,
            book=book,
            whole_shares=not fractions,
        )
        file = out or Path(f"orders-{day.orders.date:%Y-%m-%d}.csv")
        page = write_orders(day, file)
        if as_json:
            json.dump(_document(day), sys.stdout, allow_nan=False)
            sys.stdout.write("\n")
            return
        _tell(day)
        typer.echo(f"Orders: {file}, explained: {page}")


def _tell(day: Day) -> None:
    from rich.console import Console
    from rich.table import Table

    orders, why = day.orders, day.reasons.table
    console = Console()
    console.print(f"{day.source}; forecast of {day.forecast_date:%Y-%m-%d}")
    console.print(f"Orders at the close of {orders.date:%Y-%m-%d}:")
    table = Table(box=None, pad_edge=False)
    for title in ("symbol", "shares", "value", "weight after, %", "forecast, bp", "why not more"):
        table.add_column(title, justify="left" if title in ("symbol", "why not more") else "right")
    listed = orders.table()
    for order, reason in zip(listed.to_dict(orient="records"), why["why"], strict=True):
        sign = 1 if order["side"] == "buy" else -1
        table.add_row(
            order["symbol"],
            f"{sign * order['shares']:+,.6g}",
            f"{order['value']:+,.0f}",
            f"{100 * order['weight_after']:.2f}",
            f"{1e4 * order['forecast']:+.2f}",
            reason,
        )
    console.print(table)
    costs = ", ".join(f"{name.replace('_', ' ')} {cost.sum():,.2f}" for name, cost in orders.costs.items())
    console.print(f"{len(listed)} orders, {listed['value'].abs().sum():,.0f} traded; expected costs: {costs or 'none'}")
    if orders.broken:
        broken = ", ".join(f"{name} by {excess:.3g}" for name, excess in orders.broken.items())
        console.print(f"Broken after the trades: {broken}")
    else:
        console.print("All limits hold after the trades.")
    for event in orders.events.to_dict(orient="records"):
        console.print(f"{event['asset'] or 'book'}: {event['kind']}: {event['detail']}")


def _document(day: Day) -> dict[str, object]:
    from backtest.analysis.comparison import plain

    orders = day.orders
    return plain(
        {
            "date": f"{orders.date:%Y-%m-%d}",
            "forecast_date": f"{day.forecast_date:%Y-%m-%d}",
            "source": day.source,
            "wealth": orders.wealth,
            "orders": orders.table().to_dict(orient="records"),
            "reasons": day.reasons.table.to_dict(orient="records"),
            "expected_costs": {name: float(cost.sum()) for name, cost in orders.costs.items()},
            "broken": dict(orders.broken),
            "events": orders.events.astype({"date": str}).to_dict(orient="records"),
        }
    )
