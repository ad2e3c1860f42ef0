"""Reading eras from Parquet: every row once, in bounded memory, and clear refusals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.errors import BacktestError, DataError, SettingsError
from backtest.numerai import EraFile, feature_set, files
from backtest.numerai.eras import LIVE


def frame(eras=(("0001", 5), ("0002", 4), ("0003", 6)), k=3, seed=0, whole=True):
    rng = np.random.default_rng(seed)
    labels = [name for name, n in eras for _ in range(n)]
    x = rng.integers(0, 5, (len(labels), k))
    found = pd.DataFrame(
        x.astype(np.int8) if whole else (x / 4).astype(np.float32), columns=[f"feature_{i}" for i in range(k)]
    )
    found.insert(0, "era", labels)
    found["target"] = rng.choice([0, 0.25, 0.5, 0.75, 1], len(labels)).astype(np.float32)
    found.index = pd.Index([f"n{i:04d}" for i in range(len(labels))], name="id")
    return found


def written(tmp_path, data, **options):
    path = tmp_path / "data.parquet"
    data.to_parquet(path, **options)
    return path


def read_back(batches, names):
    return pd.concat(
        pd.DataFrame(b.features.T, index=b.ids, columns=names).assign(target=b.target, number=b.era) for b in batches
    )


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("group", [1, 4, 5, 7, 100])
@pytest.mark.parametrize("seed", [None, 0])
def test_every_row_of_every_era_comes_once_whatever_the_row_groups(tmp_path, whole, group, seed):
    data = frame(whole=whole)
    file = EraFile.open(written(tmp_path, data, row_group_size=group))

    found = read_back(file.stream(seed=seed, ids=True), file.columns.features).loc[data.index]

    np.testing.assert_array_equal(found[list(file.columns.features)], data[list(file.columns.features)])
    np.testing.assert_array_equal(found["target"], data["target"])
    assert found["number"].tolist() == data["era"].astype(int).tolist()


def test_row_groups_too_large_to_hold_are_streamed_and_give_the_same(tmp_path, monkeypatch):
    data = frame((("0001", 50), ("0002", 41), ("0003", 60)))
    path = written(tmp_path, data, row_group_size=70)
    expected = read_back(EraFile.open(path).stream(ids=True), ["a", "b", "c"])

    monkeypatch.setattr(files, "TOGETHER", 100)
    monkeypatch.setattr(files, "PIECE", 33)
    found = read_back(EraFile.open(path).stream(ids=True), ["a", "b", "c"])

    pd.testing.assert_frame_equal(found, expected)


def test_a_random_order_is_another_order_of_the_same_eras_and_the_same_each_time(generated):
    file = EraFile.open(generated.train)

    first, again, other = ([b.era for b in file.stream(seed=seed)] for seed in (1, 1, 2))

    assert first == again != other
    assert sorted(first) == sorted(other) == list(file.eras)


def test_scattered_eras_of_a_small_file_are_put_together(tmp_path):
    data = frame((("era10", 2), ("era2", 3), ("era10", 2), ("eraX", 1)))
    data.loc[data["era"] == "eraX", "target"] = np.nan
    file = EraFile.open(written(tmp_path, data))

    found = list(file.stream(ids=True))

    assert file.eras == (2, 10, LIVE)
    assert [batch.era for batch in found] == [2, 10]
    assert list(found[1].ids) == ["n0000", "n0001", "n0005", "n0006"]


def test_scattered_eras_of_a_large_file_are_refused_with_the_row(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TOGETHER", 5)
    path = written(tmp_path, frame((("era1", 2), ("era2", 3), ("era1", 2))))

    with pytest.raises(DataError, match=r"data.parquet: row 5: era 0001 begins again.*sorted by era"):
        EraFile.open(path)


def test_the_live_era_is_read_only_on_request_and_has_no_targets(generated):
    file = EraFile.open(generated.live)

    assert list(file.stream()) == []
    batch = next(file.stream([LIVE], ids=True))
    assert np.isnan(batch.target).all()
    assert len(batch.known()) == 0


def test_a_feature_that_is_all_2_in_an_era_is_missing_there_and_0_to_a_model(tmp_path):
    data = frame((("0001", 30), ("0002", 30)))
    data.loc[data["era"] == "0001", "feature_1"] = 2
    first, second = EraFile.open(written(tmp_path, data)).stream()

    assert first.missing.tolist() == [False, True, False]
    assert not second.missing.any()
    assert (first.inputs()[:, 1] == 0).all()
    assert first.raw(np.arange(3)).shape == (30, 2)
    assert (first.loadings(np.arange(3))[:, 1] == 0).all()


def test_older_float_features_are_standardised_within_their_era(tmp_path):
    data = frame((("era1", 40), ("era2", 40)), whole=False)
    data.loc[data["era"] == "era1", "feature_2"] = np.float32(0.5)
    first, second = (batch.inputs() for batch in EraFile.open(written(tmp_path, data)).stream())

    np.testing.assert_allclose(second.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(second.std(0, correction=0), 1, rtol=1e-5)
    assert (first[:, 2] == 0).all()


def test_the_repr_says_that_trading_costs_cannot_be_measured(generated):
    assert "trading costs cannot be measured" in repr(EraFile.open(generated.train))


def test_memory_is_that_of_an_era_and_not_of_the_file(tmp_path):
    import tracemalloc

    # Through the piece-wise path, the NumPy memory held is far below the 640 KB of features.
    eras = tuple((f"{e:04d}", 200) for e in range(1, 81))
    file = EraFile.open(written(tmp_path, frame(eras, k=40), row_group_size=800))
    tracemalloc.start()
    for batch in file.stream():
        assert len(batch) == 200
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 3.2e5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop(columns="era"), 'no column "era"'),
        (lambda d: d.drop(columns="target"), "no column 'target'"),
        (lambda d: d.rename(columns=lambda c: c.replace("feature", "x")), "no column is like"),
        (lambda d: d.assign(feature_1=d["feature_1"].astype(str)), "'feature_1' is (large_)?string"),
        (lambda d: d.assign(feature_1=d["feature_1"] / 4), "integer, others are floats"),
        (lambda d: d.assign(era=["0001"] * 14 + ["soon"]), "row 14: era 'soon'"),
        (lambda d: d.assign(era=["0001"] * 14 + [None]), "row 14: no era"),
        (lambda d: d.iloc[:0], "no rows"),
        (lambda d: d.assign(target=d["era"]), "'target' is"),
    ],
)
def test_files_that_are_not_in_the_schema_are_refused_at_opening(tmp_path, spoil, message):
    with pytest.raises(DataError, match=message) as caught:
        EraFile.open(written(tmp_path, spoil(frame())))

    assert "data.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "whole", "message"),
    [
        ("feature_1", 5, True, r"era 0002, row 6: feature_1 is 5: it must be 0 to 4"),
        ("feature_1", -1, True, r"era 0002, row 6: feature_1 is -1"),
        ("feature_2", 1.25, False, r"era 0002, row 6: feature_2 is 1.25: it must be 0 to 1"),
        ("feature_2", np.nan, False, r"era 0002, row 6: feature_2 is nan: a missing value: fill"),
        ("target", 1.5, True, r"era 0002, row 6: target is 1.5"),
        ("target", -0.5, False, r"era 0002, row 6: target is -0.5"),
    ],
)
def test_values_out_of_range_are_refused_with_their_place(tmp_path, column, value, whole, message):
    data = frame(whole=whole)
    data.iloc[6, data.columns.get_loc(column)] = value

    with pytest.raises(DataError, match=message):
        list(EraFile.open(written(tmp_path, data)).stream())


def test_wide_integers_are_not_cut_to_bytes(tmp_path):
    data = frame().astype({"feature_1": np.int64})
    data.iloc[6, data.columns.get_loc("feature_1")] = 258

    with pytest.raises(DataError, match="'feature_1' has the value 258"):
        list(EraFile.open(written(tmp_path, data)).stream())


def test_an_id_that_is_there_twice_in_an_era_is_refused(tmp_path):
    data = frame()
    data.index = pd.Index([*data.index[:-1], data.index[-2]], name="id")

    with pytest.raises(DataError, match="id 'n0013' is there more than once"):
        list(EraFile.open(written(tmp_path, data)).stream(ids=True))


def test_eras_that_are_not_there_are_refused(generated):
    with pytest.raises(SettingsError, match="no era 0999"):
        list(EraFile.open(generated.train).stream([1, 999]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.sampled_from(["cut", "flip", "noise"]))
def test_damaged_files_are_read_right_or_refused_by_name(tmp_path, seed, how):
    rng = np.random.default_rng(seed)
    path = written(tmp_path, frame())
    whole = bytearray(path.read_bytes())
    if how == "cut":
        whole = whole[: rng.integers(0, len(whole))]
    elif how == "flip":
        whole[rng.integers(0, len(whole))] ^= 1 << int(rng.integers(0, 8))
    else:
        start = int(rng.integers(0, len(whole)))
        whole[start : start + 16] = rng.bytes(16)
    path.write_bytes(bytes(whole))

    message = "data.parquet"
    try:
        list(EraFile.open(path).stream(ids=True))
    except BacktestError as error:
        message = str(error)

    assert "data.parquet" in message


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"absent.parquet: no such file"):
        EraFile.open(tmp_path / "absent.parquet")


def test_sets_of_features_are_read_and_give_their_columns_in_their_order(generated):
    small = feature_set(generated.features, "small")
    file = EraFile.open(generated.train, features=small[::-1])

    assert len(small) == 42
    assert file.columns.features == small[::-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "feature_sets"),
        ("{}", "feature_sets"),
        (json.dumps({"feature_sets": {"all": ["a"]}}), "no set 'small' of features: choose from 'all'"),
        (json.dumps({"feature_sets": {"small": []}}), "must be a list"),
        (json.dumps({"feature_sets": {"small": [1]}}), "must be a list"),
    ],
)
def test_faulty_sets_are_refused(tmp_path, text, message):
    path = tmp_path / "features.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataError, match=message) as caught:
        feature_set(path, "small")
    assert "features.json" in str(caught.value)


def test_features_that_are_not_in_the_file_are_named(generated):
    with pytest.raises(DataError, match="1 of 2 features are not there: 'feature_no'"):
        EraFile.open(generated.train, features=["feature_0000", "feature_no"])


def test_the_tournament_of_2018_has_its_eras_in_order(shared_file):
    file = EraFile.open(shared_file("tournament_2018_8281_rows.parquet"), features="x*", target="bernie")

    assert (len(file.row_eras), file.eras[:3], file.eras[-1], len(file.eras)) == (8281, (1, 2, 3), LIVE, 187)
    assert sum(len(batch) for batch in file.stream()) == 8231


def test_a_file_of_version_4_has_float_features_and_sixty_day_targets(shared_file):
    file = EraFile.open(shared_file("v4_1050_features_10_rows.parquet"), target="target_nomi_60")

    batches = list(file.stream(ids=True))

    assert (len(batches), len(file.columns.features), file.columns.whole) == (10, 1050, False)
    assert sorted(batch.era for batch in batches) == list(file.eras)
