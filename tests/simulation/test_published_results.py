"""Guards of benchmarks/periodic_rebalancing.py: table 7.1 of Boyd et al. (2017), one year fast, the whole slow."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "paper_2017"
LABELS = {"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}
PERIODS = ("day", *LABELS, "hold")

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"the data of the paper is not at {DATA}")


@pytest.fixture(scope="module")
def benchmark():
    """The script, with the module beside it that it reads its data with."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("periodic_rebalancing")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def table(benchmark):
    """Returns as published: dates by 424 stocks and cash."""
    return importlib.import_module("paper_2017").read_table("returns.csv.gz")


def slow_reference(table, every, *, rate=2.5e-4, years=250):
    """Turnover, active risk and active return, percent a year, by a loop over the table itself."""
    stocks, cash = table.to_numpy()[:, :-1], table.to_numpy()[:, -1]
    uniform = np.full(stocks.shape[1], 1 / stocks.shape[1])
    held, money = 1e8 * uniform, 0.0
    turnover, active, last = [], [], None
    for day, (date, returns) in enumerate(zip(table.index, stocks, strict=True)):
        wealth = held.sum() + money
        period = day if every == "day" else None if every == "hold" else date.to_period(LABELS[every])
        trade = np.zeros_like(held) if period == last else wealth * uniform - held
        last = period
        money = (money - trade.sum() - rate * np.abs(trade).sum()) * (1 + cash[day])
        held = (held + trade) * (1 + returns)
        turnover.append(np.abs(trade).sum() / wealth)
        active.append((held.sum() + money) / wealth - 1 - returns @ uniform)
    return 100 * np.array([years * np.mean(turnover), np.sqrt(years) * np.std(active), years * np.mean(active)])


@pytest.mark.parametrize("every", PERIODS)
def test_a_year_of_rebalancing_equals_a_loop_over_the_published_table(benchmark, table, every):
    panel, first_row = benchmark.read_panel("2012-01-03", "2012-12-31")

    row = benchmark.measure(every, panel, first_row)

    expected = slow_reference(table.loc["2012-01-03":"2012-12-31"], every)
    np.testing.assert_allclose([row.turnover, row.active_risk, row.active_return], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("every", PERIODS)
def test_table_7_1_is_reproduced(benchmark, every):
    published = benchmark.PUBLISHED[every]

    row = benchmark.measure(every, *benchmark.read_panel())

    assert row.turnover == pytest.approx(published.turnover, abs=0.01)
    assert round(row.active_risk, 2) == published.active_risk
    if published.active_return is not None:
        assert round(row.active_return, 2) == published.active_return


def test_a_fill_earns_the_row_of_the_table_that_has_its_date(benchmark, table):
    panel, first_row = benchmark.read_panel("2012-01-03", "2012-03-30")

    expected = table.loc["2012-01-03"]
    assert panel.dates[first_row] == pd.Timestamp("2012-01-03")
    np.testing.assert_array_equal(panel.returns[first_row + 1], expected.iloc[:-1])
    assert panel.cash_rate[first_row] == expected.iloc[-1]
    np.testing.assert_array_equal(panel.returns[-1], table.loc["2012-03-30"].iloc[:-1])
