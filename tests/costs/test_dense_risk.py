"""Dense risk: how it splits, singular and degenerate covariances, derivatives, estimates, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cost_cases import ASSETS, HELD, MARKET, B, N, problem_of

from backtest.costs import DenseRisk, FactorRisk
from backtest.costs.semidefinite import semidefinite_root, split
from backtest.costs.shrunk_covariance import shrunk_covariance
from backtest.errors import CostError, LabelError
from backtest.market import MarketPanel

RNG = np.random.default_rng(5)
Q = torch.as_tensor(RNG.normal(size=(B, N)))
THIN = RNG.normal(size=(40, 6)) * 0.01
UNIT_ROWS = THIN / np.linalg.norm(THIN, axis=1, keepdims=True)
VARIANCE = RNG.uniform(1e-4, 4e-4, size=40)
FULL = (lambda root: root @ root.T)(RNG.normal(size=(N, N)) * 0.01)
SPLITS = {
    "low rank": (THIN @ THIN.T, 6, False),
    "low rank and a multiple of the identity": (THIN @ THIN.T + 1e-4 * np.eye(40), 6, True),
    "low rank in units of volatility": (
        np.sqrt(np.outer(VARIANCE, VARIANCE)) * (UNIT_ROWS @ UNIT_ROWS.T + np.eye(40)), 6, True,
    ),
    "a factor model": (THIN @ THIN.T + np.diag(VARIANCE), 39, True),
    "uncorrelated": (np.diag(VARIANCE), 0, True),
    "a multiple of the identity": (np.eye(40), 0, True),
    "no risk": (np.zeros((40, 40)), 0, False),
    "one asset": (np.array([[4.0]]), 0, True),
    "no risk on one asset": (np.diag([0.0, *VARIANCE]), 40, False),
    "all correlated": (np.ones((40, 40)), 1, False),
    "odd scales": (np.diag(10.0 ** np.arange(-12, 13)), 0, True),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_a_covariance_splits_into_a_diagonal_and_few_columns(name):
    sigma, columns, has_diagonal = SPLITS[name]
    diagonal, loadings = split(torch.as_tensor(sigma))
    scale = np.sqrt(np.diag(sigma))
    error = abs(diagonal.diag().numpy() + (loadings @ loadings.mT).numpy() - sigma)

    assert loadings.shape[-1] == columns
    assert bool((diagonal > 0).all()) is has_diagonal
    assert bool((diagonal >= 0).all())
    assert (error <= 1e-13 * np.outer(scale, scale) + 1e-300).all()


def test_a_root_gives_back_a_singular_matrix():
    root = semidefinite_root(torch.as_tensor(THIN @ THIN.T))

    assert root.shape == (40, 6)
    np.testing.assert_allclose(root @ root.mT, THIN @ THIN.T, atol=1e-17)


def test_a_dense_covariance_costs_what_the_factor_model_it_was_made_of_costs():
    loadings, specific = RNG.normal(size=(N, 2)) * 0.01, RNG.uniform(1e-4, 4e-4, N)
    dense = DenseRisk(loadings @ loadings.T + np.diag(specific))
    factor = FactorRisk(loadings=loadings, specific_variance=specific)

    torch.testing.assert_close(dense.value(Q, HELD, None), factor.value(Q, HELD, None), rtol=1e-12, atol=1e-18)


def test_a_labelled_covariance_is_put_in_the_order_of_the_assets():
    order = list("DBEAC")
    frame = pd.DataFrame(FULL, index=ASSETS, columns=ASSETS)
    plain, labelled = DenseRisk(FULL), DenseRisk(frame.loc[order, order[::-1]])

    torch.testing.assert_close(labelled.value(Q, HELD, MARKET), plain.value(Q, HELD, MARKET), rtol=1e-14, atol=0)
    torch.testing.assert_close(problem_of(labelled).cost(Q), problem_of(plain).cost(Q), rtol=1e-12, atol=0)


def test_a_covariance_is_read_once_so_that_changing_the_array_later_changes_nothing():
    array, tensor = FULL.copy(), torch.as_tensor(FULL.copy())
    risks = [DenseRisk(array), DenseRisk(tensor)]
    before = [(risk.value(Q, HELD, None), problem_of(risk).cost(Q)) for risk in risks]
    array *= 2
    tensor *= 2

    for risk, (value, cost) in zip(risks, before, strict=True):
        assert torch.equal(risk.value(Q, HELD, None), value)
        assert torch.equal(problem_of(risk).cost(Q), cost)


def test_what_is_shared_by_all_rows_has_one_row():
    problem = problem_of(DenseRisk(FULL))

    assert problem.loadings.shape == (1, N, N - 1)
    assert problem.diagonal.shape == (1, N)
    assert problem_of(DenseRisk(np.stack([FULL, 2 * FULL, 3 * FULL]))).loadings.shape[0] == B


DEGENERATE = {
    "a multiple of the identity": np.eye(N),
    "repeated eigenvalues": np.diag([1.0, 1.0, 2.0, 2.0, 2.0]),
    "all pairs equally correlated": 0.5 * np.eye(N) + 0.5,
    "full": FULL * 1e4,
    "one asset": np.array([[2.0]]),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_derivatives_in_a_covariance_are_right_also_where_eigenvalues_repeat(name):
    sigma = torch.as_tensor(DEGENERATE[name]).requires_grad_()
    q = Q[:, : len(sigma)]

    def cost(terms) -> torch.Tensor:
        exposure = terms.loadings[0].mT @ q.unsqueeze(-1)
        return ((terms.diagonal * q * q).sum(-1) + exposure.square().sum((-1, -2))).pow(1.5).sum()

    def grads(total):
        (first,) = torch.autograd.grad(total, sigma, create_graph=True)
        weights = torch.arange(first.numel(), dtype=first.dtype).view_as(first)
        (second,) = torch.autograd.grad((first * (weights + weights.mT)).sum(), sigma)
        return first, (second + second.mT) / 2

    actual = grads(cost(DenseRisk(sigma).terms(torch.zeros_like(q), None)))
    expected = grads(torch.einsum("bi,ij,bj->b", q, sigma, q).pow(1.5).sum())

    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_derivatives_through_a_singular_covariance_reach_what_it_was_made_of():
    root = torch.as_tensor(THIN[:N, :2] * 100).requires_grad_()
    risk = DenseRisk(root @ root.mT)
    by_terms, by_value = problem_of(risk).cost(Q).sum(), risk.value(Q, HELD, None).sum()
    actual, expected = (torch.autograd.grad(total, root, retain_graph=True)[0] for total in (by_terms, by_value))

    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


def test_a_singular_factor_covariance_has_derivatives_too():
    root = torch.as_tensor(RNG.normal(size=(3, 1))).requires_grad_()
    loadings = torch.as_tensor(RNG.normal(size=(N, 3)))
    risk = FactorRisk(loadings=loadings, factor_covariance=root @ root.mT, specific_variance=1.0)
    (actual,) = torch.autograd.grad(problem_of(risk).cost(Q).sum(), root)
    (expected,) = torch.autograd.grad(((Q @ loadings @ root).square() / 2).sum(), root)

    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


T, LOOKBACK = 120, 40
RETURNS = RNG.normal(size=(T, 1)) * 0.01 + RNG.normal(size=(T, N)) * RNG.uniform(0.005, 0.03, N)


def panel_of(returns=RETURNS) -> MarketPanel:
    index = pd.bdate_range("2020-01-01", periods=len(returns))
    frame = pd.DataFrame(returns, index=index, columns=[f"S{i}" for i in range(N)])
    return MarketPanel.from_returns(frame, periods_per_year=252, name="test")


def test_an_estimate_is_the_ledoit_wolf_covariance_of_scaled_returns():
    from sklearn.covariance import ledoit_wolf

    volatility = RETURNS.std(axis=0)
    scores = (RETURNS - RETURNS.mean(axis=0)) / volatility
    expected, shrinkage = ledoit_wolf(scores, assume_centered=True)
    diagonal, loadings = shrunk_covariance(RETURNS)
    actual = (np.diag(diagonal) + loadings @ loadings.T) / np.outer(volatility, volatility)

    assert 0 < shrinkage < 1
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


def test_an_estimate_is_to_the_solver_what_it_is_to_the_simulator():
    risk, market = DenseRisk(lookback=LOOKBACK).estimate(panel_of()), panel_of().at([25, 60, 119])
    value = risk.value(Q, HELD, market)

    np.testing.assert_allclose(problem_of(risk, market=market).cost(Q), value.sum(-1), rtol=1e-12)
    for row, number in enumerate([25, 60, 119]):
        alone = risk.value(Q[row : row + 1], HELD[row : row + 1], panel_of().at([number]))
        torch.testing.assert_close(value[row : row + 1], alone, rtol=1e-13, atol=0)


@pytest.mark.parametrize("row", [20, 60, 118])
def test_garbling_the_future_leaves_every_earlier_estimate_equal_to_the_bit(row):
    panel = panel_of()
    values = [
        DenseRisk(lookback=LOOKBACK).estimate(each).value(Q, HELD, each.at([row]))
        for each in (panel, panel.garbled_after(row), panel.until(row))
    ]

    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_names_with_missing_or_constant_returns_leave_a_usable_estimate():
    returns = RETURNS.copy()
    returns[RNG.random(returns.shape) < 0.2] = np.nan
    returns[:, 1], returns[:, 2] = 0.0, np.nan
    diagonal, loadings = shrunk_covariance(returns)
    volatility = np.sqrt(diagonal + (loadings**2).sum(axis=1))

    assert (diagonal > 0).all()
    assert (loadings[[1, 2]] == 0).all()
    np.testing.assert_allclose(
        volatility[[1, 2]], np.quantile(np.nanstd(returns[:, [0, 3, 4]], axis=0), 0.75), rtol=0.05
    )


BAD = np.array([[1.0, 2.0], [2.0, 1.0]])
LOPSIDED = np.array([[1.0, 0.5], [0.0, 1.0]])
ABCDF = list("ABCDF")
GIVEN = DenseRisk(FULL)
ESTIMATED = DenseRisk(lookback=LOOKBACK)
FITTED = ESTIMATED.estimate(panel_of())
REFUSED = [
    (CostError, r"takes either covariance= or lookback=", lambda: DenseRisk()),
    (CostError, r"takes either covariance= or lookback=", lambda: DenseRisk(FULL, lookback=5)),
    (CostError, r"lookback must be at least 2 rows, got 1", lambda: DenseRisk(lookback=1)),
    (CostError, r"has shape \(5, 2\): give \(N, N\)", lambda: DenseRisk(FULL[:, :2])),
    (CostError, r"not positive semidefinite: eigenvalue -1$", lambda: DenseRisk(BAD)),
    (CostError, r"not positive semidefinite: eigenvalue -1e-06", lambda: DenseRisk(1e-6 * BAD)),
    (CostError, r"not positive semidefinite: eigenvalue -1$", lambda: DenseRisk(np.stack([np.eye(2), BAD]))),
    (CostError, r"semidefinite: eigenvalue -1e-10", lambda: DenseRisk(np.array([[0.0, 1e-5], [1e-5, 1.0]]))),
    (CostError, r"semidefinite: eigenvalue -1e-20", lambda: DenseRisk(np.diag([1.0, -1e-20]))),
    (CostError, r"not symmetric: 0.5 at \(0, 1\), 0 at \(1, 0\)", lambda: DenseRisk(LOPSIDED)),
    (CostError, r"must be finite, got nan at \(1, 1\)", lambda: DenseRisk(np.diag([1.0, np.nan]))),
    (CostError, r"\(5, 5\), which does not fit 3 rows of 4 assets", lambda: GIVEN.terms(HELD[:, 1:], None)),
    (CostError, r"\(2, 5, 5\), which does not fit 3 rows", lambda: DenseRisk(np.stack([FULL] * 2)).terms(HELD, None)),
    (CostError, r"not estimated yet: call solver.estimate\(panel\) first", lambda: ESTIMATED.value(Q, HELD, MARKET)),
    (CostError, r"differs from row to row: pass market=", lambda: FITTED.value(Q, HELD, None)),
    (CostError, r"at row 19: its first is at row 20", lambda: FITTED.value(Q, HELD, panel_of().at([19]))),
    (CostError, r"needs 21 rows of returns, the panel has 10", lambda: ESTIMATED.estimate(panel_of(RETURNS[:10]))),
    (LabelError, r"must name the same assets", lambda: DenseRisk(pd.DataFrame(FULL, index=ASSETS, columns=ABCDF))),
    (
        LabelError,
        r"missing \['E'\], unknown \['F'\]",
        lambda: DenseRisk(pd.DataFrame(FULL, index=ABCDF, columns=ABCDF)).terms(HELD, MARKET),
    ),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_what_is_no_covariance_is_refused_in_words(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("lookback", [2, 3, 4])
def test_a_short_window_has_an_estimate_from_the_row_it_names(lookback):
    risk = DenseRisk(lookback=lookback).estimate(panel_of())

    assert np.isfinite(risk.value(Q[:1], HELD[:1], panel_of().at([risk.first_row])).numpy()).all()


def test_an_estimate_has_no_more_factors_than_assets():
    terms = DenseRisk(lookback=60).estimate(panel_of()).terms(HELD[:1], panel_of().at([100]))

    assert terms.loadings[0].shape[-1] <= HELD.shape[-1]


def test_a_covariance_in_single_precision_is_one_matrix_to_solver_and_value():
    risk = DenseRisk(torch.as_tensor(FULL).float())

    torch.testing.assert_close(problem_of(risk).cost(Q), risk.value(Q, HELD, None).sum(-1), rtol=1e-12, atol=0)
