"""Portfolio values of 200 random panels against vectorbt, on the paths that it gets right.

What vectorbt 1.2 does, read in its source (`portfolio/nb.py`, `buy_nb`, `sell_nb`, `execute_order_nb`):

- It fills at the close of the row of the order: lag 0 here.
- A target percentage is of the group's value before any of the row's orders, at the row's closes, and at the last known
  close where there is none. Fees are paid from cash, so that weights after the trade add up to less, as here.
- Slippage moves the price: a purchase costs `s + f (1 + s)` of its value, a sale `s + f (1 - s)`, with fee `f`.
- It never lends: a purchase is cut at what cash pays for, and one without any is rejected, both without a word. Here
  books hold less than their wealth, and fees are small, so that nothing is cut. Short proceeds are cash in both.
- A row without a close fills nothing, as here.

Where it is wrong, or knows less, and is not compared: it has no interest, borrow fee or dividend; `gross_exposure` and
`net_exposure` of a group whose columns differ are not fractions of the group's value; it annualises by 365 days; its
drawdown starts after the first period; it pairs columns by position, not by label; cash ends at 0, never below.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from backtest.costs import TradingCost
from backtest.market import MarketPanel
from backtest.simulation import Policy, simulate

N_ROWS, N_ASSETS, N_PANELS = 40, 4, 50
"""Fifty panels a kind, and four kinds."""


class Given(Policy):
    """Holds the forecast where there is one."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, p)


@pytest.fixture(scope="module")
def vectorbt():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "vectorbt", reason="vectorbt is not installed: pip install 'aligned-backtest[peers]'"
        )


def drawn(rng, *, shorts: bool, gaps: float):
    """Return prices (T, N), weights (T, N), fees (N,) and the slippage."""
    moves = rng.normal(0.0003, rng.choice([0.005, 0.03]), (N_ROWS, N_ASSETS))
    prices = np.exp(rng.normal(3.0, 1.5, N_ASSETS) + np.cumsum(moves, axis=0))
    missing = rng.random(prices.shape) < gaps
    missing[0] = False
    prices[missing] = np.nan
    # Stuck names take cash that the others then cannot have: the less is held, the more of them do no harm.
    weights = rng.dirichlet(np.ones(N_ASSETS), N_ROWS) * (0.4 if gaps else 0.9)
    if shorts:
        weights *= rng.choice([-0.5, 1.0], weights.shape)
    weights[rng.random(N_ROWS) < 0.2] = np.nan
    return prices, weights, rng.uniform(0.0, 0.003, N_ASSETS), rng.choice([0.0, 0.0005, 0.002])


@pytest.mark.parametrize("shorts", [False, True], ids=["long", "long and short"])
@pytest.mark.parametrize("gaps", [0.0, 0.1], ids=["all prices", "missing prices"])
def test_values_of_random_panels_are_those_of_vectorbt(vectorbt, shorts, gaps):
    rng = np.random.default_rng([int(shorts), int(gaps > 0)])
    index = pd.date_range("2020-01-01", periods=N_ROWS)
    labels = [f"N{i}" for i in range(N_ASSETS)]
    all_drawn = [drawn(rng, shorts=shorts, gaps=gaps) for _ in range(N_PANELS)]
    ours = []
    for prices, weights, fees, slippage in all_drawn:
        panel = MarketPanel.from_prices(pd.DataFrame(prices, index=index, columns=labels), periods_per_year=252)
        costs = TradingCost(slippage, buy_fee=fees * (1 + slippage), sell_fee=fees * (1 - slippage))
        result = simulate(
            panel,
            Given(),
            weights,
            costs=costs,
            lag=0,
            first_row=0,
            last_row=N_ROWS - 1,
            initial_wealth=10_000,
        )
        invested = np.where(result.positions[0] > 0, result.positions[0], 0.0).sum(axis=1)
        assert invested.max() < 0.99, "vectorbt would cut an order: draw smaller weights"
        # vectorbt's value of a row is after the costs of its own trades, ours before them.
        charged = sum(values[0] for values in result.costs.values())
        ours.append(result.wealth[0, :-1] * (1 - charged))

    columns = pd.MultiIndex.from_product([range(N_PANELS), labels], names=["panel", "asset"])
    close = pd.DataFrame(np.hstack([prices for prices, *_ in all_drawn]), index=index, columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        portfolio = vectorbt.Portfolio.from_orders(
            close,
            size=np.hstack([weights for _, weights, _, _ in all_drawn]),
            size_type="targetpercent",
            fees=np.concatenate([fees for *_, fees, _ in all_drawn])[None],
            slippage=np.repeat([slippage for *_, slippage in all_drawn], N_ASSETS)[None],
            group_by="panel",
            cash_sharing=True,
            call_seq="auto",
            init_cash=10_000,
            freq="1D",
        )
        theirs = portfolio.value().to_numpy().T

    np.testing.assert_allclose(np.array(ours), theirs[:, :-1], rtol=1e-9)
