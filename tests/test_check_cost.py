"""The check that users run on their costs: honest ones pass and are described, each fault is named."""

from __future__ import annotations

import re

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import torch

from backtest.contracts import check_cost
from backtest.costs import L1, Cost, CostTerms, Exposure, FactorRisk, Ridge, SoftL1, TradingCost
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.costs.cvxpy_cost import CvxpyCost
from backtest.errors import CostError
from backtest.market import MarketSnapshot


def separable(function, **attributes):
    """Make a SeparableCost called Mine from its value."""
    body = {"value": lambda self, q, held, market: function(q, held), **attributes}
    return type("Mine", (SeparableCost,), body)()


def smooth(function, **attributes):
    """Make a SmoothCost called Mine from its value."""
    return type("Mine", (SmoothCost,), {"value": lambda self, q, held, market: function(q, held), **attributes})()


TRADE = {"cash": True, "paid_per_trade": True}
LOADINGS = np.random.default_rng(0).normal(size=(8, 2))


@pytest.mark.parametrize(
    ("cost", "kinks"),
    [
        (separable(lambda q, held: 0.005 * (q - held).clamp(min=0), **TRADE), ["held"]),
        (separable(lambda q, held: (q - held).abs().pow(1.5), **TRADE), ["held"]),
        (L1(1e-3) + TradingCost(half_spread=1e-3), ["0", "held"]),
        (separable(lambda q, held: q.square() + 1e-3 * (q - 0.05).clamp(min=0)), ["0.05"]),
        (separable(lambda q, held: q**4 + torch.sqrt(q.square() + 1e-6) - 1e-3), []),
        (smooth(lambda q, held: q.sum(-1) ** 4 + q.square().sum(-1)), []),
        (TradingCost(half_spread=1e-3), ["held"]),
        (2.0 * L1(1e-3) + Ridge(1.0), ["0"]),
        (SoftL1(width=1e-3), []),
        (Exposure(loadings=LOADINGS), []),
    ],
)
def test_an_honest_cost_passes_and_its_kinks_are_found(cost, kinks):
    report = check_cost(cost)

    assert [kink.where for kink in report.kinks] == kinks
    assert report.lowest == pytest.approx(0, abs=1e-3)
    assert all("no trade costs" in finding for finding in report.findings)  # L1 does, beside TradingCost
    assert f"{report.name} keeps its contract on 3 rows of 8 assets" in str(report)


def test_kinks_tell_a_jump_from_a_vertical_slope_and_what_is_declared():
    jump = check_cost(separable(lambda q, held: 0.005 * (q - held).clamp(min=0), **TRADE)).kinks[0]
    vertical = check_cost(separable(lambda q, held: (q - held).abs().pow(1.5), **TRADE)).kinks[0]
    unknown = check_cost(separable(lambda q, held: 1e-3 * (q - 0.05).clamp(min=0))).kinks[0]
    known = check_cost(
        separable(lambda q, held: 1e-3 * (q - 0.05).clamp(min=0), kinks=lambda self, held, market: (0.05,))
    ).kinks[0]

    assert jump.jump == pytest.approx(0.005, rel=1e-9)
    assert vertical.jump is None
    assert str(jump) == "held: the slope jumps by up to 0.005"
    assert str(vertical) == "held: the slope is vertical"
    assert (jump.declared, vertical.declared, unknown.declared, known.declared) == (True, True, False, True)
    assert str(unknown) == "0.05: the slope jumps by up to 0.001; not declared by kinks()"
    assert known.where == "kinks()[0]"


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (separable(lambda q, held: torch.sqrt(q.abs() + 1e-3)), r"not convex: asset \d \(row \d\) costs .* half-way"),
        (separable(lambda q, held: torch.where(q == 0, 0.0 * q, 0.001 + 0 * q)), "not convex"),
        (separable(lambda q, held: q.square() - 1e-3 * (q - 0.05).clamp(min=0)), "not convex"),
        # A ticket that is paid from some size on: the cost jumps, its slope does not fall.
        (separable(lambda q, held: 1e-4 * ((q - held).abs() > 1e-6).to(q.dtype) + 0 * q, **TRADE), "not convex"),
        (separable(lambda q, held: 1e-3 * (q - held).abs() * ((q - held).abs() > 0.01), **TRADE), "not convex"),
        (smooth(lambda q, held: q.square().sum(-1) - 2.001 * q[:, 0] * q[:, 1]), "not convex .* half-way"),
        (separable(lambda q, held: q.square() - q, cash=True), r"costs -0.25 .* at weight 0.(5|4999).* never negative"),
        (separable(lambda q, held: -torch.log(1 - q.abs())), "costs nan for asset 0 .* by a constraint"),
        (separable(lambda q, held: q.square_()), "Mine.value changes q"),
        (separable(lambda q, held: q.square().sum(-1)), r"shape \(3,\) .* not summed"),
        (separable(lambda q, held: q * q.detach()), "automatic differentiation gives .* without detach"),
        (separable(lambda q, held: q.square() * torch.rand_like(q)), "other numbers when it is called again"),
        (separable(lambda q, held: q.square() * (1 + q.abs().sum(-1, keepdim=True))), "write this one as a SmoothCost"),
        (separable(lambda q, held: q.square() * (1 + q.square().sum(0))), "row 1 changed with the weights of row 0"),
        (separable(lambda q, held: (q - held).square()), "depends on held, but says it does not"),
        (smooth(lambda q, held: q.square().sum(-1) + q.abs().sum(-1)), "Mine has a kink at weight .* SeparableCost"),
        (smooth(lambda q, held: q.square().sum(-1).sqrt()), "has a kink|second derivative is not finite"),
        (
            smooth(
                lambda q, held: q.square().sum(-1),
                curvature=lambda self, q, held, market: (torch.ones_like(q), q.unsqueeze(-1)[:, :, :0]),
            ),
            "its curvature differs by .* correct its curvature method",
        ),
        (3, "3 is no Cost"),
    ],
)
def test_a_broken_cost_is_refused_in_plain_words(cost, message):
    with pytest.raises(CostError, match=message):
        check_cost(cost)


def test_the_two_points_of_a_proof_prove_it():
    cost = separable(lambda q, held: torch.sqrt(q.abs() + 1e-3))
    with pytest.raises(CostError) as caught:
        check_cost(cost)
    points = re.search(r"at weight (\S+) and \S+ at (\S+), but", str(caught.value))
    low, high = (float(point) for point in points.groups())

    def value(weight):
        return float(cost.value(torch.tensor([[weight]], dtype=torch.float64), torch.zeros(1, 1), None))

    assert value((low + high) / 2) > (value(low) + value(high)) / 2


def test_findings_are_said_and_not_raised():
    fee = check_cost(separable(lambda q, held: 0.001 + (q - held).abs(), **TRADE))
    reward = check_cost(separable(lambda q, held: q.square() - 0.1 * q))
    still = check_cost(separable(lambda q, held: q.abs(), **TRADE))
    powers = check_cost(separable(lambda q, held: ((q - held) * (q > held)).pow(1.5), **TRADE))

    assert "note: no trade costs 0.001" in str(fee)
    assert "it is negative" in reward.findings[0]
    assert reward.lowest == pytest.approx(-0.0025, rel=1e-2)
    assert still.findings[0] == "said to depend on what is held, but it did not at the weights tried"
    assert "second derivative is NaN" in powers.findings[0]


def test_a_cost_whose_terms_are_not_its_value_is_refused():
    class Twice(Cost):
        def value(self, q, held, market):
            return q.square()

        def terms(self, held, market):
            return CostTerms(diagonal=torch.ones_like(held))

    with pytest.raises(CostError, match=r"its terms cost .* would minimise another cost than is charged"):
        check_cost(Twice())


def with_expression(expression):
    return separable(
        lambda q, held: 0.005 * (q - held).clamp(min=0),
        expression=lambda self, x, held, market: expression(x, held),
        **TRADE,
    )


def test_an_expression_is_compared_by_value_and_by_position():
    report = check_cost(with_expression(lambda x, held: 0.005 * cp.sum(cp.pos(x - held))))

    assert report.value_gap <= 1e-12
    assert report.position_gap <= 1e-7
    assert "agrees with its CVXPY expression" in str(report)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda x, held: 0.006 * cp.sum(cp.pos(x - held)), "its CVXPY expression costs .* where its value is"),
        (lambda x, held: 0.005 * cp.pos(x - held), r"shape \(8,\) .* return one convex number"),
        (lambda x, held: -cp.sum(cp.pos(x - held)), "curvature CONCAVE"),
    ],
)
def test_an_expression_that_is_another_cost_is_refused(expression, message):
    with pytest.raises(CostError, match=message):
        check_cost(with_expression(expression))


def test_a_cvxpy_cost_is_checked_as_far_as_it_goes():
    class Worst(CvxpyCost):
        def expression(self, x, held, market):
            return cp.max(LOADINGS.T @ x) + cp.norm1(x - held)

    report = check_cost(Worst())

    assert report.kinks is None
    assert not report.separable


def test_market_and_held_give_the_size_of_the_problem_and_their_labels_are_named():
    market = MarketSnapshot(assets=pd.Index(list("ABCDE")), rows=np.arange(2))
    cost = separable(lambda q, held: torch.sqrt(q.abs() + 1e-3))

    assert check_cost(Ridge(1.0), market=market).shape == (2, 5)
    assert check_cost(TradingCost(half_spread=np.full((4, 3), 1e-3)), held=np.zeros((4, 3))).shape == (4, 3)
    assert check_cost(Ridge(1.0), held=np.zeros(3)).shape == (3, 3)
    assert check_cost(FactorRisk(loadings=LOADINGS, specific_variance=1e-2), n_assets=8).separable is False
    with pytest.raises(CostError, match=r"asset 'A' \(row 0\)"):
        check_cost(cost, market=market)
