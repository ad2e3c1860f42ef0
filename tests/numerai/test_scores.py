"""Numerai's scores: published numbers (R5), a slow reference everywhere, `numerai-tools` where it is installed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import slow_scores as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import DataError
from backtest.numerai.scores import (
    benchmark_contribution,
    contribution,
    corr20v2,
    correlation_with_meta_model,
    feature_exposure,
    feature_neutral_correlation,
    top_bottom_correlation,
)

TARGET = np.array([0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 1])
A = np.arange(10) / 10
SH = np.array([0.3, 0.1, 0.4, 0.15, 0.92, 0.65, 0.35, 0.8, 0.79, 0.5])
META = np.array([0.5, 0.1, 0.4, 0.2, 0.6, 0.7, 0.3, 0.8, 0.9, 0.95])


def era(n=600, models=3, features=8, seed=0):
    """Predictions with ties, a target in bins, a meta model like the first, integer features."""
    rng = np.random.default_rng(seed)
    p = rng.normal(size=(n, models))
    p[:, -1] = p[:, -1].round(1)
    x = rng.integers(0, 5, (n, features)).astype(float)
    p[:, 1] += 0.2 * x[:, 3]
    y = rng.choice([0, 0.25, 0.5, 0.75, 1], n, p=[0.05, 0.2, 0.5, 0.2, 0.05])
    return p, y, 0.3 * p[:, 0] + rng.normal(size=n), x


def test_published_correlations_come_out_to_ten_decimals():
    found = corr20v2(np.column_stack([A, SH, A[::-1]]), TARGET)

    assert found.round(10).tolist() == [0.9838216635, 0.3542652211, -0.9838216635]


def test_published_contributions_come_out_to_ten_decimals():
    found = contribution(np.column_stack([A, SH, META]), META, TARGET)

    assert found.round(10).tolist() == [0.4556440794, 0.0005534756, 0.0]


def test_every_score_agrees_with_the_slow_reference():
    p, y, m, x = era(60)
    lists, target = [p[:, k].tolist() for k in range(3)], y.tolist()

    expected = {
        "corr": [slow.corr20v2(one, target) for one in lists],
        "ends": [slow.top_bottom(one, target, 12) for one in lists[:2]],
        "mmc": [slow.contribution(one, m.tolist(), target) for one in lists],
        "fnc": [slow.feature_neutral(one, x, target) for one in lists[:2]],
        "cwmm": [slow.meta_correlation(one, m.tolist()) for one in lists],
    }

    np.testing.assert_allclose(corr20v2(p, y), expected["corr"], atol=1e-12)
    np.testing.assert_allclose(top_bottom_correlation(p, y, count=12)[:2], expected["ends"], atol=1e-12)
    np.testing.assert_allclose(contribution(p, m, y), expected["mmc"], atol=1e-12)
    np.testing.assert_allclose(benchmark_contribution(p, m, y), expected["mmc"], atol=1e-12)
    np.testing.assert_allclose(feature_neutral_correlation(p[:, :2], x, y), expected["fnc"], atol=1e-12)
    np.testing.assert_allclose(correlation_with_meta_model(p, m), expected["cwmm"], atol=1e-12)
    np.testing.assert_allclose(
        np.transpose(feature_exposure(p, x)), [slow.exposures(one, x) for one in lists], atol=1e-12
    )


def test_every_score_agrees_with_numerai_tools():
    official = pytest.importorskip("numerai_tools.scoring", reason="numerai-tools is not installed")
    p, y, m, x = era(1000, features=20)
    frame, target, meta = pd.DataFrame(p, columns=list("abc")), pd.Series(y, name="t"), pd.Series(m, name="m")
    features = pd.DataFrame(x).add_prefix("f")

    np.testing.assert_allclose(corr20v2(p, y), official.numerai_corr(frame, target), atol=1e-12)
    np.testing.assert_allclose(
        top_bottom_correlation(p, y),
        official.numerai_corr(frame, target, top_bottom=200, max_filtered_index_ratio=0.9),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        contribution(p, m, y), official.correlation_contribution(frame, meta, target), atol=1e-12
    )
    np.testing.assert_allclose(
        feature_neutral_correlation(p, x, y), official.feature_neutral_corr(frame, features, target), atol=1e-12
    )
    largest = [official.max_feature_correlation(frame[name], features)[1] for name in frame]
    np.testing.assert_allclose(feature_exposure(p, x)[0], largest, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(["cube", "exp", "scale"]))
def test_scores_see_only_the_order_of_predictions(seed, how):
    p, y, m, x = era(50, seed=seed)
    moved = {"cube": p**3, "exp": np.exp(p), "scale": 7 * p - 3}[how]

    for score in (
        lambda v: corr20v2(v, y),
        lambda v: contribution(v, m, y),
        lambda v: correlation_with_meta_model(v, m),
        lambda v: feature_neutral_correlation(v, x, y),
    ):
        np.testing.assert_allclose(score(moved), score(p), atol=1e-10)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_order_of_rows_changes_nothing(seed):
    p, y, m, x = era(50, seed=seed)
    rows = np.random.default_rng(seed).permutation(50)

    np.testing.assert_allclose(corr20v2(p[rows], y[rows]), corr20v2(p, y), atol=1e-12)
    np.testing.assert_allclose(contribution(p[rows], m[rows], y[rows]), contribution(p, m, y), atol=1e-12)
    np.testing.assert_allclose(
        feature_neutral_correlation(p[rows], x[rows], y[rows]), feature_neutral_correlation(p, x, y), atol=1e-9
    )


def test_a_model_that_says_the_same_of_all_has_no_correlation():
    p, y, m, x = era(50)
    p[:, 0] = 0.25

    assert np.isnan(corr20v2(p, y)[0])
    assert np.isnan(correlation_with_meta_model(p, m)[0])
    assert np.isnan(feature_exposure(p, x)[0][0])
    assert np.isnan(feature_neutral_correlation(p, x, y)[0])
    assert not np.isnan(corr20v2(p, y)[1:]).any()


def test_a_combination_of_features_leaves_nothing_to_score():
    _, y, _, x = era(50)
    once = np.argsort(np.argsort(x @ np.arange(1, 9))).astype(float)
    exact = np.column_stack([x, np.asarray(once)])
    from backtest.numerai.transforms import gaussianised

    spanned = np.column_stack([x, gaussianised(exact[:, -1:])])

    assert np.isnan(feature_neutral_correlation(exact[:, -1:], spanned, y)[0])


def test_too_few_rows_for_two_ends_have_no_score():
    p, y, _, _ = era(399)

    assert np.isnan(top_bottom_correlation(p, y)).all()


def test_a_constant_feature_counts_for_no_exposure():
    p, _, _, x = era(50)

    largest, mean_square = feature_exposure(p, np.column_stack([x, np.full(50, 2.0)]))

    np.testing.assert_array_equal(largest, feature_exposure(p, x)[0])
    np.testing.assert_array_equal(mean_square, feature_exposure(p, x)[1])
    assert np.isnan(feature_exposure(p, np.full((50, 1), 2.0))[0]).all()


@pytest.mark.parametrize("what", ["prediction", "target"])
def test_a_missing_value_is_refused_with_its_place(what):
    p, y, _, _ = era(50)
    (p if what == "prediction" else y)[7 if what == "target" else (7, 1)] = np.nan

    with pytest.raises(DataError, match=rf"{what}s?: nan at \(7"):
        corr20v2(p, y)
