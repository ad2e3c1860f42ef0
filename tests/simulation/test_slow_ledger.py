"""The simulator against a ledger in plain Python, over markets in which everything happens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from random_markets import FAILS, Given, Run, runs
from slow_ledger import Path, run_slowly

from backtest.simulation import SimulationResult, simulate

TOLERANCE = 1e-10
"""Of the book: the larger of its wealth and of all that it holds, before and after the fill."""


def simulated(run: Run) -> SimulationResult:
    return simulate(
        run.panel,
        Given(),
        run.forecasts,
        costs=run.rates.cost(run.panel),
        initial_wealth=run.wealth,
        initial_weights=run.weights,
        **run.options,
    )


def walked(run: Run, book: int = 0) -> Path:
    return run_slowly(
        run.panel,
        run.forecasts[book].tolist(),
        run.rates,
        wealth=float(run.wealth[book]),
        weights=run.weights[book].tolist(),
        fails=FAILS,
        **run.options,
    )


def compare(result: SimulationResult, path: Path, book: int = 0) -> None:
    """Assert that a book is what the slow ledger says, in currency."""
    n = len(path.fill_wealth)
    if not n:
        return
    wealth = np.array(path.wealth)
    held, positions = np.array(path.held), np.array(path.positions)
    size = np.maximum(np.abs(wealth[:-1]), np.abs(wealth[1:]))
    size = np.maximum(size, np.maximum(np.abs(held).sum(axis=1), np.abs(positions).sum(axis=1)))
    # What went wrong by rounding earlier, at a larger size, is still there.
    size = np.maximum.accumulate(size)
    before, at_fill = result.wealth[book, :n], result.fill_wealth[book, :n]

    def close(found: np.ndarray, expected: np.ndarray, what: str) -> None:
        gap = np.abs(found - expected)
        room = TOLERANCE * (size if gap.ndim == 1 else size[:, None])
        assert (gap <= room).all(), (what, np.argwhere(~(gap <= room))[:5], found, expected)

    close(at_fill, np.array(path.fill_wealth), "wealth at the fill")
    close(result.held[book, :n] * at_fill[:, None], held, "held")
    close(result.positions[book, :n] * at_fill[:, None], positions, "positions")
    for name in result.costs:
        expected = np.array([each[name] for each in path.costs])
        close(result.costs[name][book, :n] * before, expected, name)
    close(result.interest[book, :n] * before, np.array(path.interest), "interest")
    close(result.wealth[book, 1 : n + 1], wealth[1:], "wealth")
    charged = sum(values[book, :n] for values in result.costs.values())
    change = np.diff(wealth) - np.array(path.interest) + charged * before
    close(result.gross[book, :n] * before, change, "gross")
    close(result.net[book, :n] * before, np.diff(wealth), "net")
    close(result.delisting[book, :n] * before, np.array(path.delisting), "delisting")
    turnover = np.abs(positions - held).sum(axis=1)
    close(result.turnover[book, :n] * at_fill, turnover, "turnover")
    if result.counts_shares:
        value = np.abs(np.where(positions == 0, 0.0, result.fill_prices[:n]))
        close(result.shares[book, :n] * value, np.array(path.shares) * value, "shares")
    if path.ruined_at_fill:
        return
    assert result.ruined[book] == path.ruined
    assert np.isnan(result.wealth[book, n + 1 :]).all()
    assert np.isnan(result.positions[book, n:]).all()


# Shrinking says little here: most of a market comes from one seed.
MANY = settings(max_examples=100, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@MANY
@given(run=runs(fills=("close",)))
def test_a_book_that_trades_at_the_close_is_what_a_ledger_in_plain_python_says(run):
    compare(simulated(run), walked(run))


@MANY
@given(run=runs(fills=("open", "vwap"), ends=False))
def test_a_book_that_trades_in_the_next_row_is_what_a_ledger_in_plain_python_says(run):
    compare(simulated(run), walked(run))


@MANY
@given(run=runs(fills=("open", "vwap")))
def test_what_ends_at_the_close_of_a_row_can_be_traded_before_in_that_row_and_pays_out_after(run):
    compare(simulated(run), walked(run))


@pytest.mark.slow
@settings(MANY, max_examples=5_000)
@given(run=runs())
def test_thousands_of_books_are_what_a_ledger_in_plain_python_says(run):
    compare(simulated(run), walked(run))
