"""Eras: names, order, purges, splits."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import DataError, SettingsError
from backtest.numerai.eras import LIVE, era_name, era_number, era_range, purge_eras, split_eras


@pytest.mark.parametrize(
    ("name", "number"),
    [("0001", 1), ("era1", 1), ("era10", 10), ("1042", 1042), (7, 7), ("eraX", LIVE), ("X", LIVE), (" era2 ", 2)],
)
def test_an_era_has_a_number_however_it_is_written(name, number):
    assert era_number(name) == number


def test_era_10_comes_after_era_2_and_the_live_era_last():
    assert sorted(["eraX", "era10", "era2", "0001"], key=era_number) == ["0001", "era2", "era10", "eraX"]


@pytest.mark.parametrize("name", ["", "era", "round 3", "2018-01-01", None, float("nan"), 1.0, "eraXX", "-1"])
def test_what_is_no_era_is_refused_by_name(name):
    with pytest.raises(DataError, match=r"era .*: give"):
        era_number(name)


@pytest.mark.parametrize("number", [1, 42, 1042, LIVE])
def test_names_and_numbers_are_each_others_inverse(number):
    assert era_number(era_name(number)) == number


@pytest.mark.parametrize(
    ("target", "eras"),
    [
        ("target", 4),
        ("target_cyrusd_20", 4),
        ("target_nomi_v4_20", 4),
        ("target_cyrusd_60", 12),
        ("target_nomi_60", 12),
        ("target_ender_60d", 12),
        ("bernie", 4),
    ],
)
def test_the_purge_follows_from_the_days_of_the_target(target, eras):
    assert purge_eras(target) == eras


def test_the_eras_of_a_purge_are_in_neither_part():
    train, selection = split_eras([*range(1, 101), LIVE], selection=0.2, purge=4)

    assert selection.tolist() == list(range(81, 101))
    assert train.tolist() == list(range(1, 77))


def test_the_purge_counts_eras_that_the_file_does_not_have():
    train, selection = split_eras([1, 5, 9, 13, 17, 21], selection=1 / 3, purge=4)

    assert (train.tolist(), selection.tolist()) == ([1, 5, 9], [17, 21])
    assert selection.min() - train.max() > 4


@pytest.mark.parametrize(
    ("eras", "selection", "purge"),
    [
        (range(1, 6), 0.2, 4),
        (range(1, 3), 0.1, 0),
        ([], 0.5, 0),
        (range(9), 0.0, 1),
        (range(9), 1.0, 1),
        (range(9), 0.5, -1),
    ],
)
def test_splits_that_leave_nothing_are_refused(eras, selection, purge):
    with pytest.raises(SettingsError):
        split_eras(list(eras), selection=selection, purge=purge)


def test_a_range_of_eras_includes_both_ends():
    assert list(era_range("0081:83")) == [81, 82, 83]
    assert np.array_equal(era_range(" 7 : 7 "), [7])


@pytest.mark.parametrize("text", ["81-132", "5:4", "a:b", ""])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(SettingsError, match="first and the last"):
        era_range(text)
