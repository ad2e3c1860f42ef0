"""Combinatorial splits: no label is shared with a test, every row is tested once a path, and gaps teach nothing."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from backtest.errors import SettingsError
from backtest.training import CombinatorialSplits, WalkForward
from backtest.training.windows import Window


def laid_out(splits, *, first_row, n_rows, lag):
    """The windows; an example whose history is too short is left out."""
    try:
        return splits.windows(first_row=first_row, n_rows=n_rows, lag=lag)
    except SettingsError:
        reject()


shapes = st.integers(3, 6).flatmap(lambda folds: st.tuples(st.just(folds), st.integers(2, folds - 1)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    shape=shapes,
    first_row=st.integers(0, 7),
    n_rows=st.integers(30, 160),
    lag=st.integers(0, 3),
    embargo=st.none() | st.integers(0, 5),
    validation=st.none() | st.integers(1, 12),
)
def test_no_label_overlaps_one_of_a_test_and_no_more_is_left_out_than_must_be(
    shape, first_row, n_rows, lag, embargo, validation
):
    splits = CombinatorialSplits(*shape, validation=validation, embargo=embargo)
    windows = laid_out(splits, first_row=first_row, n_rows=n_rows, lag=lag)
    embargo = splits.settled(first_row=first_row, n_rows=n_rows, lag=lag).embargo

    def spans_meet(a, b):
        # From the forecast at the close of a row to the close at which its label is known.
        return not (a + lag + 1 < b or b + lag + 1 < a)

    for window in windows:
        test, validating = window.test.tolist(), window.validation.tolist()
        for row in range(first_row, n_rows - lag - 1):
            near_test = any(spans_meet(row, other) or 0 < row - other <= lag + 1 + embargo for other in test)
            near_validation = any(spans_meet(row, other) for other in validating)
            assert (row in window.validation) <= (row not in test and not near_test)
            assert (row in window.train) == (not near_test and not near_validation)
        assert np.array_equal(np.diff(validating), np.ones(len(validating) - 1))
        assert len(window.train) > 0
        assert len(validating) == (validation or len(validating)) > 0


@settings(max_examples=40)
@given(shape=shapes, first_row=st.integers(0, 7), n_rows=st.integers(60, 160), lag=st.integers(0, 3))
def test_paths_tile_the_history_and_every_choice_of_folds_is_trained_once(shape, first_row, n_rows, lag):
    folds, test_folds = shape
    splits = CombinatorialSplits(folds, test_folds, embargo=0, validation=1)
    windows = laid_out(splits, first_row=first_row, n_rows=n_rows, lag=lag)
    rows = np.arange(first_row, n_rows - lag - 1)

    assert len(windows) == splits.n_splits == comb(folds, test_folds)
    assert splits.n_paths == comb(folds - 1, test_folds - 1)
    size = len(rows) // folds
    fold_of = np.minimum((rows - first_row) // size, folds - 1)
    tested = [tuple(sorted(set(fold_of[window.test - first_row].tolist()))) for window in windows]
    assert tested == list(combinations(range(folds), test_folds))
    for path in range(splits.n_paths):
        covered = [block.rows for window in windows for block in window.blocks if block.path == path]
        assert np.array_equal(np.sort(np.concatenate(covered)), rows)
    for window in windows:
        for block in window.blocks:
            assert np.array_equal(window.test[block.places], block.rows)
            assert np.array_equal(np.diff(block.rows), np.ones(len(block.rows) - 1))


def test_validation_is_the_end_of_the_longest_run_of_training_rows():
    # Folds of 20 rows; purge 2, embargo 1.
    splits = CombinatorialSplits(5, 2, validation=6, embargo=1)
    windows = splits.windows(first_row=0, n_rows=102, lag=1)
    by_folds = dict(zip(combinations(range(5), 2), windows, strict=True))

    first, split, ends = by_folds[0, 1], by_folds[1, 3], by_folds[0, 4]
    assert (first.train[0], first.train[-1]) == (43, 91)
    assert first.validation.tolist() == list(range(94, 100))
    # Runs 0..17, 43..57, 83..99: the first is the longest.
    assert split.validation.tolist() == list(range(12, 18))
    assert split.train.tolist() == [*range(10), *range(43, 58), *range(83, 100)]
    assert ends.validation.tolist() == list(range(72, 78))


def test_a_history_is_cut_as_walk_forward_cuts_it_at_its_end():
    walk = WalkForward(train=30, validation=10, test=20).windows(first_row=5, n_rows=150, lag=2)
    splits = CombinatorialSplits().windows(first_row=5, n_rows=150, lag=2)

    assert max(window.test[-1] for window in splits) == walk[-1].test[-1] == 150 - 2 - 2
    assert min(window.test[0] for window in splits) == 5
    assert [(block.path, block.rows.tolist()) for block in walk[0].blocks] == [(0, walk[0].test.tolist())]


def test_blocks_are_cut_at_gaps_and_where_the_path_changes():
    window = Window(np.arange(3), np.arange(1), np.array([5, 6, 7, 8, 12, 13]), np.array([0, 0, 1, 1, 1, 1]))

    assert [(block.path, block.rows.tolist()) for block in window.blocks] == [(0, [5, 6]), (1, [7, 8]), (1, [12, 13])]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"folds": 2}, "folds must be at least 3, got 2"),
        ({"test_folds": 1}, "test_folds must be at least 2"),
        ({"test_folds": 6}, r"below folds \(6\), got 6"),
        ({"validation": 0}, "validation must be at least 1"),
        ({"embargo": -1}, "embargo must be at least 0"),
        ({"folds": 20, "test_folds": 10}, "184,756 splits"),
    ],
)
def test_impossible_shapes_are_refused_by_name(wrong, message):
    with pytest.raises(SettingsError, match=message):
        CombinatorialSplits(**wrong)


@pytest.mark.parametrize(
    ("splits", "n_rows", "message"),
    [
        (CombinatorialSplits(embargo=10), 60, r"a fold has 9 rows \(58 in all\), and 12 rows beside a test block"),
        (CombinatorialSplits(validation=60, embargo=0), 100, "shorten validation"),
        (CombinatorialSplits(embargo=0), 2, "more data"),
    ],
)
def test_too_short_a_history_is_refused_with_the_cure(splits, n_rows, message):
    with pytest.raises(SettingsError, match=message):
        splits.windows(first_row=0, n_rows=n_rows, lag=1)
