"""What a result says of itself, book by book and name by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from random_markets import Given
from traded_runs import drawn_run, simulated, size_of

from backtest.costs import TradingCost
from backtest.errors import SettingsError, SimulationError
from backtest.market import MarketPanel
from backtest.simulation import EqualWeight, Execution, simulate


@pytest.fixture
def two_books(price_panel):
    panel = price_panel(A=[100, 110, 121], B=[50, 40, 30])
    forecasts = np.zeros((2, 3, 2))
    forecasts[0, :, 0], forecasts[1, :, 1] = 0.5, -1.0
    return simulate(
        panel, Given(), forecasts, costs=TradingCost(0.001), lag=0, initial_wealth=1000, names=("long", "short")
    )


def test_a_printed_result_has_a_line_a_book_with_means_a_year(two_books):
    lines = repr(two_books).splitlines()

    assert lines[0] == ("SimulationResult: 2 books, 2 periods 2020-01-02 to 2020-01-03, 2 assets, 0 events, 0 ruined")
    assert lines[1].split()[:3] == ["wealth", "gross", "%"]
    assert lines[2].split()[0] == "long"
    assert float(lines[2].split()[1]) == pytest.approx(two_books.wealth[0, -1], rel=1e-5)
    assert float(lines[3].split()[2]) == pytest.approx(100 * 252 * two_books.gross[1].mean(), abs=0.01)


def test_a_printed_result_shows_ten_books_and_says_which_are_ruined(price_panel):
    panel = price_panel(A=[100, 300, 300])
    forecasts = np.full((12, 3, 1), 0.1)
    forecasts[3] = -1.0
    lines = repr(simulate(panel, Given(), forecasts, costs=None, lag=0)).splitlines()

    assert lines[-1] == "... and 2 more"
    assert len(lines) == 13
    assert [line.split()[0] for line in lines if line.endswith("ruined")] == [lines[0].split()[0], "3"]
    assert "nan" not in lines[5].lower().replace("volatility", "")[:40]


def test_books_are_views_of_the_whole(two_books):
    assert np.shares_memory(two_books.books(slice(1, 2)).positions, two_books.positions)


def test_a_book_is_found_by_its_name(two_books):
    assert [two_books.book("long"), two_books.book("short"), two_books.books(slice(1, 2)).book()] == [0, 1, 0]
    with pytest.raises(SettingsError, match="there are several books: give the name of one of long, short"):
        two_books.book()
    with pytest.raises(SettingsError, match="there is no book 'other': give the name of one of long, short"):
        two_books.book("other")


def test_a_table_by_asset_has_labels_and_the_dates_at_which_it_is_so(two_books):
    weights, gains = two_books.by_asset("positions", "short"), two_books.by_asset("gains", "short")

    assert weights.index.equals(two_books.fill_dates)
    assert gains.index.equals(two_books.dates)
    assert weights["B"].tolist() == pytest.approx([-1.0, -1.0])
    assert two_books.by_asset("shares", "long")["A"].iloc[0] == pytest.approx(5.0)
    assert gains["B"].iloc[0] == pytest.approx(200.0)
    with pytest.raises(SettingsError, match="no table 'weights' by asset: give one of positions, held, shares"):
        two_books.by_asset("weights", "short")


@pytest.mark.parametrize("seed", range(40))
def test_gains_by_name_add_up_to_gross(seed):
    result = simulated(drawn_run(seed, n_books=2))
    for book, name in enumerate(result.names):
        alive = np.isfinite(result.net[book])
        total = (result.gross[book] * result.wealth[book, :-1])[alive]

        assert np.abs(result.gains(name)[alive].sum(axis=1) - total).max() <= 1e-12 * size_of(result, book)


def test_gains_by_name_of_orders_filled_at_the_open_are_those_of_shares_and_prices():
    index = pd.date_range("2020-01-01", periods=4)
    prices = pd.DataFrame({"A": [100.0, 110, 99, 120], "B": [10.0, 10, 12, 9]}, index=index)
    opens = pd.DataFrame({"A": [100.0, 104, 108, 101], "B": [10.0, 11, 11, 13]}, index=index)
    panel = MarketPanel.from_prices(prices, open_prices=opens, periods_per_year=252)
    weights = np.array([[0.5, -0.2], [0.1, 0.3], [0.4, 0.4], [0.0, 0.0]])
    result = simulate(
        panel, Given(), weights, costs=None, lag=1, last_row=3, execution=Execution(fill="open"), initial_wealth=1000
    )

    held = np.vstack([np.zeros(2), result.shares[0]])
    close, at_open = panel.prices, panel.open_prices
    for j in range(3):
        expected = held[j] * (at_open[j + 1] - close[j]) + held[j + 1] * (close[j + 1] - at_open[j + 1])

        assert result.gains()[j] == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert result.trade_dates.equals(result.dates)


def test_whole_shares_are_whole_numbers(price_panel):
    panel = price_panel(A=[101.7, 103.1, 99.3], B=[7.13, 7.4, 7.9])
    result = simulate(
        panel, EqualWeight(), costs=None, lag=0, initial_wealth=1000, execution=Execution(whole_shares=True)
    )

    assert (result.shares == np.rint(result.shares)).all()
    assert (result.trades["shares"] == np.rint(result.trades["shares"])).all()
    assert len(result.trades) > 1


def test_shares_of_a_panel_without_prices_are_refused():
    returns = pd.DataFrame({"A": [0.0, 0.1]}, index=pd.date_range("2020-01-01", periods=2))
    result = simulate(MarketPanel.from_returns(returns, periods_per_year=252), EqualWeight(), costs=None, lag=0)

    with pytest.raises(SimulationError, match="from_prices"):
        result.by_asset("shares")
    assert "shares" not in result.trades
    assert result.trades["weight"].tolist() == [1.0]
