"""One period of all books: from what is owned at one close to what is owned at the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from backtest.errors import SimulationError
from backtest.market import MarketSnapshot
from backtest.simulation.fills import affordable_share, participation_cap
from backtest.simulation.ledger import (
    Ledger,
    charge,
    check_wealth,
    close_row,
    interest_on,
    open_row,
    stop,
    trade,
    whole,
)
from backtest.simulation.market_events import note_market_events
from backtest.simulation.orders import Settings, State, ordered_shares
from backtest.simulation.policies import Policy
from backtest.simulation.record import UNFILLED, Record

__all__ = ["Period"]


@dataclass(frozen=True, eq=False)
class Fill:
    """Where and at which marks an order is filled.

    Attributes:
        row: of the fill.
        mark: (N,) currency a share: the fill price, or where there is none what the name was last worth.
        fillable: (N,) bool, or True for all: orders are placed only where there is a price to decide on.
        ledger: what is owned just before.
        held: (B, N) the same as weights at the marks.
        wealth: (B,) currency.
    """

    row: int
    mark: np.ndarray
    fillable: np.ndarray | np.bool_
    ledger: Ledger
    held: np.ndarray
    wealth: np.ndarray


def sold_out(fill: Fill, books: np.ndarray) -> Fill:
    """Return the fill with all positions of some `books` (B,) sold at its marks: they are ruined, and order nothing."""
    ledger = Ledger(np.where(books[:, None], 0.0, fill.ledger.shares), np.where(books, fill.wealth, fill.ledger.cash))
    return replace(fill, ledger=ledger, held=np.where(books[:, None], 0.0, fill.held))


class Period:
    """Steps B books through one period after the other."""

    def __init__(self, settings: Settings, policy: Policy, record: Record) -> None:
        self.settings, self.policy, self.record = settings, policy, record

    def step(self, row: int, p: np.ndarray, ledger: Ledger) -> Ledger:
        """Return what is owned at the close of row + 1, and write the period down.

        Args:
            row: of the decision.
            p: (B, N) forecasts to decide on.
            ledger: what is owned at the close of `row`.
        """
        settings, record, quotes = self.settings, self.record, self.settings.quotes
        next_row = settings.execution.next_row
        value = ledger.shares * quotes.price[row]
        wealth = value.sum(axis=1) + ledger.cash
        held = value / wealth[:, None]
        market = settings.panel.at(row, wealth=wealth if settings.in_currency else None)
        bought = ordered_shares(settings, self.policy, record, State(row, ledger, held, wealth, market), p)
        if next_row:
            fill = self._next_fill(row, ledger)
            broke = fill.wealth <= 0
            if broke.any():
                fill = sold_out(fill, broke)
            bought = np.where(broke[:, None], 0.0, bought * quotes.growth[row + 1])
            market = settings.panel.at(row + 1, wealth=fill.wealth if settings.in_currency else None)
            # Volume and volatility are those of the fill; fees run over the period, which began at the close of `row`.
            market = replace(market, days=settings.panel.days[row : row + 1])
        else:
            fill = Fill(row, quotes.price[row], np.True_, ledger, held, wealth)
        bought = self._filled(fill, bought, market)
        paid = bought * fill.mark
        traded = paid / fill.wealth[:, None]
        q = fill.held + traded
        by_asset = self._costs(q, fill.held, market, row)
        charged = sum((cost.sum(axis=1) for cost in by_asset.values()), np.zeros(len(wealth)))

        rates = [float(rate[row]) for rate in settings.rates]
        filled = charge(trade(fill.ledger, bought, paid), charged * fill.wealth)
        # What a book that is sold out owes at its end earns and pays nothing more.
        counts = fill.wealth > 0 if next_row else 1.0
        earned = interest_on(filled.cash, filled.shares * fill.mark, rates) * counts
        after = replace(filled, cash=filled.cash + earned)
        if not next_row:
            after = open_row(after, quotes, row + 1)
        at_close = after.shares
        after = close_row(after, quotes, row + 1)
        if settings.execution.whole_shares:
            after = whole(after, quotes.price[row + 1])
        wealth_after = (after.shares * quotes.price[row + 1]).sum(axis=1) + after.cash

        # The same once more from weights and returns alone: the two must agree.
        part = fill.wealth / wealth
        if next_row:
            closing = quotes.closing(row + 1)
            since_fill = np.divide(closing, fill.mark, out=np.ones_like(closing), where=fill.mark > 0) - 1.0
            early = held * quotes.returns_to(fill.mark, row + 1)
            gross = early.sum(axis=1) + part * (q * since_fill).sum(axis=1)
        else:
            since_fill, early = quotes.from_close(row + 1), None
            gross = (q * since_fill).sum(axis=1)
        exposure = q.sum(axis=1)
        interest = part * interest_on(1.0 - exposure - charged, q, rates) * counts
        net = gross + interest - part * charged
        turnover, leverage = np.abs(traded).sum(axis=1), np.abs(q).sum(axis=1)
        size = np.maximum(np.abs(wealth), fill.wealth) * (1.0 + turnover + leverage)
        check_wealth(wealth, wealth_after, net, size, names=record.names, dates=settings.panel.dates, row=row + 1)

        # What goes into the next row: without the trades, where these are filled in that row itself.
        note_market_events(record, quotes, row + 1, ledger.shares if next_row else filled.shares, at_close)
        weights = {"positions": q, "held": fill.held}
        record.add(
            row,
            costs={name: cost * fill.wealth[:, None] for name, cost in by_asset.items()},
            weights=weights if early is None else {**weights, "before_fill": early},
            by_asset={"fill_prices": fill.mark, "returns_from_fill": since_fill},
            wealth_before=wealth,
            wealth_after=wealth_after,
            gross=gross,
            interest=interest,
            net=net,
            predicted=part * np.where(np.isnan(p), 0.0, p * q).sum(axis=1),
            turnover=turnover,
            leverage=leverage,
            net_exposure=exposure,
            delisting=quotes.delisting_gain(at_close, row + 1) / wealth,
            fill_wealth=fill.wealth,
        )
        return stop(after, record.ruined) if record.ruined.any() else after

    def _next_fill(self, row: int, ledger: Ledger) -> Fill:
        """Return how an order of `row` is filled in the next row."""
        quotes = self.settings.quotes
        price, growth = quotes.fill_price[row + 1], quotes.growth[row + 1]
        fillable = np.isfinite(price)
        last = quotes.price[row] / growth if quotes.counts_shares else quotes.price[row]
        # What was never quoted before, as the child of a spin-off, is marked at its first close; it is not traded.
        mark = np.where(fillable, price, np.where(last > 0, last, quotes.price[row + 1]))
        opened = open_row(ledger, quotes, row + 1)
        value = opened.shares * mark
        wealth = value.sum(axis=1) + opened.cash
        return Fill(row + 1, mark, fillable, opened, value / wealth[:, None], wealth)

    def _filled(self, fill: Fill, bought: np.ndarray, market: MarketSnapshot) -> np.ndarray:
        """Return what is filled of the shares `bought` (B, N); note the rest."""
        execution, panel = self.settings.execution, self.settings.panel
        if execution.next_row:
            filled = np.where(fill.fillable, np.trunc(bought) if execution.whole_shares else bought, 0.0)
            self._note_unfilled(fill, bought, filled, f"no {execution.fill} price")
            bought = filled
        if execution.max_participation is not None:
            volume = None if panel.dollar_volume is None else panel.dollar_volume[fill.row]
            filled = participation_cap(
                bought, fill.mark, volume, execution.max_participation, whole=execution.whole_shares
            )
            self._note_unfilled(fill, bought, filled, f"more than {execution.max_participation:g} of the volume")
            bought = filled
        if not execution.borrow_cash:
            filled = self._paid_from_cash(fill, bought, market)
            self._note_unfilled(fill, bought, filled, "cash does not pay for more")
            bought = filled
        return bought

    def _paid_from_cash(self, fill: Fill, bought: np.ndarray, market: MarketSnapshot) -> np.ndarray:
        """Return the orders with all purchases that open longs scaled down to what cash pays for."""
        shares = fill.ledger.shares
        # Covering a short is no purchase: it must be possible whatever it costs.
        opening = np.where(bought > 0, np.maximum(shares + bought, 0.0) - np.maximum(shares, 0.0), 0.0)

        def scaled(scale: np.ndarray) -> np.ndarray:
            return (bought - opening) + opening * scale[:, None]

        def left(scale: np.ndarray) -> np.ndarray:
            q = fill.held + scaled(scale) * fill.mark / fill.wealth[:, None]
            by_asset = self._costs(q, fill.held, market, fill.row).values()
            return 1.0 - q.sum(axis=1) - sum((cost.sum(axis=1) for cost in by_asset), np.zeros(len(q)))

        scale = affordable_share(left, len(bought))
        if self.settings.execution.whole_shares:
            # Fewer shares than cash could pay for leave it cash.
            filled = (bought - opening) + np.floor(opening * scale[:, None])
        else:
            filled = scaled(scale)
        return np.where((scale == 1.0)[:, None], bought, filled)

    def _note_unfilled(self, fill: Fill, bought: np.ndarray, filled: np.ndarray, why: str) -> None:
        rest = np.abs((bought - filled) * fill.mark) / fill.wealth[:, None] > UNFILLED
        for book, column in np.argwhere(rest).tolist():
            detail = f"{why}: wants {bought[book, column]:.6g} shares, gets {filled[book, column]:.6g}"
            self.record.note(fill.row, book, column, "unfilled", detail)

    def _costs(self, q: np.ndarray, held: np.ndarray, market: MarketSnapshot, row: int) -> dict[str, np.ndarray]:
        """Return each cost by book and asset (B, N), as a fraction of wealth at the fill; NaN in stopped books."""
        after, before = torch.from_numpy(q), torch.from_numpy(held)
        costs = {}
        for name, cost in self.settings.costs:
            by_asset = cost.value(after, before, market).detach().numpy()
            if by_asset.shape != q.shape:
                by_asset = np.ascontiguousarray(np.broadcast_to(by_asset, q.shape))
            if not np.isfinite(by_asset).all():
                bad = np.argwhere(~np.isfinite(by_asset) & np.isfinite(q))
                if len(bad):
                    book, column = bad[0]
                    raise SimulationError(
                        f"{self.record.label(row)(book, column)}: {name} is {by_asset[book, column]} for weight "
                        f"{q[book, column]:g} after {held[book, column]:g}: give the cost a finite value where it can "
                        "be traded"
                    )
            costs[name] = by_asset
        return costs
