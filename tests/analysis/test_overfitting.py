"""The probability of overfitting against every halving worked out one by one, on noise, and on true skill."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, rankdata

from backtest.analysis import probability_of_overfitting
from backtest.errors import DataError, SettingsError


def slow(values, n_blocks, measure):
    """Bailey et al. (2017), section 3: put the blocks of each half together, measure, rank."""
    n = len(values)
    edges = [k * n // n_blocks for k in range(n_blocks + 1)]
    blocks = [values[edges[k] : edges[k + 1]] for k in range(n_blocks)]
    logits, inside, outside, chosen = [], [], [], []
    for half in combinations(range(n_blocks), n_blocks // 2):
        here = measure(np.concatenate([blocks[k] for k in half]))
        there = measure(np.concatenate([blocks[k] for k in range(n_blocks) if k not in half]))
        best = int(here.argmax())
        relative = rankdata(there)[best] / (values.shape[1] + 1)
        logits.append(np.log(relative / (1 - relative)))
        inside.append(here[best])
        outside.append(there[best])
        chosen.append(best)
    return np.array(logits), np.array(inside), np.array(outside), chosen


def sharpe(x):
    return x.mean(axis=0) / x.std(axis=0, ddof=1)


def mean(x):
    return x.mean(axis=0)


@pytest.mark.parametrize(("performance", "measure"), [("sharpe", sharpe), ("mean", mean)])
@pytest.mark.parametrize(("n", "n_variants", "n_blocks"), [(83, 5, 8), (96, 6, 6), (61, 3, 4)])
def test_every_number_is_that_of_the_halvings_one_by_one(performance, measure, n, n_variants, n_blocks):
    values = np.random.default_rng(n).standard_t(4, (n, n_variants)) + np.linspace(0, 0.2, n_variants)

    result = probability_of_overfitting(values, n_blocks=n_blocks, performance=performance)

    logits, inside, outside, chosen = slow(values, n_blocks, measure)
    np.testing.assert_allclose(result.logits, logits, atol=1e-12)
    near = np.abs(logits) < 1e-12
    assert result.probability == pytest.approx(((logits < 0) & ~near).mean() + 0.5 * near.mean())
    assert result.slope == pytest.approx(linregress(inside, outside).slope)
    assert result.probability_of_loss == pytest.approx((outside < 0).mean())
    assert result.chosen == {f"variant {i}": pytest.approx(chosen.count(i) / len(chosen)) for i in set(chosen)}
    assert list(result.chosen.values()) == sorted(result.chosen.values(), reverse=True)


@pytest.mark.parametrize("n_variants", [9, 10])
def test_choosing_among_noise_is_no_better_than_at_random(n_variants):
    """One matrix of noise gives anything from 0.2 to 0.8; their mean is one half."""
    rng = np.random.default_rng(1)

    found = [
        probability_of_overfitting(rng.standard_normal((160, n_variants)), n_blocks=8).probability for _ in range(150)
    ]

    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / np.sqrt(150))
    assert np.std(found) < 0.25


def test_one_truly_better_variant_is_chosen_and_stays_best():
    values = np.random.default_rng(2).standard_normal((400, 10))
    values[:, 4] += 0.5

    result = probability_of_overfitting(values)

    assert result.probability < 0.001
    assert result.probability_of_loss == 0.0
    assert result.chosen == {"variant 4": 1.0}
    assert (result.n_blocks, len(result.logits)) == (16, 12_870)


def test_variants_fitted_to_one_half_are_found_out():
    """Each variant gains in some blocks what it loses in others, so that the best here is the worst there."""
    rng = np.random.default_rng(3)
    gains = rng.permuted(np.repeat([[0.5], [-0.5]], 5, axis=0).repeat(20, axis=1), axis=0)
    values = gains.repeat(20, axis=0) + 0.1 * rng.standard_normal((200, 20))

    result = probability_of_overfitting(values, n_blocks=10)

    assert result.probability > 0.95
    assert result.slope < -0.5
    assert result.probability_of_loss > 0.95


def test_order_and_units_change_nothing_and_neither_do_two_runs():
    frame = pd.DataFrame(np.random.default_rng(4).standard_normal((120, 5)), columns=list("abcde"))

    base = probability_of_overfitting(frame, n_blocks=8)
    shuffled = probability_of_overfitting(frame[list("dbeac")], n_blocks=8)
    scaled = probability_of_overfitting(1e-4 * frame, n_blocks=8)

    for other in (shuffled, scaled, probability_of_overfitting(frame, n_blocks=8)):
        np.testing.assert_array_equal(base.logits, other.logits)
        assert other.probability == base.probability
        assert other.slope == pytest.approx(base.slope)
        assert other.chosen == base.chosen


def test_equal_variants_share_their_rank():
    x = np.random.default_rng(5).standard_normal((80, 1))

    result = probability_of_overfitting(np.concatenate([x, x, x], axis=1), n_blocks=4, performance="mean")

    assert (result.logits == 0.0).all()
    assert result.probability == 0.5


@pytest.mark.parametrize(("n", "expected"), [(40, 8), (45, 8), (59, 10), (80, 16), (5000, 16)])
def test_a_short_series_takes_fewer_blocks(n, expected):
    result = probability_of_overfitting(np.random.default_rng(6).standard_normal((n, 2)))

    assert result.n_blocks == expected
    assert result.reason is None


def test_the_document_is_strict_json():
    values = np.random.default_rng(7).standard_normal((50, 3))

    document = json.loads(json.dumps(probability_of_overfitting(values).to_dict(), allow_nan=False))

    assert document["n_halvings"] == 252
    assert set(document["logit_quantiles"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    assert "below the median of 3" in document["sentence"]


def test_a_probability_that_cannot_be_computed_says_why():
    x = np.random.default_rng(8).standard_normal((100, 3))
    broken, idle = x.copy(), x.copy()
    broken[30, 2] = np.inf
    idle[:60, 1] = 0.0

    for values, words in (
        (x[:, :1], "one variant leaves nothing to choose"),
        (x[:39], "39 periods are too few to halve"),
        (broken, "variant 2: the value of period 30 (counted from 0) is inf"),
        (idle, "variant 1 is constant in 9 of 16 blocks"),
    ):
        result = probability_of_overfitting(values)
        assert words in result.reason
        assert words in result.sentence
        assert np.isnan(result.probability)
    assert probability_of_overfitting(idle, performance="mean").reason is None


def test_impossible_settings_are_refused():
    x = np.random.default_rng(9).standard_normal((100, 3))

    for settings in ({"n_blocks": 7}, {"n_blocks": 2}, {"n_blocks": 22}, {"performance": "median"}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            probability_of_overfitting(x, **settings)
    with pytest.raises(DataError, match=r"not of shape \(100,\)"):
        probability_of_overfitting(x[:, 0])
