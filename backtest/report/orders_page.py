"""One page of a day's orders: what to trade, what it should cost, which limits hold, and why no more of each."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Protocol

import pandas as pd

from backtest.analysis.trade_reasons import TradeReasons
from backtest.report.frame import framed, part
from backtest.report.tables import cell, labelled_table, number
from backtest.simulation import DayOrders
from backtest.whole_files import write_text

__all__ = ["orders_html", "write_orders"]


class ExplainedDay(Protocol):
    """What the page shows; `backtest.daily.Day` is one."""

    @property
    def orders(self) -> DayOrders: ...
    @property
    def reasons(self) -> TradeReasons: ...
    @property
    def untraded(self) -> TradeReasons: ...
    @property
    def source(self) -> str: ...
    @property
    def forecast_date(self) -> pd.Timestamp: ...


def write_orders(day: ExplainedDay, path: str | Path) -> Path:
    """Write the orders as CSV, and the page beside it with the same name; return the page's path.

    Each file is there whole or as it was before.
    """
    path = Path(path)
    write_text(path, day.orders.table().to_csv(index=False))
    page = path.with_suffix(".html")
    write_text(page, orders_html(day))
    return page


def orders_html(day: ExplainedDay) -> str:
    """Return the whole page as text."""
    orders = day.orders
    listed = orders.table()
    title = f"{len(listed)} orders for the close of {orders.date:%Y-%m-%d}"
    traded = float(listed["value"].abs().sum())
    costs = [f"{name.replace('_', ' ')} {cost.sum():,.2f}" for name, cost in orders.costs.items()]
    lines = [
        f"{day.source}. Forecast made at the close of {day.forecast_date:%Y-%m-%d}.",
        f"Wealth {orders.wealth:,.0f}; {traded:,.0f} traded, {100 * traded / orders.wealth:.1f}% of it. Leverage "
        f"{abs(orders.held).sum():.2f} before, {abs(orders.q).sum():.2f} after; net {number(orders.q.sum(), 3)}.",
        f"Expected costs, of the trades and of one period: {', '.join(costs) or 'none'}.",
    ]
    broken = [f"{name} by {excess:.3g}" for name, excess in orders.broken.items()]
    limits = (
        f'<p class="note">Not kept after the trades: {escape(", ".join(broken))}.</p>'
        if broken
        else '<p class="sample">All limits hold after the trades.</p>'
    )
    events = "".join(
        f'<p class="note">{escape(row["asset"] or "book")}: {escape(row["kind"])}: {escape(row["detail"])}</p>'
        for row in orders.events.to_dict(orient="records")
    )
    body = f"""<header>
<h1>{escape(title)}</h1>
{"".join(f'<p class="verdict">{escape(line)}</p>' for line in lines)}
{limits}
{events}
</header>
<div class="grid">
{_section("Orders", "shares, currency, and weights in % of wealth", _orders_table(listed))}
{_section("Why no more of each", _UNITS, _reasons_table("reasons", day.reasons.table))}
{_section("Not traded", _UNTRADED, _reasons_table("not-traded", day.untraded.table))}
</div>"""
    return framed(title, body, scripts=f"<script>{part('tables.js')}</script>", images="data: blob:")


_UNITS = (
    "basis points a period that one unit of weight more would earn, and what each cost would take of it; costs that "
    "are paid at the trade are spread over the holding period"
)
_UNTRADED = "the largest forecasts, and what is held, in the direction of the forecast"


def _section(title: str, unit: str, body: str) -> str:
    return (
        f'<section class="card wide"><h2>{escape(title)}</h2><p class="unit">{escape(unit)}</p>'
        f'<div class="scroll">{body}</div></section>'
    )


def _orders_table(listed: pd.DataFrame) -> str:
    if listed.empty:
        return "<p>Nothing to trade.</p>"
    costs = [name for name in listed.columns if name.startswith("expected_")]
    heads = ["side", "shares", "price", "value", "shares after", "weight before", "weight after"]
    heads += [name.replace("_", " ") for name in costs]
    rows = []
    for row in listed.to_dict(orient="records"):
        cells = [
            _words(row["side"]),
            _shares(row["shares"]),
            cell(row["price"], 2),
            cell(row["value"], 0, sign=True),
            _shares(row["shares_after"]),
            cell(100 * row["weight_before"], 2),
            cell(100 * row["weight_after"], 2),
            *(cell(row[name], 2) for name in costs),
        ]
        rows.append((str(row["symbol"]), cells))
    return labelled_table("orders", "symbol", heads, rows)


def _reasons_table(key: str, table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>None.</p>"
    numbers = [name for name in table.columns if name not in ("symbol", "direction", "why")]
    heads = ["direction", "why", *(name.replace("_", " ") for name in numbers)]
    rows = [
        (
            str(row["symbol"]),
            [_words(row["direction"]), _words(row["why"]), *(cell(row[name], 2) for name in numbers)],
        )
        for row in table.to_dict(orient="records")
    ]
    return labelled_table(key, "symbol", heads, rows, kind="reasons")


def _shares(value: float) -> str:
    return cell(value, 0 if float(value).is_integer() else 4)


def _words(text: object) -> str:
    return f"<td class=text>{escape(str(text))}</td>"
