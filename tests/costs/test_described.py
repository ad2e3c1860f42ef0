"""Costs as a notebook shows them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.costs import L1, FactorRisk, Grid, SeparableCost, TradingCost
from backtest.costs.described import described


class Duty(SeparableCost):
    def value(self, q, held, market):
        return 0.0 * q


def test_only_what_was_set_is_said_and_arrays_by_size_and_range():
    spreads = pd.Series([1e-4, 2.5e-3, 1e-3], index=list("ABC"))

    assert described(TradingCost(half_spread=spreads)) == "TradingCost(half_spread=3 numbers, 0.0001 to 0.0025)"
    assert described(TradingCost(impact=1.0)) == "TradingCost(impact=1)"
    assert described(FactorRisk(n_factors=5)) == "FactorRisk(n_factors=5)"
    assert described(L1()) == "L1()"


def test_a_sum_reads_as_it_was_written():
    costs = 5.0 * FactorRisk(n_factors=15) + TradingCost(half_spread=2.5e-4) + 1e-4 * L1()

    assert repr(costs) == "5 × FactorRisk(n_factors=15) + TradingCost(half_spread=0.00025) + 0.0001 × L1()"


def test_the_table_of_a_sum_has_a_row_a_cost_with_its_weight_and_how_it_counts():
    grid = Grid(aversion=[1, 5])
    risk = FactorRisk(loadings=np.zeros((3, 2)), specific_variance=4e-4)
    html = (5.0 * risk + grid["aversion"] * L1() + TradingCost(half_spread=1e-4) + Duty())._repr_html_()

    assert "5 × FactorRisk(loadings=3 x 2 numbers, 0 to 0, specific_variance=0.0004)" in html
    assert "2 x 1 numbers, 1 to 5 × L1()" in html
    assert html.count("an opinion") == 3
    assert "<code>Duty()</code>" in html
    assert "<td>trading_cost</td><td>charged</td>" in html
