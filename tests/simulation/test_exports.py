"""Results in the hands of other programs."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from random_markets import Given, random_panel
from traded_runs import drawn_run, simulated

from backtest.costs import BorrowFee, TradingCost
from backtest.errors import SettingsError, SimulationError
from backtest.market import Delisting, MarketPanel
from backtest.simulation import EqualWeight, Execution, simulate
from backtest.simulation.exports import orders_of

TABLES = ("paths", "positions", "trades", "events")


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_parquet_and_csv_hold_the_same_tables(seed, tmp_path):
    result = simulated(drawn_run(seed, n_books=2))
    result.to_parquet(tmp_path / "new" / "parquet")
    result.to_csv(tmp_path / "csv")
    found = {name: pd.read_parquet(tmp_path / "new" / "parquet" / f"{name}.parquet") for name in TABLES}

    pd.testing.assert_frame_equal(found["paths"].set_index(["name", "date"]), result.to_frame(), check_exact=True)
    pd.testing.assert_frame_equal(found["trades"], result.trades, check_exact=True)
    pd.testing.assert_frame_equal(found["events"], result.events, check_exact=True)
    for name, expected in found.items():
        text = pd.read_csv(tmp_path / "csv" / f"{name}.csv", dtype=str, keep_default_na=False)
        for column, kind in expected.dtypes.items():
            if kind.kind == "f":
                text[column] = [float(cell or "nan") for cell in text[column]]
            elif kind.kind == "M":
                text[column] = pd.to_datetime(text[column])
        pd.testing.assert_frame_equal(text.astype(expected.dtypes), expected, check_exact=True)


def test_the_table_of_positions_has_every_position_that_is_not_nil(tmp_path):
    result = simulated(drawn_run(4, n_books=2))
    result.to_parquet(tmp_path)
    positions = pd.read_parquet(tmp_path / "positions.parquet")
    rebuilt = np.zeros(result.positions.shape)
    place = (
        [result.names.index(name) for name in positions["name"]],
        result.trade_dates.get_indexer(positions["date"]),
        result.assets.get_indexer(positions["asset"]),
    )
    rebuilt[place] = positions["weight"]

    assert (rebuilt == np.nan_to_num(result.positions)).all()
    assert positions["value"].to_numpy() == pytest.approx(
        positions["weight"].to_numpy() * result.fill_wealth[place[0], place[1]], rel=1e-14
    )


def test_a_result_without_trades_or_events_is_written(price_panel, tmp_path):
    result = simulate(price_panel(A=[1, 1, 1]), Given(), np.zeros((3, 1)), costs=None, lag=0)
    result.to_parquet(tmp_path)
    result.to_csv(tmp_path)

    assert len(pd.read_parquet(tmp_path / "trades.parquet")) == 0
    assert pd.read_parquet(tmp_path / "events.parquet").columns.tolist() == [
        *("date", "name", "asset", "kind", "detail")
    ]
    assert pd.read_csv(tmp_path / "trades.csv").columns.tolist() == result.trades.columns.tolist()


def test_quantstats_returns_are_labelled_and_nil_after_ruin(price_panel):
    panel = price_panel(A=[100, 300, 150, 150])
    forecasts = np.full((2, 4, 1), 0.5)
    forecasts[1] = -1.0
    result = simulate(panel, Given(), forecasts, costs=None, lag=0, names=("a", "b"))
    returns = result.to_quantstats_returns()

    assert returns["a"].tolist() == result.net[0].tolist()
    assert returns["b"].tolist() == [-2.0, 0.0, 0.0]
    assert returns["a"].name == "a"
    assert returns.index.equals(result.dates)


def walked(orders):
    """Return the worth of an order table at the end of each row, in plain Python."""
    cash = orders.cash
    shares = [0.0] * orders.close.shape[1]
    path = []
    for row in range(len(orders.close)):
        for column in range(len(shares)):
            size = float(orders.size.iloc[row, column])
            if size == size:
                shares[column] += size
                cash -= size * float(orders.price.iloc[row, column]) + float(orders.fees.iloc[row, column])
        path.append(cash + sum(n * float(p) for n, p in zip(shares, orders.close.iloc[row], strict=True)))
    return np.array(path)


def order_run(seed, fill, *, start=None, costs=TradingCost(0.001) + TradingCost(buy_fee=0.002)):
    """Return a result of a market of prices and delistings alone, whose costs are all of trades."""
    rng = np.random.default_rng(seed)
    gaps = 0.15 if fill == "close" else 0.0
    panel = random_panel(rng, n_rows=12, n_assets=3, gaps=gaps, delistings=int(rng.integers(3)))
    panel = replace(panel, cash_rate=None)
    weights = rng.uniform(-0.2, 0.3, (12, 3))
    weights[rng.random(weights.shape) < 0.3] = np.nan
    lag = 0 if fill == "close" else 1
    return simulate(
        panel,
        Given(),
        weights,
        costs=costs,
        lag=lag,
        first_row=0,
        last_row=11,
        initial_wealth=1e5,
        initial_weights=start,
        execution=Execution(fill=fill),
    )


@pytest.mark.parametrize("fill", ["close", "open"])
@pytest.mark.parametrize("seed", range(20))
def test_an_order_table_is_worth_what_the_book_is(seed, fill):
    result = order_run(seed, fill)
    if seed % 2:
        # Something held at the start, where it has a price.
        start = np.where(result.fill_prices[0] > 0, [0.2, -0.1, 0.05], 0.0)
        result = order_run(seed, fill, start=start)
    orders = orders_of(result)
    worth = walked(orders)
    # At a close the book is worth what it is before its trades pay their costs there.
    paid = orders.fees.sum(axis=1).to_numpy() if fill == "close" else 0.0

    assert np.abs(worth + paid - result.wealth[0]).max() <= 1e-9 * result.wealth[0].max()
    assert orders.close.index.equals(result.fill_dates[:1].append(result.dates))


def test_fees_are_shared_by_the_value_of_the_trades(price_panel):
    panel = price_panel(A=[100, 110, 100], B=[50, 50, 60])
    result = simulate(
        panel,
        Given(),
        np.array([[0.3, -0.1], [0.1, 0.1], [0.0, 0.0]]),
        costs=TradingCost(0.001) + BorrowFee(0.1),
        lag=0,
        initial_wealth=1000,
    )
    orders = orders_of(result)
    every = orders_of(result, charged=("trading_cost", "borrow_fee"))

    assert orders.fees.iloc[0].tolist() == pytest.approx([0.3, 0.1], rel=1e-12)
    assert every.fees.iloc[0].sum() == pytest.approx(0.4 + 100 * 0.1 / 252, rel=1e-12)
    with pytest.raises(SettingsError, match="no cost 'tax' was charged: charged= takes some of"):
        orders_of(result, charged=("tax",))


def test_a_worthless_delisting_is_sold_for_next_to_nothing():
    frame = pd.DataFrame({"A": [10.0, 8.0, np.nan]}, index=pd.date_range("2020-01-01", periods=3))
    gone = Delisting("A", frame.index[1], -1.0)
    panel = MarketPanel.from_prices(frame, periods_per_year=252, delistings=[gone])
    orders = orders_of(simulate(panel, EqualWeight(), costs=None, lag=0, last_row=2, initial_wealth=100))

    assert orders.size["A"].tolist()[:2] == [10.0, -10.0]
    assert 0 < orders.price["A"].iloc[1] < 1e-300


def test_a_book_ruined_overnight_sells_all_at_the_open_and_one_ruined_before_its_first_fill_is_refused():
    frame = pd.DataFrame({"A": [10.0, 10.0, 30.0, 30.0]}, index=pd.date_range("2020-01-01", periods=4))
    panel = MarketPanel.from_prices(frame, open_prices=frame, periods_per_year=252)
    settings = {"costs": None, "lag": 1, "last_row": 3, "initial_wealth": 100, "execution": Execution(fill="open")}
    short = np.full((4, 1), -1.0)
    result = simulate(panel, Given(), short, first_row=0, **settings)
    held = simulate(panel, Given(), short, first_row=1, initial_weights=[-1.0], **settings)

    assert result.ruined.tolist() == [True]
    assert walked(orders_of(result)).tolist() == pytest.approx([100, 100, -100])
    assert orders_of(result).size["A"].tolist()[1:] == pytest.approx([-10.0, 10.0])
    with pytest.raises(SimulationError, match="2020-01-03: the book was ruined before its first fill"):
        orders_of(held)


def test_what_orders_cannot_say_is_refused(price_panel, monkeypatch):
    frame = pd.DataFrame({"A": [10.0, 5.0, 5.0]}, index=pd.date_range("2020-01-01", periods=3))
    splits = pd.DataFrame({"A": [1.0, 2.0, 1.0]}, index=frame.index)
    split = MarketPanel.from_prices(frame, splits=splits, periods_per_year=252)
    returns = MarketPanel.from_returns(frame / 100, periods_per_year=252)

    with pytest.raises(SimulationError, match="2020-01-02: A had a split, and an order table has none"):
        orders_of(simulate(split, EqualWeight(), costs=None, lag=0, last_row=2))
    with pytest.raises(SimulationError, match="from_prices"):
        orders_of(simulate(returns, EqualWeight(), costs=None, lag=0))
    monkeypatch.setitem(sys.modules, "vectorbt", None)
    with pytest.raises(SettingsError, match=r"to_vectorbt needs vectorbt.*pip install 'aligned-backtest\[peers\]'"):
        simulate(price_panel(A=[1, 1]), EqualWeight(), costs=None, lag=0).to_vectorbt()


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["close", "open"])
def test_vectorbt_makes_the_same_wealth_of_it(fill):
    pytest.importorskip("vectorbt", reason="vectorbt is not installed: pip install 'aligned-backtest[peers]'")
    for seed in range(10):
        result = order_run(seed, fill)
        portfolio = result.to_vectorbt()
        paid = orders_of(result).fees.sum(axis=1).to_numpy() if fill == "close" else 0.0

        assert np.abs(portfolio.value().to_numpy() + paid - result.wealth[0]).max() <= 1e-9 * result.wealth[0].max()
        assert len(portfolio.orders.records) >= len(result.trades)


@pytest.mark.slow
def test_vectorbt_is_not_asked_to_lend(price_panel):
    pytest.importorskip("vectorbt", reason="vectorbt is not installed: pip install 'aligned-backtest[peers]'")
    result = simulate(price_panel(A=[1, 1, 1]), Given(), np.full((3, 1), 1.5), costs=None, lag=0)

    with pytest.raises(SimulationError, match=r"vectorbt refuses an order .* it does not lend"):
        result.to_vectorbt()
