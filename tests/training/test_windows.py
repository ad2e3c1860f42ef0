"""Walk-forward windows: in order, purged, embargoed, every row tested once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import SettingsError
from backtest.training import WalkForward


@given(
    train=st.integers(1, 40),
    validation=st.integers(1, 20),
    test=st.integers(1, 30),
    embargo=st.integers(0, 6),
    lag=st.integers(0, 3),
    first_row=st.integers(0, 10),
    extra=st.integers(1, 120),
    minimum=st.none() | st.integers(1, 40),
)
def test_no_label_reaches_a_later_part_and_every_row_is_tested_once(
    train, validation, test, embargo, lag, first_row, extra, minimum
):
    minimum = None if minimum is None else min(minimum, train)
    walk = WalkForward(train=train, validation=validation, test=test, embargo=embargo, minimum_train=minimum)
    gap = lag + 1 + embargo
    first_test = first_row + (minimum or train) + gap + validation + gap
    n_rows = first_test + lag + 1 + extra

    windows = walk.windows(first_row=first_row, n_rows=n_rows, lag=lag)

    for window in windows:
        assert window.train[0] >= first_row
        assert (minimum or train) <= len(window.train) <= train
        assert len(window.validation) == validation
        for earlier, later in ((window.train, window.validation), (window.validation, window.test)):
            assert np.array_equal(np.diff(earlier), np.ones(len(earlier) - 1))
            # The target of row t is known at the close of t + lag + 1.
            assert earlier[-1] + lag + 1 + embargo < later[0]
    tested = np.concatenate([window.test for window in windows])
    assert np.array_equal(tested, np.arange(first_test, n_rows - lag - 1))
    for window in windows:
        for row in window.test[[0, -1]].tolist():
            # What today's forecast is trained on is what a backtest of that day was trained on.
            today = walk.window_of(row, first_row=first_row, lag=lag)
            assert np.array_equal(today.train, window.train)
            assert np.array_equal(today.validation, window.validation)
            assert np.array_equal(today.test, window.test[window.test <= row])


@pytest.mark.parametrize("n_rows", [100, 200, 1500, 9000])
@pytest.mark.parametrize("most", [1, 3])
def test_a_limit_on_windows_is_kept(n_rows, most):
    walk = WalkForward.of_history(n_rows, periods_per_year=52, max_windows=most)

    assert 1 <= len(walk.windows(first_row=0, n_rows=n_rows, lag=1)) <= most


def test_too_short_a_history_says_which_row_is_missing():
    walk = WalkForward(train=50, validation=10, test=10)

    with pytest.raises(SettingsError, match=r"first test row would be 64.*the last row that can be tested is 47"):
        walk.windows(first_row=0, n_rows=50, lag=1)


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": 0}, {"embargo": -1}, {"minimum_train": 0}])
def test_impossible_lengths_are_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        WalkForward(**({"train": 5, "validation": 5, "test": 5} | wrong))
