"""What is saved comes back with the same bits, and anything else is refused by name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from traded_runs import drawn_run, simulated

from backtest.errors import DataError
from backtest.simulation import EqualWeight, SimulationResult, simulate
from backtest.simulation.result import NOT_SAVED
from backtest.whole_files import whole_file


def assert_same(found, expected):
    for field in dataclasses.fields(SimulationResult):
        if field.name == NOT_SAVED:
            continue
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), field.name
        elif isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        elif isinstance(other, pd.Index):
            pd.testing.assert_index_equal(one, other, exact=True)
        elif isinstance(other, dict):
            assert list(one) == list(other)
            assert [one[name].tobytes() for name in one] == [other[name].tobytes() for name in other]
        else:
            assert (type(one), one) == (type(other), other), field.name


@pytest.fixture
def result(random_panel):
    return simulate(random_panel(8, 3), EqualWeight(), costs=None, lag=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_saved_result_comes_back_bit_for_bit(seed, tmp_path):
    result = simulated(drawn_run(seed, n_books=3))
    result.save(tmp_path / "of" / "run.npz")

    assert_same(SimulationResult.load(tmp_path / "of" / "run.npz"), result)
    assert [path.name for path in (tmp_path / "of").iterdir()] == ["run.npz"]


def test_some_books_of_a_result_come_back_bit_for_bit(tmp_path):
    some = simulated(drawn_run(3, n_books=4)).books(slice(0, 4, 2))
    some.save(tmp_path / "some")

    assert_same(SimulationResult.load(tmp_path / "some"), some)


def test_a_result_without_events_comes_back(result, tmp_path):
    assert len(result.events) == 0
    result.save(tmp_path / "run")
    loaded = SimulationResult.load(tmp_path / "run")

    assert_same(loaded, result)
    assert repr(loaded) == repr(result)


def test_a_file_cut_short_anywhere_is_refused_and_named(result, tmp_path):
    path = tmp_path / "run.npz"
    result.save(path)
    content = path.read_bytes()
    for size in [0, 1, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"run\.npz: not a whole file of a saved result .*run the simulation again"):
            SimulationResult.load(path)


def test_a_changed_bit_is_refused(result, tmp_path):
    path = tmp_path / "run.npz"
    result.save(path)
    content = bytearray(path.read_bytes())
    # In the middle of the largest part, which is all numbers.
    place = content.find(result.positions.tobytes()) + result.positions.nbytes // 2
    content[place] ^= 1
    path.write_bytes(bytes(content))

    with pytest.raises(DataError, match="not a whole file of a saved result"):
        SimulationResult.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="nothing: no such file: check the path"):
        SimulationResult.load(tmp_path / "nothing")
    (tmp_path / "table.csv").write_text("date,A\n2020-01-01,1\n")
    with pytest.raises(DataError, match=r"table\.csv: not a whole file of a saved result"):
        SimulationResult.load(tmp_path / "table.csv")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(DataError, match=r"arrays\.npz: an archive, but not of a saved result"):
        SimulationResult.load(tmp_path / "arrays.npz")
    np.savez(tmp_path / "objects.npz", head=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"objects\.npz: not a whole file of a saved result"):
        SimulationResult.load(tmp_path / "objects.npz")


def test_another_version_is_refused_with_the_cure(result, tmp_path):
    path = tmp_path / "run.npz"
    result.save(path)
    with np.load(path) as archive:
        parts = dict(archive)
    head = json.loads(parts["head"].tobytes())
    for change in ({"version": 99}, {"fields": {**head["fields"], "new": {"kind": "value", "value": 1}}}):
        parts["head"] = np.frombuffer(json.dumps(head | change).encode(), dtype=np.uint8)
        np.savez(path, **parts)
        with pytest.raises(DataError, match=r"another version of this library .* load it with that version"):
            SimulationResult.load(path)


def test_a_write_that_is_cut_off_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def cut_off():
        with whole_file(path) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
