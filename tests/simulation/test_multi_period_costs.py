"""Plans of several trades under costs of the user's own."""

from __future__ import annotations

import numpy as np
import pytest
from multi_period_cases import RISK, N, decide, drawn, market

from backtest.costs import CvxpyCost, LeverageLimit, SeparableCost, TradingCost
from backtest.errors import CostError, SettingsError, SolverError
from backtest.simulation.policies import MultiPeriod
from backtest.solver import PositionSolver


class Stamp(SeparableCost):
    """A duty on purchases."""

    cash = True
    paid_per_trade = True

    def value(self, q, held, market):
        return 0.001 * (q - held).clamp(min=0)

    def expression(self, x, held, market):
        import cvxpy as cp

        return 0.001 * cp.sum(cp.pos(x - held))


class WorstLoss(CvxpyCost):
    """The largest of five losses."""

    def expression(self, x, held, market):
        import cvxpy as cp

        losses = np.random.default_rng(2).normal(size=(5, N))
        return 0.01 * cp.max(losses @ x)


class Silent(SeparableCost):
    """Without a CVXPY form."""

    def value(self, q, held, market):
        return 0.001 * q.square()


class Unbent(SeparableCost):
    """Depends on what was held in another way than by the trade."""

    paid_per_trade = True

    def value(self, q, held, market):
        return 0.001 * q.square() * (1 + held.square())


def test_a_cost_of_the_users_counts_at_every_trade():
    fee = PositionSolver(RISK + TradingCost(buy_fee=0.001), [LeverageLimit(1.0)])
    own = PositionSolver(RISK + Stamp(), [LeverageLimit(1.0)])
    p, held = drawn(7)

    q = decide(MultiPeriod(own, 3), p, held).q

    np.testing.assert_allclose(q, decide(MultiPeriod(fee, 3), p, held).q, rtol=0, atol=1e-7)


def test_an_expression_that_does_not_use_what_was_held_counts_at_every_position():
    solver = PositionSolver(RISK + WorstLoss(), [LeverageLimit(1.0)])
    p, held = drawn(8)

    q = decide(MultiPeriod(solver, 1), p, held).q

    np.testing.assert_allclose(q, solver.solve(p, held, market=market(books=3)).q, rtol=0, atol=1e-6)


def test_costs_that_a_plan_cannot_have_are_refused():
    p, held = drawn(9)

    with pytest.raises(SettingsError, match="the cost unbent depends on what was held, and not by the trade"):
        decide(MultiPeriod(PositionSolver(RISK + Unbent()), 2), p, held)
    with pytest.raises(SolverError, match=r"has no CVXPY form.*expression\(x, held, market\)"):
        decide(MultiPeriod(PositionSolver(RISK + Silent()), 2), p, held)


def test_an_expression_that_is_not_convex_is_refused():
    class Bent(Stamp):
        def expression(self, x, held, market):
            import cvxpy as cp

            return -cp.sum(cp.square(x - held))

    with pytest.raises(CostError, match="not convex"):
        decide(MultiPeriod(PositionSolver(RISK + Bent()), 2), *drawn(9))
