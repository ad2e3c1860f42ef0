"""Holdings, costs, exposure and months: numbers of the page worked out by hand; and what notebooks show of a result."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.analysis.performance import information_coefficient, rank_correlations
from backtest.costs import Ridge, TradingCost
from backtest.market import MarketPanel
from backtest.report.by_asset import asset_cost_figure, cost_shares, has_costs, holdings_figure, mean_weights
from backtest.report.details import events_html, months_html
from backtest.report.over_time import correlation_figure, volatility_figure
from backtest.simulation import FixedWeights, simulate
from backtest.solver import PositionSolver


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(1)
    return make_comparison({name: rng.normal(0.002, 0.02, (2, 104)) for name in ("squared", "aligned")})


def test_shares_of_costs_add_up_to_one_and_stand_largest_first(comparison):
    figure = asset_cost_figure(comparison)

    assert cost_shares(comparison.results["aligned"]) == pytest.approx([0.5, 0.3, 0.2, 0.0])
    assert list(figure.data[0].text) == ["AA", "BB", "CC", "DD"]
    assert list(figure.data[0].x) == [50.0, 30.0, 20.0, 0.0]


def test_books_that_paid_nothing_have_no_chart_of_costs(comparison):
    for result in comparison.results.values():
        result.asset_costs = {}

    assert not has_costs(comparison)


def test_a_ruined_book_holds_nothing_and_counts_in_the_mean(comparison):
    result = comparison.results["aligned"]
    result.positions[1, 50:] = np.nan

    weights = mean_weights(result)

    assert weights[49, :2].tolist() == [0.5, -0.5]
    assert weights[50, :2].tolist() == [0.25, -0.25]


def test_holdings_are_weights_in_percent_and_cover_every_date(comparison):
    figure = holdings_figure(comparison)

    assert len(figure.data) == 2
    np.testing.assert_array_equal(np.unique(np.asarray(figure.data[0].z), axis=1), [[50.0], [-50.0], [0.0], [0.0]])


def test_volatility_is_that_of_the_year_before_each_date(comparison):
    line = volatility_figure(comparison).data[0]
    net = comparison.series["squared"].net

    assert line.y[-1] == pytest.approx(100 * np.sqrt(52) * net[:, -52:].std(axis=1, ddof=1).mean(), rel=1e-5)


def test_the_line_of_skill_ends_at_the_sum_of_its_months(comparison):
    line = correlation_figure(comparison).data[0]
    values = comparison.rank_correlations["squared"]
    months = values.groupby([values.index.year, values.index.month]).mean()

    assert line.y[-1] == pytest.approx(months.sum(), rel=1e-5)


def test_a_month_compounds_its_periods(comparison):
    found = re.search(r'>2001-01</th><td data-value="(.*?)"', months_html(comparison))
    net = comparison.series["squared"].net.mean(axis=0)

    assert float(found[1]) == pytest.approx(100 * (np.prod(1 + net[:4]) - 1))


def test_events_are_counted_by_kind_and_objective(comparison):
    result = comparison.results["aligned"]
    result.events = pd.DataFrame({"kind": ["failed", "split", "failed"]})

    text = events_html(comparison)

    assert '>decisions</th><td data-value="208.0">208</td>' in text
    assert '>failed</th><td data-value="0.0">0</td><td data-value="2.0">2</td>' in text
    assert '>split</th><td data-value="0.0">0</td><td data-value="1.0">1</td>' in text


def test_the_information_coefficient_is_the_mean_of_the_correlations_by_date():
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(2, 30, 6))
    p[3], y[5, 1:] = np.nan, np.nan

    correlations = rank_correlations(p, y)

    assert np.flatnonzero(np.isnan(correlations)).tolist() == [3, 5]
    assert information_coefficient(p, y).mean == pytest.approx(np.nanmean(correlations), rel=1e-14)


def test_a_notebook_shows_a_panel_and_a_solution():
    returns = pd.DataFrame(np.full((5, 3), 0.01), index=pd.date_range("2001-01-05", periods=5, freq="W-FRI"))
    panel = MarketPanel.from_returns(returns.rename(columns=str), name="<b>mine", periods_per_year=52)
    solution = PositionSolver(Ridge(1.0)).solve(torch.tensor([[0.1, 0.0, -0.2]], dtype=torch.float64))

    assert "&lt;b&gt;mine" in panel._repr_html_()
    assert "100.0%" in panel._repr_html_()
    assert "solved" in solution._repr_html_()
    assert "0.300" in solution._repr_html_()


def test_a_notebook_shows_a_result_a_line_a_book():
    returns = pd.DataFrame(np.full((5, 3), 0.01), index=pd.date_range("2001-01-05", periods=5, freq="W-FRI"))
    panel = MarketPanel.from_returns(returns.rename(columns=str), name="mine", periods_per_year=52)
    result = simulate(panel, FixedWeights([0.2, 0.3, 0.5]), costs=Ridge(1.0), names=["<b>first"])

    shown = result._repr_html_()

    assert shown.startswith("<p>SimulationResult: 1 book, ")
    assert "&lt;b&gt;first" in shown
    assert "<b>first" not in shown


def test_a_notebook_shows_which_costs_are_charged():
    shown = (2.0 * Ridge(1.0) + TradingCost(half_spread=1e-4))._repr_html_()

    assert "<td>ridge</td><td>an opinion</td>" in shown
    assert "<td>trading_cost</td><td>charged</td>" in shown
    assert shown.count("<tr>") == 3
