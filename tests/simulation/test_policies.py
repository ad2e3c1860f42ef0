"""What every policy must do, and the plain ones: hold, fixed weights, part of the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backtest.costs import DenseRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketSnapshot
from backtest.simulation import simulate
from backtest.simulation.policies import (
    AimPortfolio,
    Decision,
    EqualWeight,
    FixedWeights,
    Hold,
    MultiPeriod,
    PeriodicRebalance,
    Policy,
    ProportionalRebalance,
    RankLongShort,
    SolverPolicy,
)
from backtest.solver import PositionSolver

COSTS = TradingCost(0.001)
N = 5
VARIANCE = np.diag([1.0, 2.0, 1.5, 1.0, 3.0]) * 1e-4 + 5e-5
SOLVER = PositionSolver(
    5.0 * DenseRisk(pd.DataFrame(VARIANCE, [f"N{i}" for i in range(N)], [f"N{i}" for i in range(N)]))
    + TradingCost(0.001),
    [LeverageLimit(2.0), PositionLimit(0.7)],
)


def table(columns, seed):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(N, len(columns))), list(LABELS), columns)


LABELS = pd.Index([f"N{i}" for i in range(N)])
DATES = pd.date_range("2020-01-01", periods=60, freq="D")
FACTORS = pd.DataFrame(np.random.default_rng(5).normal(size=(60, 2)), DATES, ["slow", "fast"])
POLICIES = {
    "hold": Hold(),
    "equal weight": EqualWeight(),
    "fixed weights": FixedWeights(pd.Series([0.4, -0.2, 0.1, 0.3, 0.2], LABELS)),
    "weekly solver": PeriodicRebalance(SolverPolicy(SOLVER), "week"),
    "every 7 rows": PeriodicRebalance(EqualWeight(), 7),
    "part of the way": ProportionalRebalance(SolverPolicy(SOLVER), 0.3, tolerance=0.01),
    "monthly, part of the way": PeriodicRebalance(ProportionalRebalance(EqualWeight(), 0.5), "month"),
    "rank": RankLongShort(long=2, short=0.4, leverage=1.5, weights="rank"),
    "aim": AimPortfolio(
        FACTORS,
        1e-4 * table(["slow", "fast"], 0),
        [0.01, 0.3],
        pd.DataFrame(VARIANCE, LABELS, LABELS),
        50.0,
        risk_aversion=5.0,
    ),
    "multi-period": MultiPeriod(SOLVER, 2, discount=0.99),
}
each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())


@pytest.fixture
def forecasts():
    values = 2e-3 * np.random.default_rng(1).normal(size=(3, 60, N))
    values[:, 20, 2] = np.nan
    return values


def holed(panel):
    """The panel with returns that are missing here and there."""
    returns = panel.returns.copy()
    returns[15:18, 1] = np.nan
    returns[30:, 4] = np.nan
    return replace(panel, returns=returns, prices=None, tradable=None)


def rows_of(policy):
    """Where to simulate: a few rows around the changes at 30 for a slow policy."""
    return {"first_row": 26, "last_row": 36} if isinstance(policy, MultiPeriod) else {"first_row": 1, "last_row": 50}


def at_row(row, n_assets=N, dates=DATES):
    return MarketSnapshot(
        assets=LABELS if n_assets == N else pd.Index([f"N{i}" for i in range(n_assets)]),
        rows=np.array([row]),
        calendar=dates,
        periods_per_year=252,
    )


def decided(policy, p, held, *, row=0, tradable=None):
    """What a prepared policy decides, from arrays that it may not write on."""
    p, held = np.array(p, dtype=float), np.array(held, dtype=float)
    tradable = np.ones(held.shape, bool) if tradable is None else np.array(tradable)
    for given_array in (p, held, tradable):
        given_array.setflags(write=False)
    found = policy.decide(p, held, at_row(row, held.shape[1]), tradable)
    return found if isinstance(found, Decision) else Decision(found)


@each_policy
def test_nothing_known_later_moves_anything_before(policy, forecasts, random_panel):
    panel = holed(random_panel())
    changed = forecasts.copy()
    changed[:, 31:] = np.random.default_rng(9).normal(size=changed[:, 31:].shape)
    factors = FACTORS.copy()
    factors.iloc[31:] = 99.0
    other = policy
    if isinstance(policy, AimPortfolio):
        other = AimPortfolio(
            factors, policy.loadings, policy.mean_reversion, policy.covariance, policy.trading_cost, risk_aversion=5.0
        )

    rows = rows_of(policy)
    first = simulate(panel, policy, forecasts, costs=COSTS, **rows)
    second = simulate(panel.garbled_after(30), other, changed, costs=COSTS, **rows)

    known = first.fill_dates <= panel.dates[30]
    assert known.sum() >= 5
    assert first.positions[:, known].tobytes() == second.positions[:, known].tobytes()


@each_policy
def test_a_batch_is_its_single_runs_to_the_last_bit(policy, forecasts, random_panel):
    panel = holed(random_panel())
    forecasts[1, 30:] = np.nan  # books differ in what they can decide
    rows = rows_of(policy)
    together = simulate(panel, policy, forecasts, costs=COSTS, **rows)

    for book in range(3):
        alone = simulate(panel, policy, forecasts[book], costs=COSTS, **rows)
        assert together.positions[book].tobytes() == alone.positions[0].tobytes()


@each_policy
def test_the_order_of_assets_changes_nothing(policy, forecasts, random_panel):
    panel = holed(random_panel())
    order = [3, 0, 4, 2, 1]
    rows = rows_of(policy)
    first = simulate(panel, policy, forecasts, costs=COSTS, **rows)
    second = simulate(panel.select([f"N{i}" for i in order]), policy, forecasts[:, :, order], costs=COSTS, **rows)

    np.testing.assert_allclose(second.positions, first.positions[:, :, order], rtol=0, atol=1e-7)


@each_policy
def test_what_cannot_be_traded_stays_as_it_is(policy):
    prepared = policy.prepare(DATES, LABELS, lag=1)
    held = np.array([[0.1, 0.2, -0.3, 0.0, 0.4], [0.0] * N])
    p = 1e-3 * np.random.default_rng(2).normal(size=(2, N))
    tradable = np.array([[True, False, True, False, True], [False, True, True, True, True]])

    q = decided(prepared, p, held, row=30, tradable=tradable).q

    np.testing.assert_array_equal(q[~tradable], held[~tradable])


@each_policy
def test_a_book_in_which_nothing_can_be_traded_is_held(policy):
    prepared = policy.prepare(DATES, LABELS, lag=1)
    held = np.array([[0.1, 0.2, -0.3, 0.0, 0.4], [0.0] * N])

    found = decided(prepared, np.full((2, N), 1e-3), held, row=30, tradable=np.zeros((2, N), bool))

    np.testing.assert_array_equal(found.q, held)
    assert not found.failures


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "multi-period"])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_input_gets_finite_weights(name, data):
    policy = POLICIES[name].prepare(DATES, LABELS, lag=1)
    books = data.draw(st.integers(1, 3))
    forecast = st.one_of(st.just(np.nan), st.floats(-0.1, 0.1), st.sampled_from([0.0, 0.01]))
    p = data.draw(arrays.arrays(float, (books, N), elements=forecast))
    held = data.draw(arrays.arrays(float, (books, N), elements=st.floats(-1, 1, allow_subnormal=False)))
    tradable = data.draw(arrays.arrays(bool, (books, N)))

    found = decided(policy, p, held, row=data.draw(st.integers(1, 59)), tradable=tradable)

    ok = np.array([row not in found.failures for row in range(books)])
    assert np.isfinite(found.q[ok]).all()
    np.testing.assert_array_equal(found.q[ok][~tradable[ok]], held[ok][~tradable[ok]])


def test_hold_never_trades(random_panel):
    result = simulate(random_panel(), Hold(), np.ones((60, N)), costs=COSTS)

    assert (result.turnover == 0).all()
    np.testing.assert_array_equal(decided(Hold(), [[np.nan, 1.0]], [[0.3, -0.4]]).q, [[0.3, -0.4]])


def test_fixed_weights_are_a_table_with_the_same_row_every_day(random_panel, targets):
    panel = random_panel()
    weights = [0.4, -0.2, 0.1, 0.3, 0.2]
    # Row 0 of a table is filled at row 1, and so are weights from row 1 on.
    expected = simulate(panel, targets(panel, dict.fromkeys(range(59), weights)), costs=COSTS)

    shuffled = pd.Series(weights, LABELS)[["N3", "N0", "N4", "N2", "N1"]]
    for given_weights in (weights, shuffled):
        result = simulate(panel, FixedWeights(given_weights), costs=COSTS, first_row=1)
        assert result.wealth.tobytes() == expected.wealth.tobytes()


def test_weights_given_are_copied():
    weights = np.array([0.5, 0.5])
    policy = FixedWeights(weights)
    weights[:] = 9.0

    np.testing.assert_array_equal(decided(policy, [[0.0, 0.0]], [[0.0, 0.0]]).q, [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (pd.Series([0.5, 0.5], ["N0", "X"]), LabelError, "missing assets N1, N2, N3, N4; unknown assets X"),
        ([0.5, 0.5], LabelError, "2 weights without labels for a panel of 5"),
        (pd.Series([0.5, np.nan], ["N0", "N1"]), DataError, "N1: the weight is nan: write 0"),
        ([0.1, np.inf], DataError, "asset 1: the weight is inf"),
        (np.zeros((2, 5)), DataError, r"shape \(2, 5\): give \(N,\)"),
    ],
)
def test_fixed_weights_that_do_not_fit_are_refused(weights, error, message):
    with pytest.raises(error, match=f"FixedWeights: .*{message}"):
        FixedWeights(weights).prepare(DATES, LABELS, lag=1)


def test_part_of_the_way_by_hand():
    policy = ProportionalRebalance(FixedWeights([0.5, 0.5, 0.0]), 0.25)

    q = decided(policy, np.zeros((1, 3)), [[0.1, 0.9, 0.0]]).q

    np.testing.assert_allclose(q, [[0.2, 0.8, 0.0]], rtol=0, atol=1e-15)


def test_names_within_the_tolerance_are_not_traded():
    policy = ProportionalRebalance(FixedWeights([0.5, 0.5, 0.0, 0.25]), 1.0, tolerance=0.125)

    q = decided(policy, np.zeros((1, 4)), [[0.375, 0.25, 0.0625, 0.5]]).q

    # Exactly on the edge counts as within; beyond it, the whole fraction is traded.
    np.testing.assert_array_equal(q, [[0.375, 0.5, 0.0625, 0.25]])


def test_the_distance_left_shrinks_by_the_fraction_every_time():
    policy = ProportionalRebalance(FixedWeights([0.6, 0.4]), 0.3)
    held = np.array([[0.0, 1.0]])

    for step in range(1, 20):
        held = decided(policy, np.zeros((1, 2)), held).q
        np.testing.assert_allclose(held - [[0.6, 0.4]], 0.7**step * np.array([[-0.6, 0.6]]), rtol=0, atol=1e-15)


def test_the_whole_way_is_the_policy_itself_to_the_last_bit(random_panel, forecasts):
    panel = holed(random_panel())
    expected = simulate(panel, SolverPolicy(SOLVER), forecasts, costs=COSTS)

    result = simulate(panel, ProportionalRebalance(SolverPolicy(SOLVER), 1.0), forecasts, costs=COSTS)

    assert result.wealth.tobytes() == expected.wealth.tobytes()


class Fails(Policy):
    """Fails in the second book and remarks on the first."""

    first_fill = 7
    constraints = (LeverageLimit(1.0),)
    n_books = 2

    def decide(self, p, held, market, tradable):
        q = np.full_like(held, 0.1)
        q[1] = np.nan
        return Decision(q, {1: "no idea"}, {0: "so so"})


@pytest.mark.parametrize("wrapped", [ProportionalRebalance(Fails(), 0.5), PeriodicRebalance(Fails(), "week")])
def test_what_the_policy_within_says_is_passed_on(wrapped):
    prepared = wrapped.prepare(DATES, LABELS, lag=1)
    found = decided(prepared, np.zeros((2, N)), np.zeros((2, N)), row=20)

    assert dict(found.failures) == {1: "no idea"}
    assert dict(found.remarks) == {0: "so so"}
    assert (prepared.first_fill, prepared.constraints, prepared.n_books) == (7, Fails.constraints, 2)


def test_a_book_that_fails_part_of_the_way_holds(random_panel):
    result = simulate(random_panel(), ProportionalRebalance(Fails(), 0.5), np.zeros((2, 60, N)), costs=None)

    np.testing.assert_allclose(result.positions[0, 0], 0.05)
    assert (result.positions[1] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction is 0.0"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"fraction": 0.5, "tolerance": -0.1}, "tolerance is -0.1"),
        ({"fraction": 0.5, "tolerance": np.nan}, "tolerance is nan"),
    ],
)
def test_part_of_the_way_refuses_settings_out_of_range(options, message):
    with pytest.raises(SettingsError, match=message):
        ProportionalRebalance(Hold(), **options)
