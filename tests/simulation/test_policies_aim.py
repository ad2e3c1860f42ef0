"""Trading towards the aim portfolio: the closed form, its general solution, and the policy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.costs import TradingCost
from backtest.errors import DataError, LabelError, SettingsError
from backtest.simulation import simulate
from backtest.simulation.policies import AimPortfolio
from backtest.simulation.policies.aim_rule import AimRule


def model(seed=0, n=4, k=3):
    """A random model: covariance, a trading cost of its own, loadings, and factors that mix as they fade."""
    rng = np.random.default_rng(seed)
    root, dear = rng.normal(size=(2, n, n))
    fading = np.diag(rng.uniform(0.01, 0.5, k)) + 0.02 * rng.normal(size=(k, k))
    return {
        "covariance": root @ root.T / n + 0.3 * np.eye(n),
        "trading_cost": 20 * (dear @ dear.T / n + 0.3 * np.eye(n)),
        "loadings": rng.normal(size=(n, k)),
        "mean_reversion": fading,
    }


def iterated(covariance, trading_cost, loadings, mean_reversion, *, risk_aversion, discount, steps):
    """The first trade of `steps`, as (what it takes of x_prev, what it takes of f), by dynamic programming.

    The value of what comes later is -x'Ax/2 + x'Cf, 0 at the end; each step back maximises over x.
    """
    n, k = loadings.shape
    a, c = np.zeros((n, n)), np.zeros((n, k))
    for _ in range(steps):
        bent = trading_cost + discount * (risk_aversion * covariance + a)
        now = discount * (loadings + c @ (np.eye(k) - mean_reversion))
        of_held, of_factors = np.linalg.solve(bent, trading_cost), np.linalg.solve(bent, now)
        a, c = trading_cost - trading_cost @ of_held, trading_cost @ of_factors
    return of_held, of_factors


def first_trade(rule, held, factors):
    return held + rule.rate @ (rule.aim(factors) - held)


@pytest.mark.parametrize(("g", "l", "r"), [(1.0, 50.0, 0.01), (5.0, 100.0, 0.0), (0.2, 0.01, 0.3)])
def test_with_a_cost_proportional_to_risk_the_rule_is_the_published_closed_form(g, l, r):  # noqa: E741
    sigma, loadings, phi = (model()[name] for name in ("covariance", "loadings", "mean_reversion"))
    f, x_prev = np.random.default_rng(1).normal(size=3), np.random.default_rng(2).normal(size=4)
    b = g * (1 - r) + l * r
    a = (-b + np.sqrt(b**2 + 4 * g * l * (1 - r) ** 2)) / (2 * (1 - r))
    aim = np.linalg.solve(g * sigma, loadings @ np.linalg.solve(np.eye(3) + a * phi / g, f))

    rule = AimRule.of(sigma, l * sigma, loadings, phi, risk_aversion=g, discount=1 - r)

    np.testing.assert_allclose(rule.aim(f), aim, rtol=0, atol=1e-12 * np.abs(aim).max())
    np.testing.assert_allclose(rule.rate, a / l * np.eye(4), rtol=0, atol=1e-13)
    expected = (1 - a / l) * x_prev + a / l * aim
    np.testing.assert_allclose(first_trade(rule, x_prev, f), expected, rtol=0, atol=1e-12 * np.abs(aim).max())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), k=st.integers(1, 4), discount=st.floats(0.5, 0.99))
def test_any_model_against_dynamic_programming(seed, n, k, discount):
    given_model = model(seed, n, k)
    held, factors = np.random.default_rng(seed).normal(size=n), np.random.default_rng(seed + 1).normal(size=k)
    of_held, of_factors = iterated(**given_model, risk_aversion=2.0, discount=discount, steps=800)

    found = first_trade(AimRule.of(**given_model, risk_aversion=2.0, discount=discount), held, factors)

    expected = of_held @ held + of_factors @ factors
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(np.abs(expected).max(), 1.0))


def test_cheap_trading_goes_all_the_way_to_markowitz_and_dear_trading_nowhere():
    given_model = model() | {"trading_cost": 1e-9 * np.eye(4)}
    f = np.array([1.0, -0.5, 0.3])
    markowitz = np.linalg.solve(2.0 * given_model["covariance"], given_model["loadings"] @ f)

    cheap = first_trade(AimRule.of(**given_model, risk_aversion=2.0, discount=0.99), np.zeros(4), f)
    dear = AimRule.of(**given_model | {"trading_cost": 1e9 * np.eye(4)}, risk_aversion=2.0, discount=0.99)

    np.testing.assert_allclose(cheap, markowitz, rtol=1e-6)
    assert np.abs(dear.rate).max() < 1e-3


def test_the_aim_leans_to_factors_that_last():
    rule = AimRule.of(np.eye(1), 50 * np.eye(1), np.ones((1, 2)), np.diag([0.5, 0.005]), risk_aversion=1, discount=1)

    assert rule.aim(np.array([0.0, 1.0]))[0] > 4 * rule.aim(np.array([1.0, 0.0]))[0]


def test_each_assets_own_factors_are_common_ones_that_nobody_else_loads_on():
    given_model = model() | {"loadings": np.random.default_rng(3).normal(size=(4, 3))}
    own = np.random.default_rng(4).normal(size=(4, 3))
    apart = {
        **given_model,
        "loadings": np.kron(np.eye(4), np.ones((1, 3))) * np.tile(given_model["loadings"].reshape(-1), (4, 1)),
        "mean_reversion": np.kron(np.eye(4), given_model["mean_reversion"]),
    }

    found = AimRule.of(**given_model, risk_aversion=2.0, discount=0.95).aim(own, age=2)

    expected = AimRule.of(**apart, risk_aversion=2.0, discount=0.95).aim(own.reshape(-1), age=2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.fixture
def setting(random_panel):
    panel = random_panel(n_assets=3, cash_rate=None)
    rng = np.random.default_rng(7)
    return panel, {
        "factors": pd.DataFrame(rng.normal(size=(60, 2)), panel.dates, ["value", "trend"]),
        "loadings": pd.DataFrame(2e-4 * rng.normal(size=(3, 2)), panel.assets, ["value", "trend"]),
        "mean_reversion": [0.02, 0.3],
        "covariance": pd.DataFrame(4e-4 * (np.eye(3) + 0.3), panel.assets, panel.assets),
        "trading_cost": 50.0,
        "risk_aversion": 3.0,
        "discount": 0.99,
    }


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_simulation_follows_the_closed_form_with_factors_as_old_as_the_lag(setting, lag):
    panel, inputs = setting
    f, phi = inputs["factors"].to_numpy(), np.array(inputs["mean_reversion"])
    sigma, g, lam, d = inputs["covariance"].to_numpy(), 3.0, 50.0, 0.99
    b = g * d + lam * (1 - d)
    a = (-b + np.sqrt(b**2 + 4 * g * lam * d**2)) / (2 * d)

    result = simulate(panel, AimPortfolio(**inputs), costs=TradingCost(0.001), lag=lag)

    assert panel.row(result.fill_dates[0]) == lag
    for period in range(len(result.fill_dates)):
        left = f[period] * (1 - phi) ** lag
        aim = np.linalg.solve(g * sigma, inputs["loadings"].to_numpy() @ (left / (1 + a * phi / g)))
        expected = (1 - a / lam) * result.held[0, period] + a / lam * aim
        np.testing.assert_allclose(result.positions[0, period], expected, rtol=0, atol=1e-13)


def test_labels_and_not_positions_align_the_inputs(setting):
    panel, inputs = setting
    plain = {name: table.to_numpy() for name, table in inputs.items() if isinstance(table, pd.DataFrame)}
    order = ["N2", "N0", "N1"]
    shuffled = {
        "factors": inputs["factors"].iloc[::-1, ::-1],
        "loadings": inputs["loadings"].loc[order],
        "covariance": inputs["covariance"].loc[order, ["N1", "N2", "N0"]],
        "mean_reversion": [0.3, 0.02],
    }
    expected = simulate(panel, AimPortfolio(**inputs | plain), costs=None)

    result = simulate(panel, AimPortfolio(**inputs | shuffled), costs=None)

    np.testing.assert_allclose(result.positions, expected.positions, rtol=0, atol=1e-15)


def test_ways_to_give_the_same_trading_cost(setting):
    panel, inputs = setting
    inputs |= {"covariance": np.diag([1e-4, 2e-4, 3e-4])}
    costs = [50.0, 50 * np.diag(inputs["covariance"]), 50 * inputs["covariance"]]

    first, *others = [simulate(panel, AimPortfolio(**inputs | {"trading_cost": cost}), costs=None) for cost in costs]

    for other in others:
        np.testing.assert_allclose(other.positions, first.positions, rtol=0, atol=1e-15)


def test_rows_without_factors_and_names_without_their_own_are_held(setting):
    panel, inputs = setting
    common = inputs["factors"].copy()
    common.iloc[30, 0] = np.nan
    common = common.drop(index=panel.dates[40])
    own = np.random.default_rng(8).normal(size=(60, 3, 2))
    own[20, 1, 0] = np.nan

    result = simulate(panel, AimPortfolio(**inputs | {"factors": common}), costs=None, lag=0)
    of_own = simulate(panel, AimPortfolio(**inputs | {"factors": own, "loadings": [1e-4, 2e-4]}), costs=None, lag=0)

    assert np.flatnonzero(result.turnover[0] < 1e-12).tolist() == [30, 40]
    assert np.argwhere(of_own.positions[0] == of_own.held[0]).tolist() == [[20, 1]]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"risk_aversion": 0.0}, SettingsError, "risk_aversion is 0.0"),
        ({"discount": 1.5}, SettingsError, "discount is 1.5"),
        ({"covariance": np.eye(2)}, DataError, r"covariance has shape \(2, 2\), expected \(3, 3\)"),
        ({"covariance": np.diag([1.0, 0, 1])}, DataError, "covariance has the eigenvalue 0: give a positive"),
        ({"covariance": np.eye(3) + np.eye(3, k=1)}, DataError, "covariance is not symmetric"),
        ({"trading_cost": 0.0}, DataError, "trading_cost has the eigenvalue 0"),
        ({"trading_cost": np.full(3, np.nan)}, DataError, r"trading_cost at \(0, 0\) is nan"),
        ({"mean_reversion": [0.1, -0.1]}, DataError, "eigenvalue -0.1: such factors grow"),
        ({"mean_reversion": np.eye(3)}, DataError, r"mean_reversion has shape \(3, 3\), expected \(2, 2\)"),
        ({"factors": np.zeros((59, 2))}, DataError, r"factors have shape \(59, 2\): give \(60, K\)"),
        ({"factors": np.full((60, 2), np.inf)}, DataError, r"factors at \(0, 0\) are infinite"),
        ({"factors": np.full((60, 2), np.nan)}, DataError, "factors are known on no date"),
        ({"loadings": pd.DataFrame(0.1, ["N0", "N1", "X"], ["value", "trend"])}, LabelError, "missing assets N2"),
        ({"loadings": pd.DataFrame(0.1, ["N0", "N1", "N2"], ["value", "size"])}, LabelError, "missing factors trend"),
        (
            {"factors": pd.DataFrame(0.1, pd.to_datetime(["2020-01-05", "2021-01-01"]), ["value", "trend"])},
            LabelError,
            "2021-01-01 00:00:00 is no date of the panel",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(setting, changes, error, message):
    panel, inputs = setting

    with pytest.raises(error, match=f"AimPortfolio.*{message}"):
        simulate(panel, AimPortfolio(**inputs | changes), costs=None)
