"""The way from gross to net of a run's books."""

from __future__ import annotations

import numpy as np
import pytest

from backtest import attribute, simulate, simulate_market
from backtest.costs import BorrowFee, TradingCost
from backtest.errors import SettingsError
from backtest.report import PALETTE, attribution_figure
from backtest.simulation import FixedWeights


@pytest.fixture(scope="module")
def attribution():
    panel = simulate_market(4, 30, 1, seed=0).panel
    costs = TradingCost(half_spread=1e-3, quadratic=1e-3) + BorrowFee(0.05)
    policies = [FixedWeights(weights) for weights in ([0.5, -0.5, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4])]
    return attribute(simulate(panel, policies, costs=costs, names=["<a>", "b"], lag=0), costs, panel)


def test_each_book_goes_by_its_costs_from_gross_to_net(attribution):
    bars = attribution_figure(attribution).data[0]
    labels = attribution_figure(attribution).layout.yaxis.ticktext
    one = slice(0, len(bars.x) // 2)

    assert labels[: len(labels) // 2] == (
        "<b>&lt;a&gt;</b>",
        "gross",
        "trading cost: spread",
        "trading cost: impact",
        "borrow fee",
        "net",
    )
    lines = 100 * attribution.total.loc["<a>", "per_year"]
    np.testing.assert_allclose(bars.x[one], lines.drop(["of it delisting", "interest"]), rtol=1e-12)
    np.testing.assert_allclose(np.sum(bars.x[one][:-1]), bars.x[one][-1], rtol=1e-12)
    # A step begins where the one before ended; totals begin at 0.
    np.testing.assert_allclose(bars.base[one][1:-1], np.cumsum(bars.x[one])[:-2], rtol=1e-12)
    assert bars.base[0] == bars.base[one][-1] == 0


def test_books_can_be_chosen_and_one_that_is_not_there_is_named(attribution):
    figure = attribution_figure(attribution, ["b"])

    assert figure.layout.yaxis.ticktext[0] == "<b>b</b>"
    assert f"rgba({int(PALETTE[0][1:3], 16)}," in figure.data[0].marker.color[-1]
    with pytest.raises(SettingsError, match="no book 'c': give names from <a>, b"):
        attribution_figure(attribution, ["b", "c"])
