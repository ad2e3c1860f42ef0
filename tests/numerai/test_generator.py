"""Generated files: Numerai's schema, bins and order, the same for a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from backtest.errors import SettingsError
from backtest.numerai import generate_files, generator


def test_files_have_the_classic_schema(generated):
    schema = pq.read_schema(generated.train)
    data = pd.read_parquet(generated.train)

    assert [str(schema.field(name).type) for name in ("era", "data_type", "feature_0059", "target")] == [
        "string",
        "string",
        "int8",
        "float",
    ]
    assert data.index.name == "id"
    assert data.index.str.fullmatch("n[0-9a-f]{16}").all()
    assert data["era"].iloc[0] == "0001"
    assert (data["data_type"] == "train").all()
    assert pd.read_parquet(generated.live)["era"].eq("X").all()


def test_targets_have_numerais_bins_in_every_era(generated):
    data = pd.read_parquet(generated.train)

    shares = data.groupby("era")["target"].value_counts(normalize=True).unstack()

    assert shares.columns.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.abs(shares.to_numpy() - [0.05, 0.2, 0.5, 0.2, 0.05]).max() < 0.01


def test_ids_are_different_in_all_files_and_models_have_those_of_their_rows(generated):
    ids = [pd.read_parquet(path).index for path in (generated.train, generated.validation, generated.live)]
    together = ids[0].append(ids[1:])

    assert together.is_unique
    assert pd.read_parquet(generated.meta_model).index.equals(ids[1])
    assert pd.read_parquet(generated.benchmark_models).index.equals(ids[1])
    assert pd.read_parquet(generated.live_benchmark_models).index.equals(ids[2])


def test_late_features_are_all_2_in_early_eras_only(generated):
    data = pd.read_parquet(generated.train)
    last = data.groupby("era")["feature_0059"].agg(lambda x: (x == 2).all())

    assert last.loc["0001"]
    assert not last.loc["0010":].any()


def test_row_groups_end_with_eras_whatever_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "TOGETHER", 60 * 250)
    path = generate_files(tmp_path, rows=2000, features=60, eras=20, seed=0, live=False).train
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(g, ["era"])["era"].unique().to_pylist() for g in range(file.num_row_groups)]

    assert max(len(group) for group in groups) == 2
    every = [era for group in groups for era in group]
    assert every == sorted(set(every))


def test_a_seed_gives_the_same_files_and_another_gives_others(tmp_path, generated):
    again = generate_files(tmp_path / "a", rows=2880, features=60, eras=24, seed=3)
    other = generate_files(tmp_path / "b", rows=2880, features=60, eras=24, seed=4)

    for name in ("train", "live", "meta_model"):
        assert getattr(again, name).read_bytes() == getattr(generated, name).read_bytes()
        assert getattr(other, name).read_bytes() != getattr(generated, name).read_bytes()


@pytest.mark.parametrize(
    "size", [{"rows": 100}, {"features": 41}, {"eras": 1}, {"validation": 0.0}, {"validation": 1.0}]
)
def test_impossible_sizes_are_refused(tmp_path, size):
    with pytest.raises(SettingsError, match="at least 20 rows"):
        generate_files(tmp_path, **{"rows": 2880, "features": 60, "eras": 24, "seed": 0, **size})
    assert list(tmp_path.iterdir()) == []
