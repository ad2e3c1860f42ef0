"""A ledger in plain Python: one book, one name after the other, none of the simulator's code.

It reads the panel's tables and the numbers of the settings, and follows the written rules alone. Amounts are currency,
never fractions of wealth, so that it shares no formula with the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from backtest.market import MarketPanel
from backtest.simulation import Execution, Financing, MissingPrices

__all__ = ["Path", "run_slowly"]


@dataclass
class Path:
    """What the book did: one entry a period, of amounts by name or of one amount; the first wealth is the initial.

    Attributes:
        wealth: at the end of each period.
        held, positions: currency by name, before and after the fill, at its marks.
        fill_wealth: just before the fill.
        costs: name -> currency.
        interest: currency.
        delisting: currency that delistings gave, or took, on the last marks.
        shares: by name, after the fill.
        ruined: wealth fell to 0 or below at the end of the last period.
        ruined_at_fill: it did so at a fill, of which nothing is told.
    """

    wealth: list[float]
    held: list[list[float]] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    fill_wealth: list[float] = field(default_factory=list)
    costs: list[dict[str, float]] = field(default_factory=list)
    interest: list[float] = field(default_factory=list)
    delisting: list[float] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)
    ruined: bool = False
    ruined_at_fill: bool = False


class Market:
    """What the tables say of one name in one row, NaN and absence told apart once."""

    def __init__(self, panel: MarketPanel, missing: MissingPrices | None) -> None:
        self.panel, self.priced = panel, panel.prices is not None
        self.rows, self.names = range(len(panel.dates)), range(len(panel.assets))
        # Last marks in shares of the day, and how the life of a name ends: row -> return on its last mark.
        self.mark = [[math.nan for _ in self.names] for _ in self.rows]
        self.end: list[dict[int, float]] = [{} for _ in self.names]
        column = {name: i for i, name in enumerate(panel.assets)}
        row_of = {date: row for row, date in enumerate(panel.dates)}
        declared = {column[d.asset]: (row_of[d.date], d.delisting_return) for d in panel.delistings}
        self.spin_offs = [(row_of[s.date], column[s.parent], column[s.child], s.ratio) for s in panel.spin_offs]
        got = {(row, child) for row, _, child, _ in self.spin_offs}
        for i in self.names:
            mark, gap, seen = (math.nan if self.priced else 1.0), 0, False
            for row in self.rows:
                quoted = float((panel.prices if self.priced else panel.returns)[row][i])
                if self.priced:
                    mark = mark / self.split(row, i)
                gap = 0 if not math.isnan(quoted) else gap + 1
                if not math.isnan(quoted):
                    seen = True
                    mark = quoted if self.priced else 1.0
                self.mark[row][i] = mark
                if i in declared and row >= declared[i][0]:
                    if row == declared[i][0]:
                        self.end[i][row] = declared[i][1]
                elif (
                    missing is not None and seen and (gap == missing.after or (gap > missing.after and (row, i) in got))
                ):
                    # What is received of a name that ended already ends at once.
                    self.end[i][row] = missing.delisting_return

    def split(self, row: int, i: int) -> float:
        """Return the shares after the open for each share before; without prices the growth of a unit of currency."""
        if not self.priced:
            earned = float(self.panel.returns[row][i])
            return 1.0 if math.isnan(earned) else 1.0 + earned
        return 1.0 if self.panel.splits is None else float(self.panel.splits[row][i])

    def dividend(self, row: int, i: int) -> float:
        """Return the currency for each share as counted after the split."""
        return 0.0 if self.panel.dividends is None else float(self.panel.dividends[row][i])

    def kept(self, row: int, i: int) -> float:
        """Return the part of its last mark that a name leaves when it ends in this row."""
        counted_in = not self.priced and not math.isnan(self.panel.returns[row][i])
        return 1.0 if counted_in else 1.0 + self.end[i][row]

    def fill_price(self, row: int, i: int, fill: str) -> float:
        """Return the price of a fill in this row; NaN is none."""
        table = {"close": self.mark, "open": self.panel.open_prices, "vwap": self.panel.vwap}[fill]
        return float(table[row][i])


class Liquidity:
    """Volatility and volume for impact: of the row where they are known and not 0, else what was expected."""

    def __init__(self, panel: MarketPanel, lookback: int) -> None:
        self.panel, self.lookback = panel, lookback

    def volume(self, row: int, i: int) -> float:
        """Return the currency traded in the row."""
        known = float(self.panel.dollar_volume[row][i])
        return known if known > 0 else self._expected(row, i, self._mean_volume, min)

    def volatility(self, row: int, i: int) -> float:
        """Return the volatility of the row, where the panel tells; else that of the returns up to it."""
        if self.panel.volatility is None:
            return self._expected(row, i, self._deviation, max)
        known = float(self.panel.volatility[row][i])
        return known if known > 0 else self._expected(row, i, self._root_mean_square, max)

    def _expected(self, row: int, i: int, estimate: Callable[[int, int], float], worst: Callable) -> float:
        own = estimate(row, i)
        while not own > 0:
            others = [e for j in range(len(self.panel.assets)) if (e := estimate(row, j)) > 0]
            own, row = (worst(others) if others else math.nan), row - 1
        return own

    def _window(self, table, row: int, i: int) -> list[float]:
        rows = range(max(0, row - self.lookback + 1), row + 1)
        values = [float(table[r][i]) for r in rows if not math.isnan(table[r][i])]
        return values if len(values) >= self.lookback // 2 else []

    def _mean_volume(self, row: int, i: int) -> float:
        values = self._window(self.panel.dollar_volume, row, i)
        return math.fsum(values) / len(values) if values else math.nan

    def _root_mean_square(self, row: int, i: int) -> float:
        values = self._window(self.panel.volatility, row, i)
        return math.sqrt(math.fsum(v * v for v in values) / len(values)) if values else math.nan

    def _deviation(self, row: int, i: int) -> float:
        values = self._window(self.panel.returns, row, i)
        if len(values) < 2:
            return math.nan
        mean = math.fsum(values) / len(values)
        return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def costs_of(rates, panel: MarketPanel) -> Callable[..., dict[str, float]]:
    """Return what is paid on one name: cost name -> currency. `row` is of the fill, `began` of its decision."""
    liquidity = Liquidity(panel, rates.lookback)

    def paid(i: int, bought: float, position: float, *, row: int, began: int, wealth: float) -> dict[str, float]:
        buy, sell = max(bought, 0.0), max(-bought, 0.0)
        trading = (
            rates.half_spread * (buy + sell)
            + rates.buy_fee * buy
            + rates.sell_fee * sell
            + rates.quadratic / 2 * bought * bought / wealth
        )
        if rates.impact and bought:
            traded = abs(bought) / liquidity.volume(row, i)
            trading += rates.impact * liquidity.volatility(row, i) * abs(bought) * traded ** (rates.exponent - 1)
        years = 1 / panel.periods_per_year
        if rates.day_count:
            years = float(panel.days[began]) / {"actual/365": 365, "actual/360": 360}[rates.day_count]
        return {
            "trading_cost": trading,
            "borrow_fee": rates.borrow * years * max(-position, 0.0),
            "long_fee": rates.long * years * max(position, 0.0),
            "holding_fee": rates.holding / 2 * abs(position),
            "holding_fee_2": rates.holding / 2 * abs(position),
        }

    return paid


class Book:
    """Shares and cash of one book."""

    def __init__(self, market: Market, cash: float) -> None:
        self.market, self.cash = market, cash
        self.shares = [0.0 for _ in market.names]

    def value(self, marks: list[float]) -> list[float]:
        """Return the currency in each name."""
        return [0.0 if n == 0 else n * mark for n, mark in zip(self.shares, marks, strict=True)]

    def open(self, row: int) -> None:
        """Let everything that happens at the open of a row happen: splits, dividends, spin-offs."""
        before = list(self.shares)
        for i in self.market.names:
            self.shares[i] = before[i] * self.market.split(row, i)
            if self.shares[i]:
                self.cash += self.shares[i] * self.market.dividend(row, i)
        # What is received takes no part in the other events of that open.
        after = list(self.shares)
        for when, parent, child, ratio in self.market.spin_offs:
            if when == row:
                self.shares[child] += after[parent] * ratio

    def close(self, row: int) -> float:
        """Pay out what ends at the close of a row; return the currency that this gave, on the last marks."""
        gained = 0.0
        for i in self.market.names:
            if row in self.market.end[i] and self.shares[i]:
                worth = self.shares[i] * self.market.mark[row][i]
                self.cash += worth * self.market.kept(row, i)
                lost = self.market.end[i][row]
                if self.market.priced or self.market.kept(row, i) != 1.0:
                    gained += worth * lost
                elif lost > -1:
                    # The return of the row had it counted in.
                    gained += worth / (1 + lost) * lost
                self.shares[i] = 0.0
        return gained


def run_slowly(
    panel: MarketPanel,
    forecasts: list[list[float]],
    rates,
    *,
    wealth: float,
    weights: list[float],
    lag: int,
    first_row: int,
    last_row: int,
    execution: Execution,
    financing: Financing,
    missing: MissingPrices | None,
    fails: float,
) -> Path:
    """Trade one book from the decision of `first_row` to the close of `last_row`.

    Args:
        panel: the market.
        forecasts: T rows of N weights that are wanted; NaN keeps what is held, `fails` or more in a row holds all.
        rates: of the costs, by the names of their attributes.
        wealth: currency at the start.
        weights: held at the start.
        lag: rows from the forecast to the fill.
        first_row, last_row: first decision, last close.
        execution, financing, missing: settings, of which the numbers are read.
        fails: see `forecasts`.
    """
    market, paid = Market(panel, missing), costs_of(rates, panel)
    names, wait = market.names, lag if execution.fill == "close" else lag - 1
    book = Book(market, wealth)
    for i in names:
        if weights[i]:
            book.shares[i] = weights[i] * wealth / market.mark[first_row][i]
            book.cash -= weights[i] * wealth
    path = Path([wealth])
    for row in range(first_row, last_row):
        marks = market.mark[row]
        owned = math.fsum([*book.value(marks), book.cash])
        wanted = [float(w) for w in forecasts[row - wait]]
        failed = any(w >= fails for w in wanted)
        order = [0.0 for _ in names]
        for i in names:
            if not panel.tradable[row][i]:
                continue
            if panel.members is not None and not panel.members[row][i]:
                order[i] = -book.shares[i]
            elif not failed and not math.isnan(wanted[i]):
                order[i] = wanted[i] * owned / marks[i] - book.shares[i]
        fill_row = row
        if execution.fill != "close":
            fill_row = row + 1
            book.open(fill_row)
            order = [order[i] * market.split(fill_row, i) for i in names]
            last = [marks[i] / market.split(fill_row, i) for i in names]
            prices = [market.fill_price(fill_row, i, execution.fill) for i in names]
            marks = [last[i] if math.isnan(prices[i]) else prices[i] for i in names]
            order = [0.0 if math.isnan(prices[i]) else order[i] for i in names]
        held = book.value(marks)
        at_fill = math.fsum([*held, book.cash])
        if at_fill <= 0:
            path.ruined_at_fill = True
            return path
        if execution.max_participation is not None:
            for i in names:
                volume = float(panel.dollar_volume[fill_row][i])
                most = (
                    0.0
                    if math.isnan(volume) or math.isnan(marks[i])
                    else (execution.max_participation * volume / marks[i])
                )
                order[i] = max(-most, min(most, order[i]))

        after = partial(
            settled, held=held, marks=marks, cash=book.cash, paid=partial(paid, row=fill_row, began=row, wealth=at_fill)
        )
        if not execution.borrow_cash and after(order)[0] < 0:
            order = scaled_to_cash(order, book.shares, after)
        cash, positions, costs = after(order)
        book.shares = [book.shares[i] + order[i] for i in names]
        interest = interest_of(panel, financing, row, cash, positions)
        book.cash = cash + interest
        path.held.append(held)
        path.positions.append(positions)
        path.fill_wealth.append(at_fill)
        path.costs.append(costs)
        path.interest.append(interest)
        path.shares.append(list(book.shares))
        if execution.fill == "close":
            book.open(row + 1)
        path.delisting.append(book.close(row + 1))
        path.wealth.append(math.fsum([*book.value(market.mark[row + 1]), book.cash]))
        if path.wealth[-1] <= 0:
            path.ruined = True
            return path
    return path


def settled(
    order: list[float], *, held: list[float], marks: list[float], cash: float, paid: Callable[..., dict[str, float]]
) -> tuple[float, list[float], dict[str, float]]:
    """Return cash, positions and costs, were this order filled."""
    bought = [0.0 if n == 0 else n * mark for n, mark in zip(order, marks, strict=True)]
    positions = [h + b for h, b in zip(held, bought, strict=True)]
    each = [paid(i, bought[i], positions[i]) for i in range(len(order))]
    costs = {name: math.fsum(one[name] for one in each) for name in each[0]}
    return math.fsum([cash, *(-b for b in bought), *(-c for c in costs.values())]), positions, costs


def scaled_to_cash(
    order: list[float], shares: list[float], after: Callable[[list[float]], tuple[float, list[float], dict[str, float]]]
) -> list[float]:
    """Return the order with the purchases that open longs scaled by one factor, the largest that leaves no debt."""
    opening = [max(shares[i] + order[i], 0.0) - max(shares[i], 0.0) if order[i] > 0 else 0.0 for i in range(len(order))]

    def part(scale: float) -> list[float]:
        return [order[i] - opening[i] + scale * opening[i] for i in range(len(order))]

    if after(part(0.0))[0] <= 0:
        return part(0.0)
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if after(part(middle))[0] >= 0 else (low, middle)
    return part(low)


def interest_of(panel: MarketPanel, financing: Financing, row: int, cash: float, positions: list[float]) -> float:
    """Return the currency that short proceeds and the rest of cash earn, or pay, over a period."""
    years = 1 / panel.periods_per_year
    if financing.day_count:
        years = float(panel.days[row]) / {"actual/365": 365, "actual/360": 360}[financing.day_count]
    base = 0.0 if panel.cash_rate is None else float(panel.cash_rate[row])
    shorts = math.fsum(max(-position, 0.0) for position in positions)
    rest = cash - shorts
    rate = base - financing.credit_spread * years if rest > 0 else base + financing.debit_spread * years
    return shorts * (base - financing.proceeds_spread * years) + rest * rate
